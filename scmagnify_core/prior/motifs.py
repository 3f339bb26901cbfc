"""Motif collections, and which TFs of a data set their motifs stand for.

Three forms are read, told apart by content: MEME (minimal), JASPAR, and plain matrices as HOCOMOCO writes them. The
parsers are our own: each is a dozen lines, and they refuse, with motif and line, what general readers pass over - rows
that do not sum to 1, log-odds instead of probabilities, repeated ids.

From a motif to a TF
--------------------
A table (motif, tf) decides where it names the motif; otherwise the motif's own name does. ``MAX::MYC`` is a dimer, and
each partner gets the motif. HOCOMOCO's ``AHR_HUMAN.H11MO.0.B`` is a UniProt entry, whose first part mostly is the gene
symbol. A symbol is then looked for among the data set's genes: as it is, in another case, under another name
(``aliases``), as ortholog; the first that succeeds is kept and named in ``relation``.
"""

import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from scmagnify_core.errors import InputError, MissingColumnError, PriorError, shorten

SUM_TOLERANCE = 0.02  # files round probabilities to as few as two digits
FORMS = "Give a motif collection in MEME, JASPAR or HOCOMOCO (PCM or PFM) form."
MOTIF_COLUMNS = ("motif", "motif_id", "model")
TF_COLUMNS = (
    "source",
    "tf",
    "transcription factor",
    "tf_raw",
    "tf_human",
    "tf_mouse",
)  # with a species, its own first

Lines = list[tuple[int, str]]  # line number, text


@dataclass(frozen=True, eq=False)
class Motif:
    """A motif: its unique id, its name, base probabilities (A, C, G, T) per position, and the sites it was made of."""

    motif: str
    name: str
    probabilities: Float[np.ndarray, "position base"]
    n_sites: int | None


@dataclass(frozen=True)
class MotifMap:
    """TFs of motifs.

    ``table`` has one row per motif and TF: ``motif``, ``motif_name``, ``source`` (as the data set names it) and
    ``relation``: ``given`` (by the table), ``name`` (same symbol), ``case``, ``alias`` or ``ortholog``. ``unmapped``
    are the ids of motifs without a row.
    """

    table: pd.DataFrame
    unmapped: tuple[str, ...]
    notes: tuple[str, ...]


def read_motifs(path: Path) -> tuple[Motif, ...]:
    """Read a motif collection, also gzipped, in the order of the file.

    Raises
    ------
    InputError
        The file is missing, damaged or no motif collection; a motif is malformed; an id occurs twice.
    """
    where = f"motifs '{path.name}'"
    text = _read_text(path, where)
    # Blank lines and HOCOMOCO's # comments carry nothing.
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise InputError(where, "is empty.", FORMS)
    if lines[0][1].startswith("MEME version"):
        motifs = _parse_meme(lines, where)
    elif lines[0][1].startswith(">"):
        motifs = _parse_matrices(lines, where)
    else:
        raise InputError(
            where, f"is no motif collection: line {lines[0][0]} is {lines[0][1][:40]!r}, "
            "where 'MEME version' or '>' and a motif's id should stand.", FORMS,
        )  # fmt: skip
    if not motifs:
        raise InputError(where, "has no motif in it.", FORMS)
    ids = pd.Index([motif.motif for motif in motifs])
    if ids.has_duplicates:
        repeated = ids[ids.duplicated()].unique()
        raise InputError(
            where, f"{len(repeated)} ids occur more than once: {shorten(repeated)}.", "Give each motif its own id."
        )
    return tuple(motifs)


def _read_text(path: Path, where: str) -> str:
    if not path.is_file():
        raise InputError(f"motifs '{path}'", "there is no such file.", "Check the path.")
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(where, f"cannot be read as text ({str(error).strip()[:160]}).", FORMS) from error


