"""Annotations: the same genes from every format and dialect, genes found by name or id, and damaged files."""

import gzip

import pandas as pd
import pytest

from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.prior.annotation import promoter_regions, read_annotation, select_genes

COLUMNS = ["gene", "chrom", "start", "end", "strand", "tss"]
# Gene AAA has two transcripts, of which the second is longer; gene BBB lies on the reverse strand.
EXPECTED = [["AAA", "chr1", 150, 400, "+", 150], ["BBB", "chr1", 999, 2000, "-", 1999]]

GENCODE = """\
##description: made
chr1\tHAVANA\tgene\t101\t500\t.\t+\t.\tgene_id "ENSG00000000001.5"; gene_type "x"; gene_name "AAA"; level 2;
chr1\tHAVANA\ttranscript\t101\t300\t.\t+\t.\tgene_id "ENSG00000000001.5"; transcript_id "T1"; gene_name "AAA";
chr1\tHAVANA\texon\t101\t300\t.\t+\t.\tgene_id "ENSG00000000001.5"; transcript_id "T1"; gene_name "AAA";
chr1\tHAVANA\ttranscript\t151\t400\t.\t+\t.\tgene_id "ENSG00000000001.5"; transcript_id "T2"; gene_name "AAA";
chr1\tHAVANA\tgene\t1000\t2000\t.\t-\t.\tgene_id "ENSG00000000002.1"; gene_name "BBB"; tag "a; gene_name";
chr1\tHAVANA\ttranscript\t1000\t2000\t.\t-\t.\tgene_id "ENSG00000000002.1"; transcript_id "T3"; gene_name "BBB";
"""
ENSEMBL_GTF = GENCODE.replace("##description", "#!genome-build").replace('01.5"', '01"').replace('02.1"', '02"')
REFSEQ_GTF = """\
chr1\tBestRefSeq\tgene\t101\t500\t.\t+\t.\tgene_id "AAA"; transcript_id ""; db_xref "GeneID:1"; gene "AAA";
chr1\tBestRefSeq\ttranscript\t101\t300\t.\t+\t.\tgene_id "AAA"; transcript_id "NM_1.1"; gene "AAA";
chr1\tBestRefSeq\ttranscript\t151\t400\t.\t+\t.\tgene_id "AAA"; transcript_id "NM_2.1"; gene "AAA";
chr1\tBestRefSeq\tmRNA\t1000\t2000\t.\t-\t.\tgene_id "BBB"; transcript_id "NM_3.1"; gene "BBB";
"""
UCSC_EXONS = """\
chr1\trefGene\texon\t151\t200\t0\t+\t.\tgene_id "AAA"; transcript_id "NM_2";
chr1\trefGene\texon\t301\t400\t0\t+\t.\tgene_id "AAA"; transcript_id "NM_2";
chr1\trefGene\texon\t101\t300\t0\t+\t.\tgene_id "AAA"; transcript_id "NM_1";
chr1\trefGene\tCDS\t120\t300\t0\t+\t.\tgene_id "AAA"; transcript_id "NM_1";
chr1\trefGene\texon\t1000\t2000\t0\t-\t.\tgene_id "BBB"; transcript_id "NM_3";
"""
GENCODE_GFF3 = """\
##gff-version 3
chr1\tHAVANA\tgene\t101\t500\t.\t+\t.\tID=ENSG00000000001.5;gene_id=ENSG00000000001.5;gene_name=AAA
chr1\tHAVANA\ttranscript\t101\t300\t.\t+\t.\tID=T1;Parent=ENSG00000000001.5;gene_name=AAA
chr1\tHAVANA\texon\t101\t300\t.\t+\t.\tID=exon:T1:1;Parent=T1;gene_name=AAA
chr1\tHAVANA\ttranscript\t151\t400\t.\t+\t.\tID=T2;Parent=ENSG00000000001.5;gene_name=AAA
chr1\tHAVANA\tgene\t1000\t2000\t.\t-\t.\tID=ENSG00000000002.1;gene_id=ENSG00000000002.1;gene_name=BBB
"""
ENSEMBL_GFF3 = """\
##gff-version 3
chr1\tGRCh38\tchromosome\t1\t248956422\t.\t.\t.\tID=chromosome:1;Alias=CM000663.2
chr1\thavana\tbiological_region\t1\t9\t.\t.\t.\texternal_name=x
chr1\thavana\tgene\t101\t500\t.\t+\t.\tID=gene:ENSG00000000001;Name=AAA;gene_id=ENSG00000000001;version=5
chr1\thavana\tmRNA\t101\t300\t.\t+\t.\tID=transcript:T1;Parent=gene:ENSG00000000001;Name=AAA-201
chr1\thavana\tfive_prime_UTR\t101\t120\t.\t+\t.\tParent=transcript:T1
chr1\thavana\tlnc_RNA\t151\t400\t.\t+\t.\tID=transcript:T2;Parent=gene:ENSG00000000001;Name=AAA-202
chr1\thavana\tncRNA_gene\t1000\t2000\t.\t-\t.\tID=gene:ENSG00000000002;Name=BBB;gene_id=ENSG00000000002
"""
REFSEQ_GFF3 = """\
NC_000001.11\tRefSeq\tregion\t1\t248956422\t.\t+\t.\tID=x;Dbxref=taxon:9606;Name=chr1;chromosome=1;genome=chromosome
NC_000001.11\tBestRefSeq\tpseudogene\t101\t500\t.\t+\t.\tID=gene-AAA;Dbxref=GeneID:1;Name=AAA;gbkey=Gene;gene=AAA
NC_000001.11\tBestRefSeq\ttranscript\t101\t300\t.\t+\t.\tID=rna-1;Parent=gene-AAA;Name=NR_1;gene=AAA
NC_000001.11\tBestRefSeq\ttranscript\t151\t400\t.\t+\t.\tID=rna-2;Parent=gene-AAA;Name=NR_2;gene=AAA
NC_000001.11\tBestRefSeq\tV_gene_segment\t1000\t2000\t.\t-\t.\tID=id-3;Parent=gene-BBB;gene=BBB
NC_000001.11\tBestRefSeq\tgene\t1000\t2000\t.\t-\t.\tID=gene-BBB;Name=BBB;gene=BBB
##FASTA
>chr1
ACGT
"""
BED6 = "track name=x\n#c\nchr1\t150\t400\tAAA\t0\t+\nchr1\t100\t300\tAAA\t0\t+\nchr1\t999\t2000\tBBB\t0\t-\n"
BED12 = BED6.replace("+\n", "+\t1\t2\t0\t1\t5,\t0,\n").replace("-\n", "-\t1\t2\t0\t1\t5,\t0,\n")
TABLE = "symbol,seqnames,start,end,strand\nAAA,chr1,100,300,+\nAAA,chr1,150,400,+\nBBB,chr1,999,2000,-\n"
FORMS = {
    "gencode.v47.gtf": GENCODE, "ensembl.gtf": ENSEMBL_GTF, "refseq.gtf": REFSEQ_GTF, "ucsc.gtf": UCSC_EXONS,
    "gencode.gff3": GENCODE_GFF3, "ensembl.gff3": ENSEMBL_GFF3, "refseq.gff": REFSEQ_GFF3, "gtf_called.gff": GENCODE,
    "biomart.csv": TABLE.replace("+", "1").replace("-", "-1"),
    "genes.bed": BED6, "genes12.bed": BED12, "genes.csv": TABLE, "genes.tsv": TABLE.replace(",", "\t"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_read_annotation_gives_the_same_genes_for_every_form(tmp_path, name):
    path = tmp_path / name
    path.write_text(FORMS[name])
    got = read_annotation(path)
    assert got[COLUMNS].to_numpy().tolist() == EXPECTED
    has_ids = "ENSG" in FORMS[name]
    assert got["gene_id"].tolist() == (["ENSG00000000001", "ENSG00000000002"] if has_ids else ["AAA", "BBB"])
    if name.endswith(("gtf", "gff3", "bed")):
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(FORMS[name].encode()))
        pd.testing.assert_frame_equal(read_annotation(packed), got)


def test_read_annotation_does_not_depend_on_the_order_of_lines(tmp_path):
    lines = GENCODE.splitlines()
    (tmp_path / "a.gtf").write_text("\n".join(lines))
    (tmp_path / "b.gtf").write_text("\n".join(lines[::-1]) + "\n\n")
    pd.testing.assert_frame_equal(read_annotation(tmp_path / "a.gtf"), read_annotation(tmp_path / "b.gtf"))


def test_read_annotation_takes_tables_with_only_a_tss(tmp_path):
    frame = pd.DataFrame(
        {"gene": ["A", None], "chrom": pd.Categorical(["1", "MT"]), "tss": [5, 7], "strand": ["-", None]}
    )
    frame.assign(ensembl_id=["ENSG00000000001.2", "ENSG00000000002"]).to_parquet(tmp_path / "t.parquet")
    got = read_annotation(tmp_path / "t.parquet")
    assert got.to_numpy().tolist() == [
        ["A", "1", 5, 6, "-", 5, "ENSG00000000001"],
        ["ENSG00000000002", "MT", 7, 8, ".", 7, "ENSG00000000002"],
    ]


def test_read_annotation_keeps_the_longest_place_on_a_chromosome(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text(
        "chr6_cox_hap2\t0\t9000\tHLA\t0\t+\nchr6\t50\t60\tHLA\t0\t+\nchrX\t10\t90\tPAR\t0\t+\nchrY\t10\t90\tPAR\t0\t+\n"
        "chrUn_1\t5\t9\tLOST\t0\t+\nchr2\t1\t5\tTWO\t0\t+\nchr3\t1\t9\tTWO\t0\t+\n"
    )
    got = read_annotation(path).set_index("gene")
    assert got["chrom"].to_dict() == {"HLA": "chr6", "PAR": "chrX", "LOST": "chrUn_1", "TWO": "chr3"}
    assert any(note.startswith("3 of them stand at several places") for note in got.attrs["notes"])


@pytest.mark.parametrize("table", ["hg19", "hg19_full", "hg38", "hg38_full", "mm10"])
def test_read_annotation_reads_public_tables(shared_data, table):
    path = shared_data / "resources" / f"gene_tss_{table}.parquet"
    raw, got = pd.read_parquet(path), read_annotation(path)
    assert set(got["gene"]) == set(raw["gene"])
    assert not got["gene"].duplicated().any()
    merged = got.merge(raw.astype({"chrom": str}), on=["gene", "chrom", "tss"]).drop_duplicates("gene")
    assert len(merged) == len(got)


BAD_FILES = {
    "short line": ("a.gtf", GENCODE + "chr1\tx\tgene\t5\n", r"line 8 has 4 columns where a GTF or GFF3 has 9: 'chr1"),
    "spaces": ("a.gtf", GENCODE.replace("\t", " "), "line 2 has 1 columns where a GTF"),
    "no number": ("a.gtf", GENCODE.replace("151", "x"), "line 5 has no start and end in columns 4 and 5"),
    "turned": ("a.gff3", GENCODE_GFF3.replace("151", "999"), "line 5 has no start and end in columns 4 and 5"),
    "no gene_id": ("a.gtf", GENCODE.replace("gene_id", "id").replace("gene_name", "n"),
                   r"line 2 \(gene\) has no gene_id, as 5 of 5 transcripts and genes: 'id"),
    "no genes": ("a.gtf", GENCODE.replace("\tgene\t", "\tCDS\t").replace("\ttranscript\t", "\tCDS\t")
                 .replace("\texon\t", "\tCDS\t"), "names no gene and no transcript: features are 'CDS'. Give a GTF"),
    "no genes in gff3": ("a.gff3", GENCODE_GFF3.replace("\tgene\t", "\tmatch\t"), "features are 'exon', 'match', 'tr"),
    "only comments": ("a.gtf", "# nothing\n", "names no gene and no transcript: it has no line"),
    "empty bed": ("a.bed", "", "'a.bed': has no line"),
    "bed of peaks": ("a.bed", "chr1\t1\t5\n", "line 1 has 3 columns where a BED of genes has at least 4"),
    "bed without numbers": ("a.bed", BED6 + "chr1\tx\t5\tG\n", "line 6 has no start and end in columns 2 and 3"),
    "table of other things": ("a.csv", "motif,tf\nx,y\n", "is no table of genes: its columns are 'motif', 'tf'. Name"),
    "table without strand": ("a.csv", "gene,chrom,start,end\nA,1,5,9\n", "is no table of genes"),
    "hole in a table": ("a.csv", "gene,chrom,tss\nA,1,5\nB,2,\n", "1 of 2 rows lack a gene.* row 2: .*'B'"),
    "unknown format": ("a.xlsx", "x", "'a.xlsx': '.xlsx' is not a known format. Give a GTF or GFF3"),
    "gzip that is none": ("a.gtf.gz", GENCODE, "cannot be read .*. Check that the file is whole"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_read_annotation_refuses(tmp_path, case):
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / name)


def test_read_annotation_refuses_a_truncated_and_a_missing_file(tmp_path):
    packed = gzip.compress((GENCODE * 50).encode())
    (tmp_path / "cut.gtf.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"cut.gtf.gz': cannot be read \(.*end-of-stream"):
        read_annotation(tmp_path / "cut.gtf.gz")
    with pytest.raises(InputError, match="there is no such file"):
        read_annotation(tmp_path / "none.gtf")


# ---------------------------------------------------------------- finding genes


@pytest.fixture
def annotation(tmp_path):
    (tmp_path / "a.gtf").write_text(GENCODE)
    return read_annotation(tmp_path / "a.gtf")


@pytest.mark.parametrize(
    ("genes", "expected", "tss"),
    [
        (["BBB", "none", "AAA"], ["BBB", "AAA"], [1999, 150]),
        (["ENSG00000000002", "AAA", "ENSG00000000001.9"], ["ENSG00000000002", "ENSG00000000001.9"], [1999, 150]),
    ],
)
def test_select_genes_finds_by_symbol_or_id_in_the_order_asked(annotation, genes, expected, tss):
    got = select_genes(annotation, pd.Index(genes))
    assert got["gene"].tolist() == expected
    assert got["tss"].tolist() == tss


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        (["Aaa", "Bbb"], "has none of the 2 genes, yet 2 agree but for case. .*another species"),
        (
            ["Xyz"],
            "has none of the 1 genes. The data set has 'Xyz', the annotation 'AAA', 'BBB'. Give the annotation",
        ),
    ],
)
def test_select_genes_says_why_nothing_is_found(annotation, genes, message):
    with pytest.raises(PriorError, match=message):
        select_genes(annotation, genes)


def test_select_genes_says_when_ids_meet_symbols(annotation):
    symbols = annotation.assign(gene_id=annotation["gene"])
    with pytest.raises(
        PriorError, match="gene names are Ensembl ids and the annotation uses symbols. .*Set gene_key"
    ):
        select_genes(symbols, ["ENSG00000000001", "ENSG00000000002"])
    with pytest.raises(
        PriorError, match="it uses Ensembl ids and gene names are symbols. .*Give an annotation with gene_name"
    ):
        select_genes(annotation.assign(gene=annotation["gene_id"]), ["AAA"])


def test_select_genes_refuses_another_species_although_some_names_agree(shared_data):
    mouse = read_annotation(shared_data / "resources" / "gene_tss_mm10.parquet")
    human = read_annotation(shared_data / "resources" / "gene_tss_hg38.parquet")
    with pytest.raises(PriorError, match="agree but for case"):
        select_genes(mouse, human["gene"])


def test_promoter_regions_follow_the_strand(annotation):
    got = promoter_regions(annotation, 100, 20)
    assert got.to_numpy().tolist() == [
        ["chr1:50-171", "AAA", "chr1", 50, 171],
        ["chr1:1979-2100", "BBB", "chr1", 1979, 2100],
    ]
    assert promoter_regions(annotation, 1000, 0)["start"].tolist() == [0, 1999]


def test_promoter_regions_end_with_the_chromosome_unless_the_tss_lies_beyond(annotation):
    for length, ends in ((2050, [171, 2050]), (2000, [171, 2000]), (1999, [171, 2100])):
        got = promoter_regions(annotation, 100, 20, {"chr1": length})
        assert got["end"].tolist() == ends
        assert got["peak"].tolist() == [f"chr1:50-{ends[0]}", f"chr1:1979-{ends[1]}"]
    assert promoter_regions(annotation, 100, 20, {"chr2": 5}).equals(promoter_regions(annotation, 100, 20))
