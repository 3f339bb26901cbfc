"""Ligand-receptor scores, receptor-TF association, cascades: against loops, planted signals and smooth noise."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmagnify_core.data.dataset import read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError, MissingColumnError
from scmagnify_core.interpretation.communication import (
    CommunicationConfig,
    cascade,
    communicate,
    ligand_receptor_scores,
    receptor_tf_association,
)
from scmagnify_core.numerics import surrogates as lagged
from scmagnify_core.plots.communication import plot_communication
from scmagnify_core.simulation.simulation import Simulation, SimulationConfig, simulate
from scmagnify_core.tables.catalogue import TABLES

FEW = CommunicationConfig(n_permutations=200)
N_BINS = 100


# --- ligand-receptor


def _cells(seed: int = 0, n_cells: int = 120) -> tuple[sparse.csr_matrix, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = rng.choice(["A", "B", "C"], n_cells, p=[0.3, 0.3, 0.4])
    values = rng.gamma(1, 1, (n_cells, 8)) * (rng.random((n_cells, 8)) < 0.4)
    values[groups == "A", 0] += 2  # L1
    values[groups == "B", 1] += 2  # R1
    values[groups == "B", 2] += 2  # R2
    values[groups != "C", 7] = 0
    return sparse.csr_matrix(values.astype(np.float32)), [*("L1", "R1", "R2", "g3", "g4", "g5", "g6", "g7")], groups


PAIRS = pd.DataFrame(
    {"ligand": ["L1", "L1", "g3", "g4_g5", "g7", "L1"], "receptor": ["R1", "R1_R2", "g4", "g6", "R1", "absent"]}
)


def test_ligand_receptor_scores_equal_loops_over_groups_and_permutations() -> None:
    expression, genes, groups = _cells()
    config = CommunicationConfig(n_permutations=37, seed=3)
    table = ligand_receptor_scores(expression, genes, groups, PAIRS, config)
    TABLES["ligand_receptor"].validate(table)
    dense = pd.DataFrame(expression.toarray(), columns=genes)
    names, codes = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng([config.seed, 0])
    draws = rng.permuted(np.broadcast_to(codes, (37, len(codes))), axis=1)

    def level(unit: str, labels: np.ndarray, group: int) -> float:
        return min(float(dense.loc[labels == group, gene].mean()) for gene in unit.split("_"))

    def share(unit: str, group: int) -> float:
        return min(float((dense.loc[codes == group, gene] > 0).mean()) for gene in unit.split("_"))

    expected = {}
    for (ligand, receptor), s, r in itertools.product(PAIRS.to_numpy()[:5], range(3), range(3)):
        if min(share(ligand, s), share(receptor, r)) < config.min_share:
            continue
        score = level(ligand, codes, s) * level(receptor, codes, r)
        null = [level(ligand, draw, s) * level(receptor, draw, r) for draw in draws]
        pvalue = (1 + sum(value >= score * (1 - 1e-5) for value in null)) / 38
        expected[names[s], names[r], ligand, receptor] = (score, pvalue)
    found = table.set_index(["sender", "receiver", "ligand", "receptor"])
    assert set(found.index) == set(expected)
    assert "g7" in set(table["ligand"])
    for key, (score, pvalue) in expected.items():
        assert found.loc[key, "score"] == pytest.approx(score, rel=1e-5)
        assert found.loc[key, "pvalue"] == pytest.approx(pvalue)


def test_ligand_receptor_scores_find_the_groups_that_signal() -> None:
    expression, genes, groups = _cells()
    table = ligand_receptor_scores(expression, genes, groups, PAIRS, FEW)
    best = table.sort_values(["pvalue", "score"], ascending=[True, False]).head(2)
    assert set(zip(best["sender"], best["receiver"], best["ligand"], strict=True)) == {("A", "B", "L1")}
    assert (table.loc[~table["ligand"].eq("L1"), "padj"] > 0.05).mean() > 0.5


def test_ligand_receptor_scores_ignore_the_order_of_cells_and_genes() -> None:
    expression, genes, groups = _cells()
    rng = np.random.default_rng(1)
    cells, columns = rng.permutation(len(groups)), rng.permutation(len(genes))
    first = ligand_receptor_scores(expression, genes, groups, PAIRS, FEW)
    second = ligand_receptor_scores(
        expression[cells][:, columns], [genes[i] for i in columns], groups[cells], PAIRS, FEW
    )
    keys = ["sender", "receiver", "ligand", "receptor", "score"]
    pd.testing.assert_frame_equal(first[keys], second[keys], rtol=1e-5)
    # Which shuffles are drawn depends on the order of cells; the p-value only in its noise.
    assert np.abs(first["pvalue"] - second["pvalue"]).max() < 0.15
    again = ligand_receptor_scores(expression, genes, groups, PAIRS, FEW)
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_ligand_receptor_scores_reject_as_often_as_they_say_without_signal() -> None:
    rng = np.random.default_rng(2)
    expression = sparse.csr_matrix(rng.gamma(1, 1, (90, 400)).astype(np.float32))
    genes = [f"g{i}" for i in range(400)]
    pairs = pd.DataFrame({"ligand": genes[:200], "receptor": genes[200:]})
    table = ligand_receptor_scores(expression, genes, np.repeat(["A", "B", "C"], 30), pairs, FEW)
    assert 0.02 < (table["pvalue"] <= 0.05).mean() < 0.08


def test_ligand_receptor_scores_leave_out_small_and_unlabelled_groups() -> None:
    expression, genes, groups = _cells()
    groups = groups.astype(object)
    groups[:5] = "tiny"
    groups[5:25] = "nan"
    table = ligand_receptor_scores(expression, genes, groups, PAIRS, FEW)
    assert set(table["sender"]) <= {"A", "B", "C"}


def test_ligand_receptor_scores_refuse_a_single_group() -> None:
    expression, genes, groups = _cells()
    with pytest.raises(InputError, match=r"cluster_key: names 1 groups of at least 10 cells"):
        ligand_receptor_scores(expression, genes, np.full(len(groups), "A"), PAIRS, FEW)


# --- receptor-TF


def _smooth(n: int, length: float, rng: np.random.Generator) -> np.ndarray:
    x = np.linspace(0, 1, N_BINS)
    covariance = np.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-6 * np.eye(N_BINS)
    return np.linalg.cholesky(covariance) @ rng.standard_normal((N_BINS, n))


def _autoregressive(n: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    series = np.zeros((N_BINS + 100, n))
    for step in range(1, len(series)):
        series[step] = memory * series[step - 1] + rng.standard_normal(n)
    return series[100:]


def _series(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    name, _, extra = kind.partition("+")
    series = {
        "white": lambda: rng.standard_normal((N_BINS, n)),
        "ar.8": lambda: _autoregressive(n, 0.8, rng),
        "ar.95": lambda: _autoregressive(n, 0.95, rng),
        "walk": lambda: _autoregressive(n, 1, rng),
        "gp.05": lambda: _smooth(n, 0.05, rng),
        "gp.1": lambda: _smooth(n, 0.1, rng),
    }[name]()
    if "noise" in extra:
        series = series + 0.5 * rng.standard_normal(series.shape)
    if "trend" in extra:
        x = np.linspace(0, 1, N_BINS)[:, None]
        series = series + series.std() * (rng.normal(0, 3, n) * x + rng.normal(0, 2, n) * x**2)
    return series


def _associate(receptor: np.ndarray, tf: np.ndarray, config: CommunicationConfig, **options) -> pd.DataFrame:
    """The i-th receptor against the i-th TF; names sort in this order."""
    names = [f"{i:05d}" for i in range(receptor.shape[1])]
    pairs = pd.DataFrame({"receptor": [f"r{i}" for i in names], "tf": [f"t{i}" for i in names]})
    time = np.linspace(0, 1, len(receptor))
    return receptor_tf_association(receptor, pairs["receptor"], tf, pairs["tf"], time, pairs, config, **options)


@pytest.mark.parametrize(
    "kind",
    ["white", "ar.8", "ar.95", "walk", "gp.05", "gp.1", "gp.1+noise", "ar.8+trend", "gp.05+trend", "gp.1+trend"],
)
def test_receptor_tf_association_keeps_its_level_on_independent_smooth_series(kind: str) -> None:
    rng = np.random.default_rng(5)
    table = _associate(_series(kind, 400, rng), _series(kind, 400, rng), FEW)
    assert (table["pvalue"] <= 0.05).mean() <= 0.08


def test_receptor_tf_association_is_needed_because_shuffled_bins_reject_too_often() -> None:
    rng = np.random.default_rng(6)
    receptor, tf = (_autoregressive(200, 0.8, rng) for _ in range(2))

    def largest(first: np.ndarray, second: np.ndarray) -> float:
        return max(abs(np.corrcoef(first[: N_BINS - lag], second[lag:])[0, 1]) for lag in range(3))

    rejected = 0
    for first, second in zip(receptor.T[:100], tf.T[:100], strict=True):
        null = [largest(rng.permutation(first), second) for _ in range(39)]
        rejected += (1 + sum(np.array(null) >= largest(first, second))) / 40 <= 0.05
    assert rejected / 100 > 0.2


@pytest.mark.parametrize("kind", ["ar.8", "gp.05", "gp.05+trend"])
@pytest.mark.parametrize("lag", [0, 3])
def test_receptor_tf_association_finds_a_planted_lag(kind: str, lag: int) -> None:
    rng = np.random.default_rng(7)
    receptor, noise = _series(kind, 100, rng), _series(kind, 100, rng)
    tf = -np.roll(receptor, lag, axis=0) / receptor.std() + 0.4 * noise / noise.std()
    table = _associate(receptor, tf, FEW)
    TABLES["receptor_tf"].validate(table)
    found = table["pvalue"] <= 0.05
    assert found.mean() > 0.8
    assert (table.loc[found, "lag"] == lag).mean() > 0.8
    assert (table.loc[found, "association"] < 0).mean() > 0.95


def test_receptor_tf_association_equals_loops_over_lineages_lags_and_surrogates() -> None:
    from scipy.fft import dct, idct

    rng = np.random.default_rng(8)
    config = CommunicationConfig(n_permutations=25, n_bins=60, max_lag=3)
    n_cells = 300
    receptor, tf = rng.gamma(1, 1, (n_cells, 2)), rng.gamma(1, 1, (n_cells, 3))
    time, lineages = rng.random(n_cells), np.repeat(["a", "b"], [100, 200])
    pairs = pd.DataFrame(itertools.product(["r0", "r1"], ["t0", "t1", "t2"]), columns=["receptor", "tf"])
    table = receptor_tf_association(receptor, ["r0", "r1"], tf, ["t0", "t1", "t2"], time, pairs, config, lineages)

    def binned(values: np.ndarray) -> list[np.ndarray]:
        parts = []
        for name, size in (("a", 20), ("b", 40)):
            members = np.flatnonzero(lineages == name)
            ordered = values[members[np.argsort(time[members])]].reshape(size, 5).mean(axis=1)
            x = np.arange(size)
            parts.append(ordered - np.polyval(np.polyfit(x, ordered, 1), x))
        return parts

    def correlations(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
        result = []
        for lag in range(4):
            early = np.concatenate([part[: len(part) - lag] for part in first])
            late = np.concatenate([part[lag:] for part in second])
            result.append(early @ late / np.sqrt((early @ early) * (late @ late)))
        return np.array(result)

    signs = np.random.default_rng([0, 1]).choice(np.array([-1, 1], dtype=np.float32), (25, 60))
    for row in table.itertuples():
        first, second = binned(receptor[:, int(row.receptor[1])]), binned(tf[:, int(row.tf[1])])
        observed = correlations(first, second)
        best = int(np.abs(observed).argmax())
        assert row.lag == best
        assert row.association == pytest.approx(observed[best], abs=1e-5)
        null = 0
        for sign in signs:
            parts = [
                idct(dct(part, norm="ortho") * flip, norm="ortho")
                for part, flip in zip(first, (sign[:20], sign[20:]), strict=True)
            ]
            null += np.abs(correlations(parts, second)).max() >= abs(observed[best])
        assert row.pvalue == pytest.approx((null + 1) / 26)


def test_largest_correlations_of_a_pair_do_not_depend_on_blocks_order_or_other_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(12)
    weights, segments = lagged.bins(rng.random(300), np.repeat(["a", "b"], 150), 90, 4)
    first, then = (lagged.binned(rng.random((300, n)), weights, segments)[0] for n in (5, 4))
    rows, cols = (index.ravel() for index in np.meshgrid(np.arange(5), np.arange(4), indexing="ij"))
    lag, association, n_at_least = lagged.largest_correlations(first, then, rows, cols, segments, 4, 300, [0])
    order = rng.permutation(len(rows))
    done: list[int] = []
    monkeypatch.setattr(lagged, "BLOCK_VALUES", 8 * 5 * 301 * 3)  # three pairs at a time
    again = lagged.largest_correlations(first, then, rows[order], cols[order], segments, 4, 300, [0], done.append)
    np.testing.assert_array_equal(again[0], lag[order])
    np.testing.assert_allclose(again[1], association[order], atol=1e-6)
    np.testing.assert_array_equal(again[2], n_at_least[order])
    assert done == [3, 6, 9, 12, 15, 18, 20]


def test_largest_correlations_count_every_surrogate_of_a_single_cosine() -> None:
    """Its surrogates are the series and its negative: rounding must not make one of them smaller."""
    _, segments = lagged.bins(np.arange(100.0), None, 100, 3)
    x = np.arange(100) + 0.5
    series = np.cos(np.pi * 7 * x / 100)[None].astype(np.float32)
    series /= np.linalg.norm(series)
    assert lagged.largest_correlations(series, series, np.zeros(1, int), np.zeros(1, int), segments, 3, 50, [0])[
        2
    ].tolist() == [50]


def test_receptor_tf_association_ignores_the_order_of_cells_and_pairs_and_a_straight_trend() -> None:
    rng = np.random.default_rng(9)
    receptor, tf = _smooth(4, 0.05, rng), _smooth(4, 0.05, rng)
    names, tfs = ["r0", "r1", "r2", "r3"], ["t0", "t1", "t2", "t3"]
    pairs = pd.DataFrame(itertools.product(names, tfs), columns=["receptor", "tf"])
    time = np.linspace(0, 1, N_BINS)
    first = receptor_tf_association(receptor, names, tf, tfs, time, pairs, FEW)
    order = rng.permutation(N_BINS)
    second = receptor_tf_association(
        receptor[order] + 3 * time[order, None], names, tf[order], tfs, time[order], pairs[::-1], FEW
    )
    pd.testing.assert_frame_equal(first, second, rtol=1e-3)


def test_receptor_tf_association_leaves_out_what_does_not_vary_and_itself() -> None:
    rng = np.random.default_rng(10)
    values = np.column_stack([rng.random(200), np.ones(200), np.zeros(200)])
    names = ["a", "b", "c"]
    pairs = pd.DataFrame(itertools.product(names, names), columns=["receptor", "tf"])
    table = receptor_tf_association(values, names, values, names, rng.random(200), pairs, FEW)
    assert table.empty
    assert list(table) == [column.name for column in TABLES["receptor_tf"].body]


def test_receptor_tf_association_refuses_too_few_cells() -> None:
    with pytest.raises(InputError, match=r"max_lag: 5 bins need a lineage with 20 bins, and 12 cells in 1"):
        _associate(np.random.default_rng(0).random((12, 1)), np.ones((12, 1)), FEW)


# --- cascades


def test_cascade_joins_on_subunits_and_takes_the_larger_pvalue() -> None:
    first = pd.DataFrame(
        {"sender": "A", "receiver": "B", "ligand": "L", "receptor": ["R1", "R1_R2", "R9"],
         "ligand_mean": 1.0, "receptor_mean": 1.0, "score": [1.0, 2.0, 3.0], "pvalue": [0.03, 0.01, 0.01],
         "padj": 1.0}
    )  # fmt: skip
    second = pd.DataFrame(
        {"receptor": ["R1", "R2"], "tf": "T", "lag": [1, 2], "association": [0.5, -0.9], "pvalue": [0.02, 0.01],
         "padj": 1.0}
    )  # fmt: skip
    table = cascade(first, second, FEW)
    TABLES["communication_scores"].validate(table)
    rows = table.set_index("receptor")
    assert list(rows.index) == ["R1_R2", "R1"]
    assert rows.loc["R1", "pvalue"] == 0.03
    assert rows.loc["R1", "score"] == pytest.approx(np.sqrt(1 / 3 * 1 / 2))
    assert rows.loc["R1_R2", "lag"] == 2
    assert rows.loc["R1_R2", "pvalue"] == pytest.approx(0.02)
    assert rows.loc["R1_R2", "score"] == pytest.approx(np.sqrt(2 / 3))
    assert rows["padj"].tolist() == pytest.approx([0.03, 0.03])


def test_cascade_that_is_cut_short_adjusts_for_all_tests() -> None:
    rng = np.random.default_rng(11)
    first = pd.DataFrame(
        {"sender": "A", "receiver": "B", "ligand": [f"L{i}" for i in range(30)], "receptor": "R", "ligand_mean": 1.0,
         "receptor_mean": 1.0, "score": rng.random(30), "pvalue": rng.random(30), "padj": 1.0}
    )  # fmt: skip
    second = pd.DataFrame(
        {"receptor": "R", "tf": ["T", "U"], "lag": 0, "association": 0.5, "pvalue": 0.001, "padj": 1.0}
    )
    every = cascade(first, second, FEW)
    few = cascade(first, second, FEW.model_copy(update={"max_cascades": 20}))
    assert len(every) == 60
    assert len(few) == 20
    both = few.merge(every, on=["ligand", "receptor", "tf"])
    assert (both["padj_x"] >= both["padj_y"] - 1e-12).all()
    assert few["pvalue"].max() == np.sort(first["pvalue"])[9]


# --- from a data set


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(SimulationConfig(seed=100, n_targets=30, n_background=60, n_signals=8))


@pytest.fixture(scope="module")
def dataset(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory):
    paths = simulation.write(tmp_path_factory.mktemp("communication"))
    return read_dataset(DataDescription(name="demo", file=paths["data"], cluster_key="cell_type"))


def test_communicate_ranks_planted_receptors_above_decoys(simulation: Simulation, dataset) -> None:
    steps: list[tuple[int, int, str]] = []
    links = simulation.receptor_tf.rename(columns={"receptor": "Receptor", "tf": "TF"}).assign(score=1.0)
    tables = communicate(
        dataset, pd.concat([simulation.ligand_receptor] * 2), links, FEW, progress=lambda *step: steps.append(step)
    )
    for name, table in tables.items():
        TABLES[name].validate(table)
        assert len(table)
    assert steps[-1][0] == steps[-1][1] == len(tables["receptor_tf"])
    truth = simulation.receptor_tf.merge(tables["receptor_tf"], on=["receptor", "tf"], suffixes=("_true", ""))
    active = truth["is_active"]
    strength = truth["association"].abs().rank()
    assert strength[active].mean() > 1.15 * strength[~active].mean()
    again = communicate(dataset, simulation.ligand_receptor, simulation.receptor_tf, FEW)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_communicate_uses_activities_where_asked(simulation: Simulation, dataset) -> None:
    config = FEW.model_copy(update={"signal": "activity"})
    tfs = simulation.receptor_tf["tf"].unique()[:3]
    values = np.random.default_rng(0).normal(size=(len(dataset.cells), len(tfs)))
    activity = pd.DataFrame(values, index=dataset.cells, columns=tfs).rename_axis("cell").reset_index()
    activity = activity.melt("cell", var_name="source", value_name="activity")
    tables = communicate(dataset, simulation.ligand_receptor, simulation.receptor_tf, config, activity)
    assert set(tables["receptor_tf"]["tf"]) <= set(tfs)
    with pytest.raises(InputError, match="no TF activities were given"):
        communicate(dataset, simulation.ligand_receptor, simulation.receptor_tf, config)


def test_communicate_without_receptor_tf_has_empty_cascades_of_the_right_columns(
    simulation: Simulation, dataset
) -> None:
    tables = communicate(dataset, simulation.ligand_receptor, None, FEW)
    for name in ("receptor_tf", "communication_scores"):
        assert TABLES[name].validate(tables[name]).num_rows == 0
    assert plot_communication(tables).axes


def test_communicate_says_which_names_do_not_match(simulation: Simulation, dataset) -> None:
    foreign = pd.DataFrame({"ligand": ["Tgfb1"], "receptor": ["Tgfbr1_Tgfbr2"]})
    with pytest.raises(InputError, match=r"no pair is measured \(0 of 1 ligands, 0 of 1 receptors are\).*'Tgfb1'"):
        communicate(dataset, foreign, None, FEW)
    with pytest.raises(MissingColumnError, match="receptor"):
        communicate(dataset, foreign[["ligand"]], None, FEW)


def test_communicate_asks_for_cell_groups(simulation: Simulation, dataset) -> None:
    bare = dataset.rna.copy()
    del bare.obs["cluster"]
    without = type(dataset)(bare, None, dataset.description, ())
    with pytest.raises(InputError, match="cluster_key: the data set has no cell groups"):
        communicate(without, simulation.ligand_receptor, None, FEW)


def test_plot_communication_says_when_there_is_nothing() -> None:
    empty = {name: pd.DataFrame() for name in ("ligand_receptor", "receptor_tf", "communication_scores")}
    texts = [text.get_text() for axis in plot_communication(empty).axes for text in axis.texts]
    assert texts == ["no ligand-receptor pair found", "no cascade found"]
