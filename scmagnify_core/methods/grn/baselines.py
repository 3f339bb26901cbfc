"""Baselines: what simpler models make of the same candidate edges and the same lagged expression.

Each takes the lagged expression of the TFs, the expression of the targets and the candidates, and returns ``source,
target, score, signed_score, lag`` in the order of the prior. They share all that the Granger model is given, so that
what separates it from them in a table of scores is the model alone.

=====================  ================================================================================
`lagged_correlation`   each TF alone, at its best lag
`ridge`                all lags of all candidates of a target, linear, every coefficient kept small
`group_lasso`          the same, with edges left out as wholes: the penalty of the Granger model
`boosted_trees`        not linear: trees on the same features, as GRNBoost2 does it without lags
=====================  ================================================================================

What each costs is estimated before it starts (`Family.work`), because time grows with candidates squared or cubed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import standardize
from scmagnify_core.errors import InputError
from scmagnify_core.methods.family import (
    About,
    Family,
    Fit,
    Fitter,
    Input,
    Inputs,
    Kind,
    NoSettings,
    Progress,
    Size,
)
from scmagnify_core.methods.packing import fit_of_scores, unpack
from scmagnify_core.numerics.correlation import correlate
from scmagnify_core.numerics.group_elastic_net import group_elastic_net_path, has_turned, squared_errors
from scmagnify_core.numerics.ridge import ridge_path
from scmagnify_core.parallel import n_cores

RIDGE_STRENGTHS = np.geomspace(30, 1e-3, 19).tolist()  # beside standardised features, whose inner products are 1
GROUP_STRENGTHS = np.geomspace(1, 0.01, 14).tolist()
L1_RATIO = 0.5  # as in the Granger model
HELD_OUT = 5  # every so manieth cell of a random order chooses the strength
N_SWEEPS = 100  # of coordinate descent, for the estimate
# A small, fixed number of trees: GRNBoost2 grows up to 5,000 at a tenth of this rate and stops each target when cells
# left out of a tree gain no more, which ranks alike and takes ten times as long.
N_TREES = 50
TREES: Mapping[str, object] = {
    "objective": "regression", "learning_rate": 0.1, "num_leaves": 8, "min_data_in_leaf": 20, "max_bin": 63,
    "bagging_fraction": 0.9, "bagging_freq": 1, "feature_fraction": 0.5, "seed": 0, "deterministic": True,
    "force_col_wise": True, "num_threads": 1, "verbosity": -1,
}  # fmt: skip

Lagged = Float[np.ndarray, "cell lag source"]
Targets = Float[np.ndarray, "cell target"]
Cells = Int[np.ndarray, " cell"] | None


def lagged_correlation(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> pd.DataFrame:
    """Pearson correlation at the lag where its absolute value is largest."""
    _refuse_others(lagged, targets, prior)
    of_lags = [
        correlate(lagged[:, lag], targets, prior.source_index, prior.target_index) for lag in range(lagged.shape[1])
    ]
    found = np.stack(of_lags)
    best = np.abs(found).argmax(axis=0)
    correlation = np.take_along_axis(found, best[None], axis=0)[0]
    return _network(prior, np.abs(correlation), correlation, best + 1.0)


def ridge(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> pd.DataFrame:
    """Ridge regression of each target on all lags of its candidates; the strength is that of `group_lasso`'s rule.

    Generalised cross-validation of each target by itself, the textbook's choice, took a hundredth of the strength that
    ranks best: cells beside each other are no independent observations.
    """
    features, outcome = _prepare(lagged, targets, prior)
    return _of_coefficients(prior, _fit_chosen(ridge_path, features, outcome, prior, RIDGE_STRENGTHS))


def group_lasso(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> pd.DataFrame:
    """Group elastic net of each target; one strength for all, the one that predicts a fifth of the cells best.

    That is the Granger model with coefficients that are the same in all cells (`numerics.group_elastic_net`), its
    strength chosen as is usual. An edge's score is the absolute sum of its coefficients over lags.
    """
    features, outcome = _prepare(lagged, targets, prior)

    def path(
        features: Lagged, outcome: Targets, prior: PriorNetwork, strengths: Sequence[float], cells: Cells = None
    ) -> Iterator[Float[np.ndarray, "lag edge"]]:
        ends = prior.source_index, prior.target_index
        return group_elastic_net_path(features, outcome, *ends, strengths, L1_RATIO, cells)

    return _of_coefficients(prior, _fit_chosen(path, features, outcome, prior, GROUP_STRENGTHS))


def _fit_chosen(
    path: Callable[..., Iterable[Float[np.ndarray, "lag edge"]]],
    features: Lagged,
    outcome: Targets,
    prior: PriorNetwork,
    strengths: Sequence[float],
) -> Float[np.ndarray, "lag edge"]:
    """Fit to all cells with the strength that, fitted to four fifths of them, predicts the others best."""
    order = np.random.default_rng(0).permutation(len(features))
    test, train = order[::HELD_OUT], np.delete(order, np.s_[::HELD_OUT])
    errors: list[float] = []
    for one in path(features, outcome, prior, strengths, train):
        own = squared_errors(features, outcome, one, prior.source_index, prior.target_index, test)
        errors.append(float(own.mean()))
        if has_turned(errors):
            break
    (coefficients,) = path(features, outcome, prior, [strengths[int(np.argmin(errors))]])
    return coefficients


def boosted_trees(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> pd.DataFrame:
    """Stochastic gradient boosting of each target on all lags of its candidates.

    An edge's score is what its lags take off the squared error over all trees, per cell; trees say nothing of signs.
    The same on every run: one thread a target, one seed. The order of genes decides which features a tree is offered.

    Raises
    ------
    InputError
        LightGBM does not load: its wheel leaves OpenMP to the system.

    References
    ----------
    Moerman et al. (2019), Bioinformatics 35, 2159-2161 (GRNBoost2); Ke et al. (2017), NeurIPS (LightGBM).
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        remedy = "Install OpenMP: `apt-get install libgomp1`, or `brew install libomp`."
        raise InputError("boosted_trees", f"LightGBM does not load ({error}).", remedy) from error
    features, outcome = _prepare(lagged, targets, prior)
    n_cells, n_lags, _ = features.shape
    gains = np.zeros((n_lags, prior.n_edges))

    def grow(target: int, edges: slice) -> None:
        own = np.ascontiguousarray(features[:, :, prior.source_index[edges]].reshape(n_cells, -1))
        data = lightgbm.Dataset(own, np.ascontiguousarray(outcome[:, target]), params=dict(TREES))
        model = lightgbm.train(dict(TREES), data, num_boost_round=N_TREES)
        gains[:, edges] = model.feature_importance("gain").reshape(n_lags, -1) / n_cells

    # A target is one thread's from beginning to end, so that results do not depend on their number.
    with ThreadPoolExecutor(n_cores()) as pool:
        for job in [pool.submit(grow, target, edges) for target, edges in prior.edges_of_targets()]:
            job.result()
    total = gains.sum(axis=0)
    return _network(prior, total, np.zeros_like(total), _mean_lag(gains))


