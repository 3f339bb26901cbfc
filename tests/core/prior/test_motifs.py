"""Motif collections in all their forms, and the TFs they stand for."""

import gzip

import numpy as np
import pandas as pd
import pytest

from scmagnify_core.errors import InputError, MissingColumnError, PriorError
from scmagnify_core.prior.motifs import Motif, map_motifs, read_motifs, tf_symbols

COUNTS = {
    "M1": np.array([[8, 0, 0, 0], [0, 4, 4, 0], [1, 1, 1, 5], [2, 2, 2, 2], [0, 0, 8, 0]]),
    "M2": np.array([[3, 5, 0, 0], [0, 0, 0, 8], [8, 0, 0, 0]]),
}
MEME = (
    "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nBackground letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n"
)


def rows(matrix, form="{}"):
    return "".join(" ".join(form.format(value) for value in row) + "\n" for row in matrix)


def meme():
    text = MEME
    for name, counts in COUNTS.items():
        text += f"\nMOTIF {name} TF{name}\nletter-probability matrix: alength= 4 w= {len(counts)} nsites= 8 E= 0\n"
        text += rows(counts / 8, "{:.4f}") + "URL http://example.org\n"
    return text


def jaspar():
    text = ""
    for name, counts in COUNTS.items():
        text += f">{name}\tTF{name}\n"
        text += "".join(
            f"{base}  [ {'  '.join(map(str, row))} ]\n" for base, row in zip("ACGT", counts.T, strict=True)
        )
    return text


def plain(of=lambda counts: counts):
    return "# a collection\n" + "".join(f">{name} TF{name}\n{rows(of(counts))}" for name, counts in COUNTS.items())


FILES = {
    "meme": meme(),
    "jaspar": jaspar(),
    "counts": plain(),
    "probabilities": plain(lambda counts: counts / 8),
    "by_base": plain(lambda counts: counts.T),
}


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("form", list(FILES))
@pytest.mark.parametrize("name", ["m.txt", "m.meme.gz"])
def test_read_motifs_gives_the_same_from_every_form_whatever_its_name(tmp_path, form, name):
    motifs = read_motifs(write(tmp_path / name, FILES[form]))
    assert [(motif.motif, motif.name) for motif in motifs] == [("M1", "TFM1"), ("M2", "TFM2")]
    for motif in motifs:
        np.testing.assert_allclose(motif.probabilities, COUNTS[motif.motif] / 8, atol=1e-12)
        assert motif.n_sites == (None if form == "probabilities" else 8)


def test_read_motifs_agrees_with_biopython_on_jaspar(tmp_path, shared_data):
    from Bio import motifs as bio

    path = shared_data / "resources" / "jaspar2024_core_vertebrates.meme.gz"
    ours = read_motifs(path)
    with gzip.open(path, "rt") as file:
        theirs = bio.parse(file, "minimal")
    assert len(ours) == len(theirs) == 879
    for one, other in zip(ours, theirs, strict=True):
        # Biopython turns probabilities into whole counts.
        pwm = np.array([other.pwm[base] for base in "ACGT"]).T
        np.testing.assert_allclose(one.probabilities, pwm, atol=4 / one.n_sites)
        assert one.motif == other.name
    theirs_jaspar = write(tmp_path / "m.jaspar", jaspar())
    with theirs_jaspar.open() as file:
        for one, other in zip(read_motifs(theirs_jaspar), bio.parse(file, "jaspar"), strict=True):
            np.testing.assert_allclose(one.probabilities, np.array([other.pwm[base] for base in "ACGT"]).T)


@pytest.mark.parametrize(("species", "n"), [("human", 401), ("mouse", 356)])
def test_read_motifs_reads_hocomoco(shared_data, species, n):
    motifs = read_motifs(shared_data / "resources" / f"hocomoco11_{species}.pfm.gz")
    assert len(motifs) == n
    assert motifs[0].motif == f"AHR_{species.upper()}.H11MO.0.B"
    assert motifs[0].n_sites == 154
    np.testing.assert_allclose(motifs[0].probabilities[7], [0, 0, 1, 0])
    for motif in motifs:
        np.testing.assert_allclose(motif.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("gene,tf\na,b\n", "no motif collection: line 1 is 'gene,tf'"),
        (MEME, "has no motif in it"),
        (meme().replace("ACGT\n", "ACDEFGHIKLMNPQRSTVWY\n", 1), "line 3: the alphabet.*motifs of DNA"),
        (meme().replace("0.1250", "0.3250", 1), r"motif M1, line 14: position 3 is 0.325, .*no probabilities that sum"),
        (meme().replace("0.1250", "x", 1), "line 11: motif M1 should have 5 rows, but has 2.*cut off"),
        (meme().replace("0.1250 ", "", 1), "motif M1, line 14: should have 4 numbers, but is '0.1250 0.1250 0.6250'"),
        (meme().replace("letter-prob", "log-odds"), "line 10: motif M1 has no letter-probability matrix"),
        (meme().replace("M2", "M1"), "1 ids occur more than once: 'M1'"),
        (jaspar().replace("T  [", "C  [", 1), "line 1: motif M1 has rows for 'ACGC'"),
        (jaspar().replace(" ]", "  7 ]", 1), "motif M1, line 3: should have 6 numbers"),
        (">M1\n" + rows(-COUNTS["M1"]), "motif M1, line 2: position 1 is -8, 0, 0, 0.*not log-odds"),
        (">M1\n" + rows(COUNTS["M1"] * 0), "motif M1, line 2: position 1 is 0, 0, 0, 0"),
        (">M1\n0 0 0 9\n0 0 0 0\n", "motif M1, line 3: position 2 is 0, 0, 0, 0, which are no counts"),
        (">M1\n0 0 0 9 1\n0 0 0 9\n", "motif M1, line 2: should have 4 numbers"),
        (">M1\n>M2\n1 1 1 1\n", "motif M1: has no matrix.*cut off"),
        (">\n1 1 1 1\n", "line 1: has a '>' without an id"),
    ],
)  # fmt: skip
def test_read_motifs_names_the_motif_and_the_line_that_are_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_motifs(write(tmp_path / "m.txt", text))


