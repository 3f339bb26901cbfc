"""Activities against ordinary least squares in numpy and planted activities."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.diffusion import standardize
from scmagnify_core.errors import InputError
from scmagnify_core.interpretation.activity import ActivityConfig, regfactor_activity, tf_activity
from scmagnify_core.plots.activity import plot_activity
from scmagnify_core.tables.catalogue import TABLES

N_CELLS, N_GENES = 60, 40


def dataset_of(values, time=None):
    n_cells, n_genes = values.shape
    obs = pd.DataFrame(
        {"pseudotime": np.linspace(0, 1, n_cells) if time is None else time}, index=[f"c{i}" for i in range(n_cells)]
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    rna = anndata.AnnData(sparse.csr_matrix(values.astype(np.float32)), obs=obs, var=var)
    rna.obsm["X_embedding"] = np.zeros((n_cells, 2), dtype=np.float32)
    return Dataset(rna, None, DataDescription(name="made", file="made.h5ad"), ())


def net_of(weights, prefix="TF"):
    """Net of a targets x sources matrix; zeros are no edges."""
    target, source = np.nonzero(weights)
    return pd.DataFrame(
        {
            "source": [f"{prefix}{i}" for i in source],
            "target": [f"g{i}" for i in target],
            "weight": weights[target, source],
        }
    )


def expression(seed=0, n_cells=N_CELLS):
    return np.random.default_rng(seed).gamma(2.0, 1.0, size=(n_cells, N_GENES))


def design(seed=0, n_sources=6, density=0.4):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(N_GENES, n_sources)) * (rng.random((N_GENES, n_sources)) < density)
    weights[weights.any(axis=1) == 0, 0] = 0.5  # every gene is a target, so that the matrix is the whole design
    return weights


def wide(table, name="source", value="activity"):
    return table.pivot(index="cell", columns=name, values=value)


def ols(values, weights):
    """t and p of every coefficient but the intercept, one regression per cell."""
    X = np.column_stack([np.ones(len(weights)), weights])
    freedom = len(X) - X.shape[1]
    beta = np.linalg.lstsq(X, values.T, rcond=None)[0]
    variance = ((values.T - X @ beta) ** 2).sum(axis=0) / freedom
    t = beta / np.sqrt(np.diag(np.linalg.inv(X.T @ X))[:, None] * variance)
    return t[1:].T, 2 * stats.t.sf(np.abs(t[1:].T), freedom)


# ---------------------------------------------------------------- oracles


def test_tf_activity_equals_decoupler():
    decoupler = pytest.importorskip("decoupler")
    values, weights = expression(3), design(3)
    table = tf_activity(dataset_of(values), net_of(weights), ActivityConfig(batch_size=7)).table
    cells, genes, net = [f"c{i}" for i in range(N_CELLS)], [f"g{i}" for i in range(N_GENES)], net_of(weights)
    frame = pd.DataFrame(standardize(values.astype(np.float32)).astype(float), index=cells, columns=genes)
    t, _ = decoupler.mt.mlm(frame, net, tmin=0, empty=False)
    np.testing.assert_allclose(wide(table).loc[cells, t.columns], t, rtol=1e-5, atol=1e-6)


def test_tf_activity_equals_ordinary_least_squares():
    values, weights = expression(), design()
    table = tf_activity(dataset_of(values), net_of(weights)).table
    t, p = ols(standardize(values.astype(np.float32)).astype(float), weights)
    cells, sources = [f"c{i}" for i in range(N_CELLS)], [f"TF{i}" for i in range(6)]
    np.testing.assert_allclose(wide(table).loc[cells, sources], t, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(wide(table, value="pvalue").loc[cells, sources], p, rtol=1e-5)
    np.testing.assert_allclose(table["padj"], stats.false_discovery_control(table["pvalue"]), rtol=1e-10)


def test_tf_activity_pvalues_do_not_underflow():
    """decoupler's own p-values are 0 from |t| of about 8 on."""
    weights = design(n_sources=2, density=1.0)
    rng = np.random.default_rng(0)
    values = 5 + np.outer(rng.normal(size=N_CELLS), weights[:, 0]) + 0.01 * rng.normal(size=(N_CELLS, N_GENES))
    table = tf_activity(dataset_of(values), net_of(np.sign(weights))).table
    assert table["activity"].abs().max() > 20
    assert (table["pvalue"] > 0).all()


