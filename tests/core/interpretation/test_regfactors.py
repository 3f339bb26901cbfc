"""RegFactors against tensorly, numpy and planted tensors."""

import numpy as np
import pandas as pd
import pytest
import tensorly
from hypothesis import given, settings
from hypothesis import strategies as st

from scmagnify_core.errors import InputError
from scmagnify_core.interpretation import regfactors
from scmagnify_core.interpretation.regfactors import RegFactorConfig, count_supported, decompose
from scmagnify_core.network.network import Network
from scmagnify_core.plots.regfactors import plot_regfactors
from scmagnify_core.tables.catalogue import TABLES, tables_of


def names(prefix, n):
    return [f"{prefix}{i:03d}" for i in range(n)]


def network_of(tensor):
    return Network.from_tensor(tensor, names("TF", tensor.shape[1]), names("g", tensor.shape[2]))


def noise(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


def low_rank(seed=0, shape=(5, 20, 40), rank=(2, 3, 3), sd=0.0):
    """Tucker tensor whose components have energies of one order, plus noise of relative size ``sd``."""
    rng = np.random.default_rng(seed)
    factors = [np.linalg.qr(rng.normal(size=(n, r)))[0] for n, r in zip(shape, rank, strict=True)]
    core = rng.normal(size=rank)
    signal = np.einsum("abc,ka,pb,qc->kpq", core, *factors)
    return signal + sd * np.sqrt((signal**2).mean()) * rng.normal(size=shape)


def blocks():
    """Three modules with their own TFs, targets and lags; the second is repressed."""
    tensor = np.zeros((5, 12, 30))
    tensor[0:2, 0:3, 0:12] = 1.0
    tensor[2, 4:8, 12:22] = -0.9
    tensor[4, 8:10, 22:28] = 0.6
    return tensor


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize("rank", [(2, 3, 3), (1, 1, 1), (3, 5, 8), (5, 20, 40)])
def test_decompose_explains_as_much_as_tensorly_and_numpy_say(rank):
    tensor = low_rank(sd=0.7)
    value = decompose(network_of(tensor), RegFactorConfig(rank=rank))
    factors = [value.lag_factors, value.source_factors, value.target_factors]
    rebuilt = tensorly.tucker_to_tensor((value.core, factors))
    assert value.explained_share == pytest.approx(1 - ((tensor - rebuilt) ** 2).sum() / (tensor**2).sum(), abs=1e-9)
    reference = tensorly.tucker_to_tensor(
        tensorly.decomposition.tucker(tensor, rank=list(value.rank), n_iter_max=500, tol=1e-12)
    )
    np.testing.assert_allclose(rebuilt, reference, atol=2e-3)


def test_decompose_of_full_rank_is_exact():
    tensor = noise(0, (3, 6, 8))
    value = decompose(network_of(tensor), RegFactorConfig(rank=(3, 6, 8)))
    assert value.explained_share == pytest.approx(1, abs=1e-10)
    rebuilt = np.einsum(
        "abc,ka,pb,qc->kpq", value.core, value.lag_factors, value.source_factors, value.target_factors
    )
    np.testing.assert_allclose(rebuilt, tensor, atol=1e-8)


def test_decompose_has_orthonormal_factors_and_principal_lag_and_tf_components():
    value = decompose(network_of(low_rank(sd=0.5)), RegFactorConfig(rank=(2, 3, 4)))
    for factor in (value.lag_factors, value.source_factors, value.target_factors):
        np.testing.assert_allclose(factor.T @ factor, np.eye(factor.shape[1]), atol=1e-10)
        assert (factor[np.abs(factor).argmax(axis=0), range(factor.shape[1])] > 0).all()
    for mode in range(2):
        unfolding = np.moveaxis(value.core, mode, 0).reshape(value.core.shape[mode], -1)
        gram = unfolding @ unfolding.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-8)
        assert (np.diff(np.diag(gram)) <= 1e-10).all()


