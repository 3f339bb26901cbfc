"""From evidence of several kinds to one frame of candidate edges that says where each comes from.

==================  =========================================================================
``motif_atac``      a motif of the TF lies in a peak whose accessibility follows the gene
``motif_promoter``  a motif of the TF lies in the gene's promoter
``imported``        a base network names the edge
``curated``         the user's own list names the edge; it is a candidate whatever the rest says
``all_pairs``       every TF with every gene: no evidence at all
==================  =========================================================================

Without a choice of the user the best evidence at hand is taken: motifs in linked peaks where there is ATAC, else
motifs in promoters, together with an imported network where one is given; all pairs only if there is nothing else.
Weights of imported networks are kept; an edge that only motifs support weighs the correlation of its best link, or 1
without ATAC. The published mask is binary: weights are for later methods and for the control that ranks by them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from scmagnify_core.candidates import SUPPORT
from scmagnify_core.data.references import References, missing_reference
from scmagnify_core.errors import PriorError

Kind = Literal["motif_atac", "motif_promoter", "imported", "all_pairs"]
# Of an edge that several kinds name, the first one here gives the weight.
KINDS = ("curated", "imported", "motif_atac", "motif_promoter", "all_pairs")
EVIDENCE_COLUMNS = ("source", "target", "weight", "evidence", "origin", *SUPPORT)


class PriorConfig(BaseModel, frozen=True, extra="forbid"):
    """Which evidence makes an edge a candidate."""

    evidence: tuple[Kind, ...] = Field(
        (), description="Kinds to use: motif_atac, motif_promoter, imported, all_pairs; the best at hand when empty."
    )
    combine: Literal["union", "intersection"] = Field(
        "union",
        description="A candidate has any evidence, or every kind and imported network; curated edges stay in.",
    )
    targets: Literal["variable", "associated"] = Field(
        "variable", description="Targets are highly variable genes, or genes that change along pseudotime."
    )


MOTIF_REASONS: Mapping[Kind, str] = {
    "motif_atac": "Motifs in peaks whose accessibility follows the gene.",
    "motif_promoter": "There is no ATAC: motifs in promoters stand in for open chromatin.",
}


@dataclass(frozen=True)
class EvidencePlan:
    """Kinds of evidence that will be used, and in plain words why."""

    kinds: tuple[Kind, ...]
    reasons: tuple[str, ...]


def motif_kinds(config: PriorConfig, references: References | None, *, has_atac: bool) -> tuple[Kind, ...]:
    """The kinds of evidence that need links and a motif scan: as set, else the best that files and data allow."""
    if config.evidence:
        return tuple(kind for kind in dict.fromkeys(config.evidence) if kind.startswith("motif"))
    if missing_for_motifs(references):
        return ()
    return ("motif_atac",) if has_atac else ("motif_promoter",)


def missing_for_motifs(references: References | None) -> list[str]:
    """Reference files that a motif scan needs and that are not declared."""
    return [key for key in ("genome", "annotation", "motifs") if getattr(references, key, None) is None]


def plan_evidence(
    config: PriorConfig, references: References | None, *, has_atac: bool, n_imported: int, has_curated: bool
) -> EvidencePlan:
    """Decide which kinds of evidence a data set uses.

    Raises
    ------
    PriorError, InputError
        Nothing is at hand, or a kind is asked for whose files are not declared; says which and where to get them.
    """
    tf_list = None if references is None else references.tf_list
    missing = missing_for_motifs(references)
    if config.evidence:
        for kind in config.evidence:
            if kind == "motif_atac" and not has_atac:
                raise PriorError(
                    "prior_network.evidence", "asks for motif_atac, but the data set has no ATAC.",
                    "Give an h5mu with a modality 'atac', or fragments and peaks, or ask for motif_promoter.",
                )  # fmt: skip
            if kind.startswith("motif") and missing:
                raise missing_reference(missing[0], f"prior_network.evidence asks for {kind}")
            if kind == "imported" and not n_imported:
                raise PriorError(
                    "prior_network.evidence", "asks for imported, but no prior is set.",
                    "Name a base network: scmagnify add ... --prior FILE, or prior = in the TOML.",
                )  # fmt: skip
            if kind == "all_pairs" and tf_list is None:
                raise missing_reference("tf_list", "all TF-target pairs need to know which genes are TFs")
        return EvidencePlan(tuple(dict.fromkeys(config.evidence)), ("Kinds of evidence as set by the user.",))

    kinds = list(motif_kinds(config, references, has_atac=has_atac))
    reasons = [MOTIF_REASONS[kind] for kind in kinds]
    if has_atac and missing and references is not None:
        reasons.append(f"ATAC makes no candidates: the references do not declare {', '.join(missing)}.")
    if n_imported:
        kinds.append("imported")
        reasons.append("Edges of the imported network.")
    if has_curated:
        reasons.append("Curated edges, whatever the rest says.")
    if not kinds and not has_curated:
        if tf_list is None:
            raise PriorError(
                "prior", f"there is no evidence for any edge: no base network, and no {', '.join(missing)} declared.",
                "Name a base network (source, target[, weight]): scmagnify add ... --prior FILE, or prior = in the "
                "TOML; or declare these reference files: scmagnify references.",
            )  # fmt: skip
        kinds.append("all_pairs")
        reasons.append("There is neither a prior nor motifs: every TF is a candidate for every gene.")
    return EvidencePlan(tuple(kinds), tuple(reasons))


def motif_evidence(links: pd.DataFrame, hits: pd.DataFrame, motifs: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Edges that motifs in linked regions imply.

    Parameters
    ----------
    links
        Body of ``peak_gene_links``; only rows with ``is_linked`` count. The kind of a row (``atac`` or ``promoter``)
        becomes the kind of the evidence.
    hits
        Body of ``tf_binding``.
    motifs
        Body of ``motifs``: which TFs a motif stands for.
    origin
        What to name as the edges' origin: the motif file.

    Returns
    -------
    One row per source, target and kind, with :data:`EVIDENCE_COLUMNS`. ``n_peaks`` counts linked regions with a
    motif of the TF; the best peak is the one of highest correlation (of best motif, without ATAC), the best motif
    the one of smallest p-value in it.
    """
    linked = links.loc[links["is_linked"], ["peak", "target", "kind", "correlation"]]
    # One row per peak and TF first: the join with genes must not carry every single hit, of which there are millions.
    best = hits.loc[hits["peak"].isin(linked["peak"].unique()), ["peak", "motif", "score", "pvalue"]]
    best = best.sort_values(["pvalue", "score"], ascending=[True, False], kind="stable")
    best = best.drop_duplicates(["peak", "motif"]).astype({"peak": str, "motif": str})
    best = best.merge(motifs[["motif", "source"]], on="motif")
    best = best.sort_values(["pvalue", "score", "motif"], ascending=[True, False, True], kind="stable")
    best = best.drop_duplicates(["peak", "source"])
    pairs = linked.merge(best, on="peak").sort_values(
        ["correlation", "pvalue", "peak"], ascending=[False, True, True], kind="stable"
    )
    grouped = pairs.groupby(["source", "target", "kind"], sort=True, observed=True)
    edges = grouped.first().reset_index()
    edges["n_peaks"] = grouped.size().to_numpy(dtype=np.int64)
    edges = edges.rename(
        columns={"peak": "best_peak", "correlation": "link_correlation", "motif": "best_motif",
                 "score": "motif_score", "pvalue": "motif_pvalue"}
    )  # fmt: skip
    edges["evidence"] = "motif_" + edges["kind"]
    edges["weight"] = edges["link_correlation"].astype(float).fillna(1.0)
    return edges.assign(origin=origin)[list(EVIDENCE_COLUMNS)]


