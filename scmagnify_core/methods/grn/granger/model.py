"""The model: one coefficient per cell, lag and candidate edge.

For branch k of K, with x_l the TFs at lag l and B the prior's mask,

    y = sum_k alpha_k sum_{l in lags(k)} (psi_{k,l}(x_l) * B) x_l,      lags(k) = 1..k  (page)  or  k..K  (code),

where psi is a small perceptron that maps the TFs of one cell to a P x Q matrix of coefficients, and ``code`` shares
one psi per branch over its lags.

Decisions
---------
* The last layer emits the E candidate edges only. Masked entries never reach the prediction or a penalty, so this
  is exact (a test holds it to a dense reference, gradients included) and cost follows E instead of P x Q.
* All quantities of interest depend on the branches only through the total coefficient of a lag, so the branches of
  a lag are one matrix product: their hidden layers side by side, each scaled by its alpha. The bias of the last
  layer is the weight of one more unit that is always 1.
* Arrays inside are feature-major (edge, cell): the edges of a target, which are neighbours, are then contiguous.
"""

import itertools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.sizes import n_networks_of

BIAS_INIT = 0.1
EPSILON = 1e-12  # keeps the norm over lags differentiable at 0


class GrangerModel(nn.Module):
    """Coefficients J and predictions for a batch of cells.

    Parameters
    ----------
    n_sources, n_targets
        P and Q.
    source_index, target_index
        TF and target of each candidate edge.
    generator
        Source of the initial weights; on the CPU, so that every device starts from the same ones.
    """

    source_index: Tensor
    target_index: Tensor

    def __init__(
        self,
        n_sources: int,
        n_targets: int,
        source_index: Int[Tensor, " edge"],
        target_index: Int[Tensor, " edge"],
        config: GrangerConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.n_sources, self.n_targets = config, n_sources, n_targets
        self.register_buffer("source_index", source_index, persistent=False)
        self.register_buffer("target_index", target_index, persistent=False)
        n_lags, n_edges, n_networks = config.n_lags, len(source_index), n_networks_of(config)
        widths = (n_sources, *config.hidden)
        self.hidden_weight = nn.ParameterList(
            _xavier((n_networks, n_in, n_out), n_in, n_out, generator) for n_in, n_out in itertools.pairwise(widths)
        )
        self.hidden_bias = nn.ParameterList(
            nn.Parameter(torch.full((n_networks, 1, n_out), BIAS_INIT)) for n_out in widths[1:]
        )
        # Of each edge a row, of each network its hidden units and the bias. The fan-out of the published, dense layer
        # is P x Q whatever the mask; its scale is kept.
        shape = (n_edges, n_networks, widths[-1] + 1)
        if config.output_init == "xavier":
            self.output_weight = _xavier(shape, widths[-1], n_sources * n_targets, generator)
            with torch.no_grad():
                self.output_weight[..., -1] = BIAS_INIT
        else:
            self.output_weight = nn.Parameter(torch.zeros(shape))
        if config.attention == "free":
            self.attention = nn.Parameter(torch.randn(n_lags, generator=generator))
        else:
            self.attention = nn.Parameter(torch.zeros(n_lags))

    def branch_weights(self) -> Float[Tensor, " branch"]:
        """The weight alpha of each branch."""
        return self.attention if self.config.attention == "free" else torch.softmax(self.attention, dim=0)

    def networks_of(self, lag: int) -> slice:
        """The networks that see a lag (counted from 0); they stand in the order of their branches."""
        n_lags = self.config.n_lags
        if self.config.branching == "code":
            return slice(0, lag + 1)
        first = sum(n_lags - earlier for earlier in range(lag))
        return slice(first, first + n_lags - lag)

    def branches_of(self, lag: int) -> slice:
        """The branches of those networks."""
        return slice(0, lag + 1) if self.config.branching == "code" else slice(lag, self.config.n_lags)

    def hidden_states(self, lagged: Float[Tensor, "cell lag source"]) -> list[Float[Tensor, "unit cell"]]:
        """Per lag, the units of its networks one above the other, scaled by their branch weights.

        The last unit of each network is 1 before scaling.
        """
        branch_weights = self.branch_weights()
        states = []
        for lag in range(self.config.n_lags):
            networks = self.networks_of(lag)
            state = lagged[:, lag]
            for weight, bias in zip(self.hidden_weight, self.hidden_bias, strict=True):
                state = torch.relu(torch.matmul(state, weight[networks]) + bias[networks])
            state = functional.pad(state, (0, 1), value=1.0) * branch_weights[self.branches_of(lag), None, None]
            states.append(state.transpose(1, 2).reshape(-1, len(lagged)))
        return states

    def by_lag(self, weight: Float[Tensor, "edge network unit"]) -> list[Float[Tensor, "edge unit"]]:
        """Per lag, the weights (or gradients) from the units of :meth:`hidden_states` to the edges, as views."""
        n_lags = self.config.n_lags
        if self.config.branching == "code":
            parts = [weight[:, self.networks_of(lag)] for lag in range(n_lags)]
        else:  # as slices, but the gradient of a split is one concatenation, not a zero-filled copy for every lag
            parts = list(weight.split([n_lags - lag for lag in range(n_lags)], dim=1))
        return [part.flatten(1, 2) for part in parts]

    def lag_coefficients(
        self, states: list[Float[Tensor, "unit cell"]], edges: slice = slice(None)
    ) -> list[Float[Tensor, "edge cell"]]:
        """Total coefficients of each lag, for all or some of the edges, from the hidden states."""
        weights = self.by_lag(self.output_weight[edges])
        return [weight @ state for weight, state in zip(weights, states, strict=True)]

    def coefficients(self, lagged: Float[Tensor, "cell lag source"]) -> Float[Tensor, "lag edge cell"]:
        """Total coefficients J of every lag and candidate edge."""
        return torch.stack(self.lag_coefficients(self.hidden_states(lagged)))

    def predict(
        self, coefficients: Float[Tensor, "lag edge cell"], lagged: Float[Tensor, "cell lag source"]
    ) -> Float[Tensor, "target cell"]:
        """Predicted expression of the targets: the contributions of their candidate edges, summed over lags."""
        regulators = lagged.permute(1, 2, 0).index_select(1, self.source_index)
        contributions = (coefficients * regulators).sum(dim=0)
        predicted = contributions.new_zeros((self.n_targets, lagged.shape[0]))
        return predicted.index_add(0, self.target_index, contributions)

    def forward(self, lagged: Float[Tensor, "cell lag source"], observed: Float[Tensor, "cell target"]) -> "Loss":
        """The loss of a batch: :func:`granger_loss`."""
        return granger_loss(self, lagged, observed)


def _norm_over_lags(values: Float[Tensor, "lag edge cell"]) -> Float[Tensor, "edge cell"]:
    """L2 norm over lags; smooth at 0, where it is 1e-6 too large and its gradient 0."""
    return (values.square().sum(dim=0) + EPSILON).sqrt()


def _xavier(shape: tuple[int, ...], fan_in: int, fan_out: int, generator: torch.Generator | None) -> nn.Parameter:
    """Xavier-normal weights for stacked matrices, whose fans torch.nn.init would misread."""
    return nn.Parameter(torch.randn(shape, generator=generator) * math.sqrt(2.0 / (fan_in + fan_out)))


class Loss(NamedTuple):
    """The total loss and its parts; each part is a scalar before its weight."""

    total: Tensor
    prediction: Tensor
    sparsity: Tensor
    smoothness: Tensor


def granger_loss(
    model: GrangerModel, lagged: Float[Tensor, "cell lag source"], observed: Float[Tensor, "cell target"]
) -> Loss:
    """Mean squared error, group elastic net over lags, and change between successive cells.

    The batch holds pairs: the second half are the successors, in pseudotime, of the first half. With an odd number of
    cells the last one has no partner.

    For J[k, e, n], sparsity is the mean over cells of ``sum_e (1 - a) |J[:, e, n]|_2 + a |J[:, e, n]|_1`` and
    smoothness the mean over pairs of ``sum_e |J[:, e, n'] - J[:, e, n]|_2`` (or its square); both are divided by
    the number of pairs P x Q or of targets Q (``penalty_scale``).
    """
    config = model.config
    coefficients = model.coefficients(lagged)
    predicted = model.predict(coefficients, lagged)
    prediction = torch.mean((predicted - observed.T).square())
    n_cells = lagged.shape[0]
    divisor = model.n_targets * (model.n_sources if config.penalty_scale == "pairs" else 1)

    group = _norm_over_lags(coefficients).sum()
    lasso = coefficients.abs().sum()
    sparsity = ((1 - config.l1_ratio) * group + config.l1_ratio * lasso) / (n_cells * divisor)

    n_pairs = n_cells // 2
    change = coefficients[:, :, n_pairs : 2 * n_pairs] - coefficients[:, :, :n_pairs]
    distance = change.square() if config.smooth_norm == "l2sq" else _norm_over_lags(change)
    smoothness = distance.sum() / (max(n_pairs, 1) * divisor)
    total = prediction + config.sparsity * sparsity + config.smoothness * smoothness
    return Loss(total, prediction, sparsity, smoothness)
