from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scmagnify_core.errors import InputError
from scmagnify_core.network.network import Network, NetworkConfig, aggregate_seeds, top_edges


def make_network(seed: int = 0, n_lags: int = 3) -> Network:
    rng = np.random.default_rng(seed)
    target_index, source_index = np.nonzero(np.random.default_rng(9).random((6, 5)) < 0.6)
    weight = rng.standard_normal((n_lags, len(source_index))).astype(np.float32)
    return Network(
        tuple("ABCDE"), tuple("uvwxyz"), source_index, target_index, weight,
        np.abs(weight) * 1.1, rng.random(weight.shape).astype(np.float32),
    )  # fmt: skip


def test_tensor_and_table_round_trip():
    network = make_network()
    tensor = network.tensor()
    assert tensor.shape == (3, 5, 6)
    again = Network.from_tensor(tensor, network.sources, network.targets)
    np.testing.assert_array_equal(again.tensor(), tensor)
    shuffled = network.to_table().sample(frac=1, random_state=0)
    restored = Network.from_table(shuffled)
    for name in ("sources", "targets"):
        assert getattr(restored, name) == getattr(network, name)
    for name in ("source_index", "target_index", "weight", "magnitude", "cv"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(network, name))


def test_signed_score_is_the_entry_of_largest_absolute_value():
    network = make_network()
    for edge in range(network.n_edges):
        column = network.weight[:, edge]
        assert network.signed_score("peak")[edge] == column[np.argmax(np.abs(column))]
    assert (network.signed_score() < 0).any()  # a plain maximum would hide most repressors
    np.testing.assert_array_equal(network.score("peak"), network.magnitude.max(axis=0))


def test_estimated_lag_matches_the_formula_for_both_weights():
    network = make_network()
    lags = np.array([1, 2, 3])
    total = np.abs(network.weight).sum(axis=0)
    expected = (lags[:, None] * np.abs(network.weight)).sum(axis=0) / total
    np.testing.assert_allclose(network.estimated_lag(), expected, rtol=1e-5)
    signed = np.abs((lags[:, None] * network.weight).sum(axis=0) / total)
    np.testing.assert_allclose(network.estimated_lag("signed"), signed, rtol=1e-4, atol=1e-6)
    assert ((network.estimated_lag() >= 1) & (network.estimated_lag() <= 3)).all()


def test_aggregate_takes_medians_over_seeds():
    networks = {seed: make_network(seed) for seed in range(4)}
    result = aggregate_seeds(networks)
    weights = np.stack([network.weight for network in networks.values()])
    np.testing.assert_allclose(result.network.weight, np.median(weights, axis=0), rtol=1e-6)
    np.testing.assert_allclose(result.weight_sd, weights.std(axis=0), rtol=1e-5)
    edges = result.edges
    assert (edges["n_seeds"] == 4).all()
    assert sorted(edges["rank"]) == list(range(1, len(edges) + 1))
    assert edges.sort_values("rank")["score"].is_monotonic_decreasing
    signs = np.sign(np.stack([network.signed_score() for network in networks.values()]))
    majority = np.maximum((signs > 0).mean(axis=0), (signs < 0).mean(axis=0))
    np.testing.assert_allclose(edges["sign_agreement"], majority)


def test_stability_and_jaccard_count_the_top_edges():
    networks = {seed: make_network(seed) for seed in range(3)}
    config = NetworkConfig(top_fraction=0.3)
    result = aggregate_seeds(networks, config)
    tops = [set(np.argsort(-network.score())[: round(0.3 * network.n_edges)]) for network in networks.values()]
    for edge in range(networks[0].n_edges):
        expected = sum(edge in top for top in tops) / 3
        assert result.edges["stability"][edge] == pytest.approx(expected)
    for row in result.agreement.itertuples():
        a, b = tops[row.seed_a], tops[row.seed_b]
        assert row.jaccard == pytest.approx(len(a & b) / len(a | b))
        oracle = stats.spearmanr(networks[row.seed_a].score(), networks[row.seed_b].score()).statistic
        assert row.spearman == pytest.approx(oracle)


def test_identical_seeds_agree_fully():
    result = aggregate_seeds({0: make_network(), 1: make_network()})
    assert set(result.edges["stability"]) <= {0.0, 1.0}
    assert (result.edges["sign_agreement"] == 1).all()
    assert result.agreement["jaccard"].item() == 1
    assert result.edges["score_sd"].max() == 0


def test_cv_filter_zeroes_what_varies_over_cells():
    network = make_network()
    filtered = network.filtered(0.5)
    np.testing.assert_array_equal(filtered.weight != 0, (network.cv < 0.5) & (network.weight != 0))
    assert network.filtered(None) is network


def test_top_edges_never_takes_edges_without_a_score():
    assert top_edges(np.zeros(5), 0.4).sum() == 0
    np.testing.assert_array_equal(top_edges(np.array([0.0, 3, 1, 0]), 0.75), [False, True, True, False])


def test_aggregate_refuses_other_edges_and_nothing():
    with pytest.raises(InputError, match="there are none to aggregate"):
        aggregate_seeds({})
    with pytest.raises(InputError, match="seed 1.*has other candidate edges or lags than seed 0"):
        aggregate_seeds({0: make_network(), 1: make_network(n_lags=2)})


def test_tables_and_tensors_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="does not hold every edge at lags 1 to 3"):
        Network.from_table(make_network().to_table().iloc[:-1])
    with pytest.raises(InputError, match="its axes|Its axes are lag, source, target"):
        Network.from_tensor(np.zeros((2, 3, 4)), list("ab"), list("cdef"))
    assert isinstance(make_network().to_table(), pd.DataFrame)


def test_a_dense_model_orders_what_a_sparse_one_leaves_out():
    network = make_network()
    sparse = replace(network, weight=np.where(np.arange(network.n_edges) < 3, network.weight, 0))
    dense = np.random.default_rng(5).normal(size=network.weight.shape).astype(np.float32)
    plain = aggregate_seeds({0: sparse}).edges
    assert (plain["score"][3:] == 0).all()
    with_dense = replace(sparse, dense=dense)
    edges = aggregate_seeds({0: with_dense}, NetworkConfig(dense_share=0.5)).edges
    np.testing.assert_allclose(edges["signed_score"], plain["signed_score"] + 0.5 * dense.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(edges["score"], edges["signed_score"].abs())
    assert (plain["lag"][3:] == 0).all()  # no coefficient, no lag
    own = np.abs(0.5 * dense[:, 5])
    assert edges["lag"][5] == pytest.approx(own @ [1, 2, 3] / own.sum(), rel=1e-5)
    peak = NetworkConfig(score="peak", dense_share=0.5)
    published = aggregate_seeds({0: with_dense}, peak).edges
    np.testing.assert_array_equal(published["score"], sparse.magnitude.max(axis=0))
