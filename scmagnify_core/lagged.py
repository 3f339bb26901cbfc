"""Series along pseudotime and what their lagged correlation would be by chance.

Cells become equal-count bins per lineage; bins become detrended series at unit norm; flipping the signs of a series'
cosine coefficients (:func:`cosines`) gives surrogates of the same autocorrelation. Which series are compared, and
p-values, are the caller's business.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from scmagnify_core.errors import InputError

UNLABELLED = "nan"  # what a missing label becomes as a string


def bins(
    pseudotime: Float[np.ndarray, " cell"], lineages: np.ndarray | None, n_bins: int, max_lag: int
) -> tuple[sparse.csr_matrix, list[slice]]:
    """Averaging matrix (bin x cell) and the bins of each lineage; bins hold about as many cells everywhere."""
    lineages = np.full(len(pseudotime), "all") if lineages is None else np.asarray(lineages).astype(str)
    usable = np.isfinite(pseudotime) & (lineages != UNLABELLED)
    n_bins, least = min(n_bins, int(usable.sum())), 2 * max_lag + 10
    cells, owners, segments, start = [], [], [], 0
    for name in np.unique(lineages[usable]):
        members = np.flatnonzero(usable & (lineages == name))
        size = min(round(n_bins * len(members) / usable.sum()), len(members))
        if size < least:
            continue
        cells.append(members[np.argsort(pseudotime[members], kind="stable")])
        owners.append(start + np.arange(len(members)) * size // len(members))
        segments.append(slice(start, start + size))
        start += size
    if not segments:
        raise InputError(
            "max_lag", f"{max_lag} bins need a lineage with {least} bins, and {int(usable.sum())} cells in "
            f"{len(np.unique(lineages[usable]))} lineages fill {n_bins}.",
            "Lower max_lag, raise n_bins, or leave lineage_key out.",
        )  # fmt: skip
    column, row = np.concatenate(cells), np.concatenate(owners)
    weight = 1 / np.bincount(row)[row]
    return sparse.csr_matrix((weight, (row, column)), shape=(start, len(pseudotime))), segments


def block_diagonal(segments: list[slice], make: Callable[[int], np.ndarray]) -> Float[np.ndarray, "bin bin"]:
    blocks = np.zeros((segments[-1].stop, segments[-1].stop))
    for segment in segments:
        blocks[segment, segment] = make(segment.stop - segment.start)
    return blocks


def without_trend(size: int) -> Float[np.ndarray, "bin bin"]:
    """Projection that removes the best straight line."""
    line = np.linalg.qr(np.vander(np.linspace(-1, 1, size), 2))[0]
    return np.eye(size) - line @ line.T


def cosines(size: int) -> Float[np.ndarray, "bin bin"]:
    """Orthonormal DCT-II, one coefficient per row."""
    from scipy.fft import dct

    return dct(np.eye(size), norm="ortho", axis=0)


def binned(
    values: Float[np.ndarray, "cell gene"], weights: sparse.csr_matrix, detrend: Float[np.ndarray, "bin bin"]
) -> tuple[Float[np.ndarray, "gene bin"], Bool[np.ndarray, " gene"]]:
    """Detrended series of each gene at unit norm, and which of them vary at all."""
    means = np.asarray(weights @ values, dtype=np.float64)
    series = detrend @ means
    norm = np.linalg.norm(series, axis=0)
    alive = norm > 1e-6 * np.linalg.norm(means, axis=0)  # False for NaN too
    return np.where(alive, series / np.where(alive, norm, 1), 0).T.astype(np.float32), alive


def within_lineage(segments: list[slice], max_lag: int) -> Float[np.ndarray, "lag bin"]:
    """1 where the bin so much later belongs to the same lineage."""
    ends = np.concatenate([np.full(segment.stop - segment.start, segment.stop) for segment in segments])
    return (np.arange(len(ends)) + np.arange(max_lag + 1)[:, None] < ends).astype(np.float32)


def later(series: Float[np.ndarray, "gene bin"], within: np.ndarray) -> Float[np.ndarray, "lag gene bin"]:
    """Each series moved forward by each lag, at unit norm over the bins that remain."""
    moved = np.stack([np.roll(series, -lag, axis=1) * inside for lag, inside in enumerate(within)])
    norm = np.linalg.norm(moved, axis=2, keepdims=True)
    return np.divide(moved, norm, out=np.zeros_like(moved), where=norm > 1e-6)


def correlation(
    series: Float[np.ndarray, "draw bin"], later: Float[np.ndarray, "lag gene bin"], within: np.ndarray
) -> Float[np.ndarray, "lag draw gene"]:
    """Correlation about zero of each series with each later gene, over the bins that both have."""
    norm = np.sqrt((series * series) @ within.T).T[..., None]
    products = np.matmul(series, later.transpose(0, 2, 1))
    return np.divide(products, norm, out=np.zeros_like(products), where=norm > 1e-6)
