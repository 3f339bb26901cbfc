"""Seconds to test genes for change along pseudotime, beside a loop over genes with statsmodels.

    OMP_NUM_THREADS=1 python benchmarks/association.py
    OMP_NUM_THREADS=1 python benchmarks/association.py --cells 50000

Both fit the same spline basis to the same simulated counts; the loop runs over a subset and is extrapolated. Prints
seconds, peak memory of the test beyond its input, and the largest relative difference of F on the subset.
"""

import argparse
import time
import tracemalloc

import numpy as np
import pandas as pd
from scipy import sparse
from statsmodels.api import OLS

from scmagnify_core.numerics.statistics import adjust_pvalues, spline_basis, spline_f_test


def simulate(n_cells: int, n_genes: int, share: float) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Log values of which ``share`` are not zero; one gene in five doubles along pseudotime."""
    rng = np.random.default_rng(0)
    values = sparse.random(n_cells, n_genes, share, format="csr", dtype=np.float32, random_state=rng)
    position = rng.random(n_cells)
    rises = np.arange(n_genes) % 5 == 0
    rows = np.repeat(position, np.diff(values.indptr))
    values.data += 1 + rises[values.indices] * rows.astype(np.float32)
    return values, position


def compare(n_cells: int, n_genes: int, share: float, n_splines: int, n_loop: int) -> pd.DataFrame:
    values, position = simulate(n_cells, n_genes, share)
    start = time.perf_counter()
    fit = spline_f_test(values, position, n_splines)
    padj = adjust_pvalues(fit.pvalue)
    own = time.perf_counter() - start

    subset = np.linspace(0, n_genes - 1, n_loop).astype(int)
    columns = values.tocsc()
    start = time.perf_counter()
    basis, ones = spline_basis(position, n_splines), np.ones(n_cells)
    statistics = []
    for gene in subset:
        y = columns[:, [gene]].toarray().ravel().astype(float)
        statistics.append(OLS(y, basis).fit().compare_f_test(OLS(y, ones).fit())[0])
    loop = (time.perf_counter() - start) * n_genes / n_loop

    tracemalloc.start()
    spline_f_test(values, position, n_splines)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    difference = np.abs(fit.statistic[subset] / statistics - 1).max()
    print(f"{values.nnz:,} non-zeros; {int((padj < 1e-3).sum())} of {n_genes} genes have padj < 1e-3")
    print(f"largest relative difference of F on {n_loop} genes: {difference:.1e}")
    return pd.DataFrame(
        {
            "method": ["spline_f_test", f"statsmodels loop ({n_loop} genes, extrapolated)"],
            "cells": n_cells,
            "genes": n_genes,
            "seconds": [own, loop],
            "peak_mib": [peak, np.nan],
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--share", type=float, default=0.2, help="share of values that are not zero")
    parser.add_argument("--splines", type=int, default=5)
    parser.add_argument("--loop", type=int, default=50, help="genes of the statsmodels loop")
    arguments = parser.parse_args()
    table = compare(arguments.cells, arguments.genes, arguments.share, arguments.splines, arguments.loop)
    print(table.round(3).to_string(index=False))
