"""A home with hand-made results of one data set, and the command line in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from scmagnify_assets.datasets import registry
from scmagnify_assets.doors.cli.app import out
from scmagnify_assets.doors.cli.main import app
from scmagnify_assets.graph.codecs import REPORT
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.tables.catalogue import TABLES

MADE = {"run_id": "none", "inputs": (), "parameters": {}, "file_sha256": "f" * 64}
Shell = Callable[..., Result]


def scores(methods: list[str]) -> pd.DataFrame:
    """Scores of these methods, better ones first."""
    n = len(methods)
    known = {
        "method": methods, "truth": "planted", "prior_edges": "only", "n_true": 5, "n_universe": 12, "density": 0.4,
        "auprc": 0.5, "auprc_ratio": np.linspace(3, 1, n), "epr": 2.0, "epr_ceiling": 3.0, "auprc_ratio_low": 1.0,
        "auprc_ratio_high": 4.0, "variant": "canonical", "preset": "recommended",
    }  # fmt: skip
    columns = [column.name for column in TABLES["network_scores"].body]
    return pd.DataFrame(known).reindex(columns=columns)


def edges() -> pd.DataFrame:
    """Twelve edges, of which every third is not kept by the model."""
    pairs = pd.MultiIndex.from_product([["T1", "T2", "T3"], ["g1", "g2", "g3", "g4"]], names=["source", "target"])
    score = np.arange(12, 0, -1) / 12
    signed = score * np.where(np.arange(12) % 2, -1, 1)
    return pd.DataFrame(
        {
            "score": score, "signed_score": signed, "lag": 2.0, "peak_lag": 2, "n_seeds": 2, "stability": 1.0,
            "sign_agreement": 1.0, "score_sd": 0.1, "rank": np.arange(1, 13), "is_selected": score > 0.5,
            "has_weight": np.arange(12) % 3 > 0, "pvalue": 0.01, "padj": 0.02,
        },
        index=pairs,
    ).reset_index()  # fmt: skip


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Home:
    """A home with the data set `blood`: registered, with a network, scores and a report. Not to be written to."""
    home = Home(tmp_path_factory.mktemp("results") / "home")
    shutil.copytree(empty_home, home.root)
    lake, file = Lakehouse(home.lake), home.root / "blood.h5ad"
    lake.create()
    file.write_bytes(b"never read")
    registry.register(lake, {"name": "blood", "file": str(file), "species": "mouse", "seeds": 2})
    network = edges()
    lags = network[["source", "target"]].assign(lag=2, weight=network["signed_score"], magnitude=network["score"],
                                                weight_sd=0.0)  # fmt: skip
    agreement = pd.DataFrame({"seed_a": [0], "seed_b": [1], "n_top": 3, "jaccard": 0.5, "spearman": 0.5})
    tables = {"multiscale_network": lags, "edges": network, "seed_agreement": agreement}
    lake.write("multiscale_network", "blood", None, tables, {}, **MADE)
    table = scores(["scmagnify", "ridge", "shuffled_prior", "celloracle", "unheard_of"])
    lake.write("network_scores", "blood", None, {"network_scores": table}, {}, **MADE)
    lake.write("report", "blood", None, {}, {REPORT: b"<!DOCTYPE html> blood"}, **MADE)
    return home


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs the command in this process, with 200 columns; errors of the user are raised."""
    monkeypatch.setattr(out, "width", 200)  # it was measured when the module was imported

    def run(*words: object, status: int = 0) -> Result:
        done = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"}, prog_name="scmagnify")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return done

    return run


@pytest.fixture
def blood(results: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The home with results, as the one that commands find."""
    monkeypatch.setenv("SCMAGNIFY_HOME", str(results.root))
    return results
