"""Every command, query and program in the README and the documentation, run in the order in which they are read.

The folder they run in holds what the text takes for granted: the demo, and files of the names that it uses
(`blood.h5ad`, `hg38`, ...), made from a small simulation. Commands for the administrator of a server or a cluster
(``deploy/``, which two tutorials show) need that server; their configuration is tested in ``tests/deploy``.
"""

import contextlib
import gzip
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from scmagnify_assets.doors.cli.main import app

pytestmark = pytest.mark.timeout(2400)  # seven runs of the whole method, on a machine that does other things, too

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))}
# What is not run as it stands, and why.
SERVES = "scmagnify ui"  # until it is stopped: the tests of the UI do
ELSEWHERE = ("make demo", "make test", "make ui", "make docs", ". .venv/bin/activate", SERVES)
FAST = """
[scmagnify]
n_lags = 3
max_epochs = 4

[communication]
n_permutations = 50
"""
TRENDS = """
from scmagnify_core.data.association import AssociationConfig, gene_trends, strongest_genes

genes = strongest_genes(read("gene_association"), 10)
trends = gene_trends(lake.dataset("demo"), genes, AssociationConfig())
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page].read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """What follows a ``$`` in console blocks, to the end of its last quotation."""
    found: list[str] = []
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif found and not _is_whole(found[-1]):
                found[-1] += "\n" + line
    return found


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


class Sandbox:
    """A folder, and commands that run in it as in a shell: the product's in this process, which has it loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str) -> str:
        command = command.replace(".venv/bin/", "")
        words = shlex.split(command, comments=True)
        with contextlib.chdir(self.folder):
            if words[0] == "scmagnify":
                done = CliRunner().invoke(app, words[1:])
                if done.exception is not None and not isinstance(done.exception, SystemExit):
                    raise AssertionError(f"$ {command}\n{done.output}") from done.exception
                assert done.exit_code == 0, f"$ {command}\n{done.output}"
                return done.output
            if words[0] == "python":
                runpy.run_path(words[1])
                return ""
            return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", autouse=True)
def _as_in_a_new_shell() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SCMAGNIFY_")]:
            patch.delenv(name)
        patch.setenv("COLUMNS", "160")
        patch.setenv("MPLBACKEND", "agg")
        yield


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, simulated: dict[str, Path]) -> Sandbox:
    """The demo, with a seed less than users have, and the files that the pages speak of."""
    import mudata

    sandbox = Sandbox(tmp_path_factory.mktemp("docs"))
    folder, home = sandbox.folder, sandbox.folder / "scmagnify_home"
    sandbox.run("scmagnify demo --seeds 2")

    rna = mudata.read_h5mu(simulated["data"])["rna"].copy()
    rna.obs = rna.obs.rename(columns={"pseudotime": "dpt_pseudotime"})
    for name in ("blood.h5ad", "cells.h5ad"):
        rna.write_h5ad(folder / name)
    shutil.copy(simulated["data"], folder / "multiome.h5mu")
    marrow = mudata.read_h5mu(simulated["data"])
    first = marrow["rna"].obs.groupby("cell_type", observed=True)["pseudotime"].mean().idxmin()
    marrow["rna"].obs["cell_type"] = marrow["rna"].obs["cell_type"].cat.rename_categories({first: "HSC"})
    marrow.write(folder / "marrow.h5mu")
    shutil.copy(simulated["prior"], folder / "collectri_mouse.parquet")
    pd.read_parquet(simulated["truth"]).to_csv(folder / "chip.csv", index=False)
    links = pd.read_parquet(simulated["prior"]).head(100)
    links.assign(coef_mean=0.1).drop(columns="weight", errors="ignore").to_csv(folder / "links.csv", index=False)

    (toml,) = [block for block in blocks("README.md", "toml") if block.lstrip().startswith("# $SCMAGNIFY_HOME")]
    (home / "references.toml").write_text(toml)
    declared = tomllib.loads(toml)["hg38"]
    (home / declared["genome"]).write_bytes(gzip.decompress(simulated["genome"].read_bytes()))
    for key in ("annotation", "motifs", "tf_list"):
        shutil.copy(simulated[key], home / declared[key])
    (home / "incoming" / "defaults.toml").write_text(FAST)
    (folder / "marrow.toml").write_text('cluster_key = "cell_type"\nroot = "HSC"\nreferences = "hg38"\n')
    return sandbox


