import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import ConvergenceError, InputError
from scmagnify_core.methods.grn.granger import training
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.inference import read_network, summarize
from scmagnify_core.methods.grn.granger.loop import successor_batches
from scmagnify_core.methods.grn.granger.training import load_model, plan_training, train, train_seeds

N_CELLS, N_LAGS = 400, 3
FAST = GrangerConfig(
    n_lags=N_LAGS, hidden=(8,), max_epochs=30, learning_rate=0.01, output_init="zero", penalty_scale="targets",
    sparsity=0.05, smoothness=1.0,
)  # fmt: skip


def planted(n_sources: int = 8, n_targets: int = 12, seed: int = 0):
    """Independent lagged TFs; each target has one true regulator at one lag, and three decoys."""
    rng = np.random.default_rng(seed)
    lagged = rng.standard_normal((N_CELLS, N_LAGS, n_sources)).astype(np.float32)
    edges, truth = [], []
    targets = np.zeros((N_CELLS, n_targets))
    for target in range(n_targets):
        candidates = rng.choice(n_sources, 4, replace=False)
        lag, sign = int(rng.integers(N_LAGS)), float(rng.choice([-1, 1]))
        targets[:, target] = sign * lagged[:, lag, candidates[0]] + 0.5 * rng.standard_normal(N_CELLS)
        truth.append((int(candidates[0]), target, lag, sign))
        edges += [(target, int(source)) for source in candidates]
    edges.sort()
    prior = PriorNetwork(
        tuple(f"TF{i}" for i in range(n_sources)), tuple(f"G{i}" for i in range(n_targets)),
        np.array([source for _, source in edges]), np.array([target for target, _ in edges]),
        np.ones(len(edges), dtype=np.float32), pd.DataFrame({"evidence": ["imported"] * len(edges), "origin": "test"}),
    )  # fmt: skip
    operators = DiffusionOperators(sparse.identity(N_CELLS, format="csr"), lagged, prior.sources)
    return operators, targets.astype(np.float32), np.linspace(0, 1, N_CELLS), prior, truth


def test_training_recovers_planted_edges_lags_and_signs():
    operators, targets, time, prior, truth = planted()
    network = read_network(train(operators, targets, time, prior, FAST), operators, prior)
    tensor = network.tensor()
    for source, target, lag, sign in truth:
        peak = np.unravel_index(np.abs(tensor[:, :, target]).argmax(), tensor.shape[:2])
        assert peak == (lag, source)
        assert np.sign(tensor[lag, source, target]) == sign


