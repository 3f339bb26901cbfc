"""The network, others, baselines and controls against a ground truth: of one data set, and over all."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.methods.families import FAMILIES, MAIN
from scmagnify_core.plots.style import COLORS, fit, label, new_figure, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From the methods to what knows least.
METHODS = {name: family.colour for name, family in FAMILIES.items()}
# Networks made elsewhere, in the order of their names, beside that and beside each other.
IMPORTED = (COLORS[2], COLORS[3], COLORS[4], "#8C6BB1")
ASKED = {"only": "Order of the candidates", "kept": "Whole truth"}


def plot_scores(scores: pd.DataFrame) -> "Figure":
    """AUPRC ratio of each method, one group of bars per truth; the line at 1 is a random ranking.

    Parameters
    ----------
    scores
        Body of the ``network_scores`` table.
    """
    if "variant" in scores:
        scores = scores[scores["variant"] == "canonical"]
    asked = scores["truth"].map(fit) + "\nprior edges " + scores["prior_edges"]
    wide = scores.assign(asked=asked).pivot(index="asked", columns="method", values="auprc_ratio")
    colors = _colors(wide.columns)
    order = [name for name in colors if name in wide]
    figure, (axis,) = new_figure(max(7.0, 2 + 1.3 * len(wide)), 3.6)
    if wide.empty:
        label(axis, "Recovery of the ground truth")
        say(axis, "no ground truth is given")
        return figure
    width = 0.8 / len(order)
    for number, method in enumerate(order):
        at = [place + (number - (len(order) - 1) / 2) * width for place in range(len(wide))]
        axis.bar(at, wide[method], width, label=method, color=colors[method])
    axis.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axis.set_xticks(range(len(wide)), wide.index, fontsize=7)
    label(axis, "Recovery of the ground truth", ylabel="AUPRC ratio to random")
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _colors(methods: Iterable[str]) -> dict[str, str]:
    """Colour of each method in the order of the legend: the network, those made elsewhere, baselines, controls."""
    imported = sorted(set(methods) - set(METHODS))
    others = {name: IMPORTED[number % len(IMPORTED)] for number, name in enumerate(imported)}
    return {MAIN: METHODS[MAIN], **others, **METHODS}


def plot_leaderboard(board: pd.DataFrame, scores: pd.DataFrame) -> "Figure":
    """Mean AUPRC ratio of each method with its 95 % interval over data sets, and each data set as a dot.

    One panel per question; of the presets, the one with the most data sets. The line at 1 is a random ranking. The
    interval of few data sets says little and runs off the panel.

    Parameters
    ----------
    board
        Body of the ``leaderboard`` table, not empty.
    scores
        Table ``network_scores`` that it was made of.
    """
    preset = board["preset"].iloc[int(board["n_datasets"].argmax())]
    board = board[(board["truth"] == "all") & (board["preset"] == preset)]
    scores = scores[
        (scores["preset"].fillna("unknown") == preset) & (scores["variant"].fillna("canonical") == "canonical")
    ]
    single = scores.groupby(["prior_edges", "method", "dataset"])["auprc_ratio"].mean()
    asked = [question for question in ASKED if (board["prior_edges"] == question).any()]
    n_methods = int(board.groupby("prior_edges").size().max())
    figure, axes = new_figure(1.2 + 3.6 * len(asked), 1.3 + 0.27 * n_methods, len(asked))
    for axis, question in zip(axes, asked, strict=True):
        rows = board[board["prior_edges"] == question].sort_values("mean_rank", ascending=False, kind="stable")
        at = np.arange(len(rows))
        for place, method in zip(at, rows["method"], strict=True):
            values = single[question, method].to_numpy()
            axis.plot(values, np.full(len(values), place), "o", color="#B0B0B0", markersize=3.5, zorder=2)
        mean = rows["auprc_ratio"].to_numpy()
        half = rows["auprc_ratio_high"].to_numpy(dtype=float) - mean
        of_method = _colors(board["method"])
        colors = [of_method[method] for method in rows["method"]]
        axis.hlines(at, mean - half, mean + half, color=colors, linewidth=2, zorder=1)
        axis.scatter(mean, at, color=colors, edgecolor="black", linewidth=0.5, s=34, zorder=3)
        axis.axvline(1, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlim(0, 1.15 * max(1.0, max(single[question, method].max() for method in rows["method"])))
        ranks = [f"{method}  ({rank:.1f})" for method, rank in zip(rows["method"], rows["mean_rank"], strict=True)]
        axis.set_yticks(at, ranks, fontsize=8)
        axis.set_title(f"{ASKED[question]}, data sets: {rows['n_datasets'].max()}", fontsize=9)
        axis.set_xlabel("AUPRC ratio to random")
    axes[0].set_ylabel("method (mean rank)")
    return figure
