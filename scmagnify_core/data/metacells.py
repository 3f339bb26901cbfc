"""Metacells: groups of neighbouring cells whose counts are pooled, because a single cell shows too little of a peak.

Decisions
---------
* Bisecting k-means that always splits the largest group (scikit-learn). Measured on principal components with 50
  cells a group, on one core: sizes vary little (coefficient of variation 0.3), the variance left within groups is
  Ward's on a neighbour graph (51 % against 52 % on 2,600 real cells, 67 % against 67 % on 100,000 made ones), and
  100,000 cells take 3 s. Ward took 434 s there; plain k-means 75 s, growing with cells x groups, for groups a tenth
  tighter; mini-batch k-means 4 s, but some of its groups were empty and some had 200 cells.
* Cells are sorted by their coordinates first, so that their order in the file does not matter.
* Small data sets get smaller groups: a rank correlation over five points says nothing.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.normalise import TARGET_SUM

MIN_METACELLS = 30
ROWS_AT_ONCE = 64  # metacells whose sums exist as a sparse matrix beside the dense result


def assign_metacells(dataset: Dataset, cells_per_metacell: int = 50, seed: int = 0) -> Int[np.ndarray, " cell"]:
    """Group cells that are neighbours in ``rna.obsm['X_pca']``.

    Deterministic, and independent of the order of cells up to the groups' numbers.

    Parameters
    ----------
    cells_per_metacell
        Mean size of a group; less where there would be fewer than 30 groups otherwise.

    Returns
    -------
    Number of each cell's group, from 0 without gaps.
    """
    from sklearn.cluster import BisectingKMeans

    coordinates = np.asarray(dataset.rna.obsm["X_pca"], dtype=np.float64)
    n_cells = len(coordinates)
    n_metacells = min(max(round(n_cells / cells_per_metacell), MIN_METACELLS), n_cells)
    order = np.lexsort(coordinates.T[::-1])
    model = BisectingKMeans(n_metacells, bisecting_strategy="largest_cluster", random_state=seed)
    labels = np.empty(n_cells, dtype=np.int64)
    labels[order] = model.fit_predict(coordinates[order])
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def aggregate(
    matrix: sparse.csr_matrix, labels: Int[np.ndarray, " cell"], n_metacells: int
) -> Float[np.ndarray, "metacell feature"]:
    """Sum over the cells of each metacell; float32, cost follows the non-zeros."""
    members = sparse.csr_matrix(
        (np.ones(len(labels), dtype=np.float32), (labels, np.arange(len(labels)))), shape=(n_metacells, len(labels))
    )
    sums = np.empty((n_metacells, matrix.shape[1]), dtype=np.float32)
    for first in range(0, n_metacells, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        sums[rows] = (members[rows] @ matrix).toarray()
    return sums


def metacell_expression(
    dataset: Dataset, labels: Int[np.ndarray, " cell"], genes: Int[np.ndarray, " gene"]
) -> Float[np.ndarray, "metacell gene"]:
    """log(1 + counts per 10,000) of pooled counts, or the mean of log values where the file has no counts.

    Parameters
    ----------
    genes
        Columns of the expression.
    """
    rna = dataset.rna
    if "counts" not in rna.layers:
        return _means(rna.X[:, genes], labels)
    return _pooled(rna.layers["counts"][:, genes], rna.obs["n_counts"].to_numpy(), labels)


def metacell_accessibility(
    dataset: Dataset, labels: Int[np.ndarray, " cell"], peaks: Int[np.ndarray, " peak"]
) -> Float[np.ndarray, "metacell peak"]:
    """The same for the ATAC modality, whose whole numbers are counts and whose other values are averaged.

    Parameters
    ----------
    peaks
        Columns of the ATAC matrix.
    """
    assert dataset.atac is not None
    matrix = sparse.csr_matrix(dataset.atac.X)
    is_counts = np.array_equal(matrix.data, np.rint(matrix.data))
    size = np.asarray(matrix.sum(axis=1)).ravel()
    matrix = matrix if np.array_equal(peaks, np.arange(matrix.shape[1])) else matrix[:, peaks]
    return _pooled(matrix, size, labels) if is_counts else _means(matrix, labels)


def _pooled(
    counts: sparse.csr_matrix, size: Float[np.ndarray, " cell"], labels: Int[np.ndarray, " cell"]
) -> Float[np.ndarray, "metacell feature"]:
    n_metacells = int(labels.max()) + 1
    total = np.bincount(labels, size, minlength=n_metacells)
    pooled = aggregate(counts, labels, n_metacells)
    pooled *= (TARGET_SUM / np.maximum(total, 1)).astype(np.float32)[:, None]
    return np.log1p(pooled, out=pooled)


def _means(values: sparse.csr_matrix, labels: Int[np.ndarray, " cell"]) -> Float[np.ndarray, "metacell feature"]:
    n_cells = np.bincount(labels)
    means = aggregate(values, labels, len(n_cells))
    means /= n_cells[:, None].astype(np.float32)
    return means
