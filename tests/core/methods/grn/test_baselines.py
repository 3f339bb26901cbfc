"""Baselines against sklearn and numpy, and against what they must not do."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import standardize
from scmagnify_core.errors import InputError
from scmagnify_core.methods.family import Size
from scmagnify_core.methods.grn import baselines
from scmagnify_core.methods.grn.baselines import FAMILIES, boosted_trees, group_lasso, lagged_correlation, ridge
from scmagnify_core.numerics.group_elastic_net import group_elastic_net, predict

BASELINES = {one.__name__: one for one in (group_lasso, boosted_trees, ridge, lagged_correlation)}
N_CELLS, N_LAGS, N_SOURCES, N_TARGETS = 200, 3, 5, 8
SOURCES = [f"tf{i}" for i in range(N_SOURCES)]
TARGETS = [f"g{i}" for i in range(N_TARGETS)]


@pytest.fixture
def planted():
    """Target i follows TF i at lag 1 + i % 3, negatively if i is odd; each target has all but one TF as candidates."""
    rng = np.random.default_rng(0)
    lagged = rng.normal(size=(N_CELLS, N_LAGS, N_SOURCES))
    lagged = standardize(lagged.reshape(N_CELLS, -1)).reshape(lagged.shape)
    targets = 0.7 * rng.normal(size=(N_CELLS, N_TARGETS))
    for i in range(N_SOURCES):
        targets[:, i] += (-1) ** i * lagged[:, i % N_LAGS, i]
    pairs = [(s, t) for j, t in enumerate(TARGETS) for i, s in enumerate(SOURCES) if (i + j + 1) % N_SOURCES != j]
    table = pd.DataFrame(pairs, columns=["source", "target"]).assign(weight=1.0, evidence="imported", origin="made")
    prior = PriorNetwork.from_table(table)
    return lagged, targets.astype(np.float32), prior


def own(lagged, prior, target):
    """Features of one target, lag by lag, and the rows of its edges."""
    edges = np.flatnonzero(prior.target_index == target)
    return lagged[:, :, prior.source_index[edges]].reshape(len(lagged), -1).astype(float), edges


# ---------------------------------------------------------------- oracles


def test_lagged_correlation_equals_numpy_at_its_best_lag(planted):
    lagged, targets, prior = planted
    got = lagged_correlation(*planted)
    for edge, (source, target) in enumerate(zip(prior.source_index, prior.target_index, strict=True)):
        of_lags = [np.corrcoef(lagged[:, lag, source], targets[:, target])[0, 1] for lag in range(N_LAGS)]
        best = int(np.abs(of_lags).argmax())
        assert got["signed_score"][edge] == pytest.approx(of_lags[best], abs=1e-6)
        assert got["lag"][edge] == best + 1


def test_ridge_equals_sklearn(planted, monkeypatch):
    lagged, targets, prior = planted
    monkeypatch.setattr(baselines, "RIDGE_STRENGTHS", [0.3])
    got, outcome = ridge(*planted), standardize(targets)
    for target in range(N_TARGETS):
        features, edges = own(lagged, prior, target)
        expected = Ridge(alpha=0.3 * N_CELLS, fit_intercept=False).fit(features, outcome[:, target]).coef_
        expected = expected.reshape(N_LAGS, -1)
        np.testing.assert_allclose(got["signed_score"][edges], expected.sum(axis=0), atol=1e-5)
        mean = np.abs(expected).T @ np.arange(1, N_LAGS + 1) / np.abs(expected).sum(axis=0)
        np.testing.assert_allclose(got["lag"][edges], mean, rtol=1e-3)


@pytest.mark.parametrize("method", [ridge, baselines.group_lasso])
def test_the_strength_is_the_one_that_predicts_cells_left_out_best(planted, monkeypatch, method):
    lagged, targets, prior = planted
    name = "RIDGE_STRENGTHS" if method is ridge else "GROUP_STRENGTHS"
    strengths, outcome = getattr(baselines, name), standardize(targets)
    order = np.random.default_rng(0).permutation(N_CELLS)
    test = np.zeros(N_CELLS, dtype=bool)
    test[order[:: baselines.HELD_OUT]] = True
    errors = []
    for strength in strengths:
        error = 0.0
        for target in range(N_TARGETS):
            features, edges = own(lagged, prior, target)
            if method is ridge:
                model = Ridge(alpha=strength * (~test).sum(), fit_intercept=False)
                predicted = model.fit(features[~test], outcome[~test, target]).predict(features[test])
            else:
                within = np.arange(len(edges))
                one = lagged[:, :, prior.source_index[edges]]
                found = group_elastic_net(
                    one[~test], outcome[~test][:, [target]], within, np.zeros_like(within), strength, 0.5
                )
                predicted = predict(one[test], found, within, np.zeros_like(within), 1)[:, 0]
            error += np.square(outcome[test, target] - predicted).sum()
        errors.append(error)
    chosen = method(*planted)
    monkeypatch.setattr(baselines, name, [strengths[int(np.argmin(errors))]])
    pd.testing.assert_frame_equal(chosen, method(*planted))
    assert 0 < np.argmin(errors) < len(strengths) - 1


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_find_planted_edges_with_lag_and_sign(planted, name):
    _, _, prior = planted
    got = BASELINES[name](*planted)
    pd.testing.assert_frame_equal(got[["source", "target"]], prior.to_table()[["source", "target"]])
    assert np.isfinite(got["score"]).all()
    assert (got["score"] >= 0).all()
    best = got.sort_values("score", ascending=False).groupby("target").first()
    for i in range(N_SOURCES):
        if ((got["source"] == f"tf{i}") & (got["target"] == f"g{i}")).any():
            row = best.loc[f"g{i}"]
            assert row["source"] == f"tf{i}"
            assert abs(row["lag"] - (1 + i % N_LAGS)) < 0.6
            assert name == "boosted_trees" or np.sign(row["signed_score"]) == (-1) ** i


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "boosted_trees"])
def test_baselines_ignore_the_order_of_genes(planted, name):
    lagged, targets, prior = planted
    expected = BASELINES[name](*planted).set_index(["source", "target"])
    turned = dataclasses.replace(
        prior, sources=prior.sources[::-1], source_index=N_SOURCES - 1 - prior.source_index
    )  # fmt: skip
    got = BASELINES[name](lagged[:, :, ::-1], targets, turned).set_index(["source", "target"])
    np.testing.assert_allclose(got.loc[expected.index], expected, rtol=2e-2, atol=2e-3)


def test_boosted_trees_give_the_same_on_any_number_of_threads(planted, monkeypatch):
    found = []
    for n_threads in (1, 4):
        monkeypatch.setattr("scmagnify_core.methods.grn.baselines.n_cores", lambda n=n_threads: n)
        found.append(boosted_trees(*planted))
    pd.testing.assert_frame_equal(*found)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_leave_their_inputs_alone(planted, name):
    lagged, targets, prior = planted
    before = lagged.copy(), targets.copy()
    BASELINES[name](lagged, targets, prior)
    np.testing.assert_array_equal(lagged, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_group_lasso_leaves_edges_out(planted):
    score = BASELINES["group_lasso"](*planted)["score"]
    assert (score == 0).any()
    assert (score > 0).any()


def test_work_grows_with_cells(planted):
    n_edges = planted[2].n_edges
    less, more = (Size(n, 50, N_SOURCES, N_TARGETS, n_edges, N_LAGS) for n in (100, 10_000))
    assert {family.name for family in FAMILIES} == set(BASELINES)
    for family in FAMILIES:
        assert family.work(more, family.config()) > family.work(less, family.config())


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_refuse_operators_of_another_prior(planted, name):
    lagged, targets, prior = planted
    with pytest.raises(InputError, match="has 200 cells and 4 TFs beside 200 cells and 8 targets"):
        BASELINES[name](lagged[:, :, :4], targets, prior)


def test_boosted_trees_say_what_is_missing(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match=r"LightGBM does not load .*libgomp1"):
        boosted_trees(*planted)
