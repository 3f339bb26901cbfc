"""Peaks and the genes they are linked to."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISTANCES_KB = (0, 5, 10, 25, 50, 100, 250, 500, 1_000)
MIN_PAIRS = 20  # a share of fewer pairs says nothing


def plot_links(links: pd.DataFrame) -> "Figure":
    """Whether links are more than chance, whether they thin out with distance, and how many a gene has.

    Parameters
    ----------
    links
        Body of the ``peak_gene_links`` table; only pairs with a correlation are drawn.
    """
    tested = links[links["correlation"].notna()]
    figure, (left, middle, right) = new_figure(12, 3.4, 3)
    _draw_scores(left, tested["zscore"].dropna())
    _draw_distance(middle, tested)
    _draw_counts(right, tested)
    for axis in (left, middle, right):
        axis.title.set_fontsize(10)
    return figure


def _draw_scores(axis: "Axes", zscore: pd.Series) -> None:
    axis.set(xlabel="z-score against random peaks", ylabel="density")
    if zscore.empty:
        _say(axis, "no pair was tested")
        return
    axis.hist(zscore.clip(-5, 5), bins=list(np.linspace(-5, 5, 51)), density=True, color=COLORS[5])
    grid = np.linspace(-5, 5, 201)
    axis.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=COLORS[6], linewidth=1, label="by chance")
    axis.set_title(f"{(zscore > 2).mean():.1%} of pairs have z > 2 (chance 2.3%)")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_distance(axis: "Axes", tested: pd.DataFrame) -> None:
    edges = [-np.inf, *DISTANCES_KB, np.inf]  # a window around a long gene reaches far from its TSS
    bins = pd.cut(tested["distance_bp"].abs() / 1000, edges, labels=False)
    shares = tested.groupby(bins)["is_linked"].agg(["mean", "size"])
    shares = shares[shares["size"] >= MIN_PAIRS]
    n_linked = int(tested["is_linked"].sum())
    axis.set(
        xlabel="distance to the TSS (kb)", ylabel="share linked (± standard error)",
        title=f"{n_linked:,} of {len(tested):,} pairs are linked",
    )  # fmt: skip
    if shares.empty:
        _say(axis, f"fewer than {MIN_PAIRS} pairs at any distance")
        return
    error = np.sqrt(shares["mean"] * (1 - shares["mean"]) / shares["size"])
    place = np.arange(len(shares))
    axis.errorbar(place, shares["mean"], yerr=error, color=COLORS[0], marker="o", markersize=4, capsize=2)
    if n_linked:
        limit = tested.loc[tested["is_linked"], "pvalue"].max()
        axis.axhline(limit, color=COLORS[6], linewidth=1, linestyle="--", label="by chance")
        axis.legend(frameon=False, fontsize=8)
    names = ["at TSS", *(f"\u2264 {edge:,}" for edge in DISTANCES_KB[1:]), f"> {DISTANCES_KB[-1]:,}"]
    axis.set_xticks(place, [names[int(one)] for one in shares.index], fontsize=8)
    axis.set_ylim(0, None)


def _draw_counts(axis: "Axes", tested: pd.DataFrame) -> None:
    counts = tested.groupby("target", observed=True)["is_linked"].sum()
    most = int(counts.max()) if len(counts) else 0
    axis.hist(counts, bins=list(np.arange(-0.5, most + 1)), color=COLORS[0])
    axis.locator_params(axis="x", integer=True)
    axis.set(
        xlabel="linked peaks of a gene", ylabel="genes",
        title=f"{int((counts > 0).sum()):,} of {len(counts):,} genes have a link",
    )  # fmt: skip


def _say(axis: "Axes", text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, color="grey")
    axis.set(xticks=[], yticks=[])
