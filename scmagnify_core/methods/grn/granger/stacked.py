"""The training step on a GPU: the models of all seeds in one, their parameters stacked along a leading axis.

The loss is :func:`~.model.granger_loss`, mapped over that axis, so that a step of any number of seeds launches as many
kernels as one seed's. Seeds share nothing: the gradient of the sum of their losses is each one's own. It runs on a CPU
as well, where ``fused`` is several times faster.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scmagnify_core.methods.grn.granger.config import ADAM_EPSILON, BETA_1, BETA_2
from scmagnify_core.methods.grn.granger.model import GrangerModel, Loss


class StackedAdam:
    """Trains the models of several seeds.

    Parameters
    ----------
    models
        Alike in all but their weights, and on one device.
    """

    def __init__(self, models: Sequence[GrangerModel]) -> None:
        self.model = models[0]
        self.n_steps = 0
        self.parameters, _ = torch.func.stack_module_state(list(models))
        self.means = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.squares = {name: torch.zeros_like(value) for name, value in self.parameters.items()}

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the seeds only."""
        for stack in (self.parameters, self.means, self.squares):
            for name, value in stack.items():
                stack[name] = value.detach()[list(rows)].requires_grad_(stack is self.parameters)

    def weights(self, row: int) -> dict[str, Tensor]:
        """A copy of one seed's parameters."""
        return {name: value[row].detach().clone() for name, value in self.parameters.items()}

    def step(
        self,
        lagged: Float[Tensor, "seed cell lag source"],
        observed: Float[Tensor, "seed cell target"],
        learning_rates: Float[Tensor, " seed"],
    ) -> Float[Tensor, "part seed"]:
        """One step of every seed on a batch of its own; the parts of the loss before it, in the order of ``Loss``."""
        self.n_steps += 1
        parts = torch.func.vmap(self._loss)(self.parameters, lagged, observed)
        gradients = torch.autograd.grad(parts.total.sum(), list(self.parameters.values()))
        correction = (1 - BETA_2**self.n_steps) ** -0.5
        with torch.no_grad():
            for (name, weight), gradient in zip(self.parameters.items(), gradients, strict=True):
                slope = gradient + self.model.config.weight_decay * weight
                mean, square = self.means[name], self.squares[name]
                mean.lerp_(slope, 1 - BETA_1)
                square.mul_(BETA_2).addcmul_(slope, slope, value=1 - BETA_2)
                rate = (learning_rates / (1 - BETA_1**self.n_steps)).view(-1, *[1] * (weight.dim() - 1))
                weight.sub_(rate * mean / (square.sqrt() * correction + ADAM_EPSILON))
            return torch.stack(list(parts))

    def _loss(self, parameters: dict[str, Tensor], lagged: Tensor, observed: Tensor) -> Loss:
        loss: Loss = torch.func.functional_call(self.model, parameters, (lagged, observed))
        return loss
