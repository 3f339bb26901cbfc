"""Regions: every naming in use, chromosome names of two sources, and builds that do not agree."""

import numpy as np
import pandas as pd
import pytest

from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.prior.regions import (
    BUILDS,
    SHIFTS_BP,
    SYNONYMS,
    check_within,
    common_build_name,
    guess_build,
    match_chromosomes,
    parse_regions,
    tss_enrichment,
)

EXPECTED = pd.DataFrame({"chrom": ["chr1", "chrX"], "start": [100, 0], "end": [200, 7]})


def named(*names, **columns):
    return pd.DataFrame(columns, index=list(names))


# ---------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    "var",
    [
        named("chr1:100-200", "chrX:0-7"),
        named("chr1-100-200", "chrX-0-7"),
        named("chr1_100_200", "chrX_0_7"),
        named("chr1:100_200", "chrX:0_7"),
        named("a", "b", interval=["chr1:100-200", "chrX:0-7"]),
        named("a", "b", chrom=["chr1", "chrX"], start=[100, 0], end=[200, 7]),
        named("a", "b", seqnames=["chr1", "chrX"], start=["100", "0"], end=["200", "7"]),
        named("a", "b", Chromosome=pd.Categorical(["chr1", "chrX"]), Start=[100.0, 0.0], End=[200, 7]),
        named("chr9:1-2", "chr9:3-4", chr=["chr1", "chrX"], start=[100, 0], end=[200, 7], interval="chr8:1-2"),
        named("chr1:100-200", "chrX:0-7", chrom=["chr3", "chr4"]),  # a chromosome alone says nothing
    ],
)
def test_parse_regions_reads_every_form(var):
    got = parse_regions(var)
    pd.testing.assert_frame_equal(got, EXPECTED.assign(peak=var.index)[["peak", "chrom", "start", "end"]])
    assert got["start"].dtype == got["end"].dtype == np.int64


@pytest.mark.parametrize("joint", [":{}-{}", "-{}-{}", "_{}_{}"])
@pytest.mark.parametrize("chrom", ["1", "chrUn_GL000220v1", "HLA-A*01:01", "chr1_KI270706v1_random", "scaffold-12_3"])
def test_parse_regions_takes_the_numbers_from_the_right(chrom, joint):
    got = parse_regions(named(chrom + joint.format(5, 90)))
    assert got[["chrom", "start", "end"]].to_numpy().tolist() == [[chrom, 5, 90]]


def test_parse_regions_keeps_order_under_permutation():
    names = [f"chr{i}:{10 * i}-{10 * i + 5}" for i in range(1, 9)]
    whole = parse_regions(named(*names)).set_index("peak")
    pd.testing.assert_frame_equal(parse_regions(named(*names[::-1])).set_index("peak"), whole[::-1])


@pytest.mark.parametrize(
    ("var", "message"),
    [
        (named("chr1:1-5", "p_1", "chr2:9"), r"var_names: 2 of 3 peaks are no regions: 'p_1', 'chr2:9'. Name .*chr1:1"),
        (named("chr1:1-5", "chr1:7-7"), "1 peaks end where or before they start: 'chr1:7-7'"),
        (named("a", "b", interval=["chr1:1-5", None]), r"var\['interval'\]: 1 of 2 peaks are no regions: 'missing'"),
        (named("a", "b", chrom=["1", None], start=[1, 1], end=[2, 2]), r"\['chrom', 'start', 'end'\]: 1 of 2 .*: 'b'"),
        (named("a", "b", chrom="1", start=[1, 1.5], end=[2, 2]), "1 of 2 peaks are no regions: 'b'"),
        (named("a", "b", chrom="1", start=[1, "x"], end=[2, 2]), "1 of 2 peaks are no regions: 'b'"),
        (named("a", "b", chrom="1", start=[1, -4], end=[2, 2]), "1 peaks end where or before they start: 'b'"),
        (named("chr1:1-5", "chr1:1-5"), "peaks: names repeat: 'chr1:1-5'. Give each peak once"),
    ],
)  # fmt: skip
def test_parse_regions_refuses(var, message):
    with pytest.raises(InputError, match=message):
        parse_regions(var)


