"""Counting fragments in peaks: against a plain loop, against Cell Ranger's matrix, and what must be refused."""

import gzip
import warnings

import mudata
import numpy as np
import pandas as pd
import pytest
from Bio.bgzf import BgzfWriter

from scmagnify_core.data import fragments as module
from scmagnify_core.data.fragments import count_fragments, read_peaks
from scmagnify_core.errors import InputError

CELLS = [f"AAAC{i:02d}-1" for i in range(12)]


def made_fragments(n=600, seed=0):
    """Fragments on three chromosomes, a third of them of barcodes that are no cell."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 900, n)
    return pd.DataFrame(
        {
            "chrom": rng.choice(["chr1", "chr2", "chrX"], n),
            "start": start,
            "end": start + rng.integers(1, 120, n),
            "barcode": rng.choice([*CELLS, *(f"empty{i}" for i in range(6))], n),
            "count": rng.integers(1, 5, n),
        }
    ).sort_values(["chrom", "start"], ignore_index=True)


def peaks_of(*regions):
    peaks = pd.DataFrame(list(regions), columns=["chrom", "start", "end"])
    peaks.insert(0, "peak", [f"{chrom}:{start}-{end}" for chrom, start, end in peaks.itertuples(index=False)])
    return peaks


# Apart, touching, overlapping, nested, identical in one end, of one base; in no order. chr9 has no fragments.
PEAKS = peaks_of(
    ("chr2", 300, 400), ("chr1", 100, 200), ("chr1", 200, 260), ("chr1", 150, 230), ("chr1", 10, 700), ("chr1", 20, 30),
    ("chr2", 300, 350), ("chr2", 350, 400), ("chr2", 600, 601), ("chr9", 100, 200), ("chr1", 690, 1000),
)  # fmt: skip


def write(path, table, header=""):
    path.write_text(header + table.to_csv(sep="\t", header=False, index=False))
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "fragments.tsv", made_fragments())


def by_loop(table, peaks, cells):
    """Every cut site of every fragment against every peak."""
    counts = np.zeros((len(cells), len(peaks)))
    n_in_peaks = 0
    for fragment in table[table["barcode"].isin(cells)].itertuples():
        hits = np.zeros(len(peaks))
        for j, peak in enumerate(peaks.itertuples()):
            for site in (fragment.start, fragment.end):
                hits[j] += fragment.chrom == peak.chrom and peak.start <= site < peak.end
        counts[list(cells).index(fragment.barcode)] += hits
        n_in_peaks += hits.any()
    return counts, n_in_peaks


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("block_bytes", [8 << 20, 600])
def test_count_fragments_equals_a_plain_loop(file, monkeypatch, block_bytes):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    table = made_fragments()
    got = count_fragments(file, PEAKS, CELLS)
    expected, n_in_peaks = by_loop(table, PEAKS, CELLS)
    np.testing.assert_array_equal(got.matrix.toarray(), expected)
    assert expected.max() > 2
    assert got.matrix.format == "csr"
    assert got.matrix.dtype == np.float32
    assert got.matrix.has_canonical_format
    assert (got.n_fragments, got.n_in_peaks) == (len(table), n_in_peaks)
    assert got.n_in_cells == table["barcode"].isin(CELLS).sum()


def test_count_fragments_counts_both_cut_sites_and_not_what_lies_between(tmp_path):
    table = pd.DataFrame(
        [("chr1", 110, 150), ("chr1", 50, 300), ("chr1", 50, 100), ("chr1", 199, 200), ("chr1", 20, 99)]
    ).assign(barcode=CELLS[:5], count=1)
    got = count_fragments(write(tmp_path / "f.tsv", table), peaks_of(("chr1", 100, 200)), CELLS[:5])
    assert got.matrix.toarray().ravel().tolist() == [2, 0, 1, 1, 0]
    assert got.n_in_peaks == 3


def test_count_fragments_agrees_with_the_matrix_of_cell_ranger(shared_data, tmp_path):
    """The fragment file covers the neighbourhood of the genes alone, so that peaks beyond it have few or none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atac = mudata.read_h5mu(shared_data / "multiome" / "pbmc_multiome_tiny.h5mu")["atac"]
    path = tmp_path / "peaks.bed"
    path.write_text("".join("\t".join(name.replace(":", "-").split("-")) + "\n" for name in atac.var_names))
    peaks = read_peaks(path)
    assert list(peaks["peak"]) == list(atac.var_names)
    file = shared_data / "multiome" / "pbmc_multiome_tiny_fragments.tsv.gz"
    got = count_fragments(file, peaks, list(atac.obs_names))
    ours, theirs = got.matrix.toarray(), atac.X.toarray()
    assert got.n_fragments == 367439
    assert (ours <= theirs).all()
    is_equal, is_covered = (ours == theirs).all(axis=0), ours.any(axis=0)
    assert is_covered.sum() == 136
    assert (is_equal & is_covered).sum() == 121  # of 1000 cells, each; the others are cut off at the file's edges
    assert np.corrcoef(ours[:, is_equal].ravel(), theirs[:, is_equal].ravel())[0, 1] == pytest.approx(1)


