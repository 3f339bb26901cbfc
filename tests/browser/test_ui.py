"""The UI that users see: the graph, runs started with the mouse, and what an asset's page shows afterwards."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from scmagnify_assets.checks import CHECKS
from scmagnify_assets.definitions import ASSETS

if TYPE_CHECKING:
    from tests.browser.conftest import Platform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

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


def test_runs_started_in_the_ui_fill_the_tables(
    platform: "Platform", materialized: dict[str, dict[str, Any]]
) -> None:
    for first, run in materialized.items():
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["dagster/partition"] == ("small|0" if first == "trained_model" else "small")
        assert tags["dagster/from_ui"] == "true"

    counts = ", ".join(f"(SELECT count(*) FROM {table} WHERE dataset = 'small')" for table in TABLES)
    (row,) = platform.sql(
        f"""SELECT (SELECT count(*) FROM cells WHERE dataset = 'small'),
                   (SELECT count(*) FROM prior_network WHERE dataset = 'small'),
                   count(*), max(n_seeds), {counts}
            FROM edges WHERE dataset = 'small'"""
    )
    n_cells, n_candidates, n_edges, n_seeds, *others = map(int, row.split(","))
    assert (n_cells, n_seeds) == (200, 1)
    assert n_edges == n_candidates > 0
    assert all(others), dict(zip(TABLES, others, strict=True))


def test_every_check_runs_and_passes(platform: "Platform", materialized: dict[str, dict[str, Any]]) -> None:
    outcomes = {
        event["evaluation"]["checkName"]: event["evaluation"]["success"]
        for run in materialized.values()
        for event in platform.log(run["runId"])
        if event["__typename"] == "AssetCheckEvaluationEvent"
    }
    assert outcomes == {key.name: True for check in CHECKS for key in check.check_keys}


@pytest.mark.usefixtures("materialized")
@pytest.mark.parametrize(
    ("asset", "number"),
    [("tf_binding", "n_hits"), ("multiscale_network", "n_selected"), ("trained_model", "final_loss")],
)
def test_the_page_of_an_asset_shows_its_numbers_and_figure(
    platform: "Platform", page: Any, asset: str, number: str
) -> None:
    (rows,) = platform.sql(
        {
            "tf_binding": "SELECT count(*) FROM tf_binding",
            "multiscale_network": "SELECT count(*) FROM multiscale_network",
            "trained_model": "SELECT count(*) FROM training_history",
        }[asset]
    )
    page.goto(f"{platform.url}/assets/{asset}?view=overview")
    page.get_by_text("Row count").wait_for()
    page.get_by_text(f"{int(rows):,}", exact=True).first.wait_for()

    page.goto(f"{platform.url}/assets/{asset}?view=events")
    page.get_by_text(number, exact=True).wait_for()
    page.get_by_role("row", name=re.compile("^figure")).get_by_text("Show Markdown").click()
    figure = page.locator("img[alt=figure]")
    figure.wait_for()
    assert figure.evaluate("image => image.complete && image.naturalWidth > 300")
