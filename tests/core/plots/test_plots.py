"""Figures hold what their tables say; drawing them to pixels works."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scmagnify_core import plots
from scmagnify_core.evaluation.leaderboard import leaderboard
from scmagnify_core.plots.association import plot_association
from scmagnify_core.plots.dataset import plot_embedding
from scmagnify_core.plots.evaluation import plot_leaderboard, plot_scores
from scmagnify_core.plots.peak_gene_links import plot_links
from scmagnify_core.plots.prior import plot_candidates
from scmagnify_core.plots.style import new_figure
from scmagnify_core.plots.tf_binding import plot_hits
from scmagnify_core.plots.training import plot_history
from scmagnify_core.tables.catalogue import TABLES


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def bars(axis):
    """Widths of horizontal bars by their label."""
    widths = [patch.get_width() for patch in axis.patches]
    return dict(zip(labels(axis.get_yticklabels()), widths, strict=True))


def cells_table(n_cells, clusters=("a", "b", "c")):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "cell": [f"c{i}" for i in range(n_cells)],
            "pseudotime": np.linspace(0, 1, n_cells),
            "cluster": [clusters[i % len(clusters)] if clusters else None for i in range(n_cells)],
            "embedding_1": rng.normal(size=n_cells),
            "embedding_2": rng.normal(size=n_cells),
        }
    )


def test_new_figure_is_no_part_of_pyplot():
    from matplotlib import pyplot

    before = pyplot.get_fignums()  # of other tests of this process: scanpy draws by way of pyplot
    figure, axes = new_figure(5, 2, 3)
    assert len(axes) == len(figure.axes) == 3
    assert tuple(figure.get_size_inches()) == (5, 2)
    assert not axes[0].spines["top"].get_visible()
    assert pyplot.get_fignums() == before


# ---------------------------------------------------------------- data sets


@pytest.mark.parametrize("n_cells", [1, 60])
def test_plot_embedding_draws_every_cell_by_time_and_by_group(legible, n_cells):
    cells = cells_table(n_cells)
    by_time, by_group = legible(plot_embedding(cells)).axes[:2]
    np.testing.assert_allclose(by_time.collections[0].get_offsets(), cells[["embedding_1", "embedding_2"]])
    np.testing.assert_allclose(by_time.collections[0].get_array(), cells["pseudotime"])
    sizes = {group.get_label(): len(group.get_offsets()) for group in by_group.collections}
    assert sizes == cells["cluster"].value_counts().to_dict()
    assert labels(by_group.get_legend().get_texts()) == sorted(sizes)


def test_plot_embedding_without_groups_has_one_panel(legible):
    figure = legible(plot_embedding(cells_table(20, clusters=())))
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == ["20 cells along pseudotime"]


def test_plot_embedding_samples_beyond_its_limit_but_counts_all(legible):
    axis = legible(plot_embedding(cells_table(50), max_cells=10)).axes[0]
    assert len(axis.collections[0].get_offsets()) == 10
    assert axis.get_title() == "50 cells along pseudotime"


# ---------------------------------------------------------------- candidates


def candidates(sources, targets, evidence="imported"):
    return pd.DataFrame({"source": sources, "target": targets, "evidence": evidence})


def test_plot_candidates_counts_tfs_of_genes_and_targets_of_tfs(legible):
    kinds = ["imported", "imported", "motif_atac", "imported", "curated+motif_atac"]
    genes, tfs, evidence = legible(plot_candidates(candidates(list("AAABC"), list("xyzxx"), kinds))).axes
    assert [patch.get_height() for patch in genes.patches] == [2, 0, 1]  # genes of 1, 2 and 3 TFs
    assert bars(tfs) == {"A": 3, "B": 1, "C": 1}
    assert labels(tfs.get_yticklabels())[-1] == "A"  # the largest on top
    assert bars(evidence) == {
        "imported network": 3,
        "motif in linked peak": 1,
        "curated list +\nmotif in linked peak": 1,
    }
    assert labels(evidence.get_yticklabels())[-1] == "imported network"


def test_plot_candidates_draws_a_single_edge_and_at_most_15_tfs(legible):
    genes, tfs, evidence = legible(plot_candidates(candidates(["A"], ["x"]))).axes
    assert [patch.get_height() for patch in genes.patches] == [1]
    assert bars(tfs) == {"A": 1}
    assert bars(evidence) == {"imported network": 1}
    for axis in (tfs, evidence):  # a single bar is a bar, not a block
        low, high = axis.get_ylim()
        assert axis.patches[0].get_height() < (high - low) / 4
    tfs = legible(plot_candidates(candidates([f"T{i}" for i in range(40)], "x"))).axes[1]
    assert len(tfs.patches) == 15
    assert tfs.get_title() == "TFs with most candidate targets (15 of 40)"


@pytest.mark.parametrize("n_sources", [39, 40, 41, 79, 500])
def test_plot_candidates_leaves_out_no_gene_of_many_tfs(legible, n_sources):
    prior = candidates([f"T{i}" for i in range(n_sources)] + ["T0"], ["x"] * n_sources + ["y"])
    genes = legible(plot_candidates(prior)).axes[0]
    assert sum(patch.get_height() for patch in genes.patches) == 2
    assert len(genes.patches) <= 41


# ---------------------------------------------------------------- evidence of the candidates


def test_plot_association_draws_a_single_gene_associated_or_not(legible):
    time = np.linspace(0, 1, 5)
    gene = {"lineage": "all", "gene": "x", "statistic": 9.0, "padj": 1e-9, "amplitude": 2.0, "is_associated": True}
    trend = pd.DataFrame({"gene": "x", "pseudotime": time, "expression": time**2})
    volcano, heat_map = legible(plot_association(pd.DataFrame([gene]), trend)).axes[:2]
    assert volcano.get_title() == "1 of 1 genes change along pseudotime"
    assert labels(heat_map.get_yticklabels()) == ["x"]
    still = pd.DataFrame([gene | {"is_associated": False}])
    assert labels(legible(plot_association(still, trend.head(0))).axes[1].texts) == ["no associated gene"]
    untested = still.assign(padj=np.nan, statistic=np.nan)
    volcano = legible(plot_association(untested, trend.head(0))).axes[0]
    assert volcano.get_title() == "0 of 0 genes change along pseudotime"


def links_table(distances_bp, is_linked=True):
    return pd.DataFrame(
        {
            "peak": [f"p{i}" for i in range(len(distances_bp))],
            "target": [f"g{i % 10}" for i in range(len(distances_bp))],
            "distance_bp": distances_bp,
            "correlation": 0.5,
            "zscore": 3.0,
            "pvalue": 0.01,
            "is_linked": is_linked,
        }
    )


def test_plot_links_has_a_point_for_each_distance_with_enough_pairs(legible):
    links = links_table([0] * 20 + [-4_000] * 30 + [80_000] * 19 + [2_000_000] * 25)
    links.loc[20:34, "is_linked"] = False
    scores, distance, counts = legible(plot_links(links)).axes
    assert scores.get_title().startswith("100.0% of pairs have z > 2")
    assert labels(distance.get_xticklabels()) == ["at TSS", "≤ 5", "> 1,000"]
    np.testing.assert_allclose(distance.lines[0].get_ydata().astype(float), [1, 0.5, 1])
    assert distance.get_title() == "79 of 94 pairs are linked"
    assert counts.get_title() == "10 of 10 genes have a link"


@pytest.mark.parametrize("is_linked", [True, False])
def test_plot_links_draws_a_single_pair(legible, is_linked):
    scores, distance, counts = legible(plot_links(links_table([0], is_linked))).axes
    assert scores.get_title().startswith("100.0%")
    assert labels(distance.texts) == ["fewer than 20 pairs at any distance"]
    assert counts.get_title() == f"{int(is_linked)} of 1 genes have a link"


def test_plot_links_of_promoters_alone_says_that_nothing_was_tested(legible):
    promoters = links_table([0, 0]).assign(correlation=np.nan, zscore=np.nan, pvalue=np.nan)
    scores, distance, counts = legible(plot_links(promoters)).axes
    assert labels(scores.texts) == ["no pair was tested"]
    assert distance.get_title() == "0 of 0 pairs are linked"
    assert counts.get_title() == "0 of 0 genes have a link"


def hits_tables(n_hits):
    """Motifs with these numbers of hits, all in one region."""
    motifs = pd.DataFrame({"motif": [f"M{i}" for i in range(len(n_hits))], "motif_name": "X", "n_hits": n_hits})
    return pd.DataFrame({"peak": ["p"] * sum(n_hits)}), motifs


@pytest.mark.parametrize(
    ("n_hits", "shown"),
    [
        ([1], {"1": 1}),
        ([7], {"7": 1}),
        ([0], {"0": 1}),
        ([0, 1, 3], {"0": 1, "1": 1, "2": 0, "3": 1}),
        ([0, 90, 95, 131], {"0": 1, "90–95": 2, "96–101": 0, "102–107": 0, "108–113": 0, "114–119": 0, "120–125": 0,
                            "126–131": 1}),
        ([3, 5, 5, 40], {"2–3": 1, "4–7": 2, "8–15": 0, "16–31": 0, "32–63": 1}),
    ],
)  # fmt: skip
def test_plot_hits_counts_motifs_in_bins_that_suit_them(legible, n_hits, shown):
    left, middle, right = legible(plot_hits(*hits_tables(n_hits))).axes
    heights = [patch.get_height() for patch in left.patches]
    assert dict(zip(labels(left.get_xticklabels()), heights, strict=True)) == shown
    assert bars(middle) == {f"X (M{i})": n for i, n in enumerate(n_hits)}
    assert sum(patch.get_height() for patch in right.patches) == (sum(n_hits) > 0)
    assert ("none has a hit" in right.get_title()) == (sum(n_hits) == 0)


def test_plot_hits_names_at_most_15_motifs_and_draws_one_as_a_bar(legible):
    middle = legible(plot_hits(*hits_tables(list(range(100, 140))))).axes[1]
    assert list(bars(middle).values()) == list(range(125, 140))
    assert middle.get_title() == "Motifs with most hits (15 of 40)"
    left, middle, _ = legible(plot_hits(*hits_tables([5]))).axes
    low, high = middle.get_ylim()
    assert middle.patches[0].get_height() < (high - low) / 4
    low, high = left.get_xlim()
    assert left.patches[0].get_width() < (high - low) / 4


# ---------------------------------------------------------------- training and evaluation


def history(n_epochs, validation):
    loss = np.linspace(1, 0.2, n_epochs)
    return pd.DataFrame(
        {"epoch": np.arange(1, n_epochs + 1), "loss": loss, "validation_loss": loss + 0.1 if validation else np.nan}
    )


def test_plot_history_draws_a_line_per_seed_and_a_dashed_one_where_held_out(legible):
    (axis,) = legible(plot_history({3: history(5, True), 0: history(1, False)})).axes
    assert [(line.get_linestyle(), len(line.get_xdata())) for line in axis.lines] == [("-", 1), ("-", 5), ("--", 5)]
    np.testing.assert_allclose(axis.lines[1].get_ydata(), history(5, True)["loss"])
    assert labels(axis.get_legend().get_texts()) == ["seed 0", "seed 3"]
    assert axis.get_title() == "Training loss of 2 seeds"


@pytest.mark.parametrize("methods", [["scmagnify"], ["random", "a new one", "scmagnify", "correlation"]])
def test_plot_scores_draws_a_bar_per_method_and_question(legible, methods):
    rows = [
        {"method": method, "truth": "chip", "prior_edges": asked, "auprc_ratio": 1 + 10 * i + j}
        for i, method in enumerate(methods)
        for j, asked in enumerate(("kept", "only"))
    ]
    (axis,) = legible(plot_scores(pd.DataFrame(rows))).axes
    heights = {bar.get_label(): [patch.get_height() for patch in bar] for bar in axis.containers}
    assert heights == {method: [1 + 10 * i, 2 + 10 * i] for i, method in enumerate(methods)}
    assert labels(axis.get_xticklabels()) == ["chip\nprior edges kept", "chip\nprior edges only"]
    assert axis.lines[0].get_ydata()[0] == 1  # random
    spans = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in itertools.pairwise(spans))


def test_plot_scores_sets_networks_made_elsewhere_beside_ours_in_colours_of_their_own(legible):
    names = ["random", "celloracle", "scmagnify", "SCENIC+", "ridge"]
    rows = pd.DataFrame({"method": names, "truth": "chip", "prior_edges": "kept", "auprc_ratio": 2.0})
    (axis,) = legible(plot_scores(rows)).axes
    shown = [bar.get_label() for bar in axis.containers]
    assert shown == ["scmagnify", "SCENIC+", "celloracle", "ridge", "random"]
    assert len({bar[0].get_facecolor() for bar in axis.containers}) == len(names)


def test_plot_scores_leaves_a_gap_where_a_method_has_no_score(legible):
    rows = pd.DataFrame(
        {
            "method": ["scmagnify", "scmagnify", "random"], "truth": "chip", "prior_edges": ["kept", "only", "kept"],
            "auprc_ratio": [3.0, 2.0, 1.0],
        }
    )  # fmt: skip
    (axis,) = legible(plot_scores(rows)).axes
    assert np.isnan(axis.containers[1][1].get_height())


@pytest.mark.parametrize("n_datasets", [1, 3])
def test_plot_leaderboard_draws_means_intervals_and_data_sets(legible, n_datasets):
    rows = [
        {"dataset": f"d{i}", "truth": "chip", "prior_edges": asked, "method": method, "auprc_ratio": ratio + i}
        for i in range(n_datasets)
        for asked in ("kept", "only", "removed")
        for method, ratio in (("scmagnify", 4.0), ("a new one", 2.0), ("random", 1.0))
    ]
    same = {"preset": "recommended", "variant": "canonical", "epr": 1.0, "runtime_s": 0.1, "peak_memory_mib": 1.0}
    scores = pd.DataFrame(rows).assign(**same)
    axes = legible(plot_leaderboard(leaderboard(scores), scores)).axes
    counted = f"data sets: {n_datasets}"
    assert [axis.get_title() for axis in axes] == [f"Order of the candidates, {counted}", f"Whole truth, {counted}"]
    assert labels(axes[0].get_yticklabels()) == ["random  (3.0)", "a new one  (2.0)", "scmagnify  (1.0)"]
    dots = [line.get_xdata() for line in axes[0].lines[:3]]
    np.testing.assert_array_equal(dots[2], 4.0 + np.arange(n_datasets))
    means = axes[0].collections[-1].get_offsets()[:, 0]
    np.testing.assert_allclose(means, np.array([1.0, 2.0, 4.0]) + (n_datasets - 1) / 2)


# ---------------------------------------------------------------- where they are found


def test_docs_have_a_call_for_each_public_figure_and_name_real_tables():
    text = (Path(__file__).parents[3] / "docs" / "plots.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(plot_\w+)\(", text, re.MULTILINE)) == set(plots.__all__)
    assert set(re.findall(r"read\(\"(\w+)\"", text)) <= set(TABLES)
    assert set(re.findall(r"`(plot_\w+)`", text)) <= set(plots.__all__)


def test_importing_the_figures_imports_neither_matplotlib_nor_the_method():
    code = "import sys, scmagnify_core.plots; print({'matplotlib', 'anndata', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---------------------------------------------------------------- odd tables

LONG = "a-very-long-name-that-nobody-would-write-by-hand-"


@pytest.mark.parametrize("state", ["empty", "long names", "many"])
def test_figures_of_data_and_evidence_are_legible_whatever_they_hold(legible, state):
    n = {"empty": 0, "long names": 12, "many": 120}[state]
    prefix = LONG if state == "long names" else ""
    names = [f"{prefix}n{i}" for i in range(n)]
    legible(plot_embedding(cells_table(n, clusters=names or "a")))
    legible(plot_candidates(candidates(names, names, "+".join(["imported", "curated", "motif_atac"]))))
    legible(plot_links(links_table([100 * i for i in range(n)])))
    hits, motifs = hits_tables([7 * i for i in range(n)])
    legible(plot_hits(hits, motifs.assign(motif=names, motif_name=names)))
    legible(plot_history({seed: history(5, True) for seed in range(min(n, 20))}))
    scores = pd.DataFrame(
        [
            {"method": method, "truth": f"{prefix}truth", "prior_edges": asked, "auprc_ratio": 2.0}
            for method in ("scmagnify", "random") for asked in ("kept", "only", "removed")
        ],
        columns=["method", "truth", "prior_edges", "auprc_ratio"],
    )  # fmt: skip
    legible(plot_scores(scores if n else scores.head(0)))
    time = np.linspace(0, 1, 5)
    genes = pd.DataFrame({"lineage": "all", "gene": names, "statistic": 9.0, "padj": 1e-9, "amplitude": 2.0})
    trends = pd.concat(
        [pd.DataFrame({"gene": name, "pseudotime": time, "expression": time}) for name in ["x", *names]]
    )
    legible(plot_association(genes.assign(is_associated=True), trends[trends["gene"].isin(names)]))
