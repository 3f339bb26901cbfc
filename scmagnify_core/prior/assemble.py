"""From evidence to the mask: the candidate edges of one data set.

A TF never regulates itself here: its own past predicts it trivially, which is no evidence for an edge.
"""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.errors import PriorError, shorten


@dataclass(frozen=True)
class PriorCoverage:
    """How much of an evidence table a data set can use; all are counts."""

    n_edges_given: int
    n_sources_given: int
    n_targets_given: int
    n_edges: int
    n_sources: int
    n_targets: int
    n_self_edges_dropped: int
    n_edges_unmeasured: int
    n_edges_not_eligible: int


def assemble_prior(
    evidence: pd.DataFrame, dataset: Dataset, moving: Collection[str] | None = None
) -> tuple[PriorNetwork, PriorCoverage]:
    """Keep the candidate edges whose TF and gene the data set can model.

    A source must be detected in enough cells and vary; a target must also be among the highly variable genes, or
    among the moving ones where those are given, unless it is itself a source (cascades between TFs are kept).

    Parameters
    ----------
    evidence
        Frame with ``source``, ``target``, ``weight``, ``evidence``, ``origin``, one row per edge, and optionally the
        support by peaks and motifs (:mod:`~scmagnify_core.prior.evidence`).
    moving
        Genes that change along pseudotime; the highly variable genes are taken when None.

    Raises
    ------
    PriorError
        No edge is left; the message says why: identifiers against symbols, another species' spelling, genes
        that are measured but not eligible, or no overlap at all.
    """
    genes = dataset.rna.var
    names = pd.Index(genes.index)
    eligible = set(names[genes["is_eligible"]])
    measured = evidence["source"].isin(names) & evidence["target"].isin(names)
    if not measured.any():
        raise PriorError("prior", *no_overlap(evidence, names))
    is_self = evidence["source"] == evidence["target"]
    source_fits = evidence["source"].isin(eligible)
    sources = set(evidence.loc[source_fits, "source"])
    varying = set(names[genes["is_highly_variable"]]) if moving is None else set(moving) & eligible
    target_fits = evidence["target"].isin(varying | (sources & eligible))
    keep = measured & ~is_self & source_fits & target_fits
    if is_self[measured].all():
        raise PriorError(
            "prior", f"only self edges are measured ({int(measured.sum())} of {len(evidence)} edges).",
            "Give a prior whose targets are in the data set, too: a TF never regulates itself here.",
        )  # fmt: skip
    if not keep.any():
        raise PriorError(
            "prior", f"{int(measured.sum())} of its edges are measured, but none joins a TF and a target that vary.",
            f"Lower min_cells (now {dataset.description.min_cells}) or "
            + ("raise n_top_genes." if moving is None else "relax gene_association.min_amplitude."),
        )  # fmt: skip
    prior = PriorNetwork.from_table(evidence[keep])
    coverage = PriorCoverage(
        n_edges_given=len(evidence),
        n_sources_given=evidence["source"].nunique(),
        n_targets_given=evidence["target"].nunique(),
        n_edges=prior.n_edges,
        n_sources=len(prior.sources),
        n_targets=len(prior.targets),
        n_self_edges_dropped=int((is_self & measured).sum()),
        n_edges_unmeasured=int((~measured).sum()),
        n_edges_not_eligible=int((measured & ~is_self & ~(source_fits & target_fits)).sum()),
    )
    return prior, coverage


def no_overlap(edges: pd.DataFrame, genes: pd.Index, what: str = "prior") -> tuple[str, str]:
    """Say why not one edge of a prior or network fits, and the remedy: three causes that people meet, or the fact."""
    named = pd.Index(edges["source"]).union(edges["target"])
    examples = f"The data set has {shorten(genes, 3)}, the {what} {shorten(named, 3)}."
    data_is_ensembl = genes.str.match(r"ENS[A-Z]*G\d{6,}").mean() > 0.5
    named_is_ensembl = named.str.match(r"ENS[A-Z]*G\d{6,}").mean() > 0.5
    if data_is_ensembl != named_is_ensembl:
        which = (
            f"gene names are Ensembl ids and the {what} uses symbols",
            "Set gene_key to the column of var with symbols",
        )
        if named_is_ensembl:
            which = (f"{what} uses Ensembl ids and the gene names are symbols", f"Translate the {what} to symbols")
        return f"shares no edge with the data: the {which[0]}. {examples}", f"{which[1]}."
    exact = genes.intersection(named)
    shared = set(genes.str.upper()) & set(named.str.upper())
    if len(shared) > 2 * len(exact):
        return (
            f"shares no edge with the data, yet {len(shared)} names agree but for case. {examples}",
            "It is probably for another species (human symbols are upper case, mouse ones are not): "
            f"give a {what} for this species, or translate it through orthologs.",
        )
    if len(exact):
        return (
            f"shares no edge with the data: it names {len(exact)} of the {len(genes)} genes, but no edge has both its "
            f"ends among them. {examples}",
            f"Give a {what}, or a data set, with more genes.",
        )
    return f"shares no edge with the data. {examples}", f"Give a {what} for this species and naming."
