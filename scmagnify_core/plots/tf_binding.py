"""Motif hits."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from scmagnify_core.plots.style import COLORS, fit, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_MOTIFS = 15
N_BINS = 8


def plot_hits(hits: pd.DataFrame, motif_table: pd.DataFrame) -> "Figure":
    """How many hits motifs have, which have most, and how many hits lie in a region.

    Parameters
    ----------
    hits
        Body of the ``tf_binding`` table.
    motif_table
        Body of the ``motifs`` table, or of a scan's motifs, which have no names yet; a motif may have several rows.
    """
    figure, (left, middle, right) = new_figure(12, 3.6, 3)
    motifs = motif_table.drop_duplicates("motif")
    _draw_counts(left, motifs["n_hits"].to_numpy())
    _draw_largest(middle, motifs)
    _draw_regions(right, hits.groupby("peak", observed=True).size().to_numpy())
    for axis in (left, middle, right):
        axis.title.set_fontsize(10)
    return figure


def _draw_counts(axis: "Axes", counts: Int[np.ndarray, " motifs"]) -> None:
    bins = _bins(counts)
    heights = [((counts >= low) & (counts < end)).sum() for low, end in bins]
    axis.bar(range(len(bins)), heights, color=COLORS[0], width=0.9)
    axis.margins(x=max(0.02, (6 - len(bins)) / (2 * max(1, len(bins)))))  # few bars are as wide as six would be
    names = [f"{low:,}" if low + 1 == end else f"{low:,}–{end - 1:,}" for low, end in bins]
    axis.set_xticks(range(len(bins)), names, fontsize=7, rotation=45, ha="right", rotation_mode="anchor")
    axis.locator_params(axis="y", integer=True)
    middle = f", median {np.median(counts):,.0f}" if len(counts) else ""
    axis.set(
        xlabel="hits of a motif", ylabel="motifs",
        title=f"{int((counts > 0).sum())} of {len(counts)} motifs have hits{middle}",
    )  # fmt: skip


def _bins(counts: Int[np.ndarray, " motifs"]) -> list[tuple[int, int]]:
    """Ranges of counts (the end is not in them): one of none; equal ones, or doubling ones where counts spread far."""
    bins = [(0, 1)] if (counts == 0).any() else []
    found = counts[counts > 0]
    if not len(found):
        return bins
    low, end = int(found.min()), int(found.max()) + 1
    if end > N_BINS * low:
        edges = 2 ** np.arange(int(np.log2(low)), int(np.ceil(np.log2(end))) + 1)
    else:
        step = -(-(end - low) // N_BINS)
        edges = np.arange(low - low % step, end + step, step)
    return bins + list(pairwise(edges.tolist()))


def _draw_largest(axis: "Axes", motifs: pd.DataFrame) -> None:
    top = motifs.sort_values("n_hits", ascending=False, kind="stable").head(N_MOTIFS)[::-1]
    names = top["motif"].astype(str).map(fit)
    if "motif_name" in top:
        names = top["motif_name"].astype(str).map(fit) + " (" + names + ")"
    axis.barh(range(len(top)), top["n_hits"], color=COLORS[0])
    axis.set_yticks(range(len(top)), names)
    axis.margins(y=max(0.02, (6 - len(top)) / (2 * max(1, len(top)))))
    axis.tick_params(axis="y", labelsize=7)
    axis.locator_params(axis="x", integer=True, nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set(xlabel="hits", title=f"Motifs with most hits ({len(top)} of {len(motifs)})")


def _draw_regions(axis: "Axes", counts: Int[np.ndarray, " regions"]) -> None:
    most = int(counts.max(initial=1))
    axis.hist(counts, bins=list(np.arange(0.5, most + 1 + most / 30, 1 + most // 30)), color=COLORS[0])
    axis.locator_params(integer=True)
    middle = f"median {np.median(counts):.0f} hits" if len(counts) else "none has a hit"
    axis.set(
        xlabel="hits of all motifs in a region",
        ylabel="regions",
        title=f"{len(counts):,} regions with hits, {middle}",
    )
