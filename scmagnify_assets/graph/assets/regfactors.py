"""RegFactors: the network, decomposed."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import frames, no_rows
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.resources import Specs
from scmagnify_core.interpretation.regfactors import decompose
from scmagnify_core.network.network import MultiscaleNetwork
from scmagnify_core.plots import plot_regfactors
from scmagnify_core.tables.catalogue import TABLES

NAMES = ("regfactors", "regfactor_loadings", "regfactor_components", "regfactor_core")


@asset(
    group="interpretation",
    codec=frames(*NAMES),
    settings=("regfactors",),
    may_be_empty=NAMES,
    column_sources={
        "top_sources": (("multiscale_network", "source"), ("multiscale_network", "weight")),
        "top_targets": (("multiscale_network", "target"), ("multiscale_network", "weight")),
        "peak_lag": (("multiscale_network", "lag"), ("multiscale_network", "weight")),
    },
)
def regfactors(
    context: dg.AssetExecutionContext, multiscale_network: MultiscaleNetwork | None, specs: Specs
) -> Mapping[str, pd.DataFrame]:
    """Target modules with the lags and TFs that the Tucker core ties to them."""
    if multiscale_network is None:
        context.add_output_metadata({"skipped": "There is no network to decompose."})
        return {name: no_rows(TABLES[name]) for name in NAMES}
    value = decompose(multiscale_network.network, specs.get(context.partition_key).regfactors)
    tables = value.tables()
    context.log.info(f"Rank {value.rank} (lag, TF, target) explains {value.explained_share:.0%} of the network.")
    metadata: dict[str, object] = {}
    if value.n_supported is not None:
        metadata["n_supported"] = value.n_supported
        context.log.info(
            f"{value.n_supported} of {value.rank[2]} RegFactors are supported: random networks of the same candidates "
            "explain what more there is. Set regfactors.rank or regfactors.min_rank for another number."
        )
    context.add_output_metadata(
        {
            **metadata,
            "rank": str(value.rank),
            "explained_share": float(value.explained_share),
            "figure": figure_metadata(plot_regfactors(tables["regfactors"], tables["regfactor_loadings"])),
        }
    )
    return tables
