"""The network beside its controls: every question of every method, against single scores."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmagnify_core.dataset import Dataset
from scmagnify_core.description import DataDescription
from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.evaluation import score_network
from scmagnify_core.leaderboard import rankings, read_truth, score_methods
from scmagnify_core.prior import PriorNetwork
from scmagnify_core.tables import TABLES

METHODS = ["scmagnify", "correlation", "prior", "random"]
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


def row_of(scores, method, prior_edges):
    rows = scores[(scores["method"] == method) & (scores["prior_edges"] == prior_edges)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_score_methods_asks_every_question_of_every_method():
    dataset, prior, truth = planted()
    scores, _ = score_methods(dataset, prior, network_of(prior, truth), truth)
    rows = set(zip(scores["method"], scores["prior_edges"], strict=True))
    assert rows == {(method, asked) for method in METHODS for asked in ("kept", "removed", "only")}
    TABLES["network_scores"].validate(scores)
    assert scores.groupby("prior_edges")["density"].nunique().eq(1).all()  # one universe for all methods


def test_score_methods_equals_scoring_each_ranking_alone():
    dataset, prior, truth = planted()
    edges = network_of(prior, truth)
    scores, _ = score_methods(dataset, prior, edges, truth)
    for name, ranking in rankings(dataset, prior, edges):
        for label, question in (
            ("kept", {}),
            ("removed", {"prior_edges": "removed"}),
            ("only", {"universe": "candidates"}),
        ):
            alone = score_network(
                ranking, truth, genes=dataset.genes, prior=prior.to_table(), method=name, **question
            )
            pd.testing.assert_series_equal(row_of(scores, name, label), alone.iloc[0], check_names=False)


def test_score_methods_ranks_a_good_network_over_its_controls():
    dataset, prior, truth = planted()
    scores, _ = score_methods(dataset, prior, network_of(prior, truth), truth)
    best = row_of(scores, "scmagnify", "only")
    assert best["auprc"] == pytest.approx(1.0)
    assert best["sign_accuracy"] == 1.0
    assert best["lag_spearman"] == pytest.approx(1.0)
    assert row_of(scores, "correlation", "only")["auprc"] > 2 * row_of(scores, "random", "only")["auprc"]


def test_score_methods_finds_nothing_beyond_the_prior_with_a_model_bound_to_it():
    dataset, prior, truth = planted()
    scores, _ = score_methods(dataset, prior, network_of(prior, truth), truth)
    for method in METHODS:
        row = row_of(scores, method, "removed")
        assert row["n_true"] == 1
        assert row["auprc_ratio"] == pytest.approx(1.0)


def test_score_methods_does_not_depend_on_the_order_of_rows():
    dataset, prior, truth = planted()
    edges = network_of(prior, truth)
    first, _ = score_methods(dataset, prior, edges, truth)
    second, _ = score_methods(
        dataset, prior, edges.sample(frac=1, random_state=1), truth.sample(frac=1, random_state=2)
    )
    pd.testing.assert_frame_equal(first, second)


def test_score_methods_keeps_kinds_of_truth_apart():
    dataset, prior, truth = planted()
    both = pd.concat([truth.assign(kind="chip"), truth.iloc[::2].assign(kind="loss of function")])
    scores, _ = score_methods(dataset, prior, network_of(prior, truth), both)
    kept = scores[(scores["method"] == "scmagnify") & (scores["prior_edges"] == "kept")].set_index("truth")
    assert kept["n_true"].to_dict() == {"chip": 20, "loss of function": 10}


def test_score_methods_notes_once_which_question_could_not_be_asked():
    """All true edges are in the prior: nothing is left when they are removed."""
    dataset, prior, truth = planted()
    truth = truth.iloc[1:]
    scores, notes = score_methods(dataset, prior, network_of(prior, truth), truth)
    assert set(scores["prior_edges"]) == {"kept", "only"}
    about = [note for note in notes if "prior_edges='removed'" in note]
    assert len(about) == 1
    assert about[0].startswith("truth: none of its 19 edges is left")


def test_score_methods_notes_that_case_was_ignored():
    dataset, prior, truth = planted()
    louder = truth.assign(source=truth["source"].str.upper(), target=truth["target"].str.upper())
    scores, notes = score_methods(dataset, prior, network_of(prior, truth), louder)
    assert any("only when case was ignored" in note for note in notes)
    assert row_of(scores, "scmagnify", "kept")["n_true"] == 20


def test_score_methods_refuses_a_truth_of_other_genes():
    dataset, prior, truth = planted()
    strange = truth.assign(source="x" + truth["source"], target="x" + truth["target"])
    with pytest.raises(InputError, match=r"truth: none of its .* gene names is among the 30 measured ones.*species"):
        score_methods(dataset, prior, network_of(prior, truth), strange)


def test_rankings_score_the_candidates_and_no_other_edge():
    dataset, prior, truth = planted()
    named = dict(rankings(dataset, prior, network_of(prior, truth)))
    assert list(named) == METHODS
    for ranking in named.values():
        np.testing.assert_array_equal(ranking[["source", "target"]], prior.to_table()[["source", "target"]])
    table = prior.to_table()
    np.testing.assert_allclose(named["prior"]["score"], table["weight"].abs(), rtol=1e-6)
    values = dataset.expression(GENES)
    expected = [
        np.corrcoef(values[:, GENES.index(source)], values[:, GENES.index(target)])[0, 1]
        for source, target in zip(table["source"], table["target"], strict=True)
    ]
    np.testing.assert_allclose(named["correlation"]["signed_score"], expected, atol=1e-5)


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
