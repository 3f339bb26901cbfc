"""Controls against numpy and against what they must not do."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.methods.grn.controls import (
    correlation_network,
    prior_network,
    random_network,
    shuffled_prior_network,
)
from scmagnify_core.numerics import correlation


@pytest.fixture
def expression():
    rng = np.random.default_rng(0)
    values = rng.poisson(0.7, (60, 30)).astype(float)
    values[:, 7] = 0.1  # constant, and its mean is not exactly 0.1
    return np.log1p(values)


GENES = [f"g{i}" for i in range(30)]


def candidates(n=150, seed=1):
    rng = np.random.default_rng(seed)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, 30, (n, 2))} | {(7, 1), (1, 7), (2, 2)}
    frame = pd.DataFrame(sorted(pairs), columns=["source", "target"]).map(lambda i: f"g{i}")
    return frame.assign(weight=rng.random(len(pairs))).sample(frac=1, random_state=0)


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize("block", [4, 256])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_correlation_network_equals_numpy(expression, convert, block, monkeypatch):
    monkeypatch.setattr(correlation, "BLOCK", block)
    edges = candidates()
    got = correlation_network(convert(expression), GENES, edges)
    with np.errstate(all="ignore"):
        full = np.nan_to_num(np.corrcoef(expression.T))
    full[7], full[:, 7] = 0, 0
    expected = [full[int(s[1:]), int(t[1:])] for s, t in zip(edges["source"], edges["target"], strict=True)]
    assert got["source"].tolist() == edges["source"].tolist()
    assert got["target"].tolist() == edges["target"].tolist()
    np.testing.assert_allclose(got["signed_score"], expected, atol=1e-12)
    np.testing.assert_array_equal(got["score"], got["signed_score"].abs())


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_spearman_equals_scipy(expression, convert):
    edges = candidates()
    got = correlation_network(convert(expression), GENES, edges, method="spearman")
    expected = np.nan_to_num(stats.spearmanr(np.delete(expression, 7, axis=1)).statistic)
    expected = np.insert(np.insert(expected, 7, 0, axis=0), 7, 0, axis=1)  # constant
    pairs = [expected[int(s[1:]), int(t[1:])] for s, t in zip(edges["source"], edges["target"], strict=True)]
    np.testing.assert_allclose(got["signed_score"], pairs, atol=1e-12)


def test_correlation_network_gives_zero_for_constant_genes(expression):
    got = correlation_network(expression, GENES, candidates())
    constant = (got["source"] == "g7") | (got["target"] == "g7")
    assert constant.sum() >= 2
    assert (got.loc[constant, "score"] == 0).all()


def test_prior_network_is_the_absolute_weight():
    edges = candidates().assign(weight=lambda frame: -frame["weight"])
    got = prior_network(edges)
    np.testing.assert_array_equal(got["score"], -edges["weight"])
    assert (got["signed_score"] == 0).all()


# ---------------------------------------------------------------- properties


def test_correlation_network_is_invariant_to_order_scale_and_shift(expression):
    edges = candidates()
    expected = correlation_network(expression, GENES, edges).set_index(["source", "target"])
    rng = np.random.default_rng(2)
    genes, cells = rng.permutation(30), rng.permutation(60)
    moved = 3 * expression[cells][:, genes] + 5
    got = correlation_network(moved, [GENES[i] for i in genes], edges[::-1]).set_index(["source", "target"])
    np.testing.assert_allclose(got.loc[expected.index], expected, atol=1e-12)


def test_correlation_network_leaves_expression_alone(expression):
    before = expression.copy()
    correlation_network(expression, GENES, candidates())
    np.testing.assert_array_equal(expression, before)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_prior_keeps_degrees_and_weights_and_makes_no_self_pair(seed):
    edges = candidates(250).query("source != target")
    got = shuffled_prior_network(edges, seed)
    assert not got.duplicated(["source", "target"]).any()
    assert (got["source"] != got["target"]).all()
    for end in ("source", "target"):
        assert got[end].value_counts().to_dict() == edges[end].value_counts().to_dict()
    for source, weights in got.groupby("source")["score"]:
        assert sorted(weights) == sorted(edges.loc[edges["source"] == source, "weight"])


def test_shuffled_prior_forgets_the_prior_and_ignores_row_order():
    edges = candidates(250).query("source != target")
    got = shuffled_prior_network(edges)
    pd.testing.assert_frame_equal(got, shuffled_prior_network(edges[::-1]))
    kept = len(got.merge(edges, on=["source", "target"])) / len(edges)
    assert kept < 0.5  # some 250 of 870 pairs are in it by chance
    assert not got.equals(shuffled_prior_network(edges, seed=1))


def test_shuffled_prior_reaches_all_networks_alike_often():
    """Two sources with two targets each, out of four: six networks of these degrees."""
    edges = pd.DataFrame({"source": list("aabb"), "target": list("wxyz"), "weight": 1.0})
    counts = pd.Series(
        ["".join(sorted(got.loc[got["source"] == "a", "target"])) for got in
         (shuffled_prior_network(edges, seed) for seed in range(600))]
    ).value_counts()  # fmt: skip
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


def test_random_network_repeats_by_seed_and_ignores_row_order():
    edges = candidates()
    first = random_network(edges, seed=3)
    pd.testing.assert_frame_equal(first, random_network(edges, seed=3))
    assert not first["score"].equals(random_network(edges, seed=4)["score"])
    turned = random_network(edges[::-1], seed=3)[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, turned)
    assert first["score"].between(0, 1).all()
    assert first["score"].is_unique


def test_controls_accept_no_candidates(expression):
    none = candidates()[:0]
    correlation = correlation_network(expression, GENES, none)
    for got in (random_network(none), prior_network(none), shuffled_prior_network(none), correlation):
        assert got.columns.tolist() == ["source", "target", "score", "signed_score"]
        assert got.empty


# ---------------------------------------------------------------- failures


def test_correlation_network_names_genes_that_were_not_measured(expression):
    edges = pd.concat([candidates(), pd.DataFrame({"source": ["NOPE"], "target": ["g1"]})])
    with pytest.raises(InputError, match="1 genes are no column of expression: 'NOPE'"):
        correlation_network(expression, GENES, edges)


def test_correlation_network_refuses_names_that_do_not_fit(expression):
    with pytest.raises(InputError, match="29 names for 30 columns"):
        correlation_network(expression, GENES[:-1], candidates())
    with pytest.raises(InputError, match="names repeat: 'g0'"):
        correlation_network(expression, ["g0", *GENES[:-1]], candidates())


def test_correlation_network_refuses_values_that_are_not_finite(expression):
    expression[0, 3] = np.nan
    with pytest.raises(InputError, match="expression: has values that are not finite"):
        correlation_network(expression, GENES, candidates())


def test_controls_refuse_incomplete_or_repeated_candidates():
    edges = candidates()
    with pytest.raises(MissingColumnError, match=r"candidates\['target'\]: is missing"):
        random_network(edges.drop(columns="target"))
    with pytest.raises(MissingColumnError, match=r"candidates\['weight'\]: is missing"):
        prior_network(edges.drop(columns="weight"))
    with pytest.raises(MissingColumnError, match=r"candidates\['weight'\]: is missing"):
        shuffled_prior_network(edges.drop(columns="weight"))
    with pytest.raises(InputError, match="1 edges occur more than once"):
        random_network(pd.concat([edges, edges.head(1)]))
    with pytest.raises(InputError, match="weights are no finite numbers"):
        prior_network(edges.assign(weight="strong"))
