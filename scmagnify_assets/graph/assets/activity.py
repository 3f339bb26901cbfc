"""Activities per cell: of TFs through their edges, of RegFactors through their targets."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import activity_codec, no_rows
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.resources import Specs
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.interpretation import activity
from scmagnify_core.network.network import MultiscaleNetwork
from scmagnify_core.plots import plot_activity, plot_activity_on_embedding, plot_trends
from scmagnify_core.tables.catalogue import TABLES

NO_NETWORK = "There is no network to take it from."
N_SHOWN = 8  # TFs or RegFactors with a panel of their own


@asset(
    group="interpretation",
    codec=activity_codec("tf_activity"),
    settings=("activity",),
    may_be_empty=("tf_activity",),
    column_sources={
        "cell": (("dataset", "cell"),),
        "source": (("multiscale_network", "source"),),
        "activity": (("multiscale_network", "weight"),),
    },
)
def tf_activity(
    context: dg.AssetExecutionContext, dataset: Dataset, multiscale_network: MultiscaleNetwork | None, specs: Specs
) -> activity.Activity:
    """Activity of each TF in each cell, from the signed scores of the edges that the model keeps."""
    if multiscale_network is None:
        context.add_output_metadata({"skipped": NO_NETWORK})
        return activity.Activity(no_rows(TABLES["tf_activity"]), {})
    edges = multiscale_network.edges
    net = edges.loc[edges["has_weight"].eq(True), ["source", "target", "signed_score"]]
    value = activity.tf_activity(
        dataset, net.rename(columns={"signed_score": "weight"}), specs.get(context.partition_key).activity
    )
    _describe(context, value, dataset, "source")
    return value


@asset(
    group="interpretation",
    codec=activity_codec("regfactor_activity"),
    settings=("activity",),
    may_be_empty=("regfactor_activity",),
    column_sources={"cell": (("dataset", "cell"),), "regfactor": (("regfactors", "regfactor"),)},
)
def regfactor_activity(
    context: dg.AssetExecutionContext, dataset: Dataset, regfactors: Mapping[str, pd.DataFrame], specs: Specs
) -> activity.Activity:
    """Activity of each RegFactor in each cell, from its target loadings."""
    if regfactors["regfactors"].empty:
        context.add_output_metadata({"skipped": NO_NETWORK})
        return activity.Activity(no_rows(TABLES["regfactor_activity"]), {})
    value = activity.regfactor_activity(
        dataset, regfactors["regfactor_loadings"], specs.get(context.partition_key).activity
    )
    _describe(context, value, dataset, "regfactor")
    return value


def _describe(context: dg.AssetExecutionContext, value: activity.Activity, dataset: Dataset, name: str) -> None:
    for dropped, reason in value.dropped.items():
        context.log.info(f"{dropped} was left out: {reason}")
    metadata = {f"n_{name}s": int(value.table[name].nunique()), "n_dropped": len(value.dropped)}
    if value.table.empty:
        context.log.warning(f"No {name} has enough targets for an activity; lower activity.min_targets.")
        context.add_output_metadata(metadata)
        return
    cells = dataset.cells_table()
    spread = value.table.groupby(name)["activity"].var().sort_values(ascending=False, kind="stable")
    shown = spread.index[:N_SHOWN].tolist()
    context.add_output_metadata(
        {
            **metadata,
            "figure": figure_metadata(plot_activity(value.table, cells, name)),
            "figure_trends": figure_metadata(plot_trends(value.table, cells, shown, column=name)),
            "figure_embedding": figure_metadata(plot_activity_on_embedding(value.table, cells, shown, column=name)),
        }
    )
