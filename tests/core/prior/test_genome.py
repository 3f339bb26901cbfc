"""A genome's sequence by coordinates, from plain and bgzip FASTA, against the text it was written from."""

import gzip
import os

import numpy as np
import pandas as pd
import pytest
from Bio import bgzf

from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.prior.genome import Genome


def chromosomes(seed=0, lengths=(1000, 601, 60)):
    rng = np.random.default_rng(seed)
    names = ["chr1", "chr2", "chrM"]
    return {name: "".join(rng.choice(list("ACGTacgtN"), length)) for name, length in zip(names, lengths, strict=True)}


def fasta(sequences, width=60):
    lines = []
    for name, sequence in sequences.items():
        lines += [f">{name} a chromosome", *(sequence[at : at + width] for at in range(0, len(sequence), width))]
    return ("\n".join(lines) + "\n").encode()


def write(path, text):
    if path.suffix in {".gz", ".bgz"}:
        with bgzf.BgzfWriter(str(path)) as file:
            file.write(text)
    else:
        path.write_bytes(text)
    return path


def regions(rows, **columns):
    frame = pd.DataFrame(rows, columns=["chrom", "start", "end"])
    frame.insert(0, "peak", [f"{row.chrom}:{row.start}-{row.end}" for row in frame.itertuples()])
    return frame.assign(**columns)


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz", "g.bgz"])
@pytest.mark.parametrize("width", [60, 7, 2000])
def test_sequence_gives_any_stretch_in_upper_case(tmp_path, name, width):
    truth = chromosomes()
    rng = np.random.default_rng(1)
    with Genome(write(tmp_path / name, fasta(truth, width))) as genome:
        assert genome.lengths == {chrom: len(sequence) for chrom, sequence in truth.items()}
        for chrom, sequence in truth.items():
            ends = [0, 1, 59, 60, 61, len(sequence) - 1, len(sequence), *rng.integers(0, len(sequence), 20).tolist()]
            for start in ends:
                for end in ends:
                    if start <= end <= len(sequence):
                        assert genome.sequence(chrom, start, end) == sequence[start:end].upper()


@pytest.mark.parametrize("width", [60, 10**6])
def test_sequence_reads_across_the_blocks_of_bgzip(tmp_path, width):
    truth = chromosomes(lengths=(150_000, 70_000, 3))
    text = fasta(truth, width)
    with Genome(write(tmp_path / "g.fa.gz", text)) as genome:
        for boundary in (65536, 2 * 65536, 3 * 65536):  # uncompressed size of the writer's blocks
            chrom = "chr1" if boundary < text.index(b">chr2") else "chr2"
            begin = text.index(b"\n", text.index(f">{chrom}".encode())) + 1
            lines, rest = divmod(boundary - begin, width + 1)
            at = lines * width + min(rest, width)  # the base at the boundary
            for start in range(at - 2, at + 3):
                for end in (start + 1, start + 70, start + 400):
                    assert genome.sequence(chrom, start, end) == truth[chrom][start:end].upper()
        assert genome.sequence("chr1", 0, 150_000) == truth["chr1"].upper()


def test_sequence_reads_lines_that_end_as_on_windows(tmp_path):
    truth = chromosomes()
    with Genome(write(tmp_path / "g.fa", fasta(truth).replace(b"\n", b"\r\n"))) as genome:
        assert genome.lengths["chr2"] == 601
        assert genome.sequence("chr2", 58, 130) == truth["chr2"][58:130].upper()


def test_sequence_refuses_positions_outside(tmp_path):
    with Genome(write(tmp_path / "g.fa", fasta(chromosomes()))) as genome:
        with pytest.raises(ValueError, match="chrM:50-61 is not within the 60 bases"):
            genome.sequence("chrM", 50, 61)
        with pytest.raises(ValueError, match="not within"):
            genome.sequence("chrM", -1, 5)
        with pytest.raises(KeyError):
            genome.sequence("chr9", 0, 5)


@pytest.mark.parametrize("style", ["chr{}", "{}"])
def test_sequences_matches_chromosome_names_and_leaves_unknown_ones_empty(tmp_path, style):
    truth = chromosomes()
    wanted = regions([(style.format("2"), 5, 50), (style.format("Un_1"), 0, 9), (style.format("1"), 0, 1000)])
    with Genome(write(tmp_path / "g.fa", fasta(truth))) as genome:
        assert genome.sequences(wanted) == [truth["chr2"][5:50].upper(), "", truth["chr1"].upper()]
        shuffled = wanted.iloc[[2, 0, 1]]
        assert genome.sequences(shuffled) == [truth["chr1"].upper(), truth["chr2"][5:50].upper(), ""]


