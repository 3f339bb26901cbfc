"""What must hold: a schema check per table, and what science expects of the numbers.

Checks look at storage rather than at values in memory: what they pass is what readers get. Each runs for one
partition, or for the seeds of one run.

Two kinds, and nothing between them:

- **Blocking, severity ERROR**: what is wrong whatever the data (a schema, an edge that is no candidate, a network
  without edges). The run fails, nothing downstream is made of it, and people are told (`alerts`).
- **Not blocking, severity WARN**: what is odd and may be meant (ATAC that tells little, a network unlike its former
  ones). The result stands, and the UI shows a warning to look at.

What is usual is learnt from the data set's own history, the last `HISTORY` former materializations: networks differ by
orders of magnitude between data sets and hardly within one. Former states are read from the lake as they were, two
columns of one partition each (20 ms for 2,500 edges, measured), so that no second record can disagree with it. A
former version that maintenance has removed counts as absent.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from scmagnify_assets.datasets.partitions import DATASET_SEEDS, DATASETS, OVER_DATASETS, split_key
from scmagnify_assets.graph.freshness import results_are_of_current_file
from scmagnify_assets.graph.resources import LakeResource
from scmagnify_assets.lake.lakehouse import ALL, Lakehouse
from scmagnify_assets.lake.lineage import Materialization
from scmagnify_assets.steps.failures import RETRY
from scmagnify_core.errors import SchemaError, ScmagnifyError
from scmagnify_core.network.network import NetworkConfig
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import STAMPED, Table

SEED_ASSETS = ("trained_model", "seed_network")
LINK_PVALUE = 0.05  # where significant pairs are counted
# Former materializations that say what is usual. Two odd ones among five do not move the median, and a change that is
# meant is usual from its third run on.
HISTORY = 5
USUAL_FACTOR = 2.0
USUAL_DROP = 0.2 + 1e-6  # stored as float32
TRUSTED_JACCARD = 1 / 3
TRUSTED_SPEARMAN = 0.5
MAY_BE_EMPTY = (
    "network_scores", "leaderboard", "ligand_receptor", "receptor_tf", "communication_scores", "seed_agreement",
    "tf_activity", "regfactor_activity", "peak_gene_links", "peaks", "tf_binding", "motifs",
    "imported_networks", "baseline_networks",
)  # fmt: skip


def _rows(
    lake: Lakehouse, table: str, context: dg.AssetCheckExecutionContext
) -> Iterator[tuple[str, int | None, pd.DataFrame]]:
    """Rows of each partition of the run, with its data set and seed."""
    for key in [ALL] if TABLES[table].asset in OVER_DATASETS else context.partition_keys:
        dataset, seed = split_key(key)
        yield dataset, seed, lake.read(table, dataset, seed)


def _schema_check(table: Table) -> dg.AssetChecksDefinition:
    partitions = DATASET_SEEDS if table.asset in SEED_ASSETS else DATASETS

    @dg.asset_check(
        asset=table.asset,
        name=f"schema_of_{table.name}",
        description=f"Rows of `{table.name}` in storage match their declaration, and there are some.",
        blocking=True,
        partitions_def=None if table.asset in OVER_DATASETS else partitions,
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

    Not blocking: a run that is cut short on purpose may not get there. (A loss that is not finite is an error of
    training, and no row of the table.)
    """
    problems = []
    for dataset, seed, history in _rows(lake.open(), "training_history", context):
        loss = history.sort_values("epoch")["loss"].to_numpy()
        if not np.isfinite(loss).all() or (len(loss) > 1 and loss.min() >= loss[0]):
            problems.append(f"{dataset}, seed {seed}: loss {loss[0]:.4f} -> {loss.min():.4f}")
    return dg.AssetCheckResult(
        passed=not problems, severity=dg.AssetCheckSeverity.WARN, metadata={"problems": problems}
    )


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
    n_edges = int(edges["has_weight"].eq(True).sum())
    return dg.AssetCheckResult(passed=n_edges > 0, metadata={"edges_with_weight": n_edges})


