"""Reading a data set: against scanpy, under permutation, and every file that must be refused."""

import hashlib
import re
import shutil
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy
from pydantic import ValidationError
from scipy import sparse, stats

from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.reading import file_sha256
from scmagnify_core.data.trajectory import diffusion_pseudotime, principal_components
from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.tables.catalogue import TABLES

N_CELLS, N_GENES = 80, 20


def made(n_cells=N_CELLS, n_genes=N_GENES, seed=0):
    """Counts of genes that are waves along pseudotime, with a lineage, a stage and a library size."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0.1, 1, n_cells)
    rate = 4 * np.exp(np.sin(4 * time[:, None] + np.arange(n_genes)))
    obs = pd.DataFrame(
        {
            "pseudotime": time,
            "lineage": pd.Categorical(np.where(np.arange(n_cells) % 2, "odd", "even")),
            "stage": pd.Categorical(np.where(time < 0.25, "first", "later")),
            "size": np.linspace(100, 900, n_cells),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))


def multiome(rna=None, cells=None):
    """Both modalities; ATAC has the ``cells`` in that order, its first peak holding the cell's number."""
    rna = made() if rna is None else rna
    cells = list(rna.obs_names) if cells is None else list(cells)
    values = np.ones((len(cells), 3), dtype=np.float32)
    values[:, 0] = [int(cell.removeprefix("cell").removeprefix("other")) for cell in cells]
    peaks = pd.DataFrame(index=["chr1:1-9", "chr1:20-29", "chr1:40-49"])
    atac = anndata.AnnData(sparse.csr_matrix(values), obs=pd.DataFrame(index=cells), var=peaks)
    with mudata.set_options(pull_on_update=False):
        return mudata.MuData({"rna": rna, "atac": atac})


@pytest.fixture
def read(tmp_path):
    """Write an object to a file and read it as a data set."""

    def inner(data, **settings):
        path = tmp_path / ("made.h5ad" if isinstance(data, anndata.AnnData) else "made.h5mu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the writers warn of what these tests are about
            data.write(path)
        return read_dataset(DataDescription(name="made", file=path, **settings))

    return inner


def scanpy_normalised(counts):
    """The field's reference: 10,000 counts per cell, then log1p."""
    work = anndata.AnnData(sparse.csr_matrix(counts).astype(np.float32).copy())
    scanpy.pp.normalize_total(work, target_sum=1e4)
    scanpy.pp.log1p(work)
    return work.X.toarray()


def dense(dataset):
    return dataset.rna.X.toarray()


# ---------------------------------------------------------------- reading and normalising


def test_read_dataset_normalises_as_scanpy_does_over_all_genes(read):
    data = made()
    got = read(data, n_top_genes=5, min_cells=60)  # neither setting may touch a size factor
    assert got.rna.shape == data.shape
    assert sparse.isspmatrix_csr(got.rna.X)
    assert got.rna.X.dtype == np.float32
    np.testing.assert_allclose(dense(got), scanpy_normalised(data.X), rtol=1e-6)
    np.testing.assert_array_equal(got.rna.obs["n_counts"], data.X.toarray().sum(axis=1))
    assert any("over all 20 genes" in note for note in got.notes)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, lambda matrix: matrix.toarray().astype(int)])
def test_read_dataset_gives_the_same_values_for_every_storage_of_the_matrix(read, form):
    data = made()
    expected = scanpy_normalised(data.X)
    data.X = form(data.X)
    np.testing.assert_allclose(dense(read(data)), expected, rtol=1e-6)


def test_read_dataset_reads_h5mu_with_both_modalities(simulated):
    raw = mudata.read_h5mu(simulated["data"])
    got = read_dataset(DataDescription(name="s", file=simulated["data"]))
    np.testing.assert_allclose(dense(got), scanpy_normalised(raw["rna"].X), rtol=1e-6)
    np.testing.assert_array_equal(got.rna.layers["counts"].toarray(), raw["rna"].X.toarray())
    np.testing.assert_array_equal(got.pseudotime, raw["rna"].obs["pseudotime"])
    assert list(got.atac.obs_names) == list(got.cells) == list(raw["rna"].obs_names)
    assert (got.atac.X != raw["atac"].X).nnz == 0
    assert list(got.labels("cluster")) == list(raw["rna"].obs["cell_type"])
    assert list(got.labels("lineage")) == list(raw["rna"].obs["lineage"])
    assert got.labels("sample") is None  # a sample is never guessed


def test_read_dataset_takes_columns_of_the_whole_h5mu_as_columns_of_its_cells(read):
    data = multiome()
    del data["rna"].obs["pseudotime"]
    data.update()
    data.obs["latent_time"] = np.arange(N_CELLS, dtype=float)[::-1]
    np.testing.assert_array_equal(read(data).pseudotime, np.arange(N_CELLS)[::-1])


def test_read_dataset_keeps_counts_and_the_file_untouched(tmp_path):
    path = tmp_path / "made.h5ad"
    data = made()
    data.write_h5ad(path)
    before = path.read_bytes()
    got = read_dataset(DataDescription(name="made", file=path))
    np.testing.assert_array_equal(got.rna.layers["counts"].toarray(), data.X.toarray())
    assert not np.array_equal(dense(got), data.X.toarray())
    assert path.read_bytes() == before


