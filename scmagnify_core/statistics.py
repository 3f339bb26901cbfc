"""Statistics that several parts of the method share: multiple testing and permutation p-values.

Estimators that belong to one part (a network's agreement, a metric's area) live with that part.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike


def adjust_pvalues(pvalues: ArrayLike) -> Float[np.ndarray, "..."]:
    """Benjamini-Hochberg adjusted p-values, over all entries together.

    Controls the false discovery rate if tests are independent or positively dependent. Cost is one sort.

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
    values = np.asarray(pvalues, dtype=np.float64)
    tested = values[~np.isnan(values)]
    if tested.size and (tested.min() < 0 or tested.max() > 1):
        raise ValueError(f"p-values must lie in [0, 1], found {tested.min():g} to {tested.max():g}")
    order = np.argsort(tested, kind="stable")
    scaled = tested[order] * (tested.size / np.arange(1, tested.size + 1))
    # Step-up: an adjusted value is the smallest among the scaled values of its own and all larger p-values.
    stepped = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    adjusted = np.empty_like(tested)
    adjusted[order] = stepped
    result = np.full(values.shape, np.nan)
    result[~np.isnan(values)] = adjusted
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
