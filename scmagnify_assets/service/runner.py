"""The whole graph of one data set without a UI.

A run of Dagster is over one partitions definition, so that a data set takes several (`waves`). Each is an ordinary
run on the same instance that the UI shows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import announce_partitions
from scmagnify_assets.definitions import resources
from scmagnify_assets.graph.catalogue import ASSETS
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.waves import Wave, waves
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.steps.failures import DATASET_TAG, error_in_words
from scmagnify_core.errors import InputError, ScmagnifyError


@contextmanager
def open_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance below the home; closed afterwards, as it keeps threads and files."""
    home.create()
    Lakehouse(home.lake).create()
    instance = dg.DagsterInstance.from_config(str(home.dagster))
    try:
        yield instance
    finally:
        instance.dispose()


class RunError(ScmagnifyError):
    """A step failed; the message is the user's error where it was one, and where it arose."""

    def __init__(self, step: str, cause: str) -> None:
        self.step, self.cause = step, cause
        super().__init__(f"{cause}\n(in '{step}')")


def run_dataset(
    home: Home,
    name: str,
    *,
    seeds: int | None = None,
    select: Sequence[str] = (),
    settings: Sequence[str] = (),
    preset: str | None = None,
    log_level: str = "INFO",
) -> None:
    """Materialize the graph of one data set, or the selected assets of it, in order.

    Raises
    ------
    InputError
        The data set is unknown, its settings are wrong, or a selected asset does not exist.
    RunError
        A step failed; what was written before stays.
    """
    lake = Lakehouse(home.lake)
    settings = (*settings, *(() if seeds is None else (f"seeds={seeds}",)))
    with open_instance(home) as instance:
        registration = registry.find(lake, name)
        registry.refuse_changed_files(lake, registration)
        spec = registration.spec(settings, preset)
        planned = waves(spec.methods)
        _refuse_unknown(select, planned, name)
        registry.announce(instance, registration)
        announce_partitions(instance, spec)  # of this run's methods, which may be others than the registered ones
        for wave in planned:
            chosen = [asset for asset in wave.assets if not select or asset in select]
            if wave.is_over_datasets and "network_scores" in select:
                chosen = list(wave.assets)  # it follows any change
            if not chosen:
                continue
            result = dg.materialize(
                [*ASSETS, *CHECKS],
                selection=dg.AssetSelection.assets(*chosen),
                partition_key=None if wave.is_over_datasets else name,
                tags={} if wave.is_over_datasets else {DATASET_TAG: name},
                run_config={"loggers": {"console": {"config": {"log_level": log_level}}}},
                instance=instance,
                resources=resources(str(home.lake), preset or "", tuple(settings)),
                raise_on_error=False,
            )
            if not result.success:
                raise _first_failure(result)


def _refuse_unknown(select: Sequence[str], planned: Sequence[Wave], name: str) -> None:
    known = [asset for wave in planned for asset in wave.assets]
    if unknown := [asset for asset in select if asset not in known]:
        what = f"is no asset of '{name}'." if unknown[0] in RECORDS else "is no asset."
        raise InputError(f"--select {unknown[0]}", what, f"Assets: {', '.join(known)}.")


def _first_failure(result: dg.ExecuteInProcessResult) -> RunError:
    """The first failed step, with the message that was written for the user; the innermost one if none was."""
    for event in result.all_events:
        if event.is_step_failure:
            return RunError(event.step_key or "?", error_in_words(event.step_failure_data.error))
    failed = [
        f"{evaluation.check_name}: { {name: value.value for name, value in evaluation.metadata.items()} }"
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    ]
    return RunError("asset checks", "; ".join(failed) or "the run failed")