def _parse_meme(lines: Lines, where: str) -> list[Motif]:
    for number, line in lines:
        if line.startswith("ALPHABET") and re.sub(r"^ALPHABET\s*=?\s*", "", line).split()[:1] not in (
            ["ACGT"], ['"DNA"'], ["DNA"],
        ):  # fmt: skip
            raise InputError(f"{where}, line {number}", f"the alphabet is {line!r}.", "Give motifs of DNA.")
    motifs = []
    for number, head, body in _records(lines, "MOTIF "):
        motif, *name = head.split(maxsplit=1)
        start = next((i for i, (_, line) in enumerate(body) if line.startswith("letter-probability matrix")), None)
        if start is None:
            raise InputError(
                f"{where}, line {number}", f"motif {motif} has no letter-probability matrix.", "Repair the motif."
            )
        facts = dict(re.findall(r"(\w+)\s*=\s*(\S+)", body[start][1]))
        rows = list(takewhile(lambda line: re.match(r"[-+.\d]", line[1]), body[start + 1 :]))
        values = _numbers(rows, f"{where}, motif {motif}", 4)
        width = facts.get("w", str(len(values)))
        if width != str(len(values)):
            raise InputError(
                f"{where}, line {body[start][0]}", f"motif {motif} should have {width} rows, but has {len(values)}.",
                "Repair the motif; the file may be cut off.",
            )  # fmt: skip
        made = _motif(motif, "".join(name), values, [at for at, _ in rows], where, is_counts=False)
        sites = facts.get("nsites", "")
        motifs.append(
            Motif(made.motif, made.name, made.probabilities, int(float(sites)) if _is_number(sites) else None)
        )
    return motifs


def _parse_matrices(lines: Lines, where: str) -> list[Motif]:
    """JASPAR (rows of bases, mostly lettered) and HOCOMOCO (rows of positions)."""
    records = []
    for number, head, body in _records(lines, ">"):
        parts = head.split(maxsplit=1)
        if not parts:
            raise InputError(f"{where}, line {number}", "has a '>' without an id.", "Name the motif.")
        motif, name = parts[0], parts[1].strip() if len(parts) > 1 else ""
        letters = "".join(line[0].upper() for _, line in body if line[0].isalpha())
        if letters:
            if sorted(letters) != list("ACGT") or len(body) != 4:
                raise InputError(
                    f"{where}, line {number}", f"motif {motif} has rows for '{letters}', not one for A, C, G, T each.",
                    "Repair the motif.",
                )  # fmt: skip
            body = sorted(
                ((at, re.sub(r"[\[\]]", " ", line)) for at, line in body), key=lambda row: row[1][0].upper()
            )
            body = [(at, line[1:]) for at, line in body]
        records.append((motif, name, body, bool(letters)))
    # A motif of four positions may be written either way; all of a file are written the same way.
    widths = {len(line.split()) for _, _, body, _ in records for _, line in body}
    by_base = all(len(body) == 4 for _, _, body, _ in records) and widths != {4}
    motifs = []
    for motif, name, body, lettered in records:
        values = _numbers(body, f"{where}, motif {motif}", None if by_base or lettered else 4)
        numbers = [at for at, _ in body]
        if by_base or lettered:
            values, numbers = values.T, [numbers[0]] * values.shape[1]
        is_counts = values.sum(axis=1).max() > 1.5
        motifs.append(_motif(motif, name, values, numbers, where, is_counts=is_counts))
    return motifs


def _records(lines: Lines, mark: str) -> Iterator[tuple[int, str, Lines]]:
    """Line number, rest of the heading and following lines of each record that ``mark`` begins."""
    heads = [i for i, (_, line) in enumerate(lines) if line.startswith(mark)]
    for head, following in pairwise([*heads, len(lines)]):
        number, line = lines[head]
        yield number, line[len(mark) :].strip(), lines[head + 1 : following]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(rows: Lines, where: str, n_expected: int | None) -> Float[np.ndarray, "row column"]:
    """Rows of numbers, all of one length."""
    if not rows:
        raise InputError(where, "has no matrix.", "Repair the motif; the file may be cut off.")
    n_columns = n_expected or len(rows[0][1].split())
    for number, line in rows:
        fields = line.split()
        if len(fields) != n_columns or not fields or not all(map(_is_number, fields)):
            raise InputError(
                f"{where}, line {number}", f"should have {n_columns} numbers, but is {line[:60]!r}.",
                "Repair the motif.",
            )  # fmt: skip
    return np.array([line.split() for _, line in rows], dtype=np.float64)


