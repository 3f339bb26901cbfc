"""Whether networks agree: those of the seeds of one data set, and any two."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import (
    COLORS,
    LABEL,
    SMALL,
    TICK,
    color_bar,
    edge_names,
    fit,
    label,
    name_rows,
    new_figure,
    say,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_WRITTEN = 12  # seeds up to which the matrix of their agreement holds numbers


def plot_stability(edges: pd.DataFrame, agreement: pd.DataFrame) -> "Figure":
    """How far seeds agree: spread of scores, share of seeds behind the selected edges, overlap of each two seeds.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    agreement
        Body of the ``seed_agreement`` table; empty where there is one seed.
    """
    figure, (left, middle, right) = new_figure(12, 3.4, 3)
    n_seeds = int(edges["n_seeds"].max()) if len(edges) else 0
    label(left, "Spread of scores over seeds", "score", "sd over seeds")
    label(middle, "Seeds behind selected edges", "seeds that have it at their top", "selected edges")
    label(right, "Overlap of the top edges of two seeds")
    if n_seeds < 2:
        for axis in (left, middle, right):
            say(axis, "one seed: nothing to compare" if n_seeds else "there is no edge")
        return figure
    is_selected = edges["is_selected"].to_numpy(dtype=bool)
    for which, color, name in ((~is_selected, "0.75", "other edges"), (is_selected, COLORS[0], "selected edges")):
        left.scatter(
            edges["score"][which], edges["score_sd"][which], s=7, color=color, linewidths=0, alpha=0.7, rasterized=True,
            label=f"{name} ({which.sum():,})",
        )  # fmt: skip
    most = float(edges["score"].max()) or 1.0
    left.plot([0, most], [0, most / 2], color="black", linewidth=0.8, linestyle=":", label="sd is half of the score")
    left.set_ylim(0, 1.35 * max(float(edges["score_sd"].max()), 1e-12))  # with room for the legend
    left.legend(frameon=False, fontsize=TICK, loc="upper left", markerscale=2)

    behind = (edges.loc[is_selected, "stability"] * n_seeds).round().astype(int)
    counts = behind.value_counts().reindex(range(n_seeds + 1), fill_value=0)
    middle.bar(counts.index, counts, color=COLORS[0])
    middle.xaxis.set_major_locator(whole_numbers())
    middle.yaxis.set_major_locator(whole_numbers())
    if len(behind):
        middle.set_title(
            f"{(behind == n_seeds).mean():.0%} of selected edges are at the top of all seeds", fontsize=LABEL
        )
    _draw_agreement(right, agreement)
    return figure


def _draw_agreement(axis: "Axes", agreement: pd.DataFrame) -> None:
    seeds = sorted(set(agreement["seed_a"]) | set(agreement["seed_b"]))
    place = {seed: i for i, seed in enumerate(seeds)}
    matrix = np.full((len(seeds), len(seeds)), np.nan)
    a, b = agreement["seed_a"].map(place).to_numpy(dtype=int), agreement["seed_b"].map(place).to_numpy(dtype=int)
    matrix[a, b] = matrix[b, a] = agreement["jaccard"].to_numpy(dtype=float)
    label(axis, f"Overlap of two seeds' top edges: mean {np.nanmean(matrix):.2f}", "seed", "seed")
    image = axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    if len(seeds) <= MAX_WRITTEN:
        for i, j in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
            color = "white" if matrix[i, j] > 0.6 else "black"
            axis.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", color=color, fontsize=SMALL)
        axis.set_xticks(range(len(seeds)), [str(seed) for seed in seeds])
        axis.set_yticks(range(len(seeds)), [str(seed) for seed in seeds])
    axis.spines[:].set_visible(False)
    color_bar(image, [axis], "Jaccard index")


def plot_difference(
    edges_a: pd.DataFrame, edges_b: pd.DataFrame, name_a: str, name_b: str, n_label: int = 15
) -> "Figure":
    """Two networks against each other: ranks of the edges that both have as candidates, and where they differ most.

    Scores of two data sets have scales of their own, so ranks are compared, counted anew among the shared edges. The
    difference is that of their logarithms: from 2 to 200 is as far as from 10 to 1,000. Listed are edges that at
    least one network selects; a cross marks those whose signs differ.

    Parameters
    ----------
    edges_a, edges_b
        Bodies of two ``edges`` tables.
    name_a, name_b
        What they are called in the figure.
    """
    columns = ["source", "target", "score", "signed_score", "is_selected"]
    both = edges_a[columns].merge(edges_b[columns], on=["source", "target"], suffixes=("_a", "_b"))
    both = both.sort_values(["source", "target"], ignore_index=True)
    a, b = fit(name_a), fit(name_b)
    figure, (left, right) = new_figure(10.5, max(4.4, 1.4 + 0.17 * min(n_label, len(both))), 2)
    n_only = len(edges_a) - len(both), len(edges_b) - len(both)
    if both.empty:
        label(left, f"{a} against {b}")
        for axis in (left, right):
            say(axis, "the networks share no candidate edge")
        return figure
    for side in "ab":
        both[f"rank_{side}"] = both[f"score_{side}"].rank(ascending=False, method="first").astype(int)
    in_a, in_b = both["is_selected_a"].to_numpy(dtype=bool), both["is_selected_b"].to_numpy(dtype=bool)
    kinds = (
        (~in_a & ~in_b, "0.8", "neither"), (in_a & in_b, "black", "both"), (in_a & ~in_b, COLORS[1], a),
        (in_b & ~in_a, COLORS[0], b),
    )  # fmt: skip
    for which, color, name in kinds:
        left.scatter(
            both["rank_a"][which], both["rank_b"][which], s=8, color=color, linewidths=0, alpha=0.7, rasterized=True,
            label=f"{name} ({which.sum():,})",
        )  # fmt: skip
    left.plot([1, len(both)], [1, len(both)], color="black", linewidth=0.6, linestyle=":")
    left.set(xscale="log", yscale="log")
    right.set_xscale("log")
    for one in (left.xaxis, left.yaxis, right.xaxis):
        one.set_inverted(True)  # the strongest edges to the right and on top
        one.set_major_formatter(lambda value, _: f"{value:,.0f}")
        one.set_minor_formatter(lambda value, _: "")
    union = int((in_a | in_b).sum())
    jaccard = f"{(in_a & in_b).sum() / union:.2f}" if union else "–"
    label(left, f"{len(both):,} shared edges, overlap of selected ones {jaccard}", f"rank in {a}", f"rank in {b}")
    left.legend(
        title="selected in", title_fontsize=TICK, fontsize=TICK, markerscale=2, frameon=False, loc="upper center",
        bbox_to_anchor=(0.5, -0.16), ncols=4, columnspacing=1, handletextpad=0.1,
    )  # fmt: skip

    apart = np.log(both["rank_a"] / both["rank_b"])
    chosen = apart[in_a | in_b].abs().sort_values(ascending=False, kind="stable").index[:n_label]
    # Those that are stronger in a on top, each half with its largest difference outermost.
    top = both.loc[apart[chosen].sort_values(ascending=False, kind="stable").index]
    _draw_dumbbells(right, top, a, b)
    rest = ", ".join(f"{n:,} edges in {name} alone" for n, name in zip(n_only, (a, b), strict=True) if n)
    if rest:
        figure.supxlabel(f"Not shown: {rest}", fontsize=TICK)
    return figure


def _draw_dumbbells(axis: "Axes", top: pd.DataFrame, a: str, b: str) -> None:
    label(axis, f"The {len(top)} selected edges that differ most", "rank among the shared edges")
    if top.empty:
        say(axis, "no shared edge is selected")
        return
    at = np.arange(len(top))
    axis.hlines(at, top["rank_a"], top["rank_b"], color="0.75", linewidth=2, zorder=1)
    axis.scatter(top["rank_a"], at, s=24, color=COLORS[1], label=a, zorder=2)
    axis.scatter(top["rank_b"], at, s=24, color=COLORS[0], label=b, zorder=2)
    flips = (np.sign(top["signed_score_a"]) * np.sign(top["signed_score_b"]) < 0).to_numpy()
    name_rows(axis, [f"{name} ×" if flip else name for name, flip in zip(edge_names(top), flips, strict=True)])
    axis.legend(
        frameon=False, fontsize=TICK, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1,
        title="×: activates in one, represses in the other" if flips.any() else None, title_fontsize=TICK,
    )  # fmt: skip
