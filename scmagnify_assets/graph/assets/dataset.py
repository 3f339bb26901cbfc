"""The data set: the user's file, and what remains of it after validation and normalisation."""

import dagster as dg

from scmagnify_assets.datasets.partitions import DATASETS
from scmagnify_assets.graph import codecs
from scmagnify_assets.graph.declare import OWNERS, asset
from scmagnify_assets.graph.describe import definition_metadata, figure_metadata
from scmagnify_assets.graph.record import Record
from scmagnify_assets.steps.progress import report
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.plots import plot_embedding
from scmagnify_core.specification import DatasetSpec
from scmagnify_core.tables.catalogue import tables_of

raw_dataset = dg.AssetSpec(
    "raw_dataset",
    description="The user's file and settings, as registered by `scmagnify add`.",
    partitions_def=DATASETS,
    group_name="data",
    kinds={"file"},
    owners=[OWNERS["data"]],
    metadata=definition_metadata(Record("raw_dataset", None, tables=tuple(tables_of("raw_dataset")))),
)


# What the description names for others to read.
_OF_OTHERS = {"prior", "truth", "ligand_receptor", "receptor_tf"}


@asset(
    group="data",
    kinds=("anndata", "deltalake"),
    codec=codecs.DATASET,
    settings=tuple(name for name in DataDescription.model_fields if name not in _OF_OTHERS),
)
def dataset(context: dg.AssetExecutionContext, raw_dataset: DatasetSpec) -> Dataset:
    """Validated, normalised cells x genes with pseudotime, embedding, lineages and groups."""
    value = read_dataset(raw_dataset.description, lambda done, total, detail: report("dataset", done, total, detail))
    for note in value.notes:
        context.log.info(note)
    context.add_output_metadata(
        {
            "n_cells": value.rna.n_obs,
            "n_genes": value.rna.n_vars,
            "n_eligible_genes": int(value.rna.var["is_eligible"].sum()),
            "has_atac": value.atac is not None,
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in value.notes)),
            "figure": figure_metadata(plot_embedding(value.cells_table())),
        }
    )
    return value
