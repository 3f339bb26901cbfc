"""The ranked network."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import ACTIVATES, COLORS, REPRESSES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_network(edges: pd.DataFrame, n_top: int = 20) -> "Figure":
    """The strongest edges with their spread over seeds, and the lags of the selected ones.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    """
    figure, (left, right) = new_figure(9, 4.2, 2)
    top = edges.sort_values("rank").head(n_top)[::-1]
    colors = np.where(top["signed_score"] >= 0, ACTIVATES, REPRESSES)
    left.barh(
        top["source"] + " → " + top["target"], top["score"], xerr=top["score_sd"], color=colors, error_kw={"lw": 0.8}
    )
    left.tick_params(axis="y", labelsize=7)
    left.set(xlabel="score (bar: sd over seeds)", title="Strongest edges: orange activates, blue represses")
    selected = edges[edges["is_selected"]]
    right.hist(selected["lag"], bins=20, color=COLORS[2])
    right.set(xlabel="estimated lag (steps)", ylabel="edges", title=f"Lags of {len(selected):,} selected edges")
    return figure