def test_read_dataset_is_the_same_bit_for_bit_when_read_again(simulated):
    first, second = (read_dataset(DataDescription(name="s", file=simulated["data"])) for _ in range(2))
    assert np.array_equal(first.rna.X.data, second.rna.X.data)
    assert np.array_equal(first.rna.obsm["X_pca"], second.rna.obsm["X_pca"])


def test_read_dataset_uses_the_library_size_that_the_file_records(read):
    data = made()
    got = read(data, library_size_key="size")
    expected = np.log1p(data.X.toarray() * 1e4 / data.obs["size"].to_numpy()[:, None])
    np.testing.assert_allclose(dense(got), expected, rtol=1e-5)
    np.testing.assert_allclose(got.rna.obs["n_counts"], data.obs["size"])
    assert any("obs['size']" in note for note in got.notes)


def test_read_dataset_takes_whole_numbers_for_counts_and_others_for_log_values(read):
    data = made()
    assert "counts" in read(data).rna.layers
    logged = np.log1p(data.X.toarray() / 3)
    data.X = sparse.csr_matrix(logged)
    got = read(data)
    np.testing.assert_array_equal(dense(got), logged.astype(np.float32))
    assert "counts" not in got.rna.layers
    assert "n_counts" not in got.rna.obs
    assert got.cells_table()["n_counts"].isna().all()
    assert any("no counts are kept" in note for note in got.notes)


def test_read_dataset_believes_a_declared_kind_of_values(read):
    data = made()
    np.testing.assert_array_equal(
        dense(read(data, values="log")), data.X.toarray()
    )  # whole numbers, yet declared log
    np.testing.assert_allclose(dense(read(data, values="counts")), scanpy_normalised(data.X), rtol=1e-6)


def test_read_dataset_reads_the_layer_it_is_told(read):
    data, other = made(), made(seed=1).X
    data.layers["spliced"] = other
    np.testing.assert_allclose(dense(read(data, layer="spliced")), scanpy_normalised(other), rtol=1e-6)
    data.X = None
    np.testing.assert_allclose(dense(read(data, layer="spliced")), scanpy_normalised(other), rtol=1e-6)


def test_read_dataset_names_genes_by_gene_key(read):
    data = made()
    data.var["symbol"] = [f"SYM{i}" for i in range(N_GENES)]
    assert list(read(data, gene_key="symbol").genes) == [f"SYM{i}" for i in range(N_GENES)]


def test_read_dataset_keeps_only_the_lineages_asked_for(read):
    data = multiome()
    got = read(data, lineages=("odd",))
    assert list(got.cells) == [f"cell{i}" for i in range(1, N_CELLS, 2)]
    assert set(got.labels("lineage")) == {"odd"}
    np.testing.assert_array_equal(got.atac.X.toarray()[:, 0], np.arange(1, N_CELLS, 2))
    assert (
        read(data, lineages=("first",), lineage_key="stage").rna.n_obs == (data["rna"].obs["stage"] == "first").sum()
    )


@pytest.mark.parametrize("dtype", ["float64", "Int64"])
def test_read_dataset_leaves_out_cells_without_pseudotime_and_says_so(read, dtype):
    rna = made()
    whole = scanpy_normalised(rna.X)
    rna.obs["pseudotime"] = pd.array([None, *range(N_CELLS - 2), None], dtype="Int64").astype(dtype)
    got = read(multiome(rna))
    assert list(got.cells) == [f"cell{i}" for i in range(1, N_CELLS - 1)]
    np.testing.assert_array_equal(got.pseudotime, np.arange(N_CELLS - 2))
    np.testing.assert_allclose(dense(got), whole[1:-1], rtol=1e-6)
    np.testing.assert_array_equal(got.atac.X.toarray()[:, 0], np.arange(1, N_CELLS - 1))
    assert "2 cells without a value in obs['pseudotime'] were left out." in got.notes


def test_read_dataset_aligns_atac_to_the_barcodes_of_rna(read):
    """ATAC in another order, without some cells of RNA and with cells of its own."""
    cells = [f"cell{i}" for i in range(N_CELLS - 1, 9, -1)] + ["other900"]
    got = read(multiome(cells=cells))
    assert list(got.cells) == list(got.atac.obs_names) == [f"cell{i}" for i in range(10, N_CELLS)]
    np.testing.assert_array_equal(got.atac.X.toarray()[:, 0], np.arange(10, N_CELLS))
    np.testing.assert_allclose(got.pseudotime, made().obs["pseudotime"].to_numpy()[10:])


def test_read_dataset_uses_given_principal_components_and_embedding(read):
    data = made()
    pca = np.random.default_rng(1).normal(size=(N_CELLS, 4)).astype(np.float32)
    data.obsm["mine"] = pca
    data.obsm["X_umap"] = pd.DataFrame(pca[:, 2:], index=data.obs_names, columns=["a", "b"])
    got = read(data, pca_key="mine")
    np.testing.assert_array_equal(got.rna.obsm["X_pca"], pca)
    np.testing.assert_array_equal(got.rna.obsm["X_embedding"], pca[:, 2:])
    assert any("obsm['mine'] of the file is used" in note for note in got.notes)


