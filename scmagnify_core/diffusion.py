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
* A lag is a length of pseudotime. Steps on the graph become shorter with more cells (.051 to .038 of the trajectory
  from 750 to 6,000 cells, measured), so that "lag 3" would mean something else after down-sampling. The number of
  steps that a lag takes is therefore chosen so that the median cell has gone back that far, and values between two
  numbers of steps are interpolated. It is one number for all cells: a number for each cell passes the error of its
  pseudotime on to its past, and recovered less. ``lag_step=None`` is the published rule, a step a lag.
* Lagged inputs are standardised again after diffusion: averaging shrinks them with the lag (standard deviation .61 at
  lag 1, .45 at lag 5, measured), and coefficients of different lags would not be comparable.
* Above 20,000 cells neighbours come from an inverted file (faiss): k-means cells of which the nearest 32 are searched.
  It has no random order of insertion, so that the same coordinates give the same graph whatever the number of
  threads, and compiles nothing (``docs/benchmarks/diffusion.json``).
* TFs are taken in blocks of columns and cells in blocks of rows: memory is that of the result and of the graph. Where
  the result exceeds the memory budget it goes to a file that is mapped into memory (:func:`plan_memory`).
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.errors import InputError
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget, show_bytes

MIN_STEP = 1e-3  # of a lag: a step that leads the median cell less far back leads nowhere
CLIP = 5.0  # standard deviations; expression beyond it is treated as an outlier
EXACT_NEIGHBORS_LIMIT = 20_000  # cells up to which all distances are computed
N_PROBES = 32  # k-means cells that are searched for a cell's neighbours
SEARCH_CELLS = 4096  # cells whose neighbours one thread looks up at once
BLOCK_SOURCES = 32  # TFs that are diffused at once
BLOCK_VALUES = 2**20  # numbers that are worked on at once
ALLOWANCE = 64 * 2**20  # bytes that libraries and the allocator take beside the arrays


