"""`scmagnify add`, `demo`, `references` and `datasets`."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.doors.cli import data as module
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.errors import InputError


def registered(home: Home, name: str) -> dict[str, Any]:
    """The settings with which a data set was registered, which are those of its TOML."""
    raw = registry.find(Lakehouse(home.lake), name).raw
    assert tomllib.loads((home.incoming / f"{name}.toml").read_text()) == raw
    return dict(raw)


def test_options_and_settings_go_over_the_toml_beside_and_that_over_the_defaults(
    shell, home: Home, simulated: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(simulated["data"], tmp_path / "blood.h5mu")
    (tmp_path / "blood.toml").write_text('time_key = "pseudotime"\nseeds = 3\n[granger]\nn_lags = 4\nhidden = [8]\n')
    (home.incoming / "defaults.toml").write_text('seeds = 5\nspecies = "simulated"\n[scmagnify]\nn_lags = 9\n')
    shutil.copy(simulated["truth"], tmp_path / "truth.parquet")
    monkeypatch.chdir(tmp_path)
    said = shell(
        "add", "blood.h5mu", "--prior", simulated["prior"], "--truth", "truth.parquet", "--seeds", "2",
        "--cluster-key", "cell_type", "--method", "scmagnify", "--set", "granger.n_lags=2", "--min-cells", "3",
    ).stdout  # fmt: skip
    assert registered(home, "blood") == {
        "name": "blood", "file": str(tmp_path / "blood.h5mu"), "time_key": "pseudotime", "seeds": 2,
        "species": "simulated", "cluster_key": "cell_type", "methods": ["scmagnify"], "min_cells": 3,
        "prior": [str(simulated["prior"])], "truth": str(tmp_path / "truth.parquet"),
        "scmagnify": {"n_lags": 2, "hidden": [8]},
    }  # fmt: skip
    assert said.startswith("blood: 300 cells x")
    assert "run blood" in said.splitlines()[-1]
    listed = shell("datasets").stdout
    assert "simulated" in listed
    assert str(tmp_path / "blood.h5mu") in listed


def test_a_name_that_is_taken_is_given_only_with_replace(
    shell, home: Home, simulated: dict[str, Path], tmp_path: Path
) -> None:
    options = ("--name", "x", "--time-key", "pseudotime")
    shell("add", simulated["data"], *options)
    with pytest.raises(InputError, match="name 'x': is taken by other settings"):
        shell("add", simulated["data"], *options, "--cluster-key", "cell_type")
    assert "cluster_key" not in registered(home, "x")
    shell("add", simulated["data"], *options, "--cluster-key", "cell_type", "--replace")
    assert registered(home, "x")["cluster_key"] == "cell_type"


def test_what_is_wrong_is_refused_before_anything_is_registered(shell, home: Home, simulated, tmp_path: Path) -> None:
    for words, said in (
        (("--time-key", "no_such"), "no_such"),
        (("--interpret", "ridge"), "'ridge' is no network method"),
        (("--set", "time_kye=t"), "did you mean 'time_key'"),
        (("--network", "links.csv"), "--network links.csv: is not of the form NAME=FILE"),
        (("--references", "hg99"), "no references are declared"),
    ):
        with pytest.raises(InputError, match=said):
            shell("add", simulated["data"], "--name", "x", *words)
    with pytest.raises(InputError, match="there is no such file"):
        shell("add", tmp_path / "none.toml")
    assert not list(home.incoming.iterdir())
    assert registry.names(Lakehouse(home.lake)) == []
    assert "No data sets yet. Add one: scmagnify add FILE" in shell("datasets").stdout


def test_references_are_listed_with_what_is_missing_and_how_to_get_it(shell, home: Home, tmp_path: Path) -> None:
    said = shell("references").stdout
    assert "No references are declared yet." in said
    example = tomllib.loads(module.REFERENCES_EXAMPLE)
    assert set(example["hg38"]) <= {"species", "build", "genome", "annotation", "motifs", "tf_list"}
    (home.root / "there.fa").touch()
    home.references.write_text('[hg38]\ngenome = "there.fa"\nmotifs = "absent.meme"\n')
    said = shell("references", status=1).stdout
    assert str(home.root / "there.fa") in said
    assert f"missing {home.root / 'absent.meme'}" in said
    (home.root / "absent.meme").touch()
    assert "missing" not in shell("references").stdout


def test_demo_registers_what_it_simulated_and_runs_it(shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(module, "run_and_show", lambda home, name: ran.append(name))
    said = shell("demo", "--cells", "60", "--seeds", "1").stdout
    assert ran == ["demo"]
    assert said.startswith("demo: 60 cells")
    spec = registry.find(Lakehouse(home.lake), "demo").spec()
    assert spec.seeds == 1
    assert spec.truth is not None
    assert spec.references is not None
