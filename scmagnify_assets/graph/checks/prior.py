"""Checks of the prior: links between peaks and genes, motif hits, and the evidence of candidate edges."""

import dagster as dg
import pandas as pd

from scmagnify_assets.datasets.partitions import DATASETS
from scmagnify_assets.graph.resources import LakeResource

LINK_PVALUE = 0.05  # where significant pairs are counted


@dg.asset_check(asset="peak_gene_links", partitions_def=DATASETS)
def links_exceed_chance(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """More pairs of peak and gene are significant than chance gives: else positions or barcodes may not match.

    Not blocking: sparse ATAC of few cells may tell no more.
    """
    rows = lake.open().read("peak_gene_links", context.partition_key)
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
    hits = store.read("tf_binding", context.partition_key)
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
    prior = store.read("prior_network", dataset)
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
