"""The candidate edges."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, TICK, fit, new_figure, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

N_SOURCES = 15
KINDS = {
    "motif_atac": "motif in linked peak",
    "motif_promoter": "motif in promoter",
    "imported": "imported network",
    "curated": "curated list",
    "all_pairs": "all pairs (no evidence)",
}


def plot_candidates(prior: pd.DataFrame) -> "Figure":
    """How many candidate TFs a gene has, which TFs have most candidate targets, and what supports the edges.

    Parameters
    ----------
    prior
        Body of the ``prior_network`` table.
    """
    figure, (left, middle, right) = new_figure(12, 3.4, 3)
    if prior.empty:
        for axis in (left, middle, right):
            say(axis, "there is no candidate edge")
        return figure
    per_target = prior.groupby("target").size()
    most = int(per_target.max())
    # Bins of whole numbers: one each, wider if there were more than 40.
    left.hist(per_target, bins=list(np.arange(0.5, most + 1 + most / 40, 1 + most // 40)), color=COLORS[0])
    left.locator_params(integer=True)
    left.set(
        xlabel="candidate TFs of a gene", ylabel="genes",
        title=f"{len(per_target):,} genes, median number of TFs {per_target.median():.0f}",
    )  # fmt: skip

    per_source = prior.groupby("source").size().sort_values(ascending=False, kind="stable")
    _draw_bars(middle, per_source.head(N_SOURCES).rename(index=fit))
    middle.set(
        xlabel="candidate targets",
        title=f"TFs with most candidate targets ({min(N_SOURCES, len(per_source))} of {len(per_source):,})",
    )

    kinds = prior["evidence"].astype(str).value_counts()
    kinds.index = [" +\n".join(KINDS.get(kind, kind) for kind in kinds_of.split("+")) for kinds_of in kinds.index]
    drawn = _draw_bars(right, kinds)
    right.bar_label(drawn, [f"{n:,}" for n in kinds[::-1]], fontsize=7, padding=2)
    right.margins(x=0.2)
    right.set(xlabel="candidate edges", title=f"{len(prior):,} edges by their evidence")
    for axis in (left, middle, right):
        axis.title.set_fontsize(10)
    return figure


def _draw_bars(axis: "Axes", counts: pd.Series) -> "BarContainer":
    """Bars from the top down; few are as thick as six would be."""
    drawn = axis.barh(range(len(counts)), counts[::-1], color=COLORS[0])
    axis.set_yticks(range(len(counts)), list(counts.index[::-1]))
    axis.margins(y=max(0.02, (6 - len(counts)) / (2 * len(counts))))
    axis.tick_params(axis="y", labelsize=TICK)
    axis.locator_params(axis="x", integer=True, nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    return drawn
