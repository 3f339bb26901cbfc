"""Whether results are up to date: by content for each data set, by time for the lake."""

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import FRESHNESS_EVALUATORS_BY_POLICY_TYPE
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time

from scmagnify_assets.datasets.partitions import DATASETS
from scmagnify_assets.graph import catalogue  # noqa: F401  (fills the records)
from scmagnify_assets.graph.codecs import no_rows
from scmagnify_assets.graph.freshness import FRESHNESS, results_are_of_current_file
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.lake.lineage import Materialization

OLD = {"file": "a" * 64, "prior": "b" * 64, "truth": "c" * 64}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Path:
    """A lake in which the data set x ran on the files `OLD`."""
    root = tmp_path_factory.mktemp("template") / "lake"
    shutil.copytree(empty_lake, root)
    lake = Lakehouse(root)
    register(lake, OLD)
    run(lake, OLD)
    return root


@pytest.fixture
def lake(tmp_path: Path, template: Path) -> Lakehouse:
    shutil.copytree(template, tmp_path / "lake")
    return Lakehouse(tmp_path / "lake")


def register(lake: Lakehouse, files: Mapping[str, str], dataset: str = "x") -> None:
    row = {
        "file": "/data/x.h5ad", "sha256": files["file"], "files": json.dumps(dict(files)), "size_bytes": 1,
        "species": "human", "spec": json.dumps({"name": dataset, "file": "/data/x.h5ad"}),
        "registered_at": datetime.now(UTC),
    }  # fmt: skip
    made = {"run_id": "none", "inputs": (), "parameters": {}, "file_sha256": files["file"]}
    lake.write("raw_dataset", dataset, None, {"datasets": pd.DataFrame([row])}, {}, **made)


def write(
    lake: Lakehouse,
    asset: str,
    inputs: Sequence[Materialization],
    files: Mapping[str, str],
    reads: str = "",
) -> Materialization:
    """A materialization without rows; its lineage is as the IO manager writes it."""
    tables = {table.name: no_rows(table) for table in RECORDS[asset].tables}
    return lake.write(
        asset, "x", None, tables, {"content": b"some"},
        run_id="r", inputs=[one.to_input() for one in inputs], file_sha256=files["file"],
        parameters={"sha256": {reads: files[reads]}} if reads else {},
    )  # fmt: skip


def run(lake: Lakehouse, files: Mapping[str, str]) -> None:
    raw = lake.current("raw_dataset", "x")
    assert raw is not None
    data = write(lake, "dataset", [raw], files)
    prior = write(lake, "prior_network", [data], files, reads="prior")
    model = write(lake, "scmagnify_model", [data, prior], files)
    network = write(lake, "multiscale_network", [model, prior], files)
    write(lake, "network_scores", [data, network], files, reads="truth")


def evaluate(lake: Lakehouse, dataset: str = "x") -> tuple[bool, dict[str, Any]]:
    @dg.asset(partitions_def=DATASETS)
    def multiscale_network() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dataset", [dataset])
        result = dg.materialize(
            [multiscale_network, results_are_of_current_file],
            partition_key=dataset,
            instance=instance,
            resources={"lake": LakeResource(root=str(lake.root))},
        )
    (found,) = result.get_asset_check_evaluations()
    assert found.severity == dg.AssetCheckSeverity.WARN
    return found.passed, {name: value.value for name, value in found.metadata.items()}


def test_results_of_the_registered_files_are_current(lake: Lakehouse) -> None:
    passed, told = evaluate(lake)
    assert passed
    assert told["files_compared"] == ["file", "prior"]
    assert (told["of_former_content"], told["remedy"]) == ([], "none needed")


@pytest.mark.parametrize(
    ("changed", "former"),
    [
        ({"file": "d" * 64}, ["file"]),
        ({"prior": "d" * 64}, ["prior"]),
        ({"file": "d" * 64, "prior": "e" * 64}, ["file", "prior"]),
        ({"truth": "d" * 64}, []),  # nothing of the network was made from it
        ({}, []),  # the same content again, with other settings
    ],
)
def test_results_of_former_files_are_not_current_until_the_next_run(
    lake: Lakehouse, changed: dict[str, str], former: list[str]
) -> None:
    register(lake, OLD | changed)
    passed, told = evaluate(lake)
    assert told["of_former_content"] == former
    assert passed == (not former)
    assert told["remedy"] == ("scmagnify run x" if former else "none needed")
    if len(former) == 2:  # any would do; a run is seven writes
        run(lake, OLD | changed)
        assert evaluate(lake)[0]


def test_a_prior_that_is_no_longer_used_is_former_content(lake: Lakehouse) -> None:
    register(lake, {key: value for key, value in OLD.items() if key != "prior"})
    assert evaluate(lake)[1]["of_former_content"] == ["prior"]


def test_a_network_that_is_made_again_of_a_former_model_is_not_current(lake: Lakehouse) -> None:
    """The newest write is not enough: what it was made from counts."""
    register(lake, OLD | {"prior": "d" * 64})
    model = lake.current("scmagnify_model", "x")
    assert model is not None
    write(lake, "multiscale_network", [model], OLD)
    assert evaluate(lake)[1]["of_former_content"] == ["prior"]


def test_a_data_set_without_a_network_has_nothing_out_of_date(lake: Lakehouse) -> None:
    register(lake, OLD, "new")
    passed, told = evaluate(lake, "new")
    assert passed
    assert told["verdict"] == "There is no network of 'new' yet."


# -------------------------------------------------------------------- the policy


@dg.asset(name="multiscale_network", partitions_def=DATASETS, freshness_policy=FRESHNESS)
def network() -> None:
    pass


def state(instance: dg.DagsterInstance, days: float) -> FreshnessState:
    """What Dagster's daemon finds so many days from now."""
    node = dg.Definitions(assets=[network]).resolve_asset_graph().get(network.key)
    evaluator = FRESHNESS_EVALUATORS_BY_POLICY_TYPE[type(FRESHNESS)]()
    with freeze_time(datetime.now(UTC) + timedelta(days=days)):
        return asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node))


def test_the_policy_warns_after_a_month_and_fails_after_a_quarter() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dataset", ["x", "y"])
        assert state(instance, 0) == FreshnessState.UNKNOWN
        dg.materialize([network], partition_key="x", instance=instance)
        assert [state(instance, days) for days in (0, 29, 31, 89, 91)] == [
            FreshnessState.PASS, FreshnessState.PASS, FreshnessState.WARN, FreshnessState.WARN, FreshnessState.FAIL,
        ]  # fmt: skip


def test_the_policy_is_met_by_any_data_set() -> None:
    """What Dagster does with partitions: the reason why data sets have a check of their own."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dataset", ["x", "y"])
        with freeze_time(datetime.now(UTC) - timedelta(days=100)):
            dg.materialize([network], partition_key="x", instance=instance)
        assert state(instance, 0) == FreshnessState.FAIL
        dg.materialize([network], partition_key="y", instance=instance)
        assert state(instance, 0) == FreshnessState.PASS
