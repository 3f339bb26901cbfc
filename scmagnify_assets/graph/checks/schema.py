"""The check that every stored table has: its rows match the declaration, and there are some."""

import dagster as dg

from scmagnify_assets.datasets.partitions import partitions_of
from scmagnify_assets.graph.checks.reading import stored_rows
from scmagnify_assets.graph.record import Record
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_assets.lake.lakehouse import ALL
from scmagnify_core.errors import SchemaError
from scmagnify_core.tables.schema import STAMPED, Table


def schema_check(record: Record, table: Table) -> dg.AssetChecksDefinition:
    """The check of one table of an asset. Blocking: what does not match its declaration misleads whoever reads it."""

    @dg.asset_check(
        asset=record.name,
        name=f"schema_of_{table.name}",
        description=f"Rows of `{table.name}` in storage match their declaration, and there are some.",
        blocking=True,
        partitions_def=None if table.over_datasets else partitions_of(record.family),
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        dataset = ALL if table.over_datasets else context.partition_key
        rows = stored_rows(lake.open(), table.name, dataset, record.name)
        problems = []
        if rows.empty and table.name not in record.may_be_empty:
            problems.append(f"no rows for {dataset}")
        try:
            table.validate(rows.drop(columns=[name for name in STAMPED if name in rows]))
        except SchemaError as error:
            problems += [f"{dataset}: {problem}" for problem in error.problems]
        if not rows.empty and rows["materialization_id"].nunique() != 1:
            problems.append(f"{dataset}: rows of several materializations")
        return dg.AssetCheckResult(passed=not problems, metadata={"rows": len(rows), "problems": problems})

    return check
