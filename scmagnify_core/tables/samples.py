"""Tables of models of many samples."""

from scmagnify_core.tables.schema import ASSET, CELL, DATASET, FLOAT64, INT16, MADE_BY, METHOD, TEXT, Column, Table

# fmt: off
SAMPLE_DISTANCES = Table(
    "sample_distances", "<method>_samples", "How far two samples differ, within each cell group.",
    (
        DATASET, ASSET, METHOD,
        Column("cluster", TEXT, "cell group; all is every cell", example="CD14 Mono"),
        Column("sample_a", TEXT, "first sample", example="S1"),
        Column("sample_b", TEXT, "second sample", example="S2"),
        Column("distance", FLOAT64, "distance, in the method's own unit", example="1.32"),
        MADE_BY,
    ),
    key=("method", "cluster", "sample_a", "sample_b"), partition_by=("dataset", "asset"),
)
CELL_EMBEDDINGS = Table(
    "cell_embeddings", "<method>_samples", "Coordinates that a method gives each cell.",
    (
        DATASET, ASSET,
        Column("method", TEXT, "method, and which of its embeddings where it has several", example="mrvi_u"),
        CELL,
        Column("dimension", INT16, "dimension, counted from 1", example="1"),
        Column("value", FLOAT64, "coordinate", example="-0.72"),
        MADE_BY,
    ),
    key=("method", "cell", "dimension"), partition_by=("dataset", "asset"),
)
TABLES = (SAMPLE_DISTANCES, CELL_EMBEDDINGS)