def all_pairs_evidence(sources: Sequence[str], targets: Sequence[str], origin: str) -> pd.DataFrame:
    """Every source with every target; size is their product."""
    pairs = pd.MultiIndex.from_product([sources, targets], names=["source", "target"]).to_frame(index=False)
    return pairs.assign(weight=1.0, evidence="all_pairs", origin=origin)


def combine_evidence(frames: Mapping[str, pd.DataFrame], combine: Literal["union", "intersection"]) -> pd.DataFrame:
    """One row per edge from several evidence frames, each with at least source, target, weight, evidence, origin.

    Parameters
    ----------
    frames
        Evidence by a name for messages; several imported networks are several frames. Order does not matter.
    combine
        Keep edges of any frame, or of every frame. Curated edges are always kept.

    Raises
    ------
    PriorError
        A frame is empty, or the intersection is.
    """
    for name, frame in frames.items():
        if frame.empty:
            raise PriorError(
                f"evidence '{name}'", "supports no edge.",
                "Look at the tables peak_gene_links and tf_binding: their thresholds may be too strict, or the motifs' "
                "TFs are not in the data.",
            )  # fmt: skip
    rows = pd.concat([frame.assign(part=part) for part, frame in enumerate(frames.values())], ignore_index=True)
    rows = rows.reindex(columns=[*EVIDENCE_COLUMNS, "part"])
    rows["order"] = rows["evidence"].map({kind: place for place, kind in enumerate(KINDS)})
    if rows["order"].isna().any():
        raise ValueError(f"unknown kinds of evidence: {sorted(set(rows['evidence']) - set(KINDS))}")
    rows = rows.sort_values(["source", "target", "order", "part"], kind="stable")
    grouped = rows.groupby(["source", "target"], sort=True)
    first = grouped.first()  # of each column the first value that is there, hence the weight of the first kind
    first["n_peaks"] = grouped["n_peaks"].sum().astype(np.int64)
    several = rows[rows.duplicated(["source", "target"], keep=False)]
    if len(several):
        for column, glue in (("evidence", "+"), ("origin", ",")):
            once = several.drop_duplicates(["source", "target", column])
            joined = once.groupby(["source", "target"])[column].agg(glue.join)
            first.loc[joined.index, column] = joined
    if combine == "intersection":
        needed = {part for part, frame in enumerate(frames.values()) if set(frame["evidence"]) != {"curated"}}
        counted = rows[rows["part"].isin(needed)].groupby(["source", "target"])["part"].nunique()
        in_all = counted.reindex(first.index, fill_value=0) == len(needed)
        first = first[in_all | first["evidence"].str.contains("curated")]
        if first.empty:
            raise PriorError(
                "prior_network.combine = 'intersection'", f"no edge is in all of {', '.join(frames)}.",
                "Use combine = 'union', or leave a kind of evidence out.",
            )  # fmt: skip
    return first.reset_index()[list(EVIDENCE_COLUMNS)]
