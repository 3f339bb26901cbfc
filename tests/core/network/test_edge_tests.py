"""p-values of edges: against a regression written out, calibrated on unrelated series, and what is not tested."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.fft import dct

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.diffusion import standardize
from scmagnify_core.network import edge_tests as module
from scmagnify_core.network.edge_tests import edge_pvalues, with_pvalues


def dense_prior(n_sources: int, n_targets: int) -> PriorNetwork:
    sources = [f"T{i:02d}" for i in range(n_sources)]
    targets = [f"g{i:03d}" for i in range(n_targets)]
    pairs = pd.MultiIndex.from_product([targets, sources], names=["target", "source"]).to_frame(index=False)
    return PriorNetwork.from_table(pairs.assign(weight=1.0, evidence="base", origin="test"))


def smooth(rng: np.random.Generator, n_cells: int, n: int, memory: int) -> np.ndarray:
    """Series that forget over some cells, with a trend."""
    kernel = np.exp(-0.5 * (np.arange(-3 * memory, 3 * memory + 1) / memory) ** 2)
    series = [np.convolve(rng.normal(size=n_cells + len(kernel) - 1), kernel, mode="valid") for _ in range(n)]
    return np.array(series).T / np.linalg.norm(kernel) + np.linspace(0, 1, n_cells)[:, None] * rng.normal(size=n)


def test_the_statistic_is_a_regression_over_frequencies_with_hc3_errors():
    rng = np.random.default_rng(0)
    lagged, targets = rng.normal(size=(80, 2, 3)).astype("f4"), rng.normal(size=(80, 1)).astype("f4")
    time = rng.permutation(80) / 80
    order = np.argsort(time)
    line = np.vander(time[order], 2)
    hat = np.eye(80) - line @ np.linalg.pinv(line)
    x = dct(hat @ lagged.mean(axis=1)[order], norm="ortho", axis=0)
    y = dct(hat @ standardize(targets)[order], norm="ortho", axis=0)[:, 0]
    inverse = np.linalg.inv(x.T @ x)
    rest = (y - x @ inverse @ x.T @ y) / (1 - np.einsum("fe,ed,fd->f", x, inverse, x))
    covariance = inverse @ (x.T * rest**2) @ x @ inverse
    expected = 2 * stats.norm.sf(np.abs(inverse @ x.T @ y) / np.sqrt(np.diag(covariance)))
    found = edge_pvalues(lagged, standardize(targets), time, None, dense_prior(3, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("lineages", [None, np.repeat(["a", "b"], 400)])
def test_unrelated_smooth_series_give_uniform_pvalues(lineages):
    """A regression over cells that takes them for independent is wrong here, which shows that the data are hard."""
    rng = np.random.default_rng(3)
    n_cells, memory = 800, 8
    time = np.linspace(0, 1, n_cells) if lineages is None else np.tile(np.linspace(0, 1, n_cells // 2), 2)
    pvalues, naive = [], []
    for _ in range(25):
        sources, targets = smooth(rng, n_cells, 4, memory), smooth(rng, n_cells, 20, memory)
        lagged = np.repeat(sources[:, None].astype("f4"), 2, axis=1)
        pvalues.append(edge_pvalues(lagged, standardize(targets), time, lineages, dense_prior(4, 20)))
        naive.append([stats.pearsonr(sources[:, i], targets[:, j]).pvalue for i in range(4) for j in range(20)])
    pvalues, naive = np.concatenate(pvalues), np.concatenate(naive)
    assert (naive < 0.05).mean() > 0.2
    assert 0.03 < (pvalues < 0.05).mean() < 0.075
    assert (pvalues < 0.01).mean() < 0.025


def test_a_true_regulator_is_found_beside_its_trend():
    rng = np.random.default_rng(4)
    sources = smooth(rng, 600, 5, 4)
    targets = sources[:, [0]] - 0.7 * sources[:, [1]] + rng.normal(size=(600, 1))
    lagged = np.repeat(sources[:, None].astype("f4"), 2, axis=1)
    pvalue = edge_pvalues(lagged, standardize(targets), np.linspace(0, 1, 600), None, dense_prior(5, 1))
    assert (pvalue[:2] < 1e-6).all()
    assert (pvalue[2:] > 0.001).all()


def test_what_cannot_be_tested_is_left_open():
    rng = np.random.default_rng(5)
    time = np.linspace(0, 1, 40)
    lagged = rng.normal(size=(40, 2, 35)).astype("f4")
    targets = rng.normal(size=(40, 2)).astype("f4")
    assert np.isnan(edge_pvalues(lagged, standardize(targets), time, None, dense_prior(35, 2))).all()
    targets[:, 1] = 3.0
    few = edge_pvalues(lagged[:, :, :2], standardize(targets), time, None, dense_prior(2, 2))
    assert np.isfinite(few[:2]).all()
    assert np.isnan(few[2:]).all()
    nowhere = edge_pvalues(lagged[:, :, :2], standardize(targets), time, np.full(40, np.nan), dense_prior(2, 2))
    assert np.isnan(nowhere).all()


def test_the_table_gets_pvalues_by_name():
    prior = dense_prior(2, 2)
    edges = prior.to_table()[["source", "target"]].sample(frac=1, random_state=0)
    tested = with_pvalues(edges, prior, np.array([0.01, 0.02, 0.5, np.nan])).set_index(["target", "source"])
    assert tested.loc[("g000", "T01"), "pvalue"] == 0.02
    assert tested.loc[("g000", "T00"), "padj"] == pytest.approx(0.03)
    assert np.isnan(tested.loc[("g001", "T01"), "padj"])


def test_blocks_of_targets_do_not_matter(monkeypatch):
    rng = np.random.default_rng(6)
    lagged, targets = rng.normal(size=(90, 2, 4)).astype("f4"), standardize(rng.normal(size=(90, 7)))
    time, prior = rng.random(90), dense_prior(4, 7)
    whole = edge_pvalues(lagged, targets, time, None, prior)
    monkeypatch.setattr(module, "BLOCK_TARGETS", 3)
    np.testing.assert_allclose(edge_pvalues(lagged, targets, time, None, prior), whole)
