"""`scmagnify run` and `settings`: which run is asked for, and what is shown after it."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from scmagnify_assets.doors.cli import runs as module
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.steps.progress import report
from scmagnify_core.errors import InputError
from scmagnify_core.methods.families import FAMILIES, METHODS
from scmagnify_core.methods.family import Input, Kind, NoSettings
from scmagnify_core.specification import parse_spec
from scmagnify_core.tables.catalogue import TABLES

MADE = {"run_id": "none", "inputs": (), "parameters": {}, "file_sha256": "f" * 64}
PROGRAMS = replace(
    FAMILIES["scmagnify"], name="toy_programs", title="toy programs", kind=Kind.PROGRAMS, config=NoSettings,
    reads=frozenset({Input.EXPRESSION}), presets={},
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Runs that were asked for; none is made."""
    asked: list[dict[str, Any]] = []

    def run_dataset(home: Home, name: str, **options: Any) -> None:
        report("network_scores", 1, 2, "half way")
        asked.append({"name": name, **options})

    monkeypatch.setattr("scmagnify_assets.service.runner.run_dataset", run_dataset)
    return asked


def test_run_hands_its_options_to_the_run(shell, blood: Home, asked) -> None:
    shell("run", "blood")
    shell("run", "blood", "--method", "all", "--set", "network.max_cv=0.5", "--seeds", "2",
          "--preset", "published", "--select", "edges", "-v")  # fmt: skip
    assert asked == [
        {"name": "blood", "seeds": None, "settings": (), "preset": None, "select": (), "log_level": "CRITICAL"},
        {
            "name": "blood", "seeds": 2, "settings": ("network.max_cv=0.5", 'methods=["all"]'),
            "preset": "published", "select": ("edges",), "log_level": "INFO",
        },
    ]  # fmt: skip
    with pytest.raises(InputError, match="'nothing' is not a method: methods are"):
        shell("run", "blood", "--method", "nothing")


def test_after_a_run_edges_scores_and_what_to_ask_next_are_shown(shell, blood: Home, asked) -> None:
    done = shell("run", "blood")
    said = done.stdout
    assert "Strongest edges of blood\n" in said
    first = next(line for line in said.splitlines() if line.startswith("T1"))
    assert first.split()[:3] == ["T1", "g1", "1"]
    assert [line.split("order of candidates")[1].split()[0] for line in said.splitlines() if "planted" in line] == [
        "scmagnify", "ridge", "shuffled_prior",
    ]  # fmt: skip
    assert "What the methods made" not in said
    assert "FROM edge_provenance WHERE dataset = 'blood'" in said
    assert "edge_evidence" not in said, "there are no motifs"
    assert said.rstrip().endswith("report blood --open")


def test_scores_are_of_the_methods_of_the_run_and_of_networks_made_elsewhere(
    blood: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.out, "width", 200)
    raw = {"name": "blood", "file": "/in/x.h5ad"}
    module.summarize(parse_spec(raw | {"networks": {"celloracle": "/in/links.csv"}}))
    said = capsys.readouterr().out
    assert "celloracle" in said
    assert "unheard_of" not in said


def test_without_a_network_it_is_said_what_was_made(
    shell, home: Home, asked, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    from scmagnify_assets.datasets import registry

    monkeypatch.setitem(METHODS, PROGRAMS.name, PROGRAMS)
    lake = Lakehouse(home.lake)
    (tmp_path / "x.h5ad").touch()
    registry.register(lake, {"name": "x", "file": str(tmp_path / "x.h5ad"), "methods": ["toy_programs"]})
    said = shell("run", "x").stdout
    assert said == "", "nothing was made"
    genes = pd.DataFrame({"program": "p1", "kind": "baseline", "gene": [f"g{i}" for i in range(1200)], "weight": 0.5,
                          "rank": range(1, 1201)})  # fmt: skip
    columns = {name: [column.name for column in TABLES[name].body] for name in ("gene_programs", "program_usage")}
    tables = {
        "gene_programs": genes.assign(method="toy_programs").reindex(columns=columns["gene_programs"]),
        "program_usage": pd.DataFrame(columns=columns["program_usage"]),
    }
    lake.write("toy_programs_programs", "x", None, tables, {}, **MADE)
    said = shell("run", "x").stdout
    assert "Strongest edges" not in said
    assert "What the methods made of x" in said
    assert [line.split() for line in said.splitlines() if line.startswith("toy_programs")] == [
        ["toy_programs", "gene_programs", "1,200"]
    ]
    assert "FROM gene_programs WHERE dataset = 'x' LIMIT 10" in said


def test_progress_is_a_line_per_task(capsys: pytest.CaptureFixture[str]) -> None:
    with module.progress():
        report("scmagnify_model", 1, 4, "seed 0")
        report("toy_programs_model", 0, 0, "reading")
        report("scmagnify_model", 4, 4, "stored")
    said = capsys.readouterr().err
    assert said.count("scmagnify_model") == 1
    assert "stored" in said
    assert "seed 0" not in said
    assert "toy_programs_model" in said
    report("scmagnify_model", 1, 4, "nobody listens")


def test_settings_lists_a_table_or_a_key_under_its_present_and_its_former_name(shell) -> None:
    said = shell("settings", "scmagnify").output
    assert "n_lags" in said
    assert "integer >= 1" in said
    assert "lag_step" not in said
    assert shell("settings", "granger").output == said
    assert "backbone" not in shell("settings", "granger.n_lags").output
    said = shell("settings", "diffusion.lag_step").output
    assert '"none")' in said  # as published
    assert "n_neighbors" not in said
    whole = shell("settings").output
    assert "[scmagnify]" in whole
    assert "[diffusion]" in whole


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("grangr", "Did you mean 'scmagnify'?"),
        ("difusion", "Did you mean 'diffusion'?"),
        ("granger.n_lag", "Did you mean 'scmagnify.n_lags'?"),
        ("n_lags", "Did you mean 'scmagnify.n_lags'"),
        ("time_kye", "Did you mean 'time_key'?"),
        ("zzzz", "Tables: gene_association, "),
    ],
)
def test_a_mistyped_setting_names_the_nearest(shell, key: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        shell("settings", key)
    assert f"'{key}': is no setting. {said}" in str(refused.value)
