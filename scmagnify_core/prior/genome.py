"""A genome's sequence: any stretch of it by coordinates, without reading the rest.

Decisions
---------
* ``pyfaidx`` makes and reads the ``.fai`` index (and ``.gzi`` of a bgzip file), which samtools shares. Fetching is our
  own few lines: that of pyfaidx fails where a stretch begins at the boundary of two bgzip blocks (as of 0.9.2). A
  missing or outdated index is made under another name and then moved into place, because several data sets may open
  the same genome at once. Where the folder cannot be written, the index goes to the temporary folder, where it is
  found again.
* Coordinates are 0-based and half-open, as in BED files and peak names.
* Peaks may name chromosomes in another style than the FASTA. Peaks on a chromosome that the FASTA lacks have an empty
  sequence: data sets often have a few on unplaced contigs. Peaks beyond a chromosome's end are refused: they show that
  peaks and genome are of different builds.
"""

import hashlib
import os
import tempfile
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
from jaxtyping import Float

from scmagnify_core.errors import InputError
from scmagnify_core.prior.regions import check_within, match_chromosomes

GZIP_MAGIC = b"\x1f\x8b"
PROTEIN_LETTERS = frozenset("EFILPQ")  # amino acids that are no IUPAC code of a base


class Genome:
    """Random access to the sequences of a FASTA file, plain or bgzip; close it, or use it in a ``with`` statement.

    Raises
    ------
    InputError
        The file is missing, compressed with gzip instead of bgzip, or no FASTA of DNA.
    """

    def __init__(self, path: Path) -> None:
        import pyfaidx

        self.path = path
        if not path.is_file():
            raise InputError(f"genome '{path}'", "there is no such file.", "Check the path.")
        _check_compression(path)
        try:
            fai, gzi = _index(path)
            self._faidx = pyfaidx.Faidx(
                str(path), indexname=str(fai), gzi_indexname=str(gzi), as_raw=True, rebuild=False
            )
        except Exception as error:  # pyfaidx raises its own errors, AssertionError, UnicodeDecodeError and more
            reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
            raise InputError(
                f"genome '{path}'", f"is not a FASTA file with sequences ({reason}).",
                "Give the genome sequence as FASTA: names after '>', lines of equal length, each name once.",
            ) from error  # fmt: skip
        self.lengths: Mapping[str, int] = {name: record.rlen for name, record in self._faidx.index.items()}
        blocks = self._faidx.gzi_index if path.suffix in {".gz", ".bgz"} else []
        self._block_starts = [block.ustart for block in blocks]  # uncompressed offsets of a bgzip file's blocks
        try:
            self._check_is_dna()
        except InputError:
            self.close()
            raise

    def __enter__(self) -> "Genome":
        """Return the genome itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def sequence(self, chrom: str, start: int, end: int) -> str:
        """Bases from ``start`` to before ``end``, upper case.

        Raises
        ------
        KeyError
            The FASTA has no such chromosome.
        ValueError
            The positions are not on the chromosome.
        """
        length = self.lengths[chrom]
        if not 0 <= start <= end <= length:
            raise ValueError(f"{chrom}:{start}-{end} is not within the {length} bases of {chrom}")
        if start == end:
            return ""
        record = self._faidx.index[chrom]
        first, last = (
            record.offset + at // record.lenc * record.lenb + at % record.lenc for at in (start, end - 1)
        )  # bytes of the file, uncompressed
        self._seek(first)
        return self._faidx.file.read(last + 1 - first).translate(None, b"\r\n").decode("ascii").upper()

    def sequences(self, regions: pd.DataFrame) -> list[str]:
        """Sequence of each region, empty where the FASTA lacks its chromosome. Sorted regions are read fastest.

        Parameters
        ----------
        regions
            Frame with ``chrom``, ``start``, ``end`` and, for messages, ``peak``.

        Raises
        ------
        PriorError
            No chromosome is in the FASTA, or a region goes beyond the end of its chromosome.
        """
        where = f"genome '{self.path.name}'"
        names = match_chromosomes(regions["chrom"], self.lengths, "the regions", where)
        check_within(regions, self.lengths, "the regions", where)
        return [
            self.sequence(names[chrom], start, end) if chrom in names else ""
            for chrom, start, end in zip(
                regions["chrom"], regions["start"].tolist(), regions["end"].tolist(), strict=True
            )
        ]

    def gc_content(self, regions: pd.DataFrame) -> Float[np.ndarray, " region"]:
        """Share of G and C among the known bases of each region; NaN where none is known."""
        sequences = self.sequences(regions)
        gc = np.array([one.count("G") + one.count("C") for one in sequences], dtype=np.float64)
        at = np.array([one.count("A") + one.count("T") for one in sequences], dtype=np.float64)
        return np.divide(gc, gc + at, out=np.full(len(sequences), np.nan), where=gc + at > 0)

    def _seek(self, offset: int) -> None:
        if not self._block_starts:
            self._faidx.file.seek(offset)
            return
        from Bio.bgzf import make_virtual_offset

        block = bisect_right(self._block_starts, offset) - 1
        self._faidx.file.seek(
            make_virtual_offset(self._faidx.gzi_index[block].cstart, offset - self._block_starts[block])
        )

    def _check_is_dna(self) -> None:
        if not any(self.lengths.values()):
            raise InputError(
                f"genome '{self.path}'", "has no sequence in it.", "Give a FASTA file with at least one sequence."
            )
        for name, length in list(self.lengths.items())[:3]:
            strange = PROTEIN_LETTERS.intersection(self.sequence(name, 0, min(length, 1000)))
            if strange:
                raise InputError(
                    f"genome '{self.path}'", f"'{name}' has the letters {', '.join(sorted(strange))}: this is protein.",
                    "Give the genome's DNA sequence.",
                )  # fmt: skip


def _check_compression(path: Path) -> None:
    """Refuse compressed files that cannot be read at random: everything but bgzip."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"genome '{path}'", "is empty.", "Download it again.")
    if head[:2] != GZIP_MAGIC:
        if path.suffix in {".gz", ".bgz"}:
            raise InputError(
                f"genome '{path}'", f"is named {path.suffix}, but is not compressed.", "Rename it to end in .fa."
            )
        return
    plain = path.with_suffix("") if path.suffix in {".gz", ".bgz"} else path
    # A bgzip file is a gzip file whose first extra field is called BC.
    if not (head[3] & 4 and head[12:14] == b"BC"):
        raise InputError(
            f"genome '{path}'", "is compressed with gzip, which cannot be read at random positions.",
            f"Recompress it with bgzip (of samtools): gunzip -c '{path}' | bgzip > '{plain}.bgz'; or decompress it.",
        )  # fmt: skip
    if path.suffix not in {".gz", ".bgz"}:
        raise InputError(f"genome '{path}'", "is compressed with bgzip.", "Rename it to end in .gz.")


