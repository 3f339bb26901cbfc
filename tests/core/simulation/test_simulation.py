"""The simulated experiment: consistent with its truth, repeatable, and neither trivial nor hopeless."""

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from scmagnify_core.evaluation.scores import score_network
from scmagnify_core.methods.grn.controls import correlation_network, prior_network, random_network
from scmagnify_core.simulation.simulation import SimulationConfig, simulate

SMALL = SimulationConfig(seed=7, n_cells=300, n_sources=30, n_targets=20, n_background=40, max_regulators=2)


@pytest.fixture(scope="module")
def small():
    return simulate(SMALL)


@pytest.fixture(scope="module")
def full():
    return simulate(SimulationConfig(seed=100))  # not seed 0: the demo tunes and tests nothing


def log_normalised(rna: anndata.AnnData) -> np.ndarray:
    counts = rna.X.toarray()
    return np.log1p(1e4 * counts / counts.sum(1, keepdims=True))


def ratio(edges, simulation):
    scores = score_network(edges, simulation.truth, prior=simulation.prior, universe="candidates")
    return scores["auprc_ratio"].item()


def lagged_oracle(simulation, lag_zero=False):
    """|correlation| of log target with each candidate's noise-free level, at its best lag or at lag 0."""
    rna = simulation.mudata["rna"]
    target = log_normalised(rna)
    target = (target - target.mean(0)) / target.std(0)
    levels = simulation.source_levels[:1] if lag_zero else simulation.source_levels[1:]
    levels = (levels - levels.mean(1, keepdims=True)) / levels.std(1, keepdims=True)
    correlation = np.abs(np.einsum("kcp,cq->kpq", levels, target) / len(target)).max(0)
    row, column = (
        rna.var_names.get_indexer(simulation.prior["source"]),
        rna.var_names.get_indexer(simulation.prior["target"]),
    )
    return simulation.prior.assign(score=correlation[row, column])  # sources are the first genes


# ---------------------------------------------------------------- contents


def test_simulate_counts_are_whole_and_mostly_zero(full):
    rna = full.mudata["rna"]
    assert rna.shape == (1500, 40 + 150 + 200 + 24)
    assert rna.X.dtype == np.float32
    assert (rna.X.data == np.rint(rna.X.data)).all()
    network = rna[:, [*full.truth["source"].unique(), *full.truth["target"].unique()]].X
    assert 0.55 < 1 - network.nnz / np.prod(network.shape) < 0.8
    assert rna.X.sum(1).min() > 50


def test_simulate_cells_have_time_lineage_groups_and_embedding(full):
    for modality in full.mudata.mod.values():
        obs = modality.obs
        assert obs["pseudotime"].between(0, 1).all()
        assert set(obs["lineage"]) == {"trunk", "branch_a", "branch_b"}
        assert set(obs["cell_type"]) == {"progenitor", "primed", "early_a", "early_b", "late_a", "late_b"}
        assert set(obs["sample"]) == {"S1", "S2", "S3"}
    rna = full.mudata["rna"]
    assert rna.obsm["X_umap"].shape == (1500, 2)
    trunk = rna.obs.loc[rna.obs["lineage"] == "trunk", "pseudotime"]
    assert trunk.max() < rna.obs.loc[rna.obs["lineage"] == "branch_a", "pseudotime"].median()


def test_simulate_truth_is_acyclic_with_lags_and_signs(full):
    truth = full.truth
    assert not truth.duplicated(["source", "target"]).any()
    assert set(truth["lag"]) == {1, 2, 3, 4, 5}
    assert set(truth["sign"]) == {-1, 1}
    assert 0.25 < (truth["sign"] < 0).mean() < 0.45
    assert truth["target"].str.startswith("TF").any()  # a cascade
    remaining = truth[truth["target"].str.startswith("TF")]
    while len(remaining):  # peel off TFs that nobody regulates
        peeled = remaining[remaining["source"].isin(remaining["target"])]
        assert len(peeled) < len(remaining), "the TF network has a cycle"
        remaining = peeled


def test_simulate_prior_is_implied_by_motifs_and_holds_ten_decoys_per_edge(full):
    linked = full.motif_hits.merge(full.peak_gene_links, on="peak")
    implied = set(zip(linked["source"], linked["gene"], strict=True))
    prior = set(zip(full.prior["source"], full.prior["target"], strict=True))
    truth = set(zip(full.truth["source"], full.truth["target"], strict=True))
    assert implied == prior
    assert len(full.prior) == len(prior) == 11 * len(truth)
    assert truth < prior
    assert all(source != target for source, target in prior)
    peaks = full.mudata["atac"].var_names
    assert peaks.is_unique
    assert set(full.motif_hits["peak"]) <= set(peaks)
    assert (full.peak_gene_links["distance_bp"].abs() <= 100_000).all()


def test_simulate_accessibility_follows_the_linked_gene(full):
    links = full.peak_gene_links[full.peak_gene_links["gene"].str.startswith("G")]
    gene = log_normalised(full.mudata["rna"])[:, full.mudata["rna"].var_names.get_indexer(links["gene"])]
    peak = full.mudata["atac"][:, links["peak"]].X.toarray()
    own = [np.corrcoef(g, p)[0, 1] for g, p in zip(gene.T, peak.T, strict=True)]
    other = [np.corrcoef(g, p)[0, 1] for g, p in zip(gene.T, np.roll(peak, 7, axis=1).T, strict=True)]
    assert np.mean(own) > 0.05
    assert np.mean(own) > 3 * abs(np.mean(other))


