"""Diffusion operators: the directed transition, and each TF's expression along it."""

import dagster as dg

from scmagnify_assets.graph.codecs import OPERATORS
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.steps.progress import report
from scmagnify_core import diffusion
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.methods.family import Input


@asset(group="lags", kinds=("scipy", "safetensors"), codec=OPERATORS, settings=("diffusion", "n_lags"))
def diffusion_operators(
    context: dg.AssetExecutionContext, dataset: Dataset, prior_network: PriorNetwork | None, specs: Specs
) -> diffusion.DiffusionOperators | None:
    """Sparse transition over ancestors, and lagged expression of the TFs."""
    spec = specs.get(context.partition_key)
    if prior_network is None or Input.LAGS not in spec.reads:
        context.add_output_metadata({"skipped": "No method of this data set reads lagged expression."})
        return None
    sources, n_lags = prior_network.sources, spec.n_lags
    plan = diffusion.plan_memory(dataset, len(sources), n_lags, spec.diffusion, spec.memory_budget)
    value = diffusion.diffusion_operators(
        dataset, sources, n_lags, spec.diffusion,
        lambda done, total: report("diffusion_operators", done, total, f"TF {done} of {total}"), plan,
    )  # fmt: skip
    context.add_output_metadata(
        {
            "n_transitions": value.transition.nnz,
            "steps_of_lags": ", ".join(f"{one:.2f}" for one in value.n_steps),
            "n_roots": value.n_roots,
            "n_lags": n_lags,
            "lagged_mib": value.lagged.nbytes / 2**20,
            "memory_estimated_mib": plan.needed_bytes / 2**20,
            "memory_budget_mib": plan.budget_bytes / 2**20,
            "lagged_in": "memory" if plan.file_block is None else "a mapped file",
        }
    )
    return value
