"""What runs by itself, when, and in what order; evaluated as the daemon does it, without a daemon."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.test_utils import freeze_time

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import announce_partitions
from scmagnify_assets.definitions import defs, resources
from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.graph.codecs import no_rows
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.versions import parameters_of
from scmagnify_assets.graph.waves import OVER_DATASETS, awaited_assets, waves
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import open_instance
from scmagnify_assets.steps import failures
from scmagnify_assets.steps.failures import DATASET_TAG
from scmagnify_assets.triggers import automation
from scmagnify_assets.triggers.automation import _tagged, automation_sensor, wanted_data_sets

EVENING = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
GRAPH = defs.resolve_asset_graph()
WAVES = [wave.assets for wave in waves(["scmagnify"]) if not wave.is_over_datasets]


class Platform:
    """The graph with its records; whatever is asked for can be reported as made, under a data version."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.lake, self.instance = home, Lakehouse(home.lake), instance
        self.cursor: Any = None
        self.monkeypatch = pytest.MonkeyPatch()
        self.now = EVENING
        self.wants_leaderboard = False
        self.evaluate()  # conditions start from the state at their first evaluation

    def add(self, raw: dict[str, Any]) -> None:
        registry.announce(self.instance, registry.register(self.lake, raw, replace=True))

    def evaluate(self, after: timedelta = timedelta(seconds=30)) -> dict[str, list[str]]:
        """What is asked for now: partitions by asset, in the order of the graph."""
        self.now += after
        # The tester asks Dagster's storage for the data sets some thousand times.
        known = {name: self.instance.get_dynamic_partitions(name) for name in ("dataset", "dataset_scmagnify")}
        self.monkeypatch.setattr(
            self.instance, "get_dynamic_partitions", lambda partitions_def_name: known[partitions_def_name]
        )
        result = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor, evaluation_time=self.now)
        self.monkeypatch.undo()
        self.cursor = result.cursor
        self.wants_leaderboard = None in result.get_requested_partitions(dg.AssetKey("leaderboard"))
        found = {
            asset.key.to_user_string(): sorted(map(str, result.get_requested_partitions(asset.key)))
            for asset in ASSETS
            if isinstance(asset, dg.AssetsDefinition) and asset.partitions_def is not None
        }
        return {name: keys for name, keys in found.items() if keys}

    def make(self, requests: dict[str, list[str]], version: str) -> None:
        for name, keys in requests.items():
            for key in keys:
                self.instance.report_runless_asset_event(
                    dg.AssetMaterialization(name, partition=key, tags={registry.DATA_VERSION: f"{version}-{key}"})
                )

    def settle(self, version: str) -> list[dict[str, list[str]]]:
        """Evaluate and make until nothing is asked for any more; returns the waves."""
        waves: list[dict[str, list[str]]] = []
        while (requests := self.evaluate()) and len(waves) < 9:
            waves.append(requests)
            self.make(requests, version)
        return waves


@pytest.fixture
def platform(home: Home) -> Iterator[Platform]:
    with open_instance(home) as instance:
        yield Platform(home, instance)


def waves_of(name: str) -> list[dict[str, list[str]]]:
    """All assets of a data set, wave by wave."""
    return [{asset: [name] for asset in wave} for wave in WAVES]


def test_a_new_data_set_runs_once_in_three_waves(platform: Platform, raw_settings: dict[str, Any]) -> None:
    platform.add(raw_settings | {"seeds": 3})
    assert platform.settle("v1") == waves_of("small")
    # The same results again start nothing.
    platform.make({"prior_network": ["small"], "scmagnify_model": ["small"], "regfactors": ["small"]}, "v1")
    assert platform.settle("v1") == []


