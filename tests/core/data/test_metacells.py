"""Metacells: groups of neighbours, sums against a loop, profiles against their definition."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.metacells import (
    MIN_METACELLS,
    aggregate,
    assign_metacells,
    metacell_accessibility,
    metacell_expression,
)


def made(n_cells=400, n_genes=12, n_peaks=20, seed=0, counts=True):
    rng = np.random.default_rng(seed)
    raw = sparse.csr_matrix(rng.poisson(1.0, (n_cells, n_genes)).astype(np.float32))
    rna = anndata.AnnData(raw.log1p(), var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    rna.obsm["X_pca"] = rng.normal(size=(n_cells, 5)).astype(np.float32)
    fragments = sparse.csr_matrix(rng.poisson(0.3, (n_cells, n_peaks)).astype(np.float32))
    if counts:
        rna.layers["counts"] = raw
        rna.obs["n_counts"] = rng.integers(100, 300, n_cells).astype(float)
    else:
        fragments = fragments.log1p()
    return Dataset(rna, anndata.AnnData(fragments), DataDescription(name="made", file="made.h5mu"), ())


def permuted(dataset, order):
    return Dataset(dataset.rna[order].copy(), dataset.atac[order].copy(), dataset.description, ())


def test_assign_metacells_numbers_every_group_and_keeps_to_the_size():
    labels = assign_metacells(made(3000), 50)
    sizes = np.bincount(labels)
    assert len(sizes) == 60
    assert sizes.min() > 0
    assert sizes.max() < 110
    np.testing.assert_array_equal(labels, assign_metacells(made(3000), 50))


def test_assign_metacells_puts_neighbours_together():
    dataset = made(600)
    blob = np.repeat(np.arange(30), 20)
    dataset.rna.obsm["X_pca"] = np.eye(30)[blob] * 100 + np.random.default_rng(0).normal(size=(600, 30))
    labels = assign_metacells(dataset, 20)
    assert pd.crosstab(blob, labels).gt(0).sum().sum() <= 35  # an ideal partition has 30 non-empty entries


def test_assign_metacells_does_not_depend_on_the_order_of_cells():
    dataset = made()
    order = np.random.default_rng(1).permutation(dataset.rna.n_obs)
    first, second = assign_metacells(dataset, 10), assign_metacells(permuted(dataset, order), 10)
    np.testing.assert_array_equal(first[order], second)


@pytest.mark.parametrize(("n_cells", "expected"), [(300, MIN_METACELLS), (20, 20), (1, 1), (3000, 60)])
def test_assign_metacells_makes_smaller_groups_of_few_cells(n_cells, expected):
    assert len(np.unique(assign_metacells(made(n_cells), 50))) == expected


def test_aggregate_equals_a_loop():
    dataset = made(500)
    labels = np.random.default_rng(0).integers(0, 150, 500)
    labels[:150] = np.arange(150)
    got = aggregate(dataset.rna.layers["counts"], labels, 151)
    dense = dataset.rna.layers["counts"].toarray()
    np.testing.assert_array_equal(got, [dense[labels == number].sum(axis=0) for number in range(151)])


def test_profiles_pool_counts_over_all_features_and_then_normalise():
    dataset = made()
    labels = assign_metacells(dataset, 10)
    counts, fragments = dataset.rna.layers["counts"].toarray(), dataset.atac.X.toarray()
    for number in (0, 3, labels.max()):
        members = labels == number
        expected = np.log1p(counts[members].sum(0) * 1e4 / dataset.rna.obs["n_counts"].to_numpy()[members].sum())
        np.testing.assert_allclose(
            metacell_expression(dataset, labels, np.array([5, 2]))[number], expected[[5, 2]], rtol=1e-5
        )
        expected = np.log1p(fragments[members].sum(0) * 1e4 / fragments[members].sum())
        np.testing.assert_allclose(
            metacell_accessibility(dataset, labels, np.array([7, 0]))[number], expected[[7, 0]], rtol=1e-5
        )


def test_profiles_average_values_that_are_no_counts():
    dataset = made(counts=False)
    labels = assign_metacells(dataset, 10)
    everything = np.arange(20)
    for matrix, got in (
        (dataset.rna.X.toarray(), metacell_expression(dataset, labels, np.arange(12))),
        (dataset.atac.X.toarray(), metacell_accessibility(dataset, labels, everything)),
    ):
        np.testing.assert_allclose(got[4], matrix[labels == 4].mean(axis=0), rtol=1e-5)
