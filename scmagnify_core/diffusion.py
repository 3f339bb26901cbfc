"""Diffusion operators: who a cell comes from, and what its TFs were there.

The transition T is sparse, N x N, and row c averages over the *ancestors* of cell c: neighbours on the cell
graph that come earlier. Lag l of a TF is (T^l X): repeated sparse products, so that nothing dense in N x N and
no power of T is ever formed.

Decisions
---------
* ``acyclic='strict'`` keeps an edge only from smaller to larger pseudotime, which makes T acyclic. The published
  rule (``'two_cycles'``: of each pair of opposite edges delete the smaller) leaves 16 % of edges pointing backward
  and nearly all cells in one strongly connected component (measured); it is kept for comparison.
* A cell without ancestors is a root. It stands for its own past (T[c, c] = 1): an empty row would tell every
  descendant that the TF was at its mean there.
* Lagged inputs are standardised again after diffusion: averaging shrinks them with the lag (standard deviation .61 at
  lag 1, .45 at lag 5, measured), and coefficients of different lags would not be comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from scmagnify_core.dataset import Dataset
from scmagnify_core.errors import InputError

CLIP = 5.0  # standard deviations; expression beyond it is treated as an outlier
EXACT_NEIGHBORS_LIMIT = 20_000  # cells up to which all distances are computed


class DiffusionConfig(BaseModel):
    """How cells are joined and how the past is read off the graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_neighbors: int = Field(30, ge=2, description="Neighbours of a cell on the cell graph.")
    n_components: int = Field(30, ge=1, description="Principal components that measure distance between cells.")
    acyclic: Literal["strict", "two_cycles"] = Field(
        "strict", description="`strict`: edges go forward in pseudotime; `two_cycles`: the published rule."
    )
    standardize_lagged: bool = Field(True, description="Standardise each lagged TF again after diffusion.")


@dataclass(frozen=True)
class DiffusionOperators:
    """The transition and the lagged expression of the TFs.

    ``lagged[n, k, p]`` is the expression of TF p that reaches cell n over k + 1 steps, in standard deviations.
    """

    transition: sparse.csr_matrix
    lagged: Float[np.ndarray, "cell lag source"]
    sources: tuple[str, ...]

    @property
    def n_roots(self) -> int:
        """Cells that stand for their own past."""
        return int((self.transition.diagonal() == 1).sum())


def cell_graph(coordinates: Float[np.ndarray, "cell pc"], n_neighbors: int) -> sparse.csr_matrix:
    """Symmetric kNN graph with Gaussian weights of an adaptive width (Haghverdi et al. 2016).

    Neighbours are exact up to 20,000 cells and approximate (pynndescent, fixed seed) above. The width of a cell is
    its median distance to its neighbours.

    Returns
    -------
    CSR, N x N, weights in (0, 1], no diagonal.
    """
    n_cells = len(coordinates)
    if n_cells < 3:
        raise InputError("cells", f"{n_cells} are not a trajectory.", "Give a data set with more cells.")
    n_neighbors = min(n_neighbors, n_cells - 1)
    if n_cells <= EXACT_NEIGHBORS_LIMIT:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(coordinates)
        distance, index = search.kneighbors(coordinates)
    else:
        from pynndescent import NNDescent

        index, distance = NNDescent(coordinates, n_neighbors=n_neighbors + 1, random_state=0).neighbor_graph
    # A cell may not be its own first neighbour where others have the same coordinates.
    not_self = index != np.arange(n_cells)[:, None]
    not_self[not_self.all(axis=1), -1] = False
    distance = distance[not_self].reshape(n_cells, n_neighbors).astype(np.float64)
    index = index[not_self].reshape(n_cells, n_neighbors)
    width = np.maximum(np.median(distance, axis=1), 1e-12)
    weight = np.exp(-(distance**2) / (width[:, None] * width[index]))
    graph = sparse.csr_matrix(
        (np.maximum(weight.ravel(), 1e-12), index.ravel(), np.arange(0, n_cells * n_neighbors + 1, n_neighbors)),
        shape=(n_cells, n_cells),
    )
    return graph.maximum(graph.T).tocsr()


