"""The order in which a data set runs, derived from the graph."""

import pytest

from scmagnify_assets.graph import waves as module
from scmagnify_assets.graph.record import RECORDS, Record, order_of_assets
from scmagnify_assets.graph.waves import OVER_DATASETS, awaited_assets, waves


def test_waves_hold_every_asset_after_what_it_needs() -> None:
    done = {"raw_dataset"}
    for name in (asset for wave in waves(["scmagnify"]) for asset in wave.assets):
        assert set(RECORDS[name].inputs) <= done, name
        done.add(name)
    assert done == {"raw_dataset", *RECORDS}
    assert [(wave.family, wave.is_over_datasets) for wave in waves(["scmagnify"])] == [
        (None, False), ("scmagnify", False), (None, False), (None, True),
    ]  # fmt: skip
    assert {"leaderboard"} == OVER_DATASETS


def test_a_family_that_is_not_wanted_has_no_wave() -> None:
    assert not {wave.family for wave in waves([])} & {"scmagnify"}
    assert "scmagnify_model" not in {asset for wave in waves([]) for asset in wave.assets}


@pytest.mark.parametrize(("methods", "expected"), [(["f"], [("a",), ("f_model",), ("b",)]), ([], [("a", "b")])])
def test_what_reads_a_family_runs_after_it_and_with_the_others_where_it_is_not_wanted(
    methods: list[str], expected: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [Record("a", None), Record("f_model", None, (), ("a",), "f"), Record("b", None, (), ("a", "f_model"))]
    monkeypatch.setattr(module, "RECORDS", {one.name: one for one in records})
    monkeypatch.setattr(module, "order_of_assets", lambda: [one.name for one in records])
    assert [wave.assets for wave in waves(methods)] == expected


def test_awaited_are_the_assets_that_other_runs_wait_for() -> None:
    assert set(awaited_assets()) == {
        "diffusion_operators", "scmagnify_model", "scmagnify_network", "imported_networks", "baseline_networks",
        "network_scores",
    }  # fmt: skip


def test_order_of_assets_is_topological() -> None:
    place = {name: number for number, name in enumerate(order_of_assets())}
    for record in RECORDS.values():
        assert all(place[one] < place[record.name] for one in record.inputs)
