"""Genes that change along pseudotime."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import COLORS, fit, new_figure, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scmagnify_core.data.association import AssociationConfig

ALL = "all"  # the lineage of all cells
N_GENES = 40
MAX_Z = 2.5  # few values of a curve lie further from its mean; they would pale all others


def plot_association(
    association: pd.DataFrame,
    trends: pd.DataFrame,
    config: "AssociationConfig | None" = None,
    lineage: str = ALL,
) -> "Figure":
    """Amplitude against adjusted p-value of every gene, and the curves of the strongest associated ones.

    Parameters
    ----------
    association
        Body of the ``gene_association`` table; only the rows of ``lineage`` are drawn.
    trends
        Fitted curves of that lineage from ``gene_trends``; of more than 40 genes the strongest are drawn.
    config
        Its thresholds are drawn, so it is the one that made the table; without it the defaults.
    """
    from scmagnify_core.data.association import AssociationConfig  # brings the data set's readers: only when needed

    figure, (left, right) = new_figure(11, 6, 2)
    _volcano(left, association[association["lineage"] == lineage], config or AssociationConfig(), lineage)
    _heat_map(right, association, trends, lineage)
    return figure


def _volcano(axis: "Axes", table: pd.DataFrame, config: "AssociationConfig", lineage: str) -> None:
    tested = table.dropna(subset="padj")
    evidence = -np.log10(tested["padj"].to_numpy())
    found = tested["is_associated"].to_numpy()
    for which, color, label in ((~found, "0.75", "other"), (found, COLORS[1], "associated")):
        axis.scatter(
            tested.loc[which, "amplitude"], evidence[which], s=8, color=color, linewidths=0, alpha=0.8,
            label=f"{label} ({int(which.sum()):,})", rasterized=True,
        )  # fmt: skip
    axis.axvline(config.min_amplitude, color="black", linewidth=0.8, linestyle=":", label="thresholds")
    axis.axhline(-np.log10(config.max_padj), color="black", linewidth=0.8, linestyle=":")
    # Evidence grows with the number of cells up to the 308 digits of a float; the thresholds must stay in sight.
    axis.set_yscale("symlog", linthresh=10)
    axis.set_yticks(ticks := [0, 3, 10, 30, 100, 300], [str(tick) for tick in ticks], minor=False)
    axis.set_yticks([], minor=True)
    axis.set_ylim(0, 1.2 * max(10, -np.log10(config.max_padj), evidence.max(initial=0)))
    axis.set(xlabel="amplitude of the fit (log counts per 10,000)", ylabel="−log10 adjusted p-value")
    where = "" if lineage == ALL else f" in {lineage}"
    axis.set_title(f"{int(found.sum()):,} of {len(tested):,} genes change along pseudotime{where}", fontsize=10)
    axis.legend(frameon=False, fontsize=8, markerscale=2, loc="lower right")


def _heat_map(axis: "Axes", association: pd.DataFrame, trends: pd.DataFrame, lineage: str) -> None:
    from scmagnify_core.data.association import strongest_genes

    curves = trends.pivot(index="gene", columns="pseudotime", values="expression")
    ranked = strongest_genes(association, len(association), lineage)
    shown = curves.reindex([gene for gene in ranked if gene in curves.index][:N_GENES])
    if shown.empty:
        axis.set_title("Trends of associated genes", fontsize=10)
        say(axis, "no associated gene")
        return
    scores = shown.sub(shown.mean(axis=1), axis=0).div(shown.std(axis=1), axis=0)
    time = scores.columns.to_numpy(dtype=float)
    # Many genes peak at the very end; among those the one that rises first comes first.
    above = scores.clip(lower=0)
    scores = scores.iloc[np.lexsort([above @ time / above.sum(axis=1), scores.to_numpy().argmax(axis=1)])]
    image = axis.imshow(
        scores.to_numpy(), aspect="auto", cmap="PuOr_r", vmin=-MAX_Z, vmax=MAX_Z, interpolation="nearest",
        extent=(time[0], time[-1], len(scores) - 0.5, -0.5),
    )  # fmt: skip
    axis.set_yticks(range(len(scores)), [fit(str(gene)) for gene in scores.index], fontsize=7)
    axis.tick_params(axis="y", length=0)
    n_all = len(ranked)
    which = f"The strongest {len(scores)} of {n_all:,} of them" if n_all > len(scores) else f"All {n_all} of them"
    axis.set_xlabel("pseudotime")
    axis.set_title(f"{which}, the earliest peak on top", fontsize=10)
    axis.figure.colorbar(image, ax=axis, label="fitted expression (z-score per gene)", extend="both", shrink=0.6)
