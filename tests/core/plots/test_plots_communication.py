"""Pairs of ligand and receptor, and cascades from ligand to target."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch, Rectangle

from scmagnify_core import plots
from scmagnify_core.plots.communication import SURE, UNSURE, WIDEST
from scmagnify_core.plots.style import ACTIVATES, NEUTRAL, REPRESSES

LONG = "a-very-long-name-that-nobody-would-write-by-hand-"


def cascades_table(rows):
    """``ligand, receptor, tf, score, padj, association`` of each cascade, between the same two groups."""
    frame = pd.DataFrame(rows, columns=["ligand", "receptor", "tf", "score", "padj", "receptor_tf_association"])
    return frame.assign(sender="s", receiver="r", lag=1)


def edges_table(rows):
    frame = pd.DataFrame(rows, columns=["source", "target", "signed_score", "is_selected"])
    return frame.assign(score=frame["signed_score"].abs())


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def bars(axis):
    """Widths of horizontal bars by their label."""
    widths = [patch.get_width() for patch in axis.patches]
    return dict(zip(labels(axis.get_yticklabels()), widths, strict=True))


def colors(axis):
    return [to_hex(patch.get_facecolor()).upper() for patch in axis.patches]


PAIRS = pd.DataFrame(
    {
        "sender": ["s1", "s1", "s2"], "receiver": ["r1", "r2", "r1"], "ligand": ["L1", "L1", "L2"],
        "receptor": ["R1", "R1", "R2"], "score": [1.0, 2.0, 3.0], "padj": [0.01, 1.0, 0.0],
    }
)  # fmt: skip
FEW_CASCADES = pd.DataFrame(
    {
        "sender": "s1", "receiver": ["r1", "r2", "r1"], "ligand": "L1", "receptor": "R1", "tf": ["A", "A", "B"],
        "lag": [1, 1, 2], "receptor_tf_association": [0.5, 0.5, -0.5], "score": [0.4, 0.9, 0.6],
        "padj": [0.5, 0.1, 0.2],
    }
)  # fmt: skip


def test_plot_communication_draws_a_dot_per_pair_and_route_and_a_bar_per_cascade(legible):
    left, right = legible(
        plots.plot_communication({"ligand_receptor": PAIRS, "communication_scores": FEW_CASCADES})
    ).axes[:2]
    dots = left.collections[0]
    x, y = labels(left.get_xticklabels()), labels(left.get_yticklabels())
    at = {(x[int(i)], y[int(j)]) for i, j in np.asarray(dots.get_offsets())}
    assert at == {("s1 → r1", "L1 → R1"), ("s1 → r2", "L1 → R1"), ("s2 → r1", "L2 → R2")}
    assert sorted(dots.get_array()) == [1.0, 2.0, 3.0]
    assert np.isfinite(dots.get_sizes()).all()  # a padj of 0 has a dot, too
    assert bars(right) == {"L1 → R1 → A (lag 1)": 0.9, "L1 → R1 → B (lag 2)": 0.6}
    assert sorted(colors(right)) == sorted([ACTIVATES, REPRESSES])


@pytest.mark.parametrize("empty", ["ligand_receptor", "communication_scores", "both"])
def test_plot_communication_says_which_part_is_empty(legible, empty):
    tables = {"ligand_receptor": PAIRS.head(1), "communication_scores": FEW_CASCADES.head(1)}
    said = {"ligand_receptor": "no ligand-receptor pair found", "communication_scores": "no cascade found"}
    names = list(tables) if empty == "both" else [empty]
    for name in names:
        tables[name] = tables[name][:0]
    figure = legible(plots.plot_communication(tables))
    for axis, name in zip(figure.axes, said, strict=False):
        texts = labels(axis.texts)
        assert (said[name] in texts) == (name in names)


CASCADES = cascades_table(
    [
        ("L1", "R1", "A", 0.8, 0.01, 0.5), ("L2", "R1", "A", 0.4, 0.01, 0.5), ("L1", "R2", "B", 0.6, 0.50, -0.5),
        ("L3", "R3", "C", 0.0, 1.00, 0.1),
    ]
)  # fmt: skip
EDGES = edges_table(
    [
        ("A", "x", 3.0, True),
        ("A", "y", -1.0, True),
        ("A", "z", 0.5, True),
        ("A", "w", 9.0, False),
        ("B", "x", 1.0, True),
    ]
)


def boxes(axis):
    """Column, name, and upper and lower end of each box."""
    found = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    names = [text.get_text() for text in axis.texts]
    columns = sorted({round(patch.get_x(), 3) for patch in found})
    result = {}
    for patch in found:
        low, high = patch.get_y(), patch.get_y() + patch.get_height()
        middle = patch.get_x() + patch.get_width() / 2
        (text, *_) = [
            text for text in axis.texts
            if abs(text.get_position()[0] - middle) < 1e-6 and low <= text.get_position()[1] <= high
        ]  # fmt: skip
        assert text.get_text() in names
        result[columns.index(round(patch.get_x(), 3)), text.get_text()] = (high, low)
    return result


def ribbons(axis):
    """Column, name of both ends, width, colour and opacity of each ribbon."""
    places, found = boxes(axis), []
    for patch in axis.patches:
        if not isinstance(patch, PathPatch):
            continue
        path = patch.get_path().vertices
        column = round((path[0, 0] - 1.3) / 2.65)
        ends = []
        for side, (top, bottom) in ((column, (path[0, 1], path[7, 1])), (column + 1, (path[3, 1], path[4, 1]))):
            (name,) = [
                name for (at, name), (high, low) in places.items()
                if at == side and low - 1e-9 <= bottom and top <= high + 1e-9
            ]  # fmt: skip
            ends.append(name)
        color = {NEUTRAL: "", ACTIVATES: "+", REPRESSES: "-"}[to_hex(patch.get_facecolor()).upper()]
        found.append((column, *ends, path[0, 1] - path[7, 1], color, patch.get_alpha()))
    return sorted(found)


def test_plot_cascades_joins_ligands_receptors_tfs_and_targets(legible):
    (axis,) = legible(plots.plot_cascades(CASCADES.sample(frac=1, random_state=0), EDGES, n_targets=2)).axes
    assert {(column, name) for column, name in boxes(axis)} == {
        (0, "L1"), (0, "L2"), (1, "R1"), (1, "R2"), (2, "A"), (2, "B"), (3, "x"), (3, "y")
    }  # fmt: skip
    unit = WIDEST / 0.8
    expected = [
        (0, "L1", "R1", 0.8, "", SURE), (0, "L1", "R2", 0.6, "", UNSURE), (0, "L2", "R1", 0.4, "", SURE),
        (1, "R1", "A", 1.2, "+", SURE), (1, "R2", "B", 0.6, "-", UNSURE),
        (2, "A", "x", 0.9, "+", SURE), (2, "A", "y", 0.3, "-", SURE), (2, "B", "x", 0.6, "+", UNSURE),
    ]  # fmt: skip
    found = ribbons(axis)
    assert [one[:3] + one[4:] for one in found] == [one[:3] + one[4:] for one in expected]
    np.testing.assert_allclose([one[3] for one in found], [unit * one[3] for one in expected])
    assert axis.figure.get_suptitle().startswith("All 3 cascades, 2 of them with padj")


def test_plot_cascades_leaves_and_reaches_boxes_without_overlap(legible):
    rng = np.random.default_rng(0)
    names = [(f"L{i}", f"R{j}", f"T{k}") for i in range(4) for j in range(4) for k in range(4)]
    cascades = cascades_table([(*one, rng.random(), 0.01, rng.normal()) for one in names])
    edges = edges_table([(f"T{k}", f"g{i}", rng.normal(), True) for k in range(4) for i in range(9)])
    (axis,) = legible(plots.plot_cascades(cascades, edges, n_cascades=40)).axes
    for (column, _), (high, low) in boxes(axis).items():
        others = [place for (at, _), place in boxes(axis).items() if at == column and place != (high, low)]
        assert all(other_low >= high or other_high <= low for other_high, other_low in others)
    flows = pd.DataFrame(ribbons(axis), columns=["column", "start", "end", "width", "sign", "alpha"])
    for column in (1, 2):  # what reaches a receptor or a TF is what leaves it
        into = flows[flows["column"] == column - 1].groupby("end")["width"].sum()
        out = flows[flows["column"] == column].groupby("start")["width"].sum()
        pd.testing.assert_series_equal(into, out, check_names=False)


def test_plot_cascades_draws_each_cascade_between_the_groups_where_it_is_strongest(legible):
    elsewhere = CASCADES.assign(sender="t", score=CASCADES["score"] * 1.1)
    (axis,) = legible(plots.plot_cascades(pd.concat([CASCADES, elsewhere]), EDGES)).axes
    texts = [text.get_text() for text in axis.texts]
    assert texts.count("t") == 2  # below both ligands
    assert "s" not in texts


def test_plot_cascades_counts_what_it_leaves_out_and_prefers_what_is_significant(legible):
    (axis,) = legible(plots.plot_cascades(CASCADES, EDGES, n_cascades=2)).axes
    assert axis.figure.get_suptitle().startswith("The strongest 2 of 3 cascades, 2 of them")
    assert (2, "B") not in boxes(axis)


def test_plot_cascades_ends_at_the_tf_where_none_of_its_edges_is_selected(legible):
    (axis,) = legible(plots.plot_cascades(CASCADES, EDGES.assign(is_selected=False))).axes
    assert max(column for column, _ in boxes(axis)) == 2
    assert "none is selected" in [text.get_text() for text in axis.texts]


@pytest.mark.parametrize("state", ["empty", "one", "many", "long names", "no edges"])
def test_plot_cascades_is_legible_whatever_the_tables_hold(legible, state):
    rng = np.random.default_rng(0)
    prefix = LONG if state == "long names" else ""
    n = {"one": 1, "many": 300}.get(state, 12)
    cascades = cascades_table(
        [(f"{prefix}L{i % 50}", f"{prefix}R{i % 70}", f"{prefix}T{i % 60}", rng.random(), 0.1, 1.0) for i in range(n)]
    ).assign(sender=prefix + "s")  # fmt: skip
    edges = edges_table([(f"{prefix}T{k}", f"{prefix}g{i}", 1.0, True) for k in range(60) for i in range(5)])
    if state == "empty":
        cascades = cascades.head(0)
    if state == "no edges":
        edges = edges.head(0)
    legible(plots.plot_cascades(cascades, edges, n_cascades=300))
