"""What leaves for other tools, read back with those tools against the tables it was made of; and what comes in."""

import json

import anndata
import mudata
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError
from scmagnify_core.exchange import (
    Results,
    as_ranking,
    choose_edges,
    edge_list,
    read_network,
    size_of,
    to_anndata,
    to_graph,
    to_mudata,
    write_edges,
    write_graph,
    write_object,
)

CELLS = [f"c{i}" for i in range(12)]
GENES = [f"g{i}" for i in range(8)]
ABOUT = {
    "dataset": "made", "file_sha256": "ab", "code_version": "1", "seeds": [0, 1],
    "materialization_ids": {"multiscale_network": "x", "dataset": "y"},
}  # fmt: skip


def edges_of(n=20, seed=0):
    """Body of `edges`: some edges have no weight, some no p-value, and the rows are not in the order of ranks."""
    rng = np.random.default_rng(seed)
    pairs = [(source, target) for source in GENES[:4] for target in GENES if source != target]
    pairs = [pairs[i] for i in rng.choice(len(pairs), n, replace=False)]
    signed = rng.normal(size=n).astype(np.float32)
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(
        score=np.abs(signed), signed_score=signed, lag=rng.uniform(1, 5, n).astype(np.float32),
        peak_lag=rng.integers(1, 6, n).astype(np.int16), n_seeds=np.int16(2),
        stability=rng.uniform(size=n).astype(np.float32), sign_agreement=np.float32(1), score_sd=np.float32(0),
    )  # fmt: skip
    frame["rank"] = frame["score"].rank(ascending=False).astype(np.int32)
    frame["is_selected"] = frame["rank"] <= 8
    frame["has_weight"] = pd.array(frame["rank"] <= 14, dtype="boolean")
    frame["pvalue"] = rng.uniform(0.001, 0.1, n)
    frame.loc[frame["rank"] % 5 == 0, "pvalue"] = np.nan
    frame["padj"] = frame["pvalue"] * 2
    return frame


def results_of(with_activities=True, seed=0):
    rng = np.random.default_rng(seed)
    rna = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(1.0, (len(CELLS), len(GENES))).astype(np.float32)),
        obs=pd.DataFrame(
            {"pseudotime": np.linspace(0, 1, len(CELLS)), "cluster": pd.Categorical(["a", "b"] * 6)}, CELLS
        ),
        var=pd.DataFrame({"mean_expression": np.float32(1)}, GENES),
    )
    rna.layers["counts"] = rna.X.copy()
    rna.obsm["X_embedding"] = rng.normal(size=(len(CELLS), 2)).astype(np.float32)
    edges = edges_of()
    network = pd.concat(
        [edges[["source", "target"]].assign(lag=np.int16(lag), weight=np.float32(lag)) for lag in (1, 2)]
    )
    factors = [f"RF{i}" for i in range(1, 12)]
    loadings = pd.DataFrame(
        [(name, mode, gene, np.float32(rng.normal())) for name in factors for mode, genes in
         (("source", GENES[:4]), ("target", GENES[1:])) for gene in genes],
        columns=["regfactor", "mode", "name", "loading"],
    )  # fmt: skip
    regfactors = pd.DataFrame({"regfactor": sorted(factors), "top_sources": "g0,g1", "peak_lag": np.int16(1)})

    def activity(key, names):
        table = pd.MultiIndex.from_product([CELLS, sorted(names)], names=["cell", key]).to_frame(index=False)
        n = len(table)
        values = {"activity": rng.normal(size=n).astype(np.float32), "pvalue": rng.uniform(size=n)}
        return table.assign(**values, padj=rng.uniform(size=n)).sample(frac=1, random_state=1)

    tf, regfactor = activity("source", GENES[:3]), activity("regfactor", factors)
    if not with_activities:
        tf, regfactor = tf.iloc[:0], regfactor.iloc[:0]
    dataset = Dataset(rna, None, DataDescription(name="made", file="made.h5ad"), ())
    return Results(dataset, choose_edges(edges), network, regfactors, loadings, tf, regfactor, ABOUT)