def test_decompose_links_are_the_leading_pair_of_the_contracted_core():
    value = decompose(network_of(low_rank(sd=0.5)), RegFactorConfig(rank=(3, 4, 4)))
    for r in range(4):
        matrix = value.lag_factors @ value.core[:, :, r] @ value.source_factors.T
        left, s, right = np.linalg.svd(matrix)
        assert value.link_share[r] == pytest.approx(s[0] ** 2 / (matrix**2).sum())
        np.testing.assert_allclose(
            np.outer(value.lag_profiles[:, r], value.source_loadings[:, r]), np.outer(left[:, 0], right[0]), atol=1e-8
        )
        assert value.energy_share[r] == pytest.approx((matrix**2).sum() / (value.core**2).sum())


# ---------------------------------------------------------------- planted


def test_decompose_recovers_planted_blocks_with_lag_sign_and_members():
    tensor = blocks() + 0.05 * noise(1, blocks().shape)
    value = decompose(network_of(tensor), RegFactorConfig(rank=(3, 3, 3), n_top=4))
    loadings = value.tables()["regfactor_loadings"]
    table = value.tables()["regfactors"].set_index("regfactor")
    expected = {
        "RF1": ({0, 1}, {0, 1, 2}, set(range(12)), 1),
        "RF2": ({2}, {4, 5, 6, 7}, set(range(12, 22)), -1),
        "RF3": ({4}, {8, 9}, set(range(22, 28)), 1),
    }
    for name, (lags, sources, targets, sign) in expected.items():
        part = loadings[loadings["regfactor"] == name]
        for mode, members in (("lag", lags), ("source", sources), ("target", targets)):
            loading = part.loc[part["mode"] == mode, "loading"].to_numpy()
            assert set(np.argsort(-np.abs(loading))[: len(members)]) == members
            assert (np.sign(loading[list(members)]) == (sign if mode == "source" else 1)).all()
        assert table.loc[name, "peak_lag"] - 1 in lags
        assert table.loc[name, "link_share"] > 0.95
    assert table["energy_share"].is_monotonic_decreasing
    assert table.loc["RF1", "energy_share"] == pytest.approx(72 / (72 + 40 * 0.81 + 12 * 0.36), abs=0.03)
    assert table["top_sources"].str.split(", ").str.len().eq(4).all()


def test_decompose_links_across_unequal_indices():
    """Two modules share lag and TF components crosswise: joining columns of equal index would name the wrong TFs."""
    tensor = np.zeros((2, 4, 12))
    tensor[0, 0:2, 0:6] = 1.0  # module 1: strong, lag 1, TFs 0-1
    tensor[0, 2:4, 6:9] = 1.0  # modules 2 and 3 together make TFs 2-3 the stronger TF component
    tensor[1, 2:4, 9:12] = 1.2
    value = decompose(network_of(tensor + 1e-3 * noise(0, tensor.shape)), RegFactorConfig(rank=(2, 2, 3)))
    for r in range(3):
        target = int(np.abs(value.target_factors[:, r]).argmax())
        source = int(np.abs(value.source_loadings[:, r]).argmax())
        assert (source in (0, 1)) == (target < 6)
        assert value.link_share[r] > 0.99


def one_lag_each(n_modules: int, sizes: tuple[int, int] = (4, 30), sd: float = 0.1, seed: int = 1) -> np.ndarray:
    """Modules of equal energy, each with its own lag, TFs and targets: no mode's spectrum tells them apart."""
    n_sources, n_targets = sizes
    tensor = sd * noise(seed, (n_modules, n_modules * n_sources, n_modules * n_targets + 20))
    for module in range(n_modules):
        rows = slice(module * n_sources, (module + 1) * n_sources)
        tensor[module, rows, module * n_targets : (module + 1) * n_targets] += 1.0
    return tensor