def _index(path: Path) -> tuple[Path, Path]:
    """Paths of an up-to-date .fai and (of a bgzip file) .gzi, made if need be."""
    import pyfaidx

    is_bgzip = path.suffix in {".gz", ".bgz"}
    changed = path.stat().st_mtime
    # The same file in the temporary folder: path, size and time make its name, so that a changed file has another one.
    identity = hashlib.sha256(f"{path.resolve()} {path.stat().st_size} {changed}".encode()).hexdigest()[:16]
    spare = Path(tempfile.gettempdir()) / f"scmagnify-genome-{os.getuid()}"
    places = (path.parent / path.name, spare / f"{identity}-{path.name}")
    for place in places:
        found = Path(f"{place}.fai"), Path(f"{place}.gzi")
        needed = found if is_bgzip else found[:1]
        if all(file.is_file() and file.stat().st_mtime >= changed for file in needed):
            return found
    if not os.access(path.parent, os.W_OK):
        spare.mkdir(mode=0o700, exist_ok=True)
        place = places[1]
    else:
        place = places[0]
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".index-") as folder:
        made = Path(folder, "fai"), Path(folder, "gzi")
        pyfaidx.Faidx(str(path), indexname=str(made[0]), gzi_indexname=str(made[1])).close()
        final = Path(f"{place}.fai"), Path(f"{place}.gzi")
        for new, target in zip(made, final, strict=True):
            if new.is_file():
                new.replace(target)
    return final
