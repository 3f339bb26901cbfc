"""The report in a real browser without a network: it draws, its choosers choose, and it fits a phone and paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


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
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGUMENTS))
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
