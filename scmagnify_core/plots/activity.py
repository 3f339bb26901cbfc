"""Activities: along pseudotime, and on the embedding.

Decisions
---------
* Trends are cubic regression splines with five basis functions, as ``gene_association`` fits expression. They have a
  standard error, which a smoothing spline (scipy's ``make_smoothing_spline``) has not, and no steps, which binned means
  have. The band is the 95 % interval of the mean at each pseudotime, allowing for a variance that changes along it
  (White's covariance). Cells count as independent: it tells where the curve is, not whether a change is real.
* Panels of one figure share one scale of colour, so that a pale panel is a weak one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from scmagnify_core.plots.style import (
    COLORS,
    LABEL,
    NEUTRAL,
    TICK,
    TITLE,
    check_names,
    color_bar,
    fit,
    label,
    new_figure,
    say,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 50
N_COLUMNS = 4
MAX_CELLS = 20_000  # drawn on an embedding
N_SPLINES = 5  # as AssociationConfig has it
N_POINTS = 100  # of a curve
INTERVAL = 1.96  # standard errors, for 95 %
KINDS = {"source": "TF", "regfactor": "RegFactor"}


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
    kind = KINDS.get(name, name)
    means, time = _binned(table, cells, name)
    if means.empty:
        figure, (axis,) = new_figure(7, 2.4)
        label(axis, f"{kind} activity")
        say(axis, f"no {kind} has an activity")
        return figure
    chosen = means.loc[means.var(axis=1, ddof=0).sort_values(ascending=False, kind="stable").index[:n_top]]
    chosen = chosen.iloc[np.argsort(chosen.to_numpy().argmax(axis=1), kind="stable")]
    figure, (axis,) = new_figure(7, 1.4 + 0.18 * max(6, len(chosen)))
    # A few extreme bins must not wash out the rest.
    limit = float(np.quantile(np.abs(chosen.to_numpy()), 0.99)) if chosen.size else 0.0
    limit = limit or 1.0
    image = axis.imshow(
        chosen.to_numpy(), aspect="auto", cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    n_all = len(means)
    which = f"{len(chosen)} most variable of {n_all} {kind}s" if n_all > len(chosen) else f"all {n_all} {kind}s"
    label(axis, f"{kind} activity: {which}", "pseudotime (bins of equally many cells)")
    axis.set_yticks(range(len(chosen)), [fit(str(one)) for one in chosen.index])
    ticks = np.unique(np.linspace(0, len(time) - 1, 6).round().astype(int))
    axis.set_xticks(ticks, [f"{time[tick]:.2g}" for tick in ticks])
    axis.tick_params(length=2)
    color_bar(image, [axis], "mean activity (t)", extend="both")
    return figure


def plot_activity_on_embedding(
    table: pd.DataFrame, cells: pd.DataFrame, names: Sequence[str], column: str = "source"
) -> "Figure":
    """The embedding, once for each of some TFs or RegFactors, its cells coloured by activity.

    Purple is below 0, orange above. Cells of strong activity are drawn last, lest weak ones hide them.

    Parameters
    ----------
    table
        Body of the ``tf_activity`` or ``regfactor_activity`` table.
    cells
        Body of the ``cells`` table; beyond 20,000 a random sample is drawn.
    column
        Column of ``table`` that holds the names: ``source`` or ``regfactor``.

    Raises
    ------
    InputError
        A name has no activity; the message has names of near spelling.
    """
    kind = KINDS.get(column, column)
    names = _checked(table, names, column)
    n_columns = min(N_COLUMNS, max(1, len(names)))
    n_rows = -(-len(names) // n_columns) or 1
    figure, axes = new_figure(1.2 + 2.2 * n_columns, 0.5 + 2.1 * n_rows, n_columns, n_rows)
    if not names:
        label(axes[0], f"{kind} activity")
        say(axes[0], f"no {kind} is asked for" if len(table) else f"no {kind} has an activity")
        return figure
    cells, values = by_cell(table, cells, names, column)
    limit = color_limit(values.to_numpy(dtype=float))
    for axis, name in zip(axes, names, strict=False):
        image = draw_on_embedding(axis, cells, values[name], limit)
        axis.set_title(fit(name, 26), fontsize=LABEL)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    figure.suptitle(f"Activity of {len(names)} {kind}{'s' * (len(names) > 1)} on the embedding", fontsize=TITLE)
    color_bar(image, axes, "activity (t)", extend="both")
    return figure


def color_limit(values: Float[np.ndarray, "..."]) -> float:
    """Where colours end, so that a few extreme values do not wash out the rest."""
    found = np.abs(values[np.isfinite(values)])
    return (float(np.quantile(found, 0.99)) if found.size else 0.0) or 1.0


def draw_on_embedding(axis: "Axes", cells: pd.DataFrame, values: pd.Series, limit: float) -> Any:
    """Draw cells on their embedding by a value, white at 0; returns what a colour bar is made of."""
    order = values.abs().sort_values(kind="stable").index  # cells without a value come last and are not drawn
    if len(order) > MAX_CELLS:
        keep = cells.sample(MAX_CELLS, random_state=0).index
        order = order[order.isin(keep)]
    at, shown = cells.loc[order], values.loc[order]
    size = float(np.clip(6000 / max(1, len(at)), 1.5, 12))
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_facecolor("#F4F4F4")  # white cells must be seen
    return axis.scatter(
        at["embedding_1"], at["embedding_2"], c=shown, s=size, cmap="PuOr_r", vmin=-limit, vmax=limit, linewidths=0,
        rasterized=True,
    )  # fmt: skip


def plot_trends(
    table: pd.DataFrame,
    cells: pd.DataFrame,
    names: Sequence[str],
    column: str = "source",
    value: str = "activity",
) -> "Figure":
    """Smooth curves along pseudotime with their 95 % band, a panel per name and a curve per lineage.

    Parameters
    ----------
    table
        A value per cell and name: ``tf_activity``, ``regfactor_activity`` or another table of that form.
    cells
        Body of the ``cells`` table; cells without a lineage are one curve, grey where others have one.
    column, value
        Columns of ``table`` that hold the names and the values.

    Raises
    ------
    InputError
        A name is not in the table; the message has names of near spelling.
    """
    names = _checked(table, names, column)
    n_columns = min(N_COLUMNS, max(1, len(names)))
    n_rows = -(-len(names) // n_columns) or 1
    figure, axes = new_figure(2 + 2.2 * n_columns if n_columns > 1 else 5.2, 0.9 + 1.8 * n_rows, n_columns, n_rows)
    if not names:
        label(axes[0], f"{value} along pseudotime".capitalize())
        say(axes[0], "no name is asked for" if len(table) else f"there is no {value}")
        return figure
    cells, values = by_cell(table, cells, names, column, value)
    for axis, name in zip(axes, names, strict=False):
        draw_trends(axis, cells, values[name])
        axis.set_title(fit(name, 26), fontsize=LABEL)
        axis.tick_params(labelsize=TICK)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    figure.suptitle(f"{value} along pseudotime, mean and 95 % interval".capitalize(), fontsize=TITLE)
    figure.supxlabel("pseudotime", fontsize=LABEL)
    figure.supylabel(f"{value} (t)" if value == "activity" else value, fontsize=LABEL)
    handles = axes[0].get_legend_handles_labels()[0]
    if len(handles) > 1:
        axes[n_columns - 1].legend(
            handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=TICK
        )
    return figure


def draw_trends(axis: "Axes", cells: pd.DataFrame, values: pd.Series) -> None:
    """Draw a value along pseudotime, a curve per lineage; lineages of too few cells are drawn as their cells."""
    used = values.notna() & cells["pseudotime"].notna()
    lineages = cells["lineage"].where(cells["lineage"].notna(), None)
    named = sorted(lineages.dropna().astype(str).unique())
    parts = [(name, COLORS[i % len(COLORS)], "-" if i < len(COLORS) else "--") for i, name in enumerate(named)]
    if lineages.isna().any():
        parts.append((None, NEUTRAL if named else COLORS[0], "-"))
    axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    for name, color, line in parts:
        members = used & (lineages.isna() if name is None else lineages.astype(str) == name)
        text = fit(name) if name is not None else "no lineage" if named else "all cells"
        time, level = cells.loc[members, "pseudotime"].to_numpy(dtype=float), values[members].to_numpy(dtype=float)
        curve = fit_trend(time, level)
        if curve is None:
            axis.plot(time, level, "o", color=color, markersize=2.5, label=f"{text} (single cells)")
            continue
        points, mean, error = curve
        axis.plot(points, mean, line, color=color, linewidth=1.6, label=text)
        axis.fill_between(
            points, mean - INTERVAL * error, mean + INTERVAL * error, color=color, alpha=0.2, linewidth=0
        )  # fmt: skip


def fit_trend(
    time: Float[np.ndarray, " cell"], values: Float[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"], Float[np.ndarray, " point"]] | None:
    """Regression spline: pseudotimes of cells, mean and standard error there; None with too few pseudotimes.

    Curves are read at the cells' own pseudotimes only (100 quantiles): nothing holds a cubic down in a gap.
    """
    from scmagnify_core.numerics.statistics import spline_basis

    distinct = np.unique(time)
    if len(distinct) <= N_SPLINES or len(time) < 2 * N_SPLINES:
        return None
    order = np.lexsort((values, time))  # sums in one order, whatever the order of the rows
    time, values = time[order], values[order]
    basis = spline_basis(time, N_SPLINES)
    inverse = np.linalg.pinv(basis.T @ basis)
    coefficients = inverse @ (basis.T @ values)
    residuals = values - basis @ coefficients
    spread = (basis * residuals[:, None]) / np.sqrt(1 - N_SPLINES / len(time))
    covariance = inverse @ (spread.T @ spread) @ inverse
    places = np.unique(np.linspace(0, len(distinct) - 1, N_POINTS).round().astype(int))
    rows = basis[np.searchsorted(time, distinct[places])]
    return (
        distinct[places],
        rows @ coefficients,
        np.sqrt(np.einsum("ti,ij,tj->t", rows, covariance, rows).clip(min=0)),
    )


def _checked(table: pd.DataFrame, names: Sequence[str], column: str) -> list[str]:
    """The names that are asked for; none where the table is empty, which is said in the figure."""
    if table.empty:
        return []
    return check_names(KINDS.get(column, column), names, table[column].astype(str).unique())


def by_cell(
    table: pd.DataFrame, cells: pd.DataFrame, names: Sequence[str], column: str, value: str = "activity"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells in the order of their names, and the values of some names in them; NaN where a cell has none."""
    cells = cells.set_index("cell").sort_index()
    values = table[table[column].isin(names)].pivot(index="cell", columns=column, values=value)
    return cells, values.reindex(index=cells.index, columns=list(names))


def _binned(table: pd.DataFrame, cells: pd.DataFrame, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Mean activity, rows ``name`` x columns bin, and the mean pseudotime of each bin."""
    used = cells[cells["cell"].isin(table["cell"].unique())]
    order = used.sort_values(["pseudotime", "cell"], kind="stable")
    n_bins = min(N_BINS, len(order))
    bins = pd.Series(np.arange(len(order)) * n_bins // max(1, len(order)), index=order["cell"].to_numpy())
    means = table.groupby([name, table["cell"].map(bins).rename("bin")], observed=True)["activity"].mean()
    time = order["pseudotime"].groupby(bins.to_numpy()).mean().to_numpy()
    return means.unstack("bin").fillna(0.0), time
