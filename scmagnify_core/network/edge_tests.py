"""p-values of candidate edges: could a TF's past explain its target by chance?

Null hypothesis of an edge: given the past of the target's other candidates, that of this TF tells nothing of the
target. The test is a linear regression of the target on the mean of each candidate's lagged expression over its lags,
with errors that may be correlated along pseudotime.

Neighbouring cells are alike, so that the usual standard error, which takes cells for independent draws, is too small:
of unrelated TFs and targets it calls 10 % significant at 5 % (measured). Here targets and regressors are first turned
into cosine coefficients along pseudotime, lineage by lineage. The coefficients of a stationary error are about
independent whatever its autocorrelation, each with a variance of its own, which a heteroscedasticity-consistent
covariance allows for. It is the variance of the estimate over random signs of the error's coefficients: the
surrogates of ``lagged``, all of them at once. Level and slope of each lineage are taken out first.

What a small p-value does not say
---------------------------------
TFs are measured with noise. What a noisy regulator leaves unexplained, a TF that merely resembles it explains: such
edges are no accident of sampling, and their p-values are small. On planted networks 22 % of decoys have p < .05
(``docs/accuracy.md``). The ranking therefore stays that of the score.

References
----------
MacKinnon and White (1985), J. Econometrics 29, 305-325 (the covariance, HC3). Engle (1974), Int. Econ. Rev. 15, 1-11
(regression over frequencies).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import special

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget
from scmagnify_core.network.network import MultiscaleNetwork
from scmagnify_core.numerics.statistics import adjust_pvalues
from scmagnify_core.numerics.surrogates import UNLABELLED

MIN_CELLS = 10  # of a lineage; the cells of smaller ones are left out
MIN_FREEDOM = 10  # cells beyond the candidates of a target; without them its edges are not tested
BLOCK_TARGETS = 64  # turned into frequencies at a time
RIDGE = 1e-6  # of the mean variance: keeps TFs that are copies of one another apart
MAX_LEVERAGE = 0.9


def edge_pvalues(
    lagged: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    lineages: np.ndarray | None,
    prior: PriorNetwork,
) -> Float[np.ndarray, " edge"]:
    """Two-sided p-value of each candidate edge; NaN where its target has too many candidates or does not vary.

    Parameters
    ----------
    lagged
        Lagged expression of ``prior.sources``.
    targets
        Standardised expression of ``prior.targets``.
    lineages
        Label of each cell; cells without a label are left out. One lineage when None.

    Notes
    -----
    Time is cells x sum over targets of its candidates squared; memory is :func:`testing_bytes`.
    """
    spectrum = _spectrum(pseudotime, lineages)
    regressors = spectrum(lagged.mean(axis=1, dtype=np.float64))
    pvalue = np.full(prior.n_edges, np.nan)
    first, outcomes = -BLOCK_TARGETS, np.empty((0, 0))
    for target, edges in prior.edges_of_targets():
        if target >= first + BLOCK_TARGETS:
            first, outcomes = target, spectrum(targets[:, target : target + BLOCK_TARGETS].astype(np.float64))
        outcome = outcomes[:, target - first]
        if len(outcome) - (edges.stop - edges.start) < MIN_FREEDOM or not outcome.any():
            continue
        statistic = _robust_statistics(regressors[:, prior.source_index[edges]], outcome)
        pvalue[edges] = 2 * special.ndtr(-np.abs(statistic))
    return pvalue


def testing_bytes(n_cells: int, n_sources: int) -> int:
    """What :func:`edge_pvalues` takes at most: the regressors twice, and three copies of a block of targets."""
    return 8 * n_cells * (2 * n_sources + 3 * BLOCK_TARGETS)


def with_pvalues(edges: pd.DataFrame, prior: PriorNetwork, pvalue: Float[np.ndarray, " edge"]) -> pd.DataFrame:
    """The edge table with columns ``pvalue`` and ``padj`` (Benjamini-Hochberg over the edges that were tested)."""
    names = {
        "source": np.asarray(prior.sources, dtype=object)[prior.source_index],
        "target": np.asarray(prior.targets, dtype=object)[prior.target_index],
    }
    tested = pd.DataFrame(names | {"pvalue": pvalue, "padj": adjust_pvalues(pvalue)})
    return edges.merge(tested, on=["source", "target"], how="left", validate="1:1")


def _robust_statistics(
    regressors: Float[np.ndarray, "frequency edge"], outcome: Float[np.ndarray, " frequency"]
) -> Float[np.ndarray, " edge"]:
    """Coefficients of a linear regression over their heteroscedasticity-consistent standard errors (HC3)."""
    gram = regressors.T @ regressors
    gram += RIDGE * max(np.trace(gram) / len(gram), np.finfo(float).tiny) * np.eye(len(gram))
    influence = np.linalg.solve(gram, regressors.T)
    estimate = influence @ outcome
    leverage = np.minimum(np.einsum("fe,ef->f", regressors, influence), MAX_LEVERAGE)
    residual = (outcome - regressors @ estimate) / (1 - leverage)
    deviation = np.sqrt(np.square(influence * residual).sum(axis=1))
    return np.divide(estimate, deviation, out=np.full_like(estimate, np.nan), where=deviation > 0)


def _spectrum(
    pseudotime: Float[np.ndarray, " cell"], lineages: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Function that turns cells x columns into cosine coefficients, without level and slope of each lineage."""
    from scipy.fft import dct

    labels = np.full(len(pseudotime), "all") if lineages is None else np.asarray(lineages).astype(str)
    members = [np.flatnonzero((labels == name) & np.isfinite(pseudotime)) for name in np.unique(labels)]
    members = [
        one[np.argsort(pseudotime[one], kind="stable")]
        for one in members
        if len(one) >= MIN_CELLS and labels[one[0]] != UNLABELLED
    ]

    def transform(values: Float[np.ndarray, "cell column"]) -> Float[np.ndarray, "frequency column"]:
        parts = []
        for one in members:
            line = np.linalg.qr(np.vander(pseudotime[one] - pseudotime[one].mean(), 2))[0]
            centred = values[one] - line @ (line.T @ values[one])
            parts.append(dct(centred, norm="ortho", axis=0))
        return np.concatenate(parts) if parts else np.empty((0, values.shape[1]))

    return transform


def with_tests(
    value: MultiscaleNetwork,
    dataset: Dataset,
    prior: PriorNetwork,
    operators: DiffusionOperators | None,
    memory_budget: int | None = None,
) -> MultiscaleNetwork:
    """The network with ``pvalue`` and ``padj`` of its edges; they are unknown without lagged expression.

    Raises
    ------
    InputError
        The tests do not fit into memory.
    """
    if operators is None:
        return replace(value, edges=value.edges.assign(pvalue=np.nan, padj=np.nan))
    n_cells, n_lags, n_sources = operators.lagged.shape
    n_targets = len(prior.targets)
    needed = memory_in_use() + 8 * n_cells * n_targets + testing_bytes(n_cells, n_sources)
    needed += 16 * n_lags * n_sources * n_targets
    check_fits(
        f"p-values of {prior.n_edges:,} candidate edges", needed, resolve_budget(memory_budget),
        "Take fewer TFs or targets (a stricter prior)",
    )  # fmt: skip
    targets = standardize(dataset.expression(prior.targets))
    pvalue = edge_pvalues(operators.lagged, targets, dataset.pseudotime, dataset.labels("lineage"), prior)
    return replace(value, edges=with_pvalues(value.edges, prior, pvalue))