def test_regfactor_activity_is_the_model_of_the_target_loadings():
    values, weights = expression(), design(density=1.0, n_sources=3)
    net = net_of(weights, "RF")
    loadings = net.rename(columns={"source": "regfactor", "target": "name", "weight": "loading"}).assign(
        mode="target"
    )
    others = pd.DataFrame({"regfactor": ["RF0"], "mode": ["source"], "name": ["g0"], "loading": [99.0]})
    mixed = pd.concat([others, loadings], ignore_index=True)
    data = dataset_of(values)
    got, expected = regfactor_activity(data, mixed).table, tf_activity(data, net).table
    pd.testing.assert_frame_equal(got, expected.rename(columns={"source": "regfactor"}))
    TABLES["regfactor_activity"].validate(got)


# ---------------------------------------------------------------- planted


def test_tf_activity_finds_who_is_active_when():
    rng = np.random.default_rng(4)
    weights = design(5, 5)
    truth = rng.normal(size=(N_CELLS, 5))
    values = 20 + 3 * rng.random(N_GENES) + truth @ weights.T + 0.5 * rng.normal(size=(N_CELLS, N_GENES))
    found = wide(tf_activity(dataset_of(values), net_of(weights)).table).loc[[f"c{i}" for i in range(N_CELLS)]]
    correlation = np.corrcoef(found.to_numpy().T, truth.T)[:5, 5:]
    assert (np.diag(correlation) > 0.9).all()


def test_tf_activity_ignores_the_baseline_of_genes():
    """A TF whose targets are abundant everywhere is not active everywhere."""
    values, weights = expression(), design()
    shifted = values + 10 * (weights[:, 0] > 0)
    one = tf_activity(dataset_of(values), net_of(weights)).table
    other = tf_activity(dataset_of(shifted), net_of(weights)).table
    np.testing.assert_allclose(other["activity"], one["activity"], atol=1e-3)


