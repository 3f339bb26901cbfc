"""The network beside baselines and controls: every question of every method, against single scores; and over sets."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.evaluation import leaderboard as module
from scmagnify_core.evaluation.leaderboard import (
    EFFORT,
    Ranking,
    from_table,
    leaderboard,
    rank_baselines,
    read_truth,
    score_methods,
    to_table,
)
from scmagnify_core.evaluation.scores import score_network
from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.family import Inputs
from scmagnify_core.methods.grn import baselines
from scmagnify_core.tables.catalogue import TABLES

BASELINES = {family.name: family for family in baselines.FAMILIES}
METHODS = ["scmagnify", "correlation", "spearman", "prior", "shuffled_prior", "random"]
GENES = [f"g{i:02d}" for i in range(30)]


def planted(seed=0, n_cells=200):
    """Targets follow their true sources; the prior holds every true edge but one, and decoys."""
    rng = np.random.default_rng(seed)
    pairs = [(source, target) for source in GENES[:6] for target in GENES[6:]]
    chosen = [pairs[i] for i in rng.choice(len(pairs), 20, replace=False)]
    truth = pd.DataFrame(chosen, columns=["source", "target"]).assign(
        sign=rng.choice([-1, 1], len(chosen)), lag=rng.integers(1, 5, len(chosen))
    )
    values = rng.normal(size=(n_cells, len(GENES)))
    for source, target, sign, _ in truth.itertuples(index=False):
        values[:, GENES.index(target)] += 2 * sign * values[:, GENES.index(source)]
    decoys = [pairs[i] for i in rng.choice(len(pairs), 60, replace=False)]
    known = sorted((set(decoys) | set(chosen)) - {chosen[0]})
    candidates = pd.DataFrame(known, columns=["source", "target"]).assign(
        weight=rng.normal(size=len(known)), evidence="imported", origin="made"
    )
    rna = anndata.AnnData(sparse.csr_matrix(values.astype(np.float32)), var=pd.DataFrame(index=GENES))
    dataset = Dataset(rna, None, DataDescription(name="made", file="made.h5ad"), ())
    return dataset, PriorNetwork.from_table(candidates), truth


def network_of(prior, truth, seed=0):
    """A network that knows the truth but for some noise."""
    candidates = prior.to_table()[["source", "target"]]
    true = candidates.merge(truth, how="left", on=["source", "target"])
    noise = np.random.default_rng(seed).uniform(0, 0.5, len(true))
    score = true["sign"].notna() + noise
    return candidates.assign(score=score, signed_score=score * true["sign"].fillna(1), lag=true["lag"].fillna(2))


def operators_of(dataset, prior, n_lags=2):
    """Lags that are the present and noise."""
    now = standardize(dataset.expression(prior.sources))
    noise = standardize(np.random.default_rng(5).normal(size=now.shape))
    lagged = np.stack([now, *[noise] * (n_lags - 1)], axis=1)
    return DiffusionOperators(sparse.identity(len(now), format="csr"), lagged, prior.sources)


def row_of(scores, method, prior_edges, variant="canonical"):
    is_method = (scores["method"] == method) & (scores["variant"] == variant)
    rows = scores[is_method & (scores["prior_edges"] == prior_edges)]
    assert len(rows) == 1
    return rows.iloc[0]


def rankings(dataset, prior, edges, operators=None, imported=None):
    """The network, those made elsewhere, and all that is ranked beside them."""
    others = [Ranking(name, network) for name, network in (imported or {}).items()]
    return [Ranking("scmagnify", edges), *others, *rank_baselines(Inputs(dataset, prior, operators))]


def score(dataset, prior, edges, truth, operators=None, preset=None, imported=None):
    """Scores of them all, and the notes of both steps."""
    found = rankings(dataset, prior, edges, operators, imported)
    ranked = [one for one in found if isinstance(one, Ranking)]
    scores, notes = score_methods(ranked, truth, dataset.genes, prior, preset)
    return scores, (*(one for one in found if isinstance(one, str)), *notes)


def test_score_methods_asks_every_question_of_every_method():
    dataset, prior, truth = planted()
    scores, notes = score(dataset, prior, network_of(prior, truth), truth, operators_of(dataset, prior), "published")
    rows = set(zip(scores["method"], scores["prior_edges"], scores["variant"], strict=True))
    asked = {("kept", "canonical"), ("removed", "canonical"), ("only", "canonical"), ("kept", "deepsem")}
    asked |= {("kept", "beeline")}
    expected = {(method, *one) for method in [*METHODS, *BASELINES] for one in asked}
    assert rows == expected - {("shuffled_prior", "only", "canonical")}
    TABLES["network_scores"].validate(scores)
    assert scores.groupby(["prior_edges", "variant"])["density"].nunique().eq(1).all()  # one universe for all methods
    assert set(scores["preset"]) == {"published"}
    for effort in ("runtime_s", "peak_memory_mib"):
        assert scores.groupby("method")[effort].first().notna().to_dict() == {
            method: method != "scmagnify" for method in [*METHODS, *BASELINES]
        }
    assert not [note for note in notes if "left out" in note]


def test_own_methods_are_those_that_are_scored():
    dataset, prior, truth = planted()
    found = rankings(dataset, prior, network_of(prior, truth), operators_of(dataset, prior))
    assert {ranking.method for ranking in found} == set(FAMILIES)


def test_score_methods_asks_an_imported_network_the_same_questions():
    dataset, prior, truth = planted()
    edges, beyond = (
        network_of(prior, truth),
        truth[["source", "target"]].assign(score=1.0, signed_score=truth["sign"]),
    )
    scores, _ = score(dataset, prior, edges, truth, imported={"elsewhere": beyond, "none": beyond.iloc[:0]})
    own = scores[scores["method"] == "scmagnify"].reset_index(drop=True)
    for name in ("elsewhere", "none"):
        other = scores[scores["method"] == name].reset_index(drop=True)
        same = ["truth", "prior_edges", "variant", "n_true", "n_universe", "density"]
        pd.testing.assert_frame_equal(other[same], own[same])
    # It is not bound to the prior: it finds the edge that is not in it, too.
    for asked in ("kept", "removed", "only"):
        assert row_of(scores, "elsewhere", asked)["auprc"] == pytest.approx(1.0)
        assert row_of(scores, "none", asked)["auprc_ratio"] == pytest.approx(1.0)
    assert row_of(scores, "elsewhere", "kept")["sign_accuracy"] == 1
    without, _ = score(dataset, prior, edges, truth)
    rest = scores[~scores["method"].isin(["elsewhere", "none"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest.drop(columns=list(EFFORT)), without.drop(columns=list(EFFORT)))


def test_score_methods_equals_scoring_each_ranking_alone():
    dataset, prior, truth = planted()
    edges, operators = network_of(prior, truth), operators_of(dataset, prior)
    scores, _ = score(dataset, prior, edges, truth, operators)
    for ranking in rankings(dataset, prior, edges, operators):
        for label, question in (
            ("kept", {}),
            ("removed", {"prior_edges": "removed"}),
            ("only", {"universe": "candidates"}),
        ):
            if (ranking.method, label) == ("shuffled_prior", "only"):
                continue
            alone = score_network(
                ranking.edges, truth, genes=dataset.genes, prior=prior.to_table(), method=ranking.method, **question
            )
            row = row_of(scores, ranking.method, label).drop(["preset", *EFFORT])
            pd.testing.assert_series_equal(row, alone.iloc[0], check_names=False)


def test_a_baseline_that_would_take_too_long_is_left_out_with_a_note(monkeypatch):
    dataset, prior, truth = planted()
    monkeypatch.setattr(module, "MOST_WORK", 70_000.0)  # what controls take is less
    scores, notes = score(dataset, prior, network_of(prior, truth), truth, operators_of(dataset, prior, 3))
    assert set(scores["method"]) == set(METHODS)
    assert sum("was left out: it takes some" in note for note in notes) == len(BASELINES)


def test_a_baseline_that_cannot_run_is_left_out_with_a_note():
    dataset, prior, truth = planted()
    operators = operators_of(dataset, prior)
    fewer = DiffusionOperators(operators.transition, operators.lagged[:, :, :-1], prior.sources[:-1])
    scores, notes = score(dataset, prior, network_of(prior, truth), truth, fewer)
    assert "ridge" not in set(scores["method"])
    assert any(note.startswith("ridge was left out: lagged expression: has 200 cells and 5 TFs") for note in notes)


def test_score_methods_ranks_a_good_network_over_its_controls():
    dataset, prior, truth = planted()
    scores, _ = score(dataset, prior, network_of(prior, truth), truth)
    best = row_of(scores, "scmagnify", "only")
    assert best["auprc"] == pytest.approx(1.0)
    assert best["sign_accuracy"] == 1.0
    assert best["lag_spearman"] == pytest.approx(1.0)
    assert row_of(scores, "correlation", "only")["auprc"] > 2 * row_of(scores, "random", "only")["auprc"]


def test_score_methods_finds_nothing_beyond_the_prior_with_a_model_bound_to_it():
    dataset, prior, truth = planted()
    scores, _ = score(dataset, prior, network_of(prior, truth), truth)
    for method in METHODS:
        row = row_of(scores, method, "removed")
        assert row["n_true"] == 1
        assert row["auprc_ratio"] == pytest.approx(1.0)


def test_score_methods_does_not_depend_on_the_order_of_rows():
    dataset, prior, truth = planted()
    edges = network_of(prior, truth)
    first, _ = score(dataset, prior, edges, truth)
    second, _ = score(dataset, prior, edges.sample(frac=1, random_state=1), truth.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(first.drop(columns=list(EFFORT)), second.drop(columns=list(EFFORT)))


def test_score_methods_keeps_kinds_of_truth_apart():
    dataset, prior, truth = planted()
    both = pd.concat([truth.assign(kind="chip"), truth.iloc[::2].assign(kind="loss of function")])
    scores, _ = score(dataset, prior, network_of(prior, truth), both)
    is_asked = (scores["prior_edges"] == "kept") & (scores["variant"] == "canonical")
    kept = scores[(scores["method"] == "scmagnify") & is_asked].set_index("truth")
    assert kept["n_true"].to_dict() == {"chip": 20, "loss of function": 10}


def test_score_methods_notes_once_which_question_could_not_be_asked():
    """All true edges are in the prior: nothing is left when they are removed."""
    dataset, prior, truth = planted()
    truth = truth.iloc[1:]
    scores, notes = score(dataset, prior, network_of(prior, truth), truth)
    assert set(scores["prior_edges"]) == {"kept", "only"}
    about = [note for note in notes if "prior_edges='removed'" in note]
    assert len(about) == 1
    assert about[0].startswith("truth: none of its 19 edges is left")


def test_score_methods_notes_that_case_was_ignored():
    dataset, prior, truth = planted()
    louder = truth.assign(source=truth["source"].str.upper(), target=truth["target"].str.upper())
    scores, notes = score(dataset, prior, network_of(prior, truth), louder)
    assert any("only when case was ignored" in note for note in notes)
    assert row_of(scores, "scmagnify", "kept")["n_true"] == 20


def test_score_methods_refuses_a_truth_of_other_genes():
    dataset, prior, truth = planted()
    strange = truth.assign(source="x" + truth["source"], target="x" + truth["target"])
    with pytest.raises(InputError, match=r"truth: none of its .* gene names is among the 30 measured ones.*species"):
        score(dataset, prior, network_of(prior, truth), strange)


def test_rankings_score_the_candidates_and_no_other_edge():
    dataset, prior, truth = planted()
    found = rankings(dataset, prior, network_of(prior, truth), operators_of(dataset, prior))
    assert all(isinstance(one, Ranking) for one in found)
    named = {one.method: one.edges for one in found}
    assert list(named) == ["scmagnify", *BASELINES, *METHODS[1:]]
    for method, ranking in named.items():
        if method == "shuffled_prior":
            continue
        np.testing.assert_array_equal(ranking[["source", "target"]], prior.to_table()[["source", "target"]])
    table = prior.to_table()
    np.testing.assert_allclose(named["prior"]["score"], table["weight"].abs(), rtol=1e-6)
    values = dataset.expression(GENES)
    expected = [
        np.corrcoef(values[:, GENES.index(source)], values[:, GENES.index(target)])[0, 1]
        for source, target in zip(table["source"], table["target"], strict=True)
    ]
    np.testing.assert_allclose(named["correlation"]["signed_score"], expected, atol=1e-5)


def test_baselines_are_scored_the_same_after_they_were_a_table():
    dataset, prior, truth = planted()
    found = list(rank_baselines(Inputs(dataset, prior, operators_of(dataset, prior))))
    table = to_table(found)
    stored = TABLES["networks"].validate(table).to_pandas().sample(frac=1, random_state=0)
    again = {one.method: one for one in from_table(stored)}
    assert set(again) == {one.method for one in found}
    scores, _ = score_methods(found, truth, dataset.genes, prior)
    back, _ = score_methods([again[one.method] for one in found], truth, dataset.genes, prior)
    pd.testing.assert_frame_equal(back, scores, check_exact=False, rtol=1e-6)  # lags are stored with seven digits
    for method, edges in table.groupby("method"):
        first = edges[edges["rank"] == 1]
        assert (first["score"] == edges["score"].max()).all(), method
        assert (edges["rank"] == [(edges["score"] > one).sum() + 1 for one in edges["score"]]).all(), method


def test_no_baselines_are_an_empty_table():
    assert TABLES["networks"].validate(to_table([])).num_rows == 0
    assert from_table(to_table([])) == []


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv.gz"])
def test_read_truth_understands_the_names_in_use_and_keeps_the_rest(tmp_path, suffix):
    truth = pd.DataFrame({"Gene1": ["A"], "Gene2": ["B"], "sign": [-1], "lag": [2], "kind": ["chip"]})
    path = tmp_path / f"truth.{suffix}"
    if suffix == "parquet":
        truth.to_parquet(path)
    else:
        truth.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    got = read_truth(path)
    assert got[["source", "target", "sign", "lag", "kind"]].to_numpy().tolist() == [["A", "B", -1, 2, "chip"]]


def test_read_truth_names_the_file_and_the_column_that_is_missing(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("source,peak\nA,b\n")
    with pytest.raises(MissingColumnError, match=r"'truth.csv'\['target'\]: is missing. Available: 'source', 'peak'"):
        read_truth(path)


# ---------------------------------------------------------------- over data sets


def scores_of(ratios, **more):
    """Rows of `network_scores`; ``ratios`` by data set, truth and method."""
    rows = [
        {"dataset": dataset, "truth": truth, "method": method, "auprc_ratio": ratio}
        for (dataset, truth, method), ratio in ratios.items()
    ]
    same = {
        "preset": "recommended",
        "prior_edges": "only",
        "variant": "canonical",
        "epr": 2.0,
        "runtime_s": 1.0,
        "peak_memory_mib": 500.0,
    }
    return pd.DataFrame(rows).assign(**same | more)


RATIOS = {
    ("a", "chip", "scmagnify"): 4.0, ("a", "chip", "random"): 1.0, ("a", "loss", "scmagnify"): 2.0,
    ("a", "loss", "random"): 2.5, ("b", "chip", "scmagnify"): 6.0, ("b", "chip", "random"): 1.5,
}  # fmt: skip


def of(board, truth, method):
    return board[(board["truth"] == truth) & (board["method"] == method)].iloc[0]


def test_leaderboard_ranks_within_data_sets_and_counts_each_once():
    board = leaderboard(scores_of(RATIOS))
    TABLES["leaderboard"].validate(board)
    chip = of(board, "chip", "scmagnify")
    assert (chip["n_datasets"], chip["mean_rank"], chip["auprc_ratio"]) == (2, 1.0, 5.0)
    everything = of(board, "all", "scmagnify")  # data set a counts with the mean over its two truths
    assert (everything["n_datasets"], everything["mean_rank"]) == (2, 1.25)
    assert everything["auprc_ratio"] == pytest.approx((3.0 + 6.0) / 2)


def test_leaderboard_interval_is_that_of_scipy():
    board = leaderboard(scores_of(RATIOS))
    expected = stats.t.interval(0.95, 1, loc=4.5, scale=stats.sem([3.0, 6.0]))
    row = of(board, "all", "scmagnify")
    assert (row["auprc_ratio_low"], row["auprc_ratio_high"]) == pytest.approx(expected)
    assert (row["epr_low"], row["epr_high"]) == (2.0, 2.0)
    assert np.isnan(of(board, "loss", "random")["auprc_ratio_low"])  # one data set


def test_leaderboard_keeps_presets_apart_and_variants_out():
    mine = scores_of(RATIOS)
    published = scores_of({("c", "chip", "scmagnify"): 1.5}, preset="published")
    older = scores_of({("d", "chip", "scmagnify"): 1.5}, preset=None, variant=None, runtime_s=np.nan)
    other = scores_of({("a", "chip", "scmagnify"): 99.0}, variant="deepsem")
    board = leaderboard(pd.concat([mine, published, older, other]))
    TABLES["leaderboard"].validate(board)
    assert set(board["preset"]) == {"recommended", "published", "unknown"}
    assert board["auprc_ratio"].max() < 99


def test_leaderboard_ignores_the_order_of_rows():
    scores = scores_of(RATIOS)
    pd.testing.assert_frame_equal(leaderboard(scores), leaderboard(scores[::-1]))


def test_leaderboard_of_nothing_is_empty():
    columns = [column.name for column in TABLES["network_scores"].columns]
    assert TABLES["leaderboard"].validate(leaderboard(pd.DataFrame(columns=columns))).num_rows == 0
