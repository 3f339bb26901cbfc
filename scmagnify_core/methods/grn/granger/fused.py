"""The training step on a CPU: the same loss and gradient as :func:`~.model.granger_loss`, a block of edges at a time.

Automatic differentiation writes and reads a dozen arrays of lags x edges x cells in every step. Here a block of edges
stays in the processor's cache from its coefficients to its updated weights: matrix products give the coefficients J,
one compiled pass turns them into dLoss/dJ where they stand, matrix products carry that to the weights and to the
hidden units, and a second compiled pass is Adam. The small hidden layers are left to automatic differentiation.

Decisions
---------
* A block holds whole targets, because the residual of a target needs all its edges; edges are sorted by target.
* The order of every sum is fixed, so a result does not depend on what else runs. Compiled passes fill the vector
  registers that a CPU has, so another kind of CPU may round differently.
* Other layouts and their times are in ``benchmarks/layouts.py``.
"""

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmagnify_core.methods.grn.granger.config import ADAM_EPSILON, BETA_1, BETA_2
from scmagnify_core.methods.grn.granger.model import EPSILON, GrangerModel

# Of coefficients at a time. A quarter of a MiB takes as long for one seed, but seeds side by side then wait for the
# interpreter between many short products: two took 1.4 to 1.9 times as long as one, now 1.0 to 1.1 (measured).
BLOCK_BYTES = 2**21

_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


