"""The backbone: coefficients that are the same in all cells, and whether coefficients of each cell's own earn a place.

Decisions
---------
* A group elastic net on the lagged TFs, fitted to random halves of the cells and their complements, and averaged
  (complementary pairs, Shah and Samworth 2013): an edge that hangs on a few cells fades. A seed draws the halves.
* Its strength is chosen on the data: each half predicts the other, and of the strengths that reach ``GAIN_KEPT`` of
  the best improvement over predicting the mean, the strongest is taken. The strength of least error, the usual choice,
  lets in several times more edges than there are, for a few thousandths of error (``docs/accuracy.md``).
* A coefficient that depends on the state of a cell is trained on what the backbone leaves over. It stays only if it
  predicts cells that neither saw better than *any* linear model of the path does: the penalty shrinks the backbone,
  and undoing that must not count as dependence on the state.
"""

import numpy as np
from jaxtyping import Float, Int

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.numerics.group_elastic_net import (
    group_elastic_net,
    group_elastic_net_path,
    has_turned,
    squared_errors,
)

STRENGTHS = tuple(float(one) for one in np.geomspace(0.4, 0.01, 12).round(4))
GAIN_KEPT = 0.93
NEUTRAL_STRENGTH = 0.1  # where no strength predicts better than the mean: a ranking is still asked for
STANDARD_ERRORS = 2.0  # by which cells' own coefficients must be better


def choose_strength(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    prior: PriorNetwork,
    l1_ratio: float,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """The strongest penalty that keeps most of what can be predicted, and its error on cells held out.

    Parameters
    ----------
    features, targets
        Standardised.
    """
    order = generator.permutation(len(targets))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    ends = prior.source_index, prior.target_index
    paths = [group_elastic_net_path(features, targets, *ends, STRENGTHS, l1_ratio, half) for half in halves]
    errors: list[float] = []
    for one, other in zip(*paths, strict=True):
        own = squared_errors(features, targets, one, *ends, halves[1]).mean()
        errors.append(float(own + squared_errors(features, targets, other, *ends, halves[0]).mean()) / 2)
        if has_turned(errors):
            break
    gain = float(np.square(targets).mean()) - np.array(errors)
    best = gain.max()
    if best <= 0:
        chosen = int(np.abs(np.log(STRENGTHS) - np.log(NEUTRAL_STRENGTH)).argmin())
    else:
        chosen = int(np.flatnonzero(gain >= GAIN_KEPT * best)[0])  # strengths descend
    return STRENGTHS[chosen], errors[chosen] if chosen < len(errors) else float("nan")


def fit_backbone(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    prior: PriorNetwork,
    config: GrangerConfig,
    strength: float,
    generator: np.random.Generator,
) -> Float[np.ndarray, "lag edge"]:
    """Mean coefficients over random halves of the cells and their complements."""
    total = np.zeros((features.shape[1], prior.n_edges))
    for _ in range(config.n_subsamples // 2):
        order = generator.permutation(len(targets))
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):
            total += group_elastic_net(
                features, targets, prior.source_index, prior.target_index, strength, config.l1_ratio, half
            )
    return (total / config.n_subsamples).astype(np.float32)


def fit_to_others(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    prior: PriorNetwork,
    l1_ratio: float,
    strength: float,
    fitted: Int[np.ndarray, " cell"],
    judged: Int[np.ndarray, " cell"],
) -> tuple[Float[np.ndarray, "lag edge"], Float[np.ndarray, " target"]]:
    """A linear model of some cells, and how well any linear model of them predicts others.

    Returns
    -------
    Coefficients at ``strength``, and per target the error on the ``judged`` cells at the strength of the path that
    predicts these best.
    """
    ends = prior.source_index, prior.target_index
    strengths = sorted({*STRENGTHS, strength}, reverse=True)
    errors: list[np.ndarray] = []
    own: np.ndarray | None = None
    path = group_elastic_net_path(features, targets, *ends, strengths, l1_ratio, fitted)
    for current, coefficients in zip(strengths, path, strict=True):
        errors.append(squared_errors(features, targets, coefficients, *ends, judged))
        if current == strength:
            own = coefficients
        if own is not None and has_turned([float(error.mean()) for error in errors]):
            break
    assert own is not None
    return own, min(errors, key=lambda error: float(error.mean()))


def earns_its_place(gain: Float[np.ndarray, " target"]) -> tuple[float, float, bool]:
    """Mean gain over targets, its standard error, and whether it is beyond noise."""
    mean, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else np.inf
    return mean, error, mean > STANDARD_ERRORS * error
