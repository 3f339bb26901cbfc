"""Values of the expression: what they are, how they are normalised, and which genes may enter a model.

Decisions
---------
* Normalisation uses *all* genes of the file (or a library size that the file records), and only then are
  genes selected: a size factor must not depend on which genes a model happens to look at.
* Counts are kept as they came, in ``layers['counts']``; the caller's object and file are never modified.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.trajectory import principal_components
from scmagnify_core.errors import InputError, MissingColumnError, shorten

if TYPE_CHECKING:
    from anndata import AnnData

TARGET_SUM = 1e4  # counts per cell after normalisation, the field's convention


def expression(rna: "AnnData", layer: str | None) -> sparse.csr_matrix:
    """Values of X or of a layer as float32 CSR: a copy, without stored zeros."""
    if layer is not None and layer not in rna.layers:
        raise MissingColumnError("layers", layer, list(rna.layers), "Pass one of them, or leave layer out to use X.")
    values = rna.X if layer is None else rna.layers[layer]
    if values is None:
        raise InputError("X", "is empty.", f"Name a layer: {shorten(list(rna.layers))}.")
    matrix = sparse.csr_matrix(values, dtype=np.float32, copy=True)
    matrix.sum_duplicates()  # sorts, too
    matrix.eliminate_zeros()  # a stored zero must not count as a detection
    return matrix


def are_counts(values: sparse.csr_matrix, rna: "AnnData", description: DataDescription) -> bool:
    """Refuse values that are no expression; return whether they are counts."""
    where = "X" if description.layer is None else f"layers['{description.layer}']"
    if not values.shape[0] or not values.shape[1] or not values.nnz:
        raise InputError(where, f"has shape {values.shape} and no non-zero value.", "Check the file or its layer.")
    for bad, what in (
        (~np.isfinite(values.data), "NaN or infinite"),
        (values.data < 0, "negative"),
    ):
        if n_bad := int(bad.sum()):
            first = int(np.flatnonzero(bad)[0])
            cell = int(np.searchsorted(values.indptr, first, side="right") - 1)
            gene = rna.var_names[values.indices[first]]
            scaled = what == "negative" and description.values != "counts"
            raise InputError(
                where, f"{n_bad} {what} values, the first at cell '{rna.obs_names[cell]}', gene '{gene}'.",
                "Scaled (z-scored) data cannot be used: name the layer with counts or log values as layer."
                if scaled else "Repair the file, or name another layer.",
            )  # fmt: skip
    whole = bool(np.array_equal(values.data, np.rint(values.data)))
    if description.values == "counts" and not whole:
        share = float(np.mean(values.data != np.rint(values.data)))
        raise InputError(
            where, f"values = 'counts', but {share:.0%} of the non-zero values are not whole numbers.",
            "Set values = 'log' for log-normalised data, or name the layer that holds counts.",
        )  # fmt: skip
    return whole if description.values == "auto" else description.values == "counts"


def normalise(
    counts: sparse.csr_matrix, rna: "AnnData", description: DataDescription, notes: list[str]
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """log(1 + counts per 10,000), and the library size of each cell."""
    key = description.library_size_key
    if key is None:
        size = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        notes.append(
            f"Counts were normalised to {TARGET_SUM:g} per cell over all {counts.shape[1]} genes of the file."
        )
    elif key not in rna.obs:
        raise MissingColumnError("obs", key, list(rna.obs), "Pass one of them as library_size_key.")
    else:
        size = pd.to_numeric(rna.obs[key], errors="coerce").to_numpy(dtype=np.float64)
        notes.append(f"Counts were normalised to {TARGET_SUM:g} per cell by the library size in obs['{key}'].")
    empty = ~((size > 0) & np.isfinite(size))
    if empty.any():
        what = "no counts" if key is None else "no positive number there"
        raise InputError(
            "counts" if key is None else f"obs['{key}']",
            f"{int(empty.sum())} cells have {what}, the first is '{rna.obs_names[int(np.argmax(empty))]}'.",
            "Filter empty cells before adding the data set."
            if key is None
            else "Name a column of total counts as library_size_key, or leave it out to sum the counts of the file.",
        )
    normalised = sparse.diags(TARGET_SUM / size).dot(counts).tocsr().astype(np.float32)
    np.log1p(normalised.data, out=normalised.data)
    return normalised, size


def assemble(
    rna: "AnnData",
    normalised: sparse.csr_matrix,
    counts: sparse.csr_matrix | None,
    obs: pd.DataFrame,
    description: DataDescription,
    notes: list[str],
) -> "AnnData":
    """A new AnnData that holds only what the platform uses, under fixed names."""
    import anndata

    clean = anndata.AnnData(normalised, obs=obs, var=pd.DataFrame(index=rna.var_names.astype(str)))
    if counts is not None:
        clean.layers["counts"] = counts
    if description.pca_key in rna.obsm:
        clean.obsm["X_pca"] = np.asarray(rna.obsm[description.pca_key], dtype=np.float32)
        notes.append(f"obsm['{description.pca_key}'] of the file is used for the cell graph.")
    else:
        clean.obsm["X_pca"] = principal_components(normalised)
    given = next((key for key in ("X_umap", "X_tsne") if key in rna.obsm), None)
    embedding = np.asarray(clean.obsm["X_pca"] if given is None else rna.obsm[given], dtype=np.float32)[:, :2]
    clean.obsm["X_embedding"] = np.pad(embedding, ((0, 0), (0, 2 - embedding.shape[1])))  # a line is drawn flat
    for key, name in ((description.pca_key, "X_pca"), (given, "X_embedding")):
        if not np.isfinite(clean.obsm[name]).all():
            raise InputError(f"obsm['{key}']", "has NaN or infinite values.", "Compute it anew, or drop it.")
    if description.transition_key is not None:
        if description.transition_key not in rna.obsp:
            raise MissingColumnError(
                "obsp",
                description.transition_key,
                list(rna.obsp),
                "Pass one of them as transition_key, or leave it out.",
            )
        clean.obsp["transition"] = sparse.csr_matrix(rna.obsp[description.transition_key], dtype=np.float32)
    return clean


def mark_genes(rna: "AnnData", description: DataDescription) -> None:
    """Flag genes that may enter the model; selection itself waits for the prior."""
    import scanpy
    from sklearn.utils.sparsefuncs import mean_variance_axis

    matrix = rna.X
    rna.var["n_cells"] = matrix.getnnz(axis=0).astype(np.int32)
    mean, variance = mean_variance_axis(matrix, axis=0)  # in two passes: constant genes must give 0, not rounding
    rna.var["mean_expression"] = mean.astype(np.float32)
    rna.var["is_eligible"] = (rna.var["n_cells"] >= description.min_cells) & (variance > 1e-8)
    if not rna.var["is_eligible"].any():
        raise InputError(
            "min_cells", f"no gene is detected in {description.min_cells} cells and varies.",
            "Lower min_cells, or check that the layer holds expression.",
        )  # fmt: skip
    limit = description.n_top_genes
    if limit is None or limit >= int(rna.var["is_eligible"].sum()):
        rna.var["is_highly_variable"] = rna.var["is_eligible"]
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eligible = rna[:, rna.var["is_eligible"]]
        marks = scanpy.pp.highly_variable_genes(eligible, n_top_genes=limit, inplace=False)
    # scanpy marks all genes that tie at the limit; genes alone in their bin of means always tie.
    order = marks.reset_index(drop=True).sort_values(["dispersions_norm", "dispersions"], ascending=False)
    rna.var["is_highly_variable"] = False
    rna.var.loc[eligible.var_names[order.index[:limit]], "is_highly_variable"] = True
