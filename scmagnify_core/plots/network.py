"""The network: its strongest edges and TFs, its lags, and one gene's place in it.

A force layout writes names over each other as soon as a gene has some twenty neighbours. :func:`plot_neighbourhood`
uses what this network knows and others do not: lags order its neighbours in time, and each has a row to itself.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import (
    ACTIVATES,
    COLORS,
    LABEL,
    NEUTRAL,
    REPRESSES,
    SMALL,
    TICK,
    TITLE,
    check_names,
    color_bar,
    edge_names,
    fit,
    label,
    name_rows,
    new_figure,
    say,
    some,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_network(edges: pd.DataFrame, n_top: int = 20) -> "Figure":
    """The strongest edges with their spread over seeds, and the lags of the selected ones.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    """
    top = edges.sort_values("rank").head(n_top)[::-1]
    figure, (left, right) = new_figure(9, max(3.6, 1 + 0.16 * len(top)), 2)
    left.barh(range(len(top)), top["score"], xerr=top["score_sd"], color=_colors(top), error_kw={"lw": 0.8})
    name_rows(left, edge_names(top))
    label(left, "Strongest edges: orange activates, blue represses", "score (line: sd over seeds)")
    if top.empty:
        say(left, "there is no edge")
    _draw_lags(right, edges[edges["is_selected"].astype(bool)])
    return figure


def plot_lags(edges: pd.DataFrame) -> "Figure":
    """How the estimated lags of the selected edges are distributed: activating ones up, repressing ones down.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    """
    figure, (axis,) = new_figure(5.5, 3.6)
    _draw_lags(axis, edges[edges["is_selected"].astype(bool)])
    return figure


def _draw_lags(axis: "Axes", selected: pd.DataFrame) -> None:
    label(axis, f"Lags of {len(selected):,} selected edges", "estimated lag (steps)", "edges")
    if selected.empty:
        say(axis, "no edge is selected")
        return
    lags = selected["lag"].to_numpy(dtype=np.float64)
    bins = list(np.arange(np.floor(lags.min()), np.floor(lags.max()) + 1.01, 0.25))
    is_up = (selected["signed_score"] >= 0).to_numpy()
    for which, way, color, name in ((is_up, 1, ACTIVATES, "activate"), (~is_up, -1, REPRESSES, "repress")):
        median = f", median {np.median(lags[which]):.1f}" if which.any() else ""
        axis.hist(
            lags[which], bins=bins, weights=np.full(which.sum(), way), color=color,
            label=f"{which.sum():,} {name}{median}",
        )  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.6)
    axis.yaxis.set_major_locator(whole_numbers())
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axis.margins(y=0.15)
    axis.legend(frameon=False, fontsize=TICK)


def plot_lag_heatmap(multiscale_network: pd.DataFrame, n_top: int = 30) -> "Figure":
    """At which lags each TF acts: its magnitudes summed over targets, the earliest TF on top.

    Rows are ordered by mean lag, which a dot marks. Shown are the TFs of largest sum over lags and targets. Colours
    follow the square root, because a few TFs have most of the targets.

    Parameters
    ----------
    multiscale_network
        Body of the ``multiscale_network`` table.
    """
    from matplotlib.colors import PowerNorm

    sums = multiscale_network.assign(magnitude=multiscale_network["magnitude"].astype(np.float64))
    sums = sums.groupby(["source", "lag"], observed=True)["magnitude"].sum().unstack("lag").fillna(0.0).sort_index()
    lags = np.arange(1, int(multiscale_network["lag"].max()) + 1) if len(multiscale_network) else np.arange(0)
    sums = sums.reindex(columns=lags, fill_value=0.0)
    sums = sums[sums.sum(axis=1) > 0]
    shown = sums.loc[sums.sum(axis=1).sort_values(ascending=False, kind="stable").index[:n_top]]
    figure, (axis,) = new_figure(max(4.6, 2.4 + 0.5 * len(lags)), 1.4 + 0.17 * max(6, len(shown)))
    title = f"When {some(len(shown), len(sums), 'TF')} act{'s' if len(sums) == 1 else ''}"
    if shown.empty:
        label(axis, "When TFs act")
        say(axis, "no TF has a weight")
        return figure
    mean = shown.to_numpy() @ lags / shown.sum(axis=1).to_numpy()
    order = np.argsort(mean, kind="stable")
    shown, mean = shown.iloc[order], mean[order]
    image = axis.imshow(
        shown.to_numpy(), aspect="auto", cmap="Blues", norm=PowerNorm(0.5, vmin=0), interpolation="nearest",
        extent=(0.5, len(lags) + 0.5, len(shown) - 0.5, -0.5),
    )  # fmt: skip
    axis.plot(mean, range(len(shown)), "o", color=COLORS[1], markeredgecolor="white", markersize=4)
    label(axis, title, "lag (steps); a dot is the mean lag")
    axis.set_xticks(lags)
    axis.set_yticks(range(len(shown)), [fit(str(name)) for name in shown.index])
    axis.tick_params(axis="y", length=0)
    axis.spines[:].set_visible(False)
    color_bar(image, [axis], "magnitude, summed over targets")
    return figure


def plot_ranking(edges: pd.DataFrame, n_top: int = 20) -> "Figure":
    """TFs by the summed score of their selected edges, beside their number of targets, each split by sign.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    """
    selected = edges[edges["is_selected"].astype(bool)]
    rises, score = selected["signed_score"] >= 0, selected["score"].astype(np.float64)
    parts = {"up": score.where(rises, 0.0), "down": score.where(~rises, 0.0), "n_up": rises, "n_down": ~rises}
    sums = pd.DataFrame(parts).groupby(selected["source"].astype(str)).sum()
    order = (sums["up"] + sums["down"]).sort_index().sort_values(ascending=False, kind="stable").index[:n_top]
    shown = sums.loc[order[::-1]]
    figure, (left, right) = new_figure(8.5, max(2.6, 1.2 + 0.19 * len(shown)), 2)
    right.sharey(left)
    if shown.empty:
        label(left, "TFs by their selected edges")
        for axis in (left, right):
            say(axis, "no edge is selected")
        return figure
    for axis, up, down in ((left, "up", "down"), (right, "n_up", "n_down")):
        axis.barh(range(len(shown)), shown[up], color=ACTIVATES, label="activates")
        axis.barh(range(len(shown)), shown[down], left=shown[up], color=REPRESSES, label="represses")
    total = shown["n_up"] + shown["n_down"]
    for row, (n, n_up) in enumerate(zip(total, shown["n_up"], strict=True)):
        right.text(n, row, f"  {n_up / n:.0%} activate", va="center", fontsize=SMALL)
    label(left, f"{some(len(shown), len(sums), 'TF')} by summed score", "score, summed over targets")
    label(right, "Their selected targets", "targets")
    name_rows(left, map(fit, shown.index))
    right.tick_params(axis="y", labelleft=False, length=0)
    right.xaxis.set_major_locator(whole_numbers())
    right.set_xlim(0, 1.3 * total.max())
    left.legend(frameon=False, fontsize=TICK, loc="lower right")
    return figure


def plot_neighbourhood(edges: pd.DataFrame, gene: str, n_top: int = 20) -> "Figure":
    """The network around one TF or gene: its strongest regulators before it, its strongest targets after it.

    Each neighbour has a row, the strongest on top, and stands as far from the gene as its lag is long. Arrows
    activate, bars repress; the wider, the higher the score. Edges between neighbours are left out.

    Parameters
    ----------
    edges
        Body of the ``edges`` table; edges that the network does not select are dashed.
    n_top
        Edges that are drawn: half of them regulators, half targets, more of one where the other has fewer.

    Raises
    ------
    InputError
        The gene has no candidate edge; the message has names of near spelling.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    check_names("gene", [gene], pd.concat([edges["source"], edges["target"]]).astype(str).unique())
    scored = edges[(edges["score"] > 0) & (edges["source"] != edges["target"])]
    into = _strongest(scored[scored["target"] == gene], "source")
    out = _strongest(scored[scored["source"] == gene], "target")
    n_into = min(len(into), max(n_top - n_top // 2, n_top - len(out)))
    shown_into, shown_out = into.head(n_into), out.head(n_top - n_into)
    n_rows = max(len(shown_into), len(shown_out), 1)
    figure, (axis,) = new_figure(7.5, 1.7 + 0.2 * max(5, n_rows))
    parts = [some(len(shown_into), len(into), "regulator"), some(len(shown_out), len(out), "target")]
    before, after = "acts before it   ←   " * (len(shown_into) > 0), "   →   follows after it" * (len(shown_out) > 0)
    label(axis, f"{fit(gene)}: {parts[0]} and {parts[1]}", f"{before}lag (steps){after}")
    axis.spines["left"].set_visible(False)
    axis.set_yticks([])
    drawn = pd.concat([shown_into, shown_out])
    most, reach = drawn["score"].max(), max(1.0, drawn["lag"].max() if len(drawn) else 1.0)
    half = 0.025 * reach  # of the gene's box
    height = max(5, n_rows)
    axis.add_patch(Rectangle((-half, -0.5), 2 * half, height, facecolor="#E8E8E8", edgecolor="black", zorder=3))
    axis.text(0, height - 0.1, fit(gene), ha="center", va="bottom", fontsize=TITLE, fontweight="bold")
    tfs = set(edges["source"])
    for part, name, side in ((shown_into, "source", -1), (shown_out, "target", 1)):
        top = (height + len(part)) / 2 - 1  # the shorter side stands in the middle
        for row, (_, edge) in enumerate(part.iterrows()):
            _draw_edge(axis, edge, str(edge[name]), side, top - row, half, float(most), edge[name] in tfs)
    ticks = [lag for lag in range(1, int(np.ceil(reach)) + 1) if lag <= reach + 0.5]
    sides = [side for side, part in ((-1, shown_into), (1, shown_out)) if len(part)]
    axis.set_xticks([side * lag for side in sides for lag in ticks], [str(lag) for _ in sides for lag in ticks])
    left, right = (1.08 * reach if len(part) else 0.15 * reach for part in (shown_into, shown_out))
    axis.set(xlim=(-left, right), ylim=(-1, height + 0.6))
    handles = [
        Line2D([], [], color=ACTIVATES, linewidth=2, label="→ activates (wider: higher score)"),
        Line2D([], [], color=REPRESSES, linewidth=2, label="⊣ represses"),
        Line2D([], [], color=NEUTRAL, linewidth=1.2, linestyle=(0, (3, 2)), label="not selected"),
        Line2D([], [], color="black", marker="o", linestyle="", markersize=5, label="TF"),
        Line2D([], [], color="black", marker="o", linestyle="", markersize=5, markerfacecolor="white", label="no TF"),
    ]
    if drawn.empty:
        axis.text(
            0.98, 0.5, "no edge has a score", ha="right", transform=axis.transAxes, color="grey", fontsize=LABEL
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=TICK)
    return figure


def _draw_edge(
    axis: "Axes", edge: pd.Series, name: str, side: int, row: float, half: float, most: float, is_tf: bool
) -> None:
    """A neighbour and its edge: from it to the gene on the left (side -1), from the gene to it on the right."""
    from matplotlib.patches import FancyArrowPatch

    at, port = side * max(float(edge["lag"]), 2 * half), side * half
    is_up = edge["signed_score"] >= 0
    color = ACTIVATES if is_up else REPRESSES
    start, end = (at, port) if side < 0 else (port, at)
    axis.add_patch(
        FancyArrowPatch(
            (start, row), (end, row), arrowstyle="-|>" if is_up else "|-|,widthA=0,widthB=0.5", mutation_scale=9,
            linewidth=0.7 + 2.3 * float(edge["score"]) / most, color=color, zorder=2,
            linestyle="-" if edge["is_selected"] else (0, (3, 2)),
            shrinkA=0, shrinkB=2 if side < 0 else 5, alpha=1 if edge["is_selected"] else 0.7,
        )
    )  # fmt: skip
    axis.plot(at, row, "o", color="black", markersize=5, markerfacecolor="black" if is_tf else "white", zorder=4)
    axis.annotate(
        fit(name), (at, row), (7 * side, 0), textcoords="offset points", va="center",
        ha="left" if side > 0 else "right", fontsize=TICK,
    )  # fmt: skip


def _colors(edges: pd.DataFrame) -> np.ndarray:
    return np.where(edges["signed_score"] >= 0, ACTIVATES, REPRESSES)


def _strongest(edges: pd.DataFrame, by: str) -> pd.DataFrame:
    return edges.sort_values(["score", by], ascending=[False, True], kind="stable")