def test_read_dataset_computes_principal_components_where_none_are_given(read):
    got = read(made())
    np.testing.assert_array_equal(got.rna.obsm["X_pca"], principal_components(got.rna.X))
    np.testing.assert_array_equal(got.rna.obsm["X_embedding"], got.rna.obsm["X_pca"][:, :2])


def test_read_dataset_draws_a_single_component_flat(read):
    data = made()
    data.obsm["X_umap"] = np.ones((N_CELLS, 1), dtype=np.float32)
    table = read(data).cells_table()
    assert set(table["embedding_1"]) == {1.0}
    assert set(table["embedding_2"]) == {0.0}


def test_read_dataset_keeps_a_given_transition_graph(read):
    data = multiome()
    graph = sparse.random(N_CELLS, N_CELLS, density=0.1, random_state=0, format="csr", dtype=np.float32)
    data["rna"].obsp["velocity"] = graph
    assert "transition" not in read(data).rna.obsp
    got = read(data, transition_key="velocity", lineages=("odd",))
    np.testing.assert_array_equal(got.rna.obsp["transition"].toarray(), graph.toarray()[1::2, 1::2])


def test_read_dataset_marks_at_most_n_top_genes_as_highly_variable(read):
    data = made()
    few, all_ = read(data, n_top_genes=6).rna.var, read(data, n_top_genes=None).rna.var
    assert few["is_highly_variable"].sum() == 6
    assert all_["is_highly_variable"].all()
    work = anndata.AnnData(read(data).rna.X)
    marks = scanpy.pp.highly_variable_genes(work, n_top_genes=6, inplace=False)["highly_variable"].to_numpy()
    assert marks.sum() > 6  # scanpy's choice has ties here
    assert marks[few["is_highly_variable"]].all()


def test_read_dataset_marks_genes_eligible_that_are_detected_and_vary(read):
    data = made()
    values = np.log1p(data.X.toarray())
    values[:, 0] = 3.3  # constant: float32 sums leave a variance of 1e-4 that is not there
    values[:, 1] = 0
    values[:7, 1] = 1.5
    values[:, 2] = 0
    values[:8, 2] = 1.5
    data.X = sparse.csr_matrix(values.astype(np.float32))
    var = read(data, min_cells=8).rna.var
    assert list(var["is_eligible"][:3]) == [False, False, True]
    assert list(var["n_cells"][:3]) == [N_CELLS, 7, 8]
    np.testing.assert_allclose(var["mean_expression"], values.mean(axis=0), rtol=1e-5)
    assert not (var["is_highly_variable"] & ~var["is_eligible"]).any()


@pytest.mark.parametrize("values", ["counts", "log"])
def test_read_dataset_does_not_take_a_stored_zero_for_a_detection(read, values):
    data = made()
    matrix = data.X.copy()
    matrix.data[matrix.indices == 0] = 0
    data.X = matrix
    var = read(data, values=values).rna.var
    assert var["n_cells"].iloc[0] == 0
    assert not var["is_eligible"].iloc[0]


def test_read_dataset_prefers_the_time_it_is_told_and_the_usual_names_otherwise(read):
    data = made()
    data.obs["mine"] = np.arange(N_CELLS)
    np.testing.assert_array_equal(read(data, time_key="mine").pseudotime, np.arange(N_CELLS))
    data.obs = data.obs.rename(columns={"pseudotime": "latent_time"})
    np.testing.assert_array_equal(read(data).pseudotime, made().obs["pseudotime"])


def test_read_dataset_takes_group_columns_by_name_and_says_when_it_guesses(read):
    data = made()
    data.obs["leiden"] = "x"
    guessed, told = read(data), read(data, cluster_key="stage", sample_key="stage")
    assert set(guessed.labels("cluster")) == {"x"}
    assert "obs['leiden'] is taken as the cluster." in guessed.notes
    assert list(told.labels("cluster")) == list(told.labels("sample")) == list(data.obs["stage"])


def test_read_dataset_permuting_cells_permutes_the_result(read):
    data = made()
    order = np.random.default_rng(2).permutation(N_CELLS)
    first, second = read(data), read(data[order].copy())
    assert list(second.cells) == list(first.cells[order])
    np.testing.assert_array_equal(dense(second), dense(first)[order])
    np.testing.assert_array_equal(second.pseudotime, first.pseudotime[order])
    np.testing.assert_allclose(second.rna.obsm["X_pca"], first.rna.obsm["X_pca"][order], atol=1e-4)
    pd.testing.assert_frame_equal(second.genes_table(), first.genes_table(), check_exact=False, atol=1e-5)


def test_dataset_expression_gives_the_columns_in_the_order_asked_for(read):
    got = read(made())
    np.testing.assert_array_equal(got.expression(["gene7", "gene2"]), dense(got)[:, [7, 2]])
    with pytest.raises(KeyError, match="not in the data set: 'nowhere'"):
        got.expression(["gene1", "nowhere"])


