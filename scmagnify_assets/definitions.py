"""Composition only: which assets, checks and resources make up the code location."""

from typing import Any

import dagster as dg

from scmagnify_assets import checks
from scmagnify_assets.assets import (
    activity,
    association,
    communication,
    dataset,
    diffusion,
    evaluation,
    model,
    network,
    prior,
    regfactors,
)
from scmagnify_assets.io_manager import LakehouseIOManager
from scmagnify_assets.resources import LakeResource, Specs

# In the order of the graph.
ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    dataset.raw_dataset,
    dataset.dataset,
    association.gene_association,
    prior.peak_gene_links,
    prior.tf_binding,
    prior.prior_network,
    diffusion.diffusion_operators,
    model.trained_model,
    network.seed_network,
    network.multiscale_network,
    regfactors.regfactors,
    activity.tf_activity,
    activity.regfactor_activity,
    communication.communication_scores,
    evaluation.network_scores,
]


def resources(lake: str = "", preset: str = "", settings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Resources over one lake, with what a run puts over the data sets' settings."""
    lake_resource = LakeResource(root=lake)
    specs = Specs(lake=lake_resource, preset=preset, settings=list(settings))
    return {"lake": lake_resource, "specs": specs, "io_manager": LakehouseIOManager(lake=lake_resource, specs=specs)}


# Runs from the UI give each step a process, and every asset and check is a step. Spawned, each would first import
# for seconds; forked from a server that has imported once, it starts at once. The server only imports: nothing there
# opens a lake (the threads of Delta's runtime would not survive the fork) or touches CUDA (nor would its context).
EXECUTOR = dg.multiprocess_executor.configured(
    {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": ["scmagnify_assets.definitions"]}}}
)

defs = dg.Definitions(assets=ASSETS, asset_checks=checks.CHECKS, resources=resources(), executor=EXECUTOR)