class FusedAdam:
    """Trains one model in place.

    Parameters
    ----------
    model
        On the CPU, in float32. Its parameters must stay where they are: views of them are kept.
    """

    def __init__(self, model: GrangerModel) -> None:
        config = model.config
        self.model = model
        self.n_steps = 0
        self.hidden = [(p, _Adam(p.detach())) for name, p in model.named_parameters() if name != "output_weight"]
        self.blocks = _blocks(model, BLOCK_BYTES // (4 * config.n_lags * config.batch_size))
        widest = max(len(block.sources) for block in self.blocks)
        self.coefficients = torch.empty(config.n_lags * widest * config.batch_size)

    def step(
        self,
        lagged: Float[Tensor, "cell lag source"],
        observed: Float[Tensor, "cell target"],
        learning_rate: float,
    ) -> Float[np.ndarray, " part"]:
        """One step on a batch of pairs; returns the parts of the loss before it, in the order of :class:`Loss`.

        The batch holds an even number of cells, not more than ``batch_size``.
        """
        self.n_steps += 1
        rates = (
            learning_rate / (1 - BETA_1**self.n_steps),
            (1 - BETA_2**self.n_steps) ** -0.5,
            self.model.config.weight_decay,
        )
        states = self.model.hidden_states(lagged)
        loss, upstream = self._step_output([state.detach() for state in states], lagged, observed, rates)
        torch.autograd.backward(states, upstream)
        for parameter, adam in self.hidden:
            assert parameter.grad is not None
            adam.update(parameter.grad, rates)
            parameter.grad = None
        return loss

    def _step_output(
        self, states: list[Tensor], lagged: Tensor, observed: Tensor, rates: "Rates"
    ) -> tuple[Float[np.ndarray, " part"], list[Float[Tensor, "unit cell"]]]:
        """Update the output layer; the loss, and its gradient with respect to the hidden states."""
        model, config = self.model, self.model.config
        n_cells = len(lagged)
        divisor = model.n_targets * (model.n_sources if config.penalty_scale == "pairs" else 1)
        # What one squared residual, norm over lags, absolute value and change weighs in the mean it belongs to.
        shares = 1 / np.array(
            [n_cells * model.n_targets, n_cells * divisor, n_cells * divisor, n_cells // 2 * divisor],
            dtype=np.float64,
        )
        strengths = np.array(
            [1, config.sparsity * (1 - config.l1_ratio), config.sparsity * config.l1_ratio, config.smoothness]
        )
        per_unit = (strengths * shares).astype(np.float32)
        regulators = lagged.permute(1, 2, 0).contiguous().numpy()
        expected = observed.T.contiguous().numpy()
        transposed = [state.T for state in states]
        upstream = [torch.zeros_like(state) for state in states]
        sums = np.zeros(4)
        shared = config.branching == "code"  # a network then serves several lags, and its gradient is their sum
        for block in self.blocks:
            shape = (config.n_lags, len(block.sources), n_cells)
            coefficients = self.coefficients[: shape[0] * shape[1] * shape[2]].view(shape)
            by_lag = coefficients.unbind()
            for weight, state, out in zip(block.weights, states, by_lag, strict=True):
                torch.mm(weight, state, out=out)
            _to_gradient(
                coefficients.numpy(), regulators, expected[block.targets], block.sources, block.first_edge, per_unit,
                config.smooth_norm == "l2sq", sums,
            )  # fmt: skip
            for slope, weight, into in zip(by_lag, block.weights, upstream, strict=True):
                into.addmm_(weight.T, slope)
            if shared:
                block.gradient.zero_()
            for slope, state, into in zip(by_lag, transposed, block.gradients, strict=True):
                into.addmm_(slope, state, beta=int(shared))
            block.adam.update(block.gradient, rates)
        prediction, group, lasso, change = (sums * shares).tolist()
        sparsity = (1 - config.l1_ratio) * group + config.l1_ratio * lasso
        total = prediction + config.sparsity * sparsity + config.smoothness * change
        return np.array([total, prediction, sparsity, change]), upstream


Rates = tuple[float, float, float]  # step size and correction of the moments' bias, weight decay


class _Adam:
    """The moments of some weights."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.view(-1).numpy()
        self.mean, self.square = np.zeros_like(self.weight), np.zeros_like(self.weight)

    def update(self, gradient: Tensor, rates: Rates) -> None:
        _adam(self.weight, gradient.reshape(-1).numpy(), self.mean, self.square, *rates)


@dataclass(frozen=True)
class _Block:
    """Some targets with all their edges, and views of what belongs to them."""

    targets: slice
    sources: Int[np.ndarray, " edge"]
    first_edge: Int[np.ndarray, " bound"]  # where the edges of each target begin, and the end
    weights: list[Float[Tensor, "edge unit"]]  # per lag
    gradient: Float[Tensor, "edge network unit"]
    gradients: list[Float[Tensor, "edge unit"]]  # the parts of ``gradient`` that belong to each lag
    adam: _Adam


def _blocks(model: GrangerModel, n_edges: int) -> list[_Block]:
    """Runs of targets with at most ``n_edges`` edges together, or of one target that has more."""
    counts = np.bincount(model.target_index.numpy(), minlength=model.n_targets)
    first_edge = np.concatenate([[0], np.cumsum(counts)])
    bounds = [0]  # targets at which a block begins
    while bounds[-1] < model.n_targets:
        fits = int(np.searchsorted(first_edge, first_edge[bounds[-1]] + n_edges, side="right")) - 1
        bounds.append(max(fits, bounds[-1] + 1))
    weights = model.output_weight.detach()
    # One buffer for the gradients of all blocks, which then stays in cache.
    buffer = torch.empty((int(np.diff(first_edge[bounds]).max()), *weights.shape[1:]))
    blocks = []
    for start, stop in pairwise(bounds):
        edges = slice(int(first_edge[start]), int(first_edge[stop]))
        weight, gradient = weights[edges], buffer[: edges.stop - edges.start]
        blocks.append(
            _Block(
                slice(start, stop),
                model.source_index[edges].numpy(),
                first_edge[start : stop + 1] - edges.start,
                model.by_lag(weight),
                gradient,
                model.by_lag(gradient),
                _Adam(weight),
            )
        )
    return blocks


@_compiled
def _to_gradient(
    coefficients: Float[np.ndarray, "lag edge cell"],
    regulators: Float[np.ndarray, "lag source cell"],
    expected: Float[np.ndarray, "target cell"],
    sources: Int[np.ndarray, " edge"],
    first_edge: Int[np.ndarray, " bound"],
    per_unit: Float[np.ndarray, " part"],
    squared: bool,
    sums: Float[np.ndarray, " part"],
) -> None:
    """Replace the coefficients of some targets by the gradient of the loss; add the unweighted parts to ``sums``.

    Every loop over cells runs over neighbours in memory and has no branch, so that it is vectorised.
    """
    n_lags, _, n_cells = coefficients.shape
    n_pairs = n_cells // 2
    residual, group, change = (
        np.empty(n_cells, np.float32), np.empty(n_cells, np.float32), np.empty(n_pairs, np.float32)
    )  # fmt: skip
    for target in range(len(first_edge) - 1):
        edges = range(first_edge[target], first_edge[target + 1])
        for n in range(n_cells):
            residual[n] = -expected[target, n]
        for edge in edges:
            for lag in range(n_lags):
                for n in range(n_cells):
                    residual[n] += coefficients[lag, edge, n] * regulators[lag, sources[edge], n]
        total = np.float32(0)
        for n in range(n_cells):
            total += residual[n] * residual[n]
            residual[n] *= 2 * per_unit[0]
        sums[0] += total

        for edge in edges:
            source = sources[edge]
            group[:] = EPSILON
            change[:] = EPSILON
            for lag in range(n_lags):
                for n in range(n_pairs):
                    first, then = coefficients[lag, edge, n], coefficients[lag, edge, n + n_pairs]
                    group[n] += first * first
                    group[n + n_pairs] += then * then
                    change[n] += (then - first) * (then - first)
            total = np.float32(0)
            for n in range(n_cells):
                norm = np.sqrt(group[n])
                total += norm
                group[n] = per_unit[1] / norm
            sums[1] += total
            total = np.float32(0)
            if squared:
                for n in range(n_pairs):
                    total += change[n]
                    change[n] = 2 * per_unit[3]
            else:
                for n in range(n_pairs):
                    norm = np.sqrt(change[n])
                    total += norm
                    change[n] = per_unit[3] / norm
            sums[3] += total
            total = np.float32(0)
            for lag in range(n_lags):
                for n in range(n_pairs):
                    first, then = coefficients[lag, edge, n], coefficients[lag, edge, n + n_pairs]
                    total += abs(first) + abs(then)
                    pull = change[n] * (then - first)
                    coefficients[lag, edge, n] = (
                        residual[n] * regulators[lag, source, n]
                        + group[n] * first + per_unit[2] * np.sign(first) - pull
                    )  # fmt: skip
                    coefficients[lag, edge, n + n_pairs] = (
                        residual[n + n_pairs] * regulators[lag, source, n + n_pairs]
                        + group[n + n_pairs] * then + per_unit[2] * np.sign(then) + pull
                    )  # fmt: skip
            sums[2] += total


@_compiled
def _adam(
    weight: Float[np.ndarray, " weight"],
    gradient: Float[np.ndarray, " weight"],
    mean: Float[np.ndarray, " weight"],
    square: Float[np.ndarray, " weight"],
    rate: float,
    correction: float,
    decay: float,
) -> None:
    """Adam (Kingma and Ba 2015), in place; ``rate`` and ``correction`` undo the bias of the two moments."""
    # In double precision a register holds half as many.
    rate_, correction_, decay_ = np.float32(rate), np.float32(correction), np.float32(decay)
    for i in range(len(weight)):
        slope = gradient[i] + decay_ * weight[i]
        mean[i] = np.float32(BETA_1) * mean[i] + np.float32(1 - BETA_1) * slope
        square[i] = np.float32(BETA_2) * square[i] + np.float32(1 - BETA_2) * slope * slope
        weight[i] -= rate_ * mean[i] / (np.sqrt(square[i]) * correction_ + np.float32(ADAM_EPSILON))