# ---------------------------------------------------------------- which edges


def test_choose_edges_keeps_what_the_model_keeps_strongest_first():
    edges = edges_of()
    chosen = choose_edges(edges)
    assert chosen["rank"].tolist() == list(range(1, 15))
    assert set(choose_edges(edges.sample(frac=1, random_state=3))["rank"]) == set(chosen["rank"])


def test_choose_edges_meets_every_condition_at_once():
    edges = edges_of()
    chosen = choose_edges(edges, selected=True, max_padj=0.1, top=3)
    expected = edges[edges["is_selected"] & edges["has_weight"] & (edges["padj"] <= 0.1)].nsmallest(3, "rank")
    assert chosen["rank"].tolist() == expected["rank"].tolist()
    assert choose_edges(edges, max_padj=1.0)["padj"].notna().all()  # an unknown rate is not known to be small


def test_choose_edges_of_an_older_product_takes_edges_with_a_score():
    edges = edges_of().assign(has_weight=pd.array([None] * 20, dtype="boolean"))
    edges.loc[edges["rank"] > 17, "score"] = 0
    assert choose_edges(edges)["rank"].max() == 17


def test_choose_edges_refuses_to_leave_none_and_says_what_there_is():
    with pytest.raises(
        InputError, match=r"none of the 14 edges that the model keeps passes; the smallest padj is 0\.0"
    ):
        choose_edges(edges_of(), max_padj=1e-9)


# ---------------------------------------------------------------- lists of edges


def test_edge_list_of_decoupler_is_signed_and_taken_by_it():
    from decoupler.pp import prune

    edges = choose_edges(edges_of())
    net = edge_list(edges)
    assert list(net) == ["source", "target", "weight"]
    np.testing.assert_array_equal(net["weight"], edges["signed_score"])
    assert (net["weight"] < 0).any()
    assert len(prune(np.array(GENES), net, tmin=1)) == len(net)


def test_edge_list_of_celloracle_has_its_columns_and_their_meaning():
    edges = choose_edges(edges_of())
    edges.loc[0, "pvalue"] = 0.0
    links = edge_list(edges, "celloracle")
    assert list(links) == ["source", "target", "coef_mean", "coef_abs", "p", "-logp"]
    np.testing.assert_array_equal(links["coef_abs"], links["coef_mean"].abs())
    known = links.iloc[1:].dropna()
    np.testing.assert_allclose(10 ** -known["-logp"], known["p"])
    assert 300 < links.loc[0, "-logp"] < 400  # finite
    assert links["-logp"].isna().equals(edges["pvalue"].isna())


def test_edge_list_of_scenic_is_strength():
    edges = choose_edges(edges_of())
    adjacencies = edge_list(edges, "scenic")
    assert list(adjacencies) == ["TF", "target", "importance"]
    np.testing.assert_array_equal(adjacencies["importance"], edges["score"])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("layout", ["decoupler", "celloracle", "scenic"])
