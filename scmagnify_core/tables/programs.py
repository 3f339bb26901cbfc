"""Tables of gene programs."""

from scmagnify_core.tables.schema import ASSET, CELL, DATASET, FLOAT64, MADE_BY, METHOD, TEXT, Column, Table

PROGRAM = Column("program", TEXT, "name of the program within its method", example="case_1")

# fmt: off
GENE_PROGRAMS = Table(
    "gene_programs", "<method>_programs", "Genes of each program, where their weight is not 0.",
    (
        DATASET, ASSET, METHOD, PROGRAM,
        Column("kind", TEXT, "baseline: all cells may use it; case: only cases", example="case"),
        Column("gene", TEXT, "gene name", example="ISG15"),
        Column("weight", FLOAT64, "weight of the gene in the program, never negative", example="0.0213"),
        MADE_BY,
    ),
    key=("method", "program", "gene"), partition_by=("dataset", "asset"),
)
PROGRAM_USAGE = Table(
    "program_usage", "<method>_programs", "How far each cell uses each program.",
    (
        DATASET, ASSET, METHOD, CELL, PROGRAM,
        Column("usage", FLOAT64, "usage of the program by the cell, never negative", example="0.41"),
        MADE_BY,
    ),
    key=("method", "cell", "program"), partition_by=("dataset", "asset"),
)
TABLES = (GENE_PROGRAMS, PROGRAM_USAGE)
