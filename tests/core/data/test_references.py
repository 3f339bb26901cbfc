"""Reference files: declared once, found by name, and missed with the words that help."""

from pathlib import Path

import pytest

from scmagnify_core.data.references import (
    REFERENCE_FILES,
    SOURCES,
    References,
    find_references,
    missing_reference,
    read_references,
    refuse_missing_files,
)
from scmagnify_core.errors import InputError

TOML = """
[hg38]
species = "human"
genome = "genomes/hg38.fa"
motifs = "/data/jaspar.meme"

[mm10]
annotation = "gencode.gtf.gz"
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    path = tmp_path / "references.toml"
    path.write_text(TOML)
    return path


def test_read_references_makes_paths_absolute_beside_the_toml(declared):
    tables = read_references(declared)
    assert tables["hg38"] == {
        "species": "human", "genome": str(declared.parent / "genomes/hg38.fa"), "motifs": "/data/jaspar.meme",
    }  # fmt: skip
    assert find_references("mm10", declared)["annotation"] == str(declared.parent / "gencode.gtf.gz")


def test_every_reference_file_has_a_source():
    assert set(SOURCES) == set(REFERENCE_FILES)
    for source in SOURCES.values():
        assert source.what
        assert source.format
        assert source.where


def test_refuse_missing_files_names_each_with_what_to_download(tmp_path):
    there = tmp_path / "m.meme"
    there.touch()
    references = References(genome=tmp_path / "no.fa", annotation=tmp_path / "no.gtf", motifs=there)
    with pytest.raises(InputError) as caught:
        refuse_missing_files(references)
    message = str(caught.value)
    for part in ("no.fa", "no.gtf", "FASTA", "GTF", "https://www.gencodegenes.org"):
        assert part in message
    assert "m.meme" not in message
    refuse_missing_files(References(motifs=there))


def test_find_references_says_how_to_declare_them(tmp_path, declared):
    with pytest.raises(InputError, match=r"no references are declared.*\[hg19\].*scmagnify references"):
        find_references("hg19", tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"declares 'hg38', 'mm10'.*Choose among those"):
        find_references("hg19", declared)


@pytest.mark.parametrize(("text", "message"), [("[hg38", "is not valid TOML"), ("genome = 'x'", "outside a table")])
def test_read_references_refuses_a_damaged_toml(tmp_path, text, message):
    path = tmp_path / "references.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_references(path)


def test_missing_reference_says_what_for_and_where_from():
    error = missing_reference("motifs", "the prior needs it")
    assert "references.motifs: is not declared, but the prior needs it. Download a motif collection" in str(error)
