"""Reference files: genome, annotation, motifs and lists of names, declared once and used by many data sets.

A references TOML has one table per genome, which a data set then names (``references = "hg38"``)::

    [hg38]
    species = "human"
    genome = "GRCh38.primary_assembly.genome.fa.gz"
    annotation = "gencode.v47.basic.annotation.gtf.gz"
    motifs = "JASPAR2024_CORE_vertebrates.meme"
    tf_list = "lambert2018.txt"

None of these files ships with the product: their licences differ, and a genome is large. A missing one is an error
that says what to download, from which public source, in which format (:data:`SOURCES`). The files are read by
``prior``; nothing here opens them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from scmagnify_core.errors import InputError, shorten


class References(BaseModel, frozen=True, extra="forbid"):
    """Reference files of one genome; paths are relative to the TOML that declares them."""

    species: str | None = Field(None, description="Species: human, mouse, ...; chooses columns of motif_to_tf.")
    build: str | None = Field(None, description="Genome build, such as hg38; compared with what the files show.")
    genome: Path | None = Field(None, description="Genome sequence: FASTA, plain or bgzip.")
    annotation: Path | None = Field(None, description="Genes: GTF, GFF3, BED, or a table with gene, chrom, tss.")
    motifs: Path | None = Field(None, description="Motif collection: MEME, JASPAR or HOCOMOCO PFM.")
    motif_to_tf: Path | None = Field(
        None, description="Table of motif and tf; without it TFs are read from the motifs' names."
    )
    tf_list: Path | None = Field(None, description="TFs, one name a line or a table with the column tf or gene.")
    orthologs: Path | None = Field(None, description="Table of human_symbol and mouse_symbol.")
    aliases: Path | None = Field(None, description="Table of alias and symbol.")


REFERENCE_FILES = tuple(name for name, field in References.model_fields.items() if field.annotation == Path | None)


@dataclass(frozen=True)
class Source:
    """Where a reference file comes from."""

    what: str
    format: str
    where: str

    @property
    def advice(self) -> str:
        """What to do, as a sentence."""
        return f"Download {self.what}, for instance from {self.where}; format: {self.format}."


SOURCES: Mapping[str, Source] = {
    "genome": Source(
        "the genome sequence of the build that the peaks were called on",
        "FASTA, plain or compressed with bgzip (not gzip)",
        "https://www.gencodegenes.org (human, mouse) or https://ftp.ensembl.org/pub (all species)",
    ),
    "annotation": Source(
        "the gene annotation of the same build",
        "GTF or GFF3 (also .gz), BED, or a table with gene, chrom, tss, strand",
        "https://www.gencodegenes.org (human, mouse) or https://ftp.ensembl.org/pub (all species)",
    ),
    "motifs": Source(
        "a motif collection",
        "MEME, JASPAR or HOCOMOCO PFM",
        "https://jaspar.elixir.no/downloads (JASPAR CORE) or https://hocomoco.autosome.org",
    ),
    "motif_to_tf": Source(
        "or make a table that says which TF each motif belongs to",
        "parquet, CSV or TSV with the columns motif and tf",
        "the annotation file of the motif collection",
    ),
    "tf_list": Source(
        "a list of transcription factors",
        "one name a line, or a table with the column tf or gene",
        "https://humantfs.ccbr.utoronto.ca (human) or https://resources.aertslab.org/cistarget/tf_lists",
    ),
    "orthologs": Source(
        "one-to-one orthologs",
        "parquet, CSV or TSV with the columns human_symbol and mouse_symbol",
        "https://www.ensembl.org/biomart",
    ),
    "aliases": Source(
        "former names of genes",
        "parquet, CSV or TSV with the columns alias and symbol",
        "https://www.genenames.org/download",
    ),
}


def read_references(path: Path) -> dict[str, dict[str, Any]]:
    """Tables of a references TOML by name, relative paths made absolute; contents are not validated yet.

    Raises
    ------
    InputError
        The file is no TOML, or something in it is not a table.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}'", f"is not valid TOML ({error}).", "Mend the line it names.") from error
    loose = [name for name, table in raw.items() if not isinstance(table, dict)]
    if loose:
        raise InputError(
            f"'{path}'", f"{shorten(loose)} stand outside a table.",
            "Put them below the name of a genome, such as [hg38].",
        )  # fmt: skip
    return {name: absolute_references(table, path.parent) for name, table in raw.items()}


def absolute_path(path: str | Path, base: Path) -> str:
    """A path as settings give it, absolute: a relative one starts at ``base``, ``~`` is the user's home."""
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:  # the home of a user who does not exist; that there is no such file is said later
        expanded = Path(path)
    return str((base / expanded).resolve())


def absolute_references(raw: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy whose paths are absolute (`absolute_path`)."""
    return {
        key: absolute_path(value, base) if key in REFERENCE_FILES and isinstance(value, str) else value
        for key, value in raw.items()
    }


def find_references(name: str, path: Path) -> dict[str, Any]:
    """The table ``name`` of the references TOML at ``path``.

    Raises
    ------
    InputError
        There is no such TOML or no such table; the message says how to declare one.
    """
    if not path.is_file():
        raise InputError(
            f"references = '{name}'", f"no references are declared: '{path}' does not exist.",
            f"Write it, with a table [{name}] that names genome, annotation and motifs: `scmagnify references` "
            "shows how and where to download them.",
        )  # fmt: skip
    tables = read_references(path)
    if name not in tables:
        raise InputError(
            f"references = '{name}'", f"'{path}' declares {shorten(sorted(tables))}.",
            f"Choose among those, or add a table [{name}].",
        )  # fmt: skip
    return tables[name]


def refuse_missing_files(references: References) -> None:
    """Refuse declared reference files that are not there, all at once.

    Raises
    ------
    InputError
        The message says, for each, what to download, from which public source and in which format.
    """
    missing = [
        key for key in REFERENCE_FILES if (path := getattr(references, key)) is not None and not path.is_file()
    ]
    if missing:
        found = ", ".join(f"{key} ('{getattr(references, key)}')" for key in missing)
        raise InputError(
            "references", f"there is no such file: {found}.",
            " ".join(f"{key}: {SOURCES[key].advice}" for key in missing),
        )  # fmt: skip


def missing_reference(key: str, purpose: str) -> InputError:
    """The error for a reference that is needed but not declared."""
    return InputError(f"references.{key}", f"is not declared, but {purpose}.", SOURCES[key].advice)
