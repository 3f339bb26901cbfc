"""Diffusion operators at 10,000 to 1,000,000 cells: seconds and peak memory, each size in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/diffusion.py                 # all rows, to docs/benchmarks/diffusion.json
    OMP_NUM_THREADS=1 python benchmarks/diffusion.py --neighbors     # kNN searches side by side, those installed
    OMP_NUM_THREADS=1 python benchmarks/diffusion.py --cells 10000   # these sizes alone, nothing is written

Cells lie on a branching curve in eight dimensions with noise in all of 30, whose principal components are given. Rows:
100,000 cells from their components (neighbours included); 10,000, 100,000 and 1,000,000 cells with a sparse graph that
is given, 30 neighbours a cell before it is made symmetric; 1,000,000 cells under a memory budget that sends the lagged
expression to a file. 100 TFs, 5 lags. ``cpu_s`` and ``wall_s`` are of ``plan_memory`` and ``diffusion_operators``,
``imports_s`` (CPU) of the libraries they load, ``peak_gb`` is the process's resident peak during them with the data set
in it, ``anonymous_gb`` that part of it which the system cannot take back (without mapped files), ``data_gb`` what was
resident before.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
from record import machine
from scipy import sparse

N_SOURCES, N_LAGS, N_NEIGHBORS, N_COMPONENTS = 100, 5, 30, 30
STREAM_BUDGET = 3_500_000_000  # of the row that streams; its lagged expression alone is 2 GB
RESULT = Path(__file__).parents[1] / "docs" / "benchmarks" / "diffusion.json"


def components(n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of cells along three branches, and their pseudotime."""
    rng = np.random.default_rng(0)
    position, branch = rng.random(n_cells), rng.integers(0, 3, n_cells)
    values = rng.standard_normal((n_cells, N_COMPONENTS), dtype=np.float32)
    values /= np.sqrt(1 + np.arange(N_COMPONENTS, dtype=np.float32))
    for wave in range(8):
        phase = (wave + 1) * 2 * (position + branch * np.maximum(position - 0.4, 0))
        values[:, wave] += 3 * np.sin(phase) / (1 + 0.2 * wave)
    return values, position


def given_graph(position: np.ndarray) -> sparse.csr_matrix:
    """Symmetric graph whose neighbours are up to 200 cells away in pseudotime, without a search."""
    rng, n_cells = np.random.default_rng(1), len(position)
    order = np.argsort(position)
    steps = rng.integers(1, 200, (n_cells, N_NEIGHBORS), dtype=np.int32)
    steps *= rng.choice(np.array([-1, 1], dtype=np.int32), steps.shape)
    near = order.astype(np.int32)[np.clip(steps + np.arange(n_cells, dtype=np.int32)[:, None], 0, n_cells - 1)]
    index = np.empty_like(near)
    index[order] = near
    weight = rng.random(index.size, dtype=np.float32)
    starts = np.arange(0, index.size + 1, N_NEIGHBORS)
    graph = sparse.csr_matrix((weight, index.ravel(), starts), shape=(n_cells, n_cells))
    graph.sum_duplicates()
    return graph.maximum(graph.T).tocsr()


