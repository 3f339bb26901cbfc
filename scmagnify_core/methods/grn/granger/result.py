"""What training gives: apart from training itself, so that whoever stores or reads a result need not import torch or
a compiler."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from scmagnify_core.methods.grn.granger.config import GrangerConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BackboneReport:
    """What the data said of the backbone and of coefficients that depend on the state.

    ``held_out_error`` is in variances of a target, at ``strength``. ``residual_gain`` is the fall of the error on cells
    that nothing was fitted to, by state-dependent coefficients beyond the best linear model, averaged over targets, and
    ``residual_gain_se`` its standard error; NaN where they were not tried.
    """

    strength: float
    held_out_error: float
    residual_gain: float
    residual_gain_se: float
    is_state_dependent: bool


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how it came to be.

    ``history`` is the body of the ``training_history`` table; ``weights`` the state of the best epoch, on the CPU. With
    a backbone, ``weights`` has its coefficients as ``backbone`` (lag, edge), those of the model only if they earned
    their place, and the model's edges are the ones that the backbone uses.
    """

    weights: "dict[str, Tensor]"
    history: pd.DataFrame
    seed: int
    best_epoch: int
    stopped_by: Literal["patience", "max_epochs", "backbone"]
    device: str
    runtime_s: float
    config: GrangerConfig
    backbone: BackboneReport | None = None
