"""What users see in a real browser, after one data set was dropped: the UI, and the report that it leads to.

The report is opened without a network: it draws, its choosers choose, and it fits a phone and paper. Both are in one
file, and thereby for one worker, because a platform of their own each would take minutes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scmagnify_assets.definitions import ASSETS
from scmagnify_assets.graph.checks.all import CHECKS

if TYPE_CHECKING:
    from tests.browser.conftest import Platform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

OFFLINE = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
TABLES = (
    "gene_association",
    "peak_gene_links",
    "tf_binding",
    "seed_network",
    "regfactors",
    "tf_activity",
    "baseline_networks",
    "network_scores",
    "communication_scores",
)


def test_the_graph_shows_every_asset(platform: "Platform", page: Any) -> None:
    usual = page.viewport_size
    page.set_viewport_size({"width": 1500, "height": 2600})  # the graph draws what is in sight
    page.goto(platform.graph_url())
    for asset in ASSETS:
        name = asset.key.to_user_string()
        n_kept = min(6, len(name) // 2)  # long names are shortened in the middle
        shown = re.compile(f"^{name[:n_kept]}.*{name[-n_kept:]}$")
        page.get_by_text(shown).filter(visible=True).first.wait_for()
    assert page.get_by_text("Join the Dagster community").count() == 0
    page.set_viewport_size(usual)
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
    [("tf_binding", "n_hits"), ("multiscale_network", "n_selected"), ("scmagnify_model", "final_loss")],
)
def test_the_page_of_an_asset_shows_its_numbers_and_figure(
    platform: "Platform", page: Any, asset: str, number: str
) -> None:
    ((rows,),) = platform.sql(
        {
            "tf_binding": "SELECT count(*) FROM tf_binding WHERE dataset = 'small'",
            "multiscale_network": "SELECT count(*) FROM multiscale_network WHERE dataset = 'small'",
            "scmagnify_model": "SELECT count(*) FROM fit_history WHERE dataset = 'small'",
        }[asset]
    )
    page.goto(f"{platform.url}/assets/{asset}?view=overview")
    page.get_by_text("Row count").wait_for()
    page.get_by_text(f"{rows:,}", exact=True).first.wait_for()

    page.goto(f"{platform.url}/assets/{asset}?view=events")
    page.get_by_text(number, exact=True).first.wait_for()
    page.get_by_role("row", name=re.compile(r"^figure\b")).get_by_text("Show Markdown").click()
    figure = page.locator("img[alt=figure]")
    figure.wait_for()
    assert figure.evaluate("image => image.complete && image.naturalWidth > 300")


# ---------------------------------------------------------------- the report


class Opened:
    """A page, with what it asked for and complained about since it was opened."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.requests, self.complaints = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self._heard("error", str(error)))
        page.goto(path.as_uri())

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def title_of(self, figure: str) -> str:
        return str(self.page.evaluate("id => document.getElementById(id).layout.title.text", figure))


@pytest.fixture(scope="module")
def browser(playwright: Any, chromium: str) -> Iterator[Any]:
    browser = playwright.chromium.launch(executable_path=chromium, args=list(OFFLINE))
    yield browser
    browser.close()


def opened(browser: Any, path: Path, width: int = 1300, **options: Any) -> Opened:
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
    return Opened(context.new_page(), path)


@pytest.fixture
def report(browser: Any, report_file: Path) -> Iterator[Opened]:
    found = opened(browser, report_file)
    yield found
    found.page.context.close()


def test_the_page_opens_without_a_network_or_a_complaint(report: Opened, report_file: Path) -> None:
    report.page.wait_for_selector("#network-figure .main-svg")
    report.page.wait_for_selector("#embedding-figure .main-svg")
    report.page.wait_for_timeout(500)
    assert [url for url in report.requests if not url.startswith(("data:", "blob:"))] == [report_file.as_uri()]
    assert report.complaints == []
    assert report.page.locator(".still:visible").count() == 0  # the interactive figures took their place
    # Nor does a button offer to send the data anywhere.
    buttons = report.page.eval_on_selector_all(".modebar-btn", "all => all.map(one => one.dataset.title)")
    assert set(buttons) == {"Download plot"}


