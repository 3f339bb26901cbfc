"""A lake with one small registered data set, for tests of assets and the command line."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import open_instance

FAST = {
    "seeds": 2,
    "scmagnify": {"n_lags": 3, "max_epochs": 4, "hidden": [8]},
    "communication": {"n_permutations": 50},
}


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without data sets, to be copied: making its tables and Dagster's takes seconds, copying them none."""
    home = Home(tmp_path_factory.mktemp("template") / "home")
    with open_instance(home):
        pass
    return home.root


@pytest.fixture(scope="session")
def empty_lake(empty_home: Path) -> Path:
    """The lake of that home, to be copied."""
    return Home(empty_home).lake


@pytest.fixture
def lake(tmp_path: Path, empty_lake: Path) -> Lakehouse:
    """An empty lake; its ``lake.duckdb`` is of another folder."""
    shutil.copytree(empty_lake, tmp_path / "lake")
    return Lakehouse(tmp_path / "lake")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> Home:
    shutil.copytree(empty_home, tmp_path / "home")
    monkeypatch.setenv("SCMAGNIFY_HOME", str(tmp_path / "home"))
    return Home.find()


@pytest.fixture
def raw_settings(settings_of_simulated: dict[str, Any]) -> dict[str, Any]:
    return settings_of_simulated


@pytest.fixture(scope="session")
def settings_of_simulated(simulated: dict[str, Path]) -> dict[str, Any]:
    """Settings of the small planted data set, quick to run."""
    files = {key: str(simulated[key]) for key in ("prior", "truth", "ligand_receptor", "receptor_tf")}
    keys = ("genome", "annotation", "motifs", "motif_to_tf", "tf_list")
    references = {key: str(simulated[key]) for key in keys}
    name = {"name": "small", "file": str(simulated["data"]), "cluster_key": "cell_type"}
    return {**name, **files, "references": references, **FAST}
