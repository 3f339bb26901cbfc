"""Of which settings a result is."""

from dataclasses import replace

import pytest

from scmagnify_assets.datasets import registry
from scmagnify_assets.graph import catalogue  # noqa: F401  (fills the records)
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.versions import is_of_settings, parameters_of, settings_below
from scmagnify_assets.lake.lakehouse import Lakehouse


@pytest.fixture
def registration(home, raw_settings):
    return registry.register(Lakehouse(home.lake), raw_settings)


def test_parameters_are_the_settings_of_the_record_and_the_hashes_of_their_files(registration):
    spec = registration.spec()
    parameters, files = parameters_of(RECORDS["prior_network"], registration, spec)
    assert parameters["sha256"]["prior"] == registration.files["prior"]
    assert set(parameters["sha256"]) == set(files) >= {"prior", "references.genome"}
    assert {"name", "preset", "prior_network", "prior"} <= set(parameters)
    assert "scmagnify" not in parameters
    assert parameters_of(RECORDS["scmagnify_network"], registration, spec)[1] == {}


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({"scmagnify": {"sparsity": 0.3}}, {"scmagnify_model"}),
        ({"scmagnify": {"n_lags": 2}}, {"scmagnify_model", "diffusion_operators"}),
        ({"regfactors": {"min_rank": 2}}, {"regfactors"}),
        ({"memory_budget": "9 GB"}, set()),
        ({"min_cells": 11}, {"dataset"}),
    ],
)
def test_a_change_outdates_what_reads_it(registration, change, outdated):
    names = ("dataset", "prior_network", "diffusion_operators", "baseline_networks", "scmagnify_model", "regfactors")
    made = {name: parameters_of(RECORDS[name], registration, registration.spec())[0] for name in names}
    changed = replace(registration, raw=dict(registration.raw) | change)
    found = {name for name in names if not is_of_settings(made[name], RECORDS[name], changed)}
    # n_lags of the small data set is 3: leaving out its other knobs changes the model in any case
    assert found == outdated | ({"diffusion_operators"} if "sparsity" in str(change) else set())


def test_settings_below_are_those_of_all_that_is_upstream():
    assert settings_below("dataset") == frozenset(RECORDS["dataset"].settings)
    assert settings_below("scmagnify_network") >= {"network", "scmagnify", "seeds", "diffusion", "prior", "file"}
    assert "regfactors" not in settings_below("tf_activity")
