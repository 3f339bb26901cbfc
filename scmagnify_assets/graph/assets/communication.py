"""Cell-cell communication: ligand -> receptor -> TF."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import frames, no_rows
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.steps.progress import report
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.interpretation.activity import Activity
from scmagnify_core.interpretation.communication import communicate
from scmagnify_core.plots import plot_communication
from scmagnify_core.prior.base_network import read_table
from scmagnify_core.tables.catalogue import TABLES

SIGNIFICANT = 0.05


NAMES = ("ligand_receptor", "receptor_tf", "communication_scores")


@asset(
    group="interpretation",
    codec=frames(*NAMES),
    settings=("communication", "ligand_receptor", "receptor_tf"),
    may_be_empty=NAMES,
    column_sources={
        "sender": (("dataset", "cluster"),),
        "receiver": (("dataset", "cluster"),),
        "receptor_tf_association": (("tf_activity", "activity"), ("dataset", "pseudotime")),
    },
)
def communication_scores(
    context: dg.AssetExecutionContext, dataset: Dataset, tf_activity: Activity, specs: Specs
) -> Mapping[str, pd.DataFrame]:
    """Ligand-receptor pairs between cell groups, receptors and the TFs that follow them, and the cascades of both."""
    spec = specs.get(context.partition_key)
    if spec.ligand_receptor is None:
        context.log.info("No ligand-receptor pairs are given, so communication is left out.")
        context.add_output_metadata({"skipped": "Set ligand_receptor (and receptor_tf) to score communication."})
        return {name: no_rows(TABLES[name]) for name in NAMES}
    tables = communicate(
        dataset,
        read_table(spec.ligand_receptor),
        None if spec.receptor_tf is None else read_table(spec.receptor_tf),
        spec.communication,
        tf_activity.table,
        lambda done, total, detail: report("communication_scores", done, total, detail),
    )
    metadata: dict[str, object] = {}
    for name, table in tables.items():
        n_found = int((table["padj"] <= SIGNIFICANT).sum())
        metadata |= {f"tested/{name}": len(table), f"padj <= {SIGNIFICANT:g}/{name}": n_found}
        context.log.info(f"{name}: {n_found:,} of {len(table):,} at padj <= {SIGNIFICANT:g}.")
    if spec.receptor_tf is None:
        metadata["cascades"] = "Set receptor_tf to follow signals to TFs."
    context.add_output_metadata({**metadata, "figure": figure_metadata(plot_communication(tables))})
    return tables
