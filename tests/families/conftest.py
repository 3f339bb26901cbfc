"""A planted network with everything that a network family may read."""

import numpy as np
import pytest

from scmagnify_core.data.dataset import read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.diffusion import DiffusionConfig, diffusion_operators
from scmagnify_core.methods.family import Inputs
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.simulation.simulation import SimulationConfig, simulate


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Inputs of 300 cells, 12 TFs and 30 targets, and the true edges among the candidates."""
    simulation = simulate(SimulationConfig(n_cells=300, n_sources=12, n_targets=30, n_background=40, seed=11))
    files = simulation.write(tmp_path_factory.mktemp("planted"), "planted")
    description = DataDescription(name="planted", file=files["data"], time_key="pseudotime", lineage_key="lineage")
    dataset = read_dataset(description)
    prior, _ = assemble_prior(read_base_network(files["prior"]), dataset)
    operators = diffusion_operators(dataset, prior.sources, 5, DiffusionConfig())
    edges = prior.to_table()[["source", "target"]]
    is_true = edges.merge(simulation.truth, how="left", on=["source", "target"], indicator=True)["_merge"] == "both"
    return Inputs(dataset, prior, operators), np.asarray(is_true)