def test_commands_of_the_first_tutorial(sandbox: Sandbox) -> None:
    _run_page(sandbox, "docs/tutorials/first-data-set.md")
    assert {"demo.html", "demo.h5mu", "demo.graphml", "edges.csv", "selected.csv"} <= {
        path.name for path in sandbox.folder.iterdir()
    }


@pytest.fixture(scope="module")
def own_data(sandbox: Sandbox) -> str:
    """The tutorial on own data was followed; what it printed."""
    return _run_page(sandbox, "docs/tutorials/own-data.md")


def test_commands_of_the_tutorial_on_own_data(own_data: str) -> None:
    assert "celloracle" in own_data


@pytest.mark.usefixtures("own_data")  # it adds the two branches that one question compares
def test_queries_of_the_cookbook_have_answers(sandbox: Sandbox) -> None:
    from scmagnify_assets.doors.notebook import open_lake

    lake = open_lake(sandbox.folder / "scmagnify_home")
    queries = blocks("docs/cookbook.md", "sql")
    assert len(queries) == 20
    empty = [query for query in queries if lake.sql(query).empty]
    assert not empty


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/notebook.md"])
def test_programs_run(sandbox: Sandbox, page: str) -> None:
    (sandbox.folder / "program.py").write_text("\n".join(blocks(page, "python")))
    sandbox.run("python program.py")


def test_every_figure_of_the_page_on_figures_is_drawn(sandbox: Sandbox) -> None:
    """The table's calls too, with genes and data sets in the places of its stand-ins."""
    page = "docs/plots.md"
    calls = re.findall(r"^\| `(plot_\w+\(.*?)` \|", PAGES[page].read_text(), re.MULTILINE)
    assert len(calls) > 20
    program = [*blocks(page, "python"), "from scmagnify_core.plots import *", TRENDS]
    for call in calls:
        real = call.replace('"GENE"', '"G013"').replace('"a"', '"demo"').replace('"b"', '"demo"')
        program.append(f"{real}.savefig('figure.png')")
    (sandbox.folder / "figures.py").write_text("\n".join(program))
    sandbox.run("python figures.py")


def test_commands_of_the_readme(sandbox: Sandbox) -> None:
    _run_page(sandbox, "README.md")


def test_no_page_has_a_block_that_nothing_runs() -> None:
    """Every fence is of a language that a test above runs or reads, or says that it is output."""
    run = {
        "README.md": {"console", "toml", "python", "text"}, "docs/cookbook.md": {"sql"}, "docs/dictionary.md": {"sql"},
        "docs/tutorials/first-data-set.md": {"console"}, "docs/tutorials/own-data.md": {"console", "toml"},
        "docs/tutorials/notebook.md": {"python"}, "docs/plots.md": {"python"},
        "docs/adding-a-method.md": {"toml", "python", "text"}, "docs/families/scmagnify.md": {"toml"},
    }  # fmt: skip
    for page in PAGES:
        fences = set(re.findall(r"^```(\w+)", PAGES[page].read_text(), re.MULTILINE))
        assert fences <= run.get(page, set()), page


def test_settings_in_the_pages_are_known_keys(tmp_path: Path) -> None:
    from scmagnify_core.specification import parse_spec

    n_read = 0
    for page in PAGES:
        for block in blocks(page, "toml"):
            raw = tomllib.loads(block)
            if "hg38" in raw:
                continue  # the sandbox declares these references
            parse_spec({"name": "x", "file": "x.h5ad", **raw})
            n_read += 1
    assert n_read >= 2


def test_links_between_pages_lead_somewhere() -> None:
    for page, path in PAGES.items():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{page} links to {target}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html",
         "-d", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "site")],
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "top_regulators" in (tmp_path / "site" / "dictionary.html").read_text()
    assert (
        "granger_loss"
        in (tmp_path / "site" / "reference/generated/scmagnify_core.methods.grn.granger.model.html").read_text()
    )


def _run_page(sandbox: Sandbox, page: str) -> str:
    found = [command for command in commands(page) if not command.split("#")[0].strip().startswith(ELSEWHERE)]
    assert found
    return "\n".join(sandbox.run(command) for command in found)
