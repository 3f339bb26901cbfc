"""Genes along pseudotime: a loop over lineages and genes, planted trends, permutations, and the figure."""

import io
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import sparse
from scipy.stats import kstest
from statsmodels.api import OLS

from scmagnify_core.data.association import AssociationConfig, associate_genes, gene_trends, strongest_genes
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError
from scmagnify_core.numerics.statistics import adjust_pvalues, spline_basis
from scmagnify_core.plots.association import plot_association
from scmagnify_core.tables.catalogue import TABLES

DEFAULT = AssociationConfig()
COLUMNS = [
    "lineage", "gene", "n_cells", "statistic", "pvalue", "padj", "amplitude", "peak_pseudotime", "is_associated",
]  # fmt: skip


def dataset_of(values, time, lineage=None, eligible=None, min_cells=1):
    """A data set of given log values."""
    rna = anndata.AnnData(sparse.csr_matrix(values, dtype=np.float32))
    rna.obs_names = [f"c{i}" for i in range(rna.n_obs)]
    rna.var_names = [f"g{i}" for i in range(rna.n_vars)]
    rna.obs["pseudotime"] = time
    if lineage is not None:
        rna.obs["lineage"] = pd.Categorical(lineage)
    rna.var["is_eligible"] = True if eligible is None else eligible
    return Dataset(rna, None, DataDescription(name="made", file=Path("made.h5ad"), min_cells=min_cells), ())


def planted(n_cells=400, n_genes=40, n_trends=20, lineage=None, seed=0):
    """Log counts of genes of which the first ``n_trends`` double several times along pseudotime."""
    rng = np.random.default_rng(seed)
    time = rng.random(n_cells)
    slope = np.where(np.arange(n_genes) < n_trends, rng.choice([-2.5, 2.5], n_genes), 0)
    counts = rng.poisson(np.exp(rng.normal(0, 0.3, n_genes) + np.outer(time - 0.5, slope)))
    return dataset_of(np.log1p(counts), time, lineage)


def drawn(figure):
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=30)
        assert stream.getvalue().startswith(b"\x89PNG")
    return figure


def test_associate_genes_equals_a_loop_over_lineages_and_genes():
    rng = np.random.default_rng(1)
    dataset = planted(lineage=rng.choice(["a", "b"], 400))
    table = associate_genes(dataset, DEFAULT).table
    assert list(table.columns) == COLUMNS
    assert table["lineage"].unique().tolist() == ["all", "a", "b"]
    for lineage, rows in table.groupby("lineage"):
        members = np.full(400, True) if lineage == "all" else dataset.labels("lineage") == lineage
        time = dataset.pseudotime[members]
        values = dataset.expression(rows["gene"])[members].astype(float)
        basis = spline_basis(time, 5)
        tests = [OLS(y, basis).fit().compare_f_test(OLS(y, np.ones(len(y))).fit()) for y in values.T]
        np.testing.assert_allclose(rows["statistic"], [test[0] for test in tests], rtol=1e-8)
        np.testing.assert_allclose(rows["pvalue"], [test[1] for test in tests], rtol=1e-8)
        np.testing.assert_array_equal(rows["padj"], adjust_pvalues(rows["pvalue"]))
        np.testing.assert_array_equal(rows["n_cells"], (values > 0).sum(axis=0))
        np.testing.assert_array_equal(rows["is_associated"], (rows["padj"] < 1e-3) & (rows["amplitude"] > 0.5))


def test_associate_genes_gives_the_body_of_its_table():
    dataset = planted(lineage=["a"] * 200 + ["b"] * 200)
    assert len(TABLES["gene_association"].validate(associate_genes(dataset, DEFAULT).table)) == 3 * 40


def test_associate_genes_finds_planted_trends_and_no_others():
    table = associate_genes(planted(), DEFAULT).table
    assert table["is_associated"].tolist() == [True] * 20 + [False] * 20
    assert set(table["peak_pseudotime"][:20].round(1)) == {0.0, 1.0}


def test_associate_genes_is_calibrated_where_cells_are_shuffled():
    real = planted(n_genes=500, n_trends=500)
    # Each gene by itself: with one shuffle for all, genes that share a trend would share its luck.
    shuffled = np.random.default_rng(2).permuted(real.rna.X.toarray(), axis=0)
    dataset = dataset_of(shuffled, real.pseudotime)
    table = associate_genes(dataset, DEFAULT).table
    assert kstest(table["pvalue"], "uniform").pvalue > 0.01
    assert not table["is_associated"].any()