def _motif(motif: str, name: str, values: np.ndarray, numbers: list[int], where: str, *, is_counts: bool) -> Motif:
    """Check rows of probabilities or counts, and make them sum to 1."""
    total = values.sum(axis=1)
    wrong = ~np.isfinite(total) | (values < 0).any(axis=1)
    wrong |= total <= 0 if is_counts else np.abs(total - 1) > SUM_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = ", ".join(f"{value:g}" for value in values[row])
        raise InputError(
            f"{where}, motif {motif}, line {numbers[row]}",
            f"position {row + 1} is {shown}, which are no {'counts' if is_counts else 'probabilities that sum to 1'}.",
            "Give counts or probabilities, not log-odds; repair the row if it is damaged.",
        )
    n_sites = round(float(total.max())) if is_counts else None
    return Motif(motif, name or motif, values / total[:, None], n_sites)


# ---------------------------------------------------------------- from motifs to TFs


def map_motifs(
    motifs: Sequence[Motif],
    genes: Sequence[str],
    table: pd.DataFrame | None = None,
    orthologs: pd.DataFrame | None = None,
    aliases: pd.DataFrame | None = None,
    tf_list: Set[str] | None = None,
    species: str | None = None,
) -> MotifMap:
    """Find the genes of a data set that motifs stand for.

    Parameters
    ----------
    genes
        Gene names of the data set.
    table
        Motif (``motif``, ``motif_id`` or ``Model``) and TF (``tf_<species>``, ``source``, ``tf``, ...). Motifs that it
        does not name, or whose TF is missing there, fall back to their names.
    orthologs
        ``human_symbol`` and ``mouse_symbol``, used in both directions; with a column ``one2one`` only rows where it
        is true.
    aliases
        ``alias`` and ``symbol``.
    tf_list
        Keep only these genes, named as in the data set.
    species
        Chooses the column of ``table``: ``human`` prefers ``tf_human``.

    Raises
    ------
    MissingColumnError
        A table lacks a column.
    PriorError
        Not one motif stands for a gene of the data set, or for one in ``tf_list``.
    """
    given = {} if table is None else _given_tfs(table, species)
    lookup = _GeneLookup(genes, orthologs, aliases)
    rows = []
    for motif in motifs:
        asked = given.get(motif.motif) or tf_symbols(motif.name)
        for symbol in asked:
            for source, relation in lookup.find(symbol):
                named = "given" if relation == "name" and motif.motif in given else relation
                rows.append((motif.motif, motif.name, source, named))
    found = pd.DataFrame(rows, columns=["motif", "motif_name", "source", "relation"])
    if found.empty:
        tried = [symbol for motif in motifs for symbol in given.get(motif.motif) or tf_symbols(motif.name)]
        raise PriorError(
            "motifs", f"not one of {len(motifs)} stands for a gene of the data set. The motifs name "
            f"{shorten(dict.fromkeys(tried), 3)}, the data set has {shorten(genes, 3)}.",
            "Give a table of motif and tf (motif_to_tf) that uses the data set's names, or orthologs where the motifs "
            "are another species'; set gene_key where the data set has symbols beside its ids.",
        )  # fmt: skip
    notes = []
    if tf_list is not None:
        kept = found[found["source"].isin(tf_list)]
        if kept.empty:
            raise PriorError(
                "tf_list", f"has none of the {found['source'].nunique()} TFs of the motifs: it has "
                f"{shorten(sorted(tf_list), 3)}, the motifs stand for {shorten(found['source'].unique(), 3)}.",
                "Give a list for this species that names genes as the data set does, or leave it out.",
            )  # fmt: skip
        if n_out := found["source"].nunique() - kept["source"].nunique():
            notes.append(f"{n_out} genes that motifs name are not in the TF list: left out.")
        found = kept
    found = found.drop_duplicates(["motif", "source"]).reset_index(drop=True)
    mapped = set(found["motif"])
    unmapped = [motif for motif in motifs if motif.motif not in mapped]
    notes.insert(0, f"{len(mapped)} of {len(motifs)} motifs stand for {found['source'].nunique()} genes of the data.")
    entries = [m.name for m in unmapped if m.motif not in given and re.search(r"_(HUMAN|MOUSE)\b", m.name)]
    if entries:
        notes.append(
            f"{len(entries)} unmapped motifs are named after UniProt entries, which need not be gene symbols "
            f"({shorten(entries, 3)}): a table of motif and tf (motif_to_tf) can name their TFs."
        )
    return MotifMap(found, tuple(motif.motif for motif in unmapped), tuple(notes))


