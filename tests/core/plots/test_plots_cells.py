"""Figures of activities: on the embedding, along pseudotime, and of one RegFactor."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba

from scmagnify_core import plots
from scmagnify_core.errors import InputError
from scmagnify_core.plots.activity import N_SPLINES, fit_trend
from scmagnify_core.plots.style import ACTIVATES, REPRESSES

LONG = "a-very-long-name-of-a-TF-that-nobody-would-write-by-hand-"


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def cells_table(n_cells=200, lineages=("a", "b", None)):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "cell": [f"c{i:04d}" for i in range(n_cells)],
            "pseudotime": rng.random(n_cells),
            "lineage": [lineages[i % len(lineages)] for i in range(n_cells)],
            "embedding_1": rng.normal(size=n_cells),
            "embedding_2": rng.normal(size=n_cells),
        }
    )


def activity_table(cells, names, column="source"):
    rng = np.random.default_rng(1)
    return pd.concat(
        [
            pd.DataFrame(
                {"cell": cells["cell"], column: name, "activity": (number + 1) * rng.normal(size=len(cells))}
            )
            for number, name in enumerate(names)
        ],
        ignore_index=True,
    )


def bars(axis):
    """Widths of horizontal bars by their label."""
    widths = [patch.get_width() for patch in axis.patches]
    return dict(zip(labels(axis.get_yticklabels()), widths, strict=True))


def colors(axis):
    return [to_hex(patch.get_facecolor()).upper() for patch in axis.patches]


def shuffled(frame):
    return frame.sample(frac=1, random_state=1)


# ---------------------------------------------------------------- on the embedding


@pytest.mark.parametrize("n_names", [1, 3, 4, 6])
def test_plot_activity_on_embedding_colours_each_cell_by_its_activity(legible, n_names):
    cells = cells_table()
    table = activity_table(cells, [f"T{i}" for i in range(6)])
    names = [f"T{i}" for i in range(n_names)][::-1]
    figure = legible(plots.plot_activity_on_embedding(shuffled(table), shuffled(cells), names))
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == names
    at = {(x, y): cell for cell, x, y in cells[["cell", "embedding_1", "embedding_2"]].itertuples(index=False)}
    for axis in panels:
        points = axis.collections[0]
        drawn = {
            at[tuple(place)]: value for place, value in zip(points.get_offsets(), points.get_array(), strict=True)
        }
        expected = table[table["source"] == axis.get_title()].set_index("cell")["activity"]
        assert drawn == expected.to_dict()
        assert (np.diff(np.abs(points.get_array())) >= 0).all()  # the strongest on top
        assert points.norm.vmin == -points.norm.vmax
        assert points.get_rasterized()
    assert len({axis.collections[0].norm.vmax for axis in panels}) == 1


def test_plot_activity_on_embedding_draws_a_sample_of_many_cells(legible, monkeypatch):
    monkeypatch.setattr(plots.activity, "MAX_CELLS", 50)
    cells = cells_table()
    figure = legible(plots.plot_activity_on_embedding(activity_table(cells, ["T0"]), cells, ["T0"]))
    assert len(figure.axes[0].collections[0].get_offsets()) == 50


@pytest.mark.parametrize("draw", [plots.plot_activity_on_embedding, plots.plot_trends])
def test_figures_of_activity_name_near_spellings_of_an_unknown_name(draw):
    cells = cells_table(20)
    with pytest.raises(InputError, match=r"TF 'gata1': is not among the 2.*Near spellings: 'Gata1'"):
        draw(activity_table(cells, ["Gata1", "Sox9"]), cells, ["gata1"])
    with pytest.raises(InputError, match=r"RegFactor 'RF9'"):
        draw(activity_table(cells, ["RF1"], "regfactor"), cells, ["RF9"], column="regfactor")


# ---------------------------------------------------------------- along pseudotime


def test_fit_trend_is_least_squares_with_whites_standard_errors():
    """Oracle: statsmodels, with the correction for degrees of freedom that it calls HC1."""
    from statsmodels.api import OLS

    from scmagnify_core.numerics.statistics import spline_basis

    rng = np.random.default_rng(0)
    time = rng.beta(2, 1, 300)
    values = np.sin(5 * time) + rng.normal(size=300) * (0.1 + time)
    points, mean, error = fit_trend(time, values)
    basis = spline_basis(time, N_SPLINES)
    fitted = OLS(values, basis).fit(cov_type="HC1", use_t=False)
    rows = basis[[int(np.flatnonzero(time == point)[0]) for point in points]]
    expected = fitted.get_prediction(rows)
    np.testing.assert_allclose(mean, expected.predicted_mean, rtol=1e-8)
    np.testing.assert_allclose(error, expected.se_mean, rtol=1e-8)


def test_fit_trend_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        time = rng.random(400)
        points, mean, error = fit_trend(time, 3 * time**2 + rng.normal(size=400) * (0.2 + time))
        covered.append((np.abs(mean - 3 * points**2) < 1.96 * error).mean())
    assert 0.92 < np.mean(covered) < 0.97


def test_fit_trend_does_not_depend_on_the_order_of_cells():
    rng = np.random.default_rng(0)
    time = np.round(rng.random(100), 2)  # with ties
    values, order = rng.normal(size=100), rng.permutation(100)
    for one, other in zip(fit_trend(time, values), fit_trend(time[order], values[order]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("time", [np.linspace(0, 1, 9), np.repeat([0.1, 0.2, 0.3, 0.4, 0.5], 20), np.empty(0)])
def test_fit_trend_of_too_few_pseudotimes_is_none(time):
    assert fit_trend(time, np.ones(len(time))) is None


def test_plot_trends_draws_a_curve_and_a_band_per_lineage(legible):
    cells = cells_table(300)
    table = activity_table(cells, ["T0", "T1"])
    figure = legible(plots.plot_trends(shuffled(table), shuffled(cells), ["T1", "T0"]))
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["T1", "T0"]
    assert labels(panels[-1].get_legend().get_texts()) == ["a", "b", "no lineage"]
    for axis in panels:
        curves = [line for line in axis.lines if not line.get_label().startswith("_")]
        assert len(curves) == len(axis.collections) == 3
        for curve, lineage in zip(curves, ("a", "b", None), strict=True):
            members = cells["lineage"].isna() if lineage is None else cells["lineage"] == lineage
            part = table[(table["source"] == axis.get_title()) & members.loc[table.index % 300].to_numpy()]
            time = cells.set_index("cell")["pseudotime"].loc[part["cell"]]
            points, mean, _ = fit_trend(time.to_numpy(), part["activity"].to_numpy())
            np.testing.assert_allclose(curve.get_xdata(), points)
            np.testing.assert_allclose(curve.get_ydata(), mean)


def test_plot_trends_of_a_constant_is_a_level_line_without_width(legible):
    cells = cells_table(lineages=(None,))
    table = activity_table(cells, ["T0"]).assign(activity=2.0)
    axis = legible(plots.plot_trends(table, cells, ["T0"])).axes[0]
    curve = axis.lines[-1]
    assert curve.get_label() == "all cells"
    np.testing.assert_allclose(curve.get_ydata(), 2.0)
    np.testing.assert_allclose(axis.collections[0].get_paths()[0].vertices[:, 1], 2.0)


def test_plot_trends_draws_the_cells_of_a_lineage_that_has_few(legible):
    cells = cells_table(100, lineages=("a",))
    cells.loc[:2, "lineage"] = "rare"
    axis = legible(plots.plot_trends(activity_table(cells, ["T0"]), cells, ["T0"])).axes[0]
    assert [line.get_label() for line in axis.lines][1:] == ["a", "rare (single cells)"]
    assert len(axis.lines[-1].get_xdata()) == 3


def test_plot_trends_takes_other_columns(legible):
    cells = cells_table()
    table = activity_table(cells, ["g"], "gene").rename(columns={"activity": "expression"})
    figure = legible(plots.plot_trends(table, cells, ["g"], column="gene", value="expression"))
    assert figure.get_suptitle() == "Expression along pseudotime, mean and 95 % interval"


# ---------------------------------------------------------------- heat map, RegFactors


def regfactor_tables(n_factors, n_lags=3, n_names=10):
    factors = pd.DataFrame(
        {
            "regfactor": [f"RF{i + 1}" for i in range(n_factors)],
            "energy_share": np.linspace(0.5, 0.1, n_factors),
            "link_share": 0.5,
        }
    )
    rows = []
    for i, name in enumerate(factors["regfactor"]):
        rows += [(name, "lag", str(lag), 0.1 * lag + i) for lag in range(n_lags, 0, -1)]
        rows += [
            (name, mode, f"{mode}{j}", (-1) ** j * (j + 1)) for mode in ("source", "target") for j in range(n_names)
        ]
    return factors, pd.DataFrame(rows, columns=["regfactor", "mode", "name", "loading"])


@pytest.mark.parametrize("n_factors", [1, 3, 8])
def test_plot_regfactors_draws_lags_tfs_and_targets_of_each(legible, n_factors):
    factors, loadings = regfactor_tables(n_factors)
    axes = legible(plots.plot_regfactors(factors, loadings, n_top=4)).axes
    assert len(axes) == 3 * min(6, n_factors)
    for i in range(min(6, n_factors)):
        lag, source, target = axes[3 * i : 3 * i + 3]
        assert lag.get_title().startswith(f"RF{i + 1}: ")
        assert labels(lag.get_xticklabels()) == ["1", "2", "3"]
        assert [patch.get_height() for patch in lag.patches] == pytest.approx([0.1 + i, 0.2 + i, 0.3 + i])
        assert bars(source) == {"source6": 7, "source7": -8, "source8": 9, "source9": -10}
        assert list(bars(target)) == ["target6", "target7", "target8", "target9"]
        assert colors(target) == [ACTIVATES, REPRESSES, ACTIVATES, REPRESSES]


@pytest.mark.parametrize(("n_cells", "n_sources"), [(1, 1), (30, 2), (120, 40)])
def test_plot_activity_draws_the_rows_of_largest_variance(legible, n_cells, n_sources):
    cells = cells_table(n_cells)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            {"cell": cell, "source": f"T{i:02d}", "activity": i * rng.normal()}
            for cell in cells["cell"]
            for i in range(n_sources)
        ]
    )
    axis = legible(plots.plot_activity(table, cells, "source", n_top=10)).axes[0]
    n_rows = min(10, n_sources)
    assert axis.images[0].get_array().shape == (n_rows, min(50, n_cells))
    assert len(axis.get_yticklabels()) == n_rows
    shown = axis.images[0].get_array()
    peaks = shown.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all()
    if n_cells == 30:  # one bin per cell: the image is the table
        wide = table.pivot(index="source", columns="cell", values="activity")[cells.sort_values("pseudotime")["cell"]]
        np.testing.assert_allclose(shown, wide.loc[labels(axis.get_yticklabels())])


# ---------------------------------------------------------------- one RegFactor


def loadings_table(n_factors=2, n_lags=4, n_names=30, prefix=""):
    rng = np.random.default_rng(0)
    rows = []
    for factor in range(1, n_factors + 1):
        rows += [(f"RF{factor}", "lag", str(lag), 0.1 * lag) for lag in range(1, n_lags + 1)]
        for mode in ("source", "target"):
            rows += [(f"RF{factor}", mode, f"{prefix}{mode}{i}", rng.normal()) for i in range(n_names)]
    return pd.DataFrame(rows, columns=["regfactor", "mode", "name", "loading"])


def test_plot_regfactor_card_draws_loadings_and_activity_of_that_regfactor(legible):
    cells, loadings = cells_table(), loadings_table()
    table = activity_table(cells, ["RF1", "RF2"], "regfactor")
    figure = legible(plots.plot_regfactor_card("RF2", shuffled(loadings), shuffled(table), shuffled(cells), n_top=7))
    lag, source, target, embedding, trend = figure.axes[:5]
    mine = loadings[loadings["regfactor"] == "RF2"]
    assert labels(lag.get_xticklabels()) == ["1", "2", "3", "4"]
    assert [patch.get_height() for patch in lag.patches] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    for axis, mode in ((source, "source"), (target, "target")):
        part = mine[mine["mode"] == mode].set_index("name")["loading"]
        top = part.loc[part.abs().nlargest(7).index[::-1]]
        assert labels(axis.get_yticklabels()) == list(top.index)
        assert [patch.get_width() for patch in axis.patches] == pytest.approx(top.tolist())
        assert [patch.get_facecolor() for patch in axis.patches] == [
            to_rgba(ACTIVATES if value >= 0 else REPRESSES) for value in top
        ]
    values = table.loc[table["regfactor"] == "RF2", "activity"]
    assert sorted(embedding.collections[0].get_array()) == sorted(values)
    assert labels(trend.get_legend().get_texts()) == ["a", "b", "no lineage"]
    assert figure.get_suptitle() == "RegFactor RF2"


def test_plot_regfactor_card_without_activity_says_why(legible):
    cells = cells_table(50)
    table = activity_table(cells, ["RF1"], "regfactor")
    figure = legible(plots.plot_regfactor_card("RF2", loadings_table(), table, cells))
    assert ["it has no activity: too few of its targets are measured"] in [labels(axis.texts) for axis in figure.axes]


def test_plot_regfactor_card_of_an_unknown_regfactor_names_those_that_there_are():
    cells = cells_table(50)
    with pytest.raises(InputError, match=r"RegFactor 'rf1': is not among the 2.*'RF1', 'RF2'"):
        plots.plot_regfactor_card("rf1", loadings_table(), activity_table(cells, ["RF1"], "regfactor"), cells)


# ---------------------------------------------------------------- odd tables


@pytest.mark.parametrize("state", ["empty", "one cell", "long names", "no lineage", "no value", "many names"])
def test_figures_of_activity_are_legible_whatever_they_hold(legible, state):
    lineages = {"long names": (LONG, LONG + "2"), "no lineage": (None,), "many names": tuple("abcdefghij")}
    cells = cells_table(1 if state == "one cell" else 120, lineages.get(state, ("a", "b", None)))
    names = [LONG + "1"] if state == "long names" else [f"T{i}" for i in range(13 if state == "many names" else 2)]
    table = activity_table(cells, names)
    if state == "empty":
        table = table.head(0)
    if state == "no value":
        table["activity"] = np.nan
    legible(plots.plot_activity_on_embedding(table, cells, names))
    legible(plots.plot_trends(table, cells, names))
    legible(plots.plot_activity(table, cells, "source"))
    factors = table.rename(columns={"source": "regfactor"}).assign(regfactor="RF1").drop_duplicates("cell")
    prefix = LONG if state == "long names" else ""
    legible(plots.plot_regfactor_card("RF1", loadings_table(prefix=prefix), factors, cells, n_top=30))