def _fit(rank: Callable[[Lagged, Targets, PriorNetwork], pd.DataFrame]) -> Fitter:
    """A baseline as the fit of a family: nothing is random, so that every seed is the same."""

    def fit(inputs: Inputs, config: NoSettings, seeds: Sequence[int], progress: Progress) -> dict[int, Fit]:
        edges = rank(inputs.lags.lagged, inputs.targets(), inputs.prior)
        return dict.fromkeys(seeds, fit_of_scores(edges))

    return fit


def _products(size: Size) -> float:
    width = float(size.n_lags * size.n_sources)
    return size.n_cells * width * (width + size.n_targets)


def _own_candidates(size: Size) -> float:
    """Lags of all candidates of a typical target: those of all targets are about alike."""
    return size.n_lags * size.n_edges / max(1, size.n_targets)


def _memory(size: Size, config: NoSettings) -> float:
    """Features and outcomes twice, inner products, and coefficients of two fits."""
    width = float(size.n_lags * size.n_sources)
    cells = 8.0 * size.n_cells * (width + 3 * size.n_targets)
    return cells + 24 * width**2 + 16 * width * size.n_targets + 48.0 * size.n_lags * size.n_edges + 2**27


_READS = frozenset({Input.EXPRESSION, Input.CANDIDATES, Input.LAGS, Input.PSEUDOTIME})
_AVOID = "You need the best estimate: it is a yardstick, to report beside a method."


