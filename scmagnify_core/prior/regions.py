"""Regions of a genome: read them from names, reconcile chromosome names, and see whether builds agree.

Coordinates are 0-based and half-open everywhere, as in BED. A frame of regions has the columns ``peak`` (its name),
``chrom``, ``start`` and ``end``.

Decisions
---------
* Chromosome names are matched, never rewritten: peaks keep the names under which the user knows them, and
  :func:`match_chromosomes` translates where two files meet.
* That two files are of different builds cannot be read off coordinates alone. A region beyond the end of its
  chromosome proves it (:func:`check_within`); absence of peaks from the starts of genes suggests it
  (:func:`tss_enrichment`). The first is an error, the second is for the caller to mention.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scmagnify_core.errors import InputError, PriorError, shorten

CHROM_NAMES = ("chrom", "chr", "chromosome", "seqnames", "seqname")
# The chromosome name may itself hold - or _, so that the two numbers are taken from the right.
REGION_FORM = r"^(?P<chrom>.+)[:_-](?P<start>\d+)[-_](?P<end>\d+)$"
FORMS = "chr1:100-200, chr1-100-200 or chr1_100_200"
# First chromosome and its length; no two builds share one.
BUILDS: Mapping[tuple[str, int], str] = {
    ("1", 249250621): "hg19",
    ("1", 248956422): "hg38",
    ("1", 248387328): "hs1",
    ("1", 197195432): "mm9",
    ("1", 195471971): "mm10",
    ("1", 195154279): "mm39",
    ("1", 59578282): "danRer11",
    ("2L", 23513712): "dm6",
}
SYNONYMS: Mapping[str, str] = {
    "grch37": "hg19",
    "grch38": "hg38",
    "t2t-chm13v2": "hs1",
    "ncbi37": "mm9",
    "grcm38": "mm10",
    "grcm39": "mm39",
    "grcz11": "danRer11",
    "bdgp6": "dm6",
}
NEAR_TSS_BP = 1000
SHIFTS_BP = (-50_000, -40_000, -30_000, -20_000, 20_000, 30_000, 40_000, 50_000)


def parse_regions(var: pd.DataFrame) -> pd.DataFrame:
    """Regions of an ATAC modality, in the order of its columns.

    Taken from the columns chrom (or chr, chromosome, seqnames), start and end; else from the column ``interval``;
    else from the index.

    Parameters
    ----------
    var
        One row per peak, indexed by its name.

    Returns
    -------
    Frame with ``peak``, ``chrom``, ``start``, ``end``.

    Raises
    ------
    InputError
        Names repeat, a peak does not parse, or one ends where or before it starts.
    """
    names = var.index.astype(str)
    if names.has_duplicates:
        repeated = names[names.duplicated()].unique()
        raise InputError("peaks", f"names repeat: {shorten(repeated)}.", "Give each peak once.")
    columns = {str(column).lower(): column for column in reversed(list(var.columns))}
    chrom = next((columns[name] for name in CHROM_NAMES if name in columns), None)
    if chrom is not None and {"start", "end"} <= set(columns):
        where = f"var['{chrom}', '{columns['start']}', '{columns['end']}']"
        parts = pd.DataFrame(
            {
                "chrom": var[chrom].astype("string"),
                "start": pd.to_numeric(var[columns["start"]], errors="coerce"),
                "end": pd.to_numeric(var[columns["end"]], errors="coerce"),
            }
        )
        remedy = "Give a chromosome name and two whole numbers for every peak."
        shown = names
    else:
        where = f"var['{columns['interval']}']" if "interval" in columns else "var_names"
        text = var[columns["interval"]] if "interval" in columns else names.to_series()
        text = text.astype("string")
        parts = text.str.extract(REGION_FORM)
        parts[["start", "end"]] = parts[["start", "end"]].apply(pd.to_numeric)
        remedy = f"Name peaks like {FORMS}, or give var the columns chrom, start and end."
        shown = pd.Index(text.fillna("missing"))
    parts = parts.reset_index(drop=True)
    is_bad = (parts.isna().any(axis=1) | (parts[["start", "end"]] % 1 != 0).any(axis=1)).to_numpy(dtype=bool)
    if is_bad.any():
        raise InputError(
            f"atac.{where}", f"{int(is_bad.sum())} of {len(parts)} peaks are no regions: {shorten(shown[is_bad])}.",
            remedy,
        )  # fmt: skip
    regions = parts.astype({"chrom": str, "start": np.int64, "end": np.int64})
    is_bad = ((regions["start"] >= regions["end"]) | (regions["start"] < 0)).to_numpy()
    if is_bad.any():
        raise InputError(
            f"atac.{where}", f"{int(is_bad.sum())} peaks end where or before they start: {shorten(shown[is_bad])}.",
            "Give the start, counted from 0, then the end, which is not part of the peak.",
        )  # fmt: skip
    regions.insert(0, "peak", names)
    return regions


def match_chromosomes(
    wanted: Iterable[str], known: Iterable[str], wanted_from: str, known_from: str
) -> dict[str, str]:
    """Name in ``known`` of each chromosome in ``wanted`` that has one.

    The same name wins; else names agree with or without ``chr``, in whatever case, and M is MT.

    Parameters
    ----------
    wanted, known
        Chromosome names of two files; repeats are welcome.
    wanted_from, known_from
        What they belong to, in words for the message: ``the peaks``, ``annotation 'genes.gtf'``.

    Raises
    ------
    PriorError
        No chromosome matches.
    """
    wanted, known = list(dict.fromkeys(wanted)), list(dict.fromkeys(known))
    by_core = {_core(name): name for name in reversed(known)} | {name: name for name in known}
    pairs = {name: by_core.get(name, by_core.get(_core(name))) for name in wanted}
    matches = {name: found for name, found in pairs.items() if found is not None}
    if not matches:
        raise PriorError(
            "chromosome names", f"{wanted_from} and {known_from} share none: "
            f"{wanted_from} have {shorten(wanted, 4)}, {known_from} has {shorten(known, 4)}.",
            "Names may differ by 'chr', case, and M for MT, nothing more: give both from the same species and source, "
            "or rename the chromosomes of one.",
        )  # fmt: skip
    return matches


def _core(name: str) -> str:
    """What is left of a chromosome name without the differences between sources; never equal to a real name."""
    bare = name.upper().removeprefix("CHR")
    return "\t" + ("M" if bare == "MT" else bare)


def guess_build(lengths: Mapping[str, int]) -> str | None:
    """Build, by the length of the first chromosome; None where it is not among those known here."""
    return next(
        (BUILDS[key] for name, length in lengths.items() if (key := (_core(name)[1:], int(length))) in BUILDS), None
    )


def common_build_name(build: str) -> str:
    """A build's name as :func:`guess_build` gives it: GRCh38.p14 is hg38, and HG38 too; unknown names stay."""
    names = {name.lower(): name for name in BUILDS.values()} | dict(SYNONYMS)
    return names.get(build.lower().partition(".")[0], build)


