"""Hyper-parameters of the Granger model. Defaults are the published ones; presets are in ``specification``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Adam (Kingma and Ba 2015), with the values of its paper.
BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8


class GrangerConfig(BaseModel):
    """Model and training. ``GrangerConfig()`` is the published configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_lags: int = Field(5, ge=1, le=50, description="Lags K: steps back along the trajectory.")
    backbone: Literal["none", "group_elastic_net"] = Field(
        "none",
        description="`group_elastic_net`: coefficients that are the same in all cells come first, and the model is "
        "trained on what they leave over; `none`: the model alone, as published.",
    )
    backbone_strength: float | None = Field(
        None, gt=0, description="Penalty of the backbone; chosen on held-out cells when omitted."
    )
    n_subsamples: int = Field(10, ge=2, multiple_of=2, description="Halves of the cells that make the backbone.")
    state_dependence: Literal["earned", "never", "always"] = Field(
        "earned",
        description="Whether each cell has coefficients of its own beyond the backbone: `earned` where that predicts "
        "held-out cells better.",
    )
    hidden: tuple[int, ...] = Field((50,), min_length=1, description="Widths of the hidden layers of each network.")
    branching: Literal["page", "code"] = Field(
        "page",
        description="`page`: branch k sums lags 1..k, one network per branch and lag; "
        "`code`: branch k sums lags k..K, one network per branch.",
    )
    attention: Literal["free", "softmax"] = Field(
        "free", description="Weights of the branches: unconstrained as published, or positive with sum 1."
    )
    output_init: Literal["xavier", "zero"] = Field(
        "xavier", description="Initial output layer: published, or zero so that an edge must earn its coefficient."
    )
    sparsity: float = Field(3.0, ge=0, description="Weight lambda of the group elastic net over lags.")
    l1_ratio: float = Field(0.5, ge=0, le=1, description="Share a of the L1 norm in the group elastic net.")
    smoothness: float = Field(0.02, ge=0, description="Weight gamma of the change between successive cells.")
    smooth_norm: Literal["l2", "l2sq"] = Field("l2", description="Norm of that change over lags, or its square.")
    penalty_scale: Literal["pairs", "targets"] = Field(
        "pairs",
        description="Penalties are averaged over all TF-target pairs (published; their strength then falls with the "
        "number of TFs), or over targets (each coefficient is shrunk alike whatever the prior's size).",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Adam's initial learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Adam's weight decay.")
    batch_size: int = Field(32, ge=2, description="Cells in a batch: pairs of successors in pseudotime.")
    max_epochs: int = Field(1000, ge=1, description="Upper bound on epochs.")
    patience: int = Field(20, ge=1, description="Epochs without a better loss before training stops.")
    tolerance: float = Field(0.0, ge=0, lt=1, description="Relative fall of the loss that counts as better.")
    scheduler_patience: int = Field(10, ge=0, description="Epochs without a better loss before the rate is cut.")
    scheduler_factor: float = Field(0.5, gt=0, lt=1, description="Factor by which the rate is cut.")
    validation_fraction: float = Field(
        0.0, ge=0, lt=0.9, description="Share of cells held out; schedule and stop then follow their loss."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; `auto` takes CUDA if there.")