@dg.asset_check(asset="multiscale_network", partitions_def=DATASETS)
def seeds_share_inputs(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """All seeds were trained on the same operators and prior with the same settings.

    A seed left from before a change would mix two networks. The check follows what the aggregate was made from.

    Not blocking: contents are compared bit for bit, and operators that another machine computes again may differ in
    the last bits. A change of the data file or of the candidates, which no median could bridge, is an error anyway.
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


@dataclass(frozen=True)
class _History:
    """A table of the network now and in its former materializations (newest first), and what changed since."""

    made: Materialization
    now: pd.DataFrame
    former: list[pd.DataFrame]
    n_unreadable: int
    changed: list[str]

    def metadata(self) -> dict[str, Any]:
        """What every check against history says."""
        found: dict[str, Any] = {"former_materializations": len(self.former), "changed_since_the_last": self.changed}
        return found | ({"former_that_were_removed": self.n_unreadable} if self.n_unreadable else {})


def _history(store: Lakehouse, table: str, dataset: str, columns: Sequence[str]) -> _History | None:
    """Read one of the network's tables, now and before; None if there is no complete network.

    Only what is before the current materialization counts, so that a check that is repeated says the same.
    """
    made = store.current("multiscale_network", dataset)
    if made is None:
        return None
    now = store.read(table, dataset, columns=columns, materialization_id=made.materialization_id)
    versions = store.versions(table, dataset)
    own = versions.loc[versions["materialization_id"] == made.materialization_id, "version"].min()
    before = versions[versions["version"] < own].tail(HISTORY).iloc[::-1]
    former, n_unreadable = [], 0
    for version, n_rows in zip(before["version"], before["n_rows"], strict=True):
        if not n_rows:
            former.append(pd.DataFrame(columns=list(columns)))
            continue
        try:
            former.append(store.read(table, dataset, columns=columns, version=int(version)))
        except (ScmagnifyError, ValueError):  # removed by maintenance; ValueError is Arrow's word for a damaged file
            n_unreadable += 1
    return _History(made, now, former, n_unreadable, _changes(store, made, before["materialization_id"]))


def _changes(store: Lakehouse, made: Materialization, before: "pd.Series[str]") -> list[str]:
    """In what the current network differs from the one before, as a person would look for a reason."""
    if before.empty:
        return []
    rows = store.read("lineage", made.dataset).set_index("materialization_id")
    last = Materialization.from_row({"materialization_id": before.iloc[0]} | dict(rows.loc[before.iloc[0]]))
    differs = {
        "data file": made.file_sha256 != last.file_sha256,
        "settings of the network": made.parameters != last.parameters,
        "seeds": sorted(one.seed or 0 for one in made.inputs) != sorted(one.seed or 0 for one in last.inputs),
        "networks of the seeds": {one.data_version for one in made.inputs}
        != {one.data_version for one in last.inputs},
        "code": made.code_version != last.code_version,
    }
    return [what for what, does in differs.items() if does]


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
    found = _history(lake.open(), "edges", dataset, ["has_weight", "is_selected"])
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
    found = _history(lake.open(), "seed_agreement", dataset, ["n_top", "jaccard", "spearman"])
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


def _together(asset: str, checks: Sequence[dg.AssetChecksDefinition]) -> dg.AssetChecksDefinition:
    """All checks of an asset as one step: each step is a process, and most checks take less time than to start one."""
    specs = [spec for check in checks for spec in check.check_specs]

    @dg.multi_asset_check(name=f"checks_of_{asset}", specs=specs, retry_policy=RETRY)
    def run(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        for check, spec in zip(checks, specs, strict=True):
            result = check.op.compute_fn.decorated_fn(context, lake)  # type: ignore[union-attr]
            yield result._replace(asset_key=spec.asset_key, check_name=spec.name)

    return run


EACH = [
    *(_schema_check(table) for table in TABLES.values() if table.mode == "replace" and table.asset != "raw_dataset"),
    links_exceed_chance,
    hits_lie_in_their_peaks,
    evidence_is_on_record,
    loss_fell,
    edges_are_candidates,
    network_is_not_empty,
    seeds_share_inputs,
    edge_counts_are_usual,
    seeds_agree_as_usual,
    results_are_of_current_file,
]
_asset_of = {check: next(iter(check.check_specs)).asset_key.to_user_string() for check in EACH}
CHECKS = [
    _together(asset, [check for check in EACH if _asset_of[check] == asset])
    for asset in dict.fromkeys(_asset_of.values())
]
