"""What must hold: a schema check per table, and what science expects of the numbers.

Checks look at storage rather than at values in memory: what they pass is what readers get. Each runs for one
partition, or for the seeds of one run. Blocking checks stop whatever is downstream in the same run.
"""

import json
from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd

from scmagnify_assets.lakehouse import Lakehouse
from scmagnify_assets.partitions import DATASET_SEEDS, DATASETS, split_key
from scmagnify_assets.resources import LakeResource
from scmagnify_core.errors import SchemaError
from scmagnify_core.tables import STAMPED, TABLES, Table

SEED_ASSETS = ("trained_model", "seed_network")
LINK_PVALUE = 0.05  # where significant pairs are counted
MAY_BE_EMPTY = (
    "network_scores", "ligand_receptor", "receptor_tf", "communication_scores", "seed_agreement", "tf_activity",
    "regfactor_activity", "peak_gene_links", "peaks", "tf_binding", "motifs",
)  # fmt: skip


def _rows(
    lake: Lakehouse, table: str, context: dg.AssetCheckExecutionContext
) -> Iterator[tuple[str, int | None, pd.DataFrame]]:
    """Rows of each partition of the run, with its data set and seed."""
    for key in context.partition_keys:
        dataset, seed = split_key(key)
        yield dataset, seed, lake.read(table, dataset, seed)


