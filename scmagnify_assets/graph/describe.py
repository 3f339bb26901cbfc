"""What the UI shows beside a materialization: row counts, columns, where columns come from, and a small figure."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from scmagnify_assets.datasets.partitions import OVER_DATASETS
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.plots.style import lay_out
from scmagnify_core.tables.catalogue import tables_of
from scmagnify_core.tables.schema import STAMPED, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHOD = "https://doi.org/10.64898/2026.02.03.703669"

# Where a column's values come from: asset -> column of its main table -> (asset, column) that was read.
COLUMN_SOURCES: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]] = {
    "gene_association": {"gene": [("dataset", "gene")], "statistic": [("dataset", "pseudotime")]},
    "tf_binding": {"peak": [("peak_gene_links", "peak")]},
    "prior_network": {
        "source": [("tf_binding", "motif")],
        "target": [("peak_gene_links", "target")],
        "n_peaks": [("peak_gene_links", "peak"), ("tf_binding", "peak")],
        "best_peak": [("peak_gene_links", "peak")],
        "link_correlation": [("peak_gene_links", "correlation")],
        "best_motif": [("tf_binding", "motif")],
        "motif_score": [("tf_binding", "score")],
        "motif_pvalue": [("tf_binding", "pvalue")],
    },
    "seed_network": {"source": [("prior_network", "source")], "target": [("prior_network", "target")]},
    "multiscale_network": {
        name: [("seed_network", origin)]
        for name, origin in (
            ("source", "source"), ("target", "target"), ("lag", "lag"), ("weight", "weight"),
            ("magnitude", "magnitude"), ("weight_sd", "weight"),
        )
    },
    "regfactors": {
        "top_sources": [("multiscale_network", "source"), ("multiscale_network", "weight")],
        "top_targets": [("multiscale_network", "target"), ("multiscale_network", "weight")],
        "peak_lag": [("multiscale_network", "lag"), ("multiscale_network", "weight")],
    },
    "tf_activity": {
        "cell": [("dataset", "cell")],
        "source": [("multiscale_network", "source")],
        "activity": [("multiscale_network", "weight")],
    },
    "regfactor_activity": {"cell": [("dataset", "cell")], "regfactor": [("regfactors", "regfactor")]},
    "communication_scores": {
        "sender": [("dataset", "cluster")],
        "receiver": [("dataset", "cluster")],
        "receptor_tf_association": [("tf_activity", "activity"), ("dataset", "pseudotime")],
    },
    "imported_networks": {"is_candidate": [("prior_network", "source"), ("prior_network", "target")]},
    "baseline_networks": {name: [("prior_network", name)] for name in ("source", "target")},
    "network_scores": {name: [("multiscale_network", "magnitude")] for name in ("auprc", "auprc_ratio", "epr")},
    "leaderboard": {
        name: [("network_scores", origin)]
        for name, origin in (("mean_rank", "auprc_ratio"), ("auprc_ratio", "auprc_ratio"), ("epr", "epr"))
    },
}  # fmt: skip


def table_metadata(asset: str, written: Sequence[Materialization]) -> dict[str, Any]:
    """Identifiers, row counts, column schema and column lineage of a write."""
    counts: dict[str, int] = {}
    for made in written:
        for name, n_rows in made.tables.items():
            counts[name] = counts.get(name, 0) + n_rows
    metadata: dict[str, Any] = {
        "materialization_id": dg.MetadataValue.text(", ".join(made.materialization_id for made in written))
    }
    if counts:
        main = asset if asset in counts else next(iter(counts))
        metadata["dagster/row_count"] = counts[main]
        metadata |= {f"rows/{name}": n_rows for name, n_rows in counts.items()}
    return metadata | _columns(asset)


def definition_metadata(asset: str) -> dict[str, Any]:
    """What an asset's page says before anything is made: the method, its tables and columns, and a query to try."""
    found: dict[str, Any] = {"method": dg.MetadataValue.url(METHOD)}
    if tables := tables_of(asset):
        meanings = "\n".join(f"- `{table.name}`: {table.meaning}" for table in tables)
        main = next((table.name for table in tables if table.name == asset), tables[0].name)
        where = "" if asset in OVER_DATASETS else " WHERE dataset = '...'"
        query = f'scmagnify sql "FROM {main}{where} LIMIT 10"'
        found |= {**_columns(asset), "tables": dg.MetadataValue.md(meanings), "query": query}
    return found


def _columns(asset: str) -> dict[str, Any]:
    tables = tables_of(asset)
    if not tables:
        return {}
    main = next((table for table in tables if table.name == asset), tables[0])
    lineage = {
        name: [dg.TableColumnDep(asset_key=dg.AssetKey(origin), column_name=column) for origin, column in origins]
        for name, origins in COLUMN_SOURCES.get(asset, {}).items()
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
