import numpy as np
import pytest
from scipy import sparse

from scmagnify_core.diffusion import cell_graph, lagged_expression, standardize, transition_matrix
from scmagnify_core.errors import InputError


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    time = rng.random(120)
    coordinates = np.column_stack([time, 0.1 * rng.standard_normal((120, 3))]).astype(np.float32)
    return coordinates, time


def test_cell_graph_is_the_symmetric_union_of_nearest_neighbours(cells):
    coordinates, _ = cells
    graph = cell_graph(coordinates, 7)
    distance = np.linalg.norm(coordinates[:, None].astype(float) - coordinates[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :7]
    expected = np.zeros((120, 120), dtype=bool)
    expected[np.arange(120)[:, None], nearest] = True
    np.testing.assert_array_equal(graph.toarray() > 0, expected | expected.T)
    np.testing.assert_allclose(graph.toarray(), graph.toarray().T)
    assert graph.diagonal().max() == 0
    assert graph.max() <= 1


def test_cell_graph_survives_identical_cells():
    graph = cell_graph(np.zeros((10, 2), dtype=np.float32), 3)
    assert np.isfinite(graph.data).all()
    assert graph.diagonal().max() == 0


def test_transition_equals_dense_reference(cells):
    coordinates, time = cells
    graph = cell_graph(coordinates, 7)
    dense = graph.toarray()
    expected = np.zeros_like(dense)
    for cell in range(len(time)):
        ancestors = (dense[:, cell] > 0) & (time < time[cell])
        if ancestors.any():
            expected[cell, ancestors] = dense[ancestors, cell] / dense[ancestors, cell].sum()
        else:
            expected[cell, cell] = 1
    np.testing.assert_allclose(transition_matrix(graph, time).toarray(), expected, atol=1e-6)


def test_strict_transition_is_acyclic_and_stochastic(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    order = np.argsort(time)
    ordered = transition.toarray()[np.ix_(order, order)]
    assert np.triu(ordered, 1).max() == 0  # nothing comes from later cells
    np.testing.assert_allclose(ordered.sum(axis=1), 1, rtol=1e-5)
    roots = np.diag(ordered) > 0
    assert 0 < roots.sum() < 20
    np.testing.assert_array_equal(ordered[roots].sum(axis=1) - np.diag(ordered)[roots], 0)


def test_strict_transition_depends_on_the_order_of_pseudotime_only(cells):
    coordinates, time = cells
    graph = cell_graph(coordinates, 7)
    same = transition_matrix(graph, np.exp(5 * time))
    np.testing.assert_array_equal(transition_matrix(graph, time).toarray(), same.toarray())


def test_permuting_cells_permutes_the_transition(cells):
    coordinates, time = cells
    graph = cell_graph(coordinates, 7)
    order = np.random.default_rng(1).permutation(len(time))
    permuted = transition_matrix(graph[order][:, order], time[order])
    np.testing.assert_allclose(permuted.toarray(), transition_matrix(graph, time).toarray()[np.ix_(order, order)])


def test_published_rule_leaves_no_two_cycle_but_backward_edges(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time, "two_cycles").toarray()
    both = (transition > 0) & (transition.T > 0)
    np.fill_diagonal(both, False)
    assert not both.any()
    np.testing.assert_allclose(transition.sum(axis=1), 1, rtol=1e-5)


def test_a_directed_graph_is_read_from_row_to_column():
    """Rows are 'from': a step 0 -> 1 makes 0 an ancestor of 1. Negative velocity-graph entries are no steps."""
    graph = sparse.csr_matrix(np.array([[0, 0.8, -0.5], [0.3, 0, 0.7], [0, 0, 0]]))
    transition = transition_matrix(graph, np.array([0.0, 1.0, 2.0])).toarray()
    np.testing.assert_allclose(transition, [[1, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_lagged_expression_equals_powers_of_the_transition(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).gamma(1.0, size=(120, 4)).astype(np.float32)
    seen = []
    lagged = lagged_expression(transition, values, 3, standardize_lagged=False, progress=lambda *n: seen.append(n))
    scaled = np.clip((values - values.mean(0)) / values.std(0), -5, 5)
    dense = transition.toarray().astype(float)
    for lag in range(3):
        expected = np.linalg.matrix_power(dense, lag + 1) @ scaled
        np.testing.assert_allclose(lagged[:, lag], expected, atol=1e-5)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_standardised_lags_have_unit_spread(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).standard_normal((120, 4)).astype(np.float32)
    plain = lagged_expression(transition, values, 4, standardize_lagged=False)
    assert plain[:, 3].std(axis=0).mean() < plain[:, 0].std(axis=0).mean()  # diffusion shrinks
    np.testing.assert_allclose(lagged_expression(transition, values, 4).std(axis=0), 1, atol=1e-3)


def test_standardize_clips_and_zeroes_constant_genes():
    values = np.zeros((100, 2), dtype=np.float32)
    values[0, 0], values[:, 1] = 1000, 3
    scaled = standardize(values)
    assert scaled[:, 0].max() == 5
    np.testing.assert_array_equal(scaled[:, 1], 0)


def test_a_graph_against_the_pseudotime_is_refused():
    graph = sparse.csr_matrix(np.array([[0, 0], [1.0, 0]]))
    with pytest.raises(InputError, match="no step of the cell graph goes forward in pseudotime"):
        transition_matrix(graph, np.array([0.0, 1.0]))


def test_a_cell_graph_needs_cells():
    with pytest.raises(InputError, match="2 are not a trajectory"):
        cell_graph(np.zeros((2, 2), dtype=np.float32), 5)
