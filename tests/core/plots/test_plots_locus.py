"""The genome around one gene."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import PathPatch

from scmagnify_core import plots
from scmagnify_core.errors import InputError

TSS = 500_000
LONG = "a-very-long-name-of-a-gene-that-nobody-would-write-by-hand"


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def locus(starts, strand=1, width=500, tss=TSS, target="Gata1"):
    """Links and peaks of one gene; distances as `peak_gene_links` defines them."""
    rng = np.random.default_rng(0)
    start = np.asarray(starts)
    last = start + width - 1
    distance = np.where(tss < start, start - tss, np.where(tss > last, last - tss, 0)) * strand
    peak = [f"chr7:{one}-{one + width}" for one in starts]
    correlation = rng.uniform(0.1, 0.6, len(start))
    links = pd.DataFrame(
        {
            "peak": peak, "target": target, "kind": "atac", "distance_bp": distance, "correlation": correlation,
            "is_linked": np.arange(len(start)) % 2 == 0,
        }
    )  # fmt: skip
    n_cells = pd.array(rng.integers(10, 300, len(start)), dtype="Int64")
    peaks = pd.DataFrame({"peak": peak, "chrom": "chr7", "start": start, "end": start + width, "n_cells": n_cells})
    return links, peaks


def binding(peaks, n_motifs=4):
    """A hit of each motif in each peak; TF ``i`` has motifs ``2i`` and ``2i + 1``, later TFs less likely hits."""
    hits = pd.DataFrame(
        [
            {"peak": row.peak, "motif": f"M{i}", "start": row.start + 10 * i, "end": row.start + 10 * i + 8,
             "pvalue": 10.0 ** (i - 100)}
            for row in peaks.itertuples() for i in range(n_motifs)
        ]
    )  # fmt: skip
    motifs = pd.DataFrame(
        {"motif": [f"M{i}" for i in range(n_motifs)], "source": [f"TF{i // 2}" for i in range(n_motifs)]}
    )
    return hits, motifs


STARTS = (420_000, 480_000, TSS - 300, 510_000, 590_000)


def places_of_arcs(axis):
    return [patch.get_path().vertices for patch in axis.patches if isinstance(patch, PathPatch)]


@pytest.mark.parametrize(("strand", "way"), [(1, 1), (-1, -1)])
def test_plot_locus_leads_arcs_from_linked_peaks_to_the_tss(legible, strand, way):
    links, peaks = locus(STARTS, strand)
    order = np.random.default_rng(0).permutation(len(links))
    arcs, bars = legible(plots.plot_locus("Gata1", links.iloc[order], peaks.iloc[order[::-1]])).axes
    linked = links.merge(peaks, on="peak")[links["is_linked"]]
    drawn = sorted((path[0, 0], path[-1, 0], path[1, 1] / 2) for path in places_of_arcs(arcs))
    expected = [((row.start + row.end) / 2, TSS, row.correlation) for row in linked.itertuples()]
    np.testing.assert_allclose(drawn, sorted(expected))
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in bars.patches}
    assert heights == {row.start + 250: row.n_cells for row in peaks.itertuples()}
    (arrow,) = [text for text in bars.texts if text.get_text() == ""]
    assert np.sign(arrow.xyann[0]) == way
    assert arcs.get_title() == "Gata1: 3 of 5 peaks within 170 kb are linked to it"


@pytest.mark.parametrize(
    ("starts", "strand", "expected"),
    [
        ((TSS - 200,), 1, TSS + 49.5),  # it holds the TSS: the middle
        ((TSS - 400, TSS - 100), -1, TSS - 0.5),  # the middle of what both share
        ((TSS + 1000, TSS - 100), -1, TSS),  # the one outside tells the place, the one that holds it the strand
        ((TSS + 1000,), 1, TSS),  # either strand fits: that of a gene on + is taken, and no arrow is drawn
    ],
)
def test_plot_locus_finds_the_tss_by_the_distances_of_peaks(legible, starts, strand, expected):
    bars = legible(plots.plot_locus("Gata1", *locus(starts, strand))).axes[1]
    (name,) = [text for text in bars.texts if text.get_text() == "TSS of Gata1"]
    assert name.xy[0] == expected
    assert len(bars.texts) - 1 == (len(starts) == 2 and expected == TSS)


def test_plot_locus_draws_motif_hits_in_linked_peaks_the_best_tfs_on_top(legible):
    links, peaks = locus(STARTS)
    hits, motifs = binding(peaks, n_motifs=40)
    motifs = pd.concat([motifs, motifs.head(2)])  # a motif stands in one row per TF and relation
    rows = legible(plots.plot_locus("Gata1", links, peaks, hits, motifs)).axes[2]
    names = labels(rows.get_yticklabels())
    assert names == [f"TF{i}" for i in range(14, -1, -1)]
    inside = hits[hits["peak"].isin(links.loc[links["is_linked"], "peak"])].merge(
        motifs.drop_duplicates(), on="motif"
    )
    expected = sorted(((row.start + row.end) / 2, row.source) for row in inside.itertuples() if row.source in names)
    drawn = sorted((x, names[round(y)]) for x, y in np.asarray(rows.collections[-1].get_offsets()))
    assert drawn == expected
    assert rows.get_ylabel() == "motif hits\nof 15 of 20 TFs"


def test_plot_locus_of_promoters_alone_draws_no_arcs_and_no_heights(legible):
    links, peaks = locus((TSS - 400,))
    links = links.assign(kind="promoter", correlation=np.nan, is_linked=True)
    peaks["n_cells"] = pd.array([pd.NA], dtype="Int64")
    arcs, bars, rows = legible(plots.plot_locus("Gata1", links, peaks, *binding(peaks))).axes
    assert labels(arcs.texts) == ["no link has a correlation"]
    assert labels(bars.get_legend().get_texts()) == ["promoter (sequence alone)"]
    assert not bars.get_yticks().size
    assert labels(rows.get_yticklabels()) == ["TF1", "TF0"]


def test_plot_locus_names_near_spellings_of_a_gene_without_peaks():
    with pytest.raises(InputError, match=r"gene 'GATA1': is not among the 1.*Near spellings: 'Gata1'"):
        plots.plot_locus("GATA1", *locus(STARTS))
    with pytest.raises(InputError, match=r"gene 'Gata1': is not among the 0"):
        plots.plot_locus("Gata1", *(table.head(0) for table in locus(STARTS)))


@pytest.mark.parametrize(
    "state", ["no hits", "nothing linked", "long names", "300 peaks", "one peak", "not in peaks"]
)
def test_plot_locus_is_legible_whatever_the_tables_hold(legible, state):
    starts = {"300 peaks": np.arange(TSS - 150_000, TSS + 150_000, 1000), "one peak": (TSS + 5000,)}.get(
        state, STARTS
    )
    name = LONG if state == "long names" else "Gata1"
    links, peaks = locus(starts, target=name)
    hits, motifs = binding(peaks)
    if state == "no hits":
        hits = hits.head(0)
    if state == "long names":
        motifs["source"] += LONG
        peaks["chrom"] = LONG
    if state == "nothing linked":
        links["is_linked"] = False
    if state == "not in peaks":
        peaks = peaks.head(0)
    legible(plots.plot_locus(name, links, peaks, hits, motifs))