def purity(value: regfactors.RegFactors, module: int, n_targets: int = 30) -> float:
    """Share of the best RegFactor's squared target loadings that lie inside a module."""
    inside = np.isin(value.targets, names("g", (module + 1) * n_targets)[module * n_targets :])
    return float((value.target_factors[inside] ** 2).sum(axis=0).max())


@pytest.mark.parametrize("n_modules", [3, 5])
def test_decompose_recovers_modules_of_equal_energy_with_one_lag_each(n_modules):
    found = [count_supported(network_of(one_lag_each(n_modules, seed=seed))) for seed in range(5)]
    assert sorted(found)[2] == n_modules  # one more is found now and then, as is to be expected of a test
    assert set(found) <= {n_modules, n_modules + 1}
    value = decompose(network_of(one_lag_each(n_modules)))
    assert value.n_supported == n_modules
    assert value.rank == (n_modules, n_modules, n_modules)
    assert min(purity(value, module) for module in range(n_modules)) > 0.95
    assert sorted(np.abs(value.lag_profiles).argmax(axis=0)) == list(range(n_modules))


def test_decompose_recovers_modules_of_which_only_some_edges_are_candidates():
    tensor = one_lag_each(5)
    tensor[:, np.random.default_rng(0).random(tensor.shape[1:]) > 0.3] = 0
    value = decompose(network_of(tensor), RegFactorConfig(rank=(5, 5, 5)))
    assert min(purity(value, module) for module in range(5)) > 0.9


@pytest.mark.parametrize("kept", [1.0, 0.3])
@pytest.mark.parametrize("lags", [([0, 1], [1, 2], [3, 4]), ([1], [1], [1])])
def test_decompose_chooses_a_rank_that_shows_modules_of_equal_energy(lags, kept):
    tensor = 0.1 * noise(0, (5, 20, 200))
    for module, lag in enumerate(lags):
        tensor[np.ix_(lag, range(4 * module, 4 * module + 4), range(30 * module, 30 * module + 30))] += 1.0
    tensor[:, np.random.default_rng(0).random(tensor.shape[1:]) >= kept] = 0
    value = decompose(network_of(tensor))
    assert value.rank[2] >= 3
    assert kept < 1 or value.rank[2] == 3
    assert min(purity(value, module) for module in range(3)) > 0.9
    for module, lag in enumerate(lags):
        first = value.targets.index(names("g", 200)[30 * module + 5])
        factor = np.abs(value.target_factors[first : first + 10]).sum(axis=0).argmax()
        assert (
            np.isin(value.sources, names("TF", 20)[4 * module : 4 * module + 4])
            @ (value.source_loadings[:, factor] ** 2)
            > 0.9
        )
        assert set(np.argsort(-np.abs(value.lag_profiles[:, factor]))[: len(lag)]) == set(lag)


def test_decompose_of_equal_modules_follows_permuted_genes_and_lags():
    """Energies tie, so that the principal axes are arbitrary; varimax finds the same modules from any of them."""
    tensor = one_lag_each(4)
    rng = np.random.default_rng(1)
    order = [rng.permutation(n) for n in tensor.shape]
    one, other = decompose(network_of(tensor)), decompose(network_of(tensor[np.ix_(*order)]))
    assert one.rank == other.rank == (4, 4, 4)
    np.testing.assert_allclose(other.target_factors, one.target_factors[order[2]], atol=1e-3)
    np.testing.assert_allclose(other.source_loadings, one.source_loadings[order[1]], atol=1e-3)
    np.testing.assert_allclose(other.lag_profiles, one.lag_profiles[order[0]], atol=1e-3)


@pytest.mark.parametrize("rank", [(1, 2, 2), (2, 5, 3), (4, 4, 7)])
def test_decompose_takes_the_rank_it_is_given(rank):
    assert decompose(network_of(one_lag_each(4)), RegFactorConfig(rank=rank)).rank == rank


