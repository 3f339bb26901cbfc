"""Seconds of the permutation tests of cell-cell communication.

    OMP_NUM_THREADS=1 python benchmarks/communication.py
    OMP_NUM_THREADS=1 python benchmarks/communication.py --pairs 20000 --permutations 10000

Receptor-TF association over bins of pseudotime, for pairs that share many or few receptors, and ligand-receptor scores
between all pairs of cell groups, each on random walks or counts without signal, where 5 % of p-values should be at most
0.05. Writes docs/benchmarks/communication.json.
"""

import argparse
import time

import numpy as np
import pandas as pd
from record import peak_gib, save
from scipy import sparse

from scmagnify_core.interpretation.communication import (
    CommunicationConfig,
    ligand_receptor_scores,
    receptor_tf_association,
)


def distinct(first: list[str], second: list[str], n_pairs: int, rng: np.random.Generator) -> tuple[list, list]:
    """Distinct random pairs."""
    at = rng.choice(len(first) * len(second), n_pairs, replace=False)
    return [first[i] for i in at // len(second)], [second[i] for i in at % len(second)]


def receptor_tf(n_pairs: int, n_receptors: int, config: CommunicationConfig, n_cells: int, n_tfs: int) -> dict:
    rng = np.random.default_rng(0)
    receptor, tf = (np.cumsum(rng.standard_normal((n_cells, n)), axis=0) for n in (n_receptors, n_tfs))
    names, tf_names = [f"r{i:05d}" for i in range(n_receptors)], [f"t{i:04d}" for i in range(n_tfs)]
    pairs = pd.DataFrame(dict(zip(("receptor", "tf"), distinct(names, tf_names, n_pairs, rng), strict=True)))
    position = np.sort(rng.random(n_cells))
    start, cpu = time.perf_counter(), time.process_time()
    table = receptor_tf_association(receptor, names, tf, tf_names, position, pairs, config)
    return {
        "what": "receptor-TF association", "pairs": n_pairs, "receptors": n_receptors, "bins": config.n_bins,
        "permutations": config.n_permutations, "rows": len(table), "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu, "share_p_below_0.05": float((table["pvalue"] <= 0.05).mean()),
    }  # fmt: skip


def ligand_receptor(n_pairs: int, n_groups: int, config: CommunicationConfig, n_cells: int, n_genes: int) -> dict:
    rng = np.random.default_rng(0)
    values = rng.gamma(1, 1, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < 0.5)
    genes = [f"g{i:05d}" for i in range(n_genes)]
    chosen = distinct(genes[: n_genes // 2], genes[n_genes // 2 :], n_pairs, rng)
    pairs = pd.DataFrame(dict(zip(("ligand", "receptor"), chosen, strict=True)))
    groups = np.array([f"c{i}" for i in range(n_groups)])[np.arange(n_cells) % n_groups]
    expression = sparse.csr_matrix(values.astype(np.float32))
    start, cpu = time.perf_counter(), time.process_time()
    table = ligand_receptor_scores(expression, genes, groups, pairs, config)
    return {
        "what": "ligand-receptor scores", "pairs": n_pairs, "groups": n_groups, "cells": n_cells,
        "permutations": config.n_permutations, "rows": len(table), "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu, "share_p_below_0.05": float((table["pvalue"] <= 0.05).mean()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--permutations", type=int, default=1_000)
    parser.add_argument("--bins", type=int, default=200)
    parser.add_argument("--cells", type=int, default=200, help="cells or metacells of the ligand-receptor scores")
    parser.add_argument("--groups", type=int, default=10)
    arguments = parser.parse_args()
    config = CommunicationConfig(n_permutations=arguments.permutations, n_bins=arguments.bins)
    rows = [
        receptor_tf(arguments.pairs, n_receptors, config, 5 * arguments.bins, 200)
        for n_receptors in (250, 1_000, arguments.pairs)
    ]
    rows.append(ligand_receptor(arguments.pairs, arguments.groups, config, arguments.cells, 1_500))
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False, na_rep=""))
    print(f"peak memory {peak_gib():.2f} GiB")
    save("communication", rows, peak_gib=peak_gib())
