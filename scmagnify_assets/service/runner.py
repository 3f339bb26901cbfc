"""The whole graph of one data set without a UI.

Dagster runs one partition key, or one range of keys of one definition, at a time. The graph has two definitions (data
set; data set x seed), so a full run is three waves, and a fourth for what is made of all data sets together. Each is
an ordinary Dagster run on the same instance that the UI shows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import OVER_DATASETS, RANGE_END, RANGE_START, join_key
from scmagnify_assets.definitions import ASSETS, resources
from scmagnify_assets.graph.checks.all import CHECKS
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_assets.steps.failures import DATASET_TAG, error_in_words
from scmagnify_core.errors import InputError, ScmagnifyError
from scmagnify_core.tables.catalogue import tables_of

# Assets of a data set in the order in which they can run, by partition: the second wave is that of the seeds.
WAVES: tuple[tuple[str, ...], ...] = (
    (
        "dataset", "gene_association", "peak_gene_links", "tf_binding", "prior_network", "diffusion_operators",
        "imported_networks", "baseline_networks",
    ),
    ("trained_model", "seed_network"),
    (
        "multiscale_network", "regfactors", "tf_activity", "regfactor_activity", "communication_scores",
        "network_scores", "report",
    ),
)  # fmt: skip


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
    waves = (*WAVES, OVER_DATASETS)
    known = [asset for wave in waves for asset in wave]
    if unknown := [asset for asset in select if asset not in known]:
        raise InputError(f"--select {unknown[0]}", "is no asset.", f"Assets: {', '.join(known)}.")
    with open_instance(home) as instance:
        registration = registry.find(lake, name)
        registry.refuse_changed_files(lake, registration)
        spec = registration.spec(settings, preset)
        registry.announce(instance, registration)
        for wave in waves:
            chosen = [asset for asset in wave if not select or asset in select]
            if wave is OVER_DATASETS and "network_scores" in select:
                chosen = list(wave)  # it follows any change
            if not chosen:
                continue
            if set(chosen) >= set(WAVES[1]):
                _retire_seeds(lake, registration, spec.seeds)
            tags = {} if wave is OVER_DATASETS else {DATASET_TAG: name}
            partition_key = None if wave is OVER_DATASETS else name
            if wave[0] == "trained_model":
                partition_key = None if spec.seeds > 1 else join_key(name, 0)
                if spec.seeds > 1:
                    tags |= {RANGE_START: join_key(name, 0), RANGE_END: join_key(name, spec.seeds - 1)}
            result = dg.materialize(
                [*ASSETS, *CHECKS],
                selection=dg.AssetSelection.assets(*chosen),
                partition_key=partition_key,
                tags=tags,
                run_config={"loggers": {"console": {"config": {"log_level": log_level}}}},
                instance=instance,
                resources=resources(str(home.lake), preset or "", tuple(settings)),
                raise_on_error=False,
            )
            if not result.success:
                raise _first_failure(result)


def _retire_seeds(lake: Lakehouse, registration: registry.Registration, n_seeds: int) -> None:
    """Empty the tables of seeds that an earlier run had and this one does not: they are of former content."""
    for asset in WAVES[1]:
        (table,) = tables_of(asset)
        kept = lake.read(table.name, registration.name, columns=["seed"])["seed"]
        for seed in sorted({int(seed) for seed in kept if seed >= n_seeds}):
            empty = pd.DataFrame(columns=[column.name for column in table.body])
            lake.write(
                asset, registration.name, seed, {table.name: empty}, {},
                run_id="none", inputs=(), parameters={"retired": True}, file_sha256=registration.sha256,
            )  # fmt: skip


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
