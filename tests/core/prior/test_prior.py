"""The prior: tables as people have them, the mask against a dense one, and why a prior does not fit."""

import gzip
import re
from dataclasses import asdict

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError, MissingColumnError, PriorError
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.prior.base_network import read_table, rename_columns
from scmagnify_core.tables.catalogue import TABLES

EDGES = pd.DataFrame(
    {"source": ["TF1", "TF1", "TF2"], "target": ["g1", "g2", "g1"], "weight": [0.5, -2.0, 1.0], "db": ["a", "b", "a"]}
)


def dataset_of(genes, eligible=None, varying=None):
    """A data set that measured ``genes``; all are eligible and vary unless named otherwise."""
    var = pd.DataFrame(index=list(genes))
    var["is_eligible"] = True if eligible is None else var.index.isin(eligible)
    var["is_highly_variable"] = var["is_eligible"] if varying is None else var.index.isin(varying)
    rna = anndata.AnnData(sparse.csr_matrix((3, len(var)), dtype=np.float32), var=var)
    return Dataset(rna, None, DataDescription(name="made", file="made.h5ad"), ())


def evidence_of(pairs, **columns):
    frame = pd.DataFrame(list(pairs), columns=["source", "target"])
    return frame.assign(**{"weight": 1.0, "evidence": "imported", "origin": "made", **columns})


def random_case(seed=0, n_edges=400):
    """Genes of which some are unmeasured, not eligible or not variable, and edges among them, self edges included."""
    rng = np.random.default_rng(seed)
    names = [f"g{i:02d}" for i in range(40)]
    eligible = rng.choice(names, 28, replace=False)
    dataset = dataset_of(rng.permutation(names[:34]), eligible, rng.choice(eligible, 15, replace=False))
    pairs = sorted({(rng.choice(names[:12]), rng.choice(names)) for _ in range(n_edges)})
    return evidence_of(pairs, weight=rng.normal(size=len(pairs))), dataset


def dense_oracle(evidence, dataset):
    """Which pairs are candidates, pair by pair and gene by gene."""
    var = dataset.rna.var
    pairs = set(zip(evidence["source"], evidence["target"], strict=True))
    fits = {gene: bool(var["is_eligible"].get(gene, False)) for gene in {name for pair in pairs for name in pair}}
    sources = {source for source, _ in pairs if fits[source]}
    kept = set()
    for source, target in pairs:
        is_target = bool(var["is_highly_variable"].get(target, False)) or (target in sources)
        if source != target and fits[source] and fits[target] and is_target:
            kept.add((source, target))
    return kept


# ---------------------------------------------------------------- reading tables


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if ".csv" in path.name else "\t")
    return path


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "txt", "csv.gz", "tsv.gz", "TSV"])
def test_read_base_network_gives_the_same_for_every_format(tmp_path, suffix):
    got = read_base_network(write(EDGES, tmp_path / f"net.{suffix}"))
    expected = EDGES.rename(columns={"db": "origin"}).assign(evidence="imported")
    pd.testing.assert_frame_equal(
        got, expected[["source", "target", "weight", "evidence", "origin"]], check_dtype=False
    )
    assert list(got) == ["source", "target", "weight", "evidence", "origin"]


@pytest.mark.parametrize(
    "names",
    [
        ("TF", "Target", "Importance"),
        ("Regulator", "target_gene", "score"),
        ("Gene1", "Gene2", "mor"),
        ("source_genesymbol", "target_genesymbol", "weight"),
        ("SOURCE", "TG", "Weight"),
    ],
)
def test_read_base_network_understands_the_names_in_use(tmp_path, names):
    frame = EDGES.drop(columns="db").rename(columns=dict(zip(["source", "target", "weight"], names, strict=True)))
    got = read_base_network(write(frame, tmp_path / "net.csv"))
    np.testing.assert_array_equal(got[["source", "target", "weight"]], EDGES[["source", "target", "weight"]])
    assert set(got["origin"]) == {"net.csv"}


def test_read_base_network_weighs_1_where_no_weight_is_given(tmp_path):
    assert set(read_base_network(write(EDGES[["source", "target"]], tmp_path / "net.tsv"))["weight"]) == {1.0}


