"""From a trained model to a network: coefficients over all cells, reduced per edge and lag.

Nothing of size cells x lags x edges is ever held: edges are taken in blocks, and each block is reduced to its
medians before the next is computed. The medians are exact.
"""

import numpy as np
import torch
from jaxtyping import Float

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import ConvergenceError
from scmagnify_core.memory import memory_in_use
from scmagnify_core.methods.grn.granger.result import TrainingResult
from scmagnify_core.methods.grn.granger.sizes import n_networks_of
from scmagnify_core.methods.grn.granger.training import choose_device, load_backbone, load_model
from scmagnify_core.network.network import Network

BLOCK_BYTES = 128 * 2**20
CACHE_VALUES = 2**17  # reduced at a time: 1 MiB in float64


def reading_bytes(result: TrainingResult, operators: DiffusionOperators) -> int:
    """Peak of :func:`read_network`, with what the process holds: the weights, the hidden units of all cells twice, and
    four copies of a block."""
    weights = sum(value.numel() * value.element_size() for value in result.weights.values())
    n_units = n_networks_of(result.config) * (result.config.hidden[-1] + 1)
    return memory_in_use() + weights + 8 * len(operators.lagged) * n_units + 4 * BLOCK_BYTES


@torch.no_grad()
def read_network(result: TrainingResult, operators: DiffusionOperators, prior: PriorNetwork) -> Network:
    """Median, absolute median and coefficient of variation over cells, per lag and candidate edge.

    With a backbone, its coefficients are those of all cells; where the model beyond it earned its place, a cell's own
    are added on the edges that the backbone uses.

    Memory beyond the model is about 128 MiB for a block of edges, a few copies of it, and the hidden states
    (cells x units x 4 bytes).

    Raises
    ------
    ConvergenceError
        A coefficient is NaN or infinite.
    """
    is_used, constant = np.ones(prior.n_edges, dtype=bool), None
    if result.backbone is not None:
        constant = load_backbone(result, prior)
        if not result.backbone.is_state_dependent:
            cv = np.where(constant != 0, 0, np.nan).astype(np.float32)
            return Network(
                prior.sources, prior.targets, prior.source_index, prior.target_index, constant, np.abs(constant), cv
            )
        is_used = (constant != 0).any(axis=0)
    device = choose_device(result.config.device)
    model = load_model(result, prior).to(device)
    lagged = torch.from_numpy(operators.lagged).to(device)
    n_cells, n_lags, _ = lagged.shape
    weight, magnitude, cv = (np.zeros((n_lags, prior.n_edges), dtype=np.float32) for _ in range(3))
    cv[:, ~is_used] = np.nan
    used = np.flatnonzero(is_used)
    block = max(1, BLOCK_BYTES // (4 * n_cells * n_lags))
    states = model.hidden_states(lagged)
    for start in range(0, len(used), block):
        edges = used[start : start + block]
        for lag, values in enumerate(model.lag_coefficients(states, slice(start, start + block))):
            coefficients = values.cpu().numpy()
            if constant is not None:
                coefficients += constant[lag, edges, None]
            weight[lag, edges], magnitude[lag, edges], cv[lag, edges] = summarize(coefficients)
    if not np.isfinite(weight).all():
        raise ConvergenceError("A coefficient", "inference", "Lower scmagnify.learning_rate and train again.")
    return Network(prior.sources, prior.targets, prior.source_index, prior.target_index, weight, magnitude, cv)


def summarize(
    coefficients: Float[np.ndarray, "edge cell"],
) -> tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " edge"], Float[np.ndarray, " edge"]]:
    """Median, median absolute value, and coefficient of variation (NaN where the mean is 0) of each edge.

    The medians are exact: the mean of the two middle values where the number of cells is even, and NaN where a value
    is NaN or infinite. Mean and deviation are taken in float64. Cost is linear in the values; edges are taken a few
    at a time, so that what is needed beside the coefficients stays in the cache.
    """
    n_edges, n_cells = coefficients.shape
    median, magnitude, cv = (np.empty(n_edges, dtype=np.float32) for _ in range(3))
    step = max(1, CACHE_VALUES // n_cells)
    for start in range(0, n_edges, step):
        edges = slice(start, start + step)
        values = coefficients[edges]
        with np.errstate(invalid="ignore"):  # infinite values: the median below says so
            mean = values.mean(axis=1, dtype=np.float64)
            deviations = np.subtract(values, mean[:, None], dtype=np.float64)
            deviation = np.sqrt(np.einsum("en,en->e", deviations, deviations) / n_cells)
            cv[edges] = np.divide(deviation, np.abs(mean), out=np.full_like(mean, np.nan), where=mean != 0)
        middle = _medians(values.copy())
        middle[~np.isfinite(mean)] = np.nan  # a sum of float32 cannot overflow float64
        median[edges] = middle
        # Coefficients that share one sign need no second pass.
        mixed = (values.min(axis=1) < 0) & (values.max(axis=1) > 0)
        size = np.abs(middle)
        size[mixed] = _medians(np.abs(values[mixed]))
        magnitude[edges] = size
    return median, magnitude, cv


def _medians(values: Float[np.ndarray, "edge cell"]) -> Float[np.ndarray, " edge"]:
    """Median of each row; the rows are reordered.

    One middle value by selection, the other as the largest of those before it: numpy selects a single position with
    vector instructions, and two positions (as its own median asks for) without, at five times the cost (measured).
    """
    n_cells = values.shape[1]
    half = n_cells // 2
    values.partition(half, axis=1)
    upper = values[:, half]
    return upper.copy() if n_cells % 2 else (values[:, :half].max(axis=1) + upper) / 2
