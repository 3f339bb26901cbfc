"""Checks on small networks in a real lake, run as Dagster runs them, for one partition."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from scmagnify_assets.datasets.partitions import partitions_of
from scmagnify_assets.graph.checks import reading
from scmagnify_assets.graph.checks.all import EACH
from scmagnify_assets.graph.checks.network import (
    edge_counts_are_usual,
    edges_are_candidates,
    loss_fell,
    seeds_agree_as_usual,
)
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Input, Materialization
from scmagnify_core.methods.families import METHODS
from scmagnify_core.network.network import Network, aggregate_seeds
from scmagnify_core.tables.catalogue import TABLES

MADE: dict[str, Any] = {
    "run_id": "run-1", "inputs": [], "parameters": {"network": {"top_fraction": 0.1}}, "file_sha256": "f" * 64,
}  # fmt: skip

INSTANCE = dg.DagsterInstance.ephemeral()
for _name in ("dataset", "dataset_scmagnify"):
    INSTANCE.add_dynamic_partitions(_name, ["x", "y"])
SCMAGNIFY = METHODS["scmagnify"]


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Path:
    """A lake with five networks: medians of 40 edges with weight, 10 selected, and agreement of 0.9 and 0.95."""
    root = tmp_path_factory.mktemp("former") / "lake"
    shutil.copytree(empty_lake, root)
    write_network(Lakehouse(root), 90, 10, agreement=[(0.4, 0.55)])  # odd
    write_network(Lakehouse(root), 38, 10, agreement=[(0.92, 0.97)])
    write_network(Lakehouse(root), 42, 10, agreement=[])  # one seed says nothing of the agreement
    write_network(Lakehouse(root), 40, 10, agreement=[(0.9, 0.95)])
    write_network(Lakehouse(root), 3, 10, agreement=[(1.0, np.nan)], n_top=0)  # odd, and nor do two empty lists
    return root


@pytest.fixture
def lake_with_history(tmp_path: Path, former: Path) -> Lakehouse:
    shutil.copytree(former, tmp_path / "lake")
    return Lakehouse(tmp_path / "lake")


def write_network(
    lake: Lakehouse,
    n_weight: int,
    n_selected: int,
    *,
    candidates: int = 100,
    agreement: Sequence[tuple[float, float]] = ((0.9, 0.95),),
    n_top: int = 10,
    dataset: str = "x",
    **made: Any,
) -> Materialization:
    """A network of so many candidates, of which the first have a weight and the first of those are selected."""
    names = pd.DataFrame({"source": "TF", "target": [f"g{i:04d}" for i in range(candidates)]})
    score = (np.arange(candidates) < n_weight) * np.linspace(1, 0.5, candidates)
    pairs = [(a, b) for b in range(1, 6) for a in range(b)][: len(agreement)]
    tables = {
        "multiscale_network": names.assign(lag=1, weight=score, magnitude=score, weight_sd=0.0),
        "edges": names.assign(
            score=score, signed_score=score, lag=1.0, peak_lag=1, n_seeds=2, stability=1.0, sign_agreement=1.0,
            score_sd=0.0, rank=np.arange(1, candidates + 1), is_selected=np.arange(candidates) < n_selected,
            has_weight=score > 0, pvalue=0.01, padj=np.nan,
        ),
        "seed_agreement": pd.DataFrame(
            [(*pair, n_top, *values) for pair, values in zip(pairs, agreement, strict=True)],
            columns=["seed_a", "seed_b", "n_top", "jaccard", "spearman"],
        ),
    }  # fmt: skip
    return lake.write("multiscale_network", dataset, None, tables, {}, **MADE | made)


def evaluate(check: dg.AssetChecksDefinition, lake: Lakehouse, key: str = "x") -> dg.AssetCheckEvaluation:
    """Run one check as Dagster does, after an asset of that name that leaves the lake as it is."""
    (spec,) = check.check_specs

    name = spec.asset_key.to_user_string()

    @dg.asset(name=name, partitions_def=partitions_of(RECORDS[name].family))
    def asset() -> None:
        pass

    result = dg.materialize(
        [asset, check],
        partition_key=key,
        instance=INSTANCE,
        resources={"lake": LakeResource(root=str(lake.root))},
    )
    (found,) = result.get_asset_check_evaluations()
    return found


def metadata(found: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in found.metadata.items()}


# -------------------------------------------------------------------- edge_counts_are_usual


@pytest.mark.parametrize(
    ("n_weight", "n_selected", "odd"),
    [
        (20, 10, []),  # half the median: still usual
        (80, 20, []),  # twice the median: still usual
        (19, 10, ["edges_with_weight"]),
        (81, 10, ["edges_with_weight"]),
        (40, 4, ["selected_edges"]),
        (40, 21, ["selected_edges"]),
    ],
)
def test_edge_counts_are_held_against_the_median_of_former_networks(
    lake_with_history: Lakehouse, n_weight: int, n_selected: int, odd: list[str]
) -> None:
    write_network(lake_with_history, n_weight, n_selected)
    found = evaluate(edge_counts_are_usual, lake_with_history)
    told = metadata(found)
    assert told["unusual"] == odd
    assert found.passed == (not odd)
    assert (told["edges_with_weight"], told["selected_edges"]) == (n_weight, n_selected)
    assert told["usual_edges_with_weight"] == "20 to 80"
    assert told["former_materializations"] == 5
    assert "median of 5" in told["compared_with"]
    assert (told["remedy"] == "none needed") == (not odd)


def test_edge_counts_look_no_further_back_than_the_history(
    lake_with_history: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HISTORY", 2)
    write_network(lake_with_history, 40, 10)
    write_network(lake_with_history, 60, 10)
    told = metadata(evaluate(edge_counts_are_usual, lake_with_history))
    assert told["usual_edges_with_weight"] == "11 to 43"  # half and twice of 21.5, the median of 3 and 40


def test_edge_counts_of_other_data_sets_take_no_part(lake_with_history: Lakehouse) -> None:
    write_network(lake_with_history, 3, 1, dataset="y")
    told = metadata(evaluate(edge_counts_are_usual, lake_with_history, "y"))
    assert told["former_materializations"] == 0
    assert told["edges_with_weight"] == 3


def test_edge_counts_judge_the_current_network_however_often_they_run(lake_with_history: Lakehouse) -> None:
    first, second = (metadata(evaluate(edge_counts_are_usual, lake_with_history)) for _ in range(2))
    assert first == second
    assert (first["edges_with_weight"], first["former_materializations"]) == (3, 4)


@pytest.mark.parametrize(
    ("n_weight", "n_selected", "top_fraction", "odd"),
    [
        (100, 20, 0.1, []),
        (100, 21, 0.1, ["selected_edges"]),  # ties: the selection selects nothing
        (5, 5, 0.1, []),
        (4, 4, 0.1, ["edges_with_weight", "selected_edges"]),
        (100, 21, 0.2, []),
    ],
)
def test_edge_counts_without_history_are_held_against_the_candidates(
    lake: Lakehouse, n_weight: int, n_selected: int, top_fraction: float, odd: list[str]
) -> None:
    write_network(lake, n_weight, n_selected, parameters={"network": {"top_fraction": top_fraction}})
    found = evaluate(edge_counts_are_usual, lake)
    assert metadata(found)["unusual"] == odd
    assert found.passed == (not odd)
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "100 candidates" in metadata(found)["compared_with"]


def test_edge_counts_take_removed_former_versions_for_absent(lake: Lakehouse) -> None:
    """Maintenance removes the files of former versions, their log, or both."""
    for former in (90, 40):
        write_network(lake, former, 10)
    first, second = lake.versions("edges", "x")["version"]
    write_network(lake, 40, 10)
    log = [json.loads(line) for line in (lake.root / f"edges/_delta_log/{first:020d}.json").read_text().splitlines()]
    for action in log:
        if "add" in action:
            (lake.root / "edges" / action["add"]["path"]).unlink()
    told = metadata(evaluate(edge_counts_are_usual, lake))
    assert (told["former_materializations"], told["former_that_were_removed"]) == (1, 1)
    assert told["usual_edges_with_weight"] == "20 to 80"

    for action in (
        json.loads(x) for x in (lake.root / f"edges/_delta_log/{second:020d}.json").read_text().splitlines()
    ):
        if "add" in action:
            (lake.root / "edges" / action["add"]["path"]).write_bytes(b"damaged")
    found = evaluate(edge_counts_are_usual, lake)
    assert found.passed
    assert "there is no history" in metadata(found)["compared_with"]
    assert metadata(found)["former_that_were_removed"] == 2


def test_edge_counts_say_what_changed_since_the_last_network(lake: Lakehouse) -> None:
    def read(seed: int, version: str) -> Input:
        return Input(f"model_{seed}", "x", None, "m", version)

    write_network(lake, 40, 10, inputs=[read(0, "a")])
    write_network(lake, 40, 10, inputs=[read(0, "a")])
    assert metadata(evaluate(edge_counts_are_usual, lake))["changed_since_the_last"] == []
    write_network(
        lake,
        40,
        10,
        inputs=[read(0, "b"), read(1, "c")],
        file_sha256="e" * 64,
        parameters={"network": {}},
        seeds=[0, 1],
    )
    assert metadata(evaluate(edge_counts_are_usual, lake))["changed_since_the_last"] == [
        "data file", "settings of the network", "seeds", "inputs",
    ]  # fmt: skip


@pytest.mark.parametrize("check", [edge_counts_are_usual, seeds_agree_as_usual])
def test_checks_of_history_have_nothing_to_say_without_a_network(
    check: dg.AssetChecksDefinition, lake: Lakehouse
) -> None:
    found = evaluate(check, lake)
    assert found.passed
    assert metadata(found)["verdict"] == "There is no network of 'x' yet."


# -------------------------------------------------------------------- seeds_agree_as_usual


@pytest.mark.parametrize(
    ("jaccard", "spearman", "problem"),
    [
        (0.9, 0.95, None),
        (1 / 3, 0.5, None),  # exactly what it takes
        (0.32, 0.95, "jaccard is 0.32; below 0.33"),
        (0.9, 0.49, "spearman is 0.49; below 0.50"),
        (0.9, np.nan, None),  # scores without an order: the lists still agree
    ],
)
def test_seeds_must_agree_enough_to_be_trusted(
    lake: Lakehouse, jaccard: float, spearman: float, problem: str | None
) -> None:
    write_network(lake, 40, 10, agreement=[(jaccard, spearman)])
    found = evaluate(seeds_agree_as_usual, lake)
    assert found.passed == (problem is None)
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert [text[: len(problem or "")] for text in metadata(found)["problems"]] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("jaccard", "spearman", "odd"),
    [(0.7, 0.75, []), (0.69, 0.95, ["jaccard"]), (0.9, 0.74, ["spearman"]), (1.0, 1.0, [])],
)
def test_seeds_must_not_agree_much_less_than_before(
    lake_with_history: Lakehouse, jaccard: float, spearman: float, odd: list[str]
) -> None:
    write_network(lake_with_history, 40, 10, agreement=[(jaccard, spearman)])
    told = metadata(evaluate(seeds_agree_as_usual, lake_with_history))
    assert (told["usual_jaccard"], told["usual_spearman"]) == (pytest.approx(0.9), pytest.approx(0.95))
    assert [problem.split()[0] for problem in told["problems"]] == odd
    assert all("median of 3 former networks" in problem for problem in told["problems"])


def test_agreement_of_seeds_is_the_mean_over_their_pairs(lake: Lakehouse) -> None:
    """Oracle: the agreement that core computes from networks, and means taken by hand."""
    rng = np.random.default_rng(0)
    index = np.arange(200)
    shared = rng.random(200)
    networks = {}
    for seed in range(3):
        weight = (shared + 0.1 * rng.random(200))[None]
        networks[seed] = Network(
            ("TF",), tuple(f"g{i:04d}" for i in index), np.zeros(200, dtype=int), index, weight, weight, weight * 0
        )
    value = aggregate_seeds(networks)
    tables = {"multiscale_network": value.to_table(), "edges": value.edges.assign(pvalue=np.nan, padj=np.nan)}
    tables["seed_agreement"] = value.agreement
    lake.write("multiscale_network", "x", None, tables, {}, **MADE)
    told = metadata(evaluate(seeds_agree_as_usual, lake))
    tops = [set(np.argsort(-networks[seed].weight[0])[:20]) for seed in range(3)]
    jaccards = [len(tops[a] & tops[b]) / len(tops[a] | tops[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert told["pairs_of_seeds"] == 3
    assert told["jaccard"] == pytest.approx(np.mean(jaccards), abs=1e-4)
    assert 0.5 < told["spearman"] < 1
    counts = metadata(evaluate(edge_counts_are_usual, lake))
    assert (counts["edges_with_weight"], counts["selected_edges"]) == (200, 20)


def test_one_seed_cannot_disagree(lake: Lakehouse) -> None:
    write_network(lake, 40, 10, agreement=[(0.9, 0.95)])
    write_network(lake, 40, 10, agreement=[])
    found = evaluate(seeds_agree_as_usual, lake)
    assert found.passed
    assert metadata(found)["verdict"].startswith("One seed cannot disagree")
    assert "--seeds 3" in metadata(found)["remedy"]


def test_seeds_that_agree_on_nothing_do_not_agree(lake: Lakehouse) -> None:
    """Core gives two empty lists a Jaccard index of 1."""
    write_network(lake, 0, 0, agreement=[(1.0, np.nan)] * 3, n_top=0)
    found = evaluate(seeds_agree_as_usual, lake)
    assert not found.passed
    assert metadata(found)["problems"] == ["no seed has any edge with a weight"]


# -------------------------------------------------------------------- blocking or not


@pytest.mark.parametrize(("losses", "passed"), [((1.0, 0.5), True), ((0.5, 0.5), False)])
def test_loss_that_did_not_fall_is_a_warning(lake: Lakehouse, losses: tuple[float, float], passed: bool) -> None:
    history = pd.DataFrame({"epoch": [1, 2], "value": losses}).assign(measure="loss", method="scmagnify", seed=0)
    other = history.assign(measure="learning_rate", value=[0.1, 0.2])
    tables = {"fit_history": pd.concat([history, other])}
    lake.write("scmagnify_model", "x", None, tables, {"seed_0.safetensors": b"none"}, **MADE)
    found = evaluate(loss_fell(SCMAGNIFY), lake)
    assert found.passed == passed
    assert found.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(("target", "passed"), [("g1", True), ("g2", False)])
def test_edges_of_a_family_are_the_candidates(lake: Lakehouse, target: str, passed: bool) -> None:
    candidates = pd.DataFrame({"source": "TF", "target": ["g0", "g1"]})
    prior = candidates.assign(weight=1.0, evidence="imported", origin="f").reindex(
        columns=[column.name for column in TABLES["prior_network"].body]
    )
    lake.write("prior_network", "x", None, {"prior_network": prior}, {}, **MADE)
    columns = [column.name for column in TABLES["networks"].body]
    edges = pd.DataFrame({"source": "TF", "target": ["g0", target], "score": [2.0, 1.0], "rank": [1, 2]})
    edges = edges.assign(method="scmagnify", context="all", signed_score=edges["score"]).reindex(columns=columns)
    lake.write("scmagnify_network", "x", None, {"networks": edges}, {}, **MADE)
    # What another asset has in the same table takes no part.
    lake.write("baseline_networks", "x", None, {"networks": edges.assign(method="ridge", target="h")[:1]}, {}, **MADE)
    if passed:
        assert evaluate(edges_are_candidates(SCMAGNIFY), lake).passed
    else:
        with pytest.raises(dg.DagsterError, match="edges_are_candidates"):
            evaluate(edges_are_candidates(SCMAGNIFY), lake)


def test_checks_that_block_stand_for_errors_and_others_for_warnings(lake: Lakehouse) -> None:
    """What does not block must not look like an error: people are told of failed runs, and only of those."""
    write_network(lake, 0, 0, agreement=[(0.1, 0.1)])
    outcomes = {}
    for check in EACH:
        (spec,) = check.check_specs
        if spec.asset_key.to_user_string() == "multiscale_network" and spec.name != "results_are_of_current_file":
            if spec.blocking:
                if spec.name == "network_is_not_empty":
                    with pytest.raises(dg.DagsterError, match="network_is_not_empty"):
                        evaluate(check, lake)
                continue
            outcomes[spec.name] = evaluate(check, lake)
    assert {name: found.passed for name, found in outcomes.items()} == {
        "edge_counts_are_usual": False, "seeds_agree_as_usual": False,
    }  # fmt: skip
    assert {found.severity for found in outcomes.values()} == {dg.AssetCheckSeverity.WARN}
