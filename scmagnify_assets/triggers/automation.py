"""When an asset runs by itself: as soon as what it is made from has changed, in the right order, and once.

The condition is Dagster's ``eager`` with these changes:

- A dependency counts as updated only if its *data version* changed (see `io_manager`): a file that is touched but
  not changed, or a step that gives the same result again, starts nothing.
- A registration with other settings or files starts just those assets that read what has changed (`SettingsDiffer`).
  What follows from them follows by its inputs.
- A family runs for the data sets that name it, and nothing waits for one that does not run (`IsWanted`).
- An asset waits until *everything* upstream has settled, not only what it reads itself (`UpstreamIsPending`): an
  activity is made from cells and network, and when the cells change, ``eager`` alone would make it at once from the
  old network and a second time from the new one.
- What a lost run did not get to make is asked for again (`RunWasLost`, `failures`).
- An input that was made in a run that makes the asset too is no reason to make it again (`MadeInOneRun`). Dagster looks
  at the run of the newest partition only, so that data sets which run at the same time made each other's steps repeat.
- Once a night whatever is missing or failed last is asked for again: it may have needed a person, or a disk with more
  room.

What is made of all data sets together follows each of them, and waits for none (`condition_over_datasets`).
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.asset_graph_view.entity_subset import EntitySubset
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.declarative_automation.automation_context import AutomationContext
from dagster._core.definitions.declarative_automation.operands.subset_automation_condition import (
    SubsetAutomationCondition,
)
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster_shared.record import replace

from scmagnify_assets.datasets import registry
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.steps.failures import DATASET_TAG, is_lost, is_worth_another
from scmagnify_core.errors import InputError

NIGHTLY = "0 2 * * *"  # UTC; after the nightly look at the files (schedules)
INTERVAL_SECONDS = 4  # Dagster's daemon looks every 5 s; asked for 5, it finds every other look a moment too early
IDLE_SECONDS = 60  # so long an evaluation holds while nothing is known to have happened
LOST_SECONDS = 900  # so long after a failed run it may be due again at any moment (`failures`)


Outdated = Callable[[set[str]], set[str]]
# Conditions are looked up by name in Dagster's records and hold no functions: what an asset needs of us lies here.
_families: dict[dg.AssetKey, str | None] = {}
_outdated: dict[dg.AssetKey, Outdated] = {}


class IsWanted(SubsetAutomationCondition):
    """True for registered data sets that run the family of the asset; for all of them where it has none."""

    @property
    def name(self) -> str:
        """What the UI shows."""
        return "is_wanted"

    def compute_subset(self, context: AutomationContext) -> EntitySubset:
        """The candidates that are wanted."""
        keys = context.candidate_subset.expensively_compute_partition_keys()
        wanted = wanted_data_sets(_families.get(context.key))
        return context.candidate_subset.compute_intersection_with_partition_keys(set(keys) & wanted)


_methods: tuple[object, dict[str, Collection[str]]] = (None, {})


def wanted_data_sets(family: str | None) -> set[str]:
    """Registered data sets that run a family; read anew only when the table of data sets has a new version."""
    global _methods
    lake = Lakehouse(Home.find().lake)
    if not lake.root.exists():
        return set()
    version = (lake.root, lake.version("datasets"))
    if _methods[0] != version:
        _methods = version, {name: _methods_of(one) for name, one in registry.read_all(lake).items()}
    return {name for name, methods in _methods[1].items() if family is None or family in methods}


def _methods_of(registration: registry.Registration) -> Collection[str]:
    try:
        return registration.spec().methods
    except InputError:
        return ()  # settings of another version of the product: the run will say so in words


class SettingsDiffer(SubsetAutomationCondition):
    """True for results of other settings or files than the data set is registered with now."""

    @property
    def name(self) -> str:
        """What the UI shows."""
        return "settings_differ"

    def compute_subset(self, context: AutomationContext) -> EntitySubset:
        """The candidates that are out of date."""
        keys = set(context.candidate_subset.expensively_compute_partition_keys())
        outdated = _outdated[context.key](keys) if keys else set()
        return context.candidate_subset.compute_intersection_with_partition_keys(outdated)


class UpstreamIsPending(SubsetAutomationCondition):
    """True for data sets for which something upstream is still to be made, or failed last time.

    Upstream of an asset that is asked for in this very evaluation is settled: both go into one run, in order.
    """

    @property
    def name(self) -> str:
        """What the UI shows."""
        return "upstream_is_pending"

    async def compute_subset(self, context: AutomationContext) -> EntitySubset:  # type: ignore[override]
        """The candidates that have to wait."""
        graph = context.asset_graph
        unsettled = await _unsettled(context.asset_graph_view, graph)
        requested = {key: _datasets(subset) for key, subset in context.request_subsets_by_key.items()}
        waiting: set[str] = set()
        for parent in graph.get(context.key).parent_keys:
            now = requested.get(parent, set())
            is_same_run = graph.get(parent).partitions_def == context.partitions_def
            above = {parent, *graph.get_ancestor_asset_keys(parent)}
            busy = set().union(*(unsettled.get(key, set()) | requested.get(key, set()) for key in above))
            waiting |= busy - now if is_same_run else busy
        keys = context.candidate_subset.expensively_compute_partition_keys()
        return context.candidate_subset.compute_intersection_with_partition_keys(set(keys) & waiting)


class RunWasLost(SubsetAutomationCondition):
    """True for what the last run should have made, but the run was lost, and another try is due."""

    @property
    def name(self) -> str:
        """What the UI shows."""
        return "run_was_lost"

    def compute_subset(self, context: AutomationContext) -> EntitySubset:
        """The candidates, all of which failed last, whose run was lost."""
        instance, now = context.asset_graph_view.instance, context.evaluation_time.timestamp()
        is_due: dict[str, bool] = {}
        lost = set()
        for key in context.candidate_subset.expensively_compute_partition_keys():
            planned = instance.event_log_storage.get_latest_planned_materialization_info(context.key, key)
            record = None if planned is None else instance.get_run_record_by_id(planned.run_id)
            if record is None or not is_lost(record, now):
                continue
            if key not in is_due:
                is_due[key] = is_worth_another(instance, IMPLICIT_ASSET_JOB_NAME, key, now)
            if is_due[key]:
                lost.add(key)
        return context.candidate_subset.compute_intersection_with_partition_keys(lost)


class MadeInOneRun(SubsetAutomationCondition):
    """True for partitions of an input whose latest run makes the asset that the whole condition is about as well."""

    @property
    def name(self) -> str:
        """What the UI shows."""
        return "made_in_one_run"

    def compute_subset(self, context: AutomationContext) -> EntitySubset:
        """The candidates that came with the asset itself."""
        root, instance = context.root_context.key, context.asset_graph_view.instance
        together = set()
        for key in context.candidate_subset.expensively_compute_partition_keys():
            made = dg.AssetRecordsFilter(asset_key=context.key, asset_partitions=[key])
            for record in instance.fetch_materializations(made, limit=1).records:
                run = instance.get_run_by_id(record.run_id)
                if run is not None and root in (run.asset_selection or ()):
                    together.add(key)
        return context.candidate_subset.compute_intersection_with_partition_keys(together)


# The state of the graph is the same for all assets of one evaluation, and each asks for all that is above it.
_states: WeakKeyDictionary[AssetGraphView, dict[dg.AssetKey, set[str]]] = WeakKeyDictionary()


async def _unsettled(view: AssetGraphView, graph: BaseAssetGraph) -> dict[dg.AssetKey, set[str]]:
    """Data sets of which an asset is being made, or was not made at the last attempt."""
    if view not in _states:
        found = {}
        for key in graph.materializable_asset_keys:
            whole = view.get_full_subset(key=key)
            if not whole.is_partitioned:  # over all data sets: nothing is made from it
                continue
            busy = await view.compute_run_in_progress_subset(key=key, from_subset=whole)
            failed = await view.compute_execution_failed_subset(key=key, from_subset=whole)
            # A family that failed and that the settings no longer ask for holds up nothing.
            found[key] = _datasets(busy) | (_datasets(failed) & wanted_data_sets(_families.get(key)))
        _states[view] = found
    return _states[view]


def _datasets(subset: EntitySubset) -> set[str]:
    return set(subset.expensively_compute_partition_keys()) if subset.is_partitioned else set()


def condition(asset: str, family: str | None, outdated: Outdated) -> dg.AutomationCondition:
    """The condition of an asset (module docstring).

    ``outdated`` says which of some data sets have a result of other settings than they are registered with.
    """
    _families[dg.AssetKey(asset)], _outdated[dg.AssetKey(asset)] = family, outdated
    ac = dg.AutomationCondition
    registered = ac.asset_matches(registry.ASSET, ac.data_version_changed())
    differs = (registered & SettingsDiffer()).with_label("settings_changed")
    missing = ac.any_deps_match(ac.missing() & IsWanted() & ~ac.will_be_requested()).with_label("any_deps_missing")
    again = (ac.cron_tick_passed(NIGHTLY) & (ac.missing() | ac.execution_failed())).with_label("nightly_refresh")
    lost = (ac.execution_failed() & RunWasLost()).with_label("run_was_lost")
    # Replaced by name: replacing by object corrupts the tree in Dagster 1.13.27.
    eager = (
        ac.eager()
        .ignore(dg.AssetSelection.assets(registry.ASSET))
        .replace("newly_updated", ac.data_version_changed())
        .replace("executed_with_root_target", MadeInOneRun())
        .replace("any_deps_missing", missing)
        .replace("any_deps_in_progress", UpstreamIsPending())
        .replace("newly_missing", ac.newly_missing() | again | lost | differs)
    )
    return (eager & IsWanted()).with_label("when_inputs_change")


def condition_over_datasets() -> dg.AutomationCondition:
    """The condition of what is made of all data sets: whenever one of them has something new."""
    ac = dg.AutomationCondition
    again = ac.cron_tick_passed(NIGHTLY) & (ac.missing() | ac.execution_failed())
    is_due: dg.AutomationCondition = ac.any_deps_match(ac.data_version_changed()) | again
    return (is_due.since_last_handled() & ~ac.in_progress()).with_label("when_any_data_set_changes")


class Automation(dg.AutomationConditionSensorDefinition):
    """Evaluates the conditions of all assets when something has happened, and tags each run with its data set.

    An evaluation takes seconds of a core, so that every few seconds it would keep one busy on a platform that idles.
    """

    _last: tuple[str | None, object] | None = None
    _evaluated_at = 0.0

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """One evaluation, with each run request tagged with its data set."""
        seen = _what_happened(context.instance, _awaited)
        # The daemon hands back the cursor that it kept: another one, and what was asked for last has been lost.
        is_same = self._last == (context.cursor, seen)
        if is_same and time.monotonic() < self._evaluated_at + IDLE_SECONDS:
            return SensorExecutionData(skip_message="Nothing has happened.", cursor=context.cursor)
        data = super().evaluate_tick(context)
        self._last, self._evaluated_at = (data.cursor, seen), time.monotonic()
        return replace(data, run_requests=[_tagged(one) for one in data.run_requests or ()])

    def with_attributes(self, **changes: Any) -> "Automation":
        """Keep this class where Dagster copies its sensors."""
        return automation_sensor(_awaited)


_awaited: Sequence[str] = ()


def _what_happened(instance: dg.DagsterInstance, awaited: Sequence[str]) -> object:
    """Something that differs after a registration, after a run began or ended, or an awaited asset was made.

    While a failed run may be due again, no two answers are equal. Anything else, such as a result that somebody wiped,
    is seen when `IDLE_SECONDS` are over.
    """
    since = datetime.now(UTC) - timedelta(seconds=LOST_SECONDS)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    if instance.get_run_records(failed, limit=1):
        return object()
    made = [
        record.storage_id
        for name in (registry.ASSET, *awaited)
        for record in instance.fetch_materializations(dg.AssetKey(name), limit=1).records
    ]
    runs = instance.get_run_records(limit=1, order_by="update_timestamp")
    return made, [(record.dagster_run.run_id, record.dagster_run.status, record.update_timestamp) for record in runs]


def _tagged(request: dg.RunRequest) -> dg.RunRequest:
    if (dataset := request.partition_key) is None:  # over all data sets
        return request
    return request.with_replaced_attrs(tags={**request.tags, DATASET_TAG: dataset})


def automation_sensor(awaited: Sequence[str]) -> Automation:
    """The sensor that asks for runs, on from the start; ``awaited`` are assets for which other runs wait."""
    global _awaited
    _awaited = awaited
    return Automation(
        name="automation",
        target=dg.AssetSelection.all(),
        description="Asks for every asset whose inputs or settings changed.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL_SECONDS,
        emit_backfills=False,
        use_user_code_server=True,
    )