def test_write_edges_gives_back_every_digit(tmp_path, suffix, layout):
    edges = edge_list(choose_edges(edges_of()), layout)
    path = tmp_path / f"net.{suffix}"
    write_edges(edges, path, ABOUT)
    read = pd.read_parquet(path) if suffix == "parquet" else pd.read_csv(path, sep="," if suffix == "csv" else "\t")
    pd.testing.assert_frame_equal(read.astype(edges.dtypes), edges)
    if suffix == "parquet":
        assert json.loads(pq.read_schema(path).metadata[b"scmagnify"]) == ABOUT


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("suffix", ["graphml", "gexf"])
def test_write_graph_is_read_back_with_types_and_all_edges(tmp_path, suffix):
    edges, results = choose_edges(edges_of()), results_of()
    genes = pd.DataFrame({"gene": GENES, "mean_expression": np.linspace(0, 1, len(GENES), dtype=np.float32)})
    graph = to_graph(edges, GENES[:4], genes, results.regfactor_loadings, ABOUT)
    path = tmp_path / f"net.{suffix}"
    write_graph(graph, path)
    read = (nx.read_graphml if suffix == "graphml" else nx.read_gexf)(path)
    assert read.is_directed()
    assert set(read.edges) == set(zip(edges["source"], edges["target"], strict=True))
    kinds = {"score": float, "signed_score": float, "lag": float, "stability": float, "weight": float, "rank": int}
    kinds |= {"peak_lag": int, "is_selected": bool, "interaction": str, "padj": float, "pvalue": float}
    for row in edges.to_dict("records"):
        found = read.edges[row["source"], row["target"]]
        for name, kind in kinds.items():
            if name in ("weight", "interaction"):
                continue
            if pd.isna(row[name]):
                assert name not in found
                continue
            assert type(found[name]) is kind, name
            assert found[name] == pytest.approx(row[name])
        assert found["weight"] == pytest.approx(row["score"])
        assert found["interaction"] == ("represses" if row["signed_score"] < 0 else "activates")
    for gene, found in read.nodes.items():
        assert found["is_tf"] is (gene in GENES[:4])
        assert found["out_degree"] == (edges["source"] == gene).sum()
        assert found["in_degree"] == (edges["target"] == gene).sum()
        assert found["mean_expression"] == pytest.approx(genes.set_index("gene")["mean_expression"][gene])
    if suffix == "graphml":
        assert read.graph["file_sha256"] == "ab"


def test_to_graph_names_the_regfactor_of_the_largest_loading_by_brute_force():
    edges, loadings = choose_edges(edges_of()), results_of().regfactor_loadings
    graph = to_graph(edges, loadings=loadings)
    for gene, found in graph.nodes.items():
        mode = "target" if gene in GENES[1:] else "source"
        rows = loadings[(loadings["name"] == gene) & (loadings["mode"] == mode)]
        best = max(rows.to_dict("records"), key=lambda row: abs(row["loading"]))
        assert (found["regfactor"], found["regfactor_loading"]) == (best["regfactor"], pytest.approx(best["loading"]))


def test_to_graph_does_not_depend_on_the_order_of_rows():
    edges = choose_edges(edges_of())
    one, other = to_graph(edges), to_graph(edges.sample(frac=1, random_state=0))
    assert nx.utils.graphs_equal(one, other)


# ---------------------------------------------------------------- AnnData and MuData


def test_to_anndata_leaves_activities_as_decoupler_does():
    """The same keys, kinds, index and order of columns as decoupler's own multivariate linear model leaves."""
    import decoupler

    results = results_of()
    ours = to_anndata(results)
    theirs = results.dataset.rna.copy()
    rng = np.random.default_rng(0)
    theirs.X = rng.normal(size=theirs.shape)
    net = pd.DataFrame(
        [(tf, gene, rng.normal()) for tf in reversed(GENES[:3]) for gene in GENES[2:]],
        columns=["source", "target", "weight"],
    )
    decoupler.mt.mlm(theirs, net, tmin=3)
    for key in ("score_mlm", "padj_mlm"):
        assert type(ours.obsm[key]) is type(theirs.obsm[key]) is pd.DataFrame
        pd.testing.assert_index_equal(ours.obsm[key].index, theirs.obsm[key].index)
        pd.testing.assert_index_equal(ours.obsm[key].columns, theirs.obsm[key].columns, exact=False)
    activities = decoupler.pp.get_obsm(ours, "score_mlm")
    table = results.tf_activity.set_index(["cell", "source"])["activity"]
    for cell in CELLS:
        for gene in GENES[:3]:
            assert activities[cell, gene].X[0, 0] == table[cell, gene]


