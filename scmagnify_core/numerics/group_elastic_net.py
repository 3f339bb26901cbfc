"""Group elastic net: a linear model per target whose candidate edges enter with all their lags, or not at all.

For one target with candidate TFs e, lagged expression x and coefficients b[lag, e] it minimises

    mean over cells of (y - sum_e sum_lag b[lag, e] x[lag, e])^2
        + strength * sum_e ((1 - a) |b[:, e]|_2 + a |b[:, e]|_1).

The penalty is that of the Granger model with coefficients that are the same in all cells. Its zeros are exact.

Decisions
---------
* Cells enter through the matrix of inner products of the lagged TFs alone, made once for all targets and strengths,
  block by block of cells. Time then follows candidate edges, not cells, and a part of the cells is never copied.
* Coordinate descent over edges, with a few proximal steps on the lags of each, which are strongly correlated.
* A path goes from strong to weak penalties, each starting from the solution before it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numba
import numpy as np
from jaxtyping import Float, Int

BLOCK_CELLS = 4096  # read at a time
PATIENCE = 3  # strengths without a smaller error, after which a path has turned
N_INNER = 4  # proximal steps on the lags of an edge per visit


def group_elastic_net(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    strength: float,
    l1_ratio: float,
    cells: Int[np.ndarray, " cell"] | None = None,
    tolerance: float = 1e-4,
    max_sweeps: int = 1000,
) -> Float[np.ndarray, "lag edge"]:
    """Coefficients of each candidate edge: :func:`group_elastic_net_path` of a single strength."""
    strengths = (strength,)
    return next(
        group_elastic_net_path(
            features, targets, source_index, target_index, strengths, l1_ratio, cells, tolerance, max_sweeps
        )
    )


def group_elastic_net_path(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    strengths: Sequence[float],
    l1_ratio: float,
    cells: Int[np.ndarray, " cell"] | None = None,
    tolerance: float = 1e-4,
    max_sweeps: int = 1000,
) -> Iterator[Float[np.ndarray, "lag edge"]]:
    """Coefficients of each candidate edge at one strength after the other, computed as they are asked for.

    Parameters
    ----------
    features, targets
        Standardised; there is no intercept.
    source_index, target_index
        TF and target of each candidate edge, sorted by target.
    strengths
        Best in descending order: each solution is the start of the next.
    cells
        Those to fit to; all when None.
    tolerance
        A target is done when a sweep over its edges changes no coefficient by more than this.

    Notes
    -----
    Memory is (lags x TFs)^2 and time K^2 x sum over targets of its candidates squared, for each sweep.

    References
    ----------
    Simon et al. (2013), J. Comput. Graph. Stat. 22, 231-245.
    """
    products, with_targets = inner_products(features, targets, cells)
    n_lags = len(products)
    coefficients = np.zeros((len(source_index), n_lags))
    bounds = np.searchsorted(target_index, np.arange(targets.shape[1] + 1))
    for strength in strengths:
        for target, (start, stop) in enumerate(pairwise(bounds)):
            sources = source_index[start:stop]
            # Edge-major: the lags of an edge are neighbours.
            gram = products[:, sources][:, :, :, sources].transpose(1, 0, 3, 2).reshape(2 * [len(sources) * n_lags])
            _descend(
                np.ascontiguousarray(gram), with_targets[:, sources, target].T.reshape(-1), coefficients[start:stop],
                float(strength), l1_ratio, tolerance, max_sweeps,
            )  # fmt: skip
        yield coefficients.T.astype(np.float32)


def inner_products(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    cells: Int[np.ndarray, " cell"] | None = None,
) -> tuple[Float[np.ndarray, "lag source lag source"], Float[np.ndarray, "lag source target"]]:
    """Of the features with one another and with the targets, divided by the number of cells."""
    n_lags, n_sources = features.shape[1:]
    chosen = np.arange(len(features)) if cells is None else np.sort(cells)
    products = np.zeros(2 * (n_lags * n_sources,))
    with_targets = np.zeros((n_lags * n_sources, targets.shape[1]))
    for start in range(0, len(chosen), BLOCK_CELLS):
        block = chosen[start : start + BLOCK_CELLS]
        flat = features[block].reshape(len(block), -1)
        products += flat.T @ flat
        with_targets += flat.T @ targets[block]
    products /= len(chosen)
    with_targets /= len(chosen)
    return products.reshape(n_lags, n_sources, n_lags, n_sources), with_targets.reshape(n_lags, n_sources, -1)


def squared_errors(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    coefficients: Float[np.ndarray, "lag edge"],
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    cells: Int[np.ndarray, " cell"],
) -> Float[np.ndarray, " target"]:
    """Mean squared error of each target over some cells."""
    total = np.zeros(targets.shape[1])
    for start in range(0, len(cells), BLOCK_CELLS):
        block = cells[start : start + BLOCK_CELLS]
        predicted = predict(features[block], coefficients, source_index, target_index, targets.shape[1])
        total += np.square(predicted - targets[block]).sum(axis=0, dtype=np.float64)
    return total / len(cells)


def has_turned(errors: Sequence[float]) -> bool:
    """Whether held-out errors along a path rise: weaker penalties would only predict worse, and they take longest."""
    return int(np.argmin(errors[::-1])) >= PATIENCE


def predict(
    features: Float[np.ndarray, "cell lag source"],
    coefficients: Float[np.ndarray, "lag edge"],
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    n_targets: int,
) -> Float[np.ndarray, "cell target"]:
    """What coefficients make of lagged TFs: the contributions of a target's edges, summed over lags."""
    from scipy import sparse

    predicted = np.zeros((len(features), n_targets), dtype=np.float32)
    shape = (n_targets, features.shape[2])
    for lag, values in enumerate(coefficients):
        matrix = sparse.csr_matrix((values, (target_index, source_index)), shape=shape)
        predicted += (matrix @ features[:, lag].T).T
    return predicted


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _descend(
    gram: Float[np.ndarray, "edge_lag edge_lag"],
    target_products: Float[np.ndarray, " edge_lag"],
    coefficients: Float[np.ndarray, "edge lag"],
    strength: float,
    l1_ratio: float,
    tolerance: float,
    max_sweeps: int,
) -> None:
    """Block coordinate descent from the given coefficients, in place."""
    n_edges, n_lags = coefficients.shape
    slope = target_products - gram @ coefficients.reshape(-1)  # half the negative gradient of the squared error
    curvature = np.empty(n_edges)
    for edge in range(n_edges):
        own = gram[edge * n_lags : (edge + 1) * n_lags, edge * n_lags : (edge + 1) * n_lags]
        curvature[edge] = np.abs(own).sum(axis=1).max()  # bounds the largest eigenvalue
    local, change, proposed = np.empty(n_lags), np.empty(n_lags), np.empty(n_lags)
    active_only = False
    for _ in range(max_sweeps):
        largest = 0.0
        for edge in range(n_edges):
            if curvature[edge] <= 0 or (active_only and not coefficients[edge].any()):
                continue
            at = edge * n_lags
            local[:] = slope[at : at + n_lags]
            change[:] = 0
            for _inner in range(N_INNER):
                squares = 0.0
                for lag in range(n_lags):
                    value = coefficients[edge, lag] + local[lag] / curvature[edge]
                    size = max(abs(value) - l1_ratio * strength / (2 * curvature[edge]), 0.0)
                    proposed[lag] = np.sign(value) * size
                    squares += size * size
                shrink = 0.0
                if squares > 0:
                    shrink = max(1 - (1 - l1_ratio) * strength / (2 * curvature[edge] * np.sqrt(squares)), 0.0)
                moved = 0.0
                for lag in range(n_lags):
                    step = shrink * proposed[lag] - coefficients[edge, lag]
                    if step != 0:
                        coefficients[edge, lag] += step
                        change[lag] += step
                        moved = max(moved, abs(step))
                        for other in range(n_lags):
                            local[other] -= gram[at + other, at + lag] * step
                if moved == 0:
                    break
            for lag in range(n_lags):
                if change[lag] != 0:
                    largest = max(largest, abs(change[lag]))
                    row = gram[at + lag]
                    for i in range(len(slope)):
                        slope[i] -= row[i] * change[lag]
        if largest < tolerance:
            if not active_only:
                return
            active_only = False  # the edges in use have settled: look at all once more
        else:
            active_only = True
