"""The cells on their embedding."""

from typing import TYPE_CHECKING

import pandas as pd

from scmagnify_core.plots.style import COLORS, LABEL, TICK, color_bar, fit, label, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_embedding(cells: pd.DataFrame, max_cells: int = 20_000) -> "Figure":
    """Cells coloured by pseudotime and, where known, by cluster.

    Parameters
    ----------
    cells
        Body of the ``cells`` table; beyond ``max_cells`` a random sample is drawn.
    """
    n_cells = len(cells)
    if n_cells > max_cells:
        cells = cells.sample(max_cells, random_state=0)
    groups = cells["cluster"].dropna()
    figure, axes = new_figure(9 if len(groups) else 5, 3.6, 2 if len(groups) else 1)
    x, y = cells["embedding_1"], cells["embedding_2"]
    points = axes[0].scatter(x, y, c=cells["pseudotime"], s=4, cmap="viridis", linewidths=0, rasterized=True)
    color_bar(points, [axes[0]], "pseudotime")
    label(axes[0], f"{n_cells:,} cells along pseudotime")
    if len(groups):
        names = sorted(groups.unique())
        for number, name in enumerate(names[:20]):
            at = cells["cluster"] == name
            color = COLORS[number % len(COLORS)]
            axes[1].scatter(x[at], y[at], s=4, color=color, label=fit(name), linewidths=0, rasterized=True)
        label(axes[1], f"{len(names)} cell groups")
        axes[1].legend(markerscale=3, fontsize=TICK, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel("embedding 1", fontsize=LABEL)
        axis.set_ylabel("embedding 2", fontsize=LABEL)
    return figure