def test_to_anndata_holds_loadings_by_gene_and_regfactors_in_order():
    results = results_of()
    data = to_anndata(results)
    loadings = data.varm["regfactor_loadings"]
    assert list(loadings) == [f"RF{i}" for i in range(1, 12)]
    assert list(data.obsm["score_regfactor"]) == list(loadings)
    table = results.regfactor_loadings.query("mode == 'target'").set_index(["name", "regfactor"])["loading"]
    assert (loadings.loc["g0"] == 0).all()  # no target
    for gene in GENES[1:]:
        for name in loadings:
            assert loadings.loc[gene, name] == table[gene, name]
    assert data.var["is_tf"].tolist() == [gene in set(results.multiscale_network["source"]) for gene in GENES]


def test_to_anndata_does_not_change_the_data_set():
    results = results_of()
    to_anndata(results)
    to_mudata(results)
    assert not results.dataset.rna.uns
    assert list(results.dataset.rna.obsm) == ["X_embedding"]
    assert list(results.dataset.rna.var) == ["mean_expression"]


@pytest.mark.parametrize("suffix", ["h5ad", "h5mu"])
def test_write_object_comes_back_equal(tmp_path, suffix):
    results = results_of()
    path = tmp_path / f"made.{suffix}"
    write_object(to_anndata(results) if suffix == "h5ad" else to_mudata(results), path)
    if suffix == "h5ad":
        read = rna = anndata.read_h5ad(path)
    else:
        read = mudata.read_h5mu(path)
        rna = read["rna"]
        assert list(read.mod) == ["rna", "tf_activity", "regfactor_activity"]
        assert {"pseudotime", "cluster"} <= set(read.obs)
        with mudata.set_options(pull_on_update=False):  # what mudata will do by itself from 0.4 on
            assert list(mudata.read_h5mu(path).obs) == ["pseudotime", "cluster"]
        assert read[CELLS[:5]]["tf_activity"][:, "g1"].shape == (5, 1)  # although g1 is a gene of the RNA, too
        for name, key in (("tf_activity", "score_mlm"), ("regfactor_activity", "score_regfactor")):
            pd.testing.assert_frame_equal(read[name].to_df(), rna.obsm[key], check_names=False)
            assert read[name].obsm["X_embedding"].shape == (len(CELLS), 2)
            assert list(read[name].obs) == ["pseudotime", "cluster"]
        assert read["regfactor_activity"].var["top_sources"].tolist() == ["g0,g1"] * 11
    np.testing.assert_array_equal(rna.layers["counts"].toarray(), results.dataset.rna.X.toarray())
    edges = read.uns["edges"]
    expected = results.edges.assign(weight=results.edges["signed_score"])[list(edges)]
    pd.testing.assert_frame_equal(edges.reset_index(drop=True), expected, check_dtype=False)
    pairs = set(zip(edges["source"], edges["target"], strict=True))
    by_lag = read.uns["multiscale_network"]
    assert set(zip(by_lag["source"], by_lag["target"], strict=True)) == pairs
    assert len(by_lag) == 2 * len(pairs)
    about = read.uns["scmagnify"]
    assert about["file_sha256"] == "ab"
    assert about["materialization_ids"] == ABOUT["materialization_ids"]
    assert list(about["seeds"]) == [0, 1]


@pytest.mark.parametrize("make", [to_anndata, to_mudata])
def test_size_of_is_not_below_that_of_the_file(tmp_path, make):
    """Of noise, which does not compress."""
    results = results_of()
    noise = np.random.default_rng(0).normal(size=(len(CELLS), 40_000)).astype(np.float32)
    results.dataset.rna.obsm["X_pca"] = noise
    value = make(results)
    write_object(value, tmp_path / "made")
    size = (tmp_path / "made").stat().st_size
    assert noise.nbytes * 0.8 < size <= size_of(value) < 4 * size


@pytest.mark.parametrize("make", [to_anndata, to_mudata])
def test_activities_that_could_not_be_estimated_are_left_out(tmp_path, make):
    value = make(results_of(with_activities=False))
    write_object(value, tmp_path / "made")
    rna = value["rna"] if make is to_mudata else value
    assert "score_mlm" not in rna.obsm
    if make is to_mudata:
        assert list(value.mod) == ["rna"]


