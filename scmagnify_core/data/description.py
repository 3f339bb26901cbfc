"""What a data file holds: the part of a data set's TOML that concerns the data alone."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

# Where the help of the command line lists a key; `option` is its name there, if another than the key's.
CELLS: JsonDict = {"panel": "Time, lineages and groups"}
EDGES: JsonDict = {"panel": "Candidate edges"}
COMPARED: JsonDict = {"panel": "Networks to compare with"}
SIGNALS: JsonDict = {"panel": "Signals between cells"}


class DataDescription(BaseModel):
    """What a data file holds. Names refer to columns and keys of the file; relative paths to the TOML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        description="Name of the data set, as the column `dataset` has it; the file's name without ending when omitted."
    )
    file: Path = Field(description="The h5ad or h5mu file.")
    fragments: Path | None = Field(
        None,
        description="Fragment file (10x: chrom, start, end, barcode, count; tab-separated, gzip or plain), for data "
        "without an ATAC modality.",
    )
    peaks: Path | None = Field(None, description="BED file of peaks, in which the fragments are counted.")
    species: str | None = Field(None, description="Species, for the record: human, mouse, ...")
    layer: str | None = Field(None, description="Layer that holds the expression; X when omitted.")
    values: Literal["auto", "counts", "log"] = Field(
        "auto",
        description="Expression: raw counts, or log-normalised values. `auto` looks: whole numbers are counts.",
    )
    gene_key: str | None = Field(None, description="Column of var with the gene symbols; the index when omitted.")
    library_size_key: str | None = Field(
        None, description="Column of obs with total counts, for files that hold only part of the genes."
    )
    time_key: str | None = Field(None, description="Column of obs with the pseudotime.", json_schema_extra=CELLS)
    root: str | None = Field(
        None,
        description="Instead of time_key: barcode of the root cell, a cluster, or `column=value`.",
        json_schema_extra=CELLS,
    )
    lineage_key: str | None = Field(None, description="Column of obs with lineage labels.", json_schema_extra=CELLS)
    lineages: tuple[str, ...] = Field(
        (),
        description="Keep only cells of these lineages; all when empty.",
        json_schema_extra={**CELLS, "option": "lineage"},
    )
    cluster_key: str | None = Field(None, description="Column of obs with cell groups.", json_schema_extra=CELLS)
    sample_key: str | None = Field(None, description="Column of obs with sample or donor.", json_schema_extra=CELLS)
    pca_key: str = Field("X_pca", description="Key of obsm with principal components; computed when absent.")
    transition_key: str | None = Field(
        None,
        description="Key of obsp with a cell-to-cell transition or velocity graph (rows: from).",
        json_schema_extra=CELLS,
    )
    prior: tuple[Path, ...] = Field(
        (),
        description="Base network, or several: parquet, CSV or TSV with source, target[, weight].",
        json_schema_extra=EDGES,
    )
    truth: Path | None = Field(
        None, description="Ground truth: source, target[, sign, lag, kind].", json_schema_extra=COMPARED
    )
    ligand_receptor: Path | None = Field(
        None, description="Ligand-receptor pairs: ligand, receptor.", json_schema_extra=SIGNALS
    )
    receptor_tf: Path | None = Field(None, description="Receptor-TF pairs: receptor, tf.", json_schema_extra=SIGNALS)
    min_cells: int = Field(10, ge=1, description="A gene enters the model if detected in this many cells.")
    n_top_genes: int | None = Field(
        2000, ge=1, description="Targets are taken from this many highly variable genes; all when `none`."
    )

    @field_validator("prior", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str | Path) else value