def test_dataset_tables_match_their_declarations(read, simulated):
    for got in (read(made()), read_dataset(DataDescription(name="s", file=simulated["data"], sample_key="sample"))):
        cells = TABLES["cells"].validate(got.cells_table()).to_pandas().set_index("cell")
        genes = TABLES["genes"].validate(got.genes_table()).to_pandas().set_index("gene")
        np.testing.assert_array_equal(cells.loc[got.cells, "pseudotime"], got.pseudotime)
        np.testing.assert_array_equal(
            cells.loc[got.cells, "n_counts"], got.rna.layers["counts"].toarray().sum(axis=1)
        )
        np.testing.assert_array_equal(genes.loc[got.genes, "n_cells"], (dense(got) > 0).sum(axis=0))


# ---------------------------------------------------------------- files


def test_dataset_load_reads_back_what_write_wrote(read, tmp_path):
    data = multiome()
    data["rna"].obsp["velocity"] = sparse.eye(N_CELLS, format="csr", dtype=np.float32)
    first = read(data, transition_key="velocity", lineages=("even",))
    first.write(tmp_path / "stored.h5mu")
    second = Dataset.load(tmp_path / "stored.h5mu")
    assert second.description == first.description
    assert second.notes == first.notes
    pd.testing.assert_frame_equal(second.rna.obs, first.rna.obs, check_names=False)
    pd.testing.assert_frame_equal(second.rna.var, first.rna.var, check_names=False)
    for name in ("X_pca", "X_embedding"):
        np.testing.assert_array_equal(second.rna.obsm[name], first.rna.obsm[name])
    for one, other in (
        (second.rna.X, first.rna.X),
        (second.rna.layers["counts"], first.rna.layers["counts"]),
        (second.rna.obsp["transition"], first.rna.obsp["transition"]),
        (second.atac.X, first.atac.X),
    ):
        assert one.dtype == other.dtype
        assert (one != other).nnz == 0
    pd.testing.assert_frame_equal(second.cells_table(), first.cells_table())


def test_dataset_load_equals_what_mudata_reads(read, tmp_path):
    path = tmp_path / "stored.h5mu"
    read(multiome()).write(path)
    stored, whole = Dataset.load(path), mudata.read_h5mu(path)
    for own, other in ((stored.rna, whole["rna"]), (stored.atac, whole["atac"])):
        pd.testing.assert_frame_equal(own.obs, other.obs)
        pd.testing.assert_frame_equal(own.var, other.var)
        assert type(own.X) is type(other.X)
        assert (own.X != other.X).nnz == 0
        assert set(own.layers) == set(other.layers)
        assert set(own.obsm) == set(other.obsm)
        assert all(np.array_equal(own.obsm[name], other.obsm[name]) for name in own.obsm)
        assert own.uns.keys() == other.uns.keys()


def test_dataset_load_reads_back_a_data_set_without_atac(read, tmp_path):
    read(made()).write(tmp_path / "stored.h5mu")
    assert Dataset.load(tmp_path / "stored.h5mu").atac is None


def test_dataset_write_twice_gives_identical_bytes(simulated, tmp_path):
    """The lakehouse names artefacts by their content."""
    description = DataDescription(name="s", file=simulated["data"])
    dataset = read_dataset(description)
    dataset.write(tmp_path / "a.h5mu")
    dataset.write(tmp_path / "b.h5mu")
    read_dataset(description).write(tmp_path / "c.h5mu")
    assert file_sha256(tmp_path / "a.h5mu") == file_sha256(tmp_path / "b.h5mu") == file_sha256(tmp_path / "c.h5mu")


def test_file_sha256_equals_hashlib(tmp_path):
    path = tmp_path / "any"
    path.write_bytes(b"content" * 1000)
    assert file_sha256(path) == hashlib.sha256(b"content" * 1000).hexdigest()
    with pytest.raises(InputError, match=r"nowhere': there is no such file\. Check the path"):
        file_sha256(tmp_path / "nowhere")


def test_read_dataset_reads_the_public_h5ad(shared_data):
    path = shared_data / "demo" / "paul15_demo.h5ad"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    got = read_dataset(
        DataDescription(name="paul15", file=path, library_size_key="total_counts", lineages=("erythroid",))
    )
    raw = anndata.read_h5ad(path)
    raw = raw[raw.obs["lineage"] == "erythroid"]
    assert got.rna.shape == raw.shape
    assert got.atac is None
    expected = np.log1p(raw.X.toarray() * 1e4 / raw.obs["total_counts"].to_numpy()[:, None])
    np.testing.assert_allclose(dense(got), expected, rtol=1e-4)
    np.testing.assert_allclose(got.rna.obsm["X_embedding"], raw.obsm["X_umap"])
    assert set(got.labels("cluster")) == set(raw.obs["cell_type"])
    assert got.rna.var["is_highly_variable"].sum() > 500


def test_read_dataset_reads_the_public_h5mu(shared_data):
    path = shared_data / "multiome" / "a549_scicar_dex.h5mu"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    got = read_dataset(DataDescription(name="a549", file=path, time_key="time_h", cluster_key="condition"))
    assert got.rna.shape == (2641, 1185)
    assert got.atac.shape == (2641, 5949)
    assert list(got.atac.obs_names) == list(got.cells)
    assert set(got.pseudotime) == {0, 1, 3}
    TABLES["cells"].validate(got.cells_table())


