"""The UI that users see: the graph, runs started with the mouse, and what an asset's page shows afterwards."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from scmagnify_assets.checks import CHECKS
from scmagnify_assets.definitions import ASSETS

if TYPE_CHECKING:
    from tests.browser.conftest import Platform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

TABLES = (
    "gene_association",
    "peak_gene_links",
    "tf_binding",
    "seed_network",
    "regfactors",
    "tf_activity",
    "network_scores",
    "communication_scores",
)


def test_the_graph_shows_every_asset(platform: "Platform", page: Any) -> None:
    page.goto(platform.graph_url())
    for asset in ASSETS:
        name = asset.key.to_user_string()
        n_kept = min(6, len(name) // 2)  # long names are shortened in the middle
        shown = re.compile(f"^{name[:n_kept]}.*{name[-n_kept:]}$")
        page.get_by_text(shown).filter(visible=True).first.wait_for()
    assert page.get_by_text("Join the Dagster community").count() == 0
    page.goto("about:blank")  # it would go on asking for news while the runs need the CPU


def test_a_dropped_data_set_runs_by_itself_once(platform: "Platform", dropped: str) -> None:
    repeated = platform.sql("SELECT dataset, asset, seed, count(*) FROM lineage GROUP BY ALL HAVING count(*) > 1")
    assert repeated == []
    counts = ", ".join(f"(SELECT count(*) FROM {table} WHERE dataset = '{dropped}')" for table in TABLES)
    (row,) = platform.sql(
        f"""SELECT (SELECT count(*) FROM cells WHERE dataset = '{dropped}'),
                   (SELECT count(*) FROM prior_network WHERE dataset = '{dropped}'),
                   count(*), max(n_seeds), {counts}
            FROM edges WHERE dataset = '{dropped}'"""
    )
    n_cells, n_candidates, n_edges, n_seeds, *others = row
    assert (n_cells, n_seeds) == (200, 2)
    assert n_edges == n_candidates > 0
    assert all(others), dict(zip(TABLES, others, strict=True))


def test_a_run_started_with_the_mouse_makes_the_same_again_and_nothing_else(
    platform: "Platform", materialized: dict[str, Any]
) -> None:
    assert {asset["path"][0] for asset in materialized["assetSelection"]} == {"tf_activity", "report"}
    again = platform.sql(
        """SELECT asset, count(*), count(DISTINCT data_version) FROM lineage
           GROUP BY dataset, asset, seed HAVING count(*) > 1 ORDER BY asset"""
    )
    assert again == [("report", 2, 2), ("tf_activity", 2, 1)]  # the report names what it was made from


@pytest.mark.usefixtures("dropped")
def test_a_file_that_is_no_data_set_is_moved_aside_and_its_run_says_why(platform: "Platform", page: Any) -> None:
    (aside,) = (platform.home / "incoming" / "rejected").iterdir()
    assert sorted(path.name for path in aside.iterdir()) == ["broken.h5ad", "error.txt"]
    (run,) = [run for run in platform.runs().values() if run["status"] == "FAILURE"]
    assert run["jobName"] == "receive_data_set"
    page.goto(f"{platform.url}/runs/{run['runId']}")
    page.get_by_text(re.compile("broken.h5ad")).first.wait_for()


@pytest.mark.usefixtures("materialized")
def test_every_check_runs_and_passes(platform: "Platform") -> None:
    outcomes = {
        event["evaluation"]["checkName"]: event["evaluation"]["success"]
        for run in platform.runs().values()
        for event in platform.log(run["runId"])
        if event["__typename"] == "AssetCheckEvaluationEvent"
    }
    assert outcomes == {key.name: True for check in CHECKS for key in check.check_keys}


@pytest.mark.usefixtures("dropped")
def test_what_runs_by_itself_can_be_seen(platform: "Platform", page: Any) -> None:
    page.goto(f"{platform.url}/automation")
    for name in ("automation", "arrivals", "failed_run", "nightly_refresh", "weekly_maintenance"):
        page.get_by_text(name, exact=True).first.wait_for()


@pytest.mark.usefixtures("materialized")
@pytest.mark.parametrize(
    ("asset", "number"),
    [("tf_binding", "n_hits"), ("multiscale_network", "n_selected"), ("trained_model", "final_loss")],
)
def test_the_page_of_an_asset_shows_its_numbers_and_figure(
    platform: "Platform", page: Any, asset: str, number: str
) -> None:
    ((rows,),) = platform.sql(
        {
            "tf_binding": "SELECT count(*) FROM tf_binding WHERE dataset = 'small'",
            "multiscale_network": "SELECT count(*) FROM multiscale_network WHERE dataset = 'small'",
            "trained_model": "SELECT count(*) FROM training_history WHERE dataset = 'small'",
        }[asset]
    )
    page.goto(f"{platform.url}/assets/{asset}?view=overview")
    page.get_by_text("Row count").wait_for()
    page.get_by_text(f"{rows:,}", exact=True).first.wait_for()

    page.goto(f"{platform.url}/assets/{asset}?view=events")
    page.get_by_text(number, exact=True).wait_for()
    page.get_by_role("row", name=re.compile(r"^figure\b")).get_by_text("Show Markdown").click()
    figure = page.locator("img[alt=figure]")
    figure.wait_for()
    assert figure.evaluate("image => image.complete && image.naturalWidth > 300")
