"""A data set: a file, read, refused where it cannot be analysed, and normalised.

A data set is a file plus a :class:`DataDescription` that says how to read it. :func:`read_dataset` returns a
:class:`Dataset` whose tables have fixed names, so that nothing downstream asks again where the pseudotime is.

Everything that can be refused is refused here, before any work, with the culprit and the remedy. Choosing sources and
targets belongs to ``prior``, because only the prior knows which genes are regulators.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.normalise import are_counts, assemble, expression, mark_genes, normalise
from scmagnify_core.data.observations import observations
from scmagnify_core.data.reading import (
    DUPLICATE_BARCODES,
    DUPLICATE_GENES,
    counted_fragments,
    peaks_of_fragments,
    read_file,
    read_modalities,
    refuse_duplicates,
    select_lineages,
    with_gene_names,
)
from scmagnify_core.data.trajectory import diffusion_pseudotime
from scmagnify_core.errors import shorten

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Dataset:
    """A validated, normalised data set.

    ``rna.X`` holds log(1 + counts per 10,000) as CSR float32, ``rna.layers['counts']`` the untouched counts where
    the file has them. ``rna.obs`` has ``pseudotime`` and, where known, ``lineage``, ``cluster``, ``sample`` and
    ``n_counts``; ``rna.obsm`` has ``X_pca`` and ``X_embedding`` (two columns); ``rna.obsp['transition']`` a given
    graph. ``atac`` has the same cells in the same order. ``notes`` says, in words, what was decided on the way.
    """

    rna: "AnnData"
    atac: "AnnData | None"
    description: DataDescription
    notes: tuple[str, ...]

    @property
    def genes(self) -> pd.Index:
        """Gene names, in the order of the expression's columns."""
        return self.rna.var_names

    @property
    def cells(self) -> pd.Index:
        """Cell barcodes, in the order of the expression's rows."""
        return self.rna.obs_names

    @property
    def pseudotime(self) -> Float[np.ndarray, " cell"]:
        """Pseudotime of each cell, in the file's unit."""
        return self.rna.obs["pseudotime"].to_numpy(dtype=np.float64)

    def labels(self, column: Literal["lineage", "cluster", "sample"]) -> np.ndarray | None:
        """Labels of the cells as strings, missing ones as 'nan'; None where the data set has no such column."""
        return self.rna.obs[column].astype(str).to_numpy() if column in self.rna.obs else None

    def expression(self, genes: Sequence[str]) -> Float[np.ndarray, "cell gene"]:
        """Dense normalised expression of the named genes, float32.

        Raises
        ------
        KeyError
            A gene is not in the data set.
        """
        columns = self.rna.var_names.get_indexer(list(genes))
        if (columns < 0).any():
            absent = [gene for gene, column in zip(genes, columns, strict=True) if column < 0]
            raise KeyError(f"genes not in the data set: {shorten(absent)}")
        return self.rna.X[:, columns].toarray()

    def cells_table(self) -> pd.DataFrame:
        """Body of the ``cells`` table."""
        obs = self.rna.obs
        frame = pd.DataFrame({"cell": self.cells.astype(str), "pseudotime": self.pseudotime})
        for column in ("lineage", "cluster", "sample"):
            labels = self.labels(column)
            frame[column] = None if labels is None else pd.Series(labels).mask(obs[column].isna().to_numpy(), None)
        frame["n_counts"] = obs["n_counts"].to_numpy() if "n_counts" in obs else np.nan
        frame[["embedding_1", "embedding_2"]] = self.rna.obsm["X_embedding"]
        return frame

    def genes_table(self) -> pd.DataFrame:
        """Body of the ``genes`` table."""
        columns = ["n_cells", "mean_expression", "is_highly_variable", "is_eligible"]
        return self.rna.var[columns].rename_axis("gene").reset_index()

    def write(self, path: Path) -> None:
        """Write to ``path`` as h5mu; :meth:`load` reads it back."""
        import mudata

        modalities = {"rna": self.rna} if self.atac is None else {"rna": self.rna, "atac": self.atac}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = mudata.MuData(modalities)
            whole.uns["description"] = self.description.model_dump_json()
            whole.uns["notes"] = json.dumps(self.notes)
            whole.write_h5mu(path, compression="lzf")

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Read what :meth:`write` wrote."""
        return read_file(path, cls._stored)

    @classmethod
    def _stored(cls, path: Path) -> "Dataset":
        """The modalities by themselves: putting a MuData together takes longer than reading them."""
        import h5py
        from anndata.io import read_elem

        with h5py.File(path, "r") as file:
            modalities = {name: read_elem(file["mod"][name]) for name in file["mod"]}
            about = {name: read_elem(file["uns"][name]) for name in ("description", "notes")}
        return cls(
            rna=modalities["rna"],
            atac=modalities.get("atac"),
            description=DataDescription.model_validate_json(about["description"]),
            notes=tuple(json.loads(about["notes"])),
        )


def read_dataset(
    description: DataDescription, progress: Callable[[int, int, str], None] = lambda done, total, detail: None
) -> Dataset:
    """Read, validate and normalise the file that ``description`` names, and count fragments where it names some.

    Memory is that of the file's matrix, twice. The same file gives the same values bit for bit.

    Parameters
    ----------
    progress
        Follows the counting of fragments: bytes read, bytes of the file, and how many fragments they held.

    Raises
    ------
    InputError
        The file is unreadable or takes data from other files; names repeat; values are NaN, infinite, negative or
        not what ``values`` says; the pseudotime is missing, constant or not a number; a named column, layer or
        lineage is absent;
        fragments come without peaks, beside an ATAC modality, or fit neither the cells nor the peaks.
    """
    rna, atac = read_modalities(description.file)
    peaks = peaks_of_fragments(description, has_atac=atac is not None)
    notes: list[str] = []
    rna = with_gene_names(rna, description)
    genes = "var_names" if description.gene_key is None else f"var['{description.gene_key}']"
    refuse_duplicates(genes, rna.var_names, DUPLICATE_GENES)
    refuse_duplicates("obs_names", rna.obs_names, DUPLICATE_BARCODES)
    rna, atac = select_lineages(rna, atac, description)
    values = expression(rna, description.layer)
    is_counts = are_counts(values, rna, description)
    obs, keep = observations(rna, description, notes)

    normalised, library_size = normalise(values, rna, description, notes) if is_counts else (values, None)
    if library_size is not None:
        obs["n_counts"] = library_size
    clean = assemble(rna, normalised, values if is_counts else None, obs, description, notes)
    if not is_counts:
        notes.append("The values are log-normalised as given; no counts are kept.")
    if "pseudotime" not in clean.obs:
        clean.obs["pseudotime"] = diffusion_pseudotime(clean, description)
        notes.append(f"Diffusion pseudotime was computed from the root '{description.root}'.")
    if not keep.all():
        clean = clean[keep].copy()
        atac = None if atac is None else atac[keep].copy()
    if description.fragments is not None and peaks is not None:
        atac = counted_fragments(description.fragments, peaks, clean.obs_names, notes, progress)
    mark_genes(clean, description)
    return Dataset(clean, atac, description, tuple(notes))
