"""Peaks whose accessibility follows a gene nearby.

For each gene and each peak in its window: Spearman's correlation over metacells, compared with the gene's correlations
to random peaks elsewhere of like GC content and accessibility. The z-score against these says whether the pair
correlates more than the gene does with peaks that cannot regulate it in cis, such as those of its cell type at large.

Decisions
---------
* One draw of random peaks per class of peaks serves all genes, so that the null is a matrix product instead of a loop
  over pairs. Those drawn peaks that lie in a gene's own window are taken out of its null afterwards.
* Classes have equal numbers of peaks by construction: quantiles of accessibility, within each quantiles of GC. A data
  set with few peaks gets fewer classes rather than thin ones. Without a genome, accessibility alone.
* Only positive correlation counts, as published: a TF that represses through open chromatin is not lost by this,
  because the link says that the element serves the gene, not in which direction.
* Ranks are standardised to unit length once per gene and peak; the correlation of a pair is then a dot product.
  Memory is metacells x (genes + peaks) x 4 bytes twice over, whatever the number of pairs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import BaseModel, Field
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.metacells import assign_metacells, metacell_accessibility, metacell_expression
from scmagnify_core.errors import InputError, PriorError, shorten
from scmagnify_core.numerics.statistics import adjust_pvalues
from scmagnify_core.prior.annotation import select_genes
from scmagnify_core.prior.regions import match_chromosomes, parse_regions, tss_enrichment

ACCESSIBILITY_CLASSES, GC_CLASSES = 10, 5
MIN_PEAKS = 20  # the least for a null
# Peaks of the right build lie 11 times as often at starts of measured genes as beside them in sci-CAR's A549 (hg19),
# 1.8 times with a table of hg38: builds agree in places.
LOW_ENRICHMENT, TSS_FOR_ENRICHMENT, NEAR_BY_CHANCE_FOR_ENRICHMENT = 2.5, 200, 20
PAIRS_AT_ONCE, GENES_AT_ONCE, FEATURES_AT_ONCE = 20_000, 1_000, 5_000

Progress = Callable[[int, int, str], None]


class PeakGeneLinkConfig(BaseModel, frozen=True, extra="forbid"):
    """Which peaks are tested for a gene, and what makes a link."""

    window_bp: int = Field(100_000, ge=0, description="Peaks up to this far from the gene are tested.")
    window_around: Literal["gene", "tss"] = Field(
        "gene", description="Distance counts from the gene's longest transcript, or from its TSS."
    )
    cells_per_metacell: int = Field(50, ge=1, description="Mean number of cells whose counts are pooled.")
    n_null: int = Field(100, ge=10, description="Random peaks of like GC content and accessibility per pair.")
    min_correlation: float = Field(0.1, ge=-1, le=1, description="A link has a Spearman correlation above this.")
    max_pvalue: float = Field(0.1, gt=0, le=1, description="A link has a p-value below this.")
    min_cells: int = Field(10, ge=1, description="A peak is tested if open in this many cells.")
    promoter_upstream_bp: int = Field(1000, ge=0, description="Without ATAC: promoter before the TSS.")
    promoter_downstream_bp: int = Field(200, ge=0, description="Without ATAC: promoter after the TSS.")
    seed: int = Field(0, ge=0, description="Seed of the metacells and of the random peaks.")


@dataclass(frozen=True)
class PeakGeneLinks:
    """Tested pairs of peak and gene.

    Attributes
    ----------
    table
        ``peak``, ``target``, ``distance_bp`` (from the TSS to the peak's nearest edge, 0 inside, negative upstream),
        ``correlation``, ``zscore``, ``pvalue``, ``padj`` (over all tested pairs) and ``is_linked``.
    peaks
        ``peak``, ``chrom``, ``start``, ``end``, ``n_cells`` in which it is open and ``gc_content`` (NaN where unknown)
        of the tested peaks.
    null
        One row per class of peaks: ``n_peaks``, ``n_drawn``, medians of ``n_cells`` and ``gc_content``, and mean over
        genes of the null's ``mean`` and ``sd``.
    n_metacells
        Metacells over which was correlated.
    notes
        What was decided or left out, in sentences.
    """

    table: pd.DataFrame
    peaks: pd.DataFrame
    null: pd.DataFrame
    n_metacells: int
    notes: tuple[str, ...]


def link_peaks(
    dataset: Dataset,
    annotation: pd.DataFrame,
    config: PeakGeneLinkConfig,
    gc: Float[np.ndarray, " peak"] | None = None,
    progress: Progress = lambda done, total, detail: None,
) -> PeakGeneLinks:
    """Test every peak in the window of every eligible gene.

    Deterministic. Cost: ranking metacells x (genes + peaks) log metacells, the null genes x 5,000 x metacells.

    Parameters
    ----------
    annotation
        Frame of genes as :func:`~scmagnify_core.prior.annotation.read_annotation` returns it.
    gc
        GC content of each peak of the ATAC modality, NaN where unknown.

    Raises
    ------
    InputError
        There is no ATAC, or its peaks do not parse.
    PriorError
        No gene is annotated, no chromosome is shared, too few peaks are open, or no peak lies in any window.
    """
    if dataset.atac is None:
        raise InputError("mod['atac']", "is missing.", "Give an h5mu with the modality 'atac'.")
    notes = list(annotation.attrs.get("notes", ()))
    regions = parse_regions(dataset.atac.var)
    genes = _locate_genes(dataset, annotation, regions, notes)

    progress(0, 3, "metacells")
    labels = assign_metacells(dataset, config.cells_per_metacell, config.seed)
    n_metacells = int(labels.max()) + 1
    notes.append(f"{dataset.rna.n_obs:,} cells make {n_metacells:,} metacells.")
    columns = dataset.genes.get_indexer(pd.Index(genes["gene"]))
    gene_ranks, gene_varies = _standardised_ranks(metacell_expression(dataset, labels, columns))
    if not gene_varies.all():
        notes.append(f"{int((~gene_varies).sum()):,} genes are constant over metacells and cannot be tested.")

    progress(1, 3, "accessibility")
    regions["n_cells"] = _open_cells(dataset)
    regions["gc_content"] = np.nan if gc is None else np.asarray(gc, dtype=np.float64)
    is_open = (regions["n_cells"] >= config.min_cells).to_numpy()
    columns = np.flatnonzero(is_open)
    peak_ranks, peak_varies = _standardised_ranks(metacell_accessibility(dataset, labels, columns))
    notes.append(
        f"{int(peak_varies.sum()):,} of {len(regions):,} peaks can be tested: open in at least {config.min_cells} "
        "cells and varying over metacells."
    )
    regions = regions[is_open].reset_index(drop=True)
    if peak_varies.sum() < MIN_PEAKS:
        raise PriorError(
            "atac", f"has {int(peak_varies.sum())} peaks that are open in {config.min_cells} cells and vary over "
            f"metacells; {MIN_PEAKS} are the least.", "Lower peak_gene_links.min_cells, or give a denser peak matrix.",
        )  # fmt: skip

    pairs = _pairs_in_windows(genes, regions, config)
    in_window = len(pairs)
    pairs = pairs[gene_varies[pairs["gene"]] & peak_varies[pairs["peak"]]].reset_index(drop=True)
    if pairs.empty:
        raise _no_pair(genes, regions, config, in_window)
    n_genes, n_peaks = pairs["gene"].nunique(), pairs["peak"].nunique()
    notes.append(
        f"{len(pairs):,} pairs: {n_peaks:,} peaks lie within {config.window_bp:,} bp of {n_genes:,} genes "
        f"({'longest transcript' if config.window_around == 'gene' else 'TSS'})."
    )
    if gc is None:
        notes.append("There is no genome, so that random peaks match in accessibility but not in GC content.")

    progress(2, 3, "correlations")
    correlation = _pair_correlations(gene_ranks, peak_ranks, pairs)
    classes, drawn = _null_classes(regions, peak_varies, config)
    mean, sd = _null_moments(gene_ranks, peak_ranks, pairs, drawn)
    of_pair = (pairs["gene"].to_numpy(), classes[pairs["peak"]])
    table = _links(genes, regions, pairs, correlation, mean[of_pair], sd[of_pair], config)
    notes.append(f"{int(table['is_linked'].sum()):,} pairs are linked, of {len(table):,} tested.")
    tested = regions.iloc[np.unique(pairs["peak"])].reset_index(drop=True)
    progress(3, 3, "done")
    null = regions.groupby(classes)[["n_cells", "gc_content"]].median().drop(index=-1, errors="ignore")
    null = null.assign(n_peaks=np.bincount(classes[classes >= 0]), n_drawn=drawn.shape[1])
    null = null.assign(mean=np.nanmean(mean[gene_varies], axis=0), sd=np.nanmean(sd[gene_varies], axis=0))
    return PeakGeneLinks(table, tested, null.reset_index(drop=True), n_metacells, tuple(notes))


# ---------------------------------------------------------------- genes, peaks and windows


def _locate_genes(
    dataset: Dataset, annotation: pd.DataFrame, regions: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Eligible genes with their place, chromosomes named as the peaks name them."""
    eligible = dataset.genes[dataset.rna.var["is_eligible"]]
    genes = select_genes(annotation, eligible)
    name_of = match_chromosomes(genes["chrom"], regions["chrom"], "the annotation's genes", "the ATAC modality")
    n_annotated = len(genes)
    genes = genes.assign(chrom=genes["chrom"].map(name_of)).dropna(subset=["chrom"]).reset_index(drop=True)
    notes.append(
        f"{n_annotated:,} of {len(eligible):,} eligible genes are annotated, {len(genes):,} on chromosomes with peaks."
    )
    enrichment = tss_enrichment(regions, genes)
    is_measurable = (
        enrichment.n_tss >= TSS_FOR_ENRICHMENT and enrichment.n_near_by_chance >= NEAR_BY_CHANCE_FOR_ENRICHMENT
    )
    if is_measurable and enrichment.ratio < LOW_ENRICHMENT:
        notes.append(
            f"WARNING: peaks lie only {enrichment.ratio:.1f} times as often within 1 kb of a TSS as 20 to 50 kb beside "
            f"it ({enrichment.n_near:,} of {enrichment.n_tss:,} genes against {enrichment.n_near_by_chance:,.0f}); "
            "open chromatin gathers there. Peaks and annotation may be of different genome builds."
        )
    return genes


def _open_cells(dataset: Dataset) -> Int[np.ndarray, " peak"]:
    assert dataset.atac is not None
    matrix = sparse.csr_matrix(dataset.atac.X)
    return np.bincount(matrix.indices[matrix.data > 0], minlength=matrix.shape[1])


def _pairs_in_windows(genes: pd.DataFrame, regions: pd.DataFrame, config: PeakGeneLinkConfig) -> pd.DataFrame:
    """Row numbers of each gene and peak that overlaps the gene's window, sorted by gene, then peak."""
    import bioframe

    windows = genes[["chrom", "start", "end"]].copy()
    if config.window_around == "tss":
        windows["start"], windows["end"] = genes["tss"], genes["tss"] + 1
    windows["start"] -= config.window_bp
    windows["end"] += config.window_bp
    found = bioframe.overlap(
        windows, regions[["chrom", "start", "end"]], how="inner", return_input=False, return_index=True
    )
    pairs = pd.DataFrame({"gene": found["index"].astype(np.int64), "peak": found["index_"].astype(np.int64)})
    return pairs.sort_values(["gene", "peak"], ignore_index=True)


def _no_pair(genes: pd.DataFrame, regions: pd.DataFrame, config: PeakGeneLinkConfig, in_window: int) -> PriorError:
    first_gene, first_peak = genes.iloc[0], regions.iloc[0]
    examples = (
        f"For instance gene '{first_gene['gene']}' is at {first_gene['chrom']}:{first_gene['tss']}, peak "
        f"'{first_peak['peak']}' on chromosomes {shorten(regions['chrom'].unique(), 3)}."
    )
    if in_window:
        return PriorError(
            "peak_gene_links", f"{in_window} peaks lie near genes, but all are constant over metacells. {examples}",
            "Lower cells_per_metacell, or give more cells.",
        )  # fmt: skip
    return PriorError(
        "peak_gene_links", f"no peak lies within {config.window_bp:,} bp of any of {len(genes)} annotated genes, "
        f"though chromosomes match. {examples}",
        "Peaks and annotation are probably of different genome builds or species: give the annotation of the build "
        "that the peaks were called on. Else raise window_bp.",
    )  # fmt: skip


def _signed_distance(genes: pd.DataFrame, regions: pd.DataFrame) -> Int[np.ndarray, " pair"]:
    """From the TSS to the peak's nearest base, negative upstream by the gene's strand, for rows in parallel."""
    tss = genes["tss"].to_numpy()
    start, last = regions["start"].to_numpy(), regions["end"].to_numpy() - 1
    distance = np.where(tss < start, start - tss, np.where(tss > last, last - tss, 0))
    return np.where(genes["strand"].to_numpy() == "-", -distance, distance)


# ---------------------------------------------------------------- correlations and their null


def _standardised_ranks(
    values: Float[np.ndarray, "metacell feature"],
) -> tuple[Float[np.ndarray, "feature metacell"], np.ndarray]:
    """Ranks of each feature over metacells, centred and of unit length; 0 and False where a feature is constant."""
    from scipy.stats import rankdata

    ranks = np.empty(values.shape[::-1], dtype=np.float32)
    varies = np.empty(values.shape[1], dtype=bool)
    for first in range(0, values.shape[1], FEATURES_AT_ONCE):
        rows = slice(first, first + FEATURES_AT_ONCE)
        block = rankdata(values[:, rows].T, axis=1) - (len(values) + 1) / 2
        length = np.sqrt((block**2).sum(axis=1))
        varies[rows] = length > 0
        ranks[rows] = block / np.where(length > 0, length, 1)[:, None]
    return ranks, varies


def _pair_correlations(
    gene_ranks: Float[np.ndarray, "gene metacell"],
    peak_ranks: Float[np.ndarray, "peak metacell"],
    pairs: pd.DataFrame,
) -> Float[np.ndarray, " pair"]:
    gene, peak = pairs["gene"].to_numpy(), pairs["peak"].to_numpy()
    correlation = np.empty(len(pairs))
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        rows = slice(first, first + PAIRS_AT_ONCE)
        correlation[rows] = np.einsum("im,im->i", gene_ranks[gene[rows]], peak_ranks[peak[rows]])
    return correlation


def _null_classes(
    regions: pd.DataFrame, varies: np.ndarray, config: PeakGeneLinkConfig
) -> tuple[Int[np.ndarray, " peak"], Int[np.ndarray, "class drawn"]]:
    """Class of each peak (-1 where it cannot be tested), and the random peaks of each class.

    Classes are as many as leave ``n_null`` peaks in each, at most 10 of accessibility x 5 of GC content.
    """
    usable = np.flatnonzero(varies)
    gc = regions["gc_content"].to_numpy()[usable]
    n_gc = 1 if np.isnan(gc).all() else GC_CLASSES
    gc = np.zeros(len(gc)) if n_gc == 1 else np.where(np.isnan(gc), np.nanmedian(gc), gc)
    n_classes = max(len(usable) // config.n_null, 1)
    n_gc = min(n_gc, max(int(np.sqrt(n_classes)), 1))
    n_access = min(ACCESSIBILITY_CLASSES, n_classes // n_gc)
    # Position breaks ties, so that neither the order of peaks nor their names matter.
    place = regions[["start", "end"]].to_numpy()[usable].T
    order = np.lexsort((*place, gc, regions["n_cells"].to_numpy()[usable]))
    classes = np.full(len(varies), -1)
    rng = np.random.default_rng(config.seed)
    members = []
    for by_access in np.array_split(usable[order], n_access):
        within = by_access[np.argsort(gc[np.searchsorted(usable, by_access)], kind="stable")]
        members += np.array_split(within, n_gc)
    n_drawn = min(config.n_null, min(len(one) for one in members))
    for number, one in enumerate(members):
        classes[one] = number
    return classes, np.stack([rng.choice(one, n_drawn, replace=False) for one in members])


def _null_moments(
    gene_ranks: Float[np.ndarray, "gene metacell"],
    peak_ranks: Float[np.ndarray, "peak metacell"],
    pairs: pd.DataFrame,
    drawn: Int[np.ndarray, "class drawn"],
) -> tuple[Float[np.ndarray, "gene class"], Float[np.ndarray, "gene class"]]:
    """Mean and standard deviation of each gene's correlations with the random peaks of each class."""
    slot = np.full(len(peak_ranks), -1)
    slot[drawn.ravel()] = np.arange(drawn.size)
    own = pd.DataFrame({"gene": pairs["gene"], "slot": slot[pairs["peak"]]}).query("slot >= 0").to_numpy()
    null_ranks = peak_ranks[drawn.ravel()].T
    mean, sd = np.empty((len(gene_ranks), len(drawn))), np.empty((len(gene_ranks), len(drawn)))
    for first in range(0, len(gene_ranks), GENES_AT_ONCE):
        rows = slice(first, first + GENES_AT_ONCE)
        null = (gene_ranks[rows] @ null_ranks).astype(np.float64)
        here = own[np.searchsorted(own[:, 0], first) : np.searchsorted(own[:, 0], first + GENES_AT_ONCE)]
        null[here[:, 0] - first, here[:, 1]] = np.nan  # a peak of the gene's own window is no null
        null = null.reshape(len(null), *drawn.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nothing left of a class: NaN says so
            mean[rows], sd[rows] = np.nanmean(null, axis=2), np.nanstd(null, axis=2, ddof=1)
    return mean, sd


def _links(
    genes: pd.DataFrame,
    regions: pd.DataFrame,
    pairs: pd.DataFrame,
    correlation: Float[np.ndarray, " pair"],
    mean: Float[np.ndarray, " pair"],
    sd: Float[np.ndarray, " pair"],
    config: PeakGeneLinkConfig,
) -> pd.DataFrame:
    from scipy.stats import norm

    near_genes, near_peaks = genes.iloc[pairs["gene"]], regions.iloc[pairs["peak"]]
    zscore = (correlation - mean) / np.where(sd > 0, sd, np.nan)
    pvalue = norm.sf(zscore)
    return pd.DataFrame(
        {
            "peak": near_peaks["peak"].to_numpy(),
            "target": near_genes["gene"].to_numpy(),
            "distance_bp": _signed_distance(near_genes, near_peaks),
            "correlation": correlation,
            "zscore": zscore,
            "pvalue": pvalue,
            "padj": adjust_pvalues(pvalue),
            "is_linked": (correlation > config.min_correlation) & (pvalue < config.max_pvalue),
        }
    )
