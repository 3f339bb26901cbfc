"""The network and its controls against a ground truth, where the data set names one."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from scmagnify_assets.declare import asset
from scmagnify_assets.describe import figure_metadata, table_preview
from scmagnify_assets.resources import Specs
from scmagnify_core.dataset import Dataset
from scmagnify_core.leaderboard import read_truth, score_methods
from scmagnify_core.network import MultiscaleNetwork
from scmagnify_core.plots.evaluation import plot_scores
from scmagnify_core.prior import PriorNetwork
from scmagnify_core.tables import TABLES


@asset(group="evaluation")
def network_scores(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork,
    multiscale_network: MultiscaleNetwork,
    specs: Specs,
) -> Mapping[str, pd.DataFrame]:
    """AUPRC, early precision, signs and lags of the network beside random, prior and correlation."""
    path = specs.get(context.partition_key).truth
    if path is None:
        context.add_output_metadata({"truth": "none given: set truth in the data set's TOML, or add --truth FILE"})
        return {"network_scores": pd.DataFrame(columns=[column.name for column in TABLES["network_scores"].body])}
    scores, notes = score_methods(dataset, prior_network, multiscale_network.edges, read_truth(path))
    for note in notes:
        context.log.info(note)
    columns = ["method", "truth", "prior_edges", "n_true", "auprc_ratio", "epr", "epr_ceiling", "sign_accuracy"]
    context.add_output_metadata(
        {
            "truth": str(path),
            "scores": table_preview(scores[columns]),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes)),
            "figure": figure_metadata(plot_scores(scores)),
        }
    )
    return {"network_scores": scores}
