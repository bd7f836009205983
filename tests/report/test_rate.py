"""Judging in a real browser, from the page to the verdict, and how the verdict is shown.

The rater is a script that looks at the pixels; what it says stays in a temporary folder.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import quire.papers
from quire.cli import main
from quire.lab.evidence import all_evidence, read_evidence
from quire.lab.job import Options, Target
from quire.lab.launch import attempt
from quire.lab.papers import find_paper
from quire.lab.testing import try_run
from quire.lab.verify import verify
from quire.report.console import print_verified
from quire.report.model import judge, known_evidence
from quire.report.overview import row_of
from quire.report.site import sheet_of, write
from quire.report.tables import papers_markdown, results_markdown
from report.chromium import Browser

TOYS = Path(__file__).parent.parent / "lab" / "papers"
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")
PAIRS = 12
BRIGHTER = """(() => {
    const light = [...document.querySelectorAll(".pair img")].map(image => {
        const canvas = document.createElement("canvas");
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0];
    });
    return light[0] > light[1] ? "ArrowLeft" : "ArrowRight";
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the toy's runs and a page of them, page.html."""
    folder = tmp_path_factory.mktemp("rate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIRE_EVIDENCE", str(folder / "committed"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
        for arm in ("bright", "black"):
            for seed in range(2):
                try_run("seen", "squares", arm=arm, preset="laptop", seed=seed,
                        directory=folder / "runs")  # fmt: skip
        words = ["seen/people-see-light", "--runs", str(folder / "runs")]
        assert main(["rate", *words, "--out", str(folder / "page.html")]) == 0
        yield folder


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("QUIRE_EVIDENCE", str(tmp_path / "committed"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
    monkeypatch.chdir(tmp_path)


def begin(browser: Browser, folder: Path, **window: int) -> None:
    """Open the page as somebody who has not seen it."""
    browser.open(folder / "page.html", **window)
    browser.eval("localStorage.clear()")
    browser.open(folder / "page.html", **window)


def press(browser: Browser, key: str) -> None:
    codes = {"ArrowLeft": 37, "ArrowRight": 39, " ": 32}
    for kind in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key])


def where(browser: Browser) -> str:
    return str(browser.eval("document.querySelector('[role=status]').textContent"))


def choices(browser: Browser) -> list[list[object]]:
    """What the page has kept in the browser."""
    kept = browser.eval("Object.values(localStorage)[0]")
    return list(json.loads(kept)["choices"])


def save(browser: Browser, folder: Path) -> Path:
    """Press the button and wait for the file that the browser writes."""
    folder.mkdir()
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.eval("document.querySelector('[name=save]').click()")
    for _ in range(200):
        if found := list(folder.glob("ratings-people-*.json")):
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_blind_whole_and_quiet(browser: Browser, folder: Path, width: int) -> None:
    begin(browser, folder, width=width, height=800)
    text = browser.eval(
        "document.title + document.body.innerText + [...document.querySelectorAll('*')]"
        ".map(e => (e.alt ?? '') + (e.title ?? '') + (e.ariaLabel ?? '')).join(' ')"
    ).lower()
    assert "which of the two is brighter?" in text
    for word in ("black", "squares", "bright.", "seen", "people-see-light", "laptop"):
        assert word not in text, word
    assert browser.eval("document.documentElement.scrollWidth") <= width
    sizes = browser.eval(
        "[...document.querySelectorAll('.pair img')]"
        ".map(i => [i.naturalWidth, i.getBoundingClientRect().width])"
    )
    assert [natural for natural, _ in sizes] == [8, 8]
    assert all(100 < shown < width / 2 for _, shown in sizes)
    assert [event for event in browser.events if event.get("method") in FAULTS] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert asked[0] == (folder / "page.html").as_uri()
    assert all(url.startswith("data:") for url in asked[1:])


def test_buttons_have_names_and_pictures_words(browser: Browser, folder: Path) -> None:
    begin(browser, folder)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if node.get("role", {}).get("value") in ("button", "progressbar", "textbox")
    ]
    buttons = [name for role, name in named if role == "button"]
    for text in ("The left picture", "The right picture", "Can't tell", "Back", "Save ratings"):
        assert any(name.startswith(text) for name in buttons), (text, buttons)
    assert ("progressbar", "Pairs rated") in named
    assert any(role == "textbox" and name.startswith("Your name") for role, name in named)


def test_keys_and_buttons_choose_and_nothing_is_lost(browser: Browser, folder: Path) -> None:
    begin(browser, folder)
    assert where(browser) == f"Pair 1 of {PAIRS}"
    assert browser.eval("document.querySelector('[name=save]').disabled")
    press(browser, " ")
    press(browser, "ArrowLeft")
    browser.eval("document.querySelectorAll('[data-side]')[1].click()")
    assert where(browser) == f"Pair 4 of {PAIRS}"
    names = browser.eval("JSON.parse(document.querySelector('#content').textContent).names")
    assert [name for name, _ in choices(browser)] == [None, names[1][0], names[2][1]]
    browser.open(folder / "page.html")
    assert where(browser) == f"Pair 4 of {PAIRS}"
    browser.eval("document.querySelector('[name=back]').click()")
    assert where(browser) == f"Pair 3 of {PAIRS}"
    assert len(choices(browser)) == 2


def test_a_key_means_what_is_focused(browser: Browser, folder: Path) -> None:
    """Space presses a focused button, is a letter in a name, and "can't tell" elsewhere."""
    begin(browser, folder)
    box = browser.eval(
        "(() => { const box = document.querySelector('[data-side]').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                     clickCount=1)  # fmt: skip
    press(browser, " ")  # the pointer leaves no focus behind
    assert [name is None for name, _ in choices(browser)] == [False, True]
    browser.eval("document.querySelector('[name=rater]').focus()")
    for key in ("ArrowLeft", "ArrowRight", " "):
        press(browser, key)
    assert len(choices(browser)) == 2


def test_a_browser_without_storage_still_saves(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    begin(browser, folder)
    script = "Object.defineProperty(window, 'localStorage', {get() { throw Error('no'); }})"
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    try:
        browser.open(folder / "page.html")
        assert where(browser) == f"Pair 1 of {PAIRS}"
        press(browser, " ")
        saved = save(browser, tmp_path / "saved")
        assert len(read_evidence(saved).rated.ratings[0].choices) == 1  # type: ignore[union-attr]
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **added)


def test_from_the_page_to_the_verdict(
    browser: Browser, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(browser, folder)
    for _ in range(PAIRS):
        press(browser, browser.eval(BRIGHTER))
    assert where(browser) == f"{PAIRS} of {PAIRS} rated"
    assert browser.eval("getComputedStyle(document.querySelector('.pair')).display") == "none"
    browser.eval(
        "(() => { const box = document.querySelector('[name=rater]'); box.value = 'A script <&>';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    assert browser.eval("document.querySelector('[name=anew]').hidden")
    saved = save(browser, tmp_path / "saved")
    assert saved.name in browser.eval("document.querySelector('.saved').textContent")
    assert not browser.eval("document.querySelector('[name=anew]').hidden")
    browser.eval("document.querySelector('[name=anew]').click()")
    assert where(browser) == f"Pair 1 of {PAIRS}"
    assert choices(browser) == []
    own = tmp_path / "runs" / "evidence"
    assert main(["rate", "--add", str(saved)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "holds at laptop scale (1 rater, 12 pairs): People see light" in out
    (evidence,) = all_evidence(own)
    rating = evidence.rated.ratings[0]  # type: ignore[union-attr]
    assert {name for name, _ in rating.choices} == {"bright.squares"}
    assert rating.rater == "A script <&>"
    assert main(["rate", "--add", str(saved)]) == 2
    assert "was added already" in capsys.readouterr().err
    check_shown(own, capsys)
    check_site(browser, own, tmp_path)


def test_verify_leaves_it_to_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = verify(
        Target.parse("seen"), "laptop", launch=lambda jobs: [attempt(job) for job in jobs],
        options=Options(runs=folder / "runs"),
    )  # fmt: skip
    assert found.evidence is not None
    assert [record.id for record in found.evidence.claims] == ["brighter"]
    assert "rated" not in found.evidence.text()
    print_verified([found], "laptop")
    words = " ".join(capsys.readouterr().out.split())
    assert "people-see-light, people-confuse-grey (judged by people: quire rate)" in words
    assert "trends of the paper: 1 holds; judged by people: 2 not run" in words


def check_shown(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line and the tables know the verdict, apart from what runs decide."""
    assert main(["why", "seen/people-see-light"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for text in (
        "seen/people-see-light: judgement, the paper's", "question Which of the two is brighter?",
        "squares: bright 1 against black 0", "Clopper and Pearson's 95 % over pairs)",
        "rater left right left - right 0 1 0 1", "fresh", "people-",
    ):  # fmt: skip
        assert text in words, text
    assert main(["why", "seen/people-confuse-grey"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "makes the pictures, quire rate seen/people-confuse-grey the page" in words
    assert main(["show", "seen", "--all"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "people-confuse-grey (judged by people: quire rate)" in words
    assert "judged by people: 1 holds, 1 not run" in words
    assert main(["list", "--family", "test"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "laptop scale, judged by people: holds 1, not run 1." in words
    assert main(["evidence", "check", "seen", "--folder", str(own)]) == 0
    assert "fresh seen/squares--laptop--people-" in capsys.readouterr().out
    paper, evidence = find_paper("seen"), all_evidence(own)
    card = results_markdown(paper, evidence)
    assert "judged by people: 1 holds, 1 not run." in card
    assert "**Judged by people**" in card
    assert "| holds at laptop scale (1 rater, 12 pairs) | People see light" in card
    assert "1 rater, people-" in card
    assert "`quire rate seen/people-see-light --preset laptop`" in card
    assert "| 1 / 0 / 0 / 1 |" in papers_markdown([paper], evidence)


def check_site(browser: Browser, own: Path, folder: Path) -> None:
    paper = find_paper("seen")
    evidence = known_evidence(paper, own)
    sheet = sheet_of(paper, folder / "nothing", own)
    index = write(folder / "site", [row_of(paper, judge(paper, evidence, {}))], [sheet])
    for width in (375, 1280):
        browser.open(index, width=width)
        text = " ".join(browser.eval("document.body.innerText").split())
        assert "Judged by people 1 holds, 1 not run" in text
        assert len(browser.eval("[...document.querySelectorAll('a.cell')].map(a => a.href)")) == 3
        assert browser.eval("document.documentElement.scrollWidth") <= width
    browser.open(folder / "site" / "papers" / "seen.html")
    browser.eval("document.querySelectorAll('details').forEach(each => each.open = true)")
    text = " ".join(browser.eval("document.body.innerText").split())
    for words in (
        "1 of 2 claims that people judge hold at laptop scale", "1 waits for people",
        "holds at laptop scale (1 rater, 12 pairs)", "Which of the two is brighter?",
        "left − right; Clopper and Pearson's 95 % over pairs", "Dots are raters",
        "1 claim that people judge, with quire rate seen", "This has more people judge it:",
        "share of pairs in which people chose a square", "standard deviation over raters",
    ):  # fmt: skip
        assert words in text, words
    assert "CPU time" not in text
