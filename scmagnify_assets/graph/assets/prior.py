"""The prior: peaks linked to genes, motifs in them, and the candidate edges that all evidence makes."""

from collections.abc import Mapping
from dataclasses import asdict

import dagster as dg
import pandas as pd

from scmagnify_assets.graph.codecs import PRIOR, frames, no_rows
from scmagnify_assets.graph.declare import asset
from scmagnify_assets.graph.describe import figure_metadata
from scmagnify_assets.graph.resources import Specs
from scmagnify_assets.steps.progress import report
from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.methods.family import Input
from scmagnify_core.plots import plot_candidates, plot_hits, plot_links, plot_locus
from scmagnify_core.prior import assemble_prior
from scmagnify_core.prior.build import bind_motifs, find_evidence, link_regions
from scmagnify_core.tables.catalogue import tables_of


def _nothing(asset: str) -> dict[str, pd.DataFrame]:
    return {table.name: no_rows(table) for table in tables_of(asset)}


def _notes(context: dg.AssetExecutionContext, notes: tuple[str, ...]) -> dict[str, dg.MetadataValue]:
    for note in notes:
        (context.log.warning if note.startswith("WARNING") else context.log.info)(note)
    return {"notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes))}


@asset(
    group="prior",
    codec=frames("peak_gene_links", "peaks"),
    settings=("peak_gene_links", "prior_network", "references"),
    may_be_empty=("peak_gene_links", "peaks"),
)
def peak_gene_links(context: dg.AssetExecutionContext, dataset: Dataset, specs: Specs) -> Mapping[str, pd.DataFrame]:
    """Peaks whose accessibility follows a gene nearby; the genes' promoters where there is no ATAC."""
    spec = specs.get(context.partition_key)
    if Input.CANDIDATES not in spec.reads:
        context.add_output_metadata({"skipped": "No method of this data set reads candidate edges."})
        return _nothing("peak_gene_links")
    value = link_regions(
        dataset, spec.references, spec.peak_gene_links, spec.prior_network,
        lambda done, total, detail: report("peak_gene_links", done, total, detail),
    )  # fmt: skip
    metadata = _notes(context, value.notes)
    if value.links.empty:
        context.add_output_metadata(metadata)
        return _nothing("peak_gene_links")
    linked = value.links[value.links["is_linked"]]
    context.add_output_metadata(
        {
            **metadata,
            "n_tested": len(value.links),
            "n_linked": len(linked),
            "n_linked_genes": int(linked["target"].nunique()),
            **(
                {}
                if value.links["correlation"].isna().all()
                else {"figure": figure_metadata(plot_links(value.links))}
            ),
        }
    )
    return {"peak_gene_links": value.links, "peaks": value.peaks}


@asset(
    group="prior",
    codec=frames("tf_binding", "motifs"),
    settings=("tf_binding", "prior_network", "references"),
    may_be_empty=("tf_binding", "motifs"),
    column_sources={"peak": (("peak_gene_links", "peak"),)},
)
def tf_binding(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    peak_gene_links: Mapping[str, pd.DataFrame],
    specs: Specs,
) -> Mapping[str, pd.DataFrame]:
    """Motif hits in linked peaks or promoters, for motifs of TFs that the data set measured."""
    spec = specs.get(context.partition_key)
    if Input.CANDIDATES not in spec.reads:
        context.add_output_metadata({"skipped": "No method of this data set reads candidate edges."})
        return _nothing("tf_binding")
    value = bind_motifs(
        dataset, peak_gene_links["peak_gene_links"], peak_gene_links["peaks"], spec.references, spec.tf_binding,
        spec.prior_network, lambda done, total, detail: report("tf_binding", done, total, detail),
    )  # fmt: skip
    metadata = _notes(context, value.notes)
    if value.motifs.empty:
        context.add_output_metadata(metadata)
        return _nothing("tf_binding")
    links = peak_gene_links["peak_gene_links"]
    # As an example, the gene with most linked regions that have a hit.
    is_bound = links["is_linked"].astype(bool) & links["peak"].isin(value.hits["peak"])
    counts = links.loc[is_bound, "target"].value_counts()
    locus = {}
    if len(counts):
        gene = str(counts[counts == counts.max()].index.min())
        figure = plot_locus(gene, links, peak_gene_links["peaks"], value.hits, value.motifs)
        locus = {"figure_locus": figure_metadata(figure)}
    context.add_output_metadata(
        {
            **metadata,
            "n_hits": len(value.hits),
            "n_motifs": int(value.motifs["motif"].nunique()),
            "n_sources": int(value.motifs["source"].nunique()),
            "n_peaks": int(value.hits["peak"].nunique()),
            "figure": figure_metadata(plot_hits(value.hits, value.motifs)),
            **locus,
        }
    )
    return {"tf_binding": value.hits, "motifs": value.motifs}


@asset(
    group="prior",
    codec=PRIOR,
    settings=("prior_network", "prior", "curated", "references"),
    may_be_empty=("prior_network",),
    column_sources={
        "source": (("tf_binding", "motif"),),
        "target": (("peak_gene_links", "target"),),
        "n_peaks": (("peak_gene_links", "peak"), ("tf_binding", "peak")),
        "best_peak": (("peak_gene_links", "peak"),),
        "link_correlation": (("peak_gene_links", "correlation"),),
        "best_motif": (("tf_binding", "motif"),),
        "motif_score": (("tf_binding", "score"),),
        "motif_pvalue": (("tf_binding", "pvalue"),),
    },
)
def prior_network(
    context: dg.AssetExecutionContext,
    dataset: Dataset,
    gene_association: Mapping[str, pd.DataFrame],
    peak_gene_links: Mapping[str, pd.DataFrame],
    tf_binding: Mapping[str, pd.DataFrame],
    specs: Specs,
) -> PriorNetwork | None:
    """Candidate edges of the data set, with their evidence; the methods can find no others."""
    spec = specs.get(context.partition_key)
    if Input.CANDIDATES not in spec.reads:
        context.add_output_metadata({"skipped": "No method of this data set reads candidate edges."})
        return None
    evidence, notes = find_evidence(
        dataset, spec.prior, spec.curated, spec.references, spec.prior_network, peak_gene_links["peak_gene_links"],
        tf_binding["tf_binding"], tf_binding["motifs"],
    )  # fmt: skip
    association = gene_association["gene_association"]
    moving = set(association.loc[association["is_associated"], "gene"])
    value, coverage = assemble_prior(
        evidence, dataset, moving if spec.prior_network.targets == "associated" else None
    )
    metadata = _notes(context, notes)
    context.log.info(
        f"{coverage.n_edges:,} of {coverage.n_edges_given:,} edges with evidence are candidates: "
        f"{coverage.n_sources} TFs x {coverage.n_targets} targets, density {value.density:.1%}."
    )
    kinds = value.evidence["evidence"].value_counts()
    context.add_output_metadata(
        {
            **metadata,
            **asdict(coverage),
            **{f"edges/{kind}": int(n) for kind, n in kinds.items()},
            "density": round(value.density, 4),
            "figure": figure_metadata(plot_candidates(value.to_table())),
        }
    )
    return value