class DiffusionConfig(BaseModel):
    """How cells are joined and how the past is read off the graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_neighbors: int = Field(30, ge=2, description="Neighbours of a cell on the cell graph.")
    n_components: int = Field(30, ge=1, description="Principal components that measure distance between cells.")
    acyclic: Literal["strict", "two_cycles"] = Field(
        "strict", description="`strict`: edges go forward in pseudotime; `two_cycles`: the published rule."
    )
    lag_step: float | None = Field(
        0.05, gt=0, le=0.5, description="Length of a lag, as a share of the range of pseudotime; `none`: a lag is a "
        "step on the graph (published), which becomes shorter with more cells.",
    )  # fmt: skip
    standardize_lagged: bool = Field(True, description="Standardise each lagged TF again after diffusion.")


@dataclass(frozen=True)
class DiffusionOperators:
    """The transition and the lagged expression of the TFs.

    ``lagged[n, k, p]`` is the expression of TF p that reaches cell n over k + 1 lags, in standard deviations;
    ``n_steps[k]`` the number of steps on the graph that these lags take.
    """

    transition: sparse.csr_matrix
    lagged: Float[np.ndarray, "cell lag source"]
    sources: tuple[str, ...]
    n_steps: tuple[float, ...] = ()

    def write(self, path: Path) -> None:
        """Write as safetensors, from where the arrays lie; :meth:`load` reads it back."""
        from safetensors.numpy import save_file

        arrays = {
            "transition.data": self.transition.data,
            "transition.indices": self.transition.indices.astype(np.int64),
            "transition.indptr": self.transition.indptr.astype(np.int64),
            "lagged": np.ascontiguousarray(self.lagged),
        }
        # One entry, because safetensors writes several in random order, and the file's hash is the result's version.
        about = json.dumps({"sources": self.sources, "n_steps": self.n_steps})
        save_file(arrays, path, metadata={"about": about})

    @classmethod
    def load(cls, path: Path) -> "DiffusionOperators":
        """Map what :meth:`write` wrote: its pages are read when they are used, and writing to them stays private."""
        # safetensors' numpy reader copies, and the one that maps wants torch, seconds to import in every process.
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(n_bytes))
        dtypes = {"F32": np.float32, "F64": np.float64, "I64": np.int64}

        def mapped(name: str) -> np.ndarray:
            one = header[name]
            start = 8 + n_bytes + one["data_offsets"][0]
            return np.asarray(np.memmap(path, dtypes[one["dtype"]], "c", start, tuple(one["shape"])))

        lagged = mapped("lagged")
        parts = tuple(mapped(f"transition.{part}") for part in ("data", "indices", "indptr"))
        about = json.loads(header.get("__metadata__", {}).get("about", "{}"))
        if "n_steps" not in about:
            raise InputError(
                f"'{path}'", "holds diffusion operators of an earlier version.", "Make diffusion_operators again."
            )
        transition = sparse.csr_matrix(parts, shape=(len(lagged), len(lagged)))
        return cls(transition, lagged, tuple(about["sources"]), tuple(about["n_steps"]))

    @property
    def n_roots(self) -> int:
        """Cells that stand for their own past."""
        return int((self.transition.diagonal() == 1).sum())


def cell_graph(coordinates: Float[np.ndarray, "cell pc"], n_neighbors: int) -> sparse.csr_matrix:
    """Symmetric kNN graph with Gaussian weights of an adaptive width (Haghverdi et al. 2016).

    Neighbours are exact up to 20,000 cells; above, all but a few in a thousand are found (measured). The width of a
    cell is its median distance to its neighbours. The graph does not depend on the number of threads.

    Returns
    -------
    CSR, N x N, weights in (0, 1], no diagonal.
    """
    n_cells = len(coordinates)
    if n_cells < 3:
        raise InputError("cells", f"{n_cells} are not a trajectory.", "Give a data set with more cells.")
    n_neighbors = min(n_neighbors, n_cells - 1)
    search = _exact_neighbors if n_cells <= EXACT_NEIGHBORS_LIMIT else _indexed_neighbors
    distance, index = search(coordinates, n_neighbors + 1)
    # A cell may not be its own first neighbour where others have the same coordinates.
    not_self = index != np.arange(n_cells, dtype=index.dtype)[:, None]
    not_self[not_self.all(axis=1), -1] = False
    distance = distance[not_self].reshape(n_cells, n_neighbors).astype(np.float64)
    index = index[not_self].reshape(n_cells, n_neighbors)
    width = np.maximum(np.median(distance, axis=1), 1e-12)
    weight = np.square(distance, out=distance)
    weight /= width[:, None] * width[index]
    np.exp(np.negative(weight, out=weight), out=weight)
    np.maximum(weight, 1e-12, out=weight)
    graph = sparse.csr_matrix(
        (weight.ravel(), index.ravel(), np.arange(0, n_cells * n_neighbors + 1, n_neighbors)),
        shape=(n_cells, n_cells),
    )
    return graph.maximum(graph.T).tocsr()


def _exact_neighbors(coordinates: np.ndarray, n_nearest: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices of the nearest cells, each row from near to far; a cell is its own."""
    from sklearn.neighbors import NearestNeighbors

    distance, index = NearestNeighbors(n_neighbors=n_nearest).fit(coordinates).kneighbors(coordinates)
    return distance, index.astype(np.int32)


