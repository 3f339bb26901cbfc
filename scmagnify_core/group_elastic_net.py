"""Group elastic net: a linear model per target whose candidate edges enter as wholes, with all their lags, or not at all.

For one target with candidate TFs e, lagged expression x and coefficients b[lag, e] it minimises

    mean over cells of (y - sum_e sum_lag b[lag, e] x[lag, e])^2 + strength * sum_e ((1 - a) |b[:, e]|_2 + a |b[:, e]|_1).

The penalty is that of the Granger model with coefficients that are the same in all cells; this is the best such model.

Decisions
---------
* Cells enter through the matrix of inner products of the lagged TFs alone, made once for all targets. Time then follows
  candidate edges, not cells.
* Coordinate descent over edges, with a few proximal steps on the lags of each, which are strongly correlated.
"""

import numba
import numpy as np
from jaxtyping import Float, Int

N_INNER = 4  # proximal steps on the lags of an edge per visit


def group_elastic_net(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    strength: float,
    l1_ratio: float,
    tolerance: float = 1e-4,
    max_sweeps: int = 1000,
) -> Float[np.ndarray, "lag edge"]:
    """Coefficients of each candidate edge.

    Parameters
    ----------
    features, targets
        Standardised; there is no intercept.
    source_index, target_index
        TF and target of each candidate edge, sorted by target.
    tolerance
        A target is done when a sweep over its edges changes no coefficient by more than this.

    Notes
    -----
    Memory is (lags x TFs)^2 and time K^2 x sum over targets of its candidates squared, for each sweep.

    References
    ----------
    Simon et al. (2013), J. Comput. Graph. Stat. 22, 231-245.
    """
    n_cells, n_lags, n_sources = features.shape
    flat = features.reshape(n_cells, -1)
    products = (flat.T @ flat / n_cells).reshape(n_lags, n_sources, n_lags, n_sources)
    with_targets = (flat.T @ targets / n_cells).reshape(n_lags, n_sources, -1)
    coefficients = np.zeros((len(source_index), n_lags), dtype=np.float64)
    bounds = np.searchsorted(target_index, np.arange(targets.shape[1] + 1))
    for target, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        sources = source_index[start:stop]
        # Edge-major: the lags of an edge are neighbours.
        gram = products[:, sources][:, :, :, sources].transpose(1, 0, 3, 2).reshape(2 * [len(sources) * n_lags])
        target_products = with_targets[:, sources, target].T.reshape(-1)
        _descend(
            np.ascontiguousarray(gram, dtype=np.float64), target_products.astype(np.float64),
            coefficients[start:stop], strength, l1_ratio, tolerance, max_sweeps,
        )  # fmt: skip
    return coefficients.T.astype(np.float32)


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
