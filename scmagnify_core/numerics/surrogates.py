"""Series along pseudotime and what their lagged correlation would be by chance.

Cells become equal-count bins per lineage; bins become detrended series at unit norm; flipping the signs of a series'
cosine coefficients (:func:`_cosines`) gives surrogates of the same autocorrelation. Which series are compared, and
p-values, are the caller's business.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from scmagnify_core.errors import InputError

BLOCK_VALUES = 2**24  # values of a temporary array: 64 MB in float32
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


def largest_correlations(
    first: Float[np.ndarray, "first bin"],
    then: Float[np.ndarray, "then bin"],
    rows: Int[np.ndarray, " pair"],
    cols: Int[np.ndarray, " pair"],
    segments: list[slice],
    max_lag: int,
    n_permutations: int,
    seed: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> tuple[Int[np.ndarray, " pair"], Float[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Strongest correlation of ``first[rows]`` with a later ``then[cols]``, and how many surrogates reach it.

    The signs of the surrogates are the same for all pairs, so that a pair's result does not depend on the others.
    Correlations are sums over cosine coefficients, where a surrogate differs by signs alone: all pairs of a block are
    then one matrix product with the signs, and only the last bins, which its norm at a lag lacks, are ever transformed
    back.

    Parameters
    ----------
    first, then
        Series from :func:`binned`.
    rows, cols
        Pairs; memory and time are least where ``rows`` ascend.

    Returns
    -------
    Lag in bins, correlation about zero at that lag, and number of surrogates of ``first`` whose largest absolute
    correlation over all lags is as large.
    """
    within = _within_lineage(segments, max_lag)
    basis = _block_diagonal(segments, _cosines).astype(np.float32)
    flips = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.float32), (n_permutations, len(basis)))
    signs = np.vstack([np.ones_like(flips[:1]), flips]).T  # the series itself is the first draw
    spectra, partners = first @ basis.T, _later(then, within) @ basis.T
    # At a lag the last bins of each lineage have no partner, and a surrogate loses what it has there.
    ends = np.flatnonzero(within[-1] == 0)
    is_lost, at_ends = 1 - within[:, ends], basis.T[ends]
    lag = np.empty(len(rows), dtype=np.int16)
    association = np.empty(len(rows), dtype=np.float32)
    n_at_least = np.empty(len(rows), dtype=np.int64)
    step = max(1, BLOCK_VALUES // (8 * len(within) * signs.shape[1]))  # pairs at a time
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        used, own = np.unique(rows[block], return_inverse=True)
        spectrum = spectra[used]
        lost = ((spectrum[:, None] * at_ends) @ signs) ** 2
        kept = (spectrum**2).sum(axis=1)[:, None, None] - is_lost @ lost
        scale = np.divide(1, np.sqrt(np.maximum(kept, 0)), out=np.zeros_like(kept), where=kept > 1e-6)
        found = (spectrum[own] * partners[:, cols[block]]) @ signs  # lag x pair x draw
        found *= scale.transpose(1, 0, 2)[:, own]
        observed = found[:, :, 0].copy()
        best = np.abs(observed).argmax(axis=0)
        lag[block], association[block] = best, np.take_along_axis(observed, best[None], axis=0)[0]
        strongest = np.abs(found, out=found).max(axis=0)
        # Rounding in float32 must not make a surrogate that equals the series count as smaller.
        n_at_least[block] = (strongest[:, 1:] >= strongest[:, :1] - 1e-6).sum(axis=1)
        if progress is not None:
            progress(min(start + step, len(rows)))
    return lag, association, n_at_least


def _block_diagonal(segments: list[slice], make: Callable[[int], np.ndarray]) -> Float[np.ndarray, "bin bin"]:
    """One square block per lineage."""
    blocks = np.zeros((segments[-1].stop, segments[-1].stop))
    for segment in segments:
        blocks[segment, segment] = make(segment.stop - segment.start)
    return blocks


def _without_trend(size: int) -> Float[np.ndarray, "bin bin"]:
    """Projection that removes the best straight line."""
    line = np.linalg.qr(np.vander(np.linspace(-1, 1, size), 2))[0]
    return np.eye(size) - line @ line.T


def _cosines(size: int) -> Float[np.ndarray, "bin bin"]:
    """Orthonormal DCT-II, one coefficient per row."""
    from scipy.fft import dct

    return dct(np.eye(size), norm="ortho", axis=0)


def binned(
    values: Float[np.ndarray, "cell gene"], weights: sparse.csr_matrix, segments: list[slice]
) -> tuple[Float[np.ndarray, "gene bin"], Bool[np.ndarray, " gene"]]:
    """Detrended series of each gene at unit norm, and which of them vary at all."""
    means = np.asarray(weights @ values, dtype=np.float64)
    series = _block_diagonal(segments, _without_trend) @ means
    norm = np.linalg.norm(series, axis=0)
    alive = norm > 1e-6 * np.linalg.norm(means, axis=0)  # False for NaN too
    return np.where(alive, series / np.where(alive, norm, 1), 0).T.astype(np.float32), alive


def _within_lineage(segments: list[slice], max_lag: int) -> Float[np.ndarray, "lag bin"]:
    """1 where the bin so much later belongs to the same lineage."""
    ends = np.concatenate([np.full(segment.stop - segment.start, segment.stop) for segment in segments])
    return (np.arange(len(ends)) + np.arange(max_lag + 1)[:, None] < ends).astype(np.float32)


def _later(series: Float[np.ndarray, "gene bin"], within: np.ndarray) -> Float[np.ndarray, "lag gene bin"]:
    """Each series moved forward by each lag, at unit norm over the bins that remain."""
    moved = np.stack([np.roll(series, -lag, axis=1) * inside for lag, inside in enumerate(within)])
    norm = np.linalg.norm(moved, axis=2, keepdims=True)
    return np.divide(moved, norm, out=np.zeros_like(moved), where=norm > 1e-6)
