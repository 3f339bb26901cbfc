"""Genes that change along pseudotime."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import frames
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_preview
from scmagnify_assets.graph.resources import Specs
from scmagnify_core.data.association import associate_genes, gene_trends, strongest_genes
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.plots import plot_association

N_SHOWN = 40


@asset(
    group="data",
    codec=frames("gene_association"),
    settings=("gene_association",),
    may_be_empty=("gene_association",),
    column_sources={"gene": (("dataset", "gene"),), "statistic": (("dataset", "pseudotime"),)},
)
def gene_association(context: dg.AssetExecutionContext, dataset: Dataset, specs: Specs) -> Mapping[str, pd.DataFrame]:
    """Each gene's spline along pseudotime against a constant, over all cells and per lineage."""
    config = specs.get(context.partition_key).gene_association
    value = associate_genes(dataset, config)
    for note in value.notes:
        context.log.info(note)
    table = value.table
    whole = table[table["lineage"] == "all"].sort_values("statistic", ascending=False)
    counts = table.groupby("lineage")["is_associated"].sum()
    context.log.info(f"{counts['all']:,} of {whole['padj'].count():,} genes change along pseudotime.")
    trends = gene_trends(dataset, strongest_genes(table, N_SHOWN), config)
    context.add_output_metadata(
        {
            **{f"associated/{lineage}": int(n) for lineage, n in counts.items()},
            **({"notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in value.notes))} if value.notes else {}),
            "top_genes": table_preview(whole[["gene", "statistic", "padj", "amplitude", "peak_pseudotime"]].head(10)),
            "figure": figure_metadata(plot_association(table, trends, config)),
        }
    )
    return {"gene_association": table}
