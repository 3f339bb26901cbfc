import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from scmagnify_core import diffusion
from scmagnify_core.data.dataset import Dataset
from scmagnify_core.diffusion import (
    DiffusionConfig,
    DiffusionOperators,
    cell_graph,
    diffusion_operators,
    lagged_expression,
    plan_memory,
    standardize,
    steps_of_lags,
    transition_matrix,
)
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
    lagged = lagged_expression(
        transition, values, (1, 2, 3), standardize_lagged=False, progress=lambda *n: seen.append(n)
    )
    scaled = np.clip((values - values.mean(0)) / values.std(0), -5, 5)
    dense = transition.toarray().astype(float)
    for lag in range(3):
        expected = np.linalg.matrix_power(dense, lag + 1) @ scaled
        np.testing.assert_allclose(lagged[:, lag], expected, atol=1e-5)
    assert seen == [(4, 4)]


def test_standardised_lags_have_unit_spread(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).standard_normal((120, 4)).astype(np.float32)
    plain = lagged_expression(transition, values, (1, 2, 3, 4), standardize_lagged=False)
    assert plain[:, 3].std(axis=0).mean() < plain[:, 0].std(axis=0).mean()  # diffusion shrinks
    np.testing.assert_allclose(lagged_expression(transition, values, (1, 2, 3, 4)).std(axis=0), 1, atol=1e-3)


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


# ---------------------------------------------------------------- blocks, files and memory


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that every loop over them turns several times, the last block shorter."""
    monkeypatch.setattr(diffusion, "BLOCK_VALUES", 64)
    monkeypatch.setattr(diffusion, "BLOCK_SOURCES", 3)
    monkeypatch.setattr(diffusion, "SEARCH_CELLS", 50)


@pytest.mark.parametrize("acyclic", ["strict", "two_cycles"])
def test_blocks_of_rows_do_not_change_the_transition(cells, request, acyclic):
    coordinates, time = cells
    directed = sparse.random(120, 120, 0.1, format="csr", random_state=0) - sparse.eye(120, 120, 3)
    for graph in (cell_graph(coordinates, 7), directed.tocsr().astype(np.float32)):
        whole = transition_matrix(graph, time, acyclic)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diffusion, "BLOCK_VALUES", 64)
            blocks = transition_matrix(graph, time, acyclic)
        np.testing.assert_array_equal(blocks.toarray(), whole.toarray())


def test_published_rule_equals_dense_reference(cells):
    coordinates, time = cells
    graph = cell_graph(coordinates, 7)
    dense, advance = graph.toarray(), (time[None] - time[:, None]) / np.ptp(time)
    dense = np.where(advance >= 0, dense, dense * 2 / np.sqrt(1 + np.exp(-10 * advance)))
    first = np.arange(120)[:, None] < np.arange(120)
    dense = np.where((dense > dense.T) | ((dense == dense.T) & first), dense, 0).T
    total = dense.sum(axis=1, keepdims=True)
    expected = np.where(total > 0, dense / np.where(total > 0, total, 1), np.eye(120))
    np.testing.assert_allclose(transition_matrix(graph, time, "two_cycles").toarray(), expected, atol=1e-6)


def test_repeated_and_whole_number_steps_are_summed_and_the_graph_is_left_as_it_came():
    graph = sparse.csr_matrix(
        (np.array([1, 2, 1]), np.array([2, 2, 2]), np.array([0, 2, 3, 3])), shape=(3, 3)
    )  # twice 0 -> 2
    transition = transition_matrix(graph, np.array([0.0, 1.0, 2.0])).toarray()
    np.testing.assert_allclose(transition, [[1, 0, 0], [0, 1, 0], [0.75, 0.25, 0]])
    assert graph.nnz == 3


def test_standardize_equals_float64_arithmetic_on_one_block(small_blocks):
    values = (1e4 + np.random.default_rng(0).standard_normal((1000, 7))).astype(np.float32)  # far from zero
    exact = values.astype(np.float64)
    expected = np.clip((exact - exact.mean(axis=0)) / exact.std(axis=0), -5, 5)
    np.testing.assert_allclose(standardize(values), expected, atol=1e-6)
    given = np.empty((1000, 2, 7), dtype=np.float32)
    standardize(values, out=given[:, 1])
    np.testing.assert_array_equal(given[:, 1], standardize(values))


def test_lagged_expression_in_a_file_is_the_same_to_the_bit(cells, small_blocks):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).gamma(1.0, size=(120, 10)).astype(np.float32)
    held = lagged_expression(transition, values, (1, 2, 3))
    for file_block in (3, 6, 12):
        mapped = lagged_expression(transition, values, (1, 2, 3), file_block=file_block)
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(mapped, held)
    batch = torch.tensor([0, 119, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as torch's about arrays that cannot be written
        assert torch.equal(torch.from_numpy(mapped)[batch], torch.from_numpy(held)[batch])


def test_the_order_of_work_does_not_change_a_bit(cells, small_blocks):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).gamma(1.0, size=(120, 10)).astype(np.float32)
    for standardized in (True, False):
        sorted_, plain = (
            lagged_expression(transition, values, (1, 2, 3), order=order, standardize_lagged=standardized)
            for order in (np.argsort(time), None)
        )
        np.testing.assert_array_equal(sorted_, plain)


def test_indexed_neighbours_are_nearly_all_of_the_exact_ones():
    rng = np.random.default_rng(0)
    time = rng.random(5000)
    coordinates = np.column_stack([np.sin(3 * time), np.cos(2 * time), 0.2 * rng.standard_normal((5000, 20))])
    coordinates = coordinates.astype(np.float32)
    distance, index = diffusion._indexed_neighbors(coordinates, 31)
    exact_distance, exact = diffusion._exact_neighbors(coordinates, 31)
    np.testing.assert_array_equal(index[:, 0], np.arange(5000))
    found = np.mean([len(set(a) & set(b)) / 31 for a, b in zip(index, exact, strict=True)])
    assert found > 0.99
    same = (index == exact).all(axis=1)
    np.testing.assert_allclose(distance[same], exact_distance[same], atol=2e-3)


def test_cells_in_lists_that_are_too_small_still_get_all_their_neighbours(monkeypatch):
    monkeypatch.setattr(diffusion, "N_PROBES", 1)
    rng = np.random.default_rng(0)
    far = np.repeat([[100.0, 0.0], [0.0, 100.0]], 6, axis=0)  # two groups of six cells, far from all others
    coordinates = np.concatenate([rng.standard_normal((2000, 2)), far + 0.1 * rng.standard_normal((12, 2))])
    _, index = diffusion._indexed_neighbors(coordinates.astype(np.float32), 15)
    assert index.min() >= 0
    assert set(index[2000, :6]) == set(range(2000, 2006))


HASH_OF_GRAPH = """
import hashlib, numpy as np
from scmagnify_core import diffusion
diffusion.EXACT_NEIGHBORS_LIMIT = 100
rng = np.random.default_rng(0)
graph = diffusion.cell_graph(rng.standard_normal((9000, 20)).astype("f4") / np.arange(1, 21, dtype="f4"), 15)
print(hashlib.sha256(graph.data.tobytes() + graph.indices.tobytes()).hexdigest())
"""


def test_the_indexed_graph_does_not_depend_on_the_number_of_threads():
    hashes = [
        subprocess.run(
            [sys.executable, "-c", HASH_OF_GRAPH], capture_output=True, text=True, check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "3")
    ]  # fmt: skip
    assert hashes[0] == hashes[1]


def operators_of(n_cells, n_sources, n_lags=2):
    rng = np.random.default_rng(0)
    lagged = rng.standard_normal((n_cells, n_lags, n_sources)).astype(np.float32)
    names = tuple(f"TF{number}" for number in range(n_sources))
    return DiffusionOperators(sparse.random(n_cells, n_cells, 5 / n_cells, "csr", np.float32, rng), lagged, names)


def test_stored_operators_come_back_mapped_and_private(tmp_path):
    path = tmp_path / "operators.safetensors"
    made = operators_of(50, 4)
    made.write(path)
    content = path.read_bytes()
    again = DiffusionOperators.load(path)
    np.testing.assert_array_equal(again.lagged, made.lagged)
    np.testing.assert_array_equal(again.transition.toarray(), made.transition.toarray())
    assert again.sources == made.sources
    again.lagged[:] = 0  # private: the store's file must not follow
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_stored_operators_takes_no_memory_of_their_size(tmp_path):
    path = tmp_path / "operators.safetensors"
    operators_of(100_000, 50).write(path)  # 40 MB
    script = f"""
