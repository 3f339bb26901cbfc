"""Peaks and the genes they are linked to: over all genes, or around one.

Where a gene begins, and which way it is read, no table of the lake says. Both follow from its peaks: each lies at a
known, signed distance from the TSS, and only one place and strand fits them all.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scmagnify_core.plots.style import (
    COLORS,
    LABEL,
    NEUTRAL,
    SMALL,
    TICK,
    check_names,
    fit,
    label,
    new_figure,
    say,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISTANCES_KB = (0, 5, 10, 25, 50, 100, 250, 500, 1_000)
MIN_PAIRS = 20  # a share of fewer pairs says nothing
N_BOUND = 15  # TFs whose motif hits are drawn


def plot_links(links: pd.DataFrame) -> "Figure":
    """Whether links are more than chance, whether they thin out with distance, and how many a gene has.

    Parameters
    ----------
    links
        Body of the ``peak_gene_links`` table; only pairs with a correlation are drawn.
    """
    tested = links[links["correlation"].notna()]
    figure, (left, middle, right) = new_figure(12, 3.4, 3)
    _draw_scores(left, tested["zscore"].dropna())
    _draw_distance(middle, tested)
    _draw_counts(right, tested)
    for axis in (left, middle, right):
        axis.title.set_fontsize(10)
    return figure


def _draw_scores(axis: "Axes", zscore: pd.Series) -> None:
    axis.set(xlabel="z-score against random peaks", ylabel="density")
    if zscore.empty:
        say(axis, "no pair was tested")
        return
    axis.hist(zscore.clip(-5, 5), bins=list(np.linspace(-5, 5, 51)), density=True, color=COLORS[5])
    grid = np.linspace(-5, 5, 201)
    axis.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=COLORS[6], linewidth=1, label="by chance")
    axis.set_title(f"{(zscore > 2).mean():.1%} of pairs have z > 2 (chance 2.3%)")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_distance(axis: "Axes", tested: pd.DataFrame) -> None:
    edges = [-np.inf, *DISTANCES_KB, np.inf]  # a window around a long gene reaches far from its TSS
    bins = pd.cut(tested["distance_bp"].abs() / 1000, edges, labels=False)
    shares = tested.groupby(bins)["is_linked"].agg(["mean", "size"])
    shares = shares[shares["size"] >= MIN_PAIRS]
    n_linked = int(tested["is_linked"].sum())
    axis.set(
        xlabel="distance to the TSS (kb)", ylabel="share linked (± standard error)",
        title=f"{n_linked:,} of {len(tested):,} pairs are linked",
    )  # fmt: skip
    if shares.empty:
        say(axis, f"fewer than {MIN_PAIRS} pairs at any distance")
        return
    error = np.sqrt(shares["mean"] * (1 - shares["mean"]) / shares["size"])
    place = np.arange(len(shares))
    axis.errorbar(place, shares["mean"], yerr=error, color=COLORS[0], marker="o", markersize=4, capsize=2)
    if n_linked:
        limit = tested.loc[tested["is_linked"], "pvalue"].max()
        axis.axhline(limit, color=COLORS[6], linewidth=1, linestyle="--", label="by chance")
        axis.legend(frameon=False, fontsize=8)
    names = ["at TSS", *(f"\u2264 {edge:,}" for edge in DISTANCES_KB[1:]), f"> {DISTANCES_KB[-1]:,}"]
    axis.set_xticks(place, [names[int(one)] for one in shares.index], fontsize=8)
    axis.set_ylim(0, None)


def _draw_counts(axis: "Axes", tested: pd.DataFrame) -> None:
    counts = tested.groupby("target", observed=True)["is_linked"].sum()
    most = int(counts.max()) if len(counts) else 0
    axis.hist(counts, bins=list(np.arange(-0.5, most + 1)), color=COLORS[0])
    axis.locator_params(axis="x", integer=True)
    axis.set(
        xlabel="linked peaks of a gene", ylabel="genes",
        title=f"{int((counts > 0).sum()):,} of {len(counts):,} genes have a link",
    )  # fmt: skip


def plot_locus(
    target: str,
    links: pd.DataFrame,
    peaks: pd.DataFrame,
    hits: pd.DataFrame | None = None,
    motifs: pd.DataFrame | None = None,
) -> "Figure":
    """The genome around one gene: its peaks, those that are linked to it, and which TFs have motifs in them.

    A bar is as high as the number of cells in which the peak is open. That is all the lake keeps of the accessibility:
    there is no coverage within a peak to draw, nor one by cell group. An arc leads from a linked peak to the TSS.

    Parameters
    ----------
    target
        The gene.
    links, peaks
        Bodies of the tables ``peak_gene_links`` and ``peaks``.
    hits, motifs
        Bodies of the tables ``tf_binding`` and ``motifs``; without them the rows of TFs are left out. Of more than
        15 TFs with a motif hit in a linked peak those with the least likely hits are drawn.

    Raises
    ------
    InputError
        The gene has no peak; the message has names of near spelling.
    """
    check_names("gene", [target], links["target"].astype(str).unique())
    near = links[links["target"] == target].merge(peaks, on="peak").sort_values(["start", "end", "kind"])
    linked = near[near["is_linked"].astype(bool)]
    bound = _bound(linked, hits, motifs)
    n_tfs = bound["source"].nunique()
    shown = bound[bound["best"] < N_BOUND]
    n_rows = shown["source"].nunique()
    with_tfs = hits is not None and motifs is not None
    heights = [1.3, 1.1, *([0.35 + 0.16 * max(1, n_rows)] if with_tfs else [])]
    figure, axes = new_figure(9, sum(heights) + 1.1, 1, len(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for number, axis in enumerate(axes):
        axis.set_subplotspec(grid[number])
    if near.empty:
        label(axes[0], f"{fit(target)}: its peaks")
        for axis in axes:
            say(axis, "none of its peaks is in the table of peaks")
        return figure
    tss, strand = _find_tss(near)
    left, right = min(near["start"].min(), tss), max(near["end"].max(), tss)
    margin = max(500.0, 0.03 * (right - left))
    _draw_arcs(axes[0], linked, tss)
    _draw_peaks(axes[1], near, tss, strand, fit(target), 0.004 * (right - left + 2 * margin))
    if with_tfs:
        _draw_motifs(axes[2], shown, n_tfs)
    reach = f"{(right - left) / 1000:,.0f} kb" if right - left >= 10_000 else f"{right - left:,} bp"
    title = f"{fit(target)}: {len(linked)} of {len(near)} peaks within {reach} are linked to it"
    axes[0].set_title(title, fontsize=10)
    for axis in axes:
        axis.set_xlim(left - margin, right + margin)
        axis.axvline(tss, color="black", linewidth=0.6, linestyle=":", zorder=0)
        axis.tick_params(labelbottom=False, bottom=False)
    axes[-1].tick_params(labelbottom=True, bottom=True)
    axes[-1].locator_params(axis="x", nbins=6)
    axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    axes[-1].set_xlabel(f"position on {fit(str(near['chrom'].iloc[0]))} (bp)", fontsize=LABEL)
    return figure


def _find_tss(near: pd.DataFrame) -> tuple[float, str | None]:
    """TSS and strand of a gene by its peaks' distances; no strand where they do not tell it.

    A peak at distance 0 holds the TSS somewhere. Where all do, it is put into the middle of what they share.
    """
    start, last, distance = near["start"].to_numpy(), near["end"].to_numpy() - 1, near["distance_bp"].to_numpy()
    holds = distance == 0
    low, high = start[holds].max(initial=0), last[holds].min(initial=np.iinfo(np.int64).max)
    if holds.all():
        return float(low + high) / 2, None
    found = []
    for strand, along in (("+", distance), ("-", -distance)):
        places = (np.where(along > 0, start, last) - along)[~holds]
        if places.min() == places.max() and low <= places[0] <= high:
            found.append((float(places[0]), strand))
    if len(found) == 1:
        return found[0]
    nearest = int(np.abs(distance).argmin())
    return (found[0][0] if found else float(start[nearest] + last[nearest]) / 2), None


def _draw_arcs(axis: "Axes", linked: pd.DataFrame, tss: float) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    axis.set_ylabel("correlation\nof linked peaks", fontsize=LABEL)
    axis.tick_params(labelsize=TICK)
    tied = linked.dropna(subset="correlation")
    if tied.empty:
        say(axis, "no link has a correlation")
        return
    least, most = min(0.0, tied["correlation"].min()), max(0.0, tied["correlation"].max())
    tied = tied.sort_values("correlation")
    for middle, height in zip((tied["start"] + tied["end"]) / 2, tied["correlation"].astype(float), strict=True):
        # The top of a quadratic Bézier curve is half as high as its control point.
        path = Path([(middle, 0), ((middle + tss) / 2, 2 * height), (tss, 0)], [Path.MOVETO, *[Path.CURVE3] * 2])
        share = (height - least) / ((most - least) or 1.0)
        color = colormaps["viridis_r"](0.15 + 0.85 * share)
        axis.add_patch(PathPatch(path, fill=False, edgecolor=color, linewidth=1.5))
    axis.axhline(0, color="0.6", linewidth=0.6)
    axis.set_ylim(1.1 * least, 1.15 * most or 1.0)


def _draw_peaks(axis: "Axes", near: pd.DataFrame, tss: float, strand: str | None, name: str, least: float) -> None:
    """Bars at least ``least`` bp wide, lest peaks vanish; a sequence that stands in for a peak is hollow."""
    cells = near["n_cells"].astype(float)
    is_open, is_linked = cells.notna(), near["is_linked"].astype(bool)
    most = float(cells.max()) if is_open.any() and cells.max() > 0 else 1.0
    middle, width = (near["start"] + near["end"]) / 2, (near["end"] - near["start"]).clip(lower=least)
    kinds: tuple[tuple[pd.Series, dict[str, Any], str], ...] = (
        (is_open & ~is_linked, {"color": "0.75"}, "peak"), (is_open & is_linked, {"color": COLORS[0]}, "linked peak"),
        (~is_open, {"facecolor": "white", "edgecolor": NEUTRAL}, "promoter (sequence alone)"),
    )  # fmt: skip
    for which, style, text in kinds:
        if which.any():
            axis.bar(middle[which], cells.fillna(most / 2)[which], width[which], label=text, **style)
    axis.set_ylabel("cells with\nthe peak open" if is_open.any() else "", fontsize=LABEL)
    axis.tick_params(labelsize=TICK)
    if not is_open.any():
        axis.set_yticks([])
    axis.set_ylim(0, 1.6 * most)
    if strand is not None:
        axis.annotate(
            "", (tss, 1.2 * most), (22 if strand == "+" else -22, 0), textcoords="offset points",
            arrowprops={"arrowstyle": "<|-", "linewidth": 1.2, "color": "black", "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    is_left = tss < middle.mean()  # the name goes to where there is room
    axis.annotate(
        f"TSS of {name}", (tss, 1.45 * most), (4 if is_left else -4, 0), textcoords="offset points", va="center",
        ha="left" if is_left else "right", fontsize=TICK,
    )  # fmt: skip
    axis.legend(frameon=False, fontsize=TICK, loc="upper left", bbox_to_anchor=(1, 1))


def _bound(linked: pd.DataFrame, hits: pd.DataFrame | None, motifs: pd.DataFrame | None) -> pd.DataFrame:
    """Hits in linked peaks with their TFs; ``best`` counts TFs from 0 by the least likely hit of each."""
    if hits is None or motifs is None:
        return pd.DataFrame({"source": [], "start": [], "end": [], "pvalue": [], "best": []})
    inside = hits.loc[hits["peak"].isin(linked["peak"]), ["motif", "start", "end", "pvalue"]]
    found = inside.merge(motifs[["motif", "source"]].drop_duplicates(), on="motif")
    least = found.groupby("source", observed=True)["pvalue"].min().sort_index().sort_values(kind="stable")
    return found.assign(best=found["source"].map({name: place for place, name in enumerate(least.index)}).astype(int))


def _draw_motifs(axis: "Axes", shown: pd.DataFrame, n_tfs: int) -> None:
    names = shown.sort_values("best").drop_duplicates("source")["source"].astype(str).tolist()
    if not names:
        axis.set_yticks([])  # the positions below stay
        where: dict[str, Any] = {"ha": "center", "transform": axis.transAxes}
        axis.text(0.5, 0.5, "no motif hit in a linked peak", color="grey", fontsize=LABEL, **where)
        return
    rows = len(names) - 1 - shown["best"]
    axis.hlines(range(len(names)), 0, 1, transform=axis.get_yaxis_transform(), color="0.92", linewidth=0.8, zorder=0)
    axis.scatter((shown["start"] + shown["end"]) / 2, rows, marker="|", s=45, color=COLORS[1], linewidths=1)
    axis.set_yticks(range(len(names)), [fit(name) for name in names[::-1]], fontsize=SMALL)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(-0.7, len(names) - 0.3)
    axis.spines["left"].set_visible(False)
    which = f"motif hits of {len(names)} of {n_tfs:,} TFs" if n_tfs > len(names) else "motif hits"
    axis.set_ylabel(which.replace(" of ", "\nof ", 1), fontsize=LABEL)
