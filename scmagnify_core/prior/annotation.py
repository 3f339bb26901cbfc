"""Genes on the genome: GTF, GFF3, BED or a table in; one row per gene out.

A frame of genes has the columns ``gene`` (symbol, or the id where there is none), ``chrom``, ``start`` and ``end`` of
the gene's longest transcript (0-based, half-open), ``strand`` (``+``, ``-`` or ``.`` where unknown), ``tss`` (position
of the first base that is transcribed) and ``gene_id`` (without its version). ``attrs['notes']`` says what was decided.

Decisions
---------
* Line by line, in plain Python: nine of ten lines of a GTF are exons, which need no more than a look at their third
  column, and a bad line can be named by its number. Nothing is kept of them, so that memory follows the genes.
* A name that occurs at several places (pseudoautosomal genes, alternative loci) keeps the place with the longest
  transcript, chromosomes before scaffolds and the earlier line on a tie.
* GFF3 knows no fixed feature names: a gene is a feature called ...gene without a parent, a transcript its child.
"""

import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scmagnify_core.errors import InputError, PriorError, shorten
from scmagnify_core.prior.base_network import read_table
from scmagnify_core.prior.regions import CHROM_NAMES

COLUMNS = ("gene", "chrom", "start", "end", "strand", "tss", "gene_id")
GENE_NAMES = ("gene", "gene_name", "symbol", "gene_symbol", "genesymbol", "name")
ID_NAMES = ("gene_id", "ensembl_id", "ensembl", "ensembl_gene_id")
# Parts of transcripts, most lines of a GFF3; whatever else is neither a gene nor a gene's child is sorted out later.
PARTS = frozenset({"exon", "CDS", "intron", "UTR", "five_prime_UTR", "three_prime_UTR", "start_codon", "stop_codon"})
ENSEMBL_FORM = r"ENS[A-Z]*G\d{6,}"
STANDARD_FORM = r"(?:chr)?(?:\d{1,2}[A-Za-z]?|[IVXYZWM]{1,5}|MT)|NC_\d+\.\d+"  # NC_: a chromosome in RefSeq
FORMATS = "Give a GTF or GFF3 (also .gz), a BED, or a table with gene, chrom, tss and strand."


def read_annotation(path: Path) -> pd.DataFrame:
    """Read genes from a GTF, GFF3 or BED (each also gzipped) or from a table (parquet, CSV, TSV).

    Takes some ten seconds for all of GENCODE; memory is a few hundred MB.

    Returns
    -------
    Frame as the module describes, one row per gene, by chromosome and position.

    Raises
    ------
    InputError
        The file is not there, of another format or damaged; a line has too few columns, no coordinates or no gene;
        the file holds no gene. Lines are named by number.
    """
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    suffix = next((one for one in reversed(path.suffixes) if one.lower() not in (".gz", ".bgz")), "").lower()
    if suffix in (".gtf", ".gff", ".gff3"):
        rows = _read_gff(path)
    elif suffix == ".bed":
        rows = _read_bed(path)
    elif suffix in (".parquet", ".csv", ".tsv", ".txt"):
        rows = _read_gene_table(path)
    else:
        raise InputError(f"'{path.name}'", f"'{suffix}' is not a known format.", FORMATS)
    return _one_row_per_gene(rows, path)


def select_genes(annotation: pd.DataFrame, genes: Iterable[str]) -> pd.DataFrame:
    """Rows of the annotation for ``genes``, by symbol or by id, whichever finds more.

    Returns
    -------
    Rows in the order of ``genes``, those not found left out; ``gene`` is the name as in ``genes``.

    Raises
    ------
    PriorError
        No gene is found, or hardly any but for case; says whether ids meet symbols, or another species' spelling.
    """
    wanted = pd.Index(genes).astype(str)
    keys = {"gene": wanted, "gene_id": _without_version(wanted)}
    column = max(keys, key=lambda name: keys[name].isin(annotation[name]).sum())
    rows = annotation.drop_duplicates(column)
    place = pd.Index(rows[column]).get_indexer(keys[column])
    is_found = place >= 0
    # A few names agree even between species, so that a case mismatch may leave more than none.
    n_by_case = wanted.str.upper().isin(annotation["gene"].str.upper()).sum()
    if not is_found.any() or (is_found.mean() < 0.1 and n_by_case > 5 * is_found.sum()):
        raise _not_found(annotation, wanted, int(is_found.sum()), int(n_by_case))
    return rows.iloc[place[is_found]].reset_index(drop=True).assign(gene=wanted[is_found])