# ---------------------------------------------------------------- pseudotime from a root


@pytest.fixture(scope="module")
def planted(simulated):
    return read_dataset(DataDescription(name="s", file=simulated["data"]))


@pytest.mark.parametrize("how", ["barcode", "cluster", "column=value"])
def test_diffusion_pseudotime_recovers_the_planted_order(simulated, planted, how):
    first = planted.cells[int(np.argmin(planted.pseudotime))]
    root = {"barcode": first, "cluster": "progenitor", "column=value": "cell_type=progenitor"}[how]
    got = read_dataset(DataDescription(name="s", file=simulated["data"], root=root))
    assert abs(stats.spearmanr(got.pseudotime, planted.pseudotime).statistic) > 0.8
    start = got.cells[int(np.argmin(got.pseudotime))]
    assert got.pseudotime.min() == 0
    assert (got.pseudotime == 0).sum() == 1
    if how == "barcode":
        assert start == root
    else:
        assert planted.labels("cluster")[planted.cells.get_loc(start)] == "progenitor"
    assert any(f"computed from the root '{root}'" in note for note in got.notes)


def test_diffusion_pseudotime_takes_a_root_from_the_column_that_it_names(read):
    """The file has a column 'cluster', but another one is the cluster of the analysis."""
    data = made()
    data.obs["cluster"] = pd.Categorical(np.where(np.arange(N_CELLS) < 8, "3", "4"))
    got = read(data, root="cluster=3", cluster_key="stage")
    assert int(np.argmin(got.pseudotime)) < 8
    assert list(got.labels("cluster")) == list(data.obs["stage"])


@pytest.mark.parametrize("seed", range(3))
def test_diffusion_pseudotime_starts_at_the_far_end_of_a_root_cluster(read, seed):
    data = made(n_cells=200, seed=seed)
    data.obs["third"] = np.where(np.arange(200) < 60, "early", "rest")
    got = read(data, root="early", cluster_key="third")
    assert int(np.argmin(got.pseudotime)) < 40
    assert stats.spearmanr(got.pseudotime, data.obs["pseudotime"]).statistic > 0.9


def test_diffusion_pseudotime_of_a_root_cluster_agrees_with_the_public_one(shared_data):
    """Noise in the last diffusion components must not choose the root: unweighted ones gave a correlation of 0.1."""
    path = shared_data / "demo" / "paul15_demo.h5ad"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    description = DataDescription(name="paul15", file=path, lineages=("erythroid",), root="Multipotent progenitors")
    given = read_dataset(description.model_copy(update={"root": None}))
    assert stats.spearmanr(read_dataset(description).pseudotime, given.pseudotime).statistic > 0.8


def test_diffusion_pseudotime_permutes_with_the_cells(read):
    data = made()
    order = np.random.default_rng(3).permutation(N_CELLS)
    first, second = read(data, root="cell0"), read(data[order].copy(), root="cell0")
    np.testing.assert_allclose(second.pseudotime, first.pseudotime[order], atol=1e-3)


def test_diffusion_pseudotime_leaves_its_input_as_it_was(planted):
    rna = planted.rna.copy()
    diffusion_pseudotime(rna, DataDescription(name="s", file="s.h5mu", root=rna.obs_names[0]))
    assert list(rna.uns) == list(planted.rna.uns)
    assert list(rna.obsp) == list(planted.rna.obsp)
    assert list(rna.obs) == list(planted.rna.obs)


def test_principal_components_equal_a_dense_decomposition():
    values = np.random.default_rng(0).normal(size=(30, 12)) * np.arange(1, 13)
    values[values < 0] = 0
    got = principal_components(sparse.csr_matrix(values), 4)
    left, size, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(got), np.abs(left[:, :4] * size[:4]), rtol=1e-4, atol=1e-4)
    assert principal_components(sparse.csr_matrix(values)).shape == (30, 11)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.ones((1, 5)), "At least two cells and two genes"), (np.full((9, 5), 3.3), "same values in every cell")],
)
def test_principal_components_refuse_what_does_not_vary(values, message):
    with pytest.raises(InputError, match=message):
        principal_components(sparse.csr_matrix(values.astype(np.float32)))


# ---------------------------------------------------------------- descriptions


def test_data_description_refuses_unknown_keys_and_bounds():
    with pytest.raises(ValidationError, match="timekey"):
        DataDescription(name="a", file="a.h5ad", timekey="x")
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        DataDescription(name="a", file="a.h5ad", min_cells=0)


def test_data_description_survives_json():
    first = DataDescription(name="a", file="a.h5ad", lineages=("x", "y"), n_top_genes=None, root="c=1")
    assert DataDescription.model_validate_json(first.model_dump_json()) == first


# ---------------------------------------------------------------- refusals: cells and pseudotime


def with_obs(**columns):
    data = made()
    for name, values in columns.items():
        data.obs[name] = values
    return data


def without_time():
    data = made()
    data.obs = data.obs.drop(columns="pseudotime")
    return data


def renamed(axis, names):
    data = made()
    setattr(data, f"{axis}_names", names)
    return data


