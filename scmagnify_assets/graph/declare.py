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
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import dagster as dg
from dagster._core.execution.context.invocation import DirectAssetExecutionContext

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import partitions_of
from scmagnify_assets.graph.codecs import Codec
from scmagnify_assets.graph.describe import METHOD, definition_metadata
from scmagnify_assets.graph.record import RECORDS, Record
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.graph.versions import is_of_settings
from scmagnify_assets.steps.executors import Needs, needs_of, op_tags
from scmagnify_assets.steps.failures import RETRY, final_user_errors
from scmagnify_assets.steps.processes import call_process, measured
from scmagnify_assets.triggers.automation import condition, condition_over_datasets
from scmagnify_core.parallel import end_with_parent
from scmagnify_core.tables.catalogue import tables_of
from scmagnify_core.tables.schema import Table

METHODS_TEAM = "team:methods"
OWNERS: Mapping[str, str] = {"data": "team:data", "prior": "team:data"}  # of groups; METHODS_TEAM of all others


def asset(
    *,
    group: str,
    codec: Codec | None,
    settings: tuple[str, ...] = (),
    family: str | None = None,
    tables: tuple[Table, ...] | None = None,
    may_be_empty: tuple[str, ...] = (),
    column_sources: Mapping[str, tuple[tuple[str, str], ...]] | None = None,
    kinds: Collection[str] = ("python", "deltalake"),
    needs: Needs | None = None,
    pool: str | None = None,
    ins: Mapping[str, dg.AssetIn] | None = None,
    over: str | None = None,
    freshness: dg.FreshnessPolicy | None = None,
    name: str | None = None,
    description: str | None = None,
    url: str = METHOD,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare an asset from a function of its inputs; see the module's docstring.

    Parameters
    ----------
    codec, settings, family, tables, may_be_empty, column_sources
        Its record (`record.Record`). Without ``tables`` it writes those that name it as their asset.
    needs
        Cores, memory and GPUs, for executors that place steps on machines.
    pool
        Steps of one pool take turns, over all runs; the limit is in ``dagster.yaml``.
    over
        The asset of which this one is made from all partitions, and reads them itself. It has no partitions.
    name, description
        Those of the function by default.
    url
        The paper of the method.
    """

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        own = name or function.__name__
        record = Record(
            own, codec, settings, _inputs(function, ins, over), family,
            tuple(tables_of(own)) if tables is None else tables, frozenset(may_be_empty), dict(column_sources or {}),
        )  # fmt: skip
        if unknown := record.may_be_empty - {table.name for table in record.tables}:
            raise ValueError(f"{own} may leave {sorted(unknown)} empty, which it does not write")
        RECORDS[own] = record
        return dg.asset(
            name=own,
            description=description,
            partitions_def=partitions_of(family) if over is None else None,
            deps=None if over is None else [dg.AssetDep(over, partition_mapping=dg.AllPartitionMapping())],
            ins=ins,
            group_name=group,
            kinds=set(kinds),
            owners=[OWNERS.get(group, METHODS_TEAM)],
            metadata=definition_metadata(record, url),
            automation_condition=(
                condition_over_datasets() if over else condition(own, family, partial(outdated_data_sets, record))
            ),
            retry_policy=RETRY,
            op_tags=op_tags(needs_of(own, needs)),
            pool=pool,
            freshness_policy=freshness,
        )(_observed(function, own))

    return declare


def _inputs(function: Callable[..., Any], ins: Mapping[str, dg.AssetIn] | None, over: str | None) -> tuple[str, ...]:
    """Names of the assets that a function reads: its parameters but for context and resources, and those of ``ins``."""
    parameters = inspect.signature(function).parameters.values()
    own = [one.name for one in parameters if one.name != "context" and one.annotation not in (Specs, LakeResource)]
    own = [one for one in own if one != "inputs"]  # ** of an asset that is made for each family
    return tuple(dict.fromkeys([*own, *(ins or ()), *([over] if over else ())]))


def outdated_data_sets(record: Record, names: Collection[str]) -> set[str]:
    """Of these data sets those whose current result is of other settings or files than are registered now."""
    lake = LakeResource(root="").open()
    registered = registry.read_all(lake)
    return {
        name
        for name in names
        if name in registered
        and (made := lake.current(record.name, name)) is not None
        and not is_of_settings(made.parameters, record, registered[name])
    }


def _observed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def compute(context: dg.AssetExecutionContext, *inputs: Any, **named: Any) -> Any:
        if isinstance(context, DirectAssetExecutionContext):
            return function(context, *inputs, **named)  # called by a test or a notebook, not by a run
        end_with_parent()
        call_process(name)
        with final_user_errors(), measured() as used:
            value = function(context, *inputs, **named)
        context.add_output_metadata(used)
        return value

    return compute