def check_within(regions: pd.DataFrame, lengths: Mapping[str, int], regions_from: str, genome_from: str) -> None:
    """Refuse regions that go beyond the end of their chromosome; chromosomes without a length are passed over.

    Parameters
    ----------
    regions
        Frame with ``chrom``, ``start`` and ``end``.
    lengths
        Length of each chromosome in bp.
    regions_from, genome_from
        What they belong to, in words for the message: ``the peaks``, ``genome 'hg38.fa'``.

    Raises
    ------
    PriorError
        A region goes beyond, or no chromosome matches.
    """
    name_of = match_chromosomes(regions["chrom"], lengths, regions_from, genome_from)
    length = regions["chrom"].map({name: lengths[found] for name, found in name_of.items()})
    beyond = regions["end"] > length
    if not beyond.any():
        return
    first = regions[beyond].iloc[0]
    build = guess_build(lengths)
    raise PriorError(
        regions_from,
        f"{int(beyond.sum())} of {len(regions)} go beyond their chromosome in {genome_from}"
        f"{f' (which looks like {build})' if build else ''}, the first is "
        f"{first['chrom']}:{first['start']}-{first['end']} on a chromosome of {int(length[beyond].iloc[0])} bp.",
        "They are of different genome builds: give the genome on which the peaks were called.",
    )


@dataclass(frozen=True)
class TssEnrichment:
    """How much more often peaks lie at starts of genes than beside them.

    Attributes
    ----------
    n_tss
        Starts on chromosomes that have peaks.
    n_near
        Of those, how many have a peak within 1 kb.
    n_near_by_chance
        Mean of the same count after moving all peaks 20 to 50 kb to either side.
    """

    n_tss: int
    n_near: int
    n_near_by_chance: float

    @property
    def ratio(self) -> float:
        """Observed over expected; NaN where nothing is expected."""
        return self.n_near / self.n_near_by_chance if self.n_near_by_chance else float("nan")


def tss_enrichment(regions: pd.DataFrame, annotation: pd.DataFrame) -> TssEnrichment:
    """Measure how peaks gather at the starts of genes, as they do when both are of one build.

    Comparing with peaks moved by some ten kb keeps the unequal density of genes and peaks along the genome.

    Parameters
    ----------
    regions, annotation
        Frames with ``chrom``, ``start``, ``end`` and with ``chrom``, ``tss``; chromosome names must agree already.
    """
    import bioframe

    tss = annotation.loc[annotation["chrom"].isin(set(regions["chrom"])), ["chrom", "tss"]].drop_duplicates()
    near = bioframe.expand(regions[["chrom", "start", "end"]], pad=NEAR_TSS_BP)

    def count(shift: int) -> int:  # moving the starts one way is moving the peaks the other
        points = pd.DataFrame({"chrom": tss["chrom"], "start": tss["tss"] + shift, "end": tss["tss"] + shift + 1})
        return int((bioframe.count_overlaps(points, near)["count"] > 0).sum())

    if tss.empty:
        return TssEnrichment(0, 0, 0.0)
    return TssEnrichment(len(tss), count(0), float(np.mean([count(shift) for shift in SHIFTS_BP])))