def transition_matrix(
    graph: sparse.csr_matrix,
    pseudotime: Float[np.ndarray, " cell"],
    acyclic: Literal["strict", "two_cycles"] = "strict",
) -> sparse.csr_matrix:
    """Row-stochastic matrix over ancestors.

    Parameters
    ----------
    graph
        N x N, ``graph[a, c]`` > 0 is the weight of the step from cell a to cell c: a symmetric cell graph, or a
        directed transition or velocity graph. Negative entries (velocity graphs have them) count as none.
    pseudotime
        Any increasing transform gives the same ``strict`` result.
    acyclic
        See the module's docstring.

    Returns
    -------
    CSR, N x N; row c holds the weights of the ancestors of c and sums to 1; roots have a 1 on the diagonal.

    Raises
    ------
    InputError
        No step goes forward in pseudotime: graph and pseudotime contradict each other.
    """
    steps = graph.tocoo()
    span = float(np.ptp(pseudotime)) or 1.0
    advance = (pseudotime[steps.col] - pseudotime[steps.row]) / span
    positive = (steps.data > 0) & (steps.row != steps.col)
    if acyclic == "strict":
        keep, weight = positive & (advance > 0), steps.data
    else:
        # Soft down-weighting of backward steps (Setty/Lange: 2 / sqrt(1 + exp(b dt)), b = 10), then drop the smaller
        # of each two-cycle; ties keep the step from the lower to the higher index.
        weight = np.where(advance >= 0, steps.data, steps.data * 2 / np.sqrt(1 + np.exp(-10.0 * advance)))
        directed = sparse.csr_matrix((np.where(positive, weight, 0), (steps.row, steps.col)), shape=graph.shape)
        opposite = np.asarray(directed[steps.col, steps.row]).ravel()
        keep = positive & ((weight > opposite) | ((weight == opposite) & (steps.row < steps.col)))
    if not keep.any():
        raise InputError(
            "transition", "no step of the cell graph goes forward in pseudotime.",
            "Check that the transition matrix has rows 'from' and columns 'to', and that the pseudotime fits it.",
        )  # fmt: skip
    ancestors = sparse.csr_matrix(
        (weight[keep].astype(np.float64), (steps.col[keep], steps.row[keep])), shape=graph.shape
    )
    total = np.asarray(ancestors.sum(axis=1)).ravel()
    roots = (total == 0).astype(np.float64)
    scaled = sparse.diags(1 / np.where(total == 0, 1, total)) @ ancestors + sparse.diags(roots)
    result = sparse.csr_matrix(scaled, dtype=np.float32)
    result.eliminate_zeros()
    result.sort_indices()
    return result


def standardize(values: Float[np.ndarray, "cell gene"]) -> Float[np.ndarray, "cell gene"]:
    """z-score per gene, clipped at 5 standard deviations; constant genes become 0."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    scaled = centred / np.where(deviation > 1e-8, deviation, np.inf)
    return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def lagged_expression(
    transition: sparse.csr_matrix,
    values: Float[np.ndarray, "cell source"],
    n_lags: int,
    *,
    standardize_lagged: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "cell lag source"]:
    """T X, T^2 X, ..., T^K X by repeated sparse products; ``values`` are standardised first.

    Cost is K x nnz(T) x P multiplications and memory that of the result.
    """
    current = standardize(values)
    lagged = np.empty((current.shape[0], n_lags, current.shape[1]), dtype=np.float32)
    for lag in range(n_lags):
        current = transition @ current
        lagged[:, lag] = standardize(current) if standardize_lagged else current
        if progress is not None:
            progress(lag + 1, n_lags)
    return lagged


def diffusion_operators(
    dataset: Dataset,
    sources: tuple[str, ...],
    n_lags: int,
    config: DiffusionConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DiffusionOperators:
    """Transition and lagged expression of a data set.

    A graph in ``obsp['transition']`` of the data set takes the place of the kNN graph.
    """
    config = config or DiffusionConfig()
    if "transition" in dataset.rna.obsp:
        graph = sparse.csr_matrix(dataset.rna.obsp["transition"])
    else:
        graph = cell_graph(dataset.rna.obsm["X_pca"][:, : config.n_components], config.n_neighbors)
    transition = transition_matrix(graph, dataset.pseudotime, config.acyclic)
    lagged = lagged_expression(
        transition, dataset.expression(sources), n_lags,
        standardize_lagged=config.standardize_lagged, progress=progress,
    )  # fmt: skip
    return DiffusionOperators(transition, lagged, tuple(sources))
