"""The backbone, and when coefficients of each cell's own are added to it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import InputError
from scmagnify_core.methods.grn.granger.backbone import (
    STRENGTHS,
    choose_strength,
    earns_its_place,
    fit_backbone,
)
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.methods.grn.granger.inference import read_network
from scmagnify_core.methods.grn.granger.training import load_backbone, load_model, train, train_seeds
from scmagnify_core.numerics.group_elastic_net import group_elastic_net, predict

N_CELLS, N_LAGS, N_SOURCES, N_TARGETS = 800, 2, 6, 20
CONFIG = GrangerConfig(
    n_lags=N_LAGS, backbone="group_elastic_net", hidden=(8,), learning_rate=0.01, output_init="zero", batch_size=64,
    penalty_scale="targets", attention="softmax", sparsity=0.02, smoothness=0.01, max_epochs=60, patience=10,
    n_subsamples=4,
)  # fmt: skip


def problem(state_dependent: bool, seed: int = 0):
    """TF 0 regulates every target, in all cells alike or only where TF 1 is high; the other TFs are decoys."""
    rng = np.random.default_rng(seed)
    lagged = rng.normal(size=(N_CELLS, N_LAGS, N_SOURCES)).astype(np.float32)
    effect = lagged[:, 0, 0] * (2 * (lagged[:, 0, 1] > 0) if state_dependent else 1)
    targets = effect[:, None] * rng.uniform(0.7, 1.3, N_TARGETS) + 0.7 * rng.normal(size=(N_CELLS, N_TARGETS))
    names = pd.MultiIndex.from_product(
        [[f"g{i:02d}" for i in range(N_TARGETS)], [f"T{i}" for i in range(N_SOURCES)]], names=["target", "source"]
    )
    prior = PriorNetwork.from_table(names.to_frame(index=False).assign(weight=1.0, evidence="base", origin="test"))
    operators = DiffusionOperators(sparse.identity(N_CELLS, format="csr"), lagged, prior.sources)
    return operators, targets.astype(np.float32), rng.random(N_CELLS), prior


def test_the_backbone_is_the_mean_over_halves_of_the_cells():
    operators, targets, _, prior = problem(False)
    observed = standardize(targets)
    found = fit_backbone(operators.lagged, observed, prior, CONFIG, 0.1, np.random.default_rng(3))
    generator, total = np.random.default_rng(3), 0
    for _ in range(2):
        order = generator.permutation(N_CELLS)
        for half in (order[:400], order[400:]):
            total = total + group_elastic_net(
                operators.lagged[half], observed[half], prior.source_index, prior.target_index, 0.1, 0.5
            )
    np.testing.assert_allclose(found, total / 4, atol=1e-6)


def test_the_strength_falls_with_cells_and_is_neutral_where_nothing_can_be_predicted():
    operators, targets, _, prior = problem(False)
    observed = standardize(targets)
    many, error = choose_strength(operators.lagged, observed, prior, 0.5, np.random.default_rng(0))
    few, _ = choose_strength(operators.lagged[:80], observed[:80], prior, 0.5, np.random.default_rng(0))
    assert many in STRENGTHS
    assert many <= few
    assert error < 0.7
    noise = np.random.default_rng(1).normal(size=observed.shape).astype("f4")
    strength, _ = choose_strength(operators.lagged[:80], noise[:80], prior, 0.5, np.random.default_rng(0))
    assert strength >= 0.1


def test_a_linear_truth_keeps_the_backbone_alone():
    operators, targets, time, prior = problem(False)
    result = train(operators, targets, time, prior, CONFIG)
    assert not result.backbone.is_state_dependent
    assert set(result.weights) == {"backbone"}
    assert len(result.history)  # it was tried
    network = read_network(result, operators, prior)
    np.testing.assert_array_equal(network.weight, load_backbone(result, prior))
    assert (network.score()[prior.source_index == 0] > 0.3).all()
    assert np.nanmax(network.cv) == 0


def test_a_truth_that_depends_on_the_state_earns_coefficients_of_each_cell():
    operators, targets, time, prior = problem(True)
    result = train(operators, targets, time, prior, CONFIG)
    assert result.backbone.is_state_dependent
    assert result.backbone.residual_gain > 0.02
    network = read_network(result, operators, prior)
    true = prior.source_index == 0
    assert np.nanmedian(network.cv[0, true]) > 0.2
    # Read by hand: the backbone, and on the edges that it uses, the model's own coefficients.
    backbone = load_backbone(result, prior)
    with torch.no_grad():
        own = load_model(result, prior).coefficients(torch.from_numpy(operators.lagged)).numpy()
    used = backbone.any(axis=0)
    expected = np.median(own + backbone[:, used, None], axis=2)
    np.testing.assert_allclose(network.weight[:, used], expected, atol=1e-5)
    assert not network.weight[:, ~used].any()


def test_state_dependence_can_be_ruled_out_and_forced():
    operators, targets, time, prior = problem(True)
    never = train(operators, targets, time, prior, CONFIG.model_copy(update={"state_dependence": "never"}))
    assert set(never.weights) == {"backbone"}
    assert never.history["epoch"].tolist() == [0]
    assert 0 < never.history["loss"].item() < 1
    assert never.stopped_by == "backbone"
    operators, targets, time, prior = problem(False)
    always = train(operators, targets, time, prior, CONFIG.model_copy(update={"state_dependence": "always"}))
    assert len(always.weights) > 1


def test_seeds_differ_repeat_and_do_not_depend_on_their_neighbours():
    operators, targets, time, prior = problem(True)
    together = train_seeds(operators, targets, time, prior, CONFIG, (0, 1), n_threads=2)
    alone = train(operators, targets, time, prior, CONFIG, seed=1)
    for name, value in alone.weights.items():
        torch.testing.assert_close(value, together[1].weights[name], rtol=0, atol=0)
    assert not torch.equal(together[0].weights["backbone"], together[1].weights["backbone"])


def test_an_empty_backbone_is_a_network_without_edges():
    operators, targets, time, prior = problem(False)
    config = CONFIG.model_copy(update={"backbone_strength": 50.0})
    network = read_network(train(operators, targets, time, prior, config), operators, prior)
    assert not network.score().any()


def test_weights_of_another_prior_are_refused():
    operators, targets, time, prior = problem(False)
    result = train(operators, targets, time, prior, CONFIG)
    with pytest.raises(InputError, match="does not fit the prior"):
        read_network(result, operators, prior.subset(np.arange(prior.n_edges) > 0))


def test_a_gain_within_its_noise_is_none():
    assert earns_its_place(np.array([0.1, 0.11, 0.09]))[2]
    assert not earns_its_place(np.array([0.3, -0.25, 0.02]))[2]
    assert not earns_its_place(np.array([0.3]))[2]


def test_predictions_of_the_backbone_explain_the_targets():
    operators, targets, _, prior = problem(False)
    observed = standardize(targets)
    backbone = fit_backbone(operators.lagged, observed, prior, CONFIG, 0.05, np.random.default_rng(0))
    predicted = predict(operators.lagged, backbone, prior.source_index, prior.target_index, N_TARGETS)
    assert np.square(observed - predicted).mean() < 0.6
