"""Diffusion operators: the directed transition, and each TF's expression along it."""

import dagster as dg

from scmagnify_assets.declare import asset
from scmagnify_assets.progress import report
from scmagnify_assets.resources import Specs
from scmagnify_core import diffusion
from scmagnify_core.dataset import Dataset
from scmagnify_core.prior import PriorNetwork


@asset(group="model", kinds=("scipy", "safetensors"))
def diffusion_operators(
    context: dg.AssetExecutionContext, dataset: Dataset, prior_network: PriorNetwork, specs: Specs
) -> diffusion.DiffusionOperators:
    """Sparse transition over ancestors, and lagged expression of the TFs."""
    spec = specs.get(context.partition_key)
    value = diffusion.diffusion_operators(
        dataset, prior_network.sources, spec.granger.n_lags, spec.diffusion,
        lambda done, total: report("diffusion_operators", done, total, f"lag {done}"),
    )  # fmt: skip
    context.add_output_metadata(
        {
            "n_steps": value.transition.nnz,
            "n_roots": value.n_roots,
            "n_lags": spec.granger.n_lags,
            "lagged_mib": value.lagged.nbytes / 2**20,
        }
    )
    return value
