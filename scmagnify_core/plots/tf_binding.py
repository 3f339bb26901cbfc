"""Motif hits."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    counts = motifs["n_hits"].to_numpy()
    # Doubling bins, because a few motifs have most hits; the first bin is that of none.
    edges = np.concatenate([[-0.5, 0.5], 2.0 ** np.arange(1, np.ceil(np.log2(counts.max() + 1)) + 1) - 0.5])
    left.bar(range(len(edges) - 1), np.histogram(counts, edges)[0], color=COLORS[0], width=0.9)
    limits = (edges + 0.5).astype(int)
    labels = [f"{low}" if low + 1 == end else f"{low}-{end - 1}" for low, end in pairwise(limits)]
    left.set_xticks(range(len(labels)), labels, rotation=60, fontsize=7)
    left.set(
        xlabel="hits of a motif", ylabel="motifs",
        title=f"{int((counts > 0).sum())} of {len(motifs)} motifs have hits, median {np.median(counts):.0f}",
    )  # fmt: skip

    top = motifs.sort_values("n_hits", ascending=False, kind="stable").head(15)[::-1]
    names = top["motif"].astype(str)
    if "motif_name" in top:
        names = top["motif_name"].astype(str) + " (" + names + ")"
    middle.barh(names, top["n_hits"], color=COLORS[0])
    middle.tick_params(axis="y", labelsize=7)
    middle.set(xlabel="hits", title="Motifs with most hits")

    per_region = hits.groupby("peak", observed=True).size().to_numpy()
    most = int(per_region.max(initial=1))
    right.hist(per_region, bins=list(np.arange(0.5, most + 1 + most / 30, 1 + most // 30)), color=COLORS[0])
    middle_value = f"median {np.median(per_region):.0f}" if len(per_region) else "none has a hit"
    right.set(
        xlabel="hits of all motifs in a region", ylabel="regions",
        title=f"{len(per_region)} regions with hits, {middle_value}",
    )  # fmt: skip
    for axis in (left, middle, right):
        axis.title.set_fontsize(10)
    return figure
