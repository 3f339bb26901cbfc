"""The prior network: candidate edges, with where each comes from."""

from dataclasses import asdict

import dagster as dg

from scmagnify_assets.describe import definition_metadata, figure_metadata
from scmagnify_assets.partitions import DATASETS
from scmagnify_assets.resources import Specs
from scmagnify_core.dataset import Dataset
from scmagnify_core.errors import InputError
from scmagnify_core.plots.prior import plot_candidates
from scmagnify_core.prior import PriorNetwork, assemble_prior, read_base_network


@dg.asset(partitions_def=DATASETS, group_name="prior", metadata=definition_metadata("prior_network"))
def prior_network(context: dg.AssetExecutionContext, dataset: Dataset, specs: Specs) -> PriorNetwork:
    """Candidate edges of the data set; the model can find no others."""
    path = specs.get(context.partition_key).prior
    if path is None:
        raise InputError(
            "prior", f"is not set for '{context.partition_key}'.",
            "Name a base network (source, target[, weight]): scmagnify add ... --prior FILE, or prior = in the TOML.",
        )  # fmt: skip
    value, coverage = assemble_prior(read_base_network(path), dataset)
    context.log.info(
        f"{coverage.n_edges} of {coverage.n_edges_given} edges of {path.name} are candidates: "
        f"{coverage.n_sources} TFs x {coverage.n_targets} targets, density {value.density:.1%}."
    )
    context.add_output_metadata(
        {**asdict(coverage), "density": value.density, "figure": figure_metadata(plot_candidates(value.to_table()))}
    )
    return value