def test_energy_share_is_that_of_the_reconstructed_network():
    value = decompose(network_of(low_rank(sd=0.7)), RegFactorConfig(rank=(2, 3, 4)))
    parts = np.einsum("abr,ka,pb,qr->rkpq", value.core, value.lag_factors, value.source_factors, value.target_factors)
    energy = (parts**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(value.energy_share, energy / (parts.sum(axis=0) ** 2).sum())


def test_varimax_finds_modules_in_their_even_mixture():
    """The gradient of the criterion is 0 there."""
    modules = np.zeros((20, 2))
    modules[:10, 0] = modules[10:, 1] = 10**-0.5
    rotated = regfactors._varimax(modules @ np.array([[1, 1], [1, -1]]) / 2**0.5)
    np.testing.assert_allclose(np.sort((rotated[[0, 10]] * 10**0.5) ** 2, axis=None), [0, 0, 1, 1], atol=1e-10)


def test_varimax_is_orthogonal_and_raises_the_variance_of_squared_loadings():
    loadings = np.linalg.qr(noise(4, (40, 4)))[0]
    rotated = regfactors._varimax(loadings)
    np.testing.assert_allclose(rotated.T @ rotated, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(rotated @ rotated.T, loadings @ loadings.T, atol=1e-10)  # the same subspace
    assert (rotated**2).var(axis=0).sum() > (loadings**2).var(axis=0).sum()


@pytest.mark.parametrize("rank", [(1, 1, 1), (1, 3, 3), (2, 3, 4), (3, 4, 4)])
def test_count_supported_finds_the_planted_number_of_regfactors(rank):
    found = [count_supported(network_of(low_rank(seed, (6, 30, 60), rank, sd=0.3))) for seed in range(3)]
    # Components are random and some are weaker than the noise, so that one may be missed.
    assert sum(n == rank[2] for n in found) >= 2
    assert all(0 <= rank[2] - n <= 1 for n in found)


@pytest.mark.parametrize("density", [0.3, 0.6])
def test_count_supported_does_not_take_the_pattern_of_candidates_for_components(density):
    for seed in range(3):
        tensor = low_rank(seed, (5, 30, 60), (2, 3, 3), sd=0.5)
        tensor[:, np.random.default_rng(seed).random((30, 60)) > density] = 0
        assert count_supported(network_of(tensor)) <= 4


@pytest.mark.parametrize("strengths", [(1.0, 0.6, 0.4), (1.0,)])
def test_count_supported_sees_weak_modules_behind_the_candidates_of_a_strong_one(strengths):
    """A strong module of which only 30 % of the pairs are candidates looks like many; those behind it are weaker."""
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        tensor = np.zeros((5, 30, 120))
        for module, strength in enumerate(strengths):
            rows, columns = slice(8 * module, 8 * module + 8), slice(40 * module, 40 * module + 40)
            tensor[module, rows, columns] = strength * rng.uniform(0.5, 1.5, (8, 1)) * rng.uniform(0.5, 1.5, 40)
        tensor += 0.05 * rng.normal(size=tensor.shape)
        tensor[:, rng.random((30, 120)) > 0.3] = 0
        found.append(count_supported(network_of(tensor)))
    assert sorted(found)[2] == len(strengths)  # the median
    assert max(found) <= len(strengths) + 1


def test_count_supported_sees_weak_components_behind_a_strong_one():
    tensor = low_rank(0, (5, 30, 60), (2, 3, 3), sd=0.1)
    tensor += 10 * np.abs(tensor).max() * np.multiply.outer(np.ones(5), np.outer(np.ones(30), np.ones(60)))
    assert count_supported(network_of(tensor)) >= 3


def test_count_supported_of_shuffled_edges_is_one_although_the_lags_of_an_edge_are_alike():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(5):
        strength = rng.normal(size=(25, 80)) ** 3 * (rng.random((25, 80)) < 0.3)
        tensor = np.multiply.outer([0.5, 1.0, 0.8, 0.4], strength) + 0.05 * rng.normal(size=(4, 25, 80)) * (
            strength != 0
        )
        found.append(count_supported(network_of(tensor)))
    assert sorted(found)[:4] == [1] * 4
    value = decompose(network_of(tensor))
    assert value.n_supported == found[-1]
    assert value.rank[2] == 3  # still something to look at
    assert set(value.tables()["regfactors"]["n_supported"]) == {found[-1]}
    given = decompose(network_of(tensor), RegFactorConfig(rank=(2, 2, 2)))
    assert given.n_supported is None
    assert given.tables()["regfactors"]["n_supported"].isna().all()


def test_fit_to_candidates_completes_what_is_no_candidate():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(60, 2)) @ np.diag([3.0, 1.0]) @ rng.normal(size=(2, 50))
    tensor = np.where(rng.random((60, 50)) < 0.4, full, 0)[None]
    matrix, _ = regfactors._unfold(network_of(tensor))
    start = regfactors._leading_svd(matrix, 2)[0]
    left, right, rest = regfactors._fit_to_candidates(matrix, start)
    assert np.linalg.norm(rest.data) < 0.05 * np.linalg.norm(matrix.data)
    outside = full - left @ left.T @ full
    assert np.linalg.norm(outside) < 0.1 * np.linalg.norm(full)  # the subspace of all pairs, most of them unseen
    np.testing.assert_allclose(right.T @ right, np.eye(2), atol=1e-10)


@pytest.mark.parametrize("shape", [(3, 9, 14), (2, 3, 20)])
def test_leading_svd_and_share_equal_the_dense_ones(shape):
    network = network_of(noise(3, shape))
    matrix, place = regfactors._unfold(network)
    np.testing.assert_array_equal(matrix.data[place], network.weight)
    np.testing.assert_array_equal(matrix.toarray().reshape(shape), network.tensor().astype(np.float64))
    left, energy, right = regfactors._leading_svd(matrix, 3)
    np.testing.assert_allclose(energy, np.linalg.svd(matrix.toarray())[1][:3] ** 2)
    other = matrix.copy()
    other.data = np.random.default_rng(0).permutation(matrix.data)
    dense = other.toarray()
    projected = (np.eye(len(left)) - left @ left.T) @ dense @ (np.eye(len(right)) - right @ right.T)
    expected = np.linalg.norm(projected, 2) ** 2 / (projected**2).sum()
    assert regfactors._leading_share(other, left, right) == pytest.approx(expected, rel=1e-3)


def test_count_supported_of_noise_is_one_regfactor():
    found = [count_supported(network_of(noise(seed, (5, 25, 50)))) for seed in range(8)]
    assert np.mean(np.array(found) > 1) < 0.15  # a test at 5 %


# ---------------------------------------------------------------- properties


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7)),
    rank=st.none() | st.tuples(*[st.integers(1, 9)] * 3),
    density=st.sampled_from([0.2, 1.0]),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_decompose_takes_any_shape_and_rank(shape, rank, density, seed):
    tensor = noise(seed, shape)
    tensor[:, np.random.default_rng(seed).random(shape[1:]) > density] = 0
    tensor[0, 0, 0] = 1.0
    value = decompose(network_of(tensor), RegFactorConfig(rank=rank, n_permutations=3))
    n_lag, n_source, n_target = value.rank
    assert n_lag <= n_source * n_target
    assert n_source <= n_lag * n_target
    assert n_target <= n_lag * n_source
    assert value.energy_share.sum() == pytest.approx(1)
    assert 0 < value.explained_share <= 1 + 1e-12
    for unit in (value.lag_profiles, value.source_loadings, value.target_factors):
        np.testing.assert_allclose(np.linalg.norm(unit, axis=0), 1)
    for name, frame in value.tables().items():
        TABLES[name].validate(frame)


