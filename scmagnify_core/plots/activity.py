"""Activities along pseudotime."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_BINS = 50


def plot_activity(table: pd.DataFrame, cells: pd.DataFrame, name: str, n_top: int = 25) -> "Figure":
    """Heat map of mean activity over bins of pseudotime, rows in the order of their peaks.

    Bins hold equally many cells, so that their means are equally certain. The rows are those that vary most over
    bins. Purple is below 0, orange above, white is 0.

    Parameters
    ----------
    table
        Body of the ``tf_activity`` or ``regfactor_activity`` table.
    cells
        Body of the ``cells`` table.
    name
        Column of ``table`` that makes the rows: ``source`` or ``regfactor``.
    """
    means, time = _binned(table, cells, name)
    chosen = means.loc[means.var(axis=1, ddof=0).sort_values(ascending=False, kind="stable").index[:n_top]]
    chosen = chosen.iloc[np.argsort(chosen.to_numpy().argmax(axis=1), kind="stable")]
    figure, (axis,) = new_figure(7, 1.4 + 0.18 * max(6, len(chosen)))
    # A few extreme bins must not wash out the rest.
    limit = float(np.quantile(np.abs(chosen.to_numpy()), 0.99)) if chosen.size else 0.0
    limit = limit or 1.0
    image = axis.imshow(
        chosen.to_numpy(), aspect="auto", cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axis.set_yticks(range(len(chosen)), list(chosen.index), fontsize=7)
    ticks = np.unique(np.linspace(0, len(time) - 1, 6).round().astype(int))
    axis.set_xticks(ticks, [f"{time[tick]:.2g}" for tick in ticks])
    axis.tick_params(length=2)
    label = {"source": "TF", "regfactor": "RegFactor"}.get(name, name)
    n_all = len(means)
    which = f"{len(chosen)} most variable of {n_all} {label}s" if n_all > len(chosen) else f"all {n_all} {label}s"
    axis.set(xlabel="pseudotime (bins of equally many cells)", title=f"{label} activity: {which}")
    figure.colorbar(image, ax=axis, label="mean activity (t)", extend="both", shrink=0.8)
    return figure


def _binned(table: pd.DataFrame, cells: pd.DataFrame, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Mean activity, rows ``name`` x columns bin, and the mean pseudotime of each bin."""
    used = cells[cells["cell"].isin(table["cell"].unique())]
    order = used.sort_values(["pseudotime", "cell"], kind="stable")
    n_bins = min(N_BINS, len(order))
    bins = pd.Series(np.arange(len(order)) * n_bins // max(1, len(order)), index=order["cell"].to_numpy())
    means = table.groupby([name, table["cell"].map(bins).rename("bin")], observed=True)["activity"].mean()
    time = order["pseudotime"].groupby(bins.to_numpy()).mean().to_numpy()
    return means.unstack("bin").fillna(0.0), time