import torch
from pathlib import Path
from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.memory import memory_in_use
DiffusionOperators.load(Path({str(path)!r})).lagged.sum()  # libraries are in place
before = memory_in_use()
operators = DiffusionOperators.load(Path({str(path)!r}))
lagged = torch.from_numpy(operators.lagged)
lagged[torch.arange(0, len(lagged), 7)].sum()
print(memory_in_use() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 25e6  # the transition and a batch


def dataset_of(n_cells, n_sources, graph=None):
    """What the operators read of a data set."""
    import anndata

    rng = np.random.default_rng(0)
    rna = anndata.AnnData(sparse.random(n_cells, n_sources, 0.3, "csr", np.float32, rng))
    rna.var_names = [f"TF{number}" for number in range(n_sources)]
    rna.obs["pseudotime"] = time = rng.random(n_cells)
    rna.obsm["X_pca"] = np.column_stack([3 * time, rng.standard_normal((n_cells, 9))]).astype(np.float32)
    if graph is not None:
        rna.obsp["transition"] = graph
    return Dataset(rna, None, SimpleNamespace(), ())


@pytest.fixture
def nothing_in_use(monkeypatch):
    monkeypatch.setattr(diffusion, "memory_in_use", lambda: 0)


def test_a_budget_decides_where_the_lagged_expression_lies_and_nothing_else(nothing_in_use):
    data = dataset_of(2000, 100)
    names = tuple(data.genes)
    roomy = plan_memory(data, 100, 5, DiffusionConfig(), 10**9)
    assert roomy.file_block is None
    assert roomy.needed_bytes <= 10**9
    tight = plan_memory(data, 100, 5, DiffusionConfig(), roomy.needed_bytes - 1)
    assert tight.file_block in (32, 64, 96)
    assert tight.needed_bytes <= tight.budget_bytes
    held = diffusion_operators(data, names, 5, plan=roomy)
    mapped = diffusion_operators(data, names, 5, plan=tight)
    np.testing.assert_array_equal(mapped.lagged, held.lagged)
    np.testing.assert_array_equal(mapped.transition.toarray(), held.transition.toarray())


def test_operators_beyond_the_budget_are_refused_before_work(nothing_in_use):
    data = dataset_of(2000, 100)
    with pytest.raises(InputError, match=r"100 TFs and 5 lags: need .* memory_budget is 3 MB .*fewer lags"):
        plan_memory(data, 100, 5, DiffusionConfig(), 3_000_000)


def test_a_file_that_the_disk_cannot_hold_is_refused(nothing_in_use, monkeypatch):
    data = dataset_of(2000, 100)
    needed = plan_memory(data, 100, 5, DiffusionConfig(), 10**9).needed_bytes
    monkeypatch.setattr(diffusion.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(InputError, match="takes 8 MB; .* has 1 MB free. Set TMPDIR"):
        plan_memory(data, 100, 5, DiffusionConfig(), needed - 1)


PEAK = """
import sys, threading, time
sys.path.insert(0, {tests!r})
from test_diffusion import dataset_of
from scmagnify_core import diffusion
from scmagnify_core.memory import memory_in_use
config = diffusion.DiffusionConfig()
warm = dataset_of(300, 3)
diffusion.diffusion_operators(warm, tuple(warm.genes), 1)  # libraries are in place
data = dataset_of(8000, 1000)  # 160 MB of lagged expression
plan = diffusion.plan_memory(data, 1000, 5, config, 10**10)
if {tight}:
    plan = diffusion.plan_memory(data, 1000, 5, config, plan.needed_bytes - 120 * 10**6)
peak, done = [0], threading.Event()
before = memory_in_use()
def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], memory_in_use())
watcher = threading.Thread(target=watch)
watcher.start()
diffusion.diffusion_operators(data, tuple(data.genes), 5, config, plan=plan)
done.set()
watcher.join()
print(peak[0] - before, plan.needed_bytes - before, plan.file_block is None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("tight", [False, True])
def test_the_estimated_peak_is_kept(tight):
    script = PEAK.format(tests=str(Path(__file__).parent), tight=tight)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    peak, estimated, in_memory = done.stdout.split()
    assert (in_memory == "True") == (not tight)
    assert 0.5 * int(estimated) < int(peak) < int(estimated) + 20e6, (peak, estimated)


def test_a_lag_is_the_same_length_of_pseudotime_whatever_the_number_of_cells():
    rng = np.random.default_rng(0)
    time = rng.random(1600)
    coordinates = np.c_[3 * time, rng.normal(scale=0.2, size=(1600, 2))]
    reached = []
    for n_cells in (1600, 400):
        own = time[:n_cells]
        transition = transition_matrix(cell_graph(coordinates[:n_cells], 10), own)
        steps = steps_of_lags(transition, own, 4, 0.06)
        assert (np.diff(steps) > 0).all()
        lagged = lagged_expression(transition, own[:, None].astype("f4"), steps, standardize_lagged=False)
        back = (own - own.mean())[:, None] / own.std() - lagged[:, :, 0]
        reached.append(np.median(back, axis=0) * own.std())
        if n_cells == 1600:
            hop = np.median(own - transition @ own)
            assert hop < 0.06
    np.testing.assert_allclose(reached[0], 0.06 * np.arange(1, 5), atol=0.008)
    np.testing.assert_allclose(reached[0], reached[1], atol=0.012)


def test_the_published_lag_is_a_step_and_a_lag_is_never_less_than_one(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    np.testing.assert_array_equal(steps_of_lags(transition, time, 3, None), [1, 2, 3])
    assert (steps_of_lags(transition, time, 3, 1e-6) == 1).all()
    far = steps_of_lags(transition, time, 3, 0.5)  # beyond the start of most cells' past
    assert np.isfinite(far).all()


def test_between_two_numbers_of_steps_expression_is_interpolated(cells):
    coordinates, time = cells
    transition = transition_matrix(cell_graph(coordinates, 7), time)
    values = np.random.default_rng(2).gamma(1.0, size=(120, 4)).astype(np.float32)
    whole = lagged_expression(transition, values, (1, 2, 3, 4), standardize_lagged=False)
    found = lagged_expression(transition, values, (1.25, 3.5), standardize_lagged=False)
    np.testing.assert_allclose(found[:, 0], 0.75 * whole[:, 0] + 0.25 * whole[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0.5 * whole[:, 2] + 0.5 * whole[:, 3], atol=1e-5)
