"""Coordinates of cells along a trajectory: principal components and diffusion pseudotime.

Both come from well-kept libraries; what lives here is the choice of root and the refusal of graphs that the
root does not reach.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy import sparse

from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError, shorten

if TYPE_CHECKING:
    from anndata import AnnData

N_COMPONENTS = 50
MIN_CELLS = 5  # the least that diffusion components can be computed for


def principal_components(matrix: sparse.csr_matrix, n_components: int = N_COMPONENTS) -> Float[np.ndarray, "cell pc"]:
    """Leading principal components of log-normalised expression, centred implicitly so that it stays sparse."""
    from sklearn.decomposition import PCA
    from sklearn.utils.sparsefuncs import mean_variance_axis

    n_components = min(n_components, min(matrix.shape) - 1)
    if n_components < 1:
        raise InputError("X", f"has shape {matrix.shape}.", "At least two cells and two genes are needed.")
    if np.allclose(mean_variance_axis(matrix, axis=0)[1], 0, atol=1e-10):
        raise InputError("X", "has the same values in every cell.", "Check that the layer holds expression.")
    pca = PCA(n_components, svd_solver="arpack", random_state=0)
    return pca.fit_transform(matrix.astype(np.float64)).astype(np.float32)


def diffusion_pseudotime(rna: "AnnData", description: DataDescription) -> Float[np.ndarray, " cell"]:
    """Diffusion pseudotime (Haghverdi et al. 2016) from the root that ``description`` names, by scanpy.

    A root cluster is represented by its cell farthest out in diffusion space from all other cells.

    Raises
    ------
    InputError
        The root is unknown, or the cell graph falls into parts that the root does not reach.
    """
    import scanpy

    if rna.n_obs < MIN_CELLS:
        raise InputError(
            f"root = '{description.root}'", f"needs at least {MIN_CELLS} cells for a pseudotime, here are {rna.n_obs}.",
            "Keep more cells, or pass a pseudotime as time_key.",
        )  # fmt: skip
    work = rna.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.neighbors(work, n_neighbors=min(30, work.n_obs - 1), use_rep="X_pca", random_state=0)
        scanpy.tl.diffmap(work, n_comps=min(15, work.n_obs - 2), random_state=0)
        work.uns["iroot"] = _root_cell(work, description)
        scanpy.tl.dpt(work, n_dcs=min(10, work.obsm["X_diffmap"].shape[1]))
    time = work.obs["dpt_pseudotime"].to_numpy(dtype=np.float64)
    if not np.isfinite(time).all():
        raise InputError(
            f"root = '{description.root}'", f"does not reach {int((~np.isfinite(time)).sum())} of {len(time)} cells.",
            "The cell graph falls apart: select a lineage, or pass a pseudotime as time_key.",
        )  # fmt: skip
    return time


def _root_cell(work: "AnnData", description: DataDescription) -> int:
    root = str(description.root)
    if root in work.obs_names:
        return int(work.obs_names.get_loc(root))
    if "is_root" in work.obs:  # the root was given as column=value
        members = np.flatnonzero(work.obs["is_root"])
    elif "cluster" in work.obs:
        members = np.flatnonzero(work.obs["cluster"].astype(str) == root)
    else:
        members = np.empty(0, dtype=np.int64)
    if members.size:
        # Weighted as in diffusion pseudotime: without it, noise in the last components decides which cell is far out.
        values = np.minimum(work.uns["diffmap_evals"][1:], 1 - 1e-6)
        coordinates = work.obsm["X_diffmap"][:, 1:] * (values / (1 - values))
        others = np.delete(coordinates, members, axis=0)
        centre = others.mean(axis=0) if len(others) else coordinates.mean(axis=0)
        return int(members[np.argmax(((coordinates[members] - centre) ** 2).sum(axis=1))])
    clusters = shorten(sorted(set(work.obs["cluster"].astype(str)))) if "cluster" in work.obs else "none"
    raise InputError(
        f"root = '{root}'", f"is neither a barcode nor a cluster. Clusters: {clusters}.",
        "Give a barcode, a cluster of cluster_key, or column=value.",
    )  # fmt: skip
