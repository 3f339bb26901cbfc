"""What every family of networks owes: the same answer to the same question, whatever the order of cells and genes."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.memory import PeakMemory
from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.family import Input, Inputs, Kind
from scmagnify_core.specification import DatasetSpec

NETWORKS = {name: family for name, family in FAMILIES.items() if family.kind is Kind.NETWORK}
LEARNING = [name for name, family in NETWORKS.items() if family.role != "control"]
SPEC = DatasetSpec.model_validate({"name": "planted", "file": "planted.h5mu"})


def config_of(family):
    return SPEC.config_of(family) if family.has_settings else family.config()


def quiet(*told):
    """Progress that nobody watches."""


def network_of(family, inputs, seed=0):
    return family.read(family.fit(inputs, config_of(family), [seed], quiet)[seed], inputs)


def score_of(network):
    """Scores in the order of the candidates' names."""
    edges = network.edge_names().assign(score=network.score())
    return edges.sort_values(["source", "target"])["score"].to_numpy()


def with_cells(inputs, order):
    """The same cells in another order."""
    dataset, operators = inputs.dataset, inputs.operators
    rna = dataset.rna[order].copy()
    transition = operators.transition.tocsr()[order][:, order]
    moved = DiffusionOperators(
        transition, operators.lagged[order], operators.sources,
        **{
            one.name: getattr(operators, one.name) for one in dataclasses.fields(operators)
            if one.name not in ("transition", "lagged", "sources")
        },
    )  # fmt: skip
    return Inputs(dataclasses.replace(dataset, rna=rna), inputs.candidates, moved)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_the_same_fit_bit_for_bit(name, planted):
    inputs, _ = planted
    family = NETWORKS[name]
    first, again = (family.fit(inputs, config_of(family), [0], quiet)[0] for _ in range(2))
    assert set(first.arrays) == set(again.arrays)
    for key, value in first.arrays.items():
        np.testing.assert_array_equal(value, again.arrays[key])
    assert first.notes == again.notes


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_cells_does_not_matter(name, planted):
    inputs, _ = planted
    order = np.random.default_rng(0).permutation(inputs.dataset.rna.n_obs)
    before, after = (score_of(network_of(NETWORKS[name], one)) for one in (inputs, with_cells(inputs, order)))
    # Held-out cells and halves are drawn by place, so that what is drawn differs: the ranking must not.
    assert stats.spearmanr(before, after).statistic > 0.85


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_genes_does_not_matter(name, planted):
    inputs, _ = planted
    order = np.random.default_rng(0).permutation(inputs.dataset.rna.n_vars)
    turned = dataclasses.replace(
        inputs, dataset=dataclasses.replace(inputs.dataset, rna=inputs.dataset.rna[:, order].copy())
    )
    before, after = (score_of(network_of(NETWORKS[name], one)) for one in (inputs, turned))
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LEARNING)
def test_planted_edges_are_found_better_than_by_chance_and_in_shuffled_cells_no_better(name, planted):
    inputs, is_true = planted
    family, density = NETWORKS[name], is_true.mean()
    found = average_precision_score(is_true, network_of(family, inputs).score()) / density
    assert found > 1.4
    # Each gene's cells are shuffled by themselves, which leaves nothing but its distribution.
    rng = np.random.default_rng(1)
    values = inputs.dataset.rna.X.toarray()
    rna = inputs.dataset.rna.copy()
    rna.X = type(rna.X)(rng.permuted(values, axis=0))
    lagged = np.ascontiguousarray(rng.permuted(inputs.operators.lagged, axis=0))
    nothing = Inputs(
        dataclasses.replace(inputs.dataset, rna=rna), inputs.candidates,
        dataclasses.replace(inputs.operators, lagged=lagged),
    )  # fmt: skip
    assert average_precision_score(is_true, network_of(family, nothing).score()) / density < 1.4


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_family_reads_must_be_there(name, planted):
    inputs, _ = planted
    family = NETWORKS[name]
    for one, part in ((Input.CANDIDATES, "candidates"), (Input.LAGS, "operators")):
        if one in family.reads:
            with pytest.raises(InputError, match="not given to a method that reads"):
                network_of(family, dataclasses.replace(inputs, **{part: None}))


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_stays_within_the_estimate(name, planted):
    inputs, _ = planted
    family = NETWORKS[name]
    network_of(family, inputs)  # what libraries load stays
    with PeakMemory() as before:
        pass
    with PeakMemory() as peak:
        network_of(family, inputs)
    assert (peak.mib - before.mib) * 2**20 < family.memory(inputs.size, config_of(family))


def test_names_colours_and_work_are_told(planted):
    inputs, _ = planted
    assert len({family.colour for family in FAMILIES.values()}) == len(FAMILIES)
    for family in FAMILIES.values():
        assert family.title
        assert family.work(inputs.size, config_of(family)) > 0
        for field in family.config.model_fields.values():
            assert field.description