def with_values(change):
    data = made()
    values = data.X.toarray()
    change(values)
    data.X = sparse.csr_matrix(values)
    return data


def set_entry(value):
    def change(values):
        values[4, 3] = value

    return change


def islands():
    """Two groups of cells that share no neighbour."""
    data = made(n_cells=120)
    pca = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    pca[60:] += 1000
    data.obsm["X_pca"] = pca
    return data


def with_obsm(key, value):
    data = made()
    data.obsm[key] = np.full((N_CELLS, 2), value, dtype=np.float32)
    return data


def with_atac(values):
    data = multiome()
    data["atac"].X = values
    return data


ODD = [np.inf, *np.linspace(0, 1, N_CELLS - 1)]
BAD = {
    "missing time key": (
        made, {"time_key": "dpt"},
        r"obs\['dpt'\]: is missing. Available: 'pseudotime', 'size'. Pass one of these numeric columns as time_key",
    ),
    "no time key and no usual name": (
        without_time, {}, r"time_key: is not set .* Numeric: 'size'. Pass time_key to name one, or root",
    ),
    "time is text": (
        made, {"time_key": "stage"}, r"obs\['stage'\]: is category, not a number. Numeric columns are 'pseudotime'",
    ),
    "constant time": (
        lambda: with_obs(pseudotime=0.5), {}, r"obs\['pseudotime'\]: is constant \(0.5\) over all cells.*pass a root",
    ),
    "time without a number": (lambda: with_obs(pseudotime=np.nan), {}, r"obs\['pseudotime'\]: has no number in it"),
    "infinite time": (
        lambda: with_obs(pseudotime=ODD), {}, r"obs\['pseudotime'\]: 1 cells are infinitely far from the root.*remove",
    ),
    "negative counts": (
        lambda: with_values(set_entry(-2)), {"values": "counts"},
        r"X: 1 negative values, the first at cell 'cell4', gene 'gene3'. Repair the file, or name another layer",
    ),
    "scaled log values": (
        lambda: with_values(set_entry(-0.7)), {},
        r"X: 1 negative values.*Scaled \(z-scored\) data cannot be used.*layer",
    ),
    "NaN counts": (
        lambda: with_values(set_entry(np.nan)), {},
        r"X: 1 NaN or infinite values, the first at cell 'cell4', gene 'gene3'. Repair the file",
    ),
    "infinite counts": (lambda: with_values(set_entry(np.inf)), {}, "X: 1 NaN or infinite values"),
    "counts that are none": (
        lambda: with_values(lambda values: np.divide(values, 3, out=values)), {"values": "counts"},
        r"X: values = 'counts', but \d+% of the non-zero values are not whole numbers. Set values = 'log'",
    ),
    "nothing but zeros": (
        lambda: with_values(lambda values: values.fill(0)), {}, r"X: has shape \(80, 20\) and no non-zero value",
    ),
    "no X": (
        lambda: anndata.AnnData(layers={"raw": made().X}, obs=made().obs), {}, "X: is empty. Name a layer: 'raw'",
    ),
    "empty cells": (
        lambda: with_values(lambda values: values[5:7].fill(0)), {},
        "counts: 2 cells have no counts, the first is 'cell5'. Filter empty cells",
    ),
    "library size that is none": (
        lambda: with_obs(size=[np.inf, *range(N_CELLS - 1)]), {"library_size_key": "size"},
        r"obs\['size'\]: 2 cells have no positive number there, the first is 'cell0'.*library_size_key",
    ),
    "missing library size": (made, {"library_size_key": "total"}, r"obs\['total'\]: is missing.*as library_size_key"),
    "duplicated gene names": (
        lambda: renamed("var", ["Gata1", "Gata1", *map(str, range(N_GENES - 2))]), {},
        "var_names: 1 names occur more than once: 'Gata1'. Make gene names unique",
    ),
    "duplicated barcodes": (
        lambda: renamed("obs", ["AAAC", "AAAC", *map(str, range(N_CELLS - 2))]), {},
        "obs_names: 1 names occur more than once: 'AAAC'. Make barcodes unique",
    ),
    "missing layer": (made, {"layer": "spliced"}, r"layers\['spliced'\]: is missing. Available: none.*leave layer out"),
    "missing gene key": (made, {"gene_key": "symbol"}, r"var\['symbol'\]: is missing.*as gene_key"),
    "missing cluster key": (made, {"cluster_key": "typ"}, r"obs\['typ'\]: is missing. Available: .*as cluster_key"),
    "missing transition": (made, {"transition_key": "velo"}, r"obsp\['velo'\]: is missing.*as transition_key"),
    "unknown lineage": (
        made, {"lineages": ("odd", "prime")},
        r"lineages = 'prime': not in obs\['lineage'\], which has 'even', 'odd'. Choose among those",
    ),
    "missing lineage key": (
        made, {"lineages": ("odd",), "lineage_key": "fate"}, r"obs\['fate'\]: is missing.*as lineage_key",
    ),
    "unknown root": (
        made, {"root": "stem", "cluster_key": "stage"},
        "root = 'stem': is neither a barcode nor a cluster. Clusters: 'first', 'later'. Give a barcode",
    ),
    "unknown root and no clusters": (made, {"root": "stem"}, "root = 'stem': .* Clusters: none"),
    "root value that no cell has": (
        made, {"root": "stage=last"}, r"root = 'stage=last': is in no cell: obs\['stage'\] has 'first', 'later'",
    ),
    "too few cells for a root": (lambda: made(n_cells=4), {"root": "cell0"}, "needs at least 5 cells.* here are 4"),
    "root that does not reach": (
        islands, {"root": "cell0"}, "root = 'cell0': does not reach 60 of 120 cells. The cell graph falls apart",
    ),
    "NaN components": (lambda: with_obsm("X_pca", np.nan), {}, r"obsm\['X_pca'\]: has NaN or infinite values"),
    "NaN embedding": (lambda: with_obsm("X_umap", np.nan), {}, r"obsm\['X_umap'\]: has NaN or infinite values"),
    "no eligible gene": (
        made, {"min_cells": 1000}, "min_cells: no gene is detected in 1000 cells and varies. Lower min_cells",
    ),
    "no cell in both modalities": (
        lambda: multiome(cells=["other1", "other2"]), {},
        r"mod\['atac'\]: shares no cell barcode with mod\['rna'\].*or leave the ATAC modality out",
    ),
    "no RNA": (
        lambda: mudata.MuData({"atac": made()}), {},
        r"mod\['rna'\]: is missing. Available: 'atac'. Name the RNA modality",
    ),
    "duplicated barcodes of RNA in h5mu": (
        lambda: mudata.MuData({"rna": renamed("obs", ["A", "A", *map(str, range(N_CELLS - 2))])}), {},
        r"mod\['rna'\].obs_names: 1 names occur more than once: 'A'",
    ),
    "duplicated barcodes of ATAC": (
        lambda: multiome(cells=["cell1", "cell1", "cell2"]), {},
        r"mod\['atac'\].obs_names: 1 names occur more than once: 'cell1'",
    ),
    "NaN in ATAC": (lambda: with_atac(np.full((N_CELLS, 3), np.nan)), {}, r"mod\['atac'\].X: has \d+ NaN or infinite"),
    "no values in ATAC": (lambda: with_atac(None), {}, r"mod\['atac'\].X: is empty. Layers: none. Put the counts"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # anndata and mudata warn of what is refused here
@pytest.mark.parametrize("case", BAD)
def test_read_dataset_refuses(read, case):
    build, settings, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read(build(), **settings)


def test_read_dataset_refuses_repeated_symbols_of_gene_key(read):
    data = made()
    data.var["symbol"] = ["Gata1", "Gata1", *map(str, range(N_GENES - 2))]
    with pytest.raises(InputError, match=r"var\['symbol'\]: 1 names occur more than once: 'Gata1'"):
        read(data, gene_key="symbol")


def test_read_dataset_missing_column_lists_what_is_there(read):
    with pytest.raises(MissingColumnError) as error:
        read(made(), sample_key="donor")
    for column in ("pseudotime", "lineage", "stage", "size"):
        assert f"'{column}'" in str(error.value)


# ---------------------------------------------------------------- refusals: files


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
def test_read_dataset_refuses_a_truncated_h5ad(tmp_path, share):
    path = tmp_path / "cut.h5ad"
    made().write_h5ad(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut.h5ad': cannot be read as h5ad \(.*compare its size .* copy it again"):
        read_dataset(DataDescription(name="cut", file=path))


def test_read_dataset_refuses_a_truncated_h5mu(simulated, tmp_path):
    path = tmp_path / "cut.h5mu"
    shutil.copy(simulated["data"], path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut.h5mu': cannot be read as h5mu \(.*copy it again"):
        read_dataset(DataDescription(name="cut", file=path))


def test_read_dataset_explains_a_reader_that_fails_without_a_word(tmp_path, monkeypatch):
    path = tmp_path / "odd.h5ad"
    made().write_h5ad(path)

    def fail(_path):
        raise KeyError

    monkeypatch.setattr(anndata, "read_h5ad", fail)
    with pytest.raises(InputError, match=r"cannot be read as h5ad \(KeyError: \)"):
        read_dataset(DataDescription(name="odd", file=path))


def test_read_dataset_refuses_other_formats(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=re.escape("'counts.csv': '.csv' is not a format this reads. Give an h5ad")):
        read_dataset(DataDescription(name="csv", file=path))


def test_read_dataset_refuses_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nowhere.h5ad", tmp_path):
        with pytest.raises(InputError, match=re.escape(f"'{path}': there is no such file. Check the path.")):
            read_dataset(DataDescription(name="none", file=path))


def test_read_dataset_keeps_missing_labels_missing(tmp_path):
    adata = made()
    labels = adata.obs["stage"].astype(object)
    labels.iloc[0] = np.nan
    adata.obs["group"] = pd.Categorical(labels)
    path = tmp_path / "x.h5ad"
    adata.write_h5ad(path)
    dataset = read_dataset(DataDescription(name="x", file=path, time_key="pseudotime", cluster_key="group"))
    assert dataset.cells_table()["cluster"].isna().sum() == 1
    assert dataset.labels("cluster")[0] == "nan"


def test_read_dataset_refuses_a_root_beside_a_time_key(tmp_path):
    path = tmp_path / "x.h5ad"
    made().write_h5ad(path)
    with pytest.raises(InputError, match=r"root: is 'a', but time_key is 'pseudotime'\. Give one of them"):
        read_dataset(DataDescription(name="x", file=path, time_key="pseudotime", root="a"))


# ---------------------------------------------------------------- fragments


def write_fragments(folder, cells, name="fragments.tsv.gz"):
    """One fragment of each cell that is cut once in the first peak, and of cell i, i fragments inside the second."""
    rows = [("chr1", 110, 500, cell) for cell in cells]
    rows += [("chr1", 1010, 1050, cell) for number, cell in enumerate(cells) for _ in range(number)]
    path = folder / name
    pd.DataFrame(rows).assign(count=1).to_csv(path, sep="\t", header=False, index=False)
    peaks = folder / "peaks.bed"
    peaks.write_text("chr1\t100\t200\nchr1\t1000\t1100\n")
    return {"fragments": path, "peaks": peaks}


def test_read_dataset_counts_fragments_in_peaks(read, tmp_path):
    data = made()
    files = write_fragments(tmp_path, data.obs_names)
    data.obs.loc["cell3", "pseudotime"] = np.nan
    got = read(data, lineages=("odd",), **files)
    numbers = [i for i in range(1, N_CELLS, 2) if i != 3]
    assert list(got.atac.obs_names) == list(got.cells) == [f"cell{i}" for i in numbers]
    assert list(got.atac.var_names) == ["chr1:100-200", "chr1:1000-1100"]
    assert list(got.atac.var) == ["chrom", "start", "end"]
    np.testing.assert_array_equal(got.atac.X.toarray(), [(1, 2 * i) for i in numbers])
    assert got.atac.X.dtype == np.float32
    expected = "3240 fragments of 'fragments.tsv.gz' were counted in 2 peaks: 50% are of the cells, and 100% of those"
    assert any(expected in note for note in got.notes)


def test_read_dataset_counts_fragments_for_an_h5mu_with_rna_alone(read, tmp_path):
    data = made()
    with mudata.set_options(pull_on_update=False):
        got = read(mudata.MuData({"rna": data}), **write_fragments(tmp_path, data.obs_names))
    got.write(tmp_path / "whole.h5mu")
    back = Dataset.load(tmp_path / "whole.h5mu")
    assert (back.atac.X != got.atac.X).nnz == 0
    pd.testing.assert_frame_equal(back.atac.var, got.atac.var, check_names=False)
    assert back.description == got.description


@pytest.mark.parametrize(
    ("build", "leave_out", "message"),
    [
        (made, "peaks", r"fragments.tsv.gz': has no peaks to be counted in.*atac_peaks.bed.*`macs3 callpeak -f FRAG"),
        (made, "fragments", r"peaks.bed': is given without fragments. Give the fragment file"),
        (multiome, None, r"fragments: is given, but 'made.h5mu' has an ATAC modality of its own. Leave fragments"),
        (multiome, "fragments", r"peaks: is given, but 'made.h5mu' has an ATAC modality"),
    ],
)  # fmt: skip
def test_read_dataset_refuses_fragments_that_do_not_fit_the_file(read, tmp_path, build, leave_out, message):
    files = write_fragments(tmp_path, made().obs_names)
    with pytest.raises(InputError, match=message):
        read(build(), **{key: path for key, path in files.items() if key != leave_out})


def test_read_dataset_refuses_a_missing_fragment_file(read, tmp_path):
    files = write_fragments(tmp_path, made().obs_names)
    with pytest.raises(InputError, match="nowhere.tsv.gz': there is no such file"):
        read(made(), **(files | {"fragments": tmp_path / "nowhere.tsv.gz"}))


def test_read_dataset_reports_the_progress_of_counting(tmp_path):
    made().write_h5ad(tmp_path / "made.h5ad")
    files = write_fragments(tmp_path, made().obs_names)
    calls = []
    read_dataset(DataDescription(name="x", file=tmp_path / "made.h5ad", **files), lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == files["fragments"].stat().st_size


def test_read_dataset_reads_a_multiome_as_muon_leaves_it(shared_data, tmp_path):
    """45 genes, no annotation of cells, and uns with the path of a fragment file and peaks that repeat gene names."""
    path = shared_data / "multiome" / "pbmc_multiome_tiny.h5mu"
    with pytest.raises(InputError, match=r"time_key: is not set .* Numeric: none. Pass time_key .* or root"):
        read_dataset(DataDescription(name="pbmc", file=path))
    got = read_dataset(DataDescription(name="pbmc", file=path, root="AAACAGCCAGCATGTC-1"))
    assert got.rna.shape == (1000, 45)
    assert got.atac.shape == (1000, 174)
    assert got.pseudotime[0] == 0
    assert len(np.unique(got.pseudotime)) > 900
    got.write(tmp_path / "pbmc.h5mu")
    assert Dataset.load(tmp_path / "pbmc.h5mu").atac.shape == (1000, 174)
