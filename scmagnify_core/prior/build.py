"""The prior of one data set, step by step: link regions to genes, find motifs in them, gather the evidence.

Each function takes the data set, its reference files and settings and returns frames with the columns of
``tables.py``, with notes that say in plain words what was done or why it was left out. A step whose files are not
declared returns empty frames: a data set without chromatin or references still has a prior if a network is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.references import References
from scmagnify_core.errors import InputError, PriorError, shorten
from scmagnify_core.prior.annotation import promoter_regions, read_annotation, select_genes
from scmagnify_core.prior.base_network import read_base_network, read_table, rename_columns
from scmagnify_core.prior.evidence import (
    PriorConfig,
    all_pairs_evidence,
    combine_evidence,
    missing_for_motifs,
    motif_evidence,
    motif_kinds,
    plan_evidence,
)
from scmagnify_core.prior.genome import Genome
from scmagnify_core.prior.motifs import map_motifs, read_motifs
from scmagnify_core.prior.peak_gene_links import PeakGeneLinkConfig, link_peaks
from scmagnify_core.prior.regions import common_build_name, guess_build, match_chromosomes, parse_regions
from scmagnify_core.prior.tf_binding import TFBindingConfig, scan_regions

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class LinkedRegions:
    """Bodies of the tables ``peak_gene_links`` and ``peaks``."""

    links: pd.DataFrame
    peaks: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BoundMotifs:
    """Bodies of the tables ``tf_binding`` and ``motifs``."""

    hits: pd.DataFrame
    motifs: pd.DataFrame
    notes: tuple[str, ...]


def link_regions(
    dataset: Dataset,
    references: References | None,
    config: PeakGeneLinkConfig,
    prior: PriorConfig,
    progress: Progress = lambda done, total, detail: None,
) -> LinkedRegions:
    """Regions that may regulate each gene: peaks whose accessibility follows it, or its promoter.

    Peaks are tested wherever there is ATAC and an annotation, whether or not motifs can be searched in them.

    Raises
    ------
    PriorError, InputError
        Names or builds of peaks, genome and annotation do not agree.
    """
    kinds = motif_kinds(prior, references, has_atac=dataset.atac is not None)
    with_promoters = "motif_promoter" in kinds
    if references is None or references.annotation is None or (dataset.atac is None and not with_promoters):
        lacking = (
            "reference files" if references is None else "an annotation" if references.annotation is None else ""
        )
        why = f"no {lacking} declared" if lacking else "no ATAC, and promoters are not asked for"
        return LinkedRegions(pd.DataFrame(), pd.DataFrame(), (f"No regions are linked to genes: {why}.",))
    annotation = read_annotation(references.annotation)
    links: list[pd.DataFrame] = []
    peaks: list[pd.DataFrame] = []
    notes: list[str] = []
    if dataset.atac is not None:
        gc = None
        if references.genome is not None:
            progress(0, 0, "GC content of peaks")
            with Genome(references.genome) as genome:
                _refuse_other_build(genome, references)
                gc = genome.gc_content(parse_regions(dataset.atac.var))
        found = link_peaks(dataset, annotation, config, gc, progress)
        links.append(found.table.assign(kind="atac"))
        peaks.append(found.peaks)
        notes += found.notes
    if with_promoters:
        genes = select_genes(annotation, dataset.genes[dataset.rna.var["is_eligible"]])
        regions = promoter_regions(
            genes, config.promoter_upstream_bp, config.promoter_downstream_bp, _chromosome_lengths(genes, references)
        )
        links.append(
            pd.DataFrame({"peak": regions["peak"], "target": regions["gene"], "distance_bp": 0}).assign(
                kind="promoter", correlation=float("nan"), zscore=float("nan"), pvalue=float("nan"),
                padj=float("nan"), is_linked=True,
            )
        )  # fmt: skip
        n_cells = pd.array([pd.NA] * len(regions), dtype="Int64")  # the column stays one of whole numbers
        peaks.append(regions.drop(columns="gene").assign(n_cells=n_cells, gc_content=float("nan")))
        notes.append(
            f"Promoters of {regions['gene'].nunique():,} genes: {config.promoter_upstream_bp:,} bp upstream to "
            f"{config.promoter_downstream_bp:,} bp downstream of the TSS."
        )
    table = pd.concat(links, ignore_index=True)
    regions = pd.concat(peaks, ignore_index=True).drop_duplicates("peak", ignore_index=True)
    return LinkedRegions(table, regions, tuple(notes))


def bind_motifs(
    dataset: Dataset,
    links: pd.DataFrame,
    peaks: pd.DataFrame,
    references: References | None,
    config: TFBindingConfig,
    prior: PriorConfig,
    progress: Progress = lambda done, total, detail: None,
) -> BoundMotifs:
    """Motif hits in the linked regions, for motifs of TFs that the data set measured.

    Raises
    ------
    PriorError, InputError
        A file cannot be read; no motif belongs to a measured TF; regions lie beyond the genome.
    """
    kinds = motif_kinds(prior, references, has_atac=dataset.atac is not None)
    missing = missing_for_motifs(references)
    if not kinds or references is None or missing:
        why = f"{', '.join(missing)} not declared" if missing else "motifs are not asked for"
        return BoundMotifs(pd.DataFrame(), pd.DataFrame(), (f"No sequence was searched for motifs: {why}.",))
    assert references.motifs is not None
    assert references.genome is not None
    regions = peaks
    if len(links):
        is_asked_for = links["is_linked"] & ("motif_" + links["kind"]).isin(kinds)
        regions = peaks[peaks["peak"].isin(links.loc[is_asked_for, "peak"])]
    if regions.empty:
        raise PriorError(
            "peak_gene_links", "no peak is linked to a gene, so there is no sequence to search for motifs.",
            "Relax peak_gene_links.min_correlation or max_pvalue, widen its window_bp, or use an imported network "
            "alone: prior_network.evidence = ['imported'].",
        )  # fmt: skip
    motifs = read_motifs(references.motifs)
    eligible = dataset.genes[dataset.rna.var["is_eligible"]]
    mapped = map_motifs(
        motifs,
        eligible,
        table=None if references.motif_to_tf is None else read_table(references.motif_to_tf),
        orthologs=None if references.orthologs is None else read_table(references.orthologs),
        aliases=None if references.aliases is None else read_table(references.aliases),
        tf_list=None if references.tf_list is None else read_tf_list(references.tf_list, references.species),
        species=references.species,
    )
    wanted = set(mapped.table["motif"])
    with Genome(references.genome) as genome:
        _refuse_other_build(genome, references)
        found = scan_regions(regions, genome, [one for one in motifs if one.motif in wanted], config, progress)
    table = mapped.table.merge(found.motifs, on="motif", validate="m:1")
    summary = (
        f"{len(found.hits):,} hits of {len(wanted):,} motifs ({mapped.table['source'].nunique():,} TFs) in "
        f"{len(regions):,} regions."
    )
    return BoundMotifs(found.hits, table, (*mapped.notes, *found.notes, summary))


def find_evidence(
    dataset: Dataset,
    imported: Sequence[Path],
    curated: Path | None,
    references: References | None,
    config: PriorConfig,
    links: pd.DataFrame,
    hits: pd.DataFrame,
    motifs: pd.DataFrame,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Candidate edges of all evidence that the data set uses, one row per edge, and notes on where they come from.

    Raises
    ------
    PriorError, InputError
        There is no evidence at all, or some kind of it supports no edge.
    """
    plan = plan_evidence(
        config, references, has_atac=dataset.atac is not None, n_imported=len(imported),
        has_curated=curated is not None,
    )  # fmt: skip
    frames: dict[str, pd.DataFrame] = {}
    motif_file = None if references is None else references.motifs
    for kind in plan.kinds:
        if kind == "imported":
            names = [path.name for path in imported]
            for path in imported:  # networks may have the same file name in several folders
                name = path.name if names.count(path.name) == 1 else str(path)
                frames[name] = read_base_network(path)
        elif kind == "all_pairs":
            assert references is not None
            assert references.tf_list is not None
            frames[kind] = _all_pairs(dataset, references.tf_list, references.species)
        else:
            rows = links[links["kind"] == kind.removeprefix("motif_")] if len(links) else links
            if rows.empty or motifs.empty:
                raise PriorError(
                    f"evidence '{kind}'", "has not been gathered for these settings.",
                    "Materialize peak_gene_links and tf_binding again, then this.",
                )  # fmt: skip
            assert motif_file is not None
            frames[kind] = motif_evidence(rows, hits, motifs, motif_file.name)
    if curated is not None:
        frames[f"curated {curated.name}"] = read_base_network(curated).assign(evidence="curated")
    notes = [*plan.reasons, *(f"{name}: {len(frame):,} edges." for name, frame in frames.items())]
    if len(frames) > 1:
        notes.append(f"Candidates are the {config.combine} of these.")
    return combine_evidence(frames, config.combine), tuple(notes)


