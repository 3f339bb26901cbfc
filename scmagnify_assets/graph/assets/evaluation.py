"""The network beside others: networks made elsewhere, baselines and controls; of one data set, and over all of them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets import registry
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata, table_metadata, table_preview
from scmagnify_assets.graph.resources import LakeResource, Specs
from scmagnify_assets.lake.lakehouse import ALL, Lakehouse
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.errors import InputError
from scmagnify_core.exchange import as_ranking, read_network
from scmagnify_core.network.network import MultiscaleNetwork
from scmagnify_core.plots import plot_leaderboard, plot_scores
from scmagnify_core.tables.catalogue import TABLES

OWN_STEPS = ("trained_model", "seed_network", "multiscale_network")  # that rank candidates, as baselines do in one
NO_TRUTH = "none given: set truth in the data set's TOML, or add --truth FILE"


@asset(group="evaluation")
def imported_networks(
    context: dg.AssetExecutionContext, dataset: Dataset, prior_network: PriorNetwork, specs: Specs
) -> Mapping[str, pd.DataFrame]:
    """Networks that other tools made of this data set, ranked, as far as they are between measured genes."""
    columns = [column.name for column in TABLES["imported_networks"].body]
    given = specs.get(context.partition_key).networks
    if not given:
        context.add_output_metadata({"networks": "none given: add --network NAME=FILE, or [networks] in the TOML"})
        return {"imported_networks": pd.DataFrame(columns=columns)}
    candidates = pd.MultiIndex.from_frame(prior_network.to_table()[["source", "target"]])
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


@asset(group="evaluation")
def baseline_networks(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork,
    diffusion_operators: DiffusionOperators,
    specs: Specs,
) -> Mapping[str, pd.DataFrame]:
    """What simpler methods and controls make of the same candidates and the same past of the TFs.

    Only to be scored beside the network, hence only where there is a ground truth. It needs no trained model, so that
    it is made while that trains, and stays when that is trained again.
    """
    from scmagnify_core.evaluation.leaderboard import rank_baselines, to_table

    if specs.get(context.partition_key).truth is None:
        context.add_output_metadata({"truth": NO_TRUTH})
        return {"baseline_networks": to_table([])}
    rankings, notes = [], []
    for one in rank_baselines(dataset, prior_network, diffusion_operators):
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
    return {"baseline_networks": table}


@asset(group="evaluation")
def network_scores(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    prior_network: PriorNetwork,
    multiscale_network: MultiscaleNetwork,
    imported_networks: Mapping[str, pd.DataFrame],
    baseline_networks: Mapping[str, pd.DataFrame],
    specs: Specs,
    lake: LakeResource,
) -> Mapping[str, pd.DataFrame]:
    """AUPRC, early precision, signs and lags of the network beside imported ones, baselines and controls."""
    from scmagnify_core.evaluation.leaderboard import Ranking, from_table, read_truth, score_methods

    spec = specs.get(context.partition_key)
    path = spec.truth
    if path is None:
        context.add_output_metadata({"truth": NO_TRUTH})
        return {"network_scores": pd.DataFrame(columns=[column.name for column in TABLES["network_scores"].body])}
    if baseline_networks["baseline_networks"].empty:  # a random order is always among them
        name = context.partition_key
        raise InputError(
            f"baselines of '{name}'", "were made while it had no ground truth.",
            f"Make them first: scmagnify run {name} --select baseline_networks --select network_scores",
        )  # fmt: skip
    others = imported_networks["imported_networks"].groupby("method")
    rankings = [
        Ranking("scmagnify", multiscale_network.edges, **_effort(lake.open(), context.partition_key)),
        *(Ranking(str(name), as_ranking(edges)) for name, edges in others),
        *from_table(baseline_networks["baseline_networks"]),
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


def _effort(store: Lakehouse, name: str) -> dict[str, float]:
    """Time of the steps that made a data set's network, over its seeds, and the largest memory of them.

    Empty where a step is not measured: that of an older product, or what was not made by a run.
    """
    made = store.current("multiscale_network", name)
    steps = [one for one in store.ancestry(made) if one.asset in OWN_STEPS] if made is not None else []
    seconds = [one.runtime_s for one in steps if one.runtime_s is not None]
    peaks = [one.peak_memory_mib for one in steps if one.peak_memory_mib is not None]
    if not steps or len(seconds) < len(steps) or len(peaks) < len(steps):
        return {}
    return {"runtime_s": sum(seconds), "peak_memory_mib": max(peaks)}


@asset(group="evaluation", over="network_scores")
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
    metadata: dict[str, Any] = {"n_datasets": scores["dataset"].nunique(), **table_metadata("leaderboard", [written])}
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
