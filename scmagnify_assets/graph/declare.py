"""How every asset of the graph is declared: in one place, so that each asset's own module says only what it computes.

`asset` adds to a function what all assets share:

- its partitions, and when it runs by itself (`automation`);
- what the UI says of it: group, kinds, owners, columns, meaning of its tables, the query that shows its rows;
- what it needs of a machine, as each executor understands it (`executors`);
- what it used: seconds and peak memory, as metadata that the UI plots over time;
- how it fails: an error that the user must mend is final and in words; anything else (a killed process, a full disk)
  is tried again, twice.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.context.invocation import DirectAssetExecutionContext

from scmagnify_assets.datasets.partitions import DATASET_SEEDS, DATASETS, OVER_DATASETS
from scmagnify_assets.graph.describe import definition_metadata
from scmagnify_assets.graph.freshness import FRESHNESS, FRESHNESS_OF
from scmagnify_assets.steps.executors import Needs, needs_of, op_tags
from scmagnify_assets.steps.failures import RETRY, final_user_errors
from scmagnify_assets.steps.processes import call_process, measured
from scmagnify_assets.triggers.automation import condition, condition_over_datasets
from scmagnify_core.parallel import end_with_parent

OWNERS: Mapping[str, str] = {
    "data": "team:data",
    "prior": "team:data",
    "model": "team:methods",
    "network": "team:methods",
    "interpretation": "team:methods",
    "evaluation": "team:methods",
}


def asset(
    *,
    group: str,
    kinds: Collection[str] = ("python", "deltalake"),
    per_seed: bool = False,
    needs: Needs | None = None,
    pool: str | None = None,
    ins: Mapping[str, dg.AssetIn] | None = None,
    over: str | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare an asset from a function of its inputs; see the module's docstring.

    Parameters
    ----------
    per_seed
        One partition per data set and seed instead of one per data set; one run may hold several seeds.
    needs
        Cores, memory and GPUs, for executors that place steps on machines.
    pool
        Steps of one pool take turns, over all runs; the limit is in ``dagster.yaml``.
    over
        The asset of which this one is made from all partitions, and reads them itself. It has no partitions.
    """

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        name = function.__name__
        assert (over is not None) == (name in OVER_DATASETS), name
        partitions = DATASET_SEEDS if per_seed else DATASETS
        return dg.asset(
            name=name,
            partitions_def=partitions if over is None else None,
            deps=None if over is None else [dg.AssetDep(over, partition_mapping=dg.AllPartitionMapping())],
            backfill_policy=dg.BackfillPolicy.single_run() if per_seed else None,
            ins=ins,
            group_name=group,
            kinds=set(kinds),
            owners=[OWNERS[group]],
            metadata=definition_metadata(name),
            automation_condition=condition() if over is None else condition_over_datasets(),
            retry_policy=RETRY,
            op_tags=op_tags(needs_of(name, needs)),
            pool=pool,
            freshness_policy=FRESHNESS if name in FRESHNESS_OF else None,
        )(_observed(function))

    return declare


def _observed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def compute(context: dg.AssetExecutionContext, *inputs: Any, **named: Any) -> Any:
        if isinstance(context, DirectAssetExecutionContext):
            return function(context, *inputs, **named)  # called by a test or a notebook, not by a run
        end_with_parent()
        call_process(function.__name__)
        with final_user_errors(), measured() as used:
            value = function(context, *inputs, **named)
        context.add_output_metadata(used)
        return value

    return compute


def add_partition_metadata(
    context: dg.AssetExecutionContext, partition_key: str, metadata: Mapping[str, Any]
) -> None:
    """Metadata of one of the partitions that a run makes; left out where the asset is called directly."""
    if not isinstance(context, DirectAssetExecutionContext):
        context.add_asset_metadata(metadata, partition_key=partition_key)