def read_tf_list(path: Path, species: str | None) -> set[str]:
    """Names of TFs: one a line, or the column ``tf`` or ``gene`` of a table (of ``species``, where it has that column).

    Raises
    ------
    InputError
        The file cannot be read or names no TF.
    """
    if path.suffix in (".txt", ".list"):
        try:
            names = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"'{path}'", f"cannot be read ({error}).", "Give one name a line, as UTF-8.") from error
        names = {name for name in names if name and not name.startswith("#")}
    else:
        table = rename_columns(read_table(path), ("tf",), f"'{path.name}'")
        if species is not None and "species" in table:
            is_own = table["species"].astype(str).str.lower() == species.lower()
            table = table[is_own] if is_own.any() else table
        names = set(table["tf"].dropna().astype(str))
    if not names:
        raise PriorError(f"'{path.name}'", "names no TF.", "Give one name a line.")
    return names


def _all_pairs(dataset: Dataset, tf_list: Path, species: str | None) -> pd.DataFrame:
    eligible = dataset.genes[dataset.rna.var["is_eligible"]]
    names = read_tf_list(tf_list, species)
    sources = [gene for gene in eligible if gene in names]
    if not sources:
        raise PriorError(
            f"'{tf_list.name}'", f"no gene of the data set ({shorten(eligible, 3)}) is in it ({shorten(names, 3)}).",
            "Give the TF list of this species, in the naming of the data set.",
        )  # fmt: skip
    targets = dataset.genes[dataset.rna.var["is_highly_variable"]]
    return all_pairs_evidence(sources, list(targets.union(pd.Index(sources))), tf_list.name)


def _chromosome_lengths(genes: pd.DataFrame, references: References) -> dict[str, int]:
    """Lengths of the genes' chromosomes, under the names that the annotation gives them."""
    if references.genome is None:
        return {}
    with Genome(references.genome) as genome:
        name_of = match_chromosomes(
            genes["chrom"], genome.lengths, "the annotation's genes", f"genome '{references.genome.name}'"
        )
        return {name: genome.lengths[found] for name, found in name_of.items()}


def _refuse_other_build(genome: Genome, references: References) -> None:
    found = guess_build(genome.lengths)
    if references.build is not None and found is not None and found != common_build_name(references.build):
        raise PriorError(
            "references.build", f"is {references.build}, but the chromosomes of {genome.path.name} have the lengths "
            f"of {found}.", "Name the genome of the build that the peaks were called on.",
        )  # fmt: skip