def test_associate_genes_ignores_the_order_of_cells_and_genes_and_the_unit_of_pseudotime():
    rng = np.random.default_rng(3)
    dataset = planted(lineage=rng.choice(["a", "b"], 400))
    first = associate_genes(dataset, DEFAULT).table
    rna = dataset.rna[rng.permutation(400), rng.permutation(40)].copy()
    rna.obs["pseudotime"] = 50 * rna.obs["pseudotime"] + 3
    second = associate_genes(Dataset(rna, None, dataset.description, ()), DEFAULT).table
    second["peak_pseudotime"] = (second["peak_pseudotime"] - 3) / 50
    key = ["lineage", "gene"]
    pd.testing.assert_frame_equal(
        first.set_index(key).sort_index(), second.set_index(key).sort_index(), check_exact=False, rtol=1e-7
    )


def test_associate_genes_tests_eligible_genes_only():
    dataset = dataset_of(planted().rna.X, planted().pseudotime, eligible=np.arange(40) % 2 == 0)
    assert associate_genes(dataset, DEFAULT).table["gene"].tolist() == [f"g{i}" for i in range(0, 40, 2)]


def test_associate_genes_finds_in_lineages_what_cancels_over_all_cells():
    rng = np.random.default_rng(4)
    time, rises = rng.random(400), np.arange(400) % 2 == 0
    values = np.where(rises, time, 1 - time)[:, None] * 3 + rng.normal(0, 0.3, (400, 1))
    table = associate_genes(dataset_of(values, time, np.where(rises, "up", "down")), DEFAULT).table
    assert table.set_index("lineage")["is_associated"].to_dict() == {"all": False, "down": True, "up": True}
    assert table.set_index("lineage")["peak_pseudotime"][["down", "up"]].round(1).tolist() == [0, 1]


def test_associate_genes_names_the_lineages_it_leaves_out():
    lineage = np.repeat(["all", "big", "few", "steps", None], [80, 100, 49, 80, 91])
    dataset = planted(lineage=lineage)
    time = dataset.pseudotime.copy()
    time[lineage == "steps"] = np.tile([0.1, 0.2, 0.3, 0.4], 20)
    dataset.rna.obs["pseudotime"] = time
    result = associate_genes(dataset, DEFAULT)
    assert result.table["lineage"].unique().tolist() == ["all", "big"]
    assert result.table["n_cells"].max() > 200
    assert result.notes == (
        "A lineage is named 'all', as all cells are here: it was not tested by itself.",
        "Lineage 'few' has 49 cells, fewer than 50: it was not tested by itself.",
        "Lineage 'steps' has 4 distinct pseudotimes, fewer than 6: it was not tested by itself.",
    )
    assert "Lineage 'big' has 100 cells, fewer than 120" in " ".join(
        associate_genes(dataset, AssociationConfig(n_splines=12)).notes
    )


@pytest.mark.parametrize("lineage", [None, ["only"] * 400])
def test_associate_genes_does_not_repeat_a_single_lineage(lineage):
    result = associate_genes(planted(lineage=lineage), DEFAULT)
    assert result.table["lineage"].tolist() == ["all"] * 40
    assert not result.notes


def test_associate_genes_does_not_test_what_too_few_cells_of_a_lineage_have():
    lineage = np.repeat(["a", "b"], 200)
    values = planted(n_genes=4, n_trends=4).rna.X.toarray()
    values[:200, 0] = 0
    values[3:200, 1] = 0
    values[:3, 1] = 1
    dataset = dataset_of(values, np.tile(np.linspace(0, 1, 200), 2), lineage, min_cells=10)
    table = associate_genes(dataset, DEFAULT).table.set_index(["lineage", "gene"])
    untested = table.loc[[("a", "g0"), ("a", "g1")]]
    assert untested[["statistic", "pvalue", "padj"]].isna().all(axis=None)
    assert untested["n_cells"].tolist() == [0, 3]
    assert not untested["is_associated"].any()
    assert table.drop(untested.index)["pvalue"].notna().all()
    two = table.loc["a"].loc[["g2", "g3"]]
    np.testing.assert_array_equal(two["padj"], adjust_pvalues(two["pvalue"]))
    assert np.isnan(table.loc[("a", "g0"), "peak_pseudotime"])  # a flat curve has none


def test_associate_genes_refuses_sampling_times():
    dataset = dataset_of(np.ones((100, 1)), np.tile([0.0, 1, 2, 3, 7], 20))
    with pytest.raises(InputError, match=r"pseudotime: has 5 distinct.*give a continuous pseudotime"):
        associate_genes(dataset, DEFAULT)


@pytest.mark.parametrize("settings", [{"n_splines": 3}, {"max_padj": 0}, {"min_amplitude": -1}, {"splines": 5}])
def test_association_config_refuses_impossible_settings(settings):
    with pytest.raises(ValidationError):
        AssociationConfig(**settings)


