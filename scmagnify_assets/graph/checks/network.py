"""Checks of networks: that they are networks of the candidates, and that they are not unlike their former states."""

from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from scmagnify_assets.datasets.partitions import DATASETS, partitions_of
from scmagnify_assets.graph.checks.reading import read_history, stored_rows
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_core.methods.family import Family
from scmagnify_core.network.network import NetworkConfig

USUAL_FACTOR = 2.0
USUAL_DROP = 0.2 + 1e-6  # stored as float32
TRUSTED_JACCARD = 1 / 3
TRUSTED_SPEARMAN = 0.5


def loss_fell(family: Family) -> dg.AssetChecksDefinition:
    """The check of a family's losses.

    Not blocking: a run that is cut short on purpose may not get there. (A loss that is not finite is an error of
    training, and no row of the table.)
    """

    @dg.asset_check(
        asset=family.model_asset,
        name="loss_fell",
        description="Each seed's loss is finite and falls below that of its first epoch.",
        partitions_def=partitions_of(family.name),
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        dataset, problems = context.partition_key, []
        rows = stored_rows(lake.open(), "fit_history", dataset, family.model_asset)
        for seed, history in rows[rows["measure"] == "loss"].groupby("seed"):
            loss = history.sort_values("epoch")["value"].to_numpy()
            if not np.isfinite(loss).all() or (len(loss) > 1 and loss.min() >= loss[0]):
                problems.append(f"{dataset}, seed {seed}: loss {loss[0]:.4f} -> {loss.min():.4f}")
        return dg.AssetCheckResult(
            passed=not problems, severity=dg.AssetCheckSeverity.WARN, metadata={"problems": problems}
        )

    return check


def edges_are_candidates(family: Family) -> dg.AssetChecksDefinition:
    """The check of a family's network: blocking, as an edge that is no candidate has no evidence."""

    @dg.asset_check(
        asset=family.result_asset,
        name="edges_are_candidates",
        description="The edges are those of the prior network, no more and no less, with finite scores.",
        blocking=True,
        partitions_def=partitions_of(family.name),
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        store, dataset, problems = lake.open(), context.partition_key, []
        rows = stored_rows(store, "networks", dataset, family.result_asset)
        prior = store.read("prior_network", dataset, columns=["source", "target"])
        edges = rows[["source", "target"]].drop_duplicates()
        if len(edges.merge(prior, on=["source", "target"])) != len(prior) or len(edges) != len(prior):
            problems.append(f"{dataset}: {len(edges)} edges for {len(prior)} candidates")
        if not np.isfinite(rows["score"]).all():
            problems.append(f"{dataset}: scores are not finite")
        return dg.AssetCheckResult(passed=not problems, metadata={"problems": problems})

    return check


@dg.asset_check(asset="multiscale_network", blocking=True, partitions_def=DATASETS)
def network_is_not_empty(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Some edge has a weight: a penalty that is too strong, or a prior without signal, leaves none."""
    store, dataset = lake.open(), context.partition_key
    made = store.current("multiscale_network", dataset)
    if made is not None and made.parameters.get("interpreted", "") is None:
        return dg.AssetCheckResult(passed=True, metadata={"verdict": "No method of this data set infers a network."})
    edges = store.read("edges", dataset)
    n_edges = int(edges["has_weight"].eq(True).sum())
    return dg.AssetCheckResult(passed=n_edges > 0, metadata={"edges_with_weight": n_edges})


def _no_network(dataset: str) -> dg.AssetCheckResult:
    """There is nothing to judge; that there is no network is for the UI to show, and for the schema check to say."""
    return dg.AssetCheckResult(
        passed=True,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdict": f"There is no network of '{dataset}' yet.", "remedy": f"scmagnify run {dataset}"},
    )


@dg.asset_check(asset="multiscale_network", partitions_def=DATASETS)
def edge_counts_are_usual(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """As many edges have a weight, and are selected, as in former networks of the data set, within a factor of 2.

    The rule: each count is usual from half to twice the median over the last 5 former materializations, both included.
    A ratio, because a count is a size; a median, because one odd run must not become the measure; a fixed factor
    rather than the spread of the former counts, because a rerun gives the same network bit for bit: their spread is
    mostly 0, and one edge more would be an alarm. A median of 0 makes every other count unusual.

    Without a history the number of edges that the settings ask for (``top_fraction`` of the candidates) takes the
    place of the median of the selected ones: more are selected where scores are tied, fewer where filters leave too
    few weights. How many edges have a weight depends on the penalties, hence it is only held against that share, too.

    Not blocking: another file, prior or setting may well change the size. ``changed_since_the_last`` lists them.
    """
    dataset = context.partition_key
    found = read_history(lake.open(), "edges", dataset, ["has_weight", "is_selected"])
    if found is None:
        return _no_network(dataset)
    names = ("edges_with_weight", "selected_edges")
    counts = dict(zip(names, _edge_counts(found.now), strict=True))
    if found.former:
        medians = np.median([_edge_counts(edges) for edges in found.former], axis=0)
        bounds = {
            name: (median / USUAL_FACTOR, median * USUAL_FACTOR) for name, median in zip(names, medians, strict=True)
        }
        measure = f"the median of {len(found.former)} former materializations"
    else:
        share = found.made.parameters.get("network", {}).get("top_fraction", NetworkConfig().top_fraction)
        asked = max(1, round(share * len(found.now)))
        bounds = {
            "edges_with_weight": (asked / USUAL_FACTOR, float(len(found.now))),
            "selected_edges": (asked / USUAL_FACTOR, asked * USUAL_FACTOR),
        }
        measure = f"{share:g} of the {len(found.now):,} candidates, which the settings ask for: there is no history"
    odd = [name for name in names if not bounds[name][0] <= counts[name] <= bounds[name][1]]
    return dg.AssetCheckResult(
        passed=not odd,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **counts,
            **{f"usual_{name}": f"{low:,.0f} to {high:,.0f}" for name, (low, high) in bounds.items()},
            "candidates": len(found.now),
            "compared_with": measure,
            "unusual": odd,
            **found.metadata(),
            "remedy": f"If no change was meant, compare with the former networks: FROM time_travel WHERE dataset = "
            f"'{dataset}' AND table_name = 'edges'"
            if odd
            else "none needed",
        },
    )


def _edge_counts(edges: pd.DataFrame) -> tuple[int, int]:
    return int(edges["has_weight"].eq(True).sum()), int(edges["is_selected"].astype(bool).sum())


@dg.asset_check(asset="multiscale_network", partitions_def=DATASETS)
def seeds_agree_as_usual(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The seeds agree on the network: enough to trust it, and hardly less than in its former materializations.

    Two measures of `seed_agreement`, each averaged over the pairs of seeds: the Jaccard index of the top lists, and
    the rank correlation (Spearman) of the scores of all candidates.

    To trust it takes a Jaccard index of 1/3, which is half of each top list: below, most of what one seed calls its
    top edges another seed would not, and the ranking says more of the seed than of the cells. (Two random lists of a
    tenth of the candidates reach 0.05.) And it takes a rank correlation of 0.5: below, less than a quarter of the
    variance of the ranks is shared. For scale, the demo's seeds (300 cells) agree with 0.26 and 0.36 after one epoch of
    training, 0.65 and 0.86 after five, and 0.92 and 0.98 when trained.

    Unusual is a drop by more than 0.2 below the median of those of the last 5 former materializations that had several
    seeds. A difference, not a ratio, as both measures have a scale of their own. More agreement is never odd.

    With one seed the check passes: one seed cannot disagree, which is no evidence that it is right.

    Not blocking: few cells may allow no more, and the network says itself how stable each of its edges is.
    """
    dataset = context.partition_key
    found = read_history(lake.open(), "seed_agreement", dataset, ["n_top", "jaccard", "spearman"])
    if found is None:
        return _no_network(dataset)
    if found.now.empty:
        return dg.AssetCheckResult(
            passed=True,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "verdict": "One seed cannot disagree: nothing is known of the stability.",
                "remedy": f"scmagnify run {dataset} --seeds 3",
            },
        )
    # Two empty lists are equal: that seeds agree on nothing at all is no agreement.
    now, *former = (one[(one["n_top"] > 0) | (one["jaccard"] < 1)] for one in (found.now, *found.former))
    metadata: dict[str, Any] = {"pairs_of_seeds": len(found.now)}
    problems = [] if len(now) else ["no seed has any edge with a weight"]
    for name, least in (("jaccard", TRUSTED_JACCARD), ("spearman", TRUSTED_SPEARMAN)):
        value = _mean(now[name])
        if value is None:  # all scores of a seed are equal, hence there is no order to compare
            continue
        metadata[name] = round(value, 4)
        if value < least:
            problems.append(f"{name} is {value:.2f}; below {least:.2f} a network over seeds is not to be trusted")
        before = [mean for agreement in former if (mean := _mean(agreement[name])) is not None]
        if before:
            usual = float(np.median(before))
            metadata[f"usual_{name}"] = round(usual, 4)
            if value < usual - USUAL_DROP:
                problems.append(f"{name} is {value:.2f}; the median of {len(before)} former networks is {usual:.2f}")
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **metadata,
            "problems": problems,
            **found.metadata(),
            "remedy": "Look at training_history (is the loss still falling?), train longer or with more seeds, "
            "or use only edges of high stability."
            if problems
            else "none needed",
        },
    )


def _mean(values: "pd.Series[float]") -> float | None:
    known = values.dropna().astype(float)
    return float(known.mean()) if len(known) else None