def tf_symbols(name: str) -> tuple[str, ...]:
    """Symbols that a motif's name holds: those of both partners of a dimer."""
    bare = re.sub(r"^(MA|UN)\d{4}\.\d+[._]", "", name)  # JASPAR's id, which some files repeat before the name
    bare = re.sub(r"\(var\.\d+\)", "", bare)
    bare = re.sub(r"(_(HUMAN|MOUSE))?\.H\d+\w*(\.\w+)*$", "", bare)  # HOCOMOCO's collection, rank and quality
    bare = re.sub(r"_(HUMAN|MOUSE)$", "", bare)
    return _split(bare)


def _split(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in re.split(r"::|[,;|]", names) if part.strip()))


def _given_tfs(table: pd.DataFrame, species: str | None) -> Mapping[str, tuple[str, ...]]:
    """TFs that the table names for each motif."""
    by_lower = {str(column).lower(): column for column in reversed(list(table.columns))}
    columns = {}
    own = (f"tf_{species.lower()}",) if species else ()
    for what, aliases in (("motif", MOTIF_COLUMNS), ("tf", own + TF_COLUMNS)):
        chosen = next((by_lower[alias] for alias in aliases if alias in by_lower), None)
        if chosen is None:
            raise MissingColumnError(
                "motif_to_tf", what, list(table.columns), f"Rename the column that holds it to '{what}'."
            )
        columns[what] = chosen
    given: dict[str, list[str]] = defaultdict(list)
    for motif, tf in table[[columns["motif"], columns["tf"]]].dropna().astype(str).itertuples(index=False):
        given[motif].extend(_split(tf))
    return {motif: tuple(dict.fromkeys(tfs)) for motif, tfs in given.items() if tfs}


class _GeneLookup:
    """Finds a symbol among the genes of a data set, under whatever name it goes there."""

    def __init__(self, genes: Sequence[str], orthologs: pd.DataFrame | None, aliases: pd.DataFrame | None) -> None:
        self.genes = set(genes)
        self.in_any_case = _index((gene.upper(), gene) for gene in genes)
        self.aliases: Mapping[str, list[str]] = {}
        self.orthologs: Mapping[str, list[str]] = {}
        if aliases is not None:
            pairs = _pairs(aliases, "aliases", "alias", "symbol")
            self.aliases = _index((alias.upper(), symbol) for alias, symbol in pairs)
        if orthologs is not None:
            if "one2one" in orthologs:
                orthologs = orthologs[orthologs["one2one"].astype(bool)]
            pairs = _pairs(orthologs, "orthologs", "human_symbol", "mouse_symbol")
            both_ways = [*pairs, *((mouse, human) for human, mouse in pairs)]
            self.orthologs = _index((one.upper(), other) for one, other in both_ways)

    def find(self, symbol: str) -> list[tuple[str, str]]:
        """Genes and how each is related to the symbol: by the first relation that gives any."""
        if symbol in self.genes:
            return [(symbol, "name")]
        same = self.in_any_case.get(symbol.upper(), [])
        if len(same) == 1:  # of several that differ by case none is surely meant
            return [(same[0], "case")]
        others = self.aliases.get(symbol.upper(), [])
        known = [name for name in others if name in self.genes]
        if known:
            return [(name, "alias") for name in known]
        across = [found for name in (symbol, *others) for found in self.orthologs.get(name.upper(), ())]
        return [(name, "ortholog") for name in dict.fromkeys(across) if name in self.genes]


def _pairs(table: pd.DataFrame, where: str, first: str, second: str) -> list[tuple[str, str]]:
    for column in (first, second):
        if column not in table:
            raise MissingColumnError(
                where, column, list(table.columns), f"Rename the column that holds it to '{column}'."
            )
    return list(table[[first, second]].dropna().astype(str).itertuples(index=False, name=None))


def _index(pairs: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    index: dict[str, dict[str, None]] = defaultdict(dict)
    for key, value in pairs:
        index[key][value] = None
    return {key: list(values) for key, values in index.items()}
