"""Are p-values of receptor-TF association uniform where receptor and TF have nothing to do with each other?

    OMP_NUM_THREADS=1 python benchmarks/communication_calibration.py

Pairs of independent series over 100 metacells in order of pseudotime, of one lineage or of two with 50 each: AR(1) of
several memory lengths (metacells until the correlation has fallen to 1/e; 0 is white noise) and random walks, by
themselves or with a trend that each series has of its own: a straight line, a curve (one sigmoid) or a pulse (one short
bump that mostly outgrows the rest). Whatever is called is false.

ours       ``receptor_tf_association``: largest lagged correlation against surrogates of the same autocorrelation
published  covariance against metacells of receptor and TF permuted independently, one-sided, the same permutations for
           all pairs (``infer_signal_pairs`` of scmagnify 0.1.1)

Prints the share of pairs with p <= 0.05 and p <= 0.01, and the Kolmogorov-Smirnov distance of the p-values from
uniform. Writes docs/benchmarks/communication_calibration.json and docs/communication_calibration.png.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
from record import FOLDER, save
from scipy.special import expit
from scipy.stats import kstest

from scmagnify_core.interpretation.communication import CommunicationConfig, receptor_tf_association
from scmagnify_core.numerics.statistics import permutation_pvalues
from scmagnify_core.plots.style import COLORS, new_figure

CHART = FOLDER.parent / "communication_calibration.png"
N_METACELLS = 100
MEMORIES = (0.0, 2.0, 5.0, 10.0, 20.0, np.inf)  # infinite: a random walk
TRENDS = ("none", "straight", "curved", "pulse")
TREND_SD, PULSE_SD = 2.0, 10.0  # of the heights of trends, in standard deviations of a series
Position = np.ndarray  # of each metacell within its lineage, 0 to 1


def series(rng: np.random.Generator, position: Position, n_series: int, memory: float, trend: str) -> np.ndarray:
    """Metacell x series of one lineage, at unit variance before the trend."""
    keep = np.exp(-1 / memory) if memory else 0.0
    values = rng.standard_normal((len(position), n_series))
    for before, now in pairwise(values):
        now *= np.sqrt(1 - keep**2) if keep < 1 else 1
        now += keep * before
    values /= values.std(axis=0)
    height = rng.standard_normal(n_series) * (PULSE_SD if trend == "pulse" else TREND_SD)
    if trend == "straight":
        values += position[:, None] * height
    if trend == "curved":
        middle, width = rng.uniform(0.2, 0.8, n_series), rng.uniform(0.05, 0.2, n_series)
        values += expit((position[:, None] - middle) / width) * height
    if trend == "pulse":
        middle, width = rng.uniform(0, 1, n_series), rng.uniform(0.02, 0.1, n_series)
        values += np.exp(-(((position[:, None] - middle) / width) ** 2)) * height
    return values


def ours(receptor: np.ndarray, tf: np.ndarray, lineages: np.ndarray, n_permutations: int) -> np.ndarray:
    names = [[f"{kind}{i:05d}" for i in range(receptor.shape[1])] for kind in ("R", "T")]
    config = CommunicationConfig(n_permutations=n_permutations, n_bins=len(lineages))
    pairs = pd.DataFrame({"receptor": names[0], "tf": names[1]})
    order = np.arange(len(lineages))
    table = receptor_tf_association(receptor, names[0], tf, names[1], order, pairs, config, lineages)
    return table["pvalue"].to_numpy()


def published(receptor: np.ndarray, tf: np.ndarray, lineages: np.ndarray, n_permutations: int) -> np.ndarray:
    receptor, tf = receptor - receptor.mean(axis=0), tf - tf.mean(axis=0)
    observed = np.einsum("ij,ij->j", receptor, tf)
    n_at_least = np.zeros(len(observed), dtype=np.int64)
    for draw in range(n_permutations):
        rng = np.random.default_rng(draw + 1)
        first, then = rng.permutation(len(receptor)), rng.permutation(len(receptor))
        n_at_least += np.einsum("ij,ij->j", receptor[first], tf[then]) >= observed
    return permutation_pvalues(n_at_least, n_permutations)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]] = {
    "ours": ours, "published": published,
}  # fmt: skip


def chart(pvalues: dict[tuple, np.ndarray], path: Path) -> None:
    """p-value below which a share of the pairs lies, beside that of uniform ones; one lineage, a line per memory."""
    figure, axes = new_figure(9.5, 3.6, n_columns=3)
    for axis, (method, trend) in zip(axes, [("published", "none"), ("ours", "none"), ("ours", "pulse")], strict=True):
        for memory, color in zip(MEMORIES, COLORS, strict=False):
            values = np.sort(pvalues[method, 1, trend, memory])
            expected = np.arange(1, len(values) + 1) / len(values)
            axis.plot(expected, values, color=color, linewidth=1.2, label=label(memory))
        axis.plot([1e-3, 1], [1e-3, 1], color="#999999", linestyle="--", linewidth=1, zorder=0)
        title = f"{method}, {'a pulse each' if trend == 'pulse' else 'no trends'}"
        axis.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(8e-4, 1.1), xlabel="share of pairs", title=title)
        axis.title.set_fontsize(10)
    axes[0].set_ylabel("p-value")
    axes[0].legend(frameon=False, fontsize=8, title="memory, in metacells", title_fontsize=8)
    figure.savefig(path, dpi=150)


def label(memory: float) -> str:
    return "random walk" if np.isinf(memory) else f"{memory:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--permutations", type=int, default=1_000)
    arguments = parser.parse_args()
    rows, pvalues, rng = [], {}, np.random.default_rng(0)
    for n_lineages, trend, memory in product((1, 2), TRENDS, MEMORIES):
        position = np.linspace(0, 1, N_METACELLS // n_lineages)
        receptor, tf = (
            np.vstack([series(rng, position, arguments.pairs, memory, trend) for _ in range(n_lineages)])
            for _ in range(2)
        )
        lineages = np.repeat(np.arange(n_lineages), len(position))
        for method, test in METHODS.items():
            start = time.process_time()
            found = pvalues[method, n_lineages, trend, memory] = test(receptor, tf, lineages, arguments.permutations)
            rows.append(
                {
                    "method": method, "lineages": n_lineages, "trend": trend, "memory": label(memory),
                    "share_p_0.05": float((found <= 0.05).mean()), "share_p_0.01": float((found <= 0.01).mean()),
                    "ks_distance": float(kstest(found, "uniform").statistic), "cpu_s": time.process_time() - start,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    for value in ("share_p_0.05", "share_p_0.01", "ks_distance"):
        wide = table.pivot_table(value, ["method", "lineages", "trend"], "memory", sort=False)
        print(f"{value}\n{wide.round(3).to_string()}\n")
    print(table.groupby("method")["cpu_s"].sum().round(1).to_string())
    chart(pvalues, CHART)
    save("communication_calibration", rows, pairs=arguments.pairs, permutations=arguments.permutations,
         metacells=N_METACELLS)  # fmt: skip
