"""The network beside others: networks made elsewhere, baselines and controls; of one data set, and over all of them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets import registry
from scmagnify_assets.datasets.partitions import WHERE_IT_EXISTS
from scmagnify_assets.graph.codecs import frames, no_rows
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_metadata, table_preview
from scmagnify_assets.graph.record import RECORDS
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.lake.lakehouse import ALL
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.exchange import as_ranking, read_network
from scmagnify_core.methods.families import NETWORK_METHODS
from scmagnify_core.methods.family import Inputs
from scmagnify_core.plots import plot_leaderboard, plot_scores
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.network import NETWORKS

NO_TRUTH = "No ground truth is given: set truth in the data set's TOML, or add --truth FILE."
NO_CANDIDATES = "No method of this data set reads candidate edges."


@asset(
    group="evaluation",
    codec=frames("imported_networks"),
    settings=("networks",),
    may_be_empty=("imported_networks",),
    column_sources={"is_candidate": (("prior_network", "source"), ("prior_network", "target"))},
)
def imported_networks(
    context: dg.AssetExecutionContext, dataset: Dataset, prior_network: PriorNetwork | None, specs: Specs
) -> Mapping[str, pd.DataFrame]:
    """Networks that other tools made of this data set, ranked, as far as they are between measured genes."""
    columns = [column.name for column in TABLES["imported_networks"].body]
    given = specs.get(context.partition_key).networks
    if not given:
        context.add_output_metadata({"networks": "none given: add --network NAME=FILE, or [networks] in the TOML"})
        return {"imported_networks": pd.DataFrame(columns=columns)}
    pairs = no_rows(TABLES["prior_network"]) if prior_network is None else prior_network.to_table()
    candidates = pd.MultiIndex.from_frame(pairs[["source", "target"]])
    frames, notes = [], []
    for name, path in given.items():
        edges, said = read_network(name, path, dataset.genes)
        is_candidate = pd.MultiIndex.from_frame(edges[["source", "target"]]).isin(candidates)
        frames.append(edges.assign(method=name, is_candidate=is_candidate))
        notes += [*said, f"{int(is_candidate.sum()):,} of them are candidates here, which has {len(candidates):,}"]
    for note in notes:
        context.log.info(note)
    table = pd.concat(frames, ignore_index=True)[columns]
    top = table[table["rank"] <= 5]
    context.add_output_metadata(
        {
            **{f"n_edges/{name}": int(n) for name, n in table["method"].value_counts().items()},
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes)),
            "top_edges": table_preview(top[["method", "source", "target", "weight", "is_candidate"]]),
        }
    )
    return {"imported_networks": table}


@asset(
    group="evaluation",
    codec=frames("networks"),
    settings=("has_truth",),
    tables=(NETWORKS,),
    may_be_empty=("networks",),
    column_sources={name: (("prior_network", name),) for name in ("source", "target")},
)
def baseline_networks(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork | None,
    diffusion_operators: DiffusionOperators | None,
    specs: Specs,
) -> Mapping[str, pd.DataFrame]:
    """What simpler methods and controls make of the same candidates and the same past of the TFs.

    Only to be scored beside the methods, hence only where there is a ground truth. It needs no trained model, so that
    it is made while that trains, and stays when that is trained again.
    """
    from scmagnify_core.evaluation.leaderboard import rank_baselines, to_table

    spec = specs.get(context.partition_key)
    if spec.truth is None or prior_network is None:
        context.add_output_metadata({"skipped": NO_TRUTH if spec.truth is None else NO_CANDIDATES})
        return {"networks": to_table([])}
    rankings, notes = [], []
    for one in rank_baselines(Inputs(dataset, prior_network, diffusion_operators, spec.memory_budget)):
        if isinstance(one, str):
            notes.append(one)
            context.log.info(one)
            continue
        rankings.append(one)
        report("baseline_networks", len(rankings), 0, one.method)
    table = to_table(rankings)
    top = table[table["rank"] <= 3]
    context.add_output_metadata(
        {
            **{f"runtime_s/{one.method}": round(one.runtime_s, 3) for one in rankings},
            **{f"peak_memory_mib/{one.method}": round(one.peak_memory_mib, 1) for one in rankings},
            "notes": dg.MetadataValue.md(
                "\n".join(f"- {note}" for note in notes) or "all baselines and controls ran"
            ),
            "top_edges": table_preview(
                top.groupby("method").head(3)[["method", "rank", "source", "target", "score"]]
            ),
        }
    )
    return {"networks": table}


@asset(
    group="evaluation",
    codec=frames("network_scores"),
    settings=("truth", "methods"),
    may_be_empty=("network_scores",),
    ins={one.result_asset: dg.AssetIn(partition_mapping=WHERE_IT_EXISTS) for one in NETWORK_METHODS.values()},
)
def network_scores(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork | None,
    imported_networks: Mapping[str, pd.DataFrame],
    baseline_networks: Mapping[str, pd.DataFrame],
    specs: Specs,
    **inputs: Any,
) -> Mapping[str, pd.DataFrame]:
    """AUPRC, early precision, signs and lags of each method beside imported networks, baselines and controls."""
    from scmagnify_core.evaluation.leaderboard import Ranking, from_table, read_truth, score_methods

    spec = specs.get(context.partition_key)
    path = spec.truth
    if path is None or prior_network is None:
        context.add_output_metadata({"skipped": NO_TRUTH if path is None else NO_CANDIDATES})
        return {"network_scores": no_rows(TABLES["network_scores"])}
    if baseline_networks["networks"].empty:  # a random order is always among them
        name = context.partition_key
        raise InputError(
            f"baselines of '{name}'", "were made while it had no ground truth.",
            f"Make them first: scmagnify run {name} --select baseline_networks --select network_scores",
        )  # fmt: skip
    others = imported_networks["imported_networks"].groupby("method")
    own = [one for family in spec.network_methods for one in from_table(inputs[family.result_asset]["networks"])]
    rankings = [
        *own,
        *(Ranking(str(name), as_ranking(edges)) for name, edges in others),
        *from_table(baseline_networks["networks"]),
    ]
    scores, notes = score_methods(rankings, read_truth(path), list(dataset.genes), prior_network, spec.preset)
    for note in notes:
        context.log.info(note)
    columns = [
        "method",
        "truth",
        "prior_edges",
        "n_true",
        "auprc_ratio",
        "auprc_ratio_low",
        "auprc_ratio_high",
        "epr",
        "runtime_s",
        "peak_memory_mib",
    ]
    canonical = scores[scores["variant"] == "canonical"]
    context.add_output_metadata(
        {
            "truth": str(path),
            "scores": table_preview(canonical[columns]),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes)),
            "figure": figure_metadata(plot_scores(scores)),
        }
    )
    return {"network_scores": scores}


@asset(
    group="evaluation",
    codec=None,
    may_be_empty=("leaderboard",),
    over="network_scores",
    column_sources={
        "mean_rank": (("network_scores", "auprc_ratio"),),
        "auprc_ratio": (("network_scores", "auprc_ratio"),),
        "epr": (("network_scores", "epr"),),
    },
)
def leaderboard(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Methods over all data sets that have a ground truth: mean rank, and mean AUPRC ratio with its interval."""
    from scmagnify_core.evaluation.leaderboard import leaderboard as rank_methods

    store = lake.open()
    # One at a time, from reading to writing: of two at once, the one that read less might write last.
    with store.claim("leaderboard"):
        made = [one for name in registry.names(store) if (one := store.current("network_scores", name)) is not None]
        read = [store.read("network_scores", materialization_id=one.materialization_id) for one in made]
        columns = [column.name for column in TABLES["network_scores"].columns]
        # Scores of an older product lack columns.
        scores = pd.concat(
            [one.reindex(columns=columns) for one in read if len(one)] or [pd.DataFrame(columns=columns)]
        )
        board = rank_methods(scores)
        written = store.write(
            "leaderboard", ALL, None, {"leaderboard": board}, {},
            run_id=context.run_id,
            inputs=[one.to_input() for one in made],
            parameters={},
            file_sha256=hashlib.sha256("".join(one.file_sha256 for one in made).encode()).hexdigest(),
        )  # fmt: skip
    metadata: dict[str, Any] = {
        "n_datasets": scores["dataset"].nunique(),
        **table_metadata(RECORDS["leaderboard"], [written]),
    }
    if len(board):
        shown = board[(board["truth"] == "all") & (board["prior_edges"] == "only")]
        columns = [
            "preset",
            "method",
            "n_datasets",
            "mean_rank",
            "auprc_ratio",
            "auprc_ratio_low",
            "auprc_ratio_high",
            "runtime_s",
            "peak_memory_mib",
        ]
        metadata["order_of_candidates"] = table_preview(shown[columns])
        metadata["figure"] = figure_metadata(plot_leaderboard(board, scores))
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(written.data_version[:32]))
