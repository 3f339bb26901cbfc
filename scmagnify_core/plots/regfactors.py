"""RegFactors: when, by whom and what; all of them, or one with its activity."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.activity import by_cell, color_limit, draw_on_embedding, draw_trends
from scmagnify_core.plots.style import (
    ACTIVATES,
    COLORS,
    LABEL,
    REPRESSES,
    TICK,
    TITLE,
    check_names,
    color_bar,
    fit,
    label,
    name_rows,
    new_figure,
    say,
)

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
    figure, axes = new_figure(10, 0.6 + 1.7 * max(1, n_rows), 3, max(1, n_rows))
    for i in range(n_rows):
        row = shown.iloc[i]
        lag, source, target = axes[3 * i : 3 * i + 3]
        _draw_profile(lag, source, target, loadings[loadings["regfactor"] == row["regfactor"]], n_top)
        title = f"{row['regfactor']}: {row['energy_share']:.0%} of energy, link {row['link_share']:.0%}"
        lag.set_title(title, fontsize=LABEL)
    if n_rows:
        axes[0].set_ylabel("loading", fontsize=LABEL)
        axes[1].set_title("TFs (orange: +, blue: −)", fontsize=LABEL)
        axes[2].set_title("targets", fontsize=LABEL)
        for axis, text in zip(axes[-3:], ("lag (steps)", "loading", "loading"), strict=True):
            axis.set_xlabel(text, fontsize=LABEL)
    else:
        for axis in axes:
            say(axis, "there is no RegFactor")
    if len(regfactors) > n_rows:
        figure.suptitle(f"The strongest {n_rows} of {len(regfactors)} RegFactors", fontsize=TITLE)
    return figure


def plot_regfactor_card(
    regfactor: str, loadings: pd.DataFrame, activity: pd.DataFrame, cells: pd.DataFrame, n_top: int = 10
) -> "Figure":
    """All about one RegFactor: its lags, TFs and targets, and where and when it is active.

    Parameters
    ----------
    regfactor
        Its name, such as ``RF1``.
    loadings, activity, cells
        Bodies of the tables ``regfactor_loadings``, ``regfactor_activity`` and ``cells``.
    n_top
        TFs and targets that are shown.

    Raises
    ------
    InputError
        There is no such RegFactor; the message has those that there are.
    """
    from matplotlib.figure import Figure

    check_names("RegFactor", [regfactor], loadings["regfactor"].astype(str).unique())
    part = loadings[loadings["regfactor"] == regfactor]
    n_rows = min(n_top, max((part["mode"] == "source").sum(), (part["mode"] == "target").sum()))
    height = 1.0 + 0.19 * max(6, n_rows)
    figure = Figure(figsize=(10, height + 3.2), layout="constrained")
    # Each row is laid out by itself: what the names of one take from its axes, those of the other keep.
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=(height, 2.8)))
    lag, source, target, embedding, trend = axes = [
        *upper.subplots(1, 3, width_ratios=(2, 3, 3)), *lower.subplots(1, 2, width_ratios=(3, 4))
    ]  # fmt: skip
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    _draw_profile(lag, source, target, part, n_top)
    n_sources, n_targets = ((part["mode"] == mode).sum() for mode in ("source", "target"))
    label(lag, "When: lags", "lag (steps)", "loading")
    label(source, f"By whom: {min(n_top, n_sources)} of {n_sources:,} TFs", "loading (orange: +, blue: −)")
    label(target, f"What: {min(n_top, n_targets)} of {n_targets:,} targets", "loading")
    label(embedding, "Where it is active")
    label(trend, "When it is active: mean and 95 % interval", "pseudotime", "activity (t)")
    found = activity[activity["regfactor"] == regfactor]
    if found.empty:
        for axis in (embedding, trend):
            say(axis, "it has no activity: too few of its targets are measured")
    else:
        cells, values = by_cell(found, cells, [regfactor], "regfactor")
        level = values[regfactor]
        image = draw_on_embedding(embedding, cells, level, color_limit(level.to_numpy(dtype=float)))
        color_bar(image, [embedding], "activity (t)", extend="both")
        draw_trends(trend, cells, level)
        if len(trend.get_legend_handles_labels()[0]) > 1:
            trend.legend(frameon=False, fontsize=TICK, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(f"RegFactor {regfactor}", fontsize=TITLE + 2, fontweight="bold")
    return figure


def _draw_profile(lag: "Axes", source: "Axes", target: "Axes", part: pd.DataFrame, n_top: int) -> None:
    """The three loadings of one RegFactor."""
    lags = part[part["mode"] == "lag"]
    order = lags["name"].astype(int).argsort()
    lag.bar(lags["name"].iloc[order], lags["loading"].iloc[order], color=COLORS[2])
    lag.axhline(0, color="black", lw=0.5)
    _draw_bars(source, part[part["mode"] == "source"], n_top)
    _draw_bars(target, part[part["mode"] == "target"], n_top)
    for axis in (lag, source, target):
        axis.tick_params(labelsize=TICK)


def _draw_bars(axis: "Axes", part: pd.DataFrame, n_top: int) -> None:
    part = part.sort_values("name")  # of equal loadings the same ones are shown, whatever the order of the rows
    top = part.iloc[np.argsort(-np.abs(part["loading"].to_numpy()), kind="stable")[:n_top][::-1]]
    colors = np.where(top["loading"] >= 0, ACTIVATES, REPRESSES)
    axis.barh(range(len(top)), top["loading"], color=colors)
    axis.axvline(0, color="black", lw=0.5)
    name_rows(axis, top["name"].astype(str).map(fit))
