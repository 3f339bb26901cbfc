"""Ridge regression: against scikit-learn, along a path, and as total effects."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import standardize
from scmagnify_core.numerics.ridge import DENSE_STRENGTH, ridge_path


def problem():
    rng = np.random.default_rng(0)
    lagged = rng.normal(size=(150, 3, 5)).astype(np.float32)
    targets = (lagged[:, 1, :4] + rng.normal(size=(150, 4))).astype(np.float32)
    pairs = [(f"T{i}", f"g{j}") for j in range(4) for i in range(5) if (i + j) % 3]
    table = pd.DataFrame(pairs, columns=["source", "target"]).assign(weight=1.0, evidence="imported", origin="made")
    return lagged, targets, PriorNetwork.from_table(table)


def test_each_strength_is_that_of_scikit_learn():
    lagged, targets, prior = problem()
    outcome = standardize(targets)
    path = ridge_path(lagged, outcome, prior, (0.1, 2.0))
    for step, strength in enumerate((0.1, 2.0)):
        for target in range(4):
            edges = np.flatnonzero(prior.target_index == target)
            features = lagged[:, :, prior.source_index[edges]].reshape(150, -1)
            oracle = Ridge(alpha=150 * strength, fit_intercept=False).fit(features, outcome[:, target]).coef_
            np.testing.assert_allclose(path[step][:, edges], oracle.reshape(3, -1), atol=1e-4)


def test_no_candidate_is_left_out():
    lagged, targets, prior = problem()
    assert ridge_path(lagged, standardize(targets), prior, (DENSE_STRENGTH,))[0].any(axis=0).all()
    assert not ridge_path(lagged, standardize(np.ones_like(targets)), prior, (DENSE_STRENGTH,)).any()
