"""A family is one module and one line: what follows by itself, seen in a process that knows three families more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAM = """
import json, sys
from pathlib import Path
from scmagnify_assets.datasets import registry
from scmagnify_assets.definitions import defs
from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import open_instance, run_dataset
from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.page import index_of, page_of
from scmagnify_core.settings import settings

home, raw = Home(Path(sys.argv[1])), json.loads(sys.argv[2])
lake = Lakehouse(home.lake)
with open_instance(home):
    pass
for one in raw:
    registry.register(lake, one)
    run_dataset(home, one["name"], log_level="CRITICAL")
with open_instance(home) as instance:
    partitions = {
        name: sorted(instance.get_dynamic_partitions(f"dataset_{name}"))
        for name in ("scmagnify", "toy_network", "toy_programs", "toy_samples")
    }

def rows(query):
    return lake.sql(query).to_pylist()

report = lake.artifact_path("report", "all_methods", None, "report.html").read_text(encoding="utf-8")
print(json.dumps({
    "keys": [one.key for one in settings()],
    "assets": [asset.key.to_user_string() for asset in ASSETS],
    "partitions": partitions,
    "made": rows("SELECT dataset, asset FROM lineage WHERE run_id <> 'none'"),
    "networks": rows("SELECT dataset, method, count(*) AS n, count(probability) AS n_known, count(lag) AS n_lags, "
                     "max(weight_sd) AS sd FROM networks GROUP BY ALL"),
    "edges": rows("SELECT e.dataset, count(*) AS n, bool_and(abs(e.score - n.score) < 1e-6) AS is_same FROM edges e "
                  "JOIN networks n USING (dataset, source, target) WHERE n.method = 'toy_network' GROUP BY ALL"),
    "programs": rows("SELECT dataset, method, program, kind, count(*) AS n FROM gene_programs GROUP BY ALL"),
    "usage": rows("SELECT dataset, method, count(*) AS n FROM program_usage GROUP BY ALL"),
    "distances": rows("SELECT dataset, method, count(*) AS n FROM sample_distances GROUP BY ALL"),
    "embeddings": rows("SELECT dataset, method, max(dimension) AS n FROM cell_embeddings GROUP BY ALL"),
    "board": [row["method"] for row in rows("SELECT DISTINCT method FROM leaderboard")],
    "history": rows("SELECT DISTINCT method, measure FROM fit_history"),
    "cells": rows("SELECT dataset, count(*) AS n FROM cells GROUP BY ALL"),
    "activities": rows("SELECT dataset, count(*) AS n FROM tf_activity GROUP BY ALL"),
    "report": [one.title in report for one in FAMILIES.values() if one.name.startswith("toy")],
    "page": page_of(FAMILIES["toy_network"]),
    "index": index_of(FAMILIES),
}, default=str))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory, simulated):
    """What a process with the toy families sees after a run of two data sets."""
    home = tmp_path_factory.mktemp("families") / "home"
    common = {"file": str(simulated["data"]), "cluster_key": "cell_type", "sample_key": "sample", "seeds": 2}
    files = {key: str(simulated[key]) for key in ("prior", "truth")}
    fast = {"scmagnify": {"n_lags": 3, "max_epochs": 2}}
    raw = [
        {"name": "all_methods", "methods": ["all"], **common, **files, **fast},
        {"name": "toys_only", "methods": ["toy_network", "toy_programs"], **common, **files},
        {"name": "no_network", "methods": ["toy_programs", "toy_samples"], **common},
    ]
    environment = os.environ | {
        "SCMAGNIFY_FAMILIES": "toy_families", "SCMAGNIFY_HOME": str(home), "PYTHONPATH": f"{ROOT}:{HERE}",
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, str(home), json.dumps(raw)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def of(rows, **where):
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def test_a_family_has_a_table_in_the_toml_and_assets(seen):
    assert "toy_network.shrink" in seen["keys"]
    assert {f"toy_{name}_model" for name in ("network", "programs", "samples")} <= set(seen["assets"])
    assert {"toy_network_network", "toy_programs_programs", "toy_samples_samples"} <= set(seen["assets"])


def test_networks_of_all_methods_are_in_one_table(seen):
    n_edges = of(seen["networks"], dataset="all_methods", method="scmagnify")[0]["n"]
    assert n_edges > 100
    (toy,) = of(seen["networks"], dataset="all_methods", method="toy_network")
    assert toy == {
        "dataset": "all_methods", "method": "toy_network", "n": n_edges, "n_known": n_edges, "n_lags": 0, "sd": 0.1,
    }  # fmt: skip
    assert of(seen["networks"], method="ridge", dataset="all_methods")[0]["n"] == n_edges
    assert {row["method"] for row in seen["history"]} == {"scmagnify", "toy_network"}


def test_programs_and_samples_are_rows(seen):
    assert {(row["program"], row["kind"], row["n"]) for row in of(seen["programs"], dataset="all_methods")} == {
        ("p1", "baseline", 5), ("p2", "case", 5),
    }  # fmt: skip
    (cells,) = of(seen["cells"], dataset="all_methods")
    assert of(seen["usage"], dataset="all_methods")[0]["n"] == 2 * cells["n"]
    assert of(seen["embeddings"], dataset="all_methods") == [{"dataset": "all_methods", "method": "toy_u", "n": 2}]
    (distances,) = of(seen["distances"], dataset="all_methods")
    assert distances["n"] >= 4


def test_a_family_is_on_the_leaderboard_in_the_report_and_in_the_documentation(seen):
    assert {"scmagnify", "toy_network", "ridge", "random"} <= set(seen["board"])
    assert seen["report"] == [True, True, True]
    assert "`[toy_network]`" in seen["page"]
    assert 'methods = ["toy_network"]' in seen["page"]
    assert "[toy_samples](toy_samples.md)" in seen["index"]


def test_any_method_can_be_interpreted(seen):
    (edges,) = of(seen["edges"], dataset="toys_only")
    assert edges["is_same"]
    assert of(seen["activities"], dataset="toys_only")[0]["n"] > 0


def test_what_is_not_wanted_costs_nothing(seen):
    assert seen["partitions"] == {
        "scmagnify": ["all_methods"], "toy_network": ["all_methods", "toys_only"],
        "toy_programs": ["all_methods", "no_network", "toys_only"], "toy_samples": ["all_methods", "no_network"],
    }  # fmt: skip
    made = {row["asset"] for row in of(seen["made"], dataset="no_network")}
    assert "toy_samples_samples" in made
    assert not made & {"scmagnify_model", "scmagnify_network", "toy_network_model", "toy_network_network"}
    assert not of(seen["activities"], dataset="no_network")
    assert not of(seen["networks"], dataset="no_network")
