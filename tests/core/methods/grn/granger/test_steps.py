"""The training steps against torch's own gradient and Adam on the formula of the loss."""

import numpy as np
import pytest
import torch

from scmagnify_core.methods.grn.granger import fused
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.fused import FusedAdam
from scmagnify_core.methods.grn.granger.model import GrangerModel, granger_loss
from scmagnify_core.methods.grn.granger.stacked import StackedAdam

N_CELLS, N_LAGS, N_SOURCES, N_TARGETS = 10, 3, 6, 9
VARIANTS = [
    {},
    {"branching": "code", "attention": "softmax"},
    {"smooth_norm": "l2sq", "smoothness": 2.0, "penalty_scale": "targets"},
    {"hidden": (7, 3), "weight_decay": 0.1, "l1_ratio": 0.2},
    {"output_init": "zero"},
]


def make_model(config: GrangerConfig, seed: int = 0) -> GrangerModel:
    """Random candidates; the second target has none, the third all TFs."""
    rng = np.random.default_rng(5)
    mask = rng.random((N_TARGETS, N_SOURCES)) < 0.4
    mask[1], mask[2] = False, True
    target_index, source_index = (torch.as_tensor(index) for index in np.nonzero(mask))
    return GrangerModel(N_SOURCES, N_TARGETS, source_index, target_index, config, torch.Generator().manual_seed(seed))


def batches(n: int, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The last one is smaller, as the last of an epoch."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [N_CELLS] * (n - 1) + [4]
    return [
        (
            torch.randn((size, N_LAGS, N_SOURCES), generator=generator),
            torch.randn((size, N_TARGETS), generator=generator),
        )
        for size in sizes
    ]


def reference(model: GrangerModel, data: list[tuple[torch.Tensor, torch.Tensor]], rate: float) -> np.ndarray:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=model.config.weight_decay)
    losses = []
    for lagged, observed in data:
        loss = granger_loss(model, lagged, observed)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append([float(part.detach()) for part in loss])
    return np.array(losses)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("block_edges", [1, 5, 1000])
def test_fused_steps_equal_autograd_and_torch_adam(options, block_edges, monkeypatch):
    config = GrangerConfig(n_lags=N_LAGS, batch_size=N_CELLS, **{"hidden": (5,), **options})
    monkeypatch.setattr(fused, "BLOCK_BYTES", 4 * N_LAGS * N_CELLS * block_edges)
    expected_model, model = make_model(config), make_model(config)
    data = batches(4)
    expected = reference(expected_model, data, 0.01)
    step = FusedAdam(model)
    losses = np.array([step.step(lagged, observed, 0.01) for lagged, observed in data])
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)
    for (name, ours), theirs in zip(model.named_parameters(), expected_model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_fused_step_blocks_hold_every_edge_once_and_whole_targets():
    model = make_model(GrangerConfig(n_lags=N_LAGS, hidden=(5,)))
    for n_edges in (1, 4, 7, 100):
        blocks = fused._blocks(model, n_edges)
        assert [block.targets.start for block in blocks[1:]] == [block.targets.stop for block in blocks[:-1]]
        assert (blocks[0].targets.start, blocks[-1].targets.stop) == (0, N_TARGETS)
        np.testing.assert_array_equal(np.concatenate([block.sources for block in blocks]), model.source_index)
        for block in blocks:
            assert block.first_edge[-1] == len(block.sources)
            assert len(block.sources) <= n_edges or block.targets.stop - block.targets.start == 1


@pytest.mark.parametrize("options", VARIANTS)
def test_stacked_steps_equal_each_model_alone(options):
    config = GrangerConfig(n_lags=N_LAGS, batch_size=N_CELLS, **{"hidden": (5,), **options})
    data = [batches(4, seed=seed) for seed in (1, 2, 3)]
    rates = (0.01, 0.003, 0.02)
    together = StackedAdam([make_model(config, seed) for seed in range(3)])
    losses = []
    for steps in zip(*data, strict=True):
        lagged, observed = (torch.stack(arrays) for arrays in zip(*steps, strict=True))
        losses.append(together.step(lagged, observed, torch.tensor(rates)).numpy())
    for seed in range(3):
        alone = make_model(config, seed)
        expected = reference(alone, data[seed], rates[seed])
        np.testing.assert_allclose(np.array(losses)[:, :, seed], expected, rtol=1e-4, atol=1e-6)
        for name, value in together.weights(seed).items():
            torch.testing.assert_close(value, alone.get_parameter(name).detach(), atol=1e-4, rtol=1e-3)


def test_stacked_seeds_that_leave_do_not_change_the_others():
    config = GrangerConfig(n_lags=N_LAGS, batch_size=N_CELLS, hidden=(5,))
    data = batches(3)
    some, one = (StackedAdam([make_model(config, seed) for seed in seeds]) for seeds in ((0, 1, 2), (2,)))
    for number, (lagged, observed) in enumerate(data):
        if number == 1:
            some.keep([2])
        for stack in (some, one):
            n = len(stack.parameters["attention"])
            stack.step(lagged.expand(n, *lagged.shape), observed.expand(n, *observed.shape), torch.full((n,), 0.01))
    for name, value in one.weights(0).items():
        torch.testing.assert_close(some.weights(0)[name], value)