def test_decompose_drops_components_without_energy():
    value = decompose(network_of(low_rank(rank=(2, 3, 3))), RegFactorConfig(rank=(5, 8, 8)))
    assert value.rank == (2, 3, 3)


def test_decompose_follows_permuted_genes():
    tensor = low_rank(sd=0.3)
    rng = np.random.default_rng(3)
    p, q = rng.permutation(20), rng.permutation(40)
    config = RegFactorConfig(rank=(2, 3, 3))
    one, other = decompose(network_of(tensor), config), decompose(network_of(tensor[:, p][:, :, q]), config)
    # Iteration stops at a change of 1e-8 in the error, which leaves loadings good to about its square root.
    np.testing.assert_allclose(other.target_factors, one.target_factors[q], atol=1e-3)
    np.testing.assert_allclose(other.source_loadings, one.source_loadings[p], atol=1e-3)
    np.testing.assert_allclose(other.lag_profiles, one.lag_profiles, atol=1e-3)
    assert other.explained_share == pytest.approx(one.explained_share, abs=1e-7)


def test_decompose_scales_with_the_network():
    tensor = low_rank(sd=0.3)
    one = decompose(network_of(tensor))
    other = decompose(network_of(-4 * tensor))
    assert one.rank == other.rank
    np.testing.assert_allclose(other.target_factors, one.target_factors, atol=1e-6)
    np.testing.assert_allclose(other.source_loadings, -one.source_loadings, atol=1e-6)