def _indexed_neighbors(coordinates: np.ndarray, n_nearest: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_exact_neighbors`, of the k-means cells near each cell.

    Blocks of cells are shared among threads, and each is searched by one: rounding, too, is that of one thread.
    """
    import faiss

    points = np.ascontiguousarray(coordinates, dtype=np.float32)
    n_cells, n_dimensions = points.shape
    distance = np.empty((n_cells, n_nearest), dtype=np.float32)
    index = np.empty((n_cells, n_nearest), dtype=np.int32)
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(n_dimensions), n_dimensions, int(np.sqrt(n_cells)))
    lists.nprobe = N_PROBES

    def search(start: int) -> None:
        block = slice(start, start + SEARCH_CELLS)
        squared, found = lists.search(points[block], n_nearest)
        short = found[:, -1] < 0  # the lists searched hold too few cells
        if short.any():
            squared[short], found[short] = faiss.knn(points[block][short], points, n_nearest)
        distance[block], index[block] = np.sqrt(squared), found

    n_threads = faiss.omp_get_max_threads()  # as OMP_NUM_THREADS says, or the cores that this process may use
    with ThreadPoolExecutor(n_threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        pool.submit(lists.train, points).result()
        pool.submit(lists.add, points).result()
        for _ in pool.map(search, range(0, n_cells, SEARCH_CELLS)):
            pass
    return distance, index


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
    steps = sparse.csr_matrix(graph)
    if not np.issubdtype(steps.dtype, np.floating):
        steps = steps.astype(np.float64)
    if not steps.has_canonical_format:
        steps = steps.copy()  # the caller's stays as it is
        steps.sum_duplicates()
    weight, keep = _forward(steps, pseudotime) if acyclic == "strict" else _without_two_cycles(steps, pseudotime)
    if not keep.any():
        raise InputError(
            "transition", "no step of the cell graph goes forward in pseudotime.",
            "Check that the transition matrix has rows 'from' and columns 'to', and that the pseudotime fits it.",
        )  # fmt: skip
    n_kept = np.zeros(steps.shape[0] + 1, dtype=np.int64)
    for rows, entries, row in _row_blocks(steps.indptr):
        n_kept[rows.start + 1 : rows.stop + 1] = np.bincount(
            row[keep[entries]] - rows.start, minlength=rows.stop - rows.start
        )
    kept = sparse.csr_matrix((weight[keep], steps.indices[keep], np.cumsum(n_kept)), shape=steps.shape)
    del steps, weight, keep
    ancestors = kept.T.tocsr()
    del kept
    total = np.zeros(ancestors.shape[0])
    scaled = np.empty(ancestors.nnz, dtype=np.float32)
    for rows, entries, row in _row_blocks(ancestors.indptr):
        values = ancestors.data[entries].astype(np.float64)
        total[rows] = np.bincount(row - rows.start, weights=values, minlength=rows.stop - rows.start)
        scaled[entries] = values * (1 / total[row])
    ancestors.data = scaled
    roots = sparse.csr_matrix(
        (np.ones(int((total == 0).sum()), dtype=np.float32), np.flatnonzero(total == 0),
         np.concatenate([[0], np.cumsum(total == 0)])),
        shape=ancestors.shape,
    )  # fmt: skip
    result = (ancestors + roots).tocsr()
    result.eliminate_zeros()
    result.sort_indices()
    return result


def _row_blocks(indptr: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Rows of a CSR matrix, their entries, and the row of each entry: some million entries at a time."""
    n_rows, start = len(indptr) - 1, 0
    while start < n_rows:
        last = int(np.searchsorted(indptr, indptr[start] + BLOCK_VALUES, side="right")) - 1
        stop = min(max(last, start + 1), n_rows)
        row = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(indptr[start : stop + 1]))
        yield slice(start, stop), slice(int(indptr[start]), int(indptr[stop])), row
        start = stop


def _forward(steps: sparse.csr_matrix, pseudotime: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of each step, and which of them go to a larger pseudotime."""
    keep = np.empty(steps.nnz, dtype=bool)
    for _, entries, row in _row_blocks(steps.indptr):
        keep[entries] = (steps.data[entries] > 0) & (pseudotime[steps.indices[entries]] > pseudotime[row])
    return steps.data, keep


def _without_two_cycles(steps: sparse.csr_matrix, pseudotime: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backward steps weighed down (Setty/Lange: 2 / sqrt(1 + exp(b dt)), b = 10); of opposite steps the larger."""
    span = float(np.ptp(pseudotime)) or 1.0
    weight = np.empty(steps.nnz, dtype=np.float64)
    for _, entries, row in _row_blocks(steps.indptr):
        column, value = steps.indices[entries], steps.data[entries].astype(np.float64)
        advance = (pseudotime[column] - pseudotime[row]) / span
        value = np.where(advance >= 0, value, value * 2 / np.sqrt(1 + np.exp(-10.0 * advance)))
        weight[entries] = np.where((value > 0) & (row != column), value, 0)
    directed = sparse.csr_matrix((weight, steps.indices, steps.indptr), shape=steps.shape)
    keep = np.empty(steps.nnz, dtype=bool)
    for _, entries, row in _row_blocks(steps.indptr):
        column, value = steps.indices[entries], weight[entries]
        opposite = np.asarray(directed[column, row]).ravel()
        # Ties keep the step from the lower to the higher index.
        keep[entries] = (value > 0) & ((value > opposite) | ((value == opposite) & (row < column)))
    return weight, keep


def standardize(
    values: Float[np.ndarray, "cell gene"], out: Float[np.ndarray, "cell gene"] | None = None
) -> Float[np.ndarray, "cell gene"]:
    """z-score per gene, clipped at 5 standard deviations; constant genes become 0.

    Means and deviations are sums in float64, taken in two passes; the result, in ``out`` if given, is float32.
    """
    n_cells, n_genes = values.shape
    size = max(1, BLOCK_VALUES // max(1, 4 * n_genes))  # stays in the cache
    blocks = [slice(start, start + size) for start in range(0, n_cells, size)]
    mean, variance = np.zeros(n_genes), np.zeros(n_genes)
    for block in blocks:
        mean += values[block].sum(axis=0, dtype=np.float64) / n_cells
    for block in blocks:
        variance += np.square(values[block] - mean).sum(axis=0) / n_cells
    deviation = np.sqrt(variance)
    scale = np.where(deviation > 1e-8, deviation, np.inf)
    result = np.empty((n_cells, n_genes), dtype=np.float32) if out is None else out
    for block in blocks:
        scaled = values[block] - mean
        scaled /= scale
        result[block] = np.clip(scaled, -CLIP, CLIP, out=scaled)
    return result


def steps_of_lags(
    transition: sparse.csr_matrix, pseudotime: Float[np.ndarray, " cell"], n_lags: int, lag_step: float | None
) -> Float[np.ndarray, " lag"]:
    """Steps on the graph until the median cell has gone back 1, 2, ... lags; not whole numbers, and at least 1.

    Where the past of most cells ends before (at a root), the last step that still led back counts.
    """
    if lag_step is None:
        return np.arange(1, n_lags + 1, dtype=np.float64)
    aims = lag_step * float(np.ptp(pseudotime)) * np.arange(1, n_lags + 1)
    reached, ages = np.asarray(pseudotime, dtype=np.float64), [0.0]
    while ages[-1] < aims[-1]:
        reached = transition @ reached
        age = float(np.median(pseudotime - reached))
        if age - ages[-1] < MIN_STEP * aims[0]:
            break
        ages.append(age)
    return np.maximum(np.interp(aims, ages, np.arange(len(ages))), 1.0)


def lagged_expression(
    transition: sparse.csr_matrix,
    values: Float[np.ndarray, "cell source"],
    n_steps: Sequence[float] | np.ndarray,
    *,
    standardize_lagged: bool = True,
    progress: Callable[[int, int], None] | None = None,
    order: Int[np.ndarray, " cell"] | None = None,
    file_block: int | None = None,
) -> Float[np.ndarray, "cell lag source"]:
    """T^s X for each number of steps s by repeated sparse products; ``values`` are standardised first.

    Cost is max(s) x nnz(T) x P multiplications. Memory is that of the result, of four blocks of 32 columns and, with an
    ``order``, of another transition.

    Parameters
    ----------
    n_steps
        Of each lag, ascending, at least 1; between two whole numbers T^s X is interpolated.
    progress
        Called with the number of TFs that are done, and that of all.
    order
        Permutation in which cells lie in memory while they are diffused. In the order of pseudotime ancestors are near,
        and products ten times as fast at a million cells (measured); the result is the same to the bit.
    file_block
        If given, the result is a mapped file without a name in the folder for temporary files (``TMPDIR``), which
        vanishes with the array. It is written in passes for so many TFs each, whose lags are in memory meanwhile.
    """
    n_cells, n_sources = values.shape
    n_lags = len(n_steps)
    shape = (n_cells, n_lags, n_sources)
    if file_block is not None:
        with tempfile.TemporaryFile(prefix="scmagnify-lagged-") as file:
            lagged: np.ndarray = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    else:
        lagged = np.empty(shape, dtype=np.float32)
    steps = transition
    if order is not None:
        place = np.empty(n_cells, dtype=transition.indices.dtype)
        place[order] = np.arange(n_cells)
        steps = transition[order]
        steps.indices = place[steps.indices]  # not sorted again: sums keep their order
    for start in range(0, n_sources, file_block or n_sources):
        written = slice(start, min(start + (file_block or n_sources), n_sources))
        part = lagged if file_block is None else np.empty((n_cells, n_lags, written.stop - start), dtype=np.float32)
        # The same blocks whether in memory or not: the result must not depend on where it lies.
        for first in range(start, written.stop, BLOCK_SOURCES):
            columns = slice(first, min(first + BLOCK_SOURCES, written.stop))
            current = standardize(values[:, columns])
            current = current if order is None else current[order]
            n_done = 0
            for lag, asked in enumerate(n_steps):
                while n_done < asked:
                    before, current = current, steps @ current
                    n_done += 1
                share = 1 - (n_done - float(asked))
                found = current if share == 1 else share * current + (1 - share) * before
                found = found if order is None else found[place]
                target = part[:, lag, columns.start - start : columns.stop - start]
                if standardize_lagged:
                    standardize(found, out=target)
                else:
                    target[:] = found
            if progress is not None:
                progress(columns.stop, n_sources)
        if file_block is not None:
            lagged[:, :, written] = part
    return lagged


@dataclass(frozen=True)
class MemoryPlan:
    """The peak of :func:`diffusion_operators`, with what the process holds already, and how it keeps to its budget.

    ``file_block`` is None where the lagged expression is held in memory (:func:`lagged_expression`).
    """

    needed_bytes: int
    budget_bytes: int
    file_block: int | None


def plan_memory(
    dataset: Dataset, n_sources: int, n_lags: int, config: DiffusionConfig, memory_budget: int | None = None
) -> MemoryPlan:
    """Estimate the peak, and choose memory or a file for the lagged expression.

    Raises
    ------
    InputError
        Not even with a file do the operators fit the budget, or the file does not fit the disk.
    """
    budget = resolve_budget(memory_budget)
    n_cells, used = dataset.rna.n_obs, memory_in_use() + ALLOWANCE
    column = 4 * n_cells
    given = "transition" in dataset.rna.obsp
    if given:
        n_steps, build = dataset.rna.obsp["transition"].nnz, 0
    else:
        n_joined = n_cells * min(config.n_neighbors + 1, n_cells)
        n_steps = 2 * n_joined
        n_dimensions = min(config.n_components, dataset.rna.obsm["X_pca"].shape[1])
        # Neighbours, weights and the graph both ways; the index and its input.
        build = 56 * n_joined + 8 * n_dimensions * n_cells
    # A step is a weight and an index (float64 in a graph of our own), kept in two orders while it is turned around.
    turned = n_steps * (17 if given and config.acyclic == "strict" else 33)
    transition = 16 * (n_steps if given else n_steps // 2)  # as it is and in the order of pseudotime
    lagged, expression = n_lags * n_sources * column, n_sources * column
    fixed = used + transition + expression
    graphs = used + max(build, turned)
    fixed += (
        4 * min(n_sources, BLOCK_SOURCES) * column
    )  # a block before and after a step, between the two, and the copy of its columns
    needed = max(graphs, fixed + lagged)
    if needed <= budget:
        return MemoryPlan(needed, budget, None)
    remedy = "Take fewer TFs (a stricter prior), fewer lags (scmagnify.n_lags) or fewer neighbours"
    block_bytes = n_lags * min(n_sources, BLOCK_SOURCES) * column
    least = max(graphs, fixed + block_bytes)
    check_fits(f"diffusion operators of {n_cells:,} cells, {n_sources} TFs and {n_lags} lags", least, budget, remedy)
    file_block = BLOCK_SOURCES * ((budget - fixed) // block_bytes)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2 * lagged:  # and once more where it is made ready for storage
        raise InputError(
            f"lagged expression of {n_cells:,} cells, {n_sources} TFs and {n_lags} lags",
            f"exceeds the memory budget of {show_bytes(budget)}, and as a file it takes {show_bytes(2 * lagged)}; "
            f"'{tempfile.gettempdir()}' has {show_bytes(free)} free.",
            "Set TMPDIR to a folder with more room, or raise memory_budget.",
        )  # fmt: skip
    needed = max(graphs, fixed + n_lags * min(file_block, n_sources) * column)
    return MemoryPlan(needed, budget, file_block)


def diffusion_operators(
    dataset: Dataset,
    sources: tuple[str, ...],
    n_lags: int,
    config: DiffusionConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    plan: MemoryPlan | None = None,
) -> DiffusionOperators:
    """Transition and lagged expression of a data set.

    A graph in ``obsp['transition']`` of the data set takes the place of the kNN graph. ``plan`` is that of
    :func:`plan_memory`; without one it is made here, for the memory of this machine.

    Raises
    ------
    InputError
        The operators do not fit the memory, or graph and pseudotime contradict each other.
    """
    config = config or DiffusionConfig()
    plan = plan or plan_memory(dataset, len(sources), n_lags, config)
    if "transition" in dataset.rna.obsp:
        graph = sparse.csr_matrix(dataset.rna.obsp["transition"])
    else:
        graph = cell_graph(dataset.rna.obsm["X_pca"][:, : config.n_components], config.n_neighbors)
    transition = transition_matrix(graph, dataset.pseudotime, config.acyclic)
    del graph
    n_steps = steps_of_lags(transition, dataset.pseudotime, n_lags, config.lag_step)
    lagged = lagged_expression(
        transition, dataset.expression(sources), n_steps,
        standardize_lagged=config.standardize_lagged, progress=progress, file_block=plan.file_block,
        order=np.argsort(dataset.pseudotime, kind="stable"),
    )  # fmt: skip
    return DiffusionOperators(transition, lagged, tuple(sources), tuple(n_steps.tolist()))
