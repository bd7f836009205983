"""The site in a real browser: it fits, it is readable first, and it asks for nothing."""

from pathlib import Path

import pytest

from quire.lab.papers import Paper
from report.chromium import Browser

PAGES = (
    "index",
    "papers/large",
    "papers/large-card",
    "papers/small",
    "papers/long_names",
    "papers/silent",
)
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [375, 1280])
def test_a_page_fits_its_window_and_is_quiet(
    browser: Browser, site: Path, name: str, width: int
) -> None:
    browser.open(site / f"{name}.html", width=width, height=800)
    assert browser.eval("innerWidth") == width
    assert browser.eval("document.documentElement.scrollWidth") <= width
    browser.eval("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.eval("document.documentElement.scrollWidth") <= width
    assert [event for event in browser.events if event.get("method") in FAULTS] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.parametrize(("width", "height", "shown"), [(1280, 900, 2), (375, 900, 1)])
def test_the_matrix_is_on_the_first_screen(
    browser: Browser, site: Path, width: int, height: int, shown: int
) -> None:
    browser.open(site / "index.html", width=width, height=height)
    bottoms = browser.eval(
        "[...document.querySelectorAll('.matrix tbody tr')]"
        ".map(row => row.getBoundingClientRect().bottom)"
    )
    assert sum(bottom <= height for bottom in bottoms) >= shown


@pytest.mark.parametrize("width", [375, 1280])
def test_without_scripts_the_matrix_is_whole(
    browser: Browser, site: Path, papers: list[Paper], width: int
) -> None:
    browser.open(site / "index.html", width=width, scripts=False)
    claims = sum(claim.kind == "trend" for paper in papers for claim in paper.claims)
    boxes = browser.eval(
        "[...document.querySelectorAll('.matrix a.cell')].map(a => a.getBoundingClientRect().width)"
    )
    assert len(boxes) == claims
    assert min(boxes) >= 20
    assert browser.eval("getComputedStyle(document.querySelector('.filter')).display") == "none"


def test_a_cell_leads_to_its_claim(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    target = browser.eval("document.querySelectorAll('.matrix a.cell')[9].href")
    page, anchor = target.split("#")
    browser.open(site / "papers" / page.rsplit("/")[-1], anchor=f"#{anchor}")
    top, selected = browser.eval(
        "(() => { const row = document.querySelector(':target');"
        " return [row.getBoundingClientRect().top, row.id]; })()"
    )
    assert selected == anchor == "claim-ladder-11"
    assert -1 <= top < 900
    assert browser.eval("scrollY") > 0


def test_wide_tables_scroll_in_their_own_box(browser: Browser, site: Path) -> None:
    browser.open(site / "papers" / "long_names.html", width=375, height=800)
    inside, outside, focus = browser.eval(
        "(() => { const box = document.querySelector('.scroll');"
        " return [box.scrollWidth, box.clientWidth, box.tabIndex]; })()"
    )
    assert inside > outside <= 375
    assert focus == 0


def test_rows_can_be_found(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    titles = (
        "[...document.querySelectorAll('.matrix tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.querySelector('a').textContent.slice(0, 9))"
    )
    for field, value, found in (
        ("text", "PONDER", 1),
        ("text", "zzz", 0),
        ("text", "", 4),
        ("outcome", "not-run", 1),
        ("outcome", "", 4),
    ):
        browser.eval(
            f"(() => {{ const f = document.querySelector('.filter'); f.elements.{field}.value ="
            f" '{value}'; f.dispatchEvent(new Event('input')); }})()"
        )
        assert len(browser.eval(titles)) == found, (field, value)
        assert browser.eval("document.querySelector('.none-found').hidden") == (found > 0)


def test_figures_are_drawn_in_both_schemes(browser: Browser, site: Path) -> None:
    colours = []
    for dark in (False, True):
        browser.open(site / "papers" / "large.html", dark=dark)
        browser.eval("document.querySelectorAll('details').forEach(each => each.open = true)")
        boxes = browser.eval(
            "[...document.querySelectorAll('figure > svg')]"
            ".map(svg => svg.getBoundingClientRect().height)"
        )
        assert len(boxes) == 8
        assert min(boxes) > 100
        colours.append(
            browser.eval(
                "[getComputedStyle(document.body.parentElement).backgroundColor,"
                " getComputedStyle(document.querySelector('figure > svg text')).fill]"
            )
        )
    assert colours[0] == ["rgb(255, 255, 255)", "rgb(89, 98, 110)"]
    assert colours[1] == ["rgb(20, 23, 27)", "rgb(163, 172, 184)"]


def test_figures_of_runs_are_shown(browser: Browser, site: Path) -> None:
    browser.open(site / "papers" / "large.html")
    widths = browser.eval(
        "(async () => { document.querySelectorAll('details').forEach(each => each.open = true);"
        " const images = [...document.images];"
        " for (const image of images) { image.loading = 'eager'; await image.decode(); }"
        " return images.map(image => image.naturalWidth); })()"
    )
    assert len(widths) == 2
    assert min(widths) > 100
