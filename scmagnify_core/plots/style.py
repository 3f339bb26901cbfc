"""What all figures share: size, colours that a colour-blind reader can tell apart, and bare axes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, without its yellow, which vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ACTIVATES, REPRESSES = "#D55E00", "#0072B2"


def new_figure(width: float = 6.0, height: float = 3.4, n_columns: int = 1) -> tuple["Figure", list["Axes"]]:
    """A figure and its row of axes, free of pyplot's global state; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n_columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)
