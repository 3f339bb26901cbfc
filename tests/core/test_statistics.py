"""Multiple testing and permutation p-values against scipy and hand counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from scmagnify_core.statistics import adjust_pvalues, permutation_pvalues


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_adjust_pvalues_equals_scipy(pvalues):
    np.testing.assert_allclose(adjust_pvalues(pvalues), false_discovery_control(pvalues), rtol=1e-12)


def test_adjust_pvalues_ignores_nan():
    pvalues = np.array([0.01, np.nan, 0.2, 0.03, np.nan])
    adjusted = adjust_pvalues(pvalues)
    assert np.isnan(adjusted[[1, 4]]).all()
    np.testing.assert_allclose(adjusted[[0, 2, 3]], false_discovery_control(pvalues[[0, 2, 3]]))


def test_adjust_pvalues_keeps_shape_and_takes_all_entries_as_one_family():
    pvalues = np.random.default_rng(0).random((7, 5))
    np.testing.assert_allclose(adjust_pvalues(pvalues), false_discovery_control(pvalues.ravel()).reshape(7, 5))


@pytest.mark.parametrize("pvalues", [[], [np.nan, np.nan]])
def test_adjust_pvalues_without_a_test_returns_as_much(pvalues):
    assert np.isnan(adjust_pvalues(pvalues)).all()
    assert adjust_pvalues(pvalues).shape == (len(pvalues),)


def test_adjust_pvalues_commutes_with_permutation_and_keeps_order():
    rng = np.random.default_rng(1)
    pvalues = rng.random(50).round(1)
    order = rng.permutation(50)
    adjusted = adjust_pvalues(pvalues)
    np.testing.assert_array_equal(adjust_pvalues(pvalues[order]), adjusted[order])
    assert (np.diff(adjusted[np.argsort(pvalues)]) >= 0).all()
    assert (adjusted >= pvalues).all()


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_adjust_pvalues_refuses_what_is_no_pvalue(bad):
    with pytest.raises(ValueError, match=r"p-values must lie in \[0, 1\]"):
        adjust_pvalues([0.5, bad])


def test_permutation_pvalues_counts_the_observation():
    np.testing.assert_allclose(permutation_pvalues(np.array([0, 9, 99]), 99), [0.01, 0.1, 1.0])
    assert permutation_pvalues(0, 0) == 1


def test_permutation_pvalues_is_valid_under_the_null():
    """The rank of one among 20 exchangeable draws: P(p <= a) is at most a."""
    draws = np.random.default_rng(2).random((4000, 20))
    pvalues = permutation_pvalues((draws[:, 1:] >= draws[:, :1]).sum(axis=1), 19)
    for level in (0.05, 0.2, 0.5):
        assert (pvalues <= level).mean() == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("count", [-1, 11])
def test_permutation_pvalues_refuses_impossible_counts(count):
    with pytest.raises(ValueError, match="between 0 and the number"):
        permutation_pvalues(count, 10)