# ---------------------------------------------------------------- chromosome names


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        (["chr1", "chrX"], ["chrX", "chr1"], {"chr1": "chr1", "chrX": "chrX"}),
        (["chr1", "chrM", "chr99"], ["1", "MT"], {"chr1": "1", "chrM": "MT"}),
        (["1", "MT", "X"], ["chr1", "chrM", "CHRx"], {"1": "chr1", "MT": "chrM", "X": "CHRx"}),
        (["chrMT"], ["chrM"], {"chrMT": "chrM"}),
        (["1", "1"], ["chr1", "1"], {"1": "1"}),  # the same name wins
        (["2l"], ["2L"], {"2l": "2L"}),
    ],
)
def test_match_chromosomes_sees_through_the_usual_differences(wanted, known, expected):
    assert match_chromosomes(wanted, known, "a", "b") == expected


def test_match_chromosomes_shows_both_sides_when_nothing_matches():
    message = "the peaks and annotation 'g.gtf' share none: the peaks have 'chr1', 'chr2', .* has 'NC_000001.11'"
    with pytest.raises(PriorError, match=message):
        match_chromosomes(["chr1", "chr2", "chr1"], ["NC_000001.11"], "the peaks", "annotation 'g.gtf'")


# ---------------------------------------------------------------- builds


@pytest.mark.parametrize(("chrom", "length", "build"), [(*key, build) for key, build in BUILDS.items()])
def test_guess_build_knows_the_first_chromosome_under_any_name(chrom, length, build):
    assert guess_build({"chr9": 5, chrom: length}) == guess_build({f"chr{chrom}": length}) == build
    assert guess_build({chrom: length + 1}) is None


def test_common_build_name_knows_both_names_of_a_build():
    assert common_build_name("GRCh38.p14") == common_build_name("grch38") == common_build_name("HG38") == "hg38"
    assert {common_build_name(name) for name in SYNONYMS} == set(BUILDS.values())
    assert common_build_name("mine") == "mine"


def test_check_within_names_the_region_the_length_and_the_build():
    lengths = {"1": 249250621, "2": 1000}
    inside = pd.DataFrame(
        {"chrom": ["chr1", "chr2", "chrUn"], "start": [0, 999, 10**9], "end": [249250621, 1000, 10**9 + 1]}
    )
    check_within(inside, lengths, "the peaks", "genome 'g.fa'")
    beyond = inside.assign(end=[5, 1001, 10**9 + 1])
    message = (
        r"the peaks: 1 of 3 go .* genome 'g.fa' \(which looks like hg19\), .* chr2:999-1001 .* of 1000 bp.*different"
    )
    with pytest.raises(PriorError, match=message):
        check_within(beyond, lengths, "the peaks", "genome 'g.fa'")


def made_genome(seed=0):
    rng = np.random.default_rng(seed)
    tss = pd.DataFrame({"chrom": rng.choice(["1", "2"], 500), "tss": rng.integers(10**6, 5 * 10**7, 500)})
    start = np.concatenate([tss["tss"][:300] + rng.integers(-900, 500, 300), rng.integers(10**6, 5 * 10**7, 2000)])
    chrom = np.concatenate([tss["chrom"][:300], rng.choice(["1", "2"], 2000)])
    return pd.DataFrame({"chrom": chrom, "start": start, "end": start + rng.integers(200, 900, 2300)}), tss


def test_tss_enrichment_equals_brute_force():
    regions, tss = made_genome()

    def near(shift):
        count = 0
        for one in tss.itertuples():
            on = regions[regions["chrom"] == one.chrom]
            count += ((on["start"] + shift - 1000 <= one.tss) & (one.tss < on["end"] + shift + 1000)).any()
        return count

    got = tss_enrichment(regions, tss)
    assert got.n_tss == 500
    assert got.n_near == near(0) >= 300
    assert got.n_near_by_chance == np.mean([near(shift) for shift in SHIFTS_BP])
    assert got.ratio > 3


def test_tss_enrichment_is_about_1_for_peaks_that_ignore_genes_and_nan_without_any():
    regions, tss = made_genome()
    assert 0.7 < tss_enrichment(regions[300:], tss).ratio < 1.4
    elsewhere = tss_enrichment(regions.assign(chrom="3"), tss)
    assert elsewhere.n_tss == 0
    assert np.isnan(elsewhere.ratio)


@pytest.mark.parametrize("table", ["hg19", "hg19_full", "hg38", "hg38_full"])
def test_tss_enrichment_tells_builds_of_real_peaks_apart(shared_data, table):
    import mudata

    atac = mudata.read_h5mu(shared_data / "multiome" / "a549_scicar_dex.h5mu")["atac"]  # hg19
    genes = pd.read_parquet(shared_data / "resources" / f"gene_tss_{table}.parquet").astype({"chrom": str})
    ratio = tss_enrichment(parse_regions(atac.var), genes).ratio
    assert ratio > 4 if table.startswith("hg19") else ratio < 1.7
