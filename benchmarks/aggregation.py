"""Seconds and memory to read a network from a trained model: exact medians of every edge and lag over all cells.

    OMP_NUM_THREADS=1 python benchmarks/aggregation.py
    OMP_NUM_THREADS=1 python benchmarks/aggregation.py --cells 3000 --edges 5000

The model has random weights without a bias, so most edges have coefficients of both signs and need a second median:
the slow case.
Beside the whole (`read_network`), what reducing the coefficients costs by itself, and what numpy's own median, mean
and standard deviation take for the same; both on a subset of edges in one run, in nanoseconds a value. The rest of the
whole is the coefficients, which are matrix products. Writes docs/benchmarks/aggregation.json.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from record import peak_gib, save
from scipy import sparse

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.inference import read_network, summarize
from scmagnify_core.methods.grn.granger.result import TrainingResult
from scmagnify_core.methods.grn.granger.training import build_model


def problem(n_cells: int, n_edges: int, n_lags: int, n_sources: int) -> tuple:
    """A model with random weights, random operators, and a prior of this many edges."""
    rng = np.random.default_rng(0)
    n_targets = -(-n_edges // max(1, n_sources // 5))
    at = np.sort(rng.choice(n_sources * n_targets, n_edges, replace=False))
    kinds = ("x",) * n_edges
    prior = PriorNetwork(
        tuple(f"TF{i}" for i in range(n_sources)), tuple(f"G{i}" for i in range(n_targets)), at % n_sources,
        at // n_sources, np.ones(n_edges, "f4"), pd.DataFrame({"evidence": kinds, "origin": kinds}),
    )  # fmt: skip
    lagged = rng.standard_normal((n_cells, n_lags, n_sources), dtype=np.float32)
    operators = DiffusionOperators(sparse.csr_matrix((n_cells, n_cells)), lagged, prior.sources)
    config = GrangerConfig(n_lags=n_lags, device="cpu")
    weights = build_model(prior, config, 0).state_dict()
    weights["output_weight"][..., -1] = 0  # no bias: then most coefficients are of both signs
    result = TrainingResult(weights, pd.DataFrame(), 0, 1, "max_epochs", "cpu", 0.0, config)
    return result, operators, prior


def by_numpy(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, deviation = values.mean(axis=1, dtype=np.float64), values.std(axis=1, dtype=np.float64)
    return np.median(values, axis=1), np.median(np.abs(values), axis=1), deviation / np.abs(mean)


def timed(function: Callable, *arguments: object) -> tuple[object, float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    found = function(*arguments)
    return found, time.perf_counter() - start, time.process_time() - cpu


def measure(n_cells: int, n_edges: int, n_lags: int, n_sources: int, n_subset: int) -> list[dict]:
    inputs = problem(n_cells, n_edges, n_lags, n_sources)
    before = peak_gib()
    network, wall, cpu = timed(read_network, *inputs)
    peak = peak_gib()
    n_values = n_cells * n_edges * n_lags
    values = np.random.default_rng(1).standard_normal((n_subset, n_cells), dtype=np.float32)
    (median, magnitude, cv), _, own = timed(summarize, values)
    (expected, expected_magnitude, expected_cv), _, numpy_cpu = timed(by_numpy, values)
    assert np.array_equal(median, expected)
    assert np.array_equal(magnitude, expected_magnitude)
    assert np.allclose(cv, expected_cv, rtol=1e-6)
    sizes = {"cells": n_cells, "edges": n_edges, "lags": n_lags}
    both = float((network.magnitude > np.abs(network.weight)).mean())
    print(f"{both:.0%} of edges and lags have coefficients of both signs; peak before reading {before:.2f} GiB")
    scale = 1e9 / values.size
    return [
        {"what": "read_network", **sizes, "wall_s": wall, "cpu_s": cpu, "ns_per_value": cpu / n_values * 1e9,
         "peak_gib": peak},
        {"what": "summarize alone", **sizes, "cpu_s": own * n_values / values.size, "ns_per_value": own * scale},
        {"what": "the same by numpy.median, mean, std", **sizes, "cpu_s": numpy_cpu * n_values / values.size,
         "ns_per_value": numpy_cpu * scale},
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--edges", type=int, default=30_000)
    parser.add_argument("--lags", type=int, default=5)
    parser.add_argument("--sources", type=int, default=100)
    parser.add_argument("--subset", type=int, default=2_000, help="edges of the comparison with numpy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(arguments.cells, arguments.edges, arguments.lags, arguments.sources, arguments.subset)
    print(pd.DataFrame(rows).round(2).to_string(index=False, na_rep=""))
    save("aggregation", rows)