def test_tf_activity_pvalues_are_uniform_without_any_activity():
    rng = np.random.default_rng(6)
    table = tf_activity(dataset_of(10 + rng.normal(size=(300, N_GENES))), net_of(design())).table
    assert (table["pvalue"] < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    assert (table["padj"] < 0.05).mean() < 0.01


# ---------------------------------------------------------------- properties


def test_tf_activity_does_not_depend_on_batches_order_or_scale():
    values, weights = expression(), design()
    data, net = dataset_of(values), net_of(weights)
    whole = tf_activity(data, net).table
    assert list(whole.columns) == [column.name for column in TABLES["tf_activity"].body]
    TABLES["tf_activity"].validate(whole)
    pd.testing.assert_frame_equal(tf_activity(data, net, ActivityConfig(batch_size=7)).table, whole, rtol=1e-9)
    shuffled = net.sample(frac=1, random_state=0).assign(weight=lambda frame: 1e-6 * frame["weight"])
    pd.testing.assert_frame_equal(tf_activity(data, shuffled).table, whole, rtol=1e-6)
    pd.testing.assert_frame_equal(tf_activity(data, net).table, whole, check_exact=True)


def test_tf_activity_follows_the_sign_of_the_weights():
    values, weights = expression(), design()
    flipped = weights * np.array([-1, 1, 1, 1, 1, 1])
    one, other = (wide(tf_activity(dataset_of(values), net_of(w)).table) for w in (weights, flipped))
    np.testing.assert_allclose(other["TF0"], -one["TF0"], rtol=1e-6)
    np.testing.assert_allclose(other["TF1"], one["TF1"], rtol=1e-6)


def test_tf_activity_ignores_unknown_and_constant_genes_and_zero_weights():
    values, weights = expression(), design()
    values[:, 3] = 2.0
    net = net_of(weights)
    more = pd.DataFrame({"source": ["TF0", "TF0"], "target": ["unknown", "g1"], "weight": [5.0, 0.0]})
    more = more[~more["target"].isin(net.loc[net["source"] == "TF0", "target"])]
    got = tf_activity(dataset_of(values), pd.concat([net, more])).table
    keep = net[net["target"] != "g3"]
    pd.testing.assert_frame_equal(got, tf_activity(dataset_of(values), keep).table)


# ---------------------------------------------------------------- what cannot be estimated


def test_tf_activity_drops_collinear_sources_and_says_why():
    weights = design(n_sources=4, density=0.6)
    both = weights[:, 0] + weights[:, 1]
    weights = np.column_stack([weights, 2 * weights[:, 2], both, np.ones(N_GENES)])
    result = tf_activity(dataset_of(expression()), net_of(weights))
    assert set(result.table["source"]) | set(result.dropped) == {f"TF{i}" for i in range(7)}
    # The one of most targets comes first, so the sum stays and one of its parts goes; of twins the first stays.
    assert result.dropped["TF4"] == "collinear: its weights are those of TF2, up to a factor"
    assert "same for all targets" in result.dropped["TF6"]
    gone = set(result.dropped) - {"TF4", "TF6"}
    assert len(gone) == 1
    assert gone < {"TF0", "TF1", "TF5"}
    assert "linear combination" in result.dropped[gone.pop()]
    assert np.isfinite(result.table["activity"]).all()


def test_tf_activity_drops_the_same_sources_in_any_order():
    weights = design(n_sources=4, density=0.6)
    net = net_of(np.column_stack([weights, 2 * weights[:, 2]]))
    data = dataset_of(expression())
    assert tf_activity(data, net).dropped == tf_activity(data, net[::-1]).dropped


def test_tf_activity_with_more_sources_than_targets_keeps_three_degrees_of_freedom():
    result = tf_activity(dataset_of(expression()), net_of(design(n_sources=60, density=0.5)))
    assert result.table["source"].nunique() == N_GENES - 1 - 3
    assert len(result.dropped) == 60 - 36
    assert any("can tell at most 36 apart" in reason for reason in result.dropped.values())
    assert np.isfinite(result.table["activity"]).all()


def test_tf_activity_drops_sources_with_few_targets():
    weights = design()
    weights[:, 5] = 0
    weights[:4, 5] = 1
    result = tf_activity(dataset_of(expression()), net_of(weights))
    assert result.dropped == {"TF5": "4 targets, fewer than min_targets=5"}
    assert "TF5" not in set(result.table["source"])
    assert "TF5" in set(
        tf_activity(dataset_of(expression()), net_of(weights), ActivityConfig(min_targets=4)).table["source"]
    )


# ---------------------------------------------------------------- failures


def test_tf_activity_of_a_small_network_is_empty_and_names_the_setting():
    result = tf_activity(dataset_of(expression()), net_of(design()), ActivityConfig(min_targets=50))
    assert TABLES["tf_activity"].validate(result.table).num_rows == 0
    assert result.dropped
    assert all("fewer than min_targets=50" in reason for reason in result.dropped.values())


def test_tf_activity_of_too_few_genes_is_empty():
    result = tf_activity(dataset_of(expression()), net_of(design()[:4]), ActivityConfig(min_targets=1))
    assert result.table.empty
    assert len(result.dropped) == net_of(design()[:4])["source"].nunique()


def test_tf_activity_refuses_unknown_names():
    net = net_of(design()).assign(target=lambda frame: "ENSG" + frame["target"])
    with pytest.raises(InputError, match=r"none of its 40 targets is a gene of the data set.*'ENSGg"):
        tf_activity(dataset_of(expression()), net)


def test_tf_activity_refuses_repeated_edges_and_nan():
    net = net_of(design())
    with pytest.raises(InputError, match="1 edges repeat"):
        tf_activity(dataset_of(expression()), pd.concat([net, net.head(1)]))
    net.loc[0, "weight"] = np.nan
    with pytest.raises(InputError, match="1 values are NaN"):
        tf_activity(dataset_of(expression()), net)


# ---------------------------------------------------------------- figure


@pytest.mark.parametrize(("n_cells", "n_top"), [(60, 3), (60, 25), (5, 25)])
def test_plot_activity_draws_the_rows_asked_for(n_cells, n_top):
    data = dataset_of(expression(n_cells=n_cells))
    figure = plot_activity(tf_activity(data, net_of(design())).table, data.cells_table(), "source", n_top)
    figure.canvas.draw()
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (min(6, n_top), min(50, n_cells))


def test_plot_activity_orders_rows_by_their_peak():
    time = np.random.default_rng(0).permutation(100) / 100
    cells = pd.DataFrame({"cell": [f"c{i}" for i in range(100)], "pseudotime": time})
    late = cells.assign(source="A", activity=np.exp(-((time - 0.8) ** 2) / 0.01))
    early = cells.assign(source="B", activity=np.exp(-((time - 0.2) ** 2) / 0.01))
    figure = plot_activity(pd.concat([late, early]), cells, "source")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["B", "A"]
    limits = figure.axes[0].images[0].get_clim()
    assert limits[0] == -limits[1]
