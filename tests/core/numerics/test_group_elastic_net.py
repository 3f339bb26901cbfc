"""Group elastic net: against scikit-learn, against the conditions of its optimum, and as a path."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from scmagnify_core.numerics import group_elastic_net as module
from scmagnify_core.numerics.group_elastic_net import (
    group_elastic_net,
    group_elastic_net_path,
    has_turned,
    predict,
    squared_errors,
)


def problem(n_lags: int, n_cells: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_cells, n_lags, 6)).astype(np.float32)
    features += 0.7 * features[:, :1]  # lags of a TF resemble one another
    target_index, source_index = np.nonzero(rng.random((4, 6)) < 0.7)
    targets = 0.8 * features[:, 0, :4] - 0.5 * features[:, -1, 1:5] + rng.normal(size=(n_cells, 4))
    targets = (targets - targets.mean(0)).astype(np.float32)
    features -= features.mean(axis=0)
    return features, targets, source_index, target_index


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_one_lag_is_the_lasso_of_each_target_on_its_candidates(l1_ratio):
    features, targets, source_index, target_index = problem(1)
    found = group_elastic_net(features, targets, source_index, target_index, 0.3, l1_ratio, tolerance=1e-8)
    for target in range(4):
        edges = target_index == target
        oracle = Lasso(0.15, fit_intercept=False, tol=1e-6).fit(
            features[:, 0, source_index[edges]].astype(float), targets[:, target].astype(float)
        )
        np.testing.assert_allclose(found[0, edges], oracle.coef_, atol=1e-4)


def test_every_edge_satisfies_the_condition_of_the_optimum():
    features, targets, source_index, target_index = problem(3)
    strength, l1_ratio = 0.25, 0.4
    found = group_elastic_net(features, targets, source_index, target_index, strength, l1_ratio, tolerance=1e-9)
    rest = targets - predict(features, found, source_index, target_index, 4)
    used = found.any(axis=0)
    assert 0 < used.sum() < len(used)
    for edge, (source, target) in enumerate(zip(source_index, target_index, strict=True)):
        slope = 2 * features[:, :, source].T @ rest[:, target] / len(rest)
        own = found[:, edge]
        if used[edge]:
            subgradient = strength * ((1 - l1_ratio) * own / np.linalg.norm(own) + l1_ratio * np.sign(own))
            np.testing.assert_allclose(slope[own != 0], subgradient[own != 0], atol=2e-3)
        else:
            beyond = np.maximum(np.abs(slope) - l1_ratio * strength, 0)
            assert np.linalg.norm(beyond) <= (1 - l1_ratio) * strength + 1e-3


def test_a_path_ends_where_each_strength_alone_does():
    problem_ = problem(3)
    strengths = (0.8, 0.3, 0.05)
    path = list(group_elastic_net_path(*problem_, strengths, 0.5, tolerance=1e-8))
    for step, strength in enumerate(strengths):
        np.testing.assert_allclose(path[step], group_elastic_net(*problem_, strength, 0.5, tolerance=1e-8), atol=1e-4)
    n_used = [int(one.any(axis=0).sum()) for one in path]
    assert n_used == sorted(n_used)
    assert not group_elastic_net(*problem_, 50.0, 0.5).any()


def test_some_cells_are_fitted_as_if_they_were_all(monkeypatch):
    features, targets, source_index, target_index = problem(3)
    cells = np.random.default_rng(2).permutation(200)[:120]
    alone = group_elastic_net(features[cells], targets[cells], source_index, target_index, 0.2, 0.5)
    monkeypatch.setattr(module, "BLOCK_CELLS", 50)
    found = group_elastic_net(features, targets, source_index, target_index, 0.2, 0.5, cells)
    np.testing.assert_allclose(found, alone, atol=1e-4)
    rest = predict(features[cells], found, source_index, target_index, 4) - targets[cells]
    errors = squared_errors(features, targets, found, source_index, target_index, cells)
    np.testing.assert_allclose(errors, np.square(rest).mean(axis=0), rtol=1e-5)


def test_a_constant_tf_gets_no_coefficient():
    features, targets, source_index, target_index = problem(2)
    features[:, :, 0] = 0
    found = group_elastic_net(features, targets, source_index, target_index, 0.1, 0.5)
    assert not found[:, source_index == 0].any()
    assert np.isfinite(found).all()


def test_predictions_are_the_sum_over_edges_and_lags():
    features, targets, source_index, target_index = problem(2)
    coefficients = np.random.default_rng(1).normal(size=(2, len(source_index))).astype(np.float32)
    expected = np.zeros_like(targets)
    for edge, (source, target) in enumerate(zip(source_index, target_index, strict=True)):
        expected[:, target] += features[:, :, source] @ coefficients[:, edge]
    np.testing.assert_allclose(predict(features, coefficients, source_index, target_index, 4), expected, atol=1e-4)


def test_strengths_that_leave_nothing_do_not_end_the_search():
    assert not has_turned([1.0, 1.0, 1.0, 1.0])
    assert not has_turned([1.0, 0.8, 0.9, 0.9])
    assert has_turned([1.0, 0.8, 0.9, 0.9, 0.81])
