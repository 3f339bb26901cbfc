"""Ridge regression of each target on all lags of its candidates: the dense counterpart of the group elastic net.

A sparse model leaves candidates out and says nothing of their order: all score 0, as pairs do that are no candidates.
The dense model orders them (`network.aggregate_seeds`), and lends those that are kept a little support.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.numerics.group_elastic_net import inner_products

# Of the dense model: as strong as the features' own inner products, so that lags and like TFs share an effect. The
# order of planted edges was best near it.
DENSE_STRENGTH = 1.0


def ridge_path(
    features: Float[np.ndarray, "cell lag source"],
    targets: Float[np.ndarray, "cell target"],
    prior: PriorNetwork,
    strengths: Sequence[float],
    cells: Int[np.ndarray, " cell"] | None = None,
) -> Float[np.ndarray, "strength lag edge"]:
    """Coefficients at each strength.

    Parameters
    ----------
    features, targets
        Standardised; there is no intercept.
    cells
        Those to fit to; all when None.

    Notes
    -----
    Minimises mean over cells of (y - x b)^2 + strength * |b|^2. From the eigenvectors of the inner products of the
    features every strength costs nothing more. Time follows the candidates of a target cubed; memory is (lags x TFs)^2.
    """
    products, with_targets = inner_products(features, targets, cells)
    n_lags = len(products)
    penalties = np.asarray(strengths, dtype=np.float64)[:, None]
    coefficients = np.zeros((len(penalties), n_lags, prior.n_edges), dtype=np.float32)
    for target, edges in prior.edges_of_targets():
        own = prior.source_index[edges]
        size = n_lags * len(own)
        values, vectors = np.linalg.eigh(products[:, own][:, :, :, own].reshape(size, size))
        projected = vectors.T @ with_targets[:, own, target].reshape(size)
        shrunk = projected / (np.maximum(values, 0) + penalties)  # strength x eigenvector
        coefficients[:, :, edges] = (shrunk @ vectors.T).reshape(len(penalties), n_lags, -1)
    return coefficients