def test_read_base_network_merges_repeats_with_the_largest_weight_and_all_origins(tmp_path):
    frame = pd.DataFrame(
        {
            "source": ["A", "A", "A", "B"],
            "target": ["x", "x", "x", "x"],
            "weight": [0.5, -3.0, 2.0, 1.0],
            "db": ["dorothea", "collectri", "collectri,dorothea", None],
        }
    )
    got = read_base_network(write(frame, tmp_path / "net.parquet"))
    assert got[["source", "weight", "origin"]].to_numpy().tolist() == [
        ["A", -3.0, "collectri,dorothea"],
        ["B", 1.0, "net.parquet"],
    ]


def test_read_base_network_does_not_depend_on_the_order_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "source": rng.choice(["A", "B", "C"], 50),
            "target": rng.choice(list("uvwxyz"), 50),
            "weight": rng.normal(size=50),
            "db": rng.choice(["p", "q"], 50),
        }
    )
    first = read_base_network(write(frame, tmp_path / "net.parquet"))
    second = read_base_network(write(frame.sample(frac=1, random_state=1), tmp_path / "net.parquet"))
    pd.testing.assert_frame_equal(first, second)
    oracle = frame.groupby(["source", "target"])["weight"].agg(lambda values: values[values.abs().idxmax()])
    np.testing.assert_allclose(first["weight"], oracle.to_numpy())