def _baseline(
    name: str, title: str, colour: str, rank: Callable[[Lagged, Targets, PriorNetwork], pd.DataFrame],
    work: Callable[[Size], float], reference: str, assumes: str, formula: str,
) -> Family:  # fmt: skip
    return Family(
        name=name, title=title, reference=reference, colour=colour, role="baseline", kind=Kind.NETWORK, reads=_READS,
        fit=_fit(rank), read=unpack, work=lambda size, config: work(size), memory=_memory,
        about=About(assumes, formula, "You want to know what scMagnify adds to a simpler model.", _AVOID),
    )  # fmt: skip


FAMILIES = (
    _baseline(
        "group_lasso",
        "a group lasso on the same lags",
        "#0072B2",
        group_lasso,
        lambda size: (
            (len(GROUP_STRENGTHS) + 1) * (_products(size) + N_SWEEPS * size.n_targets * _own_candidates(size) ** 2)
        ),
        "https://doi.org/10.1111/j.1467-9868.2005.00532.x",
        "Effects are linear and the same in all cells; most candidates have none.",
        r"\min_b \tfrac{1}{2N} \lVert y - X b \rVert^2 + \lambda \sum_{p} \left( (1 - a) \sqrt{K} \lVert b_p "
        r"\rVert_2 + a \lVert b_p \rVert_1 \right)",
    ),
    _baseline(
        "boosted_trees",
        "boosted trees on the same lags",
        "#4C9CD0",
        boosted_trees,
        lambda size: 60.0 * N_TREES * size.n_cells * size.n_lags * size.n_edges,
        "https://doi.org/10.1093/bioinformatics/bty916",
        "Effects may be of any shape; nothing is said of their signs.",
        r"\hat y = \sum_t \eta\, f_t(X), \quad \text{score}_p = \sum_t \text{gain of splits on } p",
    ),
    _baseline(
        "ridge",
        "ridge regression on the same lags",
        "#8FC3E8",
        ridge,
        lambda size: _products(size) + 10 * size.n_targets * _own_candidates(size) ** 3,
        "https://doi.org/10.1080/00401706.1970.10488634",
        "Effects are linear, the same in all cells, and all small.",
        r"\min_b \tfrac{1}{N} \lVert y - X b \rVert^2 + \lambda \lVert b \rVert^2",
    ),
    _baseline(
        "lagged_correlation",
        "lagged correlation",
        "#C6E0F4",
        lagged_correlation,
        lambda size: float(size.n_cells) * size.n_lags * size.n_sources * size.n_targets,
        "",
        "A regulator resembles its target, some time before.",
        r"\max_l \lvert \operatorname{cor}(\tilde T^l x_p, y) \rvert",
    ),
)


def _prepare(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> tuple[Lagged, Targets]:
    """Features and outcomes, standardised."""
    _refuse_others(lagged, targets, prior)
    return lagged, standardize(targets)


def _refuse_others(lagged: Lagged, targets: Targets, prior: PriorNetwork) -> None:
    """Refuse inputs that do not belong together.

    Raises
    ------
    InputError
        They are not of the same cells, or not of the genes of the prior.
    """
    found = (len(lagged), lagged.shape[2], len(targets), targets.shape[1])
    if found != (len(targets), len(prior.sources), len(targets), len(prior.targets)):
        raise InputError(
            "lagged expression",
            f"has {len(lagged)} cells and {lagged.shape[2]} TFs beside {len(targets)} cells and {targets.shape[1]} "
            f"targets, for a prior of {len(prior.sources)} TFs and {len(prior.targets)} targets.",
            "Make the diffusion operators from this data set and prior.",
        )


def _of_coefficients(prior: PriorNetwork, coefficients: Float[np.ndarray, "lag edge"]) -> pd.DataFrame:
    """The total effect over lags, as the network scores its edges."""
    total = coefficients.sum(axis=0)
    return _network(prior, np.abs(total), total, _mean_lag(np.abs(coefficients)))


def _mean_lag(size: Float[np.ndarray, "lag edge"]) -> Float[np.ndarray, " edge"]:
    """Mean lag, weighted by size; NaN where all are 0."""
    total = size.sum(axis=0)
    return np.divide(np.arange(1, len(size) + 1) @ size, total, out=np.full_like(total, np.nan), where=total > 0)


def _network(
    prior: PriorNetwork,
    score: Float[np.ndarray, " edge"],
    signed_score: Float[np.ndarray, " edge"],
    lag: Float[np.ndarray, " edge"] | Int[np.ndarray, " edge"],
) -> pd.DataFrame:
    edges = prior.to_table()[["source", "target"]]
    return edges.assign(score=score, signed_score=signed_score, lag=lag)
