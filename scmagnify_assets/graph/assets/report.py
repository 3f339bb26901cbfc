"""The report: one page of a data set's results, to read in a browser and to mail."""

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import Stored
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.io_manager import AS_STORED
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.plots.network import plot_lag_heatmap
from scmagnify_core.report import Origin, ReportInput, render_report

# In the order in which the page names what it was made from.
ORDER = (
    "raw_dataset", "dataset", "gene_association", "peak_gene_links", "tf_binding", "prior_network",
    "diffusion_operators", "trained_model", "seed_network", "multiscale_network", "regfactors", "tf_activity",
    "regfactor_activity", "communication_scores", "imported_networks", "baseline_networks", "network_scores",
)  # fmt: skip
SHOWN = (
    "dataset", "prior_network", "multiscale_network", "regfactors", "tf_activity", "regfactor_activity",
    "communication_scores", "network_scores",
)  # fmt: skip
INPUTS = {name: dg.AssetIn(metadata=AS_STORED) for name in SHOWN} | {
    "trained_model": dg.AssetIn(
        metadata=AS_STORED, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("dataset")
    )
}


@asset(group="interpretation", kinds=("html",), ins=INPUTS)
def report(
    context: dg.AssetExecutionContext,
    dataset: Stored,
    prior_network: Stored,
    trained_model: dict[int, Stored],
    multiscale_network: Stored,
    regfactors: Stored,
    tf_activity: Stored,
    regfactor_activity: Stored,
    communication_scores: Stored,
    network_scores: Stored,
) -> str:
    """One self-contained HTML page with the figures, tables and provenance; `scmagnify report NAME` gives it out.

    Only tables are read, at just the materializations that the page names: no weights, no operators.
    """
    shown = [
        dataset, prior_network, *trained_model.values(), multiscale_network, regfactors, tf_activity,
        regfactor_activity, communication_scores, network_scores,
    ]  # fmt: skip
    edges, lags = multiscale_network.table("edges"), multiscale_network.table("multiscale_network")
    page = render_report(
        ReportInput(
            name=context.partition_key,
            cells=dataset.table("cells"),
            genes=dataset.table("genes"),
            prior_network=prior_network.table("prior_network"),
            histories={seed: one.table("training_history") for seed, one in sorted(trained_model.items())},
            multiscale_network=lags,
            edges=edges,
            seed_agreement=multiscale_network.table("seed_agreement"),
            regfactors=regfactors.table("regfactors"),
            regfactor_loadings=regfactors.table("regfactor_loadings"),
            tf_activity=tf_activity.table("tf_activity", ("cell", "source", "activity")),
            regfactor_activity=regfactor_activity.table("regfactor_activity", ("cell", "regfactor", "activity")),
            ligand_receptor=communication_scores.table("ligand_receptor"),
            receptor_tf=communication_scores.table("receptor_tf"),
            communication_scores=communication_scores.table("communication_scores"),
            network_scores=network_scores.table("network_scores"),
            origins=origins_of(shown),
        )
    )
    context.add_output_metadata(
        {
            "size_mb": round(len(page.encode()) / 1e6, 2),
            "open": f"scmagnify report {context.partition_key} --open",
            "figure": figure_metadata(plot_lag_heatmap(lags)),
        }
    )
    return page


def origins_of(shown: list[Stored]) -> tuple[Origin, ...]:
    """What was read, and all that it goes back to, in the order of the graph."""
    read = {one.made.materialization_id for one in shown}
    found: dict[str, Materialization] = {made.materialization_id: made for one in shown for made in one.ancestry()}

    def place(one: Materialization) -> tuple[int, int, pd.Timestamp, str]:
        order = ORDER.index(one.asset) if one.asset in ORDER else len(ORDER)
        return order, -1 if one.seed is None else one.seed, pd.Timestamp(one.created_at), one.materialization_id

    return tuple(
        Origin(
            asset=one.asset, seed=one.seed, materialization_id=one.materialization_id, run_id=one.run_id,
            code_version=one.code_version, file_sha256=one.file_sha256, made_at=one.created_at,
            parameters=one.parameters, packages=one.packages, is_shown=one.materialization_id in read,
        )
        for one in sorted(found.values(), key=place)
    )  # fmt: skip