def promoter_regions(
    annotation: pd.DataFrame, upstream_bp: int, downstream_bp: int, lengths: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """The sequence around each TSS, along the gene's strand.

    Parameters
    ----------
    lengths
        Length of each chromosome in bp, as far as known. Only a TSS that lies beyond is left as it is, so that a
        genome of another build is noticed.

    Returns
    -------
    Frame with ``peak`` (its name, as chrom:start-end), ``gene``, ``chrom``, ``start``, ``end``, one row per gene: from
    ``upstream_bp`` before the TSS to ``downstream_bp`` after its base, but not beyond the chromosome. Genes of unknown
    strand are taken as on the forward strand.
    """
    is_reverse = annotation["strand"] == "-"
    before = np.where(is_reverse, downstream_bp, upstream_bp)
    after = np.where(is_reverse, upstream_bp, downstream_bp)
    start = (annotation["tss"] - before).clip(lower=0)
    end = annotation["tss"] + after + 1
    length = annotation["chrom"].map(lengths or {})
    end = end.mask((annotation["tss"] < length) & (end > length), length).astype(np.int64)
    peak = annotation["chrom"] + ":" + start.astype(str) + "-" + end.astype(str)
    regions = {"peak": peak, "gene": annotation["gene"], "chrom": annotation["chrom"], "start": start, "end": end}
    return pd.DataFrame(regions).reset_index(drop=True)


# ---------------------------------------------------------------- formats


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and tab-separated fields of each line that is neither empty nor a comment."""
    is_packed = path.suffix.lower() in (".gz", ".bgz")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if is_packed else path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.startswith("##FASTA"):
                    return  # a GFF3 may end with sequence
                if line[0] != "#" and not line.isspace():
                    yield number, line.rstrip("\r\n").split("\t")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(
            f"'{path}'", f"cannot be read ({str(error).strip()[:160]}).", "Check that the file is whole."
        ) from error


def _bad_line(path: Path, number: int, problem: str, fields: list[str]) -> InputError:
    line = "\t".join(fields)
    return InputError(f"'{path.name}'", f"line {number} {problem}: {line[:160]!r}.", "Mend or remove the line.")


def _feature_rows(path: Path, wanted: Collection[str], unwanted: Collection[str]) -> tuple[pd.DataFrame, set[str]]:
    """Lines of a GTF or GFF3 by feature (all but ``unwanted`` if ``wanted`` is empty), and all features seen."""
    rows = []
    seen: set[str] = set()
    for number, fields in _lines(path):
        if len(fields) < 9:
            raise _bad_line(path, number, f"has {len(fields)} columns where a GTF or GFF3 has 9", fields)
        feature = fields[2]
        seen.add(feature)
        if (feature in wanted) if wanted else (feature not in unwanted):
            if not (fields[3].isdecimal() and fields[4].isdecimal() and 0 < int(fields[3]) <= int(fields[4])):
                raise _bad_line(path, number, "has no start and end in columns 4 and 5", fields)
            rows.append((number, feature, fields[0], int(fields[3]) - 1, int(fields[4]), fields[6], fields[8]))
    columns = ["line", "feature", "chrom", "start", "end", "strand", "attributes"]
    return pd.DataFrame(rows, columns=columns), seen


def _read_gff(path: Path) -> pd.DataFrame:
    """Transcripts and genes of a GTF or GFF3, told apart by how the first line writes its attributes."""
    first = next(_lines(path), (0, [""]))[1]
    if re.match(r"\s*[^\s\"=]+=", first[-1]):
        return _read_gff3(path)
    rows, seen = _feature_rows(path, ("transcript", "mRNA", "gene"), ())
    if rows.empty and "exon" in seen:  # as some of UCSC's: a transcript is what its exons span
        rows, _ = _feature_rows(path, ("exon",), ())
        rows["transcript"] = _attribute(rows, r'\btranscript_id "?([^";]+)')
        rows = rows.groupby(["chrom", "transcript"], sort=False, as_index=False).agg(
            {
                "line": "first",
                "feature": "first",
                "start": "min",
                "end": "max",
                "strand": "first",
                "attributes": "first",
            }
        )
    _refuse_without_genes(rows, seen, path)
    rows["gene_id"] = _attribute(rows, r'\bgene_id "?([^";]+)')
    rows["gene"] = _attribute(rows, r'\bgene_name "?([^";]+)').fillna(rows["gene_id"])
    _refuse_nameless(rows, path)
    return rows.assign(is_transcript=rows["feature"] != "gene")


def _read_gff3(path: Path) -> pd.DataFrame:
    rows, seen = _feature_rows(path, (), PARTS)
    rows["parent"] = _attribute(rows, r"(?:^|;)\s*Parent=([^;,]+)")
    is_gene = rows["feature"].str.endswith("gene") & rows["parent"].isna()
    genes = rows[is_gene].copy()
    _refuse_without_genes(genes, seen, path)
    identifier = _attribute(genes, r"(?:^|;)\s*ID=([^;]+)")
    genes["gene_id"] = _attribute(genes, r"(?:^|;)\s*gene_id=([^;]+)").fillna(
        identifier.str.removeprefix("gene:").str.removeprefix("gene-")
    )
    genes["gene"] = genes["gene_id"]
    for name in ("gene", "Name", "gene_name"):  # the last that is there counts
        genes["gene"] = _attribute(genes, rf"(?:^|;)\s*{name}=([^;]+)").fillna(genes["gene"])
    _refuse_nameless(genes, path)
    owners = genes.assign(parent=identifier)[["parent", "gene", "gene_id"]].dropna().drop_duplicates("parent")
    transcripts = rows[~is_gene].merge(owners, on="parent")
    found = pd.concat([transcripts.assign(is_transcript=True), genes.assign(is_transcript=False)], ignore_index=True)
    # RefSeq calls chromosomes by accession and says on a line of its own which is which.
    regions = rows[rows["feature"] == "region"]
    regions = regions[regions["attributes"].str.contains(r"(?:^|;)genome=(?:chromosome|mitochondrion)")]
    names = dict(zip(regions["chrom"], _attribute(regions, r"(?:^|;)Name=([^;]+)"), strict=True))
    return found.assign(chrom=found["chrom"].map(lambda chrom: names.get(chrom, chrom)))


def _attribute(rows: pd.DataFrame, form: str) -> pd.Series:
    found = rows["attributes"].str.extract(form, expand=False).str.strip()
    return found.mask(found == "")


def _refuse_without_genes(rows: pd.DataFrame, seen: set[str], path: Path) -> None:
    if rows.empty:
        found = f"features are {shorten(sorted(seen))}" if seen else "it has no line"
        raise InputError(f"'{path.name}'", f"names no gene and no transcript: {found}.", FORMATS)


def _refuse_nameless(rows: pd.DataFrame, path: Path) -> None:
    nameless = rows[rows["gene"].isna()]
    if len(nameless):
        one = nameless.iloc[0]
        raise InputError(
            f"'{path.name}'", f"line {one['line']} ({one['feature']}) has no gene_id, as {len(nameless)} of "
            f"{len(rows)} transcripts and genes: {one['attributes'][:120]!r}.",
            "Give each a gene_id, or a GFF3 with ID.",
        )  # fmt: skip


def _read_bed(path: Path) -> pd.DataFrame:
    rows = []
    for number, fields in _lines(path):
        if fields[0].startswith(("track", "browser")):
            continue
        if len(fields) < 4:
            raise _bad_line(path, number, f"has {len(fields)} columns where a BED of genes has at least 4", fields)
        if not (fields[1].isdecimal() and fields[2].isdecimal() and int(fields[1]) < int(fields[2])):
            raise _bad_line(path, number, "has no start and end in columns 2 and 3", fields)
        rows.append((fields[0], int(fields[1]), int(fields[2]), fields[3], fields[5] if len(fields) > 5 else "."))
    if not rows:
        raise InputError(f"'{path.name}'", "has no line.", FORMATS)
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "gene", "strand"])


def _read_gene_table(path: Path) -> pd.DataFrame:
    table = read_table(path)
    lower = {str(column).lower(): column for column in reversed(list(table.columns))}

    def column(names: tuple[str, ...]) -> pd.Series | None:
        return next((table[lower[name]] for name in names if name in lower), None)

    given = {
        "gene": column(GENE_NAMES), "chrom": column(CHROM_NAMES), "strand": column(("strand",)),
        "gene_id": column(ID_NAMES), "tss": column(("tss",)), "start": column(("start",)), "end": column(("end",)),
    }  # fmt: skip
    rows = pd.DataFrame({name: values for name, values in given.items() if values is not None})
    rows = rows.rename(columns={} if "gene" in rows else {"gene_id": "gene"})
    has_span = {"start", "end"} <= set(rows)
    if not {"gene", "chrom"} <= set(rows) or ("tss" not in rows and not (has_span and "strand" in rows)):
        raise InputError(
            f"'{path.name}'", f"is no table of genes: its columns are {shorten(table.columns)}.",
            "Name its columns gene, chrom and tss (or start, end and strand).",
        )  # fmt: skip
    if not has_span:
        rows = rows.assign(start=rows["tss"], end=pd.to_numeric(rows["tss"], errors="coerce") + 1)
    numbers = [name for name in ("start", "end", "tss") if name in rows]
    rows[numbers] = rows[numbers].apply(pd.to_numeric, errors="coerce")
    if "gene_id" in rows:
        rows["gene"] = rows["gene"].astype(object).where(rows["gene"].notna(), rows["gene_id"])
    is_bad = rows[["gene", "chrom", *numbers]].isna().any(axis=1) | (rows["start"] >= rows["end"])
    if is_bad.any():
        number = int(np.argmax(is_bad))
        raise InputError(
            f"'{path.name}'", f"{int(is_bad.sum())} of {len(rows)} rows lack a gene, a chromosome or a position, the "
            f"first is row {number + 1}: {table.iloc[number].to_dict()}.", "Repair or drop them.",
        )  # fmt: skip
    return rows.astype(dict.fromkeys(numbers, np.int64))


# ---------------------------------------------------------------- what all formats share


def _without_version(names: pd.Index | pd.Series) -> pd.Index | pd.Series:
    return names.str.replace(rf"^({ENSEMBL_FORM})\.\d+", r"\1", regex=True)


def _one_row_per_gene(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    rows = rows.astype({"gene": str, "chrom": str})
    identifier = rows["gene_id"].where(rows["gene_id"].notna(), rows["gene"]) if "gene_id" in rows else rows["gene"]
    rows["gene_id"] = _without_version(identifier.astype(str))
    strand = rows["strand"].astype(str) if "strand" in rows else pd.Series(".", index=rows.index)
    strand = strand.replace({"1": "+", "+1": "+", "1.0": "+", "-1": "-", "-1.0": "-"})  # as BioMart writes it
    rows["strand"] = strand.where(strand.isin(["+", "-"]), ".")
    if "tss" not in rows:
        rows["tss"] = np.where(rows["strand"] == "-", rows["end"] - 1, rows["start"])
    places = rows[["gene", "chrom", "gene_id"]].drop_duplicates()
    n_repeated = int(places.loc[places["gene"].duplicated(), "gene"].nunique())
    rank = pd.DataFrame(
        {
            "is_scaffold": ~rows["chrom"].str.fullmatch(STANDARD_FORM),
            "is_span": ~rows["is_transcript"] if "is_transcript" in rows else False,
            "length": rows["start"] - rows["end"],
        }
    )
    best = rows.loc[rank.sort_values(["is_scaffold", "is_span", "length"], kind="stable").index].drop_duplicates(
        "gene"
    )
    genes = best.sort_values(["chrom", "tss", "gene"])[list(COLUMNS)].reset_index(drop=True)
    notes = [f"{path.name} holds {len(genes):,} genes."]
    if n_repeated:
        notes.append(f"{n_repeated:,} of them stand at several places; the longest on a chromosome was kept.")
    if (genes["strand"] == ".").all():
        notes.append("The annotation knows no strands: all genes are taken as on the forward strand.")
    genes.attrs["notes"] = tuple(notes)
    return genes


def _not_found(annotation: pd.DataFrame, wanted: pd.Index, n_found: int, n_by_case: int) -> PriorError:
    """Say why: the causes that people meet, then the plain fact."""
    known = annotation["gene"]
    found = f"has {n_found or 'none'} of the {len(wanted)} genes"
    examples = f"The data set has {shorten(wanted, 3)}, the annotation {shorten(known, 3)}."
    data_is_ensembl, names_are_ensembl, ids_are_ensembl = (
        names.str.match(ENSEMBL_FORM).mean() > 0.5 for names in (wanted, known, annotation["gene_id"])
    )
    if data_is_ensembl and not ids_are_ensembl:
        return PriorError(
            "annotation", f"{found}: gene names are Ensembl ids and the annotation uses symbols. {examples}",
            "Set gene_key to the column of var with symbols, or give an annotation with gene_id.",
        )  # fmt: skip
    if names_are_ensembl and not data_is_ensembl:
        return PriorError(
            "annotation", f"{found}: it uses Ensembl ids and gene names are symbols. {examples}",
            "Give an annotation with gene_name.",
        )  # fmt: skip
    if n_by_case > n_found:
        return PriorError(
            "annotation", f"{found}, yet {n_by_case} agree but for case. {examples}",
            "It is probably for another species (human symbols are upper case, mouse ones are not): "
            "give the annotation of this species.",
        )  # fmt: skip
    return PriorError("annotation", f"{found}. {examples}", "Give the annotation of this species and naming.")
