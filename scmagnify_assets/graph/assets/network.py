"""The network of the method that is interpreted: its K x P x Q coefficients, and its ranked and tested edges."""

from typing import Any

import dagster as dg

from scmagnify_assets.datasets.partitions import WHERE_IT_EXISTS
from scmagnify_assets.graph.assets.families import inputs_of, refuse_missing_seeds
from scmagnify_assets.graph.codecs import MULTISCALE, Fitted
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_preview
from scmagnify_assets.graph.freshness import FRESHNESS
from scmagnify_assets.graph.record import INTERPRETED
from scmagnify_assets.graph.resources import Specs
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.families import METHODS, NETWORK_METHODS
from scmagnify_core.network.edge_tests import with_tests
from scmagnify_core.network.network import MultiscaleNetwork, Network, aggregate_seeds
from scmagnify_core.plots import plot_lag_heatmap, plot_network, plot_ranking, plot_stability


@asset(
    group="network",
    codec=MULTISCALE,
    settings=("network", "interpreted"),
    may_be_empty=("multiscale_network", "edges", "seed_agreement"),
    column_sources={
        "source": (("prior_network", "source"),),
        "target": (("prior_network", "target"),),
        "weight": (("scmagnify_model", "weight"),),
        "magnitude": (("scmagnify_model", "magnitude"),),
        "weight_sd": (("scmagnify_model", "weight"),),
    },
    ins={
        one.model_asset: dg.AssetIn(metadata=INTERPRETED, partition_mapping=WHERE_IT_EXISTS)
        for one in NETWORK_METHODS.values()
    },
    freshness=FRESHNESS,
)
def multiscale_network(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork | None,
    diffusion_operators: DiffusionOperators | None,
    specs: Specs,
    **inputs: Any,
) -> MultiscaleNetwork | None:
    """The K x P x Q network over all seeds, the ranked and tested edges, and how far the seeds agree.

    It is that of the method that the settings ``interpret``; `networks` has those of all methods.
    """
    spec = specs.get(context.partition_key)
    if spec.interpreted is None:
        context.add_output_metadata({"skipped": "No method of this data set infers a network."})
        return None
    family = METHODS[spec.interpreted]
    fitted: Fitted = inputs[family.model_asset]
    given = inputs_of(spec, dataset, prior_network, diffusion_operators)
    said = {seed: family.read(fit, given) for seed, fit in fitted.fits.items()}
    refuse_missing_seeds(family, said, spec)
    value = aggregate_seeds({seed: one for seed, one in said.items() if isinstance(one, Network)}, spec.network)
    value = with_tests(value, dataset, given.prior, diffusion_operators, spec.memory_budget)
    top = value.edges.sort_values("rank").head(10)
    context.add_output_metadata(
        {
            "method": family.name,
            "n_edges": value.network.n_edges,
            "n_selected": int(value.edges["is_selected"].sum()),
            "n_seeds": len(said),
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