def test_the_same_content_again_runs_nothing_and_a_changed_result_runs_what_follows(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.add(raw_settings | {"name": "other"})
    platform.settle("v1")
    platform.add(raw_settings)
    assert platform.settle("v2") == []
    platform.make({"scmagnify_model": ["small"]}, "v2")
    last = {"network_scores", "report"}
    first, then = platform.settle("v2")
    assert set(first) == {"scmagnify_network", *WAVES[2]} - last
    assert set(then) == last
    assert {tuple(keys) for keys in [*first.values(), *then.values()]} == {("small",)}


def test_a_knob_of_a_family_runs_that_family_and_what_follows(ran: Platform, raw_settings: dict[str, Any]) -> None:
    ran.add(raw_settings | {"scmagnify": raw_settings["scmagnify"] | {"sparsity": 0.3}})
    assert ran.settle("v2") == waves_of("small")[1:]
    assert ran.evaluate(after=timedelta(minutes=5)) == {}


def test_a_setting_runs_what_reads_it(ran: Platform, raw_settings: dict[str, Any], tmp_path: Path) -> None:
    ran.add(raw_settings | {"memory_budget": "20 GB"})  # decides how, not what
    assert ran.settle("v2") == []
    truth = tmp_path / "truth.csv"
    pd.read_parquet(raw_settings["truth"]).head(20).to_csv(truth, index=False)
    ran.add(raw_settings | {"truth": str(truth)})
    assert ran.settle("v3") == [{"network_scores": ["small"], "report": ["small"]}]
    ran.add(raw_settings | {"truth": str(truth), "min_cells": 11})
    assert ran.settle("v4") == waves_of("small")


@pytest.fixture
def ran(platform: Platform, raw_settings: dict[str, Any]) -> Platform:
    """A platform on which the data set was made of its settings, as far as lineage tells."""
    platform.add(raw_settings)
    platform.settle("v1")
    registration = registry.find(platform.lake, "small")
    for name in (name for wave in WAVES for name in wave):
        record = RECORDS[name]
        parameters, _ = parameters_of(record, registration, registration.spec())
        platform.lake.write(
            name, "small", None, {table.name: no_rows(table) for table in record.tables}, {"made": b"some"},
            run_id="r", inputs=(), parameters=parameters, file_sha256=registration.sha256,
        )  # fmt: skip
    return platform


def test_a_method_that_is_added_runs_and_one_that_is_not_wanted_has_no_partition(
    platform: Platform, raw_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.add(raw_settings)
    assert platform.instance.get_dynamic_partitions("dataset_scmagnify") == ["small"]
    spec = registry.find(platform.lake, "small").spec()
    announce_partitions(platform.instance, spec.model_copy(update={"methods": ()}))
    assert platform.instance.get_dynamic_partitions("dataset_scmagnify") == []
    assert platform.instance.get_dynamic_partitions("dataset") == ["small"]
    # Nothing waits for a family that the data set does not run.
    monkeypatch.setattr(automation, "wanted_data_sets", lambda family: {"small"} if family is None else set())
    assert set(platform.evaluate()) >= set(WAVES[0])
    platform.make({asset: ["small"] for asset in WAVES[0]}, "v1")
    assert not {"scmagnify_model", "scmagnify_network"} & set(platform.evaluate())


def test_nothing_is_made_from_an_old_network_while_a_new_one_is_on_its_way(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    """Activities read cells and network: new cells alone must not start them."""
    platform.add(raw_settings)
    platform.settle("v1")
    platform.make({"dataset": ["small"]}, "v2")
    assert "tf_activity" not in platform.evaluate()


def test_what_follows_a_failed_step_waits_and_is_asked_for_again_at_night(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.make(platform.evaluate(), "v1")
    assert set(platform.evaluate()) == set(WAVES[1])
    fail_training(platform)
    assert platform.evaluate() == {}  # a step failed: nobody but the user can mend that
    again = platform.evaluate(after=timedelta(hours=5))
    assert again == {"scmagnify_model": ["small"], "scmagnify_network": ["small"]}
    assert platform.evaluate() == {}


NO_RETRY = {"dagster/will_retry": "false"}  # as Dagster's own retries give up while the code server is away


def lose(platform: Platform, assets: Sequence[str]) -> None:
    """A run that was to make these assets of `small`, and whose process was killed."""
    run = platform.instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset(dg.AssetKey(asset) for asset in assets),
        tags={"dagster/partition": "small", DATASET_TAG: "small"},
    )
    with freeze_time(platform.now):  # else by the real clock, which once a day is near the night's tick
        platform.instance.report_run_failed(run)
    platform.instance.add_run_tags(run.run_id, NO_RETRY)


def test_what_a_lost_run_left_undone_is_asked_for_again_until_it_is_in_vain(
    platform: Platform, raw_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MAX_VAIN", 3)
    platform.add(raw_settings)
    first = platform.evaluate()
    lose(platform, tuple(first))
    for _ in range(2):
        assert platform.evaluate(after=timedelta(seconds=1)) == {}  # what was just asked for is not asked for again
        assert platform.evaluate(after=timedelta(minutes=5)) == first
        lose(platform, tuple(first))
    assert platform.evaluate(after=timedelta(seconds=1)) == platform.evaluate(after=timedelta(minutes=5)) == {}


def fail_training(platform: Platform) -> None:
    """Fails in earnest: its inputs were only said to be there."""
    result = dg.materialize(
        [*ASSETS, *CHECKS], selection=["scmagnify_model"], partition_key="small",
        instance=platform.instance, resources=resources(str(platform.home.lake)), raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )  # fmt: skip
    assert not result.success


def test_a_data_set_from_before_the_first_start_runs_at_night(home: Home, raw_settings: dict[str, Any]) -> None:
    with open_instance(home) as instance:
        registry.announce(instance, registry.register(Lakehouse(home.lake), raw_settings))
        platform = Platform(home, instance)
        assert platform.evaluate() == {}
        assert platform.evaluate(after=timedelta(hours=5)) == waves_of("small")[0]


def test_two_data_sets_do_not_wait_for_each_other(platform: Platform, raw_settings: dict[str, Any]) -> None:
    platform.add(raw_settings)
    platform.make(platform.evaluate(), "v1")
    platform.add(raw_settings | {"name": "other", "seeds": 1})
    requests = platform.evaluate()
    assert requests["scmagnify_model"] == ["small"]
    assert requests["dataset"] == ["other"]


def test_what_one_run_makes_in_order_is_not_made_again_beside_other_data_sets(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.add(raw_settings | {"name": "other"})
    platform.settle("v1")
    first = WAVES[0]
    job = defs.resolve_implicit_global_asset_job_def()
    run = platform.instance.create_run_for_job(job, asset_selection=frozenset(dg.AssetKey(asset) for asset in first))
    report_made(platform, first[0], run)
    platform.make({first[0]: ["other"]}, "v2")  # the newest partition is of another data set
    requests = platform.evaluate()
    assert {name: requests.get(name) for name in first[1:]} == {name: ["other"] for name in first[1:]}


def test_the_leaderboard_follows_the_scores_of_every_data_set_and_waits_for_none(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.add(raw_settings | {"name": "other"})  # of which nothing is ever made
    made = {"network_scores": ["small"]}
    platform.make(made, "v1")
    platform.evaluate()
    assert platform.wants_leaderboard
    platform.instance.report_runless_asset_event(dg.AssetMaterialization("leaderboard"))
    for version, is_new in (("v1", False), ("v2", True)):
        platform.evaluate()
        platform.make(made, version)
        platform.evaluate()
        assert platform.wants_leaderboard == is_new


def test_a_request_over_all_data_sets_has_no_data_set() -> None:
    assert DATASET_TAG not in _tagged(dg.RunRequest(asset_selection=[dg.AssetKey("leaderboard")])).tags
    assert _tagged(dg.RunRequest(partition_key="small")).tags[DATASET_TAG] == "small"


def test_wanted_data_sets_follow_the_registry(home: Home, raw_settings: dict[str, Any]) -> None:
    lake = Lakehouse(home.lake)
    assert wanted_data_sets(None) == set()
    registry.register(lake, raw_settings)
    assert wanted_data_sets(None) == wanted_data_sets("scmagnify") == {"small"}
    assert wanted_data_sets("deepsem") == set()
    registry.register(lake, raw_settings | {"name": "other"})
    assert wanted_data_sets("scmagnify") == {"small", "other"}


def test_the_sensor_keeps_its_class_when_dagster_copies_it() -> None:
    sensor = automation_sensor(awaited_assets())
    copy = sensor.with_attributes(metadata={})
    assert type(copy) is type(sensor)
    assert copy.default_status == dg.DefaultSensorStatus.RUNNING


class Daemon:
    """The sensor, tick by tick, as the daemon has the code server evaluate it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.sensor, self.cursor = instance, automation_sensor(awaited_assets()), None

    def tick(self, keep: bool = True) -> str:
        """What came of a tick; ``keep`` its cursor, or lose it as a daemon that is killed does."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=defs.get_repository_def()
        )
        data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor if keep else self.cursor
        if data.skip_message == "Nothing has happened.":
            return "skipped"
        return "asked" if data.run_requests else "nothing to do"


def test_nothing_is_evaluated_while_nothing_happens(
    platform: Platform, raw_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(platform.instance)
    assert [daemon.tick(), daemon.tick()] == ["nothing to do", "skipped"]
    platform.add(raw_settings)
    # What the daemon did not keep is asked for again; what it kept is not.
    assert [daemon.tick(keep=False), daemon.tick(), daemon.tick()] == ["asked", "asked", "skipped"]
    run = platform.instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset([dg.AssetKey("dataset")]), tags={"dagster/partition": "small"},
    )  # fmt: skip
    assert [daemon.tick(), daemon.tick()] == ["nothing to do", "skipped"]
    platform.make({"gene_association": ["small"]}, "v1")  # no other run waits for it
    assert daemon.tick() == "skipped"
    platform.make({"diffusion_operators": ["small"]}, "v1")
    assert [daemon.tick(), daemon.tick()] == ["nothing to do", "skipped"]
    platform.instance.report_run_canceled(run)
    assert [daemon.tick(), daemon.tick()] == ["nothing to do", "skipped"]
    monkeypatch.setattr(automation, "IDLE_SECONDS", 0)
    assert daemon.tick() == "nothing to do"  # looks all the same, now and then


def test_training_does_not_wait_for_the_baselines_but_the_scores_do(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    first = platform.evaluate()
    job = defs.resolve_implicit_global_asset_job_def()
    run = platform.instance.create_run_for_job(
        job, asset_selection=frozenset(dg.AssetKey(asset) for asset in first), tags={"dagster/partition": "small"}
    )
    platform.instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, job.name), run.run_id)
    assert platform.evaluate() == {}
    for asset in first:
        if asset != "baseline_networks":
            report_made(platform, asset, run)
    assert set(platform.evaluate()) == set(WAVES[1])
    platform.make({asset: ["small"] for asset in WAVES[1]}, "v1")
    assert set(platform.evaluate()) == set(WAVES[2]) - {"network_scores", "report"}
    report_made(platform, "baseline_networks", run)
    assert set(platform.evaluate()) == {"network_scores"}
    assert set(platform.evaluate()) == set()  # those that were just asked for come first
    platform.make({asset: ["small"] for asset in WAVES[2] if asset != "report"}, "v1")
    assert set(platform.evaluate()) == {"report"}


def report_made(platform: Platform, asset: str, run: dg.DagsterRun) -> None:
    """A run has made an asset of `small`."""
    made = dg.AssetMaterialization(asset, partition="small", tags={registry.DATA_VERSION: f"v2-{asset}"})
    event = DagsterEvent(
        DagsterEventType.ASSET_MATERIALIZATION.value, run.job_name, event_specific_data=StepMaterializationData(made)
    )
    platform.instance.report_dagster_event(event, run.run_id)


def test_a_failed_run_is_looked_after_at_every_tick(platform: Platform, raw_settings: dict[str, Any]) -> None:
    daemon = Daemon(platform.instance)
    platform.now = datetime.now(UTC)
    platform.add(raw_settings)
    daemon.tick()
    lose(platform, ["dataset"])
    assert "skipped" not in [daemon.tick(), daemon.tick()]


def test_every_asset_that_can_be_made_has_the_condition() -> None:
    for key in GRAPH.materializable_asset_keys:
        condition = GRAPH.get(key).automation_condition
        assert condition is not None, key
        over_all = key.to_user_string() in OVER_DATASETS
        assert condition.get_label() == ("when_any_data_set_changes" if over_all else "when_inputs_change")