def test_read_motifs_refuses_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_motifs(tmp_path / "none.meme")
    whole = gzip.compress(meme().encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff")
    for name in ("cut.gz", "binary"):
        with pytest.raises(InputError, match="cannot be read as text"):
            read_motifs(tmp_path / name)


# ---------------------------------------------------------------- from motifs to TFs


def collection(**names):
    return [Motif(motif, name, np.full((8, 4), 0.25), None) for motif, name in names.items()]


def mapped(found):
    return {(row.motif, row.source, row.relation) for row in found.table.itertuples()}


@pytest.mark.parametrize(
    ("name", "symbols"),
    [
        ("MAX::MYC", ("MAX", "MYC")),
        ("JUN(var.2)", ("JUN",)),
        ("FOSL1::JUN(var.2)", ("FOSL1", "JUN")),
        ("AHR_HUMAN.H11MO.0.B", ("AHR",)),
        ("ARNT2_MOUSE.H11MO.0.D", ("ARNT2",)),
        ("CTCF.H12CORE.0.P.B", ("CTCF",)),
        ("NKX2-5", ("NKX2-5",)),
        ("HIF1A", ("HIF1A",)),
        ("Zfp.1", ("Zfp.1",)),
        ("MA0139.2.CTCF", ("CTCF",)),
        ("MA0140.2_GATA1::TAL1", ("GATA1", "TAL1")),
    ],
)
def test_tf_symbols_reads_dimers_variants_and_uniprot_entries(name, symbols):
    assert tf_symbols(name) == symbols


def test_map_motifs_names_how_each_tf_was_found():
    motifs = collection(a="GATA1", b="Spi1", c="OCT4", d="TP53", e="MAX::MYC", f="none", g="OTHER")
    found = map_motifs(
        motifs,
        ["GATA1", "SPI1", "POU5F1", "Trp53", "MAX", "MYC", "KLF1"],
        table=pd.DataFrame({"motif_id": ["g", "zzz"], "TF": ["KLF1", "GATA1"]}),
        aliases=pd.DataFrame({"alias": ["OCT4", "OCT4"], "symbol": ["POU5F1", "gone"]}),
        orthologs=pd.DataFrame({"human_symbol": ["TP53"], "mouse_symbol": ["Trp53"]}),
    )
    assert mapped(found) == {
        ("a", "GATA1", "name"), ("b", "SPI1", "case"), ("c", "POU5F1", "alias"), ("d", "Trp53", "ortholog"),
        ("e", "MAX", "name"), ("e", "MYC", "name"), ("g", "KLF1", "given"),
    }  # fmt: skip
    assert found.unmapped == ("f",)
    assert found.notes == ("6 of 7 motifs stand for 7 genes of the data.",)


def test_map_motifs_lets_the_table_win_and_prefers_the_species():
    motifs = collection(a="GATA1", b="SPI1", c="MAX")
    table = pd.DataFrame(
        {"Model": ["a", "a", "b", "c"], "Transcription factor": ["w", "x", "y", "z"],
         "tf_human": ["KLF1", "TAL1", None, "MAX,MYC"], "tf_mouse": ["Klf1", "Tal1", "Spi1", "Max"]}
    )  # fmt: skip
    human = map_motifs(motifs, ["GATA1", "KLF1", "TAL1", "SPI1", "MYC"], table=table, species="human")
    assert mapped(human) == {
        ("a", "KLF1", "given"),
        ("a", "TAL1", "given"),
        ("b", "SPI1", "name"),
        ("c", "MYC", "given"),
    }
    mouse = map_motifs(motifs, ["Gata1", "Klf1", "Spi1", "Myc"], table=table, species="mouse")
    assert mapped(mouse) == {("a", "Klf1", "given"), ("b", "Spi1", "given")}
    assert mapped(map_motifs(motifs, ["Klf1", "Spi1"], table=table, species="Mouse")) == mapped(mouse)
    plain = map_motifs(motifs, ["x", "KLF1"], table=table)
    assert mapped(plain) == {("a", "x", "given")}


def test_map_motifs_uses_orthologs_in_both_directions_and_only_one_to_one():
    orthologs = pd.DataFrame(
        {"human_symbol": ["TP53", "HX", "HX"], "mouse_symbol": ["Trp53", "Mx", "My"], "one2one": [True, False, False]}
    )
    assert mapped(map_motifs(collection(a="TP53", b="HX"), ["Trp53", "Mx"], orthologs=orthologs)) == {
        ("a", "Trp53", "ortholog")
    }
    assert mapped(map_motifs(collection(a="Trp53"), ["TP53"], orthologs=orthologs)) == {("a", "TP53", "ortholog")}
    both = map_motifs(collection(b="HX"), ["Mx", "My"], orthologs=orthologs.drop(columns="one2one"))
    assert mapped(both) == {("b", "Mx", "ortholog"), ("b", "My", "ortholog")}


def test_map_motifs_does_not_guess_between_genes_that_differ_by_case():
    assert map_motifs(collection(a="SPI1", b="MAX"), ["Spi1", "spi1", "MAX"]).unmapped == ("a",)


def test_map_motifs_keeps_to_the_tf_list():
    found = map_motifs(collection(a="GATA1", b="SPI1"), ["GATA1", "SPI1"], tf_list={"SPI1", "KLF1"})
    assert mapped(found) == {("b", "SPI1", "name")}
    assert found.unmapped == ("a",)
    assert "1 genes that motifs name are not in the TF list: left out." in found.notes
    with pytest.raises(PriorError, match=r"tf_list: has none of the 1 TFs.*'Spi1'.*stand for 'SPI1'.*this species"):
        map_motifs(collection(b="SPI1"), ["SPI1"], tf_list={"Spi1"})


def test_map_motifs_does_not_depend_on_the_order_of_genes_and_motifs():
    motifs, genes = collection(a="GATA1", b="Spi1", c="MAX::MYC"), ["GATA1", "SPI1", "MYC", "MAX"]
    assert mapped(map_motifs(motifs, genes)) == mapped(map_motifs(motifs[::-1], genes[::-1]))


def test_map_motifs_explains_uniprot_entries_that_are_no_symbols():
    found = map_motifs(collection(a="AHR_HUMAN.H11MO.0.B", b="ANDR_HUMAN.H11MO.0.A"), ["AHR", "AR"])
    assert mapped(found) == {("a", "AHR", "name")}
    assert found.unmapped == ("b",)
    assert "1 unmapped motifs are named after UniProt entries" in found.notes[1]
    assert "motif_to_tf" in found.notes[1]


def test_map_motifs_says_what_both_sides_look_like_when_nothing_fits():
    with pytest.raises(
        PriorError, match=r"not one of 2 .*name 'GATA1', 'MAX', 'MYC', the data set has 'ENSG1'.*gene_key"
    ):
        map_motifs(collection(a="GATA1", b="MAX::MYC"), ["ENSG1"])


def test_map_motifs_names_a_missing_column():
    motifs = collection(a="GATA1")
    with pytest.raises(MissingColumnError, match=r"motif_to_tf\['tf'\].*'motif', 'symbol'"):
        map_motifs(motifs, ["GATA1"], table=pd.DataFrame({"motif": ["a"], "symbol": ["GATA1"]}))
    with pytest.raises(MissingColumnError, match=r"orthologs\['mouse_symbol'\]"):
        map_motifs(motifs, ["GATA1"], orthologs=pd.DataFrame({"human_symbol": ["a"]}))
    with pytest.raises(MissingColumnError, match=r"aliases\['alias'\]"):
        map_motifs(motifs, ["GATA1"], aliases=pd.DataFrame({"symbol": ["a"]}))


@pytest.mark.parametrize(("species", "least"), [("human", 865), ("mouse", 820)])
def test_map_motifs_covers_jaspar(shared_data, species, least):
    resources = shared_data / "resources"
    ids = pd.read_parquet(resources / "gene_ids.parquet")
    genes = ids.loc[ids["species"] == species, "symbol"].dropna().unique().tolist()
    found = map_motifs(
        read_motifs(resources / "jaspar2024_core_vertebrates.meme.gz"), genes,
        table=pd.read_parquet(resources / "jaspar2024_motif2tf.parquet"),
        orthologs=pd.read_parquet(resources / "orthologs_human_mouse.parquet"), species=species,
    )  # fmt: skip
    assert found.table["motif"].nunique() >= least
    assert set(found.table["source"]) <= set(genes)
    spi1 = "SPI1" if species == "human" else "Spi1"
    assert (found.table["source"] == spi1).any()