def test_simulate_active_receptors_precede_their_tf(full):
    """The pair's correlation over bins of pseudotime peaks where the receptor is taken one lag earlier."""
    rna = full.mudata["rna"]
    expression, time = log_normalised(rna), rna.obs["pseudotime"].to_numpy()

    def profile(gene, at, keep):
        kernel = np.exp(-0.5 * ((at[:, None] - time[None, keep]) / 0.02) ** 2)
        return kernel @ expression[keep, rna.var_names.get_loc(gene)] / kernel.sum(1)

    def association(pair, lag):
        at, parts = np.arange(0.25, 1, 0.02), []
        for other in ("branch_a", "branch_b"):
            keep = np.flatnonzero(rna.obs["lineage"] != other)
            shift = lag * full.config.lag_step
            parts.append((profile(pair.receptor, at - shift, keep), profile(pair.tf, at, keep)))
        return np.corrcoef(*(np.concatenate(side) for side in zip(*parts, strict=True)))[0, 1]

    active = full.receptor_tf[full.receptor_tf["is_active"]]
    assert len(active) == full.config.n_signals
    for pair in active.itertuples():
        by_lag = [association(pair, lag) for lag in range(7)]
        assert max(by_lag) > 0.7
        assert abs(int(np.argmax(by_lag)) - pair.lag) <= 1
    assert set(full.ligand_receptor.loc[full.ligand_receptor["is_active"], "receptor"]) == set(active["receptor"])
    assert not full.ligand_receptor.duplicated(["ligand", "receptor"]).any()


# ---------------------------------------------------------------- how hard it is


def test_simulate_is_hard_for_correlation_and_easy_for_an_oracle(full):
    rna = full.mudata["rna"]
    correlation = ratio(correlation_network(log_normalised(rna), rna.var_names, full.prior), full)
    assert 1.3 < correlation < 2.5
    assert ratio(lagged_oracle(full), full) > 1.7 * correlation
    assert ratio(lagged_oracle(full), full) > ratio(lagged_oracle(full, lag_zero=True), full)


def test_simulate_prior_weights_tell_nothing(full):
    assert ratio(prior_network(full.prior), full) == pytest.approx(1, abs=0.25)
    assert ratio(random_network(full.prior), full) == pytest.approx(1, abs=0.25)


def test_simulate_without_shared_trends_and_lags_correlation_does_better():
    easy = SimulationConfig(seed=100, n_cells=600, n_targets=60, private_trend_share=1, lag_step=0.01, noise_sd=1)
    hard = easy.model_copy(update={"private_trend_share": 0.3, "lag_step": 0.04, "noise_sd": 0.3})
    scores = []
    for config in (easy, hard):
        simulation = simulate(config)
        rna = simulation.mudata["rna"]
        scores.append(ratio(correlation_network(log_normalised(rna), rna.var_names, simulation.prior), simulation))
    assert scores[0] > 1.3 * scores[1]


# ---------------------------------------------------------------- properties


def test_simulate_repeats_by_seed(small):
    again, other = simulate(SMALL), simulate(SMALL.model_copy(update={"seed": 8}))
    for modality in ("rna", "atac"):
        assert (small.mudata[modality].X != again.mudata[modality].X).nnz == 0
    for table in ("prior", "truth", "ligand_receptor", "receptor_tf", "motif_hits", "peak_gene_links"):
        pd.testing.assert_frame_equal(getattr(small, table), getattr(again, table))
    assert not small.truth.equals(other.truth)


def test_write_round_trips(small, tmp_path):
    paths = small.write(tmp_path / "incoming", name="tiny")
    assert sorted(path.name for path in paths.values()) == [
        "tiny.h5mu",
        "tiny.ligand_receptor.parquet",
        "tiny.prior.parquet",
        "tiny.receptor_tf.parquet",
        "tiny.truth.parquet",
    ]
    back = mudata.read_h5mu(paths["data"])
    assert (back["rna"].X != small.mudata["rna"].X).nnz == 0
    assert list(back["atac"].var_names) == list(small.mudata["atac"].var_names)
    pd.testing.assert_frame_equal(pd.read_parquet(paths["truth"]), small.truth)


def test_simulate_caps_decoys_where_tfs_are_few():
    simulation = simulate(SimulationConfig(n_cells=60, n_sources=6, n_targets=5, n_background=10, n_signals=0))
    assert simulation.prior.groupby("target")["source"].nunique().max() <= 6
    assert not simulation.prior.duplicated(["source", "target"]).any()
    assert not simulation.receptor_tf["is_active"].any()


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [({"n_cells": 3}, "greater than or equal to 50"), ({"n_cell": 99}, "Extra inputs are not permitted")],
)
def test_simulation_config_refuses(setting, complaint):
    with pytest.raises(ValidationError, match=complaint):
        SimulationConfig(**setting)