def test_gc_content_counts_known_bases(tmp_path):
    truth = {"c": "GGCCaattNNNNNNgcNN"}
    with Genome(write(tmp_path / "g.fa", fasta(truth))) as genome:
        gc = genome.gc_content(regions([("c", 0, 4), ("c", 0, 8), ("c", 8, 14), ("c", 8, 18), ("gone", 0, 2)]))
    np.testing.assert_array_equal(gc, [1, 0.5, np.nan, 1, np.nan])


def test_sequences_explains_regions_of_another_build(tmp_path):
    with Genome(write(tmp_path / "g.fa", fasta(chromosomes()))) as genome:
        with pytest.raises(PriorError, match=r"chr1:900-1001 on a chromosome of 1000 bp.*different genome builds"):
            genome.sequences(regions([("chr2", 0, 10), ("chr1", 900, 1001)]))
        with pytest.raises(PriorError, match=r"share none.*'scaffold_1'.*'chr1'"):
            genome.sequences(regions([("scaffold_1", 0, 10)]))


# ---------------------------------------------------------------- the index


def test_genome_makes_the_index_anew_when_the_file_changed(tmp_path):
    path = write(tmp_path / "g.fa", fasta({"a": "ACGT" * 10}))
    Genome(path).close()
    assert {file.name for file in tmp_path.iterdir()} == {"g.fa", "g.fa.fai"}
    write(path, fasta({"b": "TTTT" * 30}))
    earlier = path.stat().st_mtime - 10
    os.utime(tmp_path / "g.fa.fai", (earlier, earlier))
    with Genome(path) as genome:
        assert genome.lengths == {"b": 120}


@pytest.mark.parametrize("name", ["g.fa", "g.fa.gz"])
def test_genome_in_a_folder_that_cannot_be_written_has_its_index_elsewhere(tmp_path, monkeypatch, name):
    spare = tmp_path / "temporary"
    spare.mkdir()
    folder = tmp_path / "readonly"
    folder.mkdir()
    path = write(folder / name, fasta(chromosomes()))
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    monkeypatch.setattr("os.access", lambda place, mode: place != folder)
    for _ in range(2):  # made, then found
        with Genome(path) as genome:
            assert genome.sequence("chr2", 3, 70) == chromosomes()["chr2"][3:70].upper()
    assert [file.name for file in folder.iterdir()] == [name]
    assert len(list(spare.rglob("*.fai"))) == 1


def test_genome_reads_a_shared_file(shared_data):
    path = shared_data / "sequence" / "hg38_sample_3x.fa"
    records = [record.split("\n", 1) for record in path.read_text().split(">")[1:]]
    with Genome(path) as genome:
        assert len(genome.lengths) == 3
        for head, body in records:
            assert genome.sequence(head.split()[0], 100, 900) == body.replace("\n", "")[100:900].upper()


# ---------------------------------------------------------------- files that are no genome


def test_genome_explains_how_to_recompress_gzip(tmp_path):
    path = tmp_path / "g.fa.gz"
    path.write_bytes(gzip.compress(fasta(chromosomes())))
    with pytest.raises(
        InputError, match=r"compressed with gzip.*bgzip.*gunzip -c '.*g.fa.gz' \| bgzip > '.*g.fa.bgz'"
    ):
        Genome(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.fa", b"", "is empty"),
        ("g.fa", b"chr1\t0\t100\n", "is not a FASTA file with sequences"),
        ("g.fa", b">chr1\n>chr2\n", "is not a FASTA file with sequences|has no sequence in it"),
        ("g.fa", b">a\nACGT\n>a\nACGT\n", "is not a FASTA file with sequences.*each name once"),
        ("g.fa", b">a\nACGT\nACGTACGT\nACG\n", "is not a FASTA file with sequences.*lines of equal length"),
        ("g.fa", b">sp|P1\nMSTNPKPQRKTKRNTNRRPQDVKFPGG\n", "'sp|P1' has the letters F, P, Q: this is protein"),
        ("g.fa", bytes(range(128, 256)) * 4, "is not a FASTA file with sequences"),
        ("g.fa.gz", b">a\nACGT\n", "is named .gz, but is not compressed"),
    ],
)  # fmt: skip
def test_genome_refuses_what_is_no_genome(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        Genome(tmp_path / name)
    assert not list(tmp_path.glob(".index-*"))


def test_genome_refuses_a_missing_and_a_misnamed_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Genome(tmp_path / "none.fa")
    path = write(tmp_path / "g.gz", fasta(chromosomes())).rename(tmp_path / "g.fa")
    with pytest.raises(InputError, match=r"compressed with bgzip. Rename it to end in .gz"):
        Genome(path)