def test_count_fragments_does_not_depend_on_the_order_of_fragments(file, tmp_path):
    shuffled = write(tmp_path / "shuffled.tsv", made_fragments().sample(frac=1, random_state=0))
    first, second = count_fragments(file, PEAKS, CELLS), count_fragments(shuffled, PEAKS, CELLS)
    assert (first.matrix != second.matrix).nnz == 0
    assert first.n_in_peaks == second.n_in_peaks


def test_count_fragments_permutes_with_cells_and_peaks(file):
    rng = np.random.default_rng(0)
    cells, peaks = rng.permutation(len(CELLS)), rng.permutation(len(PEAKS))
    first = count_fragments(file, PEAKS, CELLS).matrix.toarray()
    second = count_fragments(file, PEAKS.iloc[peaks], [CELLS[i] for i in cells]).matrix.toarray()
    np.testing.assert_array_equal(second, first[np.ix_(cells, peaks)])


@pytest.mark.parametrize("form", ["gzip", "bgzip", "windows", "comments", "four columns", "six columns"])
def test_count_fragments_reads_every_usual_form(file, tmp_path, form):
    table = made_fragments()
    text = file.read_text()
    path = tmp_path / "other.tsv.gz"
    if form == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    elif form == "bgzip":
        with BgzfWriter(path, "wb") as stream:
            for line in text.splitlines(keepends=True):  # several blocks
                stream.write(line.encode())
                if len(stream._buffer) > 2000:
                    stream.flush()
    elif form == "windows":
        path.write_bytes(text.replace("\n", "\r\n").encode())
    elif form == "comments":
        path.write_bytes(gzip.compress(b"# id=x\n# primary_contig=chr1\n" + text.encode()))
    else:
        write(path, table.drop(columns="count") if form == "four columns" else table.assign(strand="+"))
    got, expected = count_fragments(path, PEAKS, CELLS), count_fragments(file, PEAKS, CELLS)
    assert (got.matrix != expected.matrix).nnz == 0
    assert got.n_fragments == expected.n_fragments


@pytest.mark.parametrize("bare", ["fragments", "peaks"])
def test_count_fragments_matches_chromosomes_with_and_without_chr(file, tmp_path, bare):
    table, peaks = made_fragments(), PEAKS.copy()
    side = table if bare == "fragments" else peaks
    side["chrom"] = side["chrom"].str.removeprefix("chr")
    got = count_fragments(write(tmp_path / "bare.tsv", table), peaks, CELLS)
    assert (got.matrix != count_fragments(file, PEAKS, CELLS).matrix).nnz == 0


