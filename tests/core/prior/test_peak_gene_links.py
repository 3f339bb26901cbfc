"""Peak-gene links: correlations, windows and the null against brute force; planted and real links recovered."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.metacells import assign_metacells, metacell_accessibility, metacell_expression
from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.numerics.statistics import adjust_pvalues
from scmagnify_core.plots.peak_gene_links import plot_links
from scmagnify_core.prior.annotation import read_annotation
from scmagnify_core.prior.peak_gene_links import (
    PeakGeneLinkConfig,
    _null_classes,
    _standardised_ranks,
    link_peaks,
)
from scmagnify_core.simulation.simulation import SimulationConfig, simulate

CONFIG = PeakGeneLinkConfig(cells_per_metacell=10, n_null=20, min_cells=1)


def made(n_cells=400, n_genes=25, n_peaks=300, seed=0):
    """Random genes and peaks on three chromosomes; gene 0 drives every peak within 20 kb of it."""
    rng = np.random.default_rng(seed)
    names = [f"g{i:02d}" for i in range(n_genes)]
    tss = rng.integers(200_000, 1_000_000, n_genes)
    annotation = pd.DataFrame(
        {"gene": names, "chrom": rng.choice(["chr1", "chr2", "chr3"], n_genes), "start": tss, "end": tss + 5000,
         "strand": rng.choice(["+", "-"], n_genes), "tss": tss, "gene_id": names}
    )  # fmt: skip
    is_reverse = annotation["strand"] == "-"
    annotation.loc[is_reverse, "tss"] = annotation.loc[is_reverse, "end"] - 1
    start = rng.permutation(np.arange(150_000, 1_050_000, 100))[:n_peaks]
    peaks = pd.DataFrame({"chrom": rng.choice(["chr1", "chr2", "chr3"], n_peaks), "start": start, "end": start + 300})
    peaks.index = peaks["chrom"] + ":" + start.astype(str) + "-" + (start + 300).astype(str)
    level = rng.normal(size=(n_cells, n_genes))
    near = (peaks["chrom"] == annotation["chrom"][0]) & ((peaks["start"] - tss[0]).abs() < 20_000)
    rate = rng.uniform(0.2, 2, n_peaks) * np.exp(0.8 * level[:, :1] * near.to_numpy())
    counts = sparse.csr_matrix(rng.poisson(np.exp(level)).astype(np.float32))
    rna = anndata.AnnData(counts.log1p(), var=pd.DataFrame({"is_eligible": True}, index=names))
    rna.layers["counts"] = counts
    rna.obs["n_counts"] = 1000.0
    rna.obsm["X_pca"] = level[:, :4].astype(np.float32)
    rna.obs_names = [f"c{i}" for i in range(n_cells)]
    atac = anndata.AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), var=peaks, obs=rna.obs[[]])
    return Dataset(rna, atac, DataDescription(name="made", file="made.h5mu"), ()), annotation


def sorted_table(links):
    return links.table.sort_values(["target", "peak"], ignore_index=True)


# ---------------------------------------------------------------- oracles


def test_standardised_ranks_give_spearman_with_ties_and_mark_constants():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (40, 7)).astype(float)
    values[:, 3] = 2
    ranks, varies = _standardised_ranks(values)
    assert varies.tolist() == [True, True, True, False, True, True, True]
    kept = values[:, varies]
    np.testing.assert_allclose(ranks[varies] @ ranks[varies].T, stats.spearmanr(kept).statistic, atol=1e-6)


def test_link_peaks_correlation_equals_scipy():
    dataset, annotation = made()
    got = link_peaks(dataset, annotation, CONFIG).table.sample(60, random_state=0)
    labels = assign_metacells(dataset, CONFIG.cells_per_metacell)
    genes, peaks = dataset.genes.get_indexer(got["target"]), dataset.atac.var_names.get_indexer(got["peak"])
    expression, open_ = metacell_expression(dataset, labels, genes), metacell_accessibility(dataset, labels, peaks)
    expected = [stats.spearmanr(expression[:, i], open_[:, i]).statistic for i in range(len(got))]
    np.testing.assert_allclose(got["correlation"], expected, atol=1e-5)
    np.testing.assert_allclose(got["pvalue"], stats.norm.sf(got["zscore"]))


@pytest.mark.parametrize("around", ["gene", "tss"])
def test_link_peaks_tests_every_pair_in_a_window(around):
    dataset, annotation = made()
    got = link_peaks(dataset, annotation, CONFIG.model_copy(update={"window_around": around, "window_bp": 30_000}))
    expected = {}
    for gene in annotation.itertuples():
        first, last = (gene.start, gene.end) if around == "gene" else (gene.tss, gene.tss + 1)
        for peak in dataset.atac.var.itertuples():
            if peak.chrom == gene.chrom and peak.start < last + 30_000 and first - 30_000 < peak.end:
                inside = range(peak.start, peak.end)
                nearest = min(inside, key=lambda base: abs(base - gene.tss))
                expected[gene.gene, peak.Index] = (nearest - gene.tss) * (-1 if gene.strand == "-" else 1)
    table = got.table
    assert dict(zip(zip(table["target"], table["peak"], strict=True), table["distance_bp"], strict=True)) == expected
    assert set(got.peaks["peak"]) == {peak for _, peak in expected}
    opened = pd.Series(dataset.atac.X.getnnz(axis=0), index=dataset.atac.var_names)
    np.testing.assert_array_equal(got.peaks["n_cells"], opened[got.peaks["peak"]])


@pytest.mark.parametrize("with_gc", [False, True])
def test_link_peaks_null_equals_brute_force(with_gc):
    dataset, annotation = made()
    gc = np.random.default_rng(5).uniform(0.3, 0.7, dataset.atac.n_vars) if with_gc else None
    got = link_peaks(dataset, annotation, CONFIG, gc)
    labels = assign_metacells(dataset, CONFIG.cells_per_metacell)
    everything = np.arange(dataset.atac.n_vars)
    open_ = metacell_accessibility(dataset, labels, everything)
    regions = dataset.atac.var.assign(n_cells=dataset.atac.X.getnnz(axis=0), gc_content=np.nan if gc is None else gc)
    classes, drawn = _null_classes(regions.reset_index(drop=True), np.ptp(open_, axis=0) > 0, CONFIG)
    gene = annotation.iloc[0]
    own = got.table[got.table["target"] == gene["gene"]]
    values = metacell_expression(dataset, labels, np.array([0]))[:, 0]
    for row in own.itertuples():
        candidates = drawn[classes[dataset.atac.var_names.get_loc(row.peak)]]
        free = [one for one in candidates if dataset.atac.var_names[one] not in set(own["peak"])]
        null = [stats.spearmanr(values, open_[:, one]).statistic for one in free]
        assert row.zscore == pytest.approx((row.correlation - np.mean(null)) / np.std(null, ddof=1), abs=1e-3)
    assert len(drawn[0]) == CONFIG.n_null
    tested = got.table
    np.testing.assert_allclose(tested["padj"], adjust_pvalues(tested["pvalue"]))
    passes = (tested["correlation"] > CONFIG.min_correlation) & (tested["pvalue"] < CONFIG.max_pvalue)
    np.testing.assert_array_equal(tested["is_linked"], passes)


def test_null_classes_hold_peaks_of_like_accessibility_and_gc():
    rng = np.random.default_rng(0)
    regions = pd.DataFrame(
        {"start": np.arange(6000), "end": np.arange(6000) + 5, "n_cells": rng.integers(10, 900, 6000)}
    )
    regions["gc_content"] = rng.uniform(0.2, 0.8, 6000)
    regions.loc[:50, "gc_content"] = np.nan
    varies = rng.random(6000) < 0.95
    classes, drawn = _null_classes(regions, varies, PeakGeneLinkConfig())
    assert drawn.shape == (50, 100)
    assert set(classes[~varies]) == {-1}
    for number, members in enumerate(drawn):
        assert set(classes[members]) == {number}
        assert len(set(members)) == 100
    spread = regions[varies].groupby(classes[varies])
    assert (spread["n_cells"].agg(np.ptp) < 100).all()
    assert spread["gc_content"].std().median() < 0.06
    assert spread.size().min() > 100


# ---------------------------------------------------------------- properties


def test_link_peaks_finds_the_planted_gene_and_hardly_any_other():
    dataset, annotation = made(n_cells=1500)
    got = link_peaks(dataset, annotation, CONFIG)
    table = got.table
    is_true = (table["target"] == "g00") & (table["distance_bp"].abs() < 15_000)
    assert is_true.sum() >= 2
    assert table.loc[is_true, "is_linked"].all()
    assert table.loc[~is_true, "is_linked"].mean() < 0.15


def test_link_peaks_does_not_depend_on_the_order_of_cells_genes_or_peaks():
    dataset, annotation = made()
    rng = np.random.default_rng(2)
    cells, genes, peaks = (rng.permutation(n) for n in (*dataset.rna.shape, dataset.atac.n_vars))
    shuffled = Dataset(
        dataset.rna[cells][:, genes].copy(), dataset.atac[cells][:, peaks].copy(), dataset.description, ()
    )
    first = link_peaks(dataset, annotation, CONFIG)
    second = link_peaks(shuffled, annotation.sample(frac=1, random_state=0), CONFIG)
    pd.testing.assert_frame_equal(sorted_table(first), sorted_table(second), atol=1e-4)
    pd.testing.assert_frame_equal(first.table, link_peaks(dataset, annotation, CONFIG).table)


def test_link_peaks_does_not_depend_on_how_chromosomes_are_named():
    dataset, annotation = made()
    plain = annotation.assign(chrom=annotation["chrom"].str.removeprefix("chr"))
    pd.testing.assert_frame_equal(
        link_peaks(dataset, annotation, CONFIG).table, link_peaks(dataset, plain, CONFIG).table
    )


def test_standardised_ranks_ignore_monotone_transforms_of_metacell_values():
    values = np.random.default_rng(0).normal(size=(30, 4))
    np.testing.assert_array_equal(_standardised_ranks(values)[0], _standardised_ranks(np.exp(3 * values) + 1)[0])


def test_link_peaks_finds_genes_by_id_and_keeps_their_names():
    dataset, annotation = made()
    ids = [f"ENSG{i:08d}" for i in range(dataset.rna.n_vars)]
    table = link_peaks(dataset, annotation, CONFIG).table
    dataset.rna.var_names = [f"{one}.2" for one in ids]
    renamed = link_peaks(dataset, annotation.assign(gene_id=ids), CONFIG).table
    assert renamed["target"].tolist() == [f"ENSG{int(name[1:]):08d}.2" for name in table["target"]]


def test_link_peaks_leaves_out_what_cannot_be_tested_and_says_so():
    dataset, annotation = made()
    dataset.rna.var.loc["g01", "is_eligible"] = False
    counts = dataset.rna.layers["counts"].tolil()
    counts[:, 2] = 0
    dataset.rna.layers["counts"] = counts.tocsr()
    got = link_peaks(dataset, annotation[annotation["gene"] != "g03"], CONFIG.model_copy(update={"min_cells": 100}))
    assert not {"g01", "g02", "g03"} & set(got.table["target"])
    assert got.peaks["n_cells"].min() >= 100
    notes = " ".join(got.notes)
    assert "23 of 24 eligible genes are annotated" in notes
    assert "1 genes are constant over metacells" in notes
    assert "open in at least 100 cells" in notes
    assert "no genome" in notes


def test_link_peaks_pvalues_are_uniform_when_modalities_are_unrelated(simulated):
    dataset = read_dataset(DataDescription(name="s", file=simulated["data"]))
    atac = dataset.atac[np.random.default_rng(0).permutation(dataset.atac.n_obs)].copy()
    annotation = simulated_annotation(dataset.genes)
    config = PeakGeneLinkConfig(window_bp=5_000_000, cells_per_metacell=5, seed=1)  # wide, for many pairs
    table = link_peaks(Dataset(dataset.rna, atac, dataset.description, ()), annotation, config).table
    assert len(table) > 2000
    for level in (0.05, 0.1, 0.5):
        assert table["pvalue"].lt(level).mean() == pytest.approx(level, rel=0.25)


# ---------------------------------------------------------------- failures


def test_link_peaks_refuses_a_data_set_without_atac_or_open_peaks():
    dataset, annotation = made()
    with pytest.raises(InputError, match=r"mod\['atac'\]: is missing"):
        link_peaks(Dataset(dataset.rna, None, dataset.description, ()), annotation, CONFIG)
    with pytest.raises(
        PriorError, match=r"atac: has 0 peaks that are open in 400 cells .* Lower peak_gene_links.min"
    ):
        link_peaks(dataset, annotation, CONFIG.model_copy(update={"min_cells": 400}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chrom": "NC_1"}, "annotation's genes and the ATAC modality share none: .* 'NC_1', .* has 'chr"),
        ({"gene": "nothing", "gene_id": "nothing"}, "annotation: has none of the 25 genes"),
        ({"start": 90_000_000, "end": 90_000_001, "tss": 90_000_000},
         "no peak lies within 100,000 bp of any of 25 annotated genes, though chromosomes match. .*genome builds"),
    ],
)  # fmt: skip
def test_link_peaks_says_why_there_is_no_pair(change, message):
    dataset, annotation = made()
    with pytest.raises(PriorError, match=message):
        link_peaks(dataset, annotation.assign(**change), CONFIG)


@pytest.mark.parametrize("setting", [{"window_bp": -1}, {"n_null": 3}, {"max_pvalue": 0}, {"windows": 1}])
def test_config_refuses(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        PeakGeneLinkConfig(**setting)


# ---------------------------------------------------------------- planted and real links


def simulated_annotation(genes):
    tss = 500_000 * (1 + np.arange(len(genes)))
    return pd.DataFrame(
        {"gene": list(genes), "chrom": "1", "start": tss, "end": tss + 1, "strand": "+", "tss": tss,
         "gene_id": list(genes)}
    )  # fmt: skip


def test_link_peaks_recovers_planted_links_of_regulated_genes(tmp_path):
    simulation = simulate(SimulationConfig(seed=100))
    dataset = read_dataset(DataDescription(name="s", file=simulation.write(tmp_path)["data"]))
    wide = PeakGeneLinkConfig(window_bp=1_600_000)  # three neighbouring genes to either side
    table = link_peaks(dataset, simulated_annotation(dataset.genes), wide).table
    truth = set(zip(simulation.peak_gene_links["peak"], simulation.peak_gene_links["gene"], strict=True))
    is_true = np.array([pair in truth for pair in zip(table["peak"], table["target"], strict=True)])
    is_regulated = table["target"].isin(simulation.truth["target"]).to_numpy()
    is_linked = table["is_linked"].to_numpy()
    assert is_linked[is_true & is_regulated].mean() > 0.85
    assert is_linked[~is_true].mean() < 0.18
    assert is_true[is_linked].mean() > 2.5 * is_true.mean()


@pytest.fixture(scope="module")
def a549(shared_data):
    path = shared_data / "multiome" / "a549_scicar_dex.h5mu"
    return read_dataset(DataDescription(name="a549", file=path, time_key="time_h", cluster_key="condition"))


@pytest.mark.parametrize("table", ["hg19", "hg19_full"])
def test_link_peaks_of_real_cells_decay_with_distance_and_hold_the_dexamethasone_response(a549, shared_data, table):
    annotation = read_annotation(shared_data / "resources" / f"gene_tss_{table}.parquet")
    links = link_peaks(a549, annotation, PeakGeneLinkConfig())
    assert not any(note.startswith("WARNING") for note in links.notes)
    distance = links.table["distance_bp"].abs()
    near, far = links.table[distance.between(1000, 25_000)], links.table[distance > 75_000]
    assert near["correlation"].mean() > 1.5 * far["correlation"].mean() > 0
    assert near["is_linked"].mean() > far["is_linked"].mean() + 0.04
    # The peak of FKBP5 that opens most on treatment is its best link.
    of_gene = links.table[links.table["target"] == "FKBP5"].set_index("peak")
    treated = a549.labels("cluster") != "dex_0h"
    is_open = (a549.atac[:, of_gene.index].X > 0).toarray()
    change = pd.Series(is_open[treated].mean(axis=0) - is_open[~treated].mean(axis=0), index=of_gene.index)
    assert of_gene["correlation"].idxmax() == change.idxmax() == "chr6:35693503-35694982"
    assert of_gene.loc[change.idxmax(), "is_linked"]


def test_link_peaks_warns_of_another_build(a549, shared_data):
    annotation = read_annotation(shared_data / "resources" / "gene_tss_hg38.parquet")
    notes = link_peaks(a549, annotation, PeakGeneLinkConfig()).notes
    assert any("WARNING" in note and "different genome builds" in note for note in notes)


# ---------------------------------------------------------------- the figure


def test_plot_links_shows_shares_and_counts():
    dataset, annotation = made()
    table = link_peaks(dataset, annotation, CONFIG).table
    scores, distance, counts = plot_links(table).axes
    assert scores.get_title().startswith(f"{(table['zscore'] > 2).mean():.1%} of pairs")
    near = table["distance_bp"].abs().between(25_001, 50_000)
    names = [tick.get_text() for tick in distance.get_xticklabels()]
    shown = dict(zip(names, distance.lines[0].get_ydata(), strict=True))
    assert shown["≤ 50"] == pytest.approx(table.loc[near, "is_linked"].mean())
    per_gene = table.groupby("target")["is_linked"].sum()
    assert sum(bar.get_height() for bar in counts.patches) == len(per_gene)
    assert counts.patches[0].get_height() == (per_gene == 0).sum()


def test_plot_links_draws_few_pairs_without_any_link():
    dataset, annotation = made()
    table = link_peaks(dataset, annotation, CONFIG).table.head(3).assign(is_linked=False)
    plot_links(table).savefig("/dev/null", format="png")