def test_read_base_network_drops_rows_without_a_name(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("TF,target\nA,\n,B\nA,B\n")
    assert read_base_network(path)[["source", "target"]].to_numpy().tolist() == [["A", "B"]]


def test_read_base_network_reads_the_public_prior(shared_data):
    path = shared_data / "demo" / "paul15_demo.prior.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    raw, got = pd.read_parquet(path), read_base_network(path)
    assert len(got) == len(raw.drop_duplicates(["source", "target"]))
    assert {"collectri", "dorothea_A"} <= set(",".join(got["origin"]).split(","))


def test_rename_columns_prefers_the_name_itself_to_an_alias():
    frame = pd.DataFrame({"tf": ["no"], "source": ["yes"], "target": ["x"]})
    assert rename_columns(frame, ("source", "target"), "here")["source"].tolist() == ["yes"]
    assert list(frame) == ["tf", "source", "target"]  # the caller's frame is as it was
    receptors = pd.DataFrame({"receptor_complex": ["R"], "source": ["T"]})
    assert rename_columns(receptors, ("receptor", "tf"), "here")[["receptor", "tf"]].to_numpy().tolist() == [
        ["R", "T"]
    ]


def cut_in_half(content):
    return content[: len(content) // 2]


BAD_FILES = {
    "empty file": ("net.csv", b"", r"net.csv': cannot be read \(No columns.*\). Check that the file is whole."),
    "only a header": ("net.csv", b"source,target\n", "net.csv': has no rows. Give a table with at least one row."),
    "no name in any row": ("net.csv", b"TF,target\n,x\nA,\n", "'net.csv': names no edge. Fill its source and target"),
    "missing target": (
        "net.csv", b"TF,peak\nA,chr1\n",
        r"'net.csv'\['target'\]: is missing. Available: 'TF', 'peak'. Rename the column that holds it to 'target'",
    ),
    "missing source": ("net.tsv", b"motif\ttarget\nA\tB\n", r"'net.tsv'\['source'\]: is missing. Available: 'motif'"),
    "semicolons": ("net.csv", b"source;target\nA;B\n", r"\['source'\]: is missing. Available: 'source;target'"),
    "text as weight": (
        "net.csv", b"TF,target,score\nA,x,1\nB,y,high\nC,z,\n",
        r"'net.csv'\['score'\]: 2 weights are not numbers, the first is 'high' of B -> y. Repair or drop them",
    ),
    "infinite weight": ("net.csv", b"TF,target,weight\nA,x,inf\n", r"1 weights are not numbers, the first is 'inf'"),
    "damaged parquet": (
        "net.parquet", cut_in_half(EDGES.to_parquet()), r"net.parquet': cannot be read \(.*\). Check that the file is",
    ),
    "no parquet at all": ("net.parquet", b"PAR1", r"net.parquet': cannot be read"),
    "gzip cut short": (
        "net.csv.gz", cut_in_half(gzip.compress(b"source,target\n" + b"A,B\n" * 99, mtime=0)),
        r"net.csv.gz': cannot be read \(.*end-of-stream.*\). Check that the file is whole.",
    ),
    "gzip that is none": ("net.tsv.gz", b"source\ttarget\nA\tB\n", r"net.tsv.gz': cannot be read \(Not a gzipped file"),
    "rows of two lengths": ("net.csv", b"source,target\nA,B\nA,B,C,D\n", r"cannot be read \(.*Expected 2 .*saw 4\)\."),
    "other text encoding": ("net.csv", "source,target\n".encode("utf-16"), r"net.csv': cannot be read \('utf-8' codec"),
    "unknown format": ("net.xlsx", b"PK", "'net.xlsx': is not a known format. Give a parquet, CSV or TSV table."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_read_base_network_refuses(tmp_path, case):
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_base_network(tmp_path / name)


def test_read_table_refuses_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(InputError, match=re.escape(f"'{path}': there is no such file. Check the path.")):
            read_table(path)


def test_rename_columns_lists_the_columns_that_are_there():
    with pytest.raises(MissingColumnError, match=r"pairs\['ligand'\]: is missing. Available: 'a', 'b'"):
        rename_columns(pd.DataFrame({"a": [1], "b": [2]}), ("ligand",), "pairs")


# ---------------------------------------------------------------- the mask


@pytest.mark.parametrize("seed", range(4))
def test_assemble_prior_mask_equals_a_dense_oracle(seed):
    evidence, dataset = random_case(seed)
    prior, coverage = assemble_prior(evidence, dataset)
    expected = dense_oracle(evidence, dataset)
    dense = np.array([[(source, target) in expected for target in prior.targets] for source in prior.sources])
    np.testing.assert_array_equal(prior.mask(), dense)
    assert coverage.n_edges == prior.n_edges == prior.mask().sum() == len(expected)
    assert prior.density == pytest.approx(prior.mask().mean())
    assert set(prior.sources) == {source for source, _ in expected}
    assert set(prior.targets) == {target for _, target in expected}


@pytest.mark.parametrize("seed", range(4))
def test_assemble_prior_coverage_accounts_for_every_edge(seed):
    evidence, dataset = random_case(seed)
    _, coverage = assemble_prior(evidence, dataset)
    parts = asdict(coverage)
    assert parts["n_edges_given"] == len(evidence) == sum(
        parts[name] for name in ("n_edges", "n_self_edges_dropped", "n_edges_unmeasured", "n_edges_not_eligible")
    )  # fmt: skip
    assert min(parts.values()) > 0  # every case occurs, so that each count can be wrong


def test_assemble_prior_counts_what_it_drops():
    dataset = dataset_of(["A", "B", "x", "y", "rare"], eligible=["A", "B", "x", "y"], varying=["x"])
    pairs = [("A", "x"), ("A", "A"), ("B", "x"), ("A", "gone"), ("A", "rare"), ("rare", "x"), ("A", "y"), ("B", "A")]
    prior, coverage = assemble_prior(evidence_of(pairs), dataset)
    assert prior.to_table()[["source", "target"]].to_numpy().tolist() == [["B", "A"], ["A", "x"], ["B", "x"]]
    assert asdict(coverage) == {
        "n_edges_given": 8, "n_sources_given": 3, "n_targets_given": 5,
        "n_edges": 3, "n_sources": 2, "n_targets": 2,
        "n_self_edges_dropped": 1, "n_edges_unmeasured": 1, "n_edges_not_eligible": 3,
    }  # fmt: skip


def test_assemble_prior_keeps_cascades_between_tfs_that_are_not_highly_variable():
    dataset = dataset_of(["A", "B", "x", "y"], varying=["x"])
    prior, _ = assemble_prior(evidence_of([("A", "B"), ("B", "x"), ("A", "y")]), dataset)
    assert prior.to_table()[["source", "target"]].to_numpy().tolist() == [["A", "B"], ["B", "x"]]


def test_assemble_prior_does_not_depend_on_the_order_of_edges_or_genes():
    evidence, dataset = random_case()
    shuffled = Dataset(dataset.rna[:, ::-1].copy(), None, dataset.description, ())
    first, _ = assemble_prior(evidence, dataset)
    second, _ = assemble_prior(evidence.sample(frac=1, random_state=0), shuffled)
    pd.testing.assert_frame_equal(first.to_table(), second.to_table())


def test_prior_network_is_sorted_by_target_and_keeps_each_edge_with_its_weight():
    evidence, dataset = random_case()
    prior, _ = assemble_prior(evidence, dataset)
    pairs = list(zip(prior.target_index.tolist(), prior.source_index.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    weight = evidence.set_index(["source", "target"])["weight"]
    for row in prior.to_table().itertuples():
        assert row.weight == pytest.approx(weight[row.source, row.target], rel=1e-6)


def test_prior_network_from_table_is_the_inverse_of_to_table():
    evidence, dataset = random_case()
    prior, _ = assemble_prior(evidence.assign(origin=[f"o{i}" for i in range(len(evidence))]), dataset)
    again = PriorNetwork.from_table(prior.to_table().sample(frac=1, random_state=3))
    assert (again.sources, again.targets) == (prior.sources, prior.targets)
    pd.testing.assert_frame_equal(again.evidence, prior.evidence)
    for name in ("source_index", "target_index", "weight"):
        np.testing.assert_array_equal(getattr(again, name), getattr(prior, name))
    TABLES["prior_network"].validate(prior.to_table())


def test_assemble_prior_covers_the_planted_truth(simulated):
    dataset = read_dataset(DataDescription(name="s", file=simulated["data"]))
    prior, coverage = assemble_prior(read_base_network(simulated["prior"]), dataset)
    table = prior.to_table()
    candidates = set(zip(table["source"], table["target"], strict=True))
    truth = pd.read_parquet(simulated["truth"])
    found = [pair in candidates for pair in zip(truth["source"], truth["target"], strict=True)]
    assert np.mean(found) > 0.9
    assert coverage.n_edges > 3 * len(truth)  # decoys are candidates, too


# ---------------------------------------------------------------- priors that do not fit

SYMBOLS = ["GATA1", "KLF1", "SPI1", "CEBPA"]
ENSEMBL = [f"ENSG00000{i:06d}" for i in range(4)]
PAIRS = [("GATA1", "KLF1"), ("SPI1", "CEBPA")]


def test_assemble_prior_explains_ensembl_ids_against_symbols():
    with pytest.raises(
        PriorError, match="gene names are Ensembl ids and the prior uses symbols.*'ENSG.*'CEBPA'.*Set gene_key"
    ):
        assemble_prior(evidence_of(PAIRS), dataset_of(ENSEMBL))
    mouse = [(name.replace("ENSG", "ENSMUSG"), f"ENSMUSG0000099999{i}.2") for i, name in enumerate(ENSEMBL)]
    with pytest.raises(
        PriorError, match="prior uses Ensembl ids and the gene names are symbols.*Translate the prior"
    ):
        assemble_prior(evidence_of(mouse), dataset_of(SYMBOLS))


def test_assemble_prior_explains_the_case_of_another_species():
    with pytest.raises(PriorError, match=r"4 names agree but for case.*'Gata1'.*'CEBPA'.*another species.*orthologs"):
        assemble_prior(evidence_of(PAIRS), dataset_of([name.capitalize() for name in SYMBOLS]))


def test_assemble_prior_says_when_nothing_is_shared():
    with pytest.raises(PriorError, match=r"shares no edge with the data\. The data set has 'at1'.*the prior 'CEBPA'"):
        assemble_prior(evidence_of(PAIRS), dataset_of(["at1", "at2"]))


def test_assemble_prior_does_not_blame_the_species_when_names_agree():
    """TFs are measured, their targets are not: the spelling is right."""
    with pytest.raises(PriorError, match="names 2 of the 3 genes, but no edge has both its ends") as error:
        assemble_prior(evidence_of(PAIRS), dataset_of(["GATA1", "SPI1", "other"]))
    assert "species" not in str(error.value)


def test_assemble_prior_explains_edges_that_are_measured_but_not_eligible():
    dataset = dataset_of(SYMBOLS, eligible=["GATA1"])
    with pytest.raises(
        PriorError, match=r"2 of its edges are measured, but none .* vary. Lower min_cells \(now 10\)"
    ):
        assemble_prior(evidence_of(PAIRS), dataset)


def test_assemble_prior_explains_that_only_self_edges_are_measured():
    with pytest.raises(PriorError, match=r"only self edges are measured \(2 of 3 edges\).*never regulates itself"):
        assemble_prior(evidence_of([("GATA1", "GATA1"), ("KLF1", "KLF1"), ("GATA1", "gone")]), dataset_of(SYMBOLS))
