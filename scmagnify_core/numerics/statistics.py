"""Statistics that several parts of the method share: multiple testing, permutation p-values, regression splines.

Estimators that belong to one part (a network's agreement, a metric's area) live with that part.

Decisions
---------
* A regression spline with few basis functions and no penalty: an F test with known degrees of freedom is then exact
  for normal residuals, and all genes share one QR decomposition.
* Knots are quantiles of the *distinct* positions. Cells crowd at some stages, and knots at even steps can leave a
  basis function without a cell; quantiles over cells could coincide where many cells share a position.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # loads scipy.interpolate when it is used; every process imports this module, few need that
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import linalg, sparse, special

from scmagnify_core.errors import InputError

DEGREE = 3
N_GRID = 100  # positions at which amplitude and peak of a fit are read


def adjust_pvalues(pvalues: ArrayLike) -> Float[np.ndarray, "..."]:
    """Benjamini-Hochberg adjusted p-values, over all entries together.

    SciPy's ``false_discovery_control``, which controls the rate if tests are independent or positively dependent, and
    tests that could not be made left out.

    Parameters
    ----------
    pvalues
        Any shape. NaN is a test that could not be made: it stays NaN and does not count as a test.

    Returns
    -------
    float64 of the same shape, never below the p-value and at most 1.

    Raises
    ------
    ValueError
        A p-value lies outside [0, 1]: a programming error, because no user supplies p-values.

    References
    ----------
    Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289-300.
    """
    from scipy.stats import false_discovery_control  # heavy, and few processes need it

    values = np.asarray(pvalues, dtype=np.float64)
    tested = values[~np.isnan(values)]
    if tested.size and (tested.min() < 0 or tested.max() > 1):
        raise ValueError(f"p-values must lie in [0, 1], found {tested.min():g} to {tested.max():g}")
    result = np.full(values.shape, np.nan)
    if tested.size:
        result[~np.isnan(values)] = false_discovery_control(tested)
    return result


def permutation_pvalues(
    n_at_least: Int[np.ndarray, "..."] | int, n_permutations: Int[np.ndarray, "..."] | int
) -> Float[np.ndarray, "..."]:
    """p-values of permutation tests: (count + 1) / (permutations + 1).

    The observed arrangement is itself one of the possible ones, so a p-value is never 0; count / permutations would
    reject too often.

    Parameters
    ----------
    n_at_least
        Permutations whose statistic reached the observed one, ties included.
    n_permutations
        Permutations that were drawn, at random.

    Raises
    ------
    ValueError
        A count is negative or exceeds the number of permutations.

    References
    ----------
    Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39.
    """
    count, total = np.asarray(n_at_least), np.asarray(n_permutations)
    if (count < 0).any() or (count > total).any():
        raise ValueError("counts must lie between 0 and the number of permutations")
    return (count + 1) / (total + 1)


@dataclass(frozen=True)
class SplineFit:
    """Splines fitted to genes along a position, each against the constant.

    ``statistic`` is F and ``pvalue`` its tail; both, and ``peak``, are NaN for a gene that does not vary.
    ``amplitude`` is maximum minus minimum of the fit, in the unit of the values; ``peak`` is where the maximum lies.
    """

    statistic: Float[np.ndarray, " gene"]
    pvalue: Float[np.ndarray, " gene"]
    amplitude: Float[np.ndarray, " gene"]
    peak: Float[np.ndarray, " gene"]
    coefficients: Float[np.ndarray, "spline gene"]
    knots: Float[np.ndarray, " knot"]

    def predict(self, position: Float[np.ndarray, " position"]) -> Float[np.ndarray, "position gene"]:
        """Fitted values at positions inside the observed range; outside they are an extrapolated cubic."""
        return scipy.interpolate.BSpline(self.knots, self.coefficients, DEGREE)(position)


def spline_basis(
    position: Float[np.ndarray, " cell"], n_splines: int, degree: int = DEGREE
) -> Float[np.ndarray, "cell spline"]:
    """B-spline basis over the observed range, knots at quantiles of the distinct positions; each row sums to 1.

    Parameters
    ----------
    n_splines
        Basis functions, more than ``degree``.

    Raises
    ------
    InputError
        Fewer than ``n_splines + 1`` positions are distinct, so that the spline could run through all means.
    """
    return scipy.interpolate.BSpline.design_matrix(
        position, _knots(np.unique(position), n_splines, degree), degree
    ).toarray()


def spline_f_test(
    values: sparse.csr_matrix | Float[np.ndarray, "cell gene"], position: Float[np.ndarray, " cell"], n_splines: int
) -> SplineFit:
    """Fit a cubic regression spline to each gene and test it against the constant.

    The centred basis has an orthonormal basis Q (cells x rank). Q is orthogonal to the constant, so what the spline
    explains is ||Q' y||^2, and a sparse gene needs no centring. Cost is ``n_splines`` times the non-zeros; nothing of
    size cells x genes is formed. Degrees of freedom follow the rank, which is ``n_splines - 1`` unless gaps between
    positions leave a basis function undetermined.

    Amplitude and peak are read at the cells' positions that lie nearest to 100 even steps: within a gap
    without cells nothing holds the cubic down.

    Parameters
    ----------
    values
        Expression or another quantity; of sparse values only the stored ones are touched.
    position
        Position of each cell, for instance pseudotime; finite.

    Returns
    -------
    A gene whose variation is below float32 rounding of its values is constant and not tested. A p-value that is
    smaller than float64 can hold is reported as the smallest normal number, 2.2e-308, never as 0.

    Raises
    ------
    InputError
        Fewer than ``n_splines + 1`` positions are distinct.
    """
    matrix = sparse.csr_matrix(values, dtype=np.float64)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # the caller's matrix stays as it is
        matrix.sum_duplicates()
    n_cells, n_genes = matrix.shape
    basis = spline_basis(position, n_splines)
    center = basis.mean(axis=0)
    q, r, order = linalg.qr(basis - center, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    rank = int((diagonal > n_cells * np.finfo(np.float64).eps * diagonal[0]).sum())

    mean = np.asarray(matrix.mean(axis=0)).ravel()
    # Two passes over the stored values, the zeros apart: squares minus squared mean would cancel.
    deviations = (matrix.data - mean[matrix.indices]) ** 2
    n_zeros = n_cells - np.bincount(matrix.indices, minlength=n_genes)
    total = np.bincount(matrix.indices, deviations, minlength=n_genes) + n_zeros * mean**2
    varies = total > np.finfo(np.float32).eps ** 2 * n_cells * mean**2
    projection = q[:, :rank].T @ matrix
    explained = (projection**2).sum(axis=0)
    freedom = n_cells - 1 - rank
    residual = np.maximum(total - explained, np.finfo(np.float64).eps * total)  # F of a perfect fit is finite
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(varies, (explained / rank) / (residual / freedom), np.nan)
    pvalue = np.maximum(special.fdtrc(rank, freedom, statistic), np.finfo(np.float64).tiny)

    coefficients = np.zeros((n_splines, n_genes))
    coefficients[order[:rank]] = linalg.solve_triangular(r[:rank, :rank], projection)
    coefficients += mean - center @ coefficients  # a row of the basis sums to 1, so this is the intercept
    distinct = np.unique(position)
    knots = _knots(distinct, n_splines, DEGREE)
    grid = _nearest(distinct, np.linspace(distinct[0], distinct[-1], N_GRID))
    curves = scipy.interpolate.BSpline(knots, coefficients, DEGREE)(grid)
    amplitude = np.where(varies, np.ptp(curves, axis=0), 0.0)
    peak = np.where(varies, grid[curves.argmax(axis=0)], np.nan)
    return SplineFit(statistic, pvalue, amplitude, peak, coefficients, knots)


def _knots(distinct: Float[np.ndarray, " distinct"], n_splines: int, degree: int) -> Float[np.ndarray, " knot"]:
    """Knots with the ends repeated, so that the basis spans all splines on the observed range."""
    if n_splines <= degree:
        raise ValueError(f"a spline of degree {degree} has at least {degree + 1} basis functions, not {n_splines}")
    if len(distinct) <= n_splines:
        raise InputError(
            "pseudotime", f"has {len(distinct)} distinct values, and n_splines = {n_splines} needs {n_splines + 1}.",
            f"Lower n_splines (at least {degree + 1}), or give a continuous pseudotime.",
        )  # fmt: skip
    inner = np.quantile(distinct, np.linspace(0, 1, n_splines - degree + 1))
    return np.concatenate([np.repeat(inner[0], degree), inner, np.repeat(inner[-1], degree)])


def _nearest(ordered: Float[np.ndarray, " value"], targets: Float[np.ndarray, " target"]) -> np.ndarray:
    """The value nearest to each target, each once."""
    after = np.searchsorted(ordered, targets).clip(1, len(ordered) - 1)
    before = after - 1
    return np.unique(ordered[np.where(targets - ordered[before] <= ordered[after] - targets, before, after)])
