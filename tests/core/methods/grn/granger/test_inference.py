"""Reduction of coefficients over cells: against numpy, value by value."""

import numpy as np
import pytest

from scmagnify_core.methods.grn.granger.inference import CACHE_VALUES, summarize


def _expected(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cv = np.where(wide.mean(axis=1) != 0, wide.std(axis=1) / np.abs(wide.mean(axis=1)), np.nan)
    return np.median(values, axis=1), np.median(np.abs(values), axis=1), cv


@pytest.mark.parametrize("n_cells", [1, 2, 3, 4, 257, 1000, CACHE_VALUES + 1])
def test_summarize_equals_numpy_exactly(n_cells: int) -> None:
    rng = np.random.default_rng(n_cells)
    n_edges = 3 if n_cells > 1000 else 700  # more than are reduced at a time
    values = rng.standard_normal((n_edges, n_cells), dtype=np.float32) + rng.choice([-3, 0, 3], (n_edges, 1))
    values = np.round(values.astype(np.float32), 1 if n_cells % 2 else 6)  # ties, too
    before = values.copy()
    weight, magnitude, cv = summarize(values)
    median, of_absolute, variation = _expected(values)
    np.testing.assert_array_equal(weight, median)
    np.testing.assert_array_equal(magnitude, of_absolute)
    np.testing.assert_allclose(cv, variation, rtol=1e-6)
    np.testing.assert_array_equal(values, before)


def test_summarize_keeps_the_deviation_of_nearly_constant_values() -> None:
    values = (1000 + np.random.default_rng(0).standard_normal((5, 2001)) * 1e-3).astype(np.float32)
    np.testing.assert_allclose(summarize(values)[2], _expected(values)[2], rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_cells", [100, 101])
def test_summarize_shows_a_single_value_that_is_not_finite(wrong: float, n_cells: int) -> None:
    values = np.random.default_rng(0).standard_normal((4, n_cells), dtype=np.float32)
    values[2, 17] = wrong
    weight, magnitude, _ = summarize(values)
    assert np.isnan(weight).tolist() == [False, False, True, False]
    keep = [0, 1, 3]
    np.testing.assert_array_equal(weight[keep], np.median(values[keep], axis=1))
    np.testing.assert_array_equal(magnitude[keep], np.median(np.abs(values[keep]), axis=1))