def _schema_check(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.asset,
        name=f"schema_of_{table.name}",
        description=f"Rows of `{table.name}` in storage match their declaration, and there are some.",
        blocking=True,
        partitions_def=DATASET_SEEDS if table.asset in SEED_ASSETS else DATASETS,
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        problems: list[str] = []
        n_rows = 0
        for dataset, seed, rows in _rows(lake.open(), table.name, context):
            n_rows += len(rows)
            where = dataset if seed is None else f"{dataset}, seed {seed}"
            if rows.empty and table.name not in MAY_BE_EMPTY:
                problems.append(f"no rows for {where}")
            try:
                table.validate(rows.drop(columns=[name for name in STAMPED if name in rows]))
            except SchemaError as error:
                problems += [f"{where}: {problem}" for problem in error.problems]
            if not rows.empty and rows["materialization_id"].nunique() != 1:
                problems.append(f"{where}: rows of several materializations")
        return dg.AssetCheckResult(passed=not problems, metadata={"rows": n_rows, "problems": problems})

    return check


@dg.asset_check(asset="peak_gene_links", partitions_def=DATASETS)
def links_exceed_chance(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """More pairs of peak and gene are significant than chance gives: else positions or barcodes may not match.

    Not blocking: sparse ATAC of few cells may tell no more.
    """
    (_, _, rows) = next(_rows(lake.open(), "peak_gene_links", context))
    tested = rows["pvalue"].dropna()
    share = round(float((tested < LINK_PVALUE).mean()), 4) if len(tested) else float("nan")
    return dg.AssetCheckResult(
        passed=not len(tested) or share > LINK_PVALUE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"pairs": len(tested), f"share with p < {LINK_PVALUE:g}": share, "by chance": LINK_PVALUE},
    )


@dg.asset_check(asset="tf_binding", blocking=True, partitions_def=DATASETS)
def hits_lie_in_their_peaks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Every motif hit lies within the peak that it is said to lie in, and its motif stands for some TF."""
    store = lake.open()
    (_, _, hits) = next(_rows(store, "tf_binding", context))
    peaks = store.read("peaks", context.partition_key, columns=["peak", "start", "end"]).set_index("peak")
    motifs = store.read("motifs", context.partition_key, columns=["motif"])["motif"]
    own = peaks.reindex(hits["peak"])
    outside = ~(
        (hits["start"].to_numpy() >= own["start"].to_numpy()) & (hits["end"].to_numpy() <= own["end"].to_numpy())
    )
    unknown = ~hits["motif"].isin(motifs).to_numpy()
    return dg.AssetCheckResult(
        passed=not outside.any() and not unknown.any(),
        metadata={"hits": len(hits), "outside": int(outside.sum()), "of_unknown_motifs": int(unknown.sum())},
    )


@dg.asset_check(asset="prior_network", blocking=True, partitions_def=DATASETS)
def evidence_is_on_record(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The best peak of every edge with motif evidence is linked to its target, and the best motif has a hit in it."""
    store, dataset = lake.open(), context.partition_key
    (_, _, prior) = next(_rows(store, "prior_network", context))
    edges = prior.dropna(subset=["best_peak"])
    links = store.read("peak_gene_links", dataset, columns=["peak", "target", "is_linked"])
    linked = pd.MultiIndex.from_frame(links.loc[links["is_linked"], ["peak", "target"]])
    hits = pd.MultiIndex.from_frame(store.read("tf_binding", dataset, columns=["peak", "motif"]).drop_duplicates())
    without_link = ~pd.MultiIndex.from_frame(edges[["best_peak", "target"]]).isin(linked)
    without_hit = ~pd.MultiIndex.from_frame(edges[["best_peak", "best_motif"]]).isin(hits)
    is_whole = not without_link.any() and not without_hit.any()
    return dg.AssetCheckResult(
        passed=is_whole,
        metadata={
            "edges_with_motifs": len(edges),
            "without_link": int(without_link.sum()),
            "without_hit": int(without_hit.sum()),
            "remedy": "none needed" if is_whole else f"scmagnify run {dataset}",
        },
    )


@dg.asset_check(asset="trained_model", partitions_def=DATASET_SEEDS)
def loss_fell(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Each seed's loss is finite and falls below that of its first epoch.

    Not blocking: a run that is cut short on purpose may not get there.
    """
    problems = []
    for dataset, seed, history in _rows(lake.open(), "training_history", context):
        loss = history.sort_values("epoch")["loss"].to_numpy()
        if not np.isfinite(loss).all() or (len(loss) > 1 and loss.min() >= loss[0]):
            problems.append(f"{dataset}, seed {seed}: loss {loss[0]:.4f} -> {loss.min():.4f}")
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": problems})


@dg.asset_check(asset="seed_network", blocking=True, partitions_def=DATASET_SEEDS)
def edges_are_candidates(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Each seed's edges are those of the prior network, no more and no less, with finite weights."""
    store = lake.open()
    problems = []
    for dataset, seed, rows in _rows(store, "seed_network", context):
        prior = store.read("prior_network", dataset, columns=["source", "target"])
        edges = rows[["source", "target"]].drop_duplicates()
        if len(edges.merge(prior, on=["source", "target"])) != len(prior) or len(edges) != len(prior):
            problems.append(f"{dataset}, seed {seed}: {len(edges)} edges for {len(prior)} candidates")
        if not np.isfinite(rows["weight"]).all():
            problems.append(f"{dataset}, seed {seed}: weights are not finite")
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": problems})


@dg.asset_check(asset="multiscale_network", blocking=True, partitions_def=DATASETS)
def network_is_not_empty(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Some edge has a weight: a penalty that is too strong, or a prior without signal, leaves none."""
    (_, _, edges) = next(_rows(lake.open(), "edges", context))
    n_edges = int((edges["score"] > 0).sum())
    return dg.AssetCheckResult(passed=n_edges > 0, metadata={"edges_with_weight": n_edges})


@dg.asset_check(asset="multiscale_network", partitions_def=DATASETS)
def seeds_share_inputs(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """All seeds were trained on the same operators and prior with the same settings.

    A seed left from before a change would mix two networks. The check follows what the aggregate was made from.
    """
    store = lake.open()
    dataset = context.partition_key
    made = store.current("multiscale_network", dataset)
    rows = store.read("lineage", dataset).set_index("materialization_id")
    seen: dict[str, set[str]] = {}
    for network in made.inputs if made is not None else ():
        for trained in json.loads(str(rows.loc[network.materialization_id, "inputs"])):
            if trained["asset"] != "trained_model":
                continue
            model = rows.loc[trained["materialization_id"]]
            seen.setdefault("settings", set()).add(model["parameters"])
            for origin in json.loads(model["inputs"]):
                seen.setdefault(origin["asset"], set()).add(origin["data_version"])
    mixed = sorted(what for what, versions in seen.items() if len(versions) > 1)
    return dg.AssetCheckResult(
        passed=not mixed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"differing": mixed, "remedy": f"scmagnify run {dataset}" if mixed else "none needed"},
    )


CHECKS = [
    *(_schema_check(table) for table in TABLES.values() if table.mode == "replace" and table.asset != "raw_dataset"),
    links_exceed_chance,
    hits_lie_in_their_peaks,
    evidence_is_on_record,
    loss_fell,
    edges_are_candidates,
    network_is_not_empty,
    seeds_share_inputs,
]
