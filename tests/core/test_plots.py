"""Figures hold what their tables say; drawing them to pixels works."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scmagnify_core.leaderboard import leaderboard
from scmagnify_core.plots.activity import plot_activity
from scmagnify_core.plots.association import plot_association
from scmagnify_core.plots.communication import plot_communication
from scmagnify_core.plots.dataset import plot_embedding
from scmagnify_core.plots.evaluation import plot_leaderboard, plot_scores
from scmagnify_core.plots.network import plot_network
from scmagnify_core.plots.peak_gene_links import plot_links
from scmagnify_core.plots.prior import plot_candidates
from scmagnify_core.plots.regfactors import plot_regfactors
from scmagnify_core.plots.style import ACTIVATES, REPRESSES, new_figure
from scmagnify_core.plots.tf_binding import plot_hits
from scmagnify_core.plots.training import plot_history


def drawn(figure):
    """Render the figure, as the UI does, and return it."""
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=30)
        assert stream.getvalue().startswith(b"\x89PNG")
    return figure


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def bars(axis):
    """Widths of horizontal bars by their label."""
    widths = [patch.get_width() for patch in axis.patches]
    return dict(zip(labels(axis.get_yticklabels()), widths, strict=True))


def colors(axis):
    return [to_hex(patch.get_facecolor()).upper() for patch in axis.patches]


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

    figure, axes = new_figure(5, 2, 3)
    assert len(axes) == len(figure.axes) == 3
    assert tuple(figure.get_size_inches()) == (5, 2)
    assert not axes[0].spines["top"].get_visible()
    assert not pyplot.get_fignums()


# ---------------------------------------------------------------- data sets


@pytest.mark.parametrize("n_cells", [1, 60])
def test_plot_embedding_draws_every_cell_by_time_and_by_group(n_cells):
    cells = cells_table(n_cells)
    by_time, by_group = drawn(plot_embedding(cells)).axes[:2]
    np.testing.assert_allclose(by_time.collections[0].get_offsets(), cells[["embedding_1", "embedding_2"]])
    np.testing.assert_allclose(by_time.collections[0].get_array(), cells["pseudotime"])
    sizes = {group.get_label(): len(group.get_offsets()) for group in by_group.collections}
    assert sizes == cells["cluster"].value_counts().to_dict()
    assert labels(by_group.get_legend().get_texts()) == sorted(sizes)


def test_plot_embedding_without_groups_has_one_panel():
    figure = drawn(plot_embedding(cells_table(20, clusters=())))
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == ["20 cells along pseudotime"]


def test_plot_embedding_samples_beyond_its_limit_but_counts_all():
    axis = drawn(plot_embedding(cells_table(50), max_cells=10)).axes[0]
    assert len(axis.collections[0].get_offsets()) == 10
    assert axis.get_title() == "50 cells along pseudotime"


# ---------------------------------------------------------------- candidates


def candidates(sources, targets, evidence="imported"):
    return pd.DataFrame({"source": sources, "target": targets, "evidence": evidence})


def test_plot_candidates_counts_tfs_of_genes_and_targets_of_tfs():
    kinds = ["imported", "imported", "motif_atac", "imported", "curated+motif_atac"]
    genes, tfs, evidence = drawn(plot_candidates(candidates(list("AAABC"), list("xyzxx"), kinds))).axes
    assert [patch.get_height() for patch in genes.patches] == [2, 0, 1]  # genes of 1, 2 and 3 TFs
    assert bars(tfs) == {"A": 3, "B": 1, "C": 1}
    assert labels(tfs.get_yticklabels())[-1] == "A"  # the largest on top
    assert bars(evidence) == {
        "imported network": 3,
        "motif in linked peak": 1,
        "curated list +\nmotif in linked peak": 1,
    }
    assert labels(evidence.get_yticklabels())[-1] == "imported network"


def test_plot_candidates_draws_a_single_edge_and_at_most_15_tfs():
    genes, tfs, evidence = drawn(plot_candidates(candidates(["A"], ["x"]))).axes
    assert [patch.get_height() for patch in genes.patches] == [1]
    assert bars(tfs) == {"A": 1}
    assert bars(evidence) == {"imported network": 1}
    for axis in (tfs, evidence):  # a single bar is a bar, not a block
        low, high = axis.get_ylim()
        assert axis.patches[0].get_height() < (high - low) / 4
    tfs = drawn(plot_candidates(candidates([f"T{i}" for i in range(40)], "x"))).axes[1]
    assert len(tfs.patches) == 15
    assert tfs.get_title() == "TFs with most candidate targets (15 of 40)"


@pytest.mark.parametrize("n_sources", [39, 40, 41, 79, 500])
def test_plot_candidates_leaves_out_no_gene_of_many_tfs(n_sources):
    prior = candidates([f"T{i}" for i in range(n_sources)] + ["T0"], ["x"] * n_sources + ["y"])
    genes = drawn(plot_candidates(prior)).axes[0]
    assert sum(patch.get_height() for patch in genes.patches) == 2
    assert len(genes.patches) <= 41


# ---------------------------------------------------------------- evidence of the candidates


def test_plot_association_draws_a_single_gene_associated_or_not():
    time = np.linspace(0, 1, 5)
    gene = {"lineage": "all", "gene": "x", "statistic": 9.0, "padj": 1e-9, "amplitude": 2.0, "is_associated": True}
    trend = pd.DataFrame({"gene": "x", "pseudotime": time, "expression": time**2})
    volcano, heat_map = drawn(plot_association(pd.DataFrame([gene]), trend)).axes[:2]
    assert volcano.get_title() == "1 of 1 genes change along pseudotime"
    assert labels(heat_map.get_yticklabels()) == ["x"]
    still = pd.DataFrame([gene | {"is_associated": False}])
    assert labels(drawn(plot_association(still, trend.head(0))).axes[1].texts) == ["no associated gene"]
    untested = still.assign(padj=np.nan, statistic=np.nan)
    volcano = drawn(plot_association(untested, trend.head(0))).axes[0]
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


def test_plot_links_has_a_point_for_each_distance_with_enough_pairs():
    links = links_table([0] * 20 + [-4_000] * 30 + [80_000] * 19 + [2_000_000] * 25)
    links.loc[20:34, "is_linked"] = False
    scores, distance, counts = drawn(plot_links(links)).axes
    assert scores.get_title().startswith("100.0% of pairs have z > 2")
    assert labels(distance.get_xticklabels()) == ["at TSS", "≤ 5", "> 1,000"]
    np.testing.assert_allclose(distance.lines[0].get_ydata().astype(float), [1, 0.5, 1])
    assert distance.get_title() == "79 of 94 pairs are linked"
    assert counts.get_title() == "10 of 10 genes have a link"


@pytest.mark.parametrize("is_linked", [True, False])
def test_plot_links_draws_a_single_pair(is_linked):
    scores, distance, counts = drawn(plot_links(links_table([0], is_linked))).axes
    assert scores.get_title().startswith("100.0%")
    assert labels(distance.texts) == ["fewer than 20 pairs at any distance"]
    assert counts.get_title() == f"{int(is_linked)} of 1 genes have a link"


def test_plot_links_of_promoters_alone_says_that_nothing_was_tested():
    promoters = links_table([0, 0]).assign(correlation=np.nan, zscore=np.nan, pvalue=np.nan)
    scores, distance, counts = drawn(plot_links(promoters)).axes
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
def test_plot_hits_counts_motifs_in_bins_that_suit_them(n_hits, shown):
    left, middle, right = drawn(plot_hits(*hits_tables(n_hits))).axes
    heights = [patch.get_height() for patch in left.patches]
    assert dict(zip(labels(left.get_xticklabels()), heights, strict=True)) == shown
    assert bars(middle) == {f"X (M{i})": n for i, n in enumerate(n_hits)}
    assert sum(patch.get_height() for patch in right.patches) == (sum(n_hits) > 0)
    assert ("none has a hit" in right.get_title()) == (sum(n_hits) == 0)


def test_plot_hits_names_at_most_15_motifs_and_draws_one_as_a_bar():
    middle = drawn(plot_hits(*hits_tables(list(range(100, 140))))).axes[1]
    assert list(bars(middle).values()) == list(range(125, 140))
    assert middle.get_title() == "Motifs with most hits (15 of 40)"
    left, middle, _ = drawn(plot_hits(*hits_tables([5]))).axes
    low, high = middle.get_ylim()
    assert middle.patches[0].get_height() < (high - low) / 4
    low, high = left.get_xlim()
    assert left.patches[0].get_width() < (high - low) / 4


# ---------------------------------------------------------------- networks


def edges_table(n_edges):
    score = np.linspace(1, 0.1, n_edges)
    return pd.DataFrame(
        {
            "source": [f"T{i}" for i in range(n_edges)],
            "target": "x",
            "score": score,
            "signed_score": score * np.where(np.arange(n_edges) % 2, -1, 1),
            "score_sd": 0.01,
            "lag": np.linspace(1, 5, n_edges),
            "rank": np.arange(1, n_edges + 1),
            "is_selected": np.arange(n_edges) < 30,
        }
    )


@pytest.mark.parametrize("n_edges", [1, 40])
def test_plot_network_draws_the_strongest_edges_and_the_lags_of_selected_ones(n_edges):
    edges = edges_table(n_edges)
    left, right = drawn(plot_network(edges.sample(frac=1, random_state=0), n_top=20)).axes
    shown = edges.head(20)[::-1]
    expected = dict(zip(shown["source"] + " → " + shown["target"], shown["score"], strict=True))
    assert bars(left) == pytest.approx(expected)
    assert list(bars(left)) == list(expected)
    assert colors(left) == [ACTIVATES if value >= 0 else REPRESSES for value in shown["signed_score"]]
    assert sum(abs(patch.get_height()) for patch in right.patches) == edges["is_selected"].sum()
    assert right.get_title() == f"Lags of {edges['is_selected'].sum()} selected edges"


def test_plot_network_draws_a_network_without_selected_edges():
    right = drawn(plot_network(edges_table(5).assign(is_selected=False))).axes[1]
    assert right.get_title() == "Lags of 0 selected edges"
    assert sum(patch.get_height() for patch in right.patches) == 0


# ---------------------------------------------------------------- training and evaluation


def history(n_epochs, validation):
    loss = np.linspace(1, 0.2, n_epochs)
    return pd.DataFrame(
        {"epoch": np.arange(1, n_epochs + 1), "loss": loss, "validation_loss": loss + 0.1 if validation else np.nan}
    )


def test_plot_history_draws_a_line_per_seed_and_a_dashed_one_where_held_out():
    (axis,) = drawn(plot_history({3: history(5, True), 0: history(1, False)})).axes
    assert [(line.get_linestyle(), len(line.get_xdata())) for line in axis.lines] == [("-", 1), ("-", 5), ("--", 5)]
    np.testing.assert_allclose(axis.lines[1].get_ydata(), history(5, True)["loss"])
    assert labels(axis.get_legend().get_texts()) == ["seed 0", "seed 3"]
    assert axis.get_title() == "Training loss of 2 seeds"


@pytest.mark.parametrize("methods", [["scmagnify"], ["random", "prior", "scmagnify", "correlation"]])
def test_plot_scores_draws_a_bar_per_method_and_question(methods):
    rows = [
        {"method": method, "truth": "chip", "prior_edges": asked, "auprc_ratio": 1 + 10 * i + j}
        for i, method in enumerate(methods)
        for j, asked in enumerate(("kept", "only"))
    ]
    (axis,) = drawn(plot_scores(pd.DataFrame(rows))).axes
    heights = {bar.get_label(): [patch.get_height() for patch in bar] for bar in axis.containers}
    assert heights == {method: [1 + 10 * i, 2 + 10 * i] for i, method in enumerate(methods)}
    assert labels(axis.get_xticklabels()) == ["chip\nprior edges kept", "chip\nprior edges only"]
    assert axis.lines[0].get_ydata()[0] == 1  # random
    spans = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in itertools.pairwise(spans))


def test_plot_scores_leaves_a_gap_where_a_method_has_no_score():
    rows = pd.DataFrame(
        {
            "method": ["scmagnify", "scmagnify", "random"], "truth": "chip", "prior_edges": ["kept", "only", "kept"],
            "auprc_ratio": [3.0, 2.0, 1.0],
        }
    )  # fmt: skip
    (axis,) = drawn(plot_scores(rows)).axes
    assert np.isnan(axis.containers[1][1].get_height())


@pytest.mark.parametrize("n_datasets", [1, 3])
def test_plot_leaderboard_draws_means_intervals_and_data_sets(n_datasets):
    rows = [
        {"dataset": f"d{i}", "truth": "chip", "prior_edges": asked, "method": method, "auprc_ratio": ratio + i}
        for i in range(n_datasets)
        for asked in ("kept", "only", "removed")
        for method, ratio in (("scmagnify", 4.0), ("a new one", 2.0), ("random", 1.0))
    ]
    same = {"preset": "recommended", "variant": "canonical", "epr": 1.0, "runtime_s": 0.1}
    scores = pd.DataFrame(rows).assign(**same)
    axes = drawn(plot_leaderboard(leaderboard(scores), scores)).axes
    counted = f"data sets: {n_datasets}"
    assert [axis.get_title() for axis in axes] == [f"Order of the candidates, {counted}", f"Whole truth, {counted}"]
    assert labels(axes[0].get_yticklabels()) == ["random  (3.0)", "a new one  (2.0)", "scmagnify  (1.0)"]
    dots = [line.get_xdata() for line in axes[0].lines[:3]]
    np.testing.assert_array_equal(dots[2], 4.0 + np.arange(n_datasets))
    means = axes[0].collections[-1].get_offsets()[:, 0]
    np.testing.assert_allclose(means, np.array([1.0, 2.0, 4.0]) + (n_datasets - 1) / 2)


# ---------------------------------------------------------------- RegFactors, activities, signalling


def regfactor_tables(n_factors, n_lags=3, n_names=10):
    factors = pd.DataFrame(
        {
            "regfactor": [f"RF{i + 1}" for i in range(n_factors)],
            "energy_share": np.linspace(0.5, 0.1, n_factors),
            "link_share": 0.5,
        }
    )
    rows = []
    for i, name in enumerate(factors["regfactor"]):
        rows += [(name, "lag", str(lag), 0.1 * lag + i) for lag in range(n_lags, 0, -1)]
        rows += [
            (name, mode, f"{mode}{j}", (-1) ** j * (j + 1)) for mode in ("source", "target") for j in range(n_names)
        ]
    return factors, pd.DataFrame(rows, columns=["regfactor", "mode", "name", "loading"])


@pytest.mark.parametrize("n_factors", [1, 3, 8])
def test_plot_regfactors_draws_lags_tfs_and_targets_of_each(n_factors):
    factors, loadings = regfactor_tables(n_factors)
    axes = drawn(plot_regfactors(factors, loadings, n_top=4)).axes
    assert len(axes) == 3 * min(6, n_factors)
    for i in range(min(6, n_factors)):
        lag, source, target = axes[3 * i : 3 * i + 3]
        assert lag.get_title().startswith(f"RF{i + 1}: ")
        assert labels(lag.get_xticklabels()) == ["1", "2", "3"]
        assert [patch.get_height() for patch in lag.patches] == pytest.approx([0.1 + i, 0.2 + i, 0.3 + i])
        assert bars(source) == {"source6": 7, "source7": -8, "source8": 9, "source9": -10}
        assert list(bars(target)) == ["target6", "target7", "target8", "target9"]
        assert colors(target) == [ACTIVATES, REPRESSES, ACTIVATES, REPRESSES]


@pytest.mark.parametrize(("n_cells", "n_sources"), [(1, 1), (30, 2), (120, 40)])
def test_plot_activity_draws_the_rows_of_largest_variance(n_cells, n_sources):
    cells = cells_table(n_cells)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            {"cell": cell, "source": f"T{i:02d}", "activity": i * rng.normal()}
            for cell in cells["cell"]
            for i in range(n_sources)
        ]
    )
    axis = drawn(plot_activity(table, cells, "source", n_top=10)).axes[0]
    n_rows = min(10, n_sources)
    assert axis.images[0].get_array().shape == (n_rows, min(50, n_cells))
    assert len(axis.get_yticklabels()) == n_rows
    shown = axis.images[0].get_array()
    peaks = shown.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all()
    if n_cells == 30:  # one bin per cell: the image is the table
        wide = table.pivot(index="source", columns="cell", values="activity")[cells["cell"]]
        np.testing.assert_allclose(shown, wide.loc[labels(axis.get_yticklabels())])


PAIRS = pd.DataFrame(
    {
        "sender": ["s1", "s1", "s2"], "receiver": ["r1", "r2", "r1"], "ligand": ["L1", "L1", "L2"],
        "receptor": ["R1", "R1", "R2"], "score": [1.0, 2.0, 3.0], "padj": [0.01, 1.0, 0.0],
    }
)  # fmt: skip
CASCADES = pd.DataFrame(
    {
        "sender": "s1", "receiver": ["r1", "r2", "r1"], "ligand": "L1", "receptor": "R1", "tf": ["A", "A", "B"],
        "lag": [1, 1, 2], "receptor_tf_association": [0.5, 0.5, -0.5], "score": [0.4, 0.9, 0.6],
        "padj": [0.5, 0.1, 0.2],
    }
)  # fmt: skip


def test_plot_communication_draws_a_dot_per_pair_and_route_and_a_bar_per_cascade():
    left, right = drawn(plot_communication({"ligand_receptor": PAIRS, "communication_scores": CASCADES})).axes[:2]
    dots = left.collections[0]
    x, y = labels(left.get_xticklabels()), labels(left.get_yticklabels())
    at = {(x[int(i)], y[int(j)]) for i, j in np.asarray(dots.get_offsets())}
    assert at == {("s1 → r1", "L1 → R1"), ("s1 → r2", "L1 → R1"), ("s2 → r1", "L2 → R2")}
    assert sorted(dots.get_array()) == [1.0, 2.0, 3.0]
    assert np.isfinite(dots.get_sizes()).all()  # a padj of 0 has a dot, too
    assert bars(right) == {"L1 → R1 → A (lag 1)": 0.9, "L1 → R1 → B (lag 2)": 0.6}
    assert sorted(colors(right)) == sorted([ACTIVATES, REPRESSES])


@pytest.mark.parametrize("empty", ["ligand_receptor", "communication_scores", "both"])
def test_plot_communication_says_which_part_is_empty(empty):
    tables = {"ligand_receptor": PAIRS.head(1), "communication_scores": CASCADES.head(1)}
    said = {"ligand_receptor": "no ligand-receptor pair found", "communication_scores": "no cascade found"}
    names = list(tables) if empty == "both" else [empty]
    for name in names:
        tables[name] = tables[name][:0]
    figure = drawn(plot_communication(tables))
    for axis, name in zip(figure.axes, said, strict=False):
        texts = labels(axis.texts)
        assert (said[name] in texts) == (name in names)
