"""From a trained model to a network: coefficients over all cells, reduced per edge and lag.

Nothing of size cells x lags x edges is ever held: edges are taken in blocks, and each block is reduced to its
medians before the next is computed. The medians are exact.
"""

import numpy as np
import torch
from jaxtyping import Float

from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import ConvergenceError
from scmagnify_core.methods.granger.config import GrangerConfig
from scmagnify_core.methods.granger.result import TrainingResult
from scmagnify_core.methods.granger.training import choose_device, load_model, train
from scmagnify_core.network import Network
from scmagnify_core.prior import PriorNetwork

BLOCK_BYTES = 128 * 2**20


@torch.no_grad()
def read_network(result: TrainingResult, operators: DiffusionOperators, prior: PriorNetwork) -> Network:
    """Median, absolute median and coefficient of variation over cells, per lag and candidate edge.

    Memory beyond the model is about 128 MiB for a block of edges, a few copies of it, and the hidden states
    (cells x units x 4 bytes).

    Raises
    ------
    ConvergenceError
        A coefficient is NaN or infinite.
    """
    device = choose_device(result.config.device)
    model = load_model(result, prior).to(device)
    lagged = torch.from_numpy(operators.lagged).to(device)
    n_cells, n_lags, _ = lagged.shape
    weight, magnitude, cv = (np.empty((n_lags, prior.n_edges), dtype=np.float32) for _ in range(3))
    block = max(1, BLOCK_BYTES // (4 * n_cells * n_lags))
    states = model.hidden_states(lagged)
    for start in range(0, prior.n_edges, block):
        edges = slice(start, min(start + block, prior.n_edges))
        for lag, values in enumerate(model.lag_coefficients(states, edges)):
            weight[lag, edges], magnitude[lag, edges], cv[lag, edges] = summarize(values.cpu().numpy())
    if not np.isfinite(weight).all():
        raise ConvergenceError("A coefficient", "inference", "Lower granger.learning_rate and train again.")
    return Network(prior.sources, prior.targets, prior.source_index, prior.target_index, weight, magnitude, cv)


def summarize(
    coefficients: Float[np.ndarray, "edge cell"],
) -> tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " edge"], Float[np.ndarray, " edge"]]:
    """Median, median absolute value, and coefficient of variation (NaN where the mean is 0) of each edge."""
    mean = coefficients.mean(axis=1, dtype=np.float64)
    deviation = coefficients.std(axis=1, dtype=np.float64)
    cv = np.divide(deviation, np.abs(mean), out=np.full_like(mean, np.nan), where=mean != 0)
    median = np.median(coefficients, axis=1)
    # Coefficients that share one sign need no second pass.
    mixed = (coefficients.min(axis=1) < 0) & (coefficients.max(axis=1) > 0)
    magnitude = np.abs(median)
    if mixed.any():
        magnitude[mixed] = np.median(np.abs(coefficients[mixed]), axis=1)
    return median, magnitude, cv


def infer(
    operators: DiffusionOperators,
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    prior: PriorNetwork,
    config: GrangerConfig | None = None,
    seed: int = 0,
) -> Network:
    """Train one seed and read its network: the whole method family in one call."""
    return read_network(train(operators, targets, pseudotime, prior, config, seed), operators, prior)