def resident(kind: str) -> float:
    """GB of this process: ``VmRSS``, ``VmHWM`` (peak) or ``RssAnon``."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024 / 1e9


def measure(n_cells: int, from_components: bool, memory_budget: int | None) -> dict[str, object]:
    """One row; runs in a process of its own."""
    import anndata

    from scmagnify_core import diffusion
    from scmagnify_core.data.dataset import Dataset
    from scmagnify_core.data.description import DataDescription

    begin = time.process_time()
    if from_components:
        import faiss  # noqa: F401
        import sklearn.neighbors  # noqa: F401
    imports = time.process_time() - begin

    coordinates, position = components(n_cells)
    rng = np.random.default_rng(2)
    expression = sparse.random(n_cells, N_SOURCES, 0.3, "csr", np.float32, rng)
    rna = anndata.AnnData(
        expression, obs=pd.DataFrame({"pseudotime": position}, index=np.arange(n_cells).astype(str))
    )
    rna.var_names = [f"TF{number}" for number in range(N_SOURCES)]
    if from_components:
        rna.obsm["X_pca"] = coordinates
    else:
        rna.obsp["transition"] = given_graph(position)
    del coordinates, expression
    data = Dataset(rna, None, DataDescription(name="benchmark", file=Path("benchmark.h5ad")), ())

    anonymous, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            anonymous[0] = max(anonymous[0], resident("RssAnon"))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu, wall = time.process_time(), time.perf_counter()
    config = diffusion.DiffusionConfig(n_neighbors=N_NEIGHBORS, n_components=N_COMPONENTS)
    plan = diffusion.plan_memory(data, N_SOURCES, N_LAGS, config, memory_budget)
    value = diffusion.diffusion_operators(data, tuple(data.genes), N_LAGS, config, plan=plan)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    done.set()
    watcher.join()
    return {
        "cells": n_cells,
        "graph": "from components" if from_components else "given",
        "lagged_in": "memory" if plan.file_block is None else "file",
        "steps": value.transition.nnz,
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "imports_s": round(imports, 2),
        "data_gb": round(before, 2),
        "peak_gb": round(resident("VmHWM"), 2),
        "anonymous_gb": round(anonymous[0], 2),
        "estimated_gb": round(plan.needed_bytes / 1e9, 2),
        "budget_gb": round(plan.budget_bytes / 1e9, 2),
        "cpu_us_per_cell": round(cpu / n_cells * 1e6, 1),
    }


def searches() -> dict[str, Callable[[np.ndarray, int], np.ndarray]]:
    """kNN searches of one thread: indices of the nearest cells; imports and compilation count."""

    def ours(points: np.ndarray, k: int) -> np.ndarray:
        from scmagnify_core.diffusion import _indexed_neighbors

        return _indexed_neighbors(points, k)[1]

    def faiss_flat(points: np.ndarray, k: int) -> np.ndarray:
        import faiss

        faiss.omp_set_num_threads(1)
        return faiss.knn(points, points, k)[1]

    def faiss_hnsw(points: np.ndarray, k: int) -> np.ndarray:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexHNSWFlat(points.shape[1], 16)
        index.hnsw.efConstruction, index.hnsw.efSearch = 40, 80
        index.add(points)
        return index.search(points, k)[1]

    def hnswlib(points: np.ndarray, k: int) -> np.ndarray:
        import hnswlib

        index = hnswlib.Index("l2", points.shape[1])
        index.init_index(len(points), M=16, ef_construction=100, random_seed=0)
        index.add_items(points, num_threads=1)
        index.set_ef(64)
        return index.knn_query(points, k, num_threads=1)[0]

    def usearch(points: np.ndarray, k: int) -> np.ndarray:
        from usearch.index import Index

        index = Index(
            ndim=points.shape[1], metric="l2sq", dtype="f32", connectivity=16, expansion_add=64, expansion_search=64
        )
        index.add(np.arange(len(points)), points, threads=1)
        return index.search(points, k, threads=1).keys

    def voyager(points: np.ndarray, k: int) -> np.ndarray:
        import voyager

        index = voyager.Index(
            voyager.Space.Euclidean, points.shape[1], M=12, ef_construction=100, max_elements=len(points)
        )
        index.add_items(points, num_threads=1)
        return index.query(points, k, num_threads=1, query_ef=100)[0]

    def pynndescent(points: np.ndarray, k: int) -> np.ndarray:
        from pynndescent import NNDescent

        return NNDescent(points, n_neighbors=k, random_state=0, n_jobs=1).neighbor_graph[0]

    def sklearn(points: np.ndarray, k: int) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=k, n_jobs=1).fit(points).kneighbors(points)[1]

    every = (ours, faiss_flat, faiss_hnsw, hnswlib, usearch, voyager, pynndescent, sklearn)
    return {search.__name__: search for search in every}


def measure_search(name: str, n_cells: int) -> dict[str, object]:
    """CPU-seconds and recall of one search; runs in a process of its own."""
    points, _ = components(n_cells)
    k = N_NEIGHBORS + 1
    cpu = time.process_time()
    try:
        found = searches()[name](points, k)
    except ImportError:
        return {"search": name, "cells": n_cells, "cpu_s": None, "recall": None}
    cpu = time.process_time() - cpu
    chosen = np.random.default_rng(3).choice(n_cells, 1000, replace=False)
    exact, shares = points.astype(np.float64), []
    squares = (exact**2).sum(axis=1)
    for part in np.split(chosen, 20):
        distance = squares - 2 * exact[part] @ exact.T
        nearest = np.argpartition(distance, k, axis=1)[:, :k]
        shares += [len(set(a) & set(b)) / k for a, b in zip(found[part], nearest, strict=True)]
    return {"search": name, "cells": n_cells, "cpu_s": round(cpu, 1), "recall": round(float(np.mean(shares)), 4)}


def context() -> dict[str, object]:
    """What the figures are of."""
    versions = {}
    packages = ("faiss-cpu", "hnswlib", "usearch", "voyager", "pynndescent", "scikit-learn", "numpy", "scipy")
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return machine() | {
        "load": round(os.getloadavg()[0], 1), "python": platform.python_version(), "versions": versions,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
    }  # fmt: skip


def apart(*arguments: str) -> dict[str, object]:
    """A row from a process of its own, printed as it comes."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout)
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", help="sizes, each from components and with a graph")
    parser.add_argument("--neighbors", action="store_true", help="compare kNN searches at 100,000 cells")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", default=list(searches()), help="searches to compare")
    given = parser.parse_args()
    if given.row:
        cells, graph, budget = given.row
        print(json.dumps(measure(int(cells), graph == "components", int(budget) or None)))
    elif given.search:
        print(json.dumps(measure_search(given.search[0], int(given.search[1]))))
    else:
        if given.neighbors:
            table = {"neighbors": [apart("--search", name, "100000") for name in given.only]}
        elif given.cells:
            table = {"rows": [apart("--row", str(n), g, "0") for n in given.cells for g in ("components", "given")]}
        else:
            sizes = [("100000", "components", "0"), *((n, "given", "0") for n in ("10000", "100000", "1000000"))]
            table = {"rows": [apart("--row", *row) for row in (*sizes, ("1000000", "given", str(STREAM_BUDGET)))]}
        for rows in table.values():
            print(pd.DataFrame(rows).to_string(index=False))
        if not given.cells:
            kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            kept |= table | {f"machine_of_{name}": context() for name in table}
            RESULT.write_text(json.dumps(kept, indent=1) + "\n")