def test_count_fragments_reports_progress_to_the_end(file, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    calls = []
    count_fragments(file, PEAKS, CELLS, progress=lambda *call: calls.append(call))
    assert len(calls) > 5
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[-1] == (file.stat().st_size, file.stat().st_size, "600 fragments")


# ---------------------------------------------------------------- refusals


def other_barcodes(table):
    table["barcode"] = "s1_" + table["barcode"]


def other_chromosomes(table):
    table["chrom"] = "GRCh38_" + table["chrom"]


def far_away(table):
    table[["start", "end"]] += 10_000


def reversed_ends(table):
    table.loc[7, "end"] = table.loc[7, "start"]


def text_in_start(table):
    table["start"] = table["start"].astype(object)
    table.loc[7, "start"] = "x"


BAD = {
    "no barcode in common": (
        other_barcodes,
        r"no barcode is one of the cells': the fragments have 's1_AAAC00-1', .*, the cells 'AAAC00-1', .*such as -1",
    ),
    "no chromosome in common": (
        other_chromosomes,
        "no chromosome has peaks: the fragments have 'GRCh38_chr1', .*, the peaks 'chr2', 'chr1', 'chr9'.",
    ),
    "nothing in a peak": (far_away, r"none of the \d+ fragments of the cells has a cut site in a peak.*genome build"),
    "a fragment without length": (reversed_ends, r"ends where or before it starts: \['chr1', "),
    "text for a number": (text_in_start, r"has a line that is none .*invalid value 'x'.*separated by tabs"),
}


@pytest.mark.parametrize("case", BAD)
def test_count_fragments_refuses(tmp_path, case):
    change, message = BAD[case]
    table = made_fragments()
    change(table)
    with pytest.raises(InputError, match=message):
        count_fragments(write(tmp_path / "fragments.tsv", table), PEAKS, CELLS)


CONTENTS = {
    "empty": (b"", "has no fragments"),
    "comments alone": (b"# a\n# b\n", "has no fragments"),
    "spaces": (b"chr1 1 2 AAAC00-1 1\n", "line 1 has 1 columns: 'chr1 1 2 AAAC00-1 1'.*separated by tabs"),
    "a line cut short": (b"chr1\t1\t2\tA\t1\nchr1\t1\n", "has a line that is none .*Expected 5 columns, got 2"),
    "column names": (b"chrom\tstart\tend\tbarcode\nchr1\t1\t2\tA\n", "has a line that is none .*'start'"),
    "no text": (b"\xff\xfe\x00\x01" * 10, "cannot be read"),
    "damaged gzip": (gzip.compress(b"chr1\t1\t2\tA\t1\n")[:-9] + b"123456789", "cannot be read.*copy it again"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_count_fragments_refuses_files_that_hold(tmp_path, case):
    content, message = CONTENTS[case]
    path = tmp_path / "fragments.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        count_fragments(path, PEAKS, CELLS)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_count_fragments_refuses_a_truncated_gzip(file, tmp_path, share):
    path = tmp_path / "cut.tsv.gz"
    content = gzip.compress(file.read_bytes() * 50)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut.tsv.gz': cannot be read \(.*compare its size .* copy it again"):
        count_fragments(path, PEAKS, CELLS)


def test_count_fragments_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        count_fragments(tmp_path / "none.tsv.gz", PEAKS, CELLS)


# ---------------------------------------------------------------- peaks


@pytest.mark.parametrize("is_gzip", [False, True])
def test_read_peaks_takes_the_first_three_columns_and_each_region_once(tmp_path, is_gzip):
    text = "track name=x\n# a comment\nchr2\t5\t9\tp1\t10\t.\n\nchr1\t1\t4\tp2\t3\t.\r\nchr2\t5\t9\tp3\t7\t.\n"
    path = tmp_path / "peaks.narrowPeak"
    path.write_bytes(gzip.compress(text.encode()) if is_gzip else text.encode())
    pd.testing.assert_frame_equal(read_peaks(path), peaks_of(("chr2", 5, 9), ("chr1", 1, 4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n", "has no peaks. Give a BED file"),
        (
            b"chrom\tstart\tend\nchr1\t1\t2\n",
            r"1 of 2 lines are no regions, the first is \['chrom', 'start', 'end'\]",
        ),
        (b"chr1 1 2\n", r"1 of 1 lines are no regions, the first is \['chr1 1 2'\].*separated by tabs"),
        (b"chr1\t5\t5\n", "1 of 1 lines are no regions"),
        (b"chr1\t-5\t5\n", "1 of 1 lines are no regions"),
        (b"chr1\t1.5\t5\n", "1 of 1 lines are no regions"),
        (gzip.compress(b"chr1\t1\t2\n" * 1000, mtime=0)[:-12], "cannot be read.*copy it again"),
    ],
)
def test_read_peaks_refuses(tmp_path, content, message):
    path = tmp_path / "peaks.bed"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_peaks(path)


def test_read_peaks_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_peaks(tmp_path / "none.bed")
