"""Signalling: ligand-receptor pairs between cell groups, and the cascades they start."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import ACTIVATES, REPRESSES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_communication(tables: Mapping[str, pd.DataFrame], n_pairs: int = 15, n_cascades: int = 20) -> "Figure":
    """The most specific ligand-receptor pairs between groups, and the strongest cascades to TFs.

    Parameters
    ----------
    tables
        Bodies of ``ligand_receptor`` and ``communication_scores``; either may be empty.
    """
    figure, (left, right) = new_figure(12, 5.2, 2)
    _dots(left, tables["ligand_receptor"], n_pairs)
    _bars(right, tables["communication_scores"], n_cascades)
    return figure


def _dots(axis: "Axes", scores: pd.DataFrame, n_top: int, n_routes: int = 12) -> None:
    axis.set_title("Ligand → receptor between cell groups")
    if scores.empty:
        _say(axis, "no ligand-receptor pair found")
        return
    scores = scores.assign(
        pair=scores["ligand"] + " → " + scores["receptor"], route=scores["sender"] + " → " + scores["receiver"]
    ).sort_values(["padj", "score"], ascending=[True, False])
    pairs = scores["pair"].drop_duplicates().head(n_top)
    routes = scores.loc[scores["pair"].isin(pairs), "route"].drop_duplicates().head(n_routes)
    shown = scores[scores["pair"].isin(pairs) & scores["route"].isin(routes)]
    x, y = pd.Index(sorted(routes)), pd.Index(pairs[::-1])
    evidence = -np.log10(shown["padj"].clip(lower=1e-6))
    dots = axis.scatter(
        x.get_indexer(shown["route"]), y.get_indexer(shown["pair"]), s=12 + 40 * evidence, c=shown["score"],
        cmap="viridis", linewidths=0,
    )  # fmt: skip
    axis.set_xticks(range(len(x)), x, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(y)), y, fontsize=7)
    axis.set(xlim=(-0.6, len(x) - 0.4), ylim=(-0.6, len(y) - 0.4), xlabel="sender → receiver")
    axis.figure.colorbar(dots, ax=axis, label="score", shrink=0.6)
    for padj in (1, 0.1, 0.01):
        axis.scatter([], [], s=12 - 40 * np.log10(padj), color="grey", linewidths=0, label=f"{padj:g}")
    axis.legend(title="padj", fontsize=7, title_fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1.02))


def _bars(axis: "Axes", cascades: pd.DataFrame, n_top: int) -> None:
    axis.set_title("Cascades (blue: TF falls)")
    if cascades.empty:
        _say(axis, "no cascade found")
        return
    # One bar per cascade: the groups between which it is strongest. Significant ones come first.
    best = cascades.sort_values(["padj", "score"], ascending=[True, False])
    top = best.drop_duplicates(["ligand", "receptor", "tf"]).head(n_top)[::-1]
    names = top["ligand"] + " → " + top["receptor"] + " → " + top["tf"] + " (lag " + top["lag"].astype(str) + ")"
    colors = np.where(top["receptor_tf_association"] >= 0, ACTIVATES, REPRESSES)
    axis.barh(names, top["score"], color=colors, alpha=0.9)
    for row, (padj, score) in enumerate(zip(top["padj"], top["score"], strict=True)):
        axis.text(score, row, f" padj {padj:.2g}", va="center", fontsize=6)
    axis.tick_params(axis="y", labelsize=7)
    axis.set(xlabel="score (rank product of the two parts)", xlim=(0, 1.15))


def _say(axis: "Axes", what: str) -> None:
    axis.text(0.5, 0.5, what, ha="center", va="center", transform=axis.transAxes, color="grey")
    axis.set_axis_off()
