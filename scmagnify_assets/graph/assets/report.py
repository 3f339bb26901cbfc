"""The report: one page of a data set's results, to read in a browser and to mail."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets.partitions import WHERE_IT_EXISTS
from scmagnify_assets.graph.codecs import PAGE, Stored
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.record import AS_STORED, INTERPRETED, order_of_assets
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_core.methods.families import METHODS, NETWORK_METHODS
from scmagnify_core.methods.family import Family, Kind
from scmagnify_core.plots.network import plot_lag_heatmap
from scmagnify_core.report import MethodResult, Origin, ReportInput, render_report
from scmagnify_core.specification import DatasetSpec
from scmagnify_core.tables.network import FIT_HISTORY, NETWORKS
from scmagnify_core.tables.programs import GENE_PROGRAMS
from scmagnify_core.tables.samples import SAMPLE_DISTANCES

SHOWN = (
    "dataset", "prior_network", "multiscale_network", "regfactors", "tf_activity", "regfactor_activity",
    "communication_scores", "network_scores",
)  # fmt: skip
INPUTS = {
    **{name: dg.AssetIn(metadata=AS_STORED) for name in SHOWN},
    **{
        one.model_asset: dg.AssetIn(metadata=AS_STORED | INTERPRETED, partition_mapping=WHERE_IT_EXISTS)
        for one in NETWORK_METHODS.values()
    },
    **{
        one.result_asset: dg.AssetIn(metadata=AS_STORED, partition_mapping=WHERE_IT_EXISTS)
        for one in METHODS.values()
    },
}


@asset(group="interpretation", kinds=("html",), codec=PAGE, settings=("methods", "interpreted"), ins=INPUTS)
def report(context: dg.AssetExecutionContext, specs: Specs, **inputs: Stored | None) -> str:
    """One self-contained HTML page with the figures, tables and provenance; `scmagnify report NAME` gives it out.

    Only tables are read, at just the materializations that the page names: no weights, no operators.
    """
    spec = specs.get(context.partition_key)
    shown = {name: one for name, one in inputs.items() if one is not None}
    network = shown["multiscale_network"]
    lags = network.table("multiscale_network")
    page = render_report(
        ReportInput(
            name=context.partition_key,
            method=spec.interpreted,
            results=tuple(_result(METHODS[name], shown[METHODS[name].result_asset]) for name in spec.methods),
            cells=shown["dataset"].table("cells"),
            genes=shown["dataset"].table("genes"),
            prior_network=shown["prior_network"].table("prior_network"),
            histories=_histories(spec, shown),
            multiscale_network=lags,
            edges=network.table("edges"),
            seed_agreement=network.table("seed_agreement"),
            regfactors=shown["regfactors"].table("regfactors"),
            regfactor_loadings=shown["regfactors"].table("regfactor_loadings"),
            tf_activity=shown["tf_activity"].table("tf_activity", ("cell", "source", "activity")),
            regfactor_activity=shown["regfactor_activity"].table(
                "regfactor_activity", ("cell", "regfactor", "activity")
            ),
            ligand_receptor=shown["communication_scores"].table("ligand_receptor"),
            receptor_tf=shown["communication_scores"].table("receptor_tf"),
            communication_scores=shown["communication_scores"].table("communication_scores"),
            network_scores=shown["network_scores"].table("network_scores"),
            origins=origins_of(list(shown.values())),
        )
    )
    context.add_output_metadata(
        {
            "size_mb": round(len(page.encode()) / 1e6, 2),
            "open": f"scmagnify report {context.partition_key} --open",
            **({"figure": figure_metadata(plot_lag_heatmap(lags))} if len(lags) else {}),
        }
    )
    return page


def _histories(spec: DatasetSpec, shown: Mapping[str, Stored]) -> dict[int, pd.DataFrame]:
    """The history of each seed of the interpreted method."""
    if spec.interpreted is None:
        return {}
    rows = shown[METHODS[spec.interpreted].model_asset].table(FIT_HISTORY.name)
    wide = rows.pivot(index=["seed", "epoch"], columns="measure", values="value").reset_index()
    return {int(str(seed)): own.drop(columns="seed") for seed, own in wide.groupby("seed")}


def _result(family: Family, stored: Stored) -> MethodResult:
    """What a method found, in numbers."""
    if family.kind is Kind.NETWORK:
        found = f"{stored.made.tables[NETWORKS.name]:,} ranked edges"
    elif family.kind is Kind.PROGRAMS:
        n_programs = stored.table(GENE_PROGRAMS.name, ("program",))["program"].nunique()
        found = f"{n_programs:,} gene programs"
    else:
        pairs = stored.table(SAMPLE_DISTANCES.name, ("sample_a", "sample_b"))
        found = f"distances between {len(set(pairs['sample_a']) | set(pairs['sample_b'])):,} samples"
    return MethodResult(family.name, family.title, family.kind.value, found, family.reference)


def origins_of(shown: list[Stored]) -> tuple[Origin, ...]:
    """What was read, and all that it goes back to, in the order of the graph."""
    names = order_of_assets()
    read = {one.made.materialization_id for one in shown}
    found: dict[str, Materialization] = {made.materialization_id: made for one in shown for made in one.ancestry()}

    def place(one: Materialization) -> tuple[int, int, pd.Timestamp, str]:
        order = names.index(one.asset) if one.asset in names else len(names)
        return order, -1 if one.seed is None else one.seed, pd.Timestamp(one.created_at), one.materialization_id

    return tuple(
        Origin(
            asset=one.asset, seed=one.seed, materialization_id=one.materialization_id, run_id=one.run_id,
            code_version=one.code_version, file_sha256=one.file_sha256, made_at=one.created_at,
            parameters=one.parameters, packages=one.packages, is_shown=one.materialization_id in read,
        )
        for one in sorted(found.values(), key=place)
    )  # fmt: skip