def test_the_network_follows_the_chosen_gene(report: Opened) -> None:
    page = report.page
    first = page.evaluate("document.getElementById('network-figure').dataset.gene")
    names = page.eval_on_selector_all("#genes option", "options => options.map(o => o.value)")
    other = next(name for name in names if name != first)
    page.fill("#gene", other.lower())
    assert page.evaluate("document.getElementById('network-figure').dataset.gene") == other
    assert page.locator("#network-figure .annotation-text", has_text=other).count() == 1
    page.fill("#gene", "no such gene")
    assert "no edge of that name" in page.inner_text("#gene-note")
    page.locator("button[data-gene]").first.click()
    assert page.input_value("#gene") == page.evaluate("document.getElementById('network-figure').dataset.gene")


def test_pointing_at_a_gene_tells_score_lag_pvalue_and_stability(report: Opened) -> None:
    page = report.page
    page.locator("#network-figure").scroll_into_view_if_needed()
    box = page.locator("#network-figure .scatterlayer .trace:nth-last-child(2) .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    text = page.locator("#network-figure .hoverlayer .hovertext").text_content()
    for wanted in ("rank", "score", "lag", "p-value", "FDR", "stability"):
        assert wanted in text


def test_clicking_on_a_gene_goes_there(report: Opened) -> None:
    page = report.page
    before = page.input_value("#gene")
    page.locator("#network-figure").scroll_into_view_if_needed()
    box = page.locator("#network-figure .scatterlayer .trace:nth-last-child(2) .point").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("before => document.getElementById('gene').value !== before", arg=before)


def test_the_embedding_shows_the_chosen_activity(report: Opened) -> None:
    page = report.page
    names = page.eval_on_selector_all("#activity-name option", "options => options.map(o => o.textContent)")
    colors = "document.getElementById('embedding-figure').data[0].marker.color.slice(0, 20).join()"
    before = page.evaluate(colors)
    page.select_option("#activity-name", label=names[-1])
    assert page.evaluate("document.getElementById('embedding-figure').dataset.name") == names[-1]
    assert names[-1] in report.title_of("embedding-figure")
    assert page.evaluate(colors) != before


def test_regfactors_are_shown_one_at_a_time(report: Opened) -> None:
    page = report.page
    tabs = page.get_by_role("tab")
    assert tabs.count() > 1
    assert page.get_by_role("tabpanel").count() == 1
    tabs.nth(1).click()
    assert page.locator("#panel-2").is_visible()
    assert not page.locator("#panel-1").is_visible()


def test_the_table_sorts_and_searches(report: Opened) -> None:
    page = report.page

    def column(number: int) -> list[str]:
        return page.eval_on_selector_all(
            f"#edge-table tbody tr:not([hidden]) td:nth-child({number})", "cells => cells.map(c => c.textContent)"
        )  # type: ignore[no-any-return]

    ranks = column(1)
    assert ranks == sorted(ranks, key=int)
    page.get_by_role("button", name="p-value").click()
    numbers = "cells => cells.map(c => Number(c.dataset.value))"
    values = page.eval_on_selector_all("#edge-table td:nth-child(7)", numbers)
    assert values == sorted(values)
    assert column(1) != ranks
    wanted = column(3)[0]
    page.fill("#search", wanted)
    assert all(wanted in source or wanted in target for source, target in zip(column(2), column(3), strict=True))
    assert f"of {len(ranks)} edges" in page.inner_text("#search-note")
    page.fill("#search", "")
    assert len(column(1)) == len(ranks)


def test_a_phone_scrolls_in_one_direction(browser: Any, report_file: Path) -> None:
    found = opened(browser, report_file, 400)
    found.page.wait_for_selector("#embedding-figure .main-svg")
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
    found.page.context.close()


def test_paper_has_drawn_figures_and_every_regfactor(browser: Any, report_file: Path, tmp_path: Path) -> None:
    found = opened(browser, report_file)
    found.page.wait_for_selector("#embedding-figure .main-svg")
    n_regfactors = found.page.locator("[role=tab]").count()
    content = found.page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    found.page.emulate_media(media="print")
    assert found.page.locator(".live:visible").count() == 0
    assert found.page.locator(".still:visible").count() == 2
    assert found.page.locator("[role=tabpanel]:visible").count() == n_regfactors
    found.page.context.close()


def test_without_javascript_everything_is_drawn(browser: Any, report_file: Path) -> None:
    found = opened(browser, report_file, java_script_enabled=False)
    assert found.page.locator(".live:visible").count() == 0
    assert found.page.locator(".still:visible svg, .still:visible img").count() == 2
    assert found.page.locator("#edge-table tbody tr").count() > 10
    found.page.context.close()
