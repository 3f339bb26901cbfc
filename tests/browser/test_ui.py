"""The UI that users see: the graph, runs started with the mouse, and what an asset's page shows afterwards."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from scmagnify_assets.checks import CHECKS
from scmagnify_assets.definitions import ASSETS

if TYPE_CHECKING:
    from tests.browser.conftest import Platform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_graph_shows_every_asset(platform: "Platform", page: Any) -> None:
    page.goto(platform.graph_url())
    for asset in ASSETS:
        name = asset.key.to_user_string()
        n_kept = min(6, len(name) // 2)  # long names are shortened in the middle
        shown = re.compile(f"^{name[:n_kept]}.*{name[-n_kept:]}$")
        page.get_by_text(shown).filter(visible=True).first.wait_for()
    assert page.get_by_text("Join the Dagster community").count() == 0


def test_runs_started_in_the_ui_fill_the_tables(
    platform: "Platform", materialized: dict[str, dict[str, Any]]
) -> None:
    for first, run in materialized.items():
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["dagster/partition"] == ("small|0" if first == "trained_model" else "small")
        assert tags["dagster/from_ui"] == "true"

    assert platform.sql("SELECT count(*) FROM cells WHERE dataset = 'small'") == ["200"]
    (edges, candidates, seeds) = platform.sql(
        """SELECT count(*), (SELECT count(*) FROM prior_network), max(n_seeds) FROM edges WHERE dataset = 'small'"""
    )[0].split(",")
    assert edges == candidates
    assert seeds == "1"
    for table in ("seed_network", "regfactors", "tf_activity", "network_scores", "communication_scores"):
        assert int(platform.sql(f"SELECT count(*) FROM {table}")[0]) > 0, table


def test_every_check_runs_and_passes(platform: "Platform", materialized: dict[str, dict[str, Any]]) -> None:
    outcomes = {
        event["evaluation"]["checkName"]: event["evaluation"]["success"]
        for run in materialized.values()
        for event in platform.log(run["runId"])
        if event["__typename"] == "AssetCheckEvaluationEvent"
    }
    assert outcomes == {key.name: True for check in CHECKS for key in check.check_keys}


@pytest.mark.usefixtures("materialized")
@pytest.mark.parametrize("asset", ["multiscale_network", "trained_model"])
def test_the_page_of_an_asset_shows_its_numbers_and_figure(platform: "Platform", page: Any, asset: str) -> None:
    page.goto(f"{platform.url}/assets/{asset}?view=overview")
    page.wait_for_timeout(4000)
    page.screenshot(path=f"/tmp/uiw/{asset}.png")
    page.goto(f"{platform.url}/assets/{asset}?view=events")
    page.wait_for_timeout(4000)
    page.screenshot(path=f"/tmp/uiw/{asset}-e.png", full_page=True)
    page.goto(f"{platform.url}/assets/{asset}?view=partitions&partition=small|0")
    page.wait_for_timeout(4000)
    page.screenshot(path=f"/tmp/uiw/{asset}-p.png", full_page=True)
