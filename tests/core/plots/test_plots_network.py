"""Figures of the network hold what its tables say, for one gene, over seeds, and against another network."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from scmagnify_core import plots
from scmagnify_core.errors import InputError
from scmagnify_core.plots.style import ACTIVATES, REPRESSES, check_names, fit

LONG = "a-very-long-name-of-a-gene-that-nobody-would-write-by-hand-"


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def edges_table(n_sources=12, n_targets=20, n_seeds=3, seed=0, prefix=""):
    """Every TF on every gene but itself, scores falling fast, a tenth selected."""
    rng = np.random.default_rng(seed)
    sources = [f"{prefix}T{i}" for i in range(n_sources)]
    targets = sources + [f"{prefix}g{i}" for i in range(n_targets)]
    pairs = [(source, target) for source in sources for target in targets if source != target]
    score = rng.gamma(0.5, 0.2, len(pairs)).astype(np.float32)
    order = np.argsort(-score)
    rank = np.empty(len(pairs), dtype=np.int32)
    rank[order] = np.arange(1, len(pairs) + 1)
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    return frame.assign(
        score=score, signed_score=score * np.where(rng.random(len(pairs)) < 0.6, 1, -1).astype(np.float32),
        lag=rng.uniform(1, 5, len(pairs)).astype(np.float32), n_seeds=np.int16(n_seeds),
        stability=(rng.integers(0, n_seeds + 1, len(pairs)) / n_seeds).astype(np.float32), score_sd=score * 0.1,
        rank=rank, is_selected=rank <= max(1, len(pairs) // 10),
    )  # fmt: skip


def bars(axis):
    """Widths of horizontal bars by their label."""
    widths = [patch.get_width() for patch in axis.patches]
    return dict(zip(labels(axis.get_yticklabels()), widths, strict=True))


def colors(axis):
    return [to_hex(patch.get_facecolor()).upper() for patch in axis.patches]


def shuffled(frame):
    return frame.sample(frac=1, random_state=1)


# ---------------------------------------------------------------- names


def test_check_names_gives_each_name_once_and_near_spellings_of_those_that_are_not_there():
    assert check_names("gene", ["b", "a", "b"], ["a", "b", "c"]) == ["b", "a"]
    with pytest.raises(InputError, match=r"gene 'GATA1': is not among the 3.*Near spellings: 'Gata1', 'Gata2'"):
        check_names("gene", ["GATA1"], ["Gata1", "Gata2", "Sox9"])
    with pytest.raises(InputError, match=r"There are 'Gata1', 'Sox9'"):
        check_names("gene", ["Xyz"], ["Gata1", "Sox9"])


def test_fit_keeps_both_ends_of_a_name_that_is_too_long():
    assert fit("Gata1") == "Gata1"
    assert fit("x" * 20) == "x" * 20
    cut = fit("ENSMUSG00000012345.12")
    assert (len(cut), cut[:5], cut[-3:]) == (20, "ENSMU", ".12")


# ---------------------------------------------------------------- all edges


def test_plot_lags_counts_selected_edges_of_each_sign(legible):
    edges = edges_table()
    (axis,) = legible(plots.plot_lags(shuffled(edges))).axes
    selected = edges[edges["is_selected"]]
    for patches, sign in zip(axis.containers, (1, -1), strict=True):
        lags = selected.loc[np.sign(selected["signed_score"]) == sign, "lag"]
        for patch in patches:
            low, high = patch.get_x(), patch.get_x() + patch.get_width()
            assert patch.get_height() == sign * ((lags >= low) & (lags < high)).sum()
        assert sum(abs(patch.get_height()) for patch in patches) == len(lags)
    up = selected.loc[selected["signed_score"] > 0, "lag"]
    assert labels(axis.get_legend().get_texts())[0] == f"{len(up)} activate, median {up.median():.1f}"


def test_plot_lags_draws_edges_of_one_lag_and_sign(legible):
    edges = edges_table().assign(lag=5.0)
    edges["signed_score"] = edges["score"]
    (axis,) = legible(plots.plot_lags(edges)).axes
    assert sum(patch.get_height() for patch in axis.patches) == edges["is_selected"].sum()
    assert labels(axis.get_legend().get_texts())[1] == "0 repress"


def lagged(edges, n_lags=5):
    rng = np.random.default_rng(0)
    parts = [
        edges[["source", "target"]].assign(lag=lag, magnitude=rng.random(len(edges)).astype(np.float32))
        for lag in range(1, n_lags + 1)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("n_lags", "n_top"), [(5, 4), (1, 30), (12, 30)])
def test_plot_lag_heatmap_sums_magnitudes_and_orders_tfs_by_mean_lag(legible, n_lags, n_top):
    table = lagged(edges_table(), n_lags)
    axis = legible(plots.plot_lag_heatmap(shuffled(table), n_top)).axes[0]
    image, names = axis.images[0].get_array(), labels(axis.get_yticklabels())
    assert image.shape == (min(n_top, 12), n_lags)
    totals = {name: table.loc[table["source"] == name, "magnitude"].sum() for name in table["source"].unique()}
    assert set(names) == set(sorted(totals, key=lambda name: -totals[name])[:n_top])
    for row, name in enumerate(names):
        for lag in range(1, n_lags + 1):
            here = (table["source"] == name) & (table["lag"] == lag)
            assert image[row, lag - 1] == pytest.approx(table.loc[here, "magnitude"].sum(), rel=1e-5)
    mean = (image @ np.arange(1, n_lags + 1)) / image.sum(axis=1)
    assert (np.diff(mean) >= -1e-9).all()
    np.testing.assert_allclose(axis.lines[0].get_xdata(), mean)
    assert axis.get_title() == ("When 4 of 12 TFs act" if n_top == 4 else "When 12 TFs act")


def test_plot_lag_heatmap_leaves_out_tfs_without_a_weight(legible):
    table = lagged(edges_table())
    table.loc[table["source"] != "T3", "magnitude"] = 0
    axis = legible(plots.plot_lag_heatmap(table)).axes[0]
    assert labels(axis.get_yticklabels()) == ["T3"]
    assert axis.get_title() == "When 1 TF acts"


def test_plot_ranking_sums_scores_and_counts_targets_by_sign(legible):
    edges = edges_table()
    left, right = legible(plots.plot_ranking(shuffled(edges), n_top=6)).axes
    selected = edges[edges["is_selected"]].astype({"score": float})
    total = selected.groupby("source")["score"].sum().sort_values(ascending=False)
    names = labels(left.get_yticklabels())
    assert names == list(total.index[:6][::-1])
    for axis, count in ((left, False), (right, True)):
        for bars, sign in zip(axis.containers, (1, -1), strict=True):
            for name, patch in zip(names, bars, strict=True):
                part = selected[(selected["source"] == name) & (np.sign(selected["signed_score"]) == sign)]
                assert patch.get_width() == pytest.approx(len(part) if count else part["score"].sum())
    assert left.get_title() == f"6 of {len(total)} TFs by summed score"
    top = selected[selected["source"] == names[-1]]
    assert labels(right.texts)[-1].strip() == f"{(top['signed_score'] > 0).mean():.0%} activate"


def ranked_edges(n_edges):
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
def test_plot_network_draws_the_strongest_edges_and_the_lags_of_selected_ones(legible, n_edges):
    edges = ranked_edges(n_edges)
    left, right = legible(plots.plot_network(edges.sample(frac=1, random_state=0), n_top=20)).axes
    shown = edges.head(20)[::-1]
    expected = dict(zip(shown["source"] + " → " + shown["target"], shown["score"], strict=True))
    assert bars(left) == pytest.approx(expected)
    assert list(bars(left)) == list(expected)
    assert colors(left) == [ACTIVATES if value >= 0 else REPRESSES for value in shown["signed_score"]]
    assert sum(abs(patch.get_height()) for patch in right.patches) == edges["is_selected"].sum()
    assert right.get_title() == f"Lags of {edges['is_selected'].sum()} selected edges"


def test_plot_network_draws_a_network_without_selected_edges(legible):
    right = legible(plots.plot_network(ranked_edges(5).assign(is_selected=False))).axes[1]
    assert right.get_title() == "Lags of 0 selected edges"
    assert sum(patch.get_height() for patch in right.patches) == 0


# ---------------------------------------------------------------- one gene


def nodes(axis):
    """Row by row from the top: name, lag (negative before the gene) and fill of each neighbour."""
    points = [line for line in axis.lines if line.get_marker() == "o"]
    names = [text.get_text() for text in axis.texts if hasattr(text, "xyann")]
    found = [
        (name, float(line.get_xdata()[0]), line.get_markerfacecolor() == "black", float(line.get_ydata()[0]))
        for name, line in zip(names, points, strict=True)
    ]
    return sorted(found, key=lambda one: (one[1] > 0, -one[3]))


def arrows(axis):
    return [patch for patch in axis.patches if isinstance(patch, FancyArrowPatch)]


def test_plot_neighbourhood_draws_the_strongest_regulators_before_and_targets_after_the_gene(legible):
    edges = edges_table()
    (axis,) = legible(plots.plot_neighbourhood(shuffled(edges), "T4", n_top=10)).axes
    into = edges[edges["target"] == "T4"].nlargest(5, "score")
    out = edges[edges["source"] == "T4"].nlargest(5, "score")
    expected = [(name, -lag) for name, lag in zip(into["source"], into["lag"], strict=True)]
    expected += [(name, lag) for name, lag in zip(out["target"], out["lag"], strict=True)]
    found = nodes(axis)
    assert [name for name, *_ in found] == [name for name, _ in expected]
    assert [lag for _, lag, *_ in found] == pytest.approx([lag for _, lag in expected])
    assert [is_tf for _, _, is_tf, _ in found] == [name.startswith("T") for name, _ in expected]
    shown = pd.concat([into, out])
    assert [to_hex(patch.get_edgecolor()).upper() for patch in arrows(axis)] == [
        ACTIVATES if value > 0 else REPRESSES for value in shown["signed_score"]
    ]
    assert [patch.get_arrowstyle().arrow for patch in arrows(axis)] == [
        "-|>" if value > 0 else "|-|" for value in shown["signed_score"]
    ]
    widths = [patch.get_linewidth() for patch in arrows(axis)]
    assert np.argsort(widths, kind="stable").tolist() == np.argsort(shown["score"], kind="stable").tolist()
    assert [patch.get_linestyle() in ("-", "solid") for patch in arrows(axis)] == shown["is_selected"].tolist()
    assert axis.get_title() == "T4: 5 of 11 regulators and 5 of 31 targets"


@pytest.mark.parametrize(
    ("n_top", "n_into", "n_out"), [(1, 1, 0), (2, 1, 1), (20, 10, 10), (40, 11, 29), (300, 11, 31)]
)
def test_plot_neighbourhood_shares_its_rows_out_between_both_sides(legible, n_top, n_into, n_out):
    found = nodes(legible(plots.plot_neighbourhood(edges_table(), "T4", n_top)).axes[0])
    assert sum(lag < 0 for _, lag, *_ in found) == n_into
    assert sum(lag > 0 for _, lag, *_ in found) == n_out


def test_plot_neighbourhood_gives_a_gene_that_is_no_tf_regulators_only(legible):
    (axis,) = legible(plots.plot_neighbourhood(edges_table(), "g3")).axes
    assert len(nodes(axis)) == 12
    assert axis.get_title() == "g3: 12 regulators and 0 targets"


def test_plot_neighbourhood_leaves_out_edges_without_a_score_and_the_gene_itself(legible):
    edges = edges_table()
    itself = edges.head(1).assign(source="T4", target="T4", score=9.0)
    (axis,) = legible(plots.plot_neighbourhood(pd.concat([edges.assign(score=0.0), itself]), "T4")).axes
    assert nodes(axis) == []
    assert "no edge has a score" in labels(axis.texts)


def test_plot_neighbourhood_names_near_spellings_of_an_unknown_gene():
    with pytest.raises(InputError, match=r"gene 't11': is not among the 32.*Near spellings: 'T11'"):
        plots.plot_neighbourhood(edges_table(), "t11")
    with pytest.raises(InputError, match=r"gene 'T1': is not among the 0"):
        plots.plot_neighbourhood(edges_table().head(0), "T1")


# ---------------------------------------------------------------- seeds, and two networks


def agreement_table(n_seeds):
    rows = [(a, b, 10, 0.1 * (a + b) % 1, 0.5) for a in range(n_seeds) for b in range(a + 1, n_seeds)]
    return pd.DataFrame(rows, columns=["seed_a", "seed_b", "n_top", "jaccard", "spearman"])


@pytest.mark.parametrize("n_seeds", [2, 5, 20])
def test_plot_stability_draws_spread_seeds_and_overlaps(legible, n_seeds):
    edges, agreement = edges_table(n_seeds=n_seeds), agreement_table(n_seeds)
    left, middle, right = legible(plots.plot_stability(shuffled(edges), shuffled(agreement))).axes[:3]
    selected = edges[edges["is_selected"]]
    drawn = np.asarray(left.collections[1].get_offsets())
    np.testing.assert_allclose(
        sorted(map(tuple, drawn)), sorted(zip(selected["score"], selected["score_sd"], strict=True))
    )
    assert [patch.get_height() for patch in middle.patches] == [
        (np.round(selected["stability"] * n_seeds) == n).sum() for n in range(n_seeds + 1)
    ]
    matrix = np.asarray(right.images[0].get_array().filled(np.nan))
    for row in agreement.itertuples():
        assert matrix[row.seed_a, row.seed_b] == matrix[row.seed_b, row.seed_a] == pytest.approx(row.jaccard)
    assert np.isnan(np.diag(matrix)).all()


def test_plot_stability_of_one_seed_says_that_there_is_nothing_to_compare(legible):
    axes = legible(plots.plot_stability(edges_table(n_seeds=1), agreement_table(1))).axes
    assert [labels(axis.texts) for axis in axes] == [["one seed: nothing to compare"]] * 3


def test_plot_difference_ranks_shared_edges_and_lists_those_that_differ_most(legible):
    a, b = edges_table(seed=0).iloc[:-3], edges_table(seed=1).iloc[2:]
    left, right = legible(plots.plot_difference(shuffled(a), shuffled(b), "first", "second", n_label=8)).axes
    both = a.merge(b, on=["source", "target"], suffixes=("_a", "_b"))
    ranks = np.array([(len(both) + 1) - both[f"score_{side}"].rank().to_numpy() for side in "ab"]).T
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in left.collections])
    np.testing.assert_array_equal(sorted(map(tuple, drawn)), sorted(map(tuple, ranks)))
    either = (both["is_selected_a"] | both["is_selected_b"]).to_numpy()
    names = (both["source"] + " → " + both["target"]).to_numpy()
    apart = pd.Series(np.abs(np.log(ranks[either, 0] / ranks[either, 1])), index=names[either])
    listed = [name.removesuffix(" ×") for name in labels(right.get_yticklabels())]
    assert sorted(listed) == sorted(apart.nlargest(8).index)
    flips = (np.sign(both["signed_score_a"]) != np.sign(both["signed_score_b"])).to_numpy()
    assert [name.endswith("×") for name in labels(right.get_yticklabels())] == [
        bool(flips[names == name][0]) for name in listed
    ]
    at = {name: place for place, name in enumerate(names)}
    np.testing.assert_array_equal(
        [points.get_offsets()[:, 0] for points in right.collections[1:]], ranks[[at[name] for name in listed]].T
    )


def test_plot_difference_of_a_network_and_itself_finds_none(legible):
    edges = edges_table()
    left, right = legible(plots.plot_difference(edges, shuffled(edges), "a", "b")).axes
    assert left.get_title() == f"{len(edges)} shared edges, overlap of selected ones 1.00"
    first, second = (points.get_offsets() for points in right.collections[1:])
    np.testing.assert_array_equal(first, second)


def test_plot_difference_of_networks_without_a_common_edge_says_so(legible):
    figure = legible(plots.plot_difference(edges_table(), edges_table(prefix="x"), "a", "b"))
    assert labels(figure.axes[0].texts) == ["the networks share no candidate edge"]


# ---------------------------------------------------------------- odd tables


@pytest.mark.parametrize("state", ["empty", "one edge", "long names", "many TFs", "none selected", "no weight"])
def test_figures_of_the_network_are_legible_whatever_it_holds(legible, state):
    edges = {
        "empty": edges_table().head(0), "one edge": edges_table().head(1), "long names": edges_table(prefix=LONG),
        "many TFs": edges_table(40, 4), "none selected": edges_table().assign(is_selected=False),
        "no weight": edges_table().assign(score=0.0, signed_score=0.0, score_sd=0.0, lag=0.0, is_selected=False),
    }[state]  # fmt: skip
    table = lagged(edges).assign(magnitude=lambda one: one["magnitude"] * (state != "no weight"))
    n_top = 300 if state == "many TFs" else 20
    legible(plots.plot_network(edges, n_top))
    legible(plots.plot_lags(edges))
    legible(plots.plot_lag_heatmap(table, n_top))
    legible(plots.plot_ranking(edges, n_top))
    legible(plots.plot_stability(edges, agreement_table(3)))
    legible(
        plots.plot_difference(
            edges, edges_table(seed=1, prefix=LONG if state == "long names" else ""), LONG, "b", n_top
        )
    )
    for gene in edges["source"].head(1):
        legible(plots.plot_neighbourhood(edges, gene, n_top))