def test_gene_trends_are_the_curves_whose_amplitude_and_peak_the_table_has():
    lineage = np.random.default_rng(5).choice(["a", "b"], 400)
    dataset = planted(lineage=lineage)
    table = associate_genes(dataset, DEFAULT).table
    for name in ("all", "b"):
        trends = gene_trends(dataset, ["g7", "g2"], DEFAULT, name)
        assert list(trends.columns) == ["gene", "pseudotime", "expression"]
        assert trends["gene"].tolist() == ["g7"] * 100 + ["g2"] * 100
        members = lineage == name if name != "all" else np.full(400, True)
        assert trends["pseudotime"].agg(["min", "max"]).tolist() == [
            dataset.pseudotime[members].min(), dataset.pseudotime[members].max(),
        ]  # fmt: skip
        for gene, curve in trends.groupby("gene"):
            row = table[(table["gene"] == gene) & (table["lineage"] == name)].iloc[0]
            assert np.ptp(curve["expression"]) == pytest.approx(row["amplitude"], rel=0.02)
            assert curve["pseudotime"].loc[curve["expression"].idxmax()] == pytest.approx(
                row["peak_pseudotime"], abs=0.02
            )
    assert gene_trends(dataset, [], DEFAULT).empty


def test_gene_trends_refuses_what_is_not_there():
    dataset = planted(lineage=["a"] * 200 + ["b"] * 200)
    with pytest.raises(KeyError, match="g99"):
        gene_trends(dataset, ["g1", "g99"], DEFAULT)
    with pytest.raises(KeyError, match="lineage 'c' is not in the data set"):
        gene_trends(dataset, ["g1"], DEFAULT, "c")


def test_strongest_genes_orders_associated_genes_by_statistic():
    table = associate_genes(planted(), DEFAULT).table
    genes = strongest_genes(table, 5)
    statistics = table.set_index("gene")["statistic"]
    assert statistics[genes].tolist() == sorted(statistics[:20], reverse=True)[:5]
    assert strongest_genes(table.assign(is_associated=False), 5) == []


def test_associate_genes_knows_the_markers_of_blood(shared_data):
    path = shared_data / "demo" / "paul15_demo.h5ad"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    dataset = read_dataset(DataDescription(name="paul15", file=path, time_key="pseudotime"))
    table = associate_genes(dataset, DEFAULT).table
    assert {"Klf1", "Gata1", "Cpox", "Epor"} <= set(strongest_genes(table, 60, "erythroid"))
    assert {"Elane", "Prtn3", "Mpo", "Ctsg"} <= set(strongest_genes(table, 10, "myeloid"))


# ---------------------------------------------------------------- figure


def test_plot_association_draws_every_tested_gene_and_the_strongest_curves():
    dataset = planted(n_genes=80, n_trends=60)
    table = associate_genes(dataset, DEFAULT).table
    table.loc[79, ["pvalue", "padj", "statistic"]] = np.nan
    figure = drawn(plot_association(table, gene_trends(dataset, table["gene"], DEFAULT)))
    volcano, heat_map = figure.axes[:2]
    assert volcano.get_title() == "60 of 79 genes change along pseudotime"
    points = np.concatenate([group.get_offsets() for group in volcano.collections])
    assert len(points) == 79
    assert len(volcano.collections[1].get_offsets()) == 60
    assert heat_map.get_title() == "The strongest 40 of 60 of them, the earliest peak on top"
    shown = [tick.get_text() for tick in heat_map.get_yticklabels()]
    assert set(shown) == set(strongest_genes(table, 40))
    scores = heat_map.images[0].get_array()
    assert scores.shape == (40, 100)
    np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-9)
    assert (np.diff(scores.argmax(axis=1)) >= 0).all()


def test_plot_association_of_a_lineage_draws_its_rows_and_thresholds():
    dataset = planted(lineage=["a"] * 200 + ["b"] * 200)
    config = AssociationConfig(max_padj=0.01, min_amplitude=0.3)
    table = associate_genes(dataset, config).table
    genes = strongest_genes(table, 3, "b")
    figure = drawn(plot_association(table, gene_trends(dataset, genes, config, "b"), config, "b"))
    volcano, heat_map = figure.axes[:2]
    n_found = int(table.loc[table["lineage"] == "b", "is_associated"].sum())
    assert volcano.get_title() == f"{n_found} of 40 genes change along pseudotime in b"
    assert volcano.lines[0].get_xdata()[0] == 0.3
    assert volcano.lines[1].get_ydata()[0] == 2
    assert len(heat_map.images[0].get_array()) == 3


def test_plot_association_without_an_associated_gene_says_so():
    dataset = planted(n_trends=0)
    table = associate_genes(dataset, DEFAULT).table
    figure = drawn(plot_association(table, gene_trends(dataset, [], DEFAULT)))
    assert figure.axes[0].get_title() == "0 of 40 genes change along pseudotime"
    assert [text.get_text() for text in figure.axes[1].texts] == ["no associated gene"]
    untested = table.assign(padj=np.nan)
    assert (
        drawn(plot_association(untested, gene_trends(dataset, [], DEFAULT))).axes[0].get_title().startswith("0 of 0")
    )