# ---------------------------------------------------------------- networks made elsewhere


def written(frame, path):
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("layout", ["decoupler", "celloracle", "scenic"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_read_network_takes_back_what_edge_list_gave(tmp_path, layout, suffix):
    edges = choose_edges(edges_of())
    path = tmp_path / f"net.{suffix}"
    write_edges(edge_list(edges, layout), path, ABOUT)
    read, notes = read_network("again", path, GENES)
    assert notes == ("14 of 14 edges of again are between measured genes",)
    assert read["rank"].tolist() == list(range(1, 15))
    assert read[["source", "target"]].equals(edges[["source", "target"]])
    weight = edges["score"] if layout == "scenic" else edges["signed_score"]
    np.testing.assert_array_equal(read["weight"].astype(np.float32), weight)


def test_read_network_merges_repeats_and_leaves_out_what_cannot_be_compared(tmp_path):
    frame = pd.DataFrame(
        [("g0", "g1", 0.5), ("g0", "g1", -2.0), ("g1", "g1", 9.0), ("g0", "elsewhere", 5.0), ("g2", "g0", 1.0)],
        columns=["source", "target", "coef_mean"],
    ).assign(coef_abs=lambda frame: frame["coef_mean"].abs(), p=0.01)
    read, notes = read_network("oracle", written(frame, tmp_path / "links.csv"), GENES)
    assert read.to_numpy().tolist() == [["g0", "g1", -2.0, 1], ["g2", "g0", 1.0, 2]]
    assert notes == (
        "2 of 5 edges of oracle are between measured genes",
        "1 rows repeat an edge: the largest absolute weight counts",
        "1 edges of a gene to itself were left out",
    )


def test_read_network_does_not_depend_on_the_order_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"TF": rng.choice(GENES, 60), "target": rng.choice(GENES, 60), "importance": rng.integers(0, 5, 60)}
    )
    first, _ = read_network("x", written(frame, tmp_path / "a.csv"), GENES)
    other, _ = read_network("x", written(frame.sample(frac=1, random_state=2), tmp_path / "b.csv"), GENES)
    pd.testing.assert_frame_equal(first, other)
    known = frame[frame["TF"] != frame["target"]].groupby(["TF", "target"])["importance"].max()
    assert {(s, t): w for s, t, w, _ in first.itertuples(index=False)} == known.to_dict()


def test_read_network_without_weights_says_that_its_order_is_none(tmp_path):
    _, notes = read_network("bare", written(edges_of()[["source", "target"]], tmp_path / "bare.csv"), GENES)
    assert notes[-1] == "all its weights are the same, so its order says nothing"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([("ENSG00000139618", "ENSG00000141510", 1.0)], "network 'x' .'net.csv'.: .*the network uses Ensembl ids"),
        ([("G0", "G1", 1.0), ("G2", "G3", 1.0)], "4 names agree but for case"),
        ([("a", "b", 1.0)], "shares no edge with the data. The data set has 'g0'"),
        ([("g1", "g1", 1.0)], "no edge between two measured genes but of genes to themselves"),
        ([("g1", "g2", None)], "1 weights are not numbers, the first is 'nan' of g1 -> g2"),
    ],
)
def test_read_network_says_why_a_network_cannot_be_compared(tmp_path, frame, message):
    path = written(pd.DataFrame(frame, columns=["source", "target", "weight"]), tmp_path / "net.csv")
    with pytest.raises(InputError, match=message):
        read_network("x", path, GENES)


def test_as_ranking_knows_a_sign_only_where_some_weight_is_negative():
    edges = pd.DataFrame({"source": ["g0", "g0"], "target": ["g1", "g2"], "weight": [-2.0, 1.0]})
    signed = as_ranking(edges)
    assert signed["score"].tolist() == [2.0, 1.0]
    assert signed["signed_score"].tolist() == [-2.0, 1.0]
    assert as_ranking(edges.assign(weight=[3.0, 1.0]))["signed_score"].isna().all()