def test_training_lowers_the_loss_and_returns_its_history():
    operators, targets, time, prior, _ = planted()
    seen = []
    result = train(operators, targets, time, prior, FAST, progress=lambda *news: seen.append(news))
    history = result.history
    assert history["loss"].min() < 0.8 * history["loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, len(history) + 1))
    assert [(seed, epoch) for seed, epoch, _, _ in seen] == [(0, epoch) for epoch in history["epoch"]]
    assert history["validation_loss"].isna().all()
    parts = history["prediction_loss"] + FAST.sparsity * history["sparsity"] + FAST.smoothness * history["smoothness"]
    np.testing.assert_allclose(parts, history["loss"], rtol=1e-5)


def test_best_weights_are_those_of_the_best_epoch():
    """A rate that explodes after the first epochs: the kept weights must be a copy, not the last state."""
    operators, targets, time, prior, _ = planted()
    config = FAST.model_copy(update={"learning_rate": 0.5, "max_epochs": 15, "patience": 15})
    result = train(operators, targets, time, prior, config)
    assert result.best_epoch == int(result.history["loss"].idxmin()) + 1
    again = train(operators, targets, time, prior, config.model_copy(update={"max_epochs": result.best_epoch}))
    for name, value in result.weights.items():
        assert torch.equal(value, again.weights[name])


def test_same_seed_gives_same_weights_bit_for_bit_and_another_seed_others():
    operators, targets, time, prior, _ = planted()
    first, second = (train(operators, targets, time, prior, FAST, seed=3) for _ in range(2))
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    other = train(operators, targets, time, prior, FAST, seed=4)
    assert not torch.equal(first.weights["hidden_weight.0"], other.weights["hidden_weight.0"])


def test_seeds_together_equal_seeds_alone_bit_for_bit():
    operators, targets, time, prior, _ = planted()
    config = FAST.model_copy(update={"max_epochs": 3})
    news = []
    together = train_seeds(
        operators, targets, time, prior, config, (0, 1, 2), lambda *one: news.append(one), n_threads=2
    )  # fmt: skip
    assert list(together) == [0, 1, 2]
    for seed, result in together.items():
        alone = train(operators, targets, time, prior, config, seed)
        assert all(torch.equal(alone.weights[name], value) for name, value in result.weights.items())
        pd.testing.assert_frame_equal(alone.history, result.history)
    assert sorted((seed, epoch) for seed, epoch, _, _ in news) == [
        (seed, epoch) for seed in range(3) for epoch in (1, 2, 3)
    ]


def test_stacked_seeds_equal_seeds_side_by_side_though_they_stop_at_different_epochs(monkeypatch):
    """The batched model of a GPU, run on the CPU."""
    operators, targets, time, prior, _ = planted()
    config = FAST.model_copy(
        update={"validation_fraction": 0.2, "patience": 2, "tolerance": 0.02, "scheduler_patience": 0}
    )
    side_by_side = train_seeds(operators, targets, time, prior, config, range(4))
    assert len({len(result.history) for result in side_by_side.values()}) > 1
    monkeypatch.setattr(
        training, "train_side_by_side",
        lambda runs, lagged, n_threads, progress: training.train_stacked(runs, lagged, progress),
    )  # fmt: skip
    stacked = train_seeds(operators, targets, time, prior, config, range(4))
    for seed, result in side_by_side.items():
        assert len(stacked[seed].history) == len(result.history)
        assert stacked[seed].best_epoch == result.best_epoch
        pd.testing.assert_frame_equal(stacked[seed].history, result.history, rtol=1e-3)
        for name, value in result.weights.items():
            torch.testing.assert_close(stacked[seed].weights[name], value, atol=2e-3, rtol=0)


def test_an_interrupt_ends_training_at_once():
    operators, targets, time, prior, _ = planted()

    def interrupt(seed: int, epoch: int, n_epochs: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_seeds(operators, targets, time, prior, FAST, range(3), interrupt, n_threads=1)


def test_early_stop_follows_held_out_cells():
    operators, targets, time, prior, _ = planted()
    config = GrangerConfig(
        n_lags=N_LAGS, hidden=(32,), sparsity=0, smoothness=0, learning_rate=0.01, validation_fraction=0.3, patience=4
    )
    result = train(operators, targets, time, prior, config)
    assert result.stopped_by == "patience"
    held_out = result.history["validation_loss"]
    assert held_out.notna().all()
    assert result.best_epoch == int(held_out.idxmin()) + 1 == len(held_out) - config.patience


def test_successor_batches_pair_neighbours_and_use_a_cell_once():
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(31, generator=generator)
    rank = torch.argsort(order)
    seen_steps = set()
    for _ in range(20):
        members = []
        for members_of_batch in successor_batches(order, 8, generator):
            half = len(members_of_batch) // 2
            first, second = members_of_batch[:half], members_of_batch[half:]
            assert torch.equal(rank[second], rank[first] + 1)
            seen_steps |= set(rank[first].tolist())
            members += members_of_batch.tolist()
        assert len(members) == len(set(members)) >= 30
    assert seen_steps == set(range(30))


def test_network_is_the_median_of_the_models_coefficients(monkeypatch):
    operators, targets, time, prior, _ = planted()
    result = train(operators, targets, time, prior, FAST.model_copy(update={"max_epochs": 2}))
    model = load_model(result, prior)
    with torch.no_grad():
        values = model.coefficients(torch.from_numpy(operators.lagged)).numpy()
    monkeypatch.setattr("scmagnify_core.methods.grn.granger.inference.BLOCK_BYTES", 4 * N_CELLS * N_LAGS * 5)
    network = read_network(result, operators, prior)  # in blocks of five edges
    np.testing.assert_allclose(network.weight, np.median(values, axis=2), atol=1e-6)
    np.testing.assert_allclose(network.magnitude, np.median(np.abs(values), axis=2), atol=1e-6)
    np.testing.assert_allclose(network.cv, values.std(axis=2) / np.abs(values.mean(axis=2)), rtol=1e-3)


def test_summarize_matches_numpy_for_mixed_and_single_signs():
    values = np.array([[1, 2, 3, 4], [-1, -5, -2, -3], [-3, 2, 1, -1], [0, 0, 0, 0]], dtype=np.float32)
    weight, magnitude, cv = summarize(values)
    np.testing.assert_array_equal(weight, np.median(values, axis=1))
    np.testing.assert_array_equal(magnitude, np.median(np.abs(values), axis=1))
    assert np.isnan(cv[2:]).tolist() == [False, True]
    assert cv[0] == pytest.approx(values[0].std() / 2.5)


def test_train_refuses_inputs_that_do_not_belong_together():
    operators, targets, time, prior, _ = planted()
    with pytest.raises(InputError, match="n_lags.*is 4, the operators have 3"):
        train(operators, targets, time, prior, FAST.model_copy(update={"n_lags": 4}))
    with pytest.raises(InputError, match="targets.*were expected"):
        train(operators, targets[:, 1:], time, prior, FAST)
    with pytest.raises(InputError, match="other TFs"):
        train(DiffusionOperators(operators.transition, operators.lagged, ("x",)), targets, time, prior, FAST)


def test_weights_of_another_prior_are_refused():
    operators, targets, time, prior, _ = planted()
    result = train(operators, targets, time, prior, FAST.model_copy(update={"max_epochs": 1}), seed=4)
    _, _, _, other, _ = planted(n_targets=5)
    with pytest.raises(InputError, match="model of seed 4.*does not fit the prior.*Train again"):
        read_network(result, operators, other)


def test_train_reports_a_loss_that_is_not_finite():
    operators, targets, time, prior, _ = planted()
    with pytest.raises(
        ConvergenceError, match=r"training loss is not finite at epoch \d+. Lower scmagnify.learning_rate"
    ):
        train(operators, targets, time, prior, FAST.model_copy(update={"learning_rate": 1e30}))


def test_train_without_cuda_refuses_to_be_asked_for_it():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    operators, targets, time, prior, _ = planted()
    with pytest.raises(InputError, match="sees no CUDA device.*device = 'auto'"):
        train(operators, targets, time, prior, FAST.model_copy(update={"device": "cuda"}))


@pytest.mark.gpu
def test_cuda_agrees_with_cpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    operators, targets, time, prior, _ = planted()
    cpu, cuda = (
        read_network(
            train(operators, targets, time, prior, FAST.model_copy(update={"device": device})), operators, prior
        )
        for device in ("cpu", "cuda")
    )
    assert np.corrcoef(cpu.weight.ravel(), cuda.weight.ravel())[0, 1] > 0.99


def test_plan_training_takes_turns_and_refuses_what_does_not_fit():
    _, _, _, prior, _ = planted(n_targets=400)
    config = GrangerConfig(n_lags=N_LAGS, hidden=(64,))
    alone = plan_training(N_CELLS, prior, config, 1)
    weights = 4 * (prior.n_edges * 6 * 65 + 6 * 8 * 64)
    together = plan_training(N_CELLS, prior, config, 5)
    assert together.seeds_at_a_time == 5
    assert together.needed_bytes - alone.needed_bytes == pytest.approx(4 * 5 * weights, rel=0.3)
    some = plan_training(N_CELLS, prior, config, 5, together.needed_bytes - 6 * weights)
    assert 1 <= some.seeds_at_a_time < 5
    assert some.needed_bytes <= some.budget_bytes
    with pytest.raises(InputError, match=r"training on 1,600 candidate edges with 3 lags.*stricter prior"):
        plan_training(N_CELLS, prior, config, 5, alone.needed_bytes // 2)
