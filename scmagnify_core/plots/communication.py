"""Signalling: ligand-receptor pairs between cell groups, and the cascades they start."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import (
    ACTIVATES,
    LABEL,
    NEUTRAL,
    REPRESSES,
    SMALL,
    TICK,
    TITLE,
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

SIGNIFICANT = 0.05
N_ROUTES = 12
# Of the alluvial figure, in inches: width of a box, between the boxes of a column, from column to column.
BOX, GAP, STEP = 1.3, 0.07, 2.65
TEXT = (0.31, 0.31, 0.19, 0.19)  # least height of a box in each column: a gene and its cell group, or a gene
WIDEST = 0.2  # ribbon of the strongest cascade
SURE, UNSURE = 0.7, 0.3  # opacity
COLOR_OF = {0: NEUTRAL, 1: ACTIVATES, -1: REPRESSES}


def plot_communication(tables: Mapping[str, pd.DataFrame], n_pairs: int = 15, n_cascades: int = 20) -> "Figure":
    """The most specific ligand-receptor pairs between groups, and the strongest cascades to TFs.

    Parameters
    ----------
    tables
        Bodies of ``ligand_receptor`` and ``communication_scores``; either may be empty.
    """
    figure, (left, right) = new_figure(12, max(4.2, 1.6 + 0.17 * max(n_pairs, n_cascades)), 2)
    _draw_pairs(left, tables["ligand_receptor"], n_pairs)
    _draw_bars(right, tables["communication_scores"], n_cascades)
    return figure


def _draw_pairs(axis: "Axes", scores: pd.DataFrame, n_top: int) -> None:
    label(axis, "Ligand → receptor between cell groups", "sender → receiver")
    if scores.empty:
        say(axis, "no ligand-receptor pair found")
        return
    scores = scores.assign(
        pair=scores["ligand"].map(fit) + " → " + scores["receptor"].map(fit),
        route=scores["sender"].map(fit) + " → " + scores["receiver"].map(fit),
    ).sort_values(["padj", "score", "pair", "route"], ascending=[True, False, True, True])
    pairs = scores["pair"].drop_duplicates().head(n_top)
    routes = scores.loc[scores["pair"].isin(pairs), "route"].drop_duplicates().head(N_ROUTES)
    shown = scores[scores["pair"].isin(pairs) & scores["route"].isin(routes)]
    x, y = pd.Index(sorted(routes)), pd.Index(pairs[::-1])
    evidence = -np.log10(shown["padj"].clip(lower=1e-6))
    dots = axis.scatter(
        x.get_indexer(shown["route"]), y.get_indexer(shown["pair"]), s=12 + 40 * evidence, c=shown["score"],
        cmap="viridis", linewidths=0,
    )  # fmt: skip
    name_rows(axis, y)
    axis.set_xticks(range(len(x)), x, rotation=45, ha="right", rotation_mode="anchor", fontsize=TICK)
    air = max(0.0, (6 - len(x)) / 2)
    axis.set_xlim(-0.6 - air, len(x) - 0.4 + air)
    color_bar(dots, [axis], "score", shrink=0.6)
    for padj in (1, 0.1, 0.01):
        axis.scatter([], [], s=12 - 40 * np.log10(padj), color="grey", linewidths=0, label=f"{padj:g}")
    axis.legend(
        title="padj", fontsize=TICK, title_fontsize=TICK, frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
    )


def _draw_bars(axis: "Axes", cascades: pd.DataFrame, n_top: int) -> None:
    label(
        axis, "Cascades: the TF rises after the receptor (orange) or falls", "score (rank product of the two parts)"
    )
    if cascades.empty:
        say(axis, "no cascade found")
        return
    top = _best(cascades).head(n_top)[::-1]
    names = top["ligand"].map(fit) + " → " + top["receptor"].map(fit) + " → " + top["tf"].map(fit)
    colors = np.where(top["receptor_tf_association"] >= 0, ACTIVATES, REPRESSES)
    axis.barh(range(len(top)), top["score"], color=colors, alpha=0.9)
    for row, (padj, score) in enumerate(zip(top["padj"], top["score"], strict=True)):
        axis.text(score, row, f" padj {padj:.2g}", va="center", fontsize=SMALL)
    name_rows(axis, [f"{name} (lag {lag})" for name, lag in zip(names, top["lag"], strict=True)])
    axis.set_xlim(0, 1.2)


def _best(cascades: pd.DataFrame) -> pd.DataFrame:
    """Each cascade once, with the groups between which it is strongest. Significant ones come first."""
    order = ["padj", "score", "ligand", "receptor", "tf", "sender", "receiver"]
    best = cascades.sort_values(order, ascending=[name != "score" for name in order])
    return best.drop_duplicates(["ligand", "receptor", "tf"])


def plot_cascades(cascades: pd.DataFrame, edges: pd.DataFrame, n_cascades: int = 12, n_targets: int = 3) -> "Figure":
    """From ligand to receptor to TF to target: the strongest cascades, and what their TFs regulate most.

    Ribbons are as wide as the cascade's score; a TF's are shared out among its targets by the scores of the edges.
    Each cascade is drawn for the two cell groups between which it is strongest.

    Parameters
    ----------
    cascades
        Body of the ``communication_scores`` table.
    edges
        Body of the ``edges`` table; a TF's targets are its strongest selected ones.
    n_targets
        Targets of a TF.
    """
    from matplotlib.lines import Line2D

    every = _best(cascades[cascades["score"] > 0])
    top = every.head(n_cascades)
    if top.empty:
        figure, (axis,) = new_figure(9, 2.4)
        label(axis, "Ligand → receptor → TF → target")
        say(axis, "no cascade found")
        return figure
    ribbons = _ribbons(top, edges, n_targets)
    boxes = _boxes(ribbons)
    room = max((column["height"] + GAP).sum() for column in boxes)
    figure, (axis,) = new_figure(9.5, room + 1.4)
    axis.set_axis_off()
    axis.set(xlim=(-0.05, 3 * STEP + BOX + 0.05), ylim=(-room, 0.35))
    for number in range(3):
        _draw_ribbons(axis, number, ribbons[ribbons["column"] == number], boxes[number], boxes[number + 1])
    titles = ("ligand, from", "receptor, in", "TF", "target")
    for number, (column, title) in enumerate(zip(boxes, titles, strict=True)):
        middle = number * STEP + BOX / 2
        axis.text(middle, GAP, title, ha="center", va="bottom", fontsize=LABEL, fontweight="bold")
        _draw_boxes(axis, number * STEP, column)
        if column.empty:
            axis.text(middle, -room / 2, "none is selected", ha="center", va="center", fontsize=TICK, color="grey")
    n_sure = int((top["padj"] <= SIGNIFICANT).sum())
    which = f"The strongest {len(top)} of {len(every):,}" if len(top) < len(every) else f"All {len(top)}"
    found = f"{n_sure} of them with" if n_sure else "none with"
    paler = " (the others paler)" if 0 < n_sure < len(top) else ""
    figure.suptitle(f"{which} cascades, {found} padj ≤ {SIGNIFICANT:g}{paler}", fontsize=TITLE)
    handles = [
        Line2D([], [], color=color, linewidth=5, alpha=SURE, label=text)
        for color, text in (
            (COLOR_OF[0], "ligand binds receptor"), (COLOR_OF[1], "the next one rises"),
            (COLOR_OF[-1], "the next one falls"),
        )
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=TICK)
    return figure


def _ribbons(top: pd.DataFrame, edges: pd.DataFrame, n_targets: int) -> pd.DataFrame:
    """What joins each two neighbours of a cascade, with its width in inches; cascades that share it add up."""
    scale = WIDEST / float(top["score"].max())
    is_sure, sign = top["padj"] <= SIGNIFICANT, np.where(top["receptor_tf_association"] >= 0, 1, -1)
    ligand, receptor = top["ligand"] + "\n" + top["sender"], top["receptor"] + "\n" + top["receiver"]
    selected = edges[edges["is_selected"].astype(bool) & edges["source"].isin(top["tf"])]
    selected = selected.sort_values(["score", "target"], ascending=[False, True]).groupby("source").head(n_targets)
    share = selected["score"] / selected.groupby("source")["score"].transform("sum")
    regulates = np.where(selected["signed_score"] >= 0, 1, -1)
    reaching = selected["source"].map(top.groupby("tf")["score"].sum())
    is_reached = selected["source"].isin(top.loc[is_sure, "tf"])
    columns = ("column", "start", "end", "width", "sign", "is_sure")
    parts = (
        (0, ligand, receptor, top["score"] * scale, 0, is_sure),
        (1, receptor, top["tf"], top["score"] * scale, sign, is_sure),
        (2, selected["source"], selected["target"], share * reaching * scale, regulates, is_reached),
    )
    every = pd.concat([pd.DataFrame(dict(zip(columns, part, strict=True))) for part in parts])
    return every.groupby(["column", "start", "end"], as_index=False).agg(
        {"width": "sum", "sign": "first", "is_sure": "any"}
    )


def _boxes(ribbons: pd.DataFrame) -> list[pd.DataFrame]:
    """The names of each column from the top down, near to what they are tied to; sizes and places in inches."""
    boxes: list[pd.DataFrame] = [pd.DataFrame()] * len(TEXT)
    # Receptors have the most ties on either side: the widest on top, and the other columns follow them.
    for number, other in ((1, None), (0, 1), (2, 1), (3, 2)):
        left, right = ribbons[ribbons["column"] == number - 1], ribbons[ribbons["column"] == number]
        into, out = left.groupby("end")["width"].sum(), right.groupby("start")["width"].sum()
        column = pd.DataFrame({"into": into, "out": out}, dtype=float).fillna(0.0)
        column["height"] = column.max(axis=1).clip(lower=TEXT[number])
        column["near"] = 0.0
        if other is not None:
            ties, mine, theirs = (right, "start", "end") if other > number else (left, "end", "start")
            places = ties[theirs].map({key: place for place, key in enumerate(boxes[other].index)})
            column["near"] = (places * ties["width"]).groupby(ties[mine]).sum() / ties.groupby(mine)["width"].sum()
        column = column.rename_axis("key").sort_index()
        boxes[number] = column.sort_values(["near", "height"], ascending=[True, False], kind="stable")
    room = max((column["height"] + GAP).sum() for column in boxes)
    for column in boxes:  # the shorter ones stand in the middle
        taken = column["height"] + GAP
        column["top"] = (taken.sum() - room) / 2 - taken.cumsum() + taken
    return boxes


def _draw_ribbons(axis: "Axes", number: int, part: pd.DataFrame, left: pd.DataFrame, right: pd.DataFrame) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    places = [
        part[end].map({key: i for i, key in enumerate(box.index)}) for end, box in (("start", left), ("end", right))
    ]
    part = part.iloc[np.lexsort([places[1], places[0]])]  # ribbons leave and arrive in the order of their other ends
    x = number * STEP + BOX, (number + 1) * STEP
    middle = sum(x) / 2
    tops = _tops(part, "start", left, "out"), _tops(part, "end", right, "into")
    for y0, y1, width, sign, is_sure in zip(*tops, part["width"], part["sign"], part["is_sure"], strict=True):
        outline = [
            (x[0], y0), (middle, y0), (middle, y1), (x[1], y1),
            (x[1], y1 - width), (middle, y1 - width), (middle, y0 - width), (x[0], y0 - width), (x[0], y0),
        ]  # fmt: skip
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
        alpha = SURE if is_sure else UNSURE
        axis.add_patch(PathPatch(Path(outline, codes), facecolor=COLOR_OF[sign], alpha=alpha, linewidth=0))


def _tops(part: pd.DataFrame, end: str, box: pd.DataFrame, side: str) -> pd.Series:
    """Upper edge of each ribbon at one end: those of a box lie on each other, in its middle."""
    above = part.groupby(end)["width"].cumsum() - part["width"]
    first = box["top"] - (box["height"] - box[side]) / 2
    return part[end].map(first) - above


def _draw_boxes(axis: "Axes", x: float, column: pd.DataFrame) -> None:
    from matplotlib.patches import Rectangle

    for key, top, height in zip(column.index, column["top"], column["height"], strict=True):
        axis.add_patch(Rectangle((x, top - height), BOX, height, facecolor="#F0F0F0", edgecolor="0.5", linewidth=0.6))
        name, _, note = str(key).partition("\n")
        middle, center = x + BOX / 2, top - height / 2
        axis.text(middle, center + 0.06 * bool(note), fit(name), ha="center", va="center", fontsize=TICK)
        if note:
            axis.text(middle, center - 0.075, fit(note, 24), ha="center", va="center", fontsize=6, color="0.35")
