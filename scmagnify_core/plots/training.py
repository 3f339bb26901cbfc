"""Loss curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from scmagnify_core.plots.style import COLORS, TICK, label, new_figure, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(histories: Mapping[int, pd.DataFrame]) -> "Figure":
    """Training loss (and held-out loss, dashed, where there is one) of each seed.

    A history without a loss is left out.

    Parameters
    ----------
    histories
        ``epoch, loss`` and, where known, ``validation_loss``, by seed.
    """
    figure, (axis,) = new_figure()
    histories = {seed: history for seed, history in histories.items() if "loss" in history}
    for seed, history in sorted(histories.items()):
        color = COLORS[seed % len(COLORS)]
        alpha = 1.0 if seed < len(COLORS) else 0.5  # colours come round again, paler
        axis.plot(history["epoch"], history["loss"], color=color, alpha=alpha, label=f"seed {seed}")
        if "validation_loss" in history and history["validation_loss"].notna().any():
            axis.plot(history["epoch"], history["validation_loss"], color=color, alpha=alpha, linestyle="--")
    label(axis, f"Training loss of {len(histories)} seeds", "epoch", "loss (dashed: of held-out cells)")
    if histories:
        n_columns = -(-len(histories) // 12)
        axis.legend(frameon=False, fontsize=TICK, ncols=n_columns, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        say(axis, "no seed was trained")
    return figure
