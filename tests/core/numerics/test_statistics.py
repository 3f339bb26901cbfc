"""Multiple testing, permutation p-values and spline tests: against scipy, statsmodels and hand counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.interpolate import make_lsq_spline
from scipy.stats import false_discovery_control, kstest
from statsmodels.api import OLS

from scmagnify_core.errors import InputError
from scmagnify_core.numerics.statistics import adjust_pvalues, permutation_pvalues, spline_basis, spline_f_test


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


# ---------------------------------------------------------------- regression splines


def sparse_genes(n_cells=300, n_genes=12, seed=0):
    """Genes that are mostly zero, the first half with a trend, and a position that crowds at its beginning."""
    rng = np.random.default_rng(seed)
    position = rng.beta(1, 3, n_cells)
    trend = np.outer(position, np.where(np.arange(n_genes) < n_genes // 2, rng.normal(3, 1, n_genes), 0))
    values = rng.gamma(2, 1, (n_cells, n_genes)) + np.abs(trend)
    values[rng.random(values.shape) < rng.uniform(0.3, 0.95, n_genes)] = 0
    return sparse.csr_matrix(values), position


def assert_same_fit(first, second, genes=slice(None), rtol=1e-9):
    for name in ("statistic", "pvalue", "amplitude", "peak"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name)[genes], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("n_splines", [4, 5, 9])
def test_spline_f_test_equals_statsmodels(n_splines):
    values, position = sparse_genes()
    fit = spline_f_test(values, position, n_splines)
    basis = spline_basis(position, n_splines)
    for gene, y in enumerate(values.toarray().T):
        full, constant = OLS(y, basis).fit(), OLS(y, np.ones(len(y))).fit()
        statistic, pvalue, freedom = full.compare_f_test(constant)
        assert freedom == n_splines - 1
        np.testing.assert_allclose(fit.statistic[gene], statistic, rtol=1e-8)
        np.testing.assert_allclose(fit.pvalue[gene], pvalue, rtol=1e-8)
        np.testing.assert_allclose(fit.predict(position)[:, gene], full.fittedvalues, rtol=0, atol=1e-10)


def test_spline_f_test_fits_by_least_squares():
    values, position = sparse_genes(seed=1)
    fit = spline_f_test(values, position, 5)
    basis = spline_basis(position, 5)
    coefficients = np.linalg.lstsq(basis, values.toarray())[0]
    np.testing.assert_allclose(fit.coefficients, coefficients, atol=1e-9)
    order = np.argsort(position)
    scipys = make_lsq_spline(position[order], values.toarray()[order], fit.knots, 3)
    np.testing.assert_allclose(fit.predict(position), scipys(position), atol=1e-9)


def test_spline_basis_is_a_partition_of_unity_with_every_function_in_use():
    position = np.random.default_rng(0).exponential(size=500)
    basis = spline_basis(position, 6)
    assert basis.shape == (500, 6)
    np.testing.assert_allclose(basis.sum(axis=1), 1)
    assert (basis >= 0).all()
    assert (np.count_nonzero(basis, axis=0) > 50).all()
    assert np.linalg.matrix_rank(basis) == 6


def test_spline_f_test_takes_dense_values_and_leaves_the_callers_matrix_alone():
    values, position = sparse_genes()
    halves = (np.repeat(values.data / 2, 2), np.repeat(values.indices, 2), 2 * values.indptr)
    twice = sparse.csr_matrix(halves, values.shape)
    assert_same_fit(spline_f_test(twice, position, 5), spline_f_test(values.toarray(), position, 5))
    assert twice.nnz == 2 * values.nnz


def test_spline_f_test_ignores_the_order_of_cells_and_genes():
    values, position = sparse_genes()
    rng = np.random.default_rng(1)
    cells, genes = rng.permutation(values.shape[0]), rng.permutation(values.shape[1])
    first = spline_f_test(values, position, 5)
    assert_same_fit(spline_f_test(values[cells], position[cells], 5), first)
    assert_same_fit(spline_f_test(values[:, genes], position, 5), first, genes)


def test_spline_f_test_ignores_the_unit_of_a_gene_and_of_the_position():
    values, position = sparse_genes()
    first = spline_f_test(values, position, 5)
    scaled = spline_f_test(values * 7, position, 5)
    np.testing.assert_allclose(scaled.statistic, first.statistic, rtol=1e-9)
    np.testing.assert_allclose(scaled.amplitude, 7 * first.amplitude, rtol=1e-9)
    for slope, shift in ((30.0, -4.0), (-1.0, 0.0)):
        moved = spline_f_test(values, slope * position + shift, 5)
        np.testing.assert_allclose(moved.statistic, first.statistic, rtol=1e-8)
        np.testing.assert_allclose(moved.amplitude, first.amplitude, rtol=1e-8)
        np.testing.assert_allclose((moved.peak - shift) / slope, first.peak, atol=1e-8)


def test_spline_f_test_ignores_a_shift_of_a_gene():
    values, position = sparse_genes()
    assert_same_fit(spline_f_test(values.toarray() + 1e4, position, 5), spline_f_test(values, position, 5), rtol=1e-6)


def test_spline_f_test_is_uniform_under_the_null():
    rng = np.random.default_rng(3)
    values, _ = sparse_genes(400, 600, seed=3)
    pvalue = spline_f_test(values, rng.permutation(np.linspace(0, 1, 400)), 5).pvalue
    assert kstest(pvalue, "uniform").pvalue > 0.01


def test_spline_f_test_finds_amplitude_and_peak_of_a_curve():
    position = np.linspace(0, 2, 500)
    noise = np.random.default_rng(4).normal(0, 0.1, (500, 3))
    curves = np.stack([position, -((position - 0.6) ** 2), np.full(500, 3.0)], axis=1)
    fit = spline_f_test(curves + noise, position, 5)
    np.testing.assert_allclose(fit.amplitude, [2, 1.96, 0], atol=0.1)
    np.testing.assert_allclose(fit.peak[:2], [2, 0.6], atol=0.05)
    assert (fit.pvalue[:2] < 1e-100).all()
    assert fit.pvalue[2] > 1e-3


def test_spline_f_test_reads_the_fit_only_where_cells_are():
    """A cubic through two groups of cells bulges between them, where no cell is."""
    position = np.r_[np.linspace(0, 0.2, 60), np.linspace(0.8, 1, 60)]
    values = np.sin(15 * position)[:, None]
    fit = spline_f_test(values, position, 5)
    seen = fit.predict(position)
    assert fit.amplitude[0] <= np.ptp(seen) + 1e-12 < np.ptp(fit.predict(np.linspace(0, 1, 100)))
    assert fit.peak[0] in position


def test_spline_f_test_does_not_test_a_constant_gene():
    position = np.linspace(0, 1, 50)
    values = np.stack([np.zeros(50), np.full(50, np.float32(0.1)), position], axis=1)
    fit = spline_f_test(values, position, 5)
    for result in (fit.statistic, fit.pvalue, fit.peak):
        assert np.isnan(result).tolist() == [True, True, False]
    np.testing.assert_array_equal(fit.amplitude[:2], 0)
    np.testing.assert_allclose(fit.predict(position), values, atol=1e-9)


def test_spline_f_test_never_gives_a_pvalue_of_zero():
    position = np.linspace(0, 1, 5000)
    noise = np.random.default_rng(5).normal(0, 1, 5000)
    fit = spline_f_test(np.stack([position, position + 0.3 * noise, position + 0.01 * noise], axis=1), position, 5)
    assert fit.pvalue[0] == fit.pvalue[2] == np.finfo(float).tiny
    assert fit.statistic[0] > fit.statistic[2] > fit.statistic[1]


def test_spline_f_test_of_a_perfect_fit_is_finite():
    for n in range(100, 110):
        position = np.linspace(0, 1, n)
        fit = spline_f_test(2 * position[:, None] + 1, position, 5)
        assert np.isfinite(fit.statistic).all()
        assert fit.pvalue[0] == np.finfo(float).tiny


def test_spline_f_test_loses_degrees_of_freedom_with_rank():
    """Crowded and lone positions leave the basis of full rank or not; F follows the rank that there is."""
    position = np.repeat([0, 1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9, 1.0], 10)
    y = np.random.default_rng(6).normal(size=80)
    basis = spline_basis(position, 6)
    rank = np.linalg.matrix_rank(basis - basis.mean(axis=0), tol=1e-12)
    assert rank < 5
    residual = y - basis @ np.linalg.lstsq(basis, y)[0]
    ratio = (80 * y.var() - residual @ residual) / (residual @ residual)
    np.testing.assert_allclose(
        spline_f_test(y[:, None], position, 6).statistic, ratio * (79 - rank) / rank, rtol=1e-6
    )


def test_spline_f_test_refuses_too_few_distinct_positions():
    position = np.tile(np.arange(5.0), 20)
    with pytest.raises(InputError, match="pseudotime: has 5 distinct values, and n_splines = 5 needs 6. Lower n_spl"):
        spline_f_test(np.ones((100, 2)), position, 5)
    spline_f_test(np.ones((100, 2)), position, 4)


def test_spline_basis_refuses_fewer_functions_than_a_cubic_has():
    with pytest.raises(ValueError, match="degree 3 has at least 4 basis functions, not 3"):
        spline_basis(np.linspace(0, 1, 50), 3)
