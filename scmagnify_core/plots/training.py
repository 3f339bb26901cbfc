"""Loss curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from scmagnify_core.plots.style import COLORS, TICK, label, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(histories: Mapping[int, pd.DataFrame]) -> "Figure":
    """Training loss (and held-out loss, dashed, where there is one) of each seed.

    Parameters
    ----------
    histories
        Body of the ``training_history`` table, by seed.
    """
    figure, (axis,) = new_figure()
    for seed, history in sorted(histories.items()):
        color = COLORS[seed % len(COLORS)]
        alpha = 1.0 if seed < len(COLORS) else 0.5  # colours come round again, paler
        axis.plot(history["epoch"], history["loss"], color=color, alpha=alpha, label=f"seed {seed}")
        if history["validation_loss"].notna().any():
            axis.plot(history["epoch"], history["validation_loss"], color=color, alpha=alpha, linestyle="--")
    label(axis, f"Training loss of {len(histories)} seeds", "epoch", "loss (dashed: of held-out cells)")
    axis.legend(frameon=False, fontsize=TICK)
    return figure
