"""Peaks and the genes they are linked to."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISTANCES_BP = (0, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
MIN_PAIRS = 20  # a share of fewer pairs says nothing


def plot_links(links: pd.DataFrame) -> "Figure":
    """Whether links are more than chance, whether they thin out with distance, and how many a gene has.

    Parameters
    ----------
    links
        Body of the ``peak_gene_links`` table; only pairs with a correlation are drawn.
    """
    tested = links[links["correlation"].notna()]
    figure, (left, middle, right) = new_figure(11, 3.4, 3)
    _draw_scores(left, tested)
    _draw_distance(middle, tested)
    _draw_counts(right, tested)
    return figure


def _draw_scores(axis: "Axes", tested: pd.DataFrame) -> None:
    zscore = tested["zscore"].dropna()
    edges = list(np.linspace(-5, 5, 51))
    axis.hist(zscore.clip(-5, 5), bins=edges, density=True, color=COLORS[5])
    grid = np.linspace(-5, 5, 201)
    axis.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=COLORS[6], linewidth=1, label="by chance")
    share = (zscore > 2).mean() if len(zscore) else 0.0
    axis.set(
        xlabel="z-score against random peaks",
        ylabel="density",
        title=f"{share:.1%} of pairs have z > 2 (chance 2.3%)",
    )
    axis.legend(frameon=False)


def _draw_distance(axis: "Axes", tested: pd.DataFrame) -> None:
    distance = tested["distance_bp"].abs()
    furthest = float(distance.max())
    edges = [-1.0, *(float(one) for one in DISTANCES_BP if one < furthest), furthest]
    bins = pd.cut(distance, edges, labels=False)
    shares = tested.groupby(bins)["is_linked"].agg(["mean", "size"])
    shares = shares[shares["size"] >= MIN_PAIRS]
    names = ["at TSS", *(f"\u2264 {_kilobases(edge)}" for edge in edges[2:])]
    error = np.sqrt(shares["mean"] * (1 - shares["mean"]) / shares["size"])
    place = np.arange(len(shares))
    axis.errorbar(place, shares["mean"], yerr=error, color=COLORS[0], marker="o", markersize=4, capsize=2)
    limit = tested.loc[tested["is_linked"], "pvalue"].max()
    if np.isfinite(limit):
        axis.axhline(limit, color=COLORS[6], linewidth=1, linestyle="--", label="by chance")
        axis.legend(frameon=False)
    axis.set_xticks(place, [names[int(one)] for one in shares.index], rotation=45, ha="right", fontsize=7)
    axis.set(
        ylim=(0, None), xlabel="distance to the TSS (kb)", ylabel="share linked",
        title=f"{tested['is_linked'].mean():.0%} of {len(tested):,} pairs are linked",
    )  # fmt: skip


def _kilobases(distance_bp: float) -> str:
    return f"{distance_bp / 1000:.0f}"


def _draw_counts(axis: "Axes", tested: pd.DataFrame) -> None:
    counts = tested.groupby("target", observed=True)["is_linked"].sum()
    n_most = int(counts.max()) if len(counts) else 0
    axis.hist(counts, bins=list(np.arange(-0.5, n_most + 1)), color=COLORS[0])
    axis.set(
        xlabel="linked peaks of a gene", ylabel="genes",
        title=f"{int((counts > 0).sum()):,} of {len(counts):,} genes have a link",
    )  # fmt: skip
