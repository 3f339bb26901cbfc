"""RegFactors: when, by whom and what."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import ACTIVATES, COLORS, REPRESSES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_FACTORS = 6


def plot_regfactors(regfactors: pd.DataFrame, loadings: pd.DataFrame, n_top: int = 8) -> "Figure":
    """A row per RegFactor, strongest first: lag profile, TFs and targets of largest loading, with their signs.

    Parameters
    ----------
    regfactors, loadings
        Bodies of the tables ``regfactors`` and ``regfactor_loadings``; the six strongest RegFactors are drawn.
    n_top
        TFs and targets per RegFactor.
    """
    shown = regfactors.sort_values("energy_share", ascending=False, kind="stable").head(MAX_FACTORS)
    n_rows = len(shown)
    figure, axes = new_figure(10, 0.6 + 1.7 * n_rows, 3 * n_rows)
    grid = figure.add_gridspec(max(1, n_rows), 3)
    for i in range(n_rows):
        row = shown.iloc[i]
        part = loadings[loadings["regfactor"] == row["regfactor"]]
        # One row of axes is all that the style offers; each is put into its place of an n x 3 grid.
        trio = axes[3 * i : 3 * i + 3]
        for column, axis in enumerate(trio):
            axis.set_subplotspec(grid[i, column])
        lags = part[part["mode"] == "lag"]
        order = lags["name"].astype(int).argsort()
        trio[0].bar(lags["name"].iloc[order], lags["loading"].iloc[order], color=COLORS[2])
        trio[0].axhline(0, color="black", lw=0.5)
        trio[0].set_title(
            f"{row['regfactor']}: {row['energy_share']:.0%} of energy, link {row['link_share']:.0%}", fontsize=9
        )
        _bars(trio[1], part[part["mode"] == "source"], n_top)
        _bars(trio[2], part[part["mode"] == "target"], n_top)
        for axis in trio:
            axis.tick_params(labelsize=7)
    if n_rows:
        axes[0].set_ylabel("loading", fontsize=8)
        axes[1].set_title("TFs (orange: +, blue: −)", fontsize=9)
        axes[2].set_title("targets", fontsize=9)
        for axis, label in zip(axes[-3:], ("lag (steps)", "loading", "loading"), strict=True):
            axis.set_xlabel(label, fontsize=8)
    if len(regfactors) > n_rows:
        figure.suptitle(f"The strongest {n_rows} of {len(regfactors)} RegFactors", fontsize=9)
    return figure


def _bars(axis: "Axes", part: pd.DataFrame, n_top: int) -> None:
    order = np.argsort(-np.abs(part["loading"].to_numpy()), kind="stable")[:n_top][::-1]
    top = part.iloc[order]
    axis.barh(top["name"], top["loading"], color=np.where(top["loading"] >= 0, ACTIVATES, REPRESSES))
    axis.axvline(0, color="black", lw=0.5)
