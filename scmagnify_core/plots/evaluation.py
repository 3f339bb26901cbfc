"""The network and its controls against a ground truth."""

from typing import TYPE_CHECKING

import pandas as pd

from scmagnify_core.plots.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_scores(scores: pd.DataFrame) -> "Figure":
    """AUPRC ratio of each method, one group of bars per truth; the line at 1 is a random ranking.

    Parameters
    ----------
    scores
        Body of the ``network_scores`` table.
    """
    figure, (axis,) = new_figure(7, 3.6)
    label = scores["truth"] + "\nprior edges " + scores["prior_edges"]
    wide = scores.assign(label=label).pivot(index="label", columns="method", values="auprc_ratio")
    order = [name for name in ("scmagnify", "correlation", "prior", "random") if name in wide]
    width = 0.8 / len(order)
    for number, method in enumerate(order):
        at = [place + (number - (len(order) - 1) / 2) * width for place in range(len(wide))]
        axis.bar(at, wide[method], width, label=method, color=COLORS[number])
    axis.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axis.set_xticks(range(len(wide)), wide.index, fontsize=7)
    axis.set(ylabel="AUPRC ratio to random", title="Recovery of the ground truth")
    axis.legend(frameon=False, fontsize=8)
    return figure