def test_decompose_repeats_bit_for_bit():
    network = network_of(low_rank(sd=0.6))
    one, other = decompose(network).tables(), decompose(network).tables()
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


def test_decompose_leaves_out_genes_without_weight():
    tensor = blocks()
    network = network_of(tensor)  # from_tensor drops the edges, but not the names
    value = decompose(network, RegFactorConfig(rank=(3, 3, 3)))
    assert value.sources == tuple(names("TF", 12)[i] for i in (0, 1, 2, 4, 5, 6, 7, 8, 9))
    assert value.targets == tuple(names("g", 28))
    loadings = value.tables()["regfactor_loadings"]
    assert "TF003" not in set(loadings["name"])


def test_tables_are_those_of_the_asset():
    value = decompose(network_of(blocks()), RegFactorConfig(rank=(3, 3, 3)))
    tables = value.tables()
    assert list(tables) == [table.name for table in tables_of("regfactors")]
    for name, frame in tables.items():
        assert TABLES[name].validate(frame).num_rows == len(frame)
        assert list(frame.columns) == [column.name for column in TABLES[name].body]
    loadings = tables["regfactor_loadings"]
    assert set(loadings.loc[loadings["mode"] == "lag", "name"]) == {"1", "2", "3", "4", "5"}
    core = tables["regfactor_core"]
    entry = core[(core["lag_component"] == 2) & (core["source_component"] == 1) & (core["target_component"] == 3)]
    assert entry["value"].item() == value.core[1, 0, 2]


# ---------------------------------------------------------------- failures


def test_decompose_refuses_a_network_of_zeros():
    network = network_of(np.ones((2, 3, 4)))
    empty = Network(
        network.sources, network.targets, network.source_index, network.target_index,
        0 * network.weight, 0 * network.magnitude, network.cv,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"are 0 for all 12 edges.*Lower the sparsity penalty"):
        decompose(empty)


def test_decompose_refuses_nan():
    tensor = np.ones((2, 3, 4))
    tensor[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite for 1 edges: 'TF002 → g003'"):
        decompose(network_of(tensor))


def test_config_refuses_a_rank_of_zero():
    with pytest.raises(ValueError, match="greater than 0"):
        RegFactorConfig(rank=(0, 1, 1))


# ---------------------------------------------------------------- figure


@pytest.mark.parametrize("rank", [(1, 1, 1), (3, 3, 3), (3, 6, 9)])
def test_plot_regfactors_draws_at_most_six(rank):
    tables = decompose(network_of(low_rank(rank=(3, 6, 9), sd=0.2)), RegFactorConfig(rank=rank)).tables()
    figure = plot_regfactors(tables["regfactors"], tables["regfactor_loadings"])
    figure.canvas.draw()
    assert len(figure.axes) == 3 * min(6, rank[2])
