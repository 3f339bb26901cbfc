"""What all figures share: size, colours that a colour-blind reader can tell apart, bare axes, and names that fit."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from scmagnify_core.errors import InputError, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

# Okabe & Ito's palette, without its yellow, which vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ACTIVATES, REPRESSES = "#D55E00", "#0072B2"
NEUTRAL = "#8A8A8A"
TITLE, LABEL, TICK, SMALL = 10, 9, 7.5, 6.5  # text sizes in points


def new_figure(
    width: float = 6.0, height: float = 3.4, n_columns: int = 1, n_rows: int = 1
) -> tuple["Figure", list["Axes"]]:
    """A figure and its axes, row by row, free of pyplot's global state; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label(axis: "Axes", title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Title and axis labels in the sizes that all figures share."""
    axis.set_title(title, fontsize=TITLE)
    axis.set_xlabel(xlabel, fontsize=LABEL)
    axis.set_ylabel(ylabel, fontsize=LABEL)
    axis.tick_params(labelsize=TICK)


def say(axis: "Axes", what: str) -> None:
    """Say in place of a drawing that there is nothing to draw."""
    axis.text(0.5, 0.5, what, ha="center", va="center", transform=axis.transAxes, color="grey", fontsize=LABEL)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def name_rows(axis: "Axes", names: Iterable[object], size: float = TICK) -> None:
    """Name the rows 0, 1, ... of a drawing, and leave air where they are few: six would be as thick."""
    shown = [fit(str(name), 40) for name in names]
    axis.set_yticks(range(len(shown)), shown, fontsize=size)
    axis.tick_params(axis="y", length=0, labelsize=size)
    air = max(0.0, (6 - len(shown)) / 2)
    axis.set_ylim(-0.6 - air, len(shown) - 0.4 + air)


def fit(name: str, length: int = 20) -> str:
    """A name of at most ``length`` characters, cut in the middle: names tend to differ at their ends."""
    if len(name) <= length:
        return name
    tail = length // 3
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


def edge_names(edges: pd.DataFrame) -> pd.Series:
    """``source → target`` of each edge, both cut to fit."""
    return edges["source"].astype(str).map(fit) + " → " + edges["target"].astype(str).map(fit)


def some(n_shown: int, n_all: int, what: str) -> str:
    """How many of how many there are: '20 of 38 TFs', or '3 TFs' where all are shown."""
    name = what if n_all == 1 else f"{what}s"
    return f"{n_shown:,} of {n_all:,} {name}" if n_shown < n_all else f"{n_all:,} {name}"


def color_bar(image: Any, axes: "list[Axes]", text: str, **how: Any) -> None:
    """What the colours of an image or of points mean, beside the axes that have them."""
    bar = axes[0].figure.colorbar(image, ax=axes, **({"shrink": 0.7} | how))
    bar.set_label(text, fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)


def whole_numbers() -> "MaxNLocator":
    """Ticks for an axis that counts."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, integer=True)


def check_names(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names that are asked for, each once.

    Raises
    ------
    InputError
        A name is not among ``known``; the message has those of near spelling.
    """
    from difflib import get_close_matches

    there, wanted = set(known), list(dict.fromkeys(names))
    by_lower = {one.lower(): one for one in sorted(there, reverse=True)}
    for name in wanted:
        if name not in there:
            near = [by_lower[one] for one in get_close_matches(name.lower(), by_lower, n=5)]
            raise InputError(
                f"{what} '{name}'", f"is not among the {len(there):,} that are there.",
                f"Near spellings: {shorten(near)}." if near else f"There are {shorten(sorted(there))}.",
            )  # fmt: skip
    return wanted


def lay_out(figure: "Figure") -> "Figure":
    """Place everything now, for good; to be called before a figure is written as a file.

    Otherwise ``savefig`` draws everything once more for the layout engine, and once more for ``bbox_inches="tight"``,
    which these figures do not need: nothing in them reaches over the edge.
    """
    for axes in figure.axes:
        # No title has ticks below it, which matplotlib would look for in every pass: a quarter of its time.
        axes._autotitlepos = False  # type: ignore[attr-defined]
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
        # Its solver's last digits differ from run to run, and with them names within an SVG.
        for axes in figure.axes:
            x, y, width, height = (round(one, 6) for one in axes.get_position(original=True).bounds)
            axes.set_position((x, y, width, height), which="original")
    return figure
