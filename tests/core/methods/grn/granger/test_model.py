"""The edge-wise model against a dense reference written from the formula, loop by loop."""

import numpy as np
import pytest
import torch

from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.model import GrangerModel, granger_loss

N_CELLS, N_LAGS, N_SOURCES, N_TARGETS = 6, 3, 4, 5


def make_model(config: GrangerConfig, seed: int = 0) -> GrangerModel:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand((N_SOURCES, N_TARGETS), generator=generator) < 0.5
    mask[0, 0] = True
    target_index, source_index = torch.nonzero(mask.T, as_tuple=True)
    model = GrangerModel(N_SOURCES, N_TARGETS, source_index, target_index, config, generator)
    with torch.no_grad():  # biases at their initial constant would hide a mix-up
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model.double()


def batch(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lagged = torch.randn((N_CELLS, N_LAGS, N_SOURCES), generator=generator, dtype=torch.float64)
    observed = torch.randn((N_CELLS, N_TARGETS), generator=generator, dtype=torch.float64)
    return lagged, observed


def network_number(branching: str, branch: int, lag: int) -> int:
    """Which network serves a branch and lag, both counted from 0: by lag, then branch; or one per branch."""
    if branching == "code":
        return branch
    return sum(N_LAGS - earlier for earlier in range(lag)) + branch - lag


def dense_loss(model: GrangerModel, lagged: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """The published formula with P x Q coefficients, a mask, and a loop over cells, branches and lags."""
    config = model.config
    mask = torch.zeros(N_SOURCES, N_TARGETS, dtype=torch.float64)
    mask[model.source_index, model.target_index] = 1
    alpha = model.attention if config.attention == "free" else torch.softmax(model.attention, 0)
    total = torch.zeros(N_CELLS, N_LAGS, N_SOURCES, N_TARGETS, dtype=torch.float64)
    prediction = torch.zeros(N_CELLS, N_TARGETS, dtype=torch.float64)
    for cell in range(N_CELLS):
        for branch in range(N_LAGS):
            lags = range(branch + 1) if config.branching == "page" else range(branch, N_LAGS)
            for lag in lags:
                number = network_number(config.branching, branch, lag)
                state = lagged[cell, lag]
                for weight, bias in zip(model.hidden_weight, model.hidden_bias, strict=True):
                    state = torch.relu(state @ weight[number] + bias[number, 0])
                emitted = torch.zeros(N_SOURCES, N_TARGETS, dtype=torch.float64)
                emitted[model.source_index, model.target_index] = (
                    model.output_weight[:, number, :-1] @ state + model.output_weight[:, number, -1]
                )
                coefficients = emitted * mask
                total[cell, lag] = total[cell, lag] + alpha[branch] * coefficients
                prediction[cell] = prediction[cell] + alpha[branch] * (lagged[cell, lag] @ coefficients)
    error = ((prediction - observed) ** 2).mean()
    group = torch.sqrt((total**2).sum(dim=1) + 1e-300).mean()
    lasso = total.abs().sum(dim=1).mean()
    half = N_CELLS // 2
    change = total[half:] - total[:half]
    if config.smooth_norm == "l2":
        smoothness = torch.sqrt((change**2).sum(dim=1) + 1e-300).mean()
    else:
        smoothness = (change**2).sum(dim=1).mean()
    scale = 1.0 if config.penalty_scale == "pairs" else N_SOURCES
    sparsity = (1 - config.l1_ratio) * group + config.l1_ratio * lasso
    return error + scale * (config.sparsity * sparsity + config.smoothness * smoothness)


@pytest.mark.parametrize("branching", ["page", "code"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"smooth_norm": "l2sq", "smoothness": 2.0},
        {"penalty_scale": "targets", "attention": "softmax"},
        {"hidden": (7, 3)},
    ],
)
def test_granger_loss_equals_dense_reference_in_value_and_gradient(branching, options):
    config = GrangerConfig(n_lags=N_LAGS, branching=branching, **{"hidden": (6,), **options})
    model = make_model(config)
    lagged, observed = batch()

    loss = granger_loss(model, lagged, observed).total
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    reference = dense_loss(model, lagged, observed)
    reference_gradients = torch.autograd.grad(reference, list(model.parameters()))

    assert abs(loss.item() - reference.item()) < 1e-5
    for (name, _), ours, theirs in zip(model.named_parameters(), gradients, reference_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_branchings_differ_and_agree_for_one_lag():
    lagged, observed = batch()
    values = {}
    for n_lags in (1, N_LAGS):
        for branching in ("page", "code"):
            model = make_model(GrangerConfig(n_lags=n_lags, branching=branching, hidden=(6,)))
            values[n_lags, branching] = granger_loss(model, lagged[:, :n_lags], observed).total.item()
    assert values[1, "page"] == pytest.approx(values[1, "code"], abs=1e-12)
    assert values[N_LAGS, "page"] != pytest.approx(values[N_LAGS, "code"], abs=1e-3)


def test_zero_output_layer_predicts_nothing_and_still_learns():
    config = GrangerConfig(n_lags=N_LAGS, hidden=(6,), output_init="zero", sparsity=0.0, smoothness=0.0)
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(4)
    model = GrangerModel(4, 5, index, index, config, generator)
    lagged, observed = (tensor.float() for tensor in batch())
    assert model.coefficients(lagged).abs().max() == 0
    granger_loss(model, lagged, observed).total.backward()
    assert model.output_weight.grad[..., -1].abs().max() > 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_permuting_sources_and_targets_permutes_predictions():
    config = GrangerConfig(n_lags=N_LAGS, hidden=(6,))
    model = make_model(config)
    lagged, _ = batch()
    new_source, new_target = torch.randperm(N_SOURCES), torch.randperm(N_TARGETS)
    other = make_model(config)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.hidden_weight[0].copy_(model.hidden_weight[0][:, torch.argsort(new_source)])
    other.source_index, other.target_index = new_source[model.source_index], new_target[model.target_index]
    ours = model.predict(model.coefficients(lagged), lagged)
    shuffled = lagged[:, :, torch.argsort(new_source)]
    theirs = other.predict(other.coefficients(shuffled), shuffled)
    torch.testing.assert_close(theirs[new_target], ours)


def test_config_refuses_unknown_and_impossible_values():
    with pytest.raises(ValueError, match="extra"):
        GrangerConfig(n_lag=3)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        GrangerConfig(n_lags=0)


def test_defaults_are_the_published_ones():
    config = GrangerConfig()
    published = {
        "n_lags": 5, "hidden": (50,), "learning_rate": 1e-3, "weight_decay": 0.0, "scheduler_factor": 0.5,
        "scheduler_patience": 10, "max_epochs": 1000, "patience": 20, "batch_size": 32, "sparsity": 3.0,
        "smoothness": 0.02, "l1_ratio": 0.5, "branching": "page", "output_init": "xavier", "attention": "free",
        "validation_fraction": 0.0,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in published} == published
    assert np.isclose(config.tolerance, 0)
