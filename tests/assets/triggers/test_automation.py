"""What runs by itself, when, and in what order; evaluated as the daemon does it, without a daemon."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.test_utils import freeze_time

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import DATASET_SEEDS, OVER_DATASETS, RANGE_END, RANGE_START, join_key
from scmagnify_assets.definitions import ASSETS, defs, resources
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.service.runner import WAVES, open_instance
from scmagnify_assets.steps import failures
from scmagnify_assets.steps.failures import DATASET_TAG
from scmagnify_assets.triggers import automation
from scmagnify_assets.triggers.automation import AWAITED, _tagged, automation_sensor, join_seeds, seeds_of_datasets

EVENING = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
GRAPH = defs.resolve_asset_graph()


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
        known = self.instance.get_dynamic_partitions("dataset")
        self.monkeypatch.setattr(self.instance, "get_dynamic_partitions", lambda partitions_def_name: known)
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


def waves_of(name: str, n_seeds: int) -> list[dict[str, list[str]]]:
    """All assets of a data set, wave by wave."""
    seeds = [f"{name}|{seed}" for seed in range(n_seeds)]
    keys = ([name], seeds, [name])
    return [dict.fromkeys(wave, those) for wave, those in zip(WAVES, keys, strict=True)]


def test_a_new_data_set_runs_once_in_three_waves_with_its_own_seeds(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings | {"seeds": 3})
    assert platform.settle("v1") == waves_of("small", 3)
    # The same results again start nothing.
    platform.make({"prior_network": ["small"], "trained_model": ["small|0"], "regfactors": ["small"]}, "v1")
    assert platform.settle("v1") == []


def test_the_same_content_again_runs_nothing_and_other_content_runs_all(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.settle("v1")
    platform.add(raw_settings)
    assert platform.settle("v2") == []
    platform.add(raw_settings | {"min_cells": 11})
    assert platform.settle("v2") == waves_of("small", 2)


def test_one_seed_retrained_runs_its_descendants_and_nothing_else(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings)
    platform.add(raw_settings | {"name": "other"})
    platform.settle("v1")
    platform.make({"trained_model": ["small|1"]}, "v2")
    assert platform.settle("v2") == [{"seed_network": ["small|1"]}, {asset: ["small"] for asset in WAVES[2]}]


def test_the_network_waits_for_every_seed_in_use(platform: Platform, raw_settings: dict[str, Any]) -> None:
    platform.add(raw_settings | {"seeds": 3})
    platform.make(platform.evaluate(), "v1")
    requests = platform.evaluate()
    platform.make({name: keys[:2] for name, keys in requests.items()}, "v1")
    assert platform.evaluate() == {}
    platform.make({name: keys[2:] for name, keys in requests.items()}, "v1")
    assert set(platform.evaluate()) == set(WAVES[2])


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
    fail_training(platform, [0, 1])
    assert platform.evaluate() == {}  # a step failed: nobody but the user can mend that
    again = platform.evaluate(after=timedelta(hours=5))
    assert again == {"trained_model": ["small|0", "small|1"], "seed_network": ["small|0", "small|1"]}
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


def test_a_failed_seed_that_is_no_longer_asked_for_holds_up_nothing(
    platform: Platform, raw_settings: dict[str, Any]
) -> None:
    platform.add(raw_settings | {"seeds": 3})
    platform.make(platform.evaluate(), "v1")
    platform.make({name: keys[:2] for name, keys in platform.evaluate().items()}, "v1")
    fail_training(platform, [2])
    assert platform.settle("v1") == []
    platform.add(raw_settings | {"seeds": 2})
    assert platform.settle("v2") == waves_of("small", 2)


def fail_training(platform: Platform, seeds: Sequence[int]) -> None:
    """Fails in earnest: its inputs were only said to be there."""
    for seed in seeds:
        result = dg.materialize(
            [*ASSETS, *CHECKS], selection=["trained_model"], partition_key=join_key("small", seed),
            instance=platform.instance, resources=resources(str(platform.home.lake)), raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )  # fmt: skip
        assert not result.success


def test_a_data_set_from_before_the_first_start_runs_at_night(home: Home, raw_settings: dict[str, Any]) -> None:
    with open_instance(home) as instance:
        registry.announce(instance, registry.register(Lakehouse(home.lake), raw_settings))
        platform = Platform(home, instance)
        assert platform.evaluate() == {}
        assert platform.evaluate(after=timedelta(hours=5)) == waves_of("small", 2)[0]


def test_two_data_sets_do_not_wait_for_each_other(platform: Platform, raw_settings: dict[str, Any]) -> None:
    platform.add(raw_settings)
    platform.make(platform.evaluate(), "v1")
    platform.add(raw_settings | {"name": "other", "seeds": 1})
    requests = platform.evaluate()
    assert requests["trained_model"] == ["small|0", "small|1"]
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
    request = dg.RunRequest(asset_selection=[dg.AssetKey("leaderboard")])
    assert join_seeds([request]) == [request]
    assert DATASET_TAG not in _tagged(request).tags


def test_seeds_of_datasets_follows_the_registry(home: Home, raw_settings: dict[str, Any]) -> None:
    lake = Lakehouse(home.lake)
    assert seeds_of_datasets() == {}
    registry.register(lake, raw_settings)
    assert seeds_of_datasets() == {"small": 2}
    registry.register(lake, raw_settings | {"seeds": 4}, replace=True)
    assert seeds_of_datasets() == {"small": 4}


# ---------------------------------------------------------------- one run for the seeds of a data set


def requests_of(
    keys: Sequence[str], assets: Sequence[str] = ("trained_model", "seed_network")
) -> list[dg.RunRequest]:
    found = []
    for key in keys:
        name, _, seed = key.partition("|")
        partition = join_key(name, int(seed)) if seed else name
        tags = DATASET_SEEDS.get_tags_for_partition_key(partition) if seed else {"dagster/partition": name}
        selection = [dg.AssetKey(asset) for asset in assets]
        found.append(dg.RunRequest(partition_key=partition, asset_selection=selection, tags=dict(tags)))
    return found


def summary(requests: Sequence[dg.RunRequest]) -> list[tuple[str | None, str | None, str | None]]:
    return [(one.partition_key, one.tags.get(RANGE_START), one.tags.get(RANGE_END)) for one in requests]


def test_join_seeds_makes_one_request_of_consecutive_seeds_of_a_data_set() -> None:
    joined = join_seeds(requests_of(["a|1", "a|0", "b|0", "a|2"]))
    assert summary(joined) == [(None, "a|0", "a|2"), ("b|0", None, None)]
    assert joined[0].asset_selection == [dg.AssetKey("trained_model"), dg.AssetKey("seed_network")]
    assert not [key for key in joined[0].tags if key.startswith("dagster/partition")]


def test_join_seeds_does_not_reach_over_a_gap() -> None:
    assert summary(join_seeds(requests_of(["a|0", "a|2", "a|3"]))) == [("a|0", None, None), (None, "a|2", "a|3")]


def test_join_seeds_leaves_other_requests_alone() -> None:
    plain = requests_of(["a", "b"], ["dataset"])
    assert join_seeds(plain) == plain
    apart = join_seeds([*requests_of(["a|0"], ["seed_network"]), *requests_of(["a|1"])])
    assert summary(apart) == [("a|0", None, None), ("a|1", None, None)]


def test_the_sensor_keeps_its_class_when_dagster_copies_it() -> None:
    sensor = automation_sensor()
    copy = sensor.with_attributes(metadata={})
    assert type(copy) is type(sensor)
    assert copy.default_status == dg.DefaultSensorStatus.RUNNING


class Daemon:
    """The sensor, tick by tick, as the daemon has the code server evaluate it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.sensor, self.cursor = instance, automation_sensor(), None

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


def test_what_other_runs_wait_for_has_children_of_other_partitions() -> None:
    for name in AWAITED:
        node = GRAPH.get(dg.AssetKey(name))
        assert any(GRAPH.get(child).partitions_def != node.partitions_def for child in node.child_keys), name


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
    platform.make({asset: ["small|0", "small|1"] for asset in WAVES[1]}, "v1")
    assert set(platform.evaluate()) == set(WAVES[2]) - {"network_scores", "report"}
    report_made(platform, "baseline_networks", run)
    assert set(platform.evaluate()) == set()  # those that were just asked for come first
    platform.make({asset: ["small"] for asset in WAVES[2][:5]}, "v1")
    assert set(platform.evaluate()) == {"network_scores", "report"}


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
