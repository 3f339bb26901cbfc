"""Networks: of each seed, and aggregated over seeds."""

from dataclasses import replace

import dagster as dg

from scmagnify_assets.datasets.partitions import split_key
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_preview
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators, standardize
from scmagnify_core.errors import InputError
from scmagnify_core.memory import check_fits, memory_in_use, resolve_budget
from scmagnify_core.methods.grn.granger.result import TrainingResult
from scmagnify_core.network.edge_tests import edge_pvalues, testing_bytes, with_pvalues
from scmagnify_core.network.network import MultiscaleNetwork, Network, aggregate_seeds
from scmagnify_core.plots import plot_lag_heatmap, plot_network, plot_ranking, plot_stability


@asset(group="network", per_seed=True)
def seed_network(
    context: dg.AssetExecutionContext,
    trained_model: dict[int, TrainingResult],
    diffusion_operators: DiffusionOperators,
    prior_network: PriorNetwork,
    specs: Specs,
) -> dict[int, Network]:
    """Each seed's coefficients over all cells, reduced to medians per edge and lag."""
    from scmagnify_core.methods.grn.granger.inference import read_network, reading_bytes

    (name,) = {split_key(key)[0] for key in context.partition_keys}
    budget = resolve_budget(specs.get(name).memory_budget)
    networks = {}
    for done, (seed, result) in enumerate(sorted(trained_model.items()), start=1):
        needed = reading_bytes(result, diffusion_operators)
        check_fits(
            f"coefficients of {prior_network.n_edges:,} candidate edges", needed, budget,
            "Take fewer lags (granger.n_lags) or units (granger.hidden)",
        )  # fmt: skip
        networks[seed] = read_network(result, diffusion_operators, prior_network)
        report("seed_network", done, len(trained_model), f"seed {seed}")
    context.add_output_metadata({"memory_estimated_mib": needed / 2**20, "memory_budget_mib": budget / 2**20})
    return networks


@asset(
    group="network",
    ins={"seed_network": dg.AssetIn(partition_mapping=dg.MultiToSingleDimensionPartitionMapping("dataset"))},
)
def multiscale_network(
    context: dg.AssetExecutionContext,
    seed_network: dict[int, Network],
    dataset: Dataset,
    prior_network: PriorNetwork,
    diffusion_operators: DiffusionOperators,
    specs: Specs,
) -> MultiscaleNetwork:
    """The K x P x Q network over all seeds, the ranked and tested edges, and how far the seeds agree."""
    from scmagnify_core.numerics.ridge import DENSE_STRENGTH, ridge_path

    spec = specs.get(context.partition_key)
    missing = sorted(set(range(spec.seeds)) - set(seed_network))
    if missing:
        raise InputError(
            f"seeds {missing} of '{context.partition_key}'", "have no network yet.",
            f"Materialize them, or run everything: scmagnify run {context.partition_key} --seeds {spec.seeds}",
        )  # fmt: skip
    n_cells, n_lags, n_sources = diffusion_operators.lagged.shape
    n_targets = len(prior_network.targets)
    needed = memory_in_use() + 8 * n_cells * n_targets + testing_bytes(n_cells, n_sources)
    needed += 24 * (n_lags * n_sources) ** 2 + 16 * n_lags * n_sources * n_targets
    check_fits(
        f"p-values of {prior_network.n_edges:,} candidate edges", needed, resolve_budget(spec.memory_budget),
        "Take fewer TFs or targets (a stricter prior)",
    )  # fmt: skip
    lagged, targets = diffusion_operators.lagged, standardize(dataset.expression(prior_network.targets))
    value = aggregate_seeds(
        {seed: seed_network[seed] for seed in range(spec.seeds)}, spec.network,
        ridge_path(lagged, targets, prior_network, (DENSE_STRENGTH,))[0],
    )  # fmt: skip
    pvalue = edge_pvalues(lagged, targets, dataset.pseudotime, dataset.labels("lineage"), prior_network)
    value = replace(value, edges=with_pvalues(value.edges, prior_network, pvalue))
    top = value.edges.sort_values("rank").head(10)
    context.add_output_metadata(
        {
            "n_edges": value.network.n_edges,
            "n_selected": int(value.edges["is_selected"].sum()),
            "n_seeds": spec.seeds,
            "n_below_5_percent_fdr": int((value.edges["padj"] < 0.05).sum()),
            "jaccard_of_seeds": float(value.agreement["jaccard"].mean()) if len(value.agreement) else 1.0,
            "top_edges": table_preview(top[["source", "target", "score", "signed_score", "lag", "stability"]]),
            "figure": figure_metadata(plot_network(value.edges)),
            "figure_ranking": figure_metadata(plot_ranking(value.edges)),
            "figure_lags": figure_metadata(plot_lag_heatmap(value.to_table())),
            "figure_stability": figure_metadata(plot_stability(value.edges, value.agreement)),
        }
    )
    return value
