"""What the UI shows beside a materialization: row counts, columns, where columns come from, and a small figure."""

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from scmagnify_assets.graph.record import Record
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.plots.style import lay_out
from scmagnify_core.tables.schema import STAMPED, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHOD = "https://doi.org/10.64898/2026.02.03.703669"


def table_metadata(record: Record, written: Sequence[Materialization]) -> dict[str, Any]:
    """Identifiers, row counts, column schema and column lineage of a write."""
    counts: dict[str, int] = {}
    for made in written:
        for name, n_rows in made.tables.items():
            counts[name] = counts.get(name, 0) + n_rows
    metadata: dict[str, Any] = {
        "materialization_id": dg.MetadataValue.text(", ".join(made.materialization_id for made in written))
    }
    if counts:
        main = record.name if record.name in counts else next(iter(counts))
        metadata["dagster/row_count"] = counts[main]
        metadata |= {f"rows/{name}": n_rows for name, n_rows in counts.items()}
    return metadata | _columns(record)


def definition_metadata(record: Record, url: str = METHOD) -> dict[str, Any]:
    """What an asset's page says before anything is made: the method, its tables and columns, and a query to try."""
    found: dict[str, Any] = {"method": dg.MetadataValue.url(url)} if url else {}
    if (main := record.main_table) is not None:
        meanings = "\n".join(f"- `{table.name}`: {table.meaning}" for table in record.tables)
        filters = "" if main.over_datasets else " WHERE dataset = '...'"
        if record.family and "method" in main.schema.names:
            filters += f" AND method = '{record.family}'"
        query = f'scmagnify sql "FROM {main.name}{filters} LIMIT 10"'
        found |= {**_columns(record), "tables": dg.MetadataValue.md(meanings), "query": query}
    return found


def _columns(record: Record) -> dict[str, Any]:
    if (main := record.main_table) is None:
        return {}
    lineage = {
        name: [dg.TableColumnDep(asset_key=dg.AssetKey(origin), column_name=column) for origin, column in origins]
        for name, origins in record.column_sources.items()
    }
    return {
        "dagster/column_schema": _schema(main),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
    }


def _schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=column.meaning + (f" [{column.unit}]" if column.unit else ""),
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
                tags={"stamped": ""} if column.name in STAMPED else {},
            )
            for column in table.columns
        ]
    )


def figure_metadata(figure: "Figure") -> dg.MarkdownMetadataValue:
    """A figure as it can be seen in the UI: a PNG inside markdown."""
    buffer = io.BytesIO()
    lay_out(figure).savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(f"![figure](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def table_preview(frame: "pd.DataFrame") -> dg.TableMetadataValue:
    """A few rows as a table in the UI, floats to four significant digits: a p-value must not read 0.

    What is not known is left empty: the UI reads JSON, which has no NaN.
    """
    records = frame.to_dict("records")
    return dg.MetadataValue.table([dg.TableRecord({str(k): _plain(v) for k, v in row.items()}) for row in records])


def _plain(value: Any) -> str | float | int | bool:
    item = value.item() if hasattr(value, "item") else value
    if isinstance(item, float):
        return "" if math.isnan(item) else float(f"{item:.4g}")
    return item
