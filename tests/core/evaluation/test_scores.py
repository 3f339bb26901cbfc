"""Scores against sklearn, brute force and the cases whose answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.evaluation.scores import (
    _chance,
    _weighted_scores,
    average_precision,
    early_hits,
    match_names,
    score_network,
)
from scmagnify_core.tables.catalogue import TABLES

GENES = [f"g{i}" for i in range(12)]
SOURCES = GENES[:4]
GRID = [(s, t) for s in SOURCES for t in GENES if s != t]


def frame(pairs, **columns):
    return pd.DataFrame(list(pairs), columns=["source", "target"]).assign(**columns)


def planted(seed=0, n_true=9, n_levels=4):
    """Truth that covers every source and gene, and predictions with ties and gaps."""
    rng = np.random.default_rng(seed)
    cover = [(SOURCES[i % 4], gene) for i, gene in enumerate(GENES) if SOURCES[i % 4] != gene]
    extra = [GRID[i] for i in rng.choice(len(GRID), n_true, replace=False)]
    truth = frame(dict.fromkeys(cover + extra))
    chosen = [GRID[i] for i in rng.choice(len(GRID), 30, replace=False)]
    return frame(chosen, score=rng.integers(0, n_levels, 30).astype(float)), truth


def dense(edges, truth):
    """Scores and labels over the whole grid, one entry per pair."""
    score = {(s, t): v for s, t, v in edges[["source", "target", "score"]].itertuples(index=False)}
    true = set(truth[["source", "target"]].itertuples(index=False, name=None))
    return np.array([score.get(p, 0.0) for p in GRID]), np.array([p in true for p in GRID])


def one(*args, **kwargs):
    return score_network(*args, **kwargs).iloc[0]


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize("seed", range(5))
def test_score_network_auprc_equals_sklearn(seed):
    edges, truth = planted(seed)
    score, label = dense(edges, truth)
    row = one(edges, truth, genes=GENES)
    assert row["n_universe"] == len(GRID)
    assert row["n_true"] == label.sum()
    assert row["auprc"] == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert row["auprc_ratio"] == pytest.approx(row["auprc"] / label.mean())


def test_score_network_epr_equals_the_mean_over_all_tie_breaks():
    truth = frame([("a", "b"), ("a", "c"), ("d", "b")])
    edges = frame([("a", "b"), ("a", "c"), ("d", "c"), ("d", "a")], score=[2.0, 1.0, 1.0, 1.0])
    pairs = [(s, t) for s in "ad" for t in "abcd" if s != t]
    score = {(s, t): v for s, t, v in edges.itertuples(index=False)}
    true = set(zip(truth["source"], truth["target"], strict=True))
    k = len(true)
    hits = []
    for order in itertools.permutations(range(len(pairs))):  # 720 ways to break ties
        ranked = sorted(order, key=lambda i: -score.get(pairs[i], 0.0))
        hits.append(sum(pairs[i] in true for i in ranked[:k]))
    assert one(edges, truth)["epr"] == pytest.approx(np.mean(hits) * len(pairs) / k**2)


def test_score_network_counts_every_row_of_its_table():
    edges, truth = planted()
    scores = score_network(edges, truth, genes=GENES, method="random")
    TABLES["network_scores"].validate(scores.assign(preset="published", runtime_s=1.0, peak_memory_mib=1.0))
    assert scores["method"].tolist() == ["random"]


def test_score_network_constant_score_gives_ratio_one():
    _, truth = planted()
    for edges in (frame(GRID, score=1.0), frame(GRID[:3], score=0.0)):
        row = one(edges, truth, genes=GENES)
        assert row["auprc_ratio"] == 1.0
        assert row["epr"] == pytest.approx(1.0)


def test_score_network_perfect_ranking_reaches_the_ceiling():
    _, truth = planted()
    row = one(truth.assign(score=1.0), truth, genes=GENES)
    assert row["auprc"] == pytest.approx(1.0)
    assert row["auprc_ratio"] == pytest.approx(1 / row["density"])
    assert row["epr"] == pytest.approx(row["epr_ceiling"])


def test_score_network_random_scores_are_near_one_on_average():
    _, truth = planted()
    rng = np.random.default_rng(0)
    ratios = [one(frame(GRID, score=rng.random(len(GRID))), truth, genes=GENES)["epr"] for _ in range(300)]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)


# ---------------------------------------------------------------- the universe


def test_score_network_universe_is_truth_sources_times_truth_genes():
    truth = frame([("a", "x"), ("b", "y"), ("a", "unmeasured"), ("lost", "unmeasured"), ("a", "a"), ("a", "x")])
    edges = frame([("a", "x"), ("c", "x"), ("a", "z"), ("x", "x")], score=[1.0, 9.0, 9.0, 9.0])
    row = one(edges, truth, genes=["a", "b", "c", "x", "y", "z"])
    # T = a, b; G = a, b, x, y; edges of c, to z and of a gene with itself are not in the universe
    assert (row["n_true"], row["n_universe"]) == (2, 2 * 4 - 2)
    assert row["auprc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 6)


def test_score_network_repeated_prediction_counts_its_best_score():
    truth = frame([("a", "x"), ("b", "y")])
    twice = frame([("a", "x"), ("b", "x"), ("a", "x")], score=[1.0, 2.0, 3.0])
    once = frame([("a", "x"), ("b", "x")], score=[3.0, 2.0])
    pd.testing.assert_frame_equal(score_network(twice, truth, genes="abxy"), score_network(once, truth, genes="abxy"))


def test_score_network_removed_prior_edges_leave_truth_and_universe():
    edges, truth = planted(3)
    prior = frame([*GRID[:10], *truth[["source", "target"]].head(3).itertuples(index=False, name=None)])
    prior = pd.concat([prior, frame([("g0", "g0"), ("elsewhere", "g1")])])
    row = one(edges, truth, genes=GENES, prior=prior, prior_edges="removed")
    inside = set(prior.itertuples(index=False, name=None))
    score, label = dense(edges, truth)
    keep = np.array([p not in inside for p in GRID])
    assert (row["n_universe"], row["n_true"]) == (keep.sum(), label[keep].sum())
    assert row["auprc"] == pytest.approx(average_precision_score(label[keep], score[keep]))
    assert row["prior_edges"] == "removed"


def test_score_network_candidates_are_the_universe_when_asked():
    edges, truth = planted(4)
    prior = frame(dict.fromkeys([*GRID[::2], *truth[["source", "target"]].itertuples(index=False, name=None)]))
    row = one(edges, truth, genes=GENES, prior=prior, universe="candidates")
    inside = set(prior.itertuples(index=False, name=None))
    score, label = dense(edges, truth)
    keep = np.array([p in inside for p in GRID])
    assert (row["n_universe"], row["prior_edges"]) == (len(prior), "only")
    assert row["auprc"] == pytest.approx(average_precision_score(label[keep], score[keep]))


def test_score_network_gives_one_row_per_kind_and_says_which_it_left_out():
    truth = frame([("a", "x"), ("a", "y"), ("b", "x"), ("p", "q")], kind=["chip", "chip", "ko", "far"])
    scores = score_network(frame([("a", "x")], score=1.0), truth, genes="abxy")
    assert scores["truth"].tolist() == ["chip", "ko"]
    assert "truth 'far' has no edge in the universe" in scores.attrs["notes"][0]


# ---------------------------------------------------------------- variants


def whole(pairs, edges, truth, missing):
    """Scores and labels over given pairs; ``missing`` for those without a prediction."""
    score = {(s, t): v for s, t, v in edges[["source", "target", "score"]].itertuples(index=False)}
    true = set(truth[["source", "target"]].itertuples(index=False, name=None))
    return np.array([score.get(p, missing) for p in pairs]), np.array([p in true for p in pairs])


@pytest.mark.parametrize("seed", range(3))
def test_score_network_deepsem_keeps_self_pairs_and_ranks_what_was_not_predicted_last(seed):
    edges, truth = planted(seed)
    pairs = [(s, t) for s in SOURCES for t in GENES]
    score, label = whole(pairs, edges, truth, -1.0)
    row = one(edges, truth, genes=GENES, variant="deepsem")
    assert row["n_universe"] == len(pairs)
    assert row["auprc"] == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert row["auprc_ratio"] == pytest.approx(row["auprc"] / label.mean())
    canonical = one(edges.query("score > 0"), truth, genes=GENES)
    assert row["epr_ceiling"] == canonical["epr_ceiling"]
    assert one(edges.query("score > 0"), truth, genes=GENES, variant="deepsem")["epr"] == canonical["epr"]


@pytest.mark.parametrize("seed", range(3))
def test_score_network_beeline_is_the_trapezoid_over_all_pairs_of_genes(seed):
    edges, truth = planted(seed)
    pairs = [(s, t) for s in GENES for t in GENES if s != t]
    score, label = whole(pairs, edges, truth, 0.0)
    row = one(edges, truth, genes=GENES, variant="beeline")
    precision, recall, _ = precision_recall_curve(label, score)
    assert row["auprc"] == pytest.approx(auc(recall, precision), abs=1e-12)
    # BEELINE: all pairs with at least the weight of the K-th, and at least the smallest weight above 0
    least = max(np.sort(score)[::-1][label.sum() - 1], score[score > 0].min())
    assert row["epr"] == pytest.approx(label[score >= least].mean() / label.mean())


def test_score_network_beeline_without_a_prediction_has_no_early_hit():
    _, truth = planted()
    assert one(frame(GRID[:3], score=0.0), truth, genes=GENES, variant="beeline")["epr"] == 0


def test_score_network_refuses_variants_of_part_of_the_truth():
    edges, truth = planted()
    with pytest.raises(InputError, match="'deepsem' is defined for the whole truth only"):
        score_network(edges, truth, genes=GENES, prior=truth, universe="candidates", variant="deepsem")


# ---------------------------------------------------------------- chance, intervals, folds


def test_chance_equals_all_arrangements_of_the_labels():
    size = np.array([1, 3, 1, 2, 4])
    group = np.repeat(np.arange(5), size)
    areas, hits = [], []
    for chosen in itertools.combinations(range(11), 4):
        n_hits = np.bincount(group[list(chosen)], minlength=5)
        areas.append(average_precision(size, n_hits))
        hits.append(early_hits(size, n_hits, 4))
    got = _chance(size, 4)
    assert got["auprc_z"] == pytest.approx((np.mean(areas), np.std(areas)))
    assert got["epr_z"] == pytest.approx((np.mean(hits), np.std(hits)))


def big(seed=0, n_sources=12, n_genes=40, n_true=60):
    """A truth of TFs and genes, every one of which has an edge, and a random score of every pair."""
    rng = np.random.default_rng(seed)
    genes = [f"g{i:02d}" for i in range(n_genes)]
    pairs = [(s, t) for s in genes[:n_sources] for t in genes if s != t]
    cover = [(genes[i % n_sources], gene) for i, gene in enumerate(genes) if i >= n_sources]
    more = [pairs[i] for i in rng.choice(len(pairs), n_true, replace=False)]
    return frame(pairs, score=rng.random(len(pairs))), frame(dict.fromkeys(cover + more)), genes


def test_z_of_random_rankings_is_standard_normal():
    edges, truth, genes = big()
    rng = np.random.default_rng(1)
    rows = [one(edges.assign(score=rng.random(len(edges))), truth, genes=genes) for _ in range(200)]
    for name in ("auprc_z", "epr_z"):
        z = np.array([row[name] for row in rows])
        assert abs(z.mean()) < 3 / np.sqrt(200)
        assert z.std() == pytest.approx(1, abs=0.17)


def test_z_is_unknown_where_nothing_can_vary():
    edges, truth, genes = big()
    row = one(edges.assign(score=1.0), truth, genes=genes)
    assert np.isnan(row["auprc_z"])
    assert np.isnan(row["epr_z"])


def test_bootstrap_equals_scoring_repeated_sources():
    """A TF that counts twice is as two TFs of the same pairs, tied with each other."""
    edges, truth, genes = big()
    edges = edges.assign(score=(edges["score"] * 20).round())[edges["score"] > 0.2]
    weights = np.random.default_rng(2).multinomial(12, np.full(12, 1 / 12), size=4).astype(float)
    true = set(truth[["source", "target"]].itertuples(index=False, name=None))
    is_true = np.array([pair in true for pair in zip(edges["source"], edges["target"], strict=True)])
    _, group = np.unique(-edges["score"], return_inverse=True)
    source = edges["source"].map(genes.index).to_numpy()
    n_true = np.bincount(truth["source"].map(genes.index), minlength=12)
    ratio, epr = _weighted_scores(weights, group, source, is_true, n_true, np.full(12, 39))
    for weight, got_ratio, got_epr in zip(weights, ratio, epr, strict=True):
        size = np.append(np.bincount(group, weight[source]), 0)
        hits = np.append(np.bincount(group, weight[source] * is_true, minlength=len(size) - 1), 0)
        n, k = weight @ np.full(12, 39), weight @ n_true
        size[-1], hits[-1] = n - size.sum(), k - hits.sum()
        assert got_ratio == pytest.approx(average_precision(size, hits) * n / k)
        assert got_epr == pytest.approx(early_hits(size, hits, k) * n / k**2)


def test_interval_holds_the_figure_and_repeats():
    edges, truth, genes = big()
    known = edges.merge(truth.assign(true=1.0), how="left").fillna({"true": 0.0})
    row = one(known.assign(score=known["score"] + 0.4 * known["true"]), truth, genes=genes)
    for name in ("auprc_ratio", "epr"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row[f"{name}_folds"] == pytest.approx(row[name], rel=0.35)


def test_folds_are_means_over_disjoint_sources():
    """One TF per fold: the mean over the truths of single TFs, as long as each covers all genes."""
    genes = [f"g{i}" for i in range(9)]
    pairs = [(s, t) for s in genes[:5] for t in genes if s != t]
    edges = frame(pairs, score=np.random.default_rng(3).random(len(pairs)))
    truth = frame([pair for i, pair in enumerate(pairs) if i % 3 == 0])
    alone = []
    for source in genes[:5]:
        own = edges[edges["source"] == source].assign(true=lambda f: [p in true_of(truth) for p in pair_of(f)])
        alone.append(average_precision_score(own["true"], own["score"]) / own["true"].mean())
    assert one(edges, truth, genes=genes)["auprc_ratio_folds"] == pytest.approx(np.mean(alone))


def pair_of(edges):
    return list(zip(edges["source"], edges["target"], strict=True))


def true_of(truth):
    return set(pair_of(truth))


def test_few_sources_give_neither_interval_nor_folds():
    edges, truth = planted()
    row = one(edges, truth, genes=GENES)
    assert row[["auprc_ratio_low", "epr_high", "auprc_ratio_folds"]].isna().all()


# ---------------------------------------------------------------- signs and lags


def test_score_network_sign_accuracy_ignores_unknown_signs():
    truth = frame([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y")], sign=[1, -1, 1, 0, -1])
    edges = frame(
        [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "z")],
        score=1.0,
        signed_score=[0.3, 0.2, 0.0, 1.0, -1.0],
    )
    assert one(edges, truth, genes="abxyz")["sign_accuracy"] == 0.5  # ax right, ay wrong, the others unknown
    assert np.isnan(one(edges.drop(columns="signed_score"), truth, genes="abxyz")["sign_accuracy"])


def test_score_network_contradictory_signs_count_as_unknown():
    truth = frame([("a", "x"), ("a", "x"), ("a", "y")], sign=[1, -1, 1])
    edges = frame([("a", "x"), ("a", "y")], score=1.0, signed_score=[1.0, 1.0])
    assert one(edges, truth, genes="axy")["sign_accuracy"] == 1.0


def test_score_network_lag_spearman_is_over_found_true_edges():
    truth = frame([("a", t) for t in "wxyz"], lag=[1, 2, 3, 4])
    edges = frame([("a", t) for t in "wxyz"], score=[1.0, 1.0, 1.0, 0.0], lag=[0.1, 0.5, 2.0, 0.0])
    assert one(edges, truth, genes="awxyz")["lag_spearman"] == pytest.approx(1.0)
    assert np.isnan(one(edges.assign(lag=2.0), truth, genes="awxyz")["lag_spearman"])
    assert np.isnan(one(edges.head(2), truth, genes="awxyz")["lag_spearman"])


# ---------------------------------------------------------------- properties


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.floats(0.2, 4), shuffle=st.integers(0, 100))
def test_score_network_depends_on_nothing_but_the_ranking(seed, power, shuffle):
    edges, truth = planted(seed)
    other = edges.assign(score=7 * edges["score"] ** power).sample(frac=1, random_state=shuffle)
    expected = score_network(edges, truth, genes=GENES)
    got = score_network(other, truth.sample(frac=1, random_state=shuffle), genes=GENES[::-1])
    pd.testing.assert_frame_equal(got, expected)


@pytest.mark.parametrize("variant", ["canonical", "deepsem", "beeline"])
def test_score_network_ignores_the_order_of_genes_and_rows(variant):
    edges, truth, genes = big(n_true=30)
    expected = score_network(edges, truth, genes=genes, variant=variant)
    got = score_network(edges[::-1], truth[::-1], genes=genes[::-1], variant=variant)
    pd.testing.assert_frame_equal(got, expected)


def test_score_network_leaves_its_arguments_alone():
    edges, truth = planted()
    before = edges.copy(), truth.copy()
    score_network(edges, truth, genes=GENES)
    pd.testing.assert_frame_equal(edges, before[0])
    pd.testing.assert_frame_equal(truth, before[1])


# ---------------------------------------------------------------- names


def test_match_names_ignores_case_only_when_nothing_matches():
    assert match_names(["Gata1", "SPI1"], ["GATA1", "SPI1"]) == ({"SPI1": "SPI1"}, None)
    mapping, note = match_names(["Gata1", "Xyz"], ["GATA1", "SPI1"])
    assert mapping == {"Gata1": "GATA1"}
    assert note is not None
    assert "'Gata1' and 'GATA1'" in note


def test_match_names_leaves_out_ambiguous_names():
    mapping, _ = match_names(["gata1", "spi1"], ["GATA1", "Gata1", "SPI1"])
    assert mapping == {"spi1": "SPI1"}


def test_score_network_matches_mouse_names_to_upper_case_and_says_so():
    edges, truth = planted()
    upper = truth.apply(lambda column: column.str.upper())
    scores = score_network(edges, upper, genes=GENES)
    pd.testing.assert_frame_equal(scores, score_network(edges, truth, genes=GENES))
    assert "case was ignored" in scores.attrs["notes"][0]


# ---------------------------------------------------------------- failures


def test_score_network_shows_both_styles_of_names_when_none_match():
    with pytest.raises(InputError, match=r"none of its 2 gene names is among the 12 .*'ENSG1'.*measured are 'g0'"):
        score_network(*planted()[:1], frame([("ENSG1", "ENSG2")]), genes=GENES)


@pytest.mark.parametrize("column", ["source", "target", "score"])
def test_score_network_names_the_missing_column(column):
    edges, truth = planted()
    with pytest.raises(MissingColumnError, match=rf"edges\['{column}'\]: is missing\. Available: "):
        score_network(edges.drop(columns=column), truth)


def test_score_network_refuses_negative_scores():
    edges, truth = planted()
    with pytest.raises(InputError, match=r"30 of 30 scores are negative or not finite.*signed_score"):
        score_network(edges.assign(score=-1.0), truth)
    with pytest.raises(InputError, match=r"edges\['score'\]: is not numeric"):
        score_network(edges.assign(score="high"), truth)


@pytest.mark.parametrize("asked", [{"prior_edges": "removed"}, {"universe": "candidates"}])
def test_score_network_asks_for_the_prior_it_needs(asked):
    with pytest.raises(InputError, match="needs the candidate edges"):
        score_network(*planted(), **asked)


def test_score_network_says_when_no_true_edge_is_left():
    edges, truth = planted()
    with pytest.raises(InputError, match=r"none of its \d+ edges is left .*prior_edges='removed'"):
        score_network(edges, truth, genes=GENES, prior=truth, prior_edges="removed")
    with pytest.raises(InputError, match="leaves nothing"):
        score_network(edges, truth, genes=GENES, prior=truth, prior_edges="removed", universe="candidates")
