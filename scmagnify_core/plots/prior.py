"""The candidate edges."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_candidates(prior: pd.DataFrame) -> "Figure":
    """How many candidate TFs a gene has, which TFs have most candidate targets, and what supports the edges.

    Parameters
    ----------
    prior
        Body of the ``prior_network`` table.
    """
    figure, (left, right, last) = new_figure(12, 3.4, 3)
    per_target = prior.groupby("target").size()
    left.hist(per_target, bins=list(np.arange(0.5, per_target.max() + 1.5)), color=COLORS[0])
    left.set(xlabel="candidate TFs of a gene", ylabel="genes", title=f"Median {per_target.median():.0f} TFs a gene")
    per_source = prior.groupby("source").size().sort_values(ascending=False).head(15)[::-1]
    right.barh(per_source.index, per_source, color=COLORS[0])
    right.tick_params(axis="y", labelsize=7)
    right.set(xlabel="candidate targets", title="TFs with most candidates")
    kinds = prior["evidence"].value_counts()[::-1]
    last.barh([kind.replace("+", " +\n").replace("_", " ") for kind in kinds.index], kinds, color=COLORS[2])
    last.tick_params(axis="y", labelsize=8)
    last.set(xlabel="candidate edges", title=f"{len(prior):,} edges by their evidence")
    return figure
