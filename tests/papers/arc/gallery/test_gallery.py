import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from quire.papers.arc import Attempt, Record, Task, evaluate, write_gallery
from quire.papers.arc.gallery.drawing import CODES, PALETTE, draw_difference, draw_svg


def grid(*rows):
    return np.array(rows, np.int8)


def task(id, output=((0, 1),)):
    pair = {"input": [[1, 0]], "output": [[0, 1]]}
    test = {"input": [[2, 0]]} | ({} if output is None else {"output": [list(r) for r in output]})
    return Task.from_dict({"train": [pair], "test": [test]}, id=id)


RIGHT = Attempt((grid([0, 1]),), 1, steps=("mirror <b>& more</b>",), bits=3.25)
WRONG = Attempt((grid([1, 1]),), 1)
OTHER = Attempt((grid([1], [1]),), 0)


@pytest.fixture
def gallery(tmp_path):
    tasks = {id: task(id) for id in ("solved", "fits", "wrong", "none", "<i>&")}
    tasks["unknown"] = task("unknown", None)
    records = {
        "solved": Record("solved", (WRONG, RIGHT), {"states": 5, "found_at_seconds": None}),
        "fits": Record("fits", (WRONG,)),
        "wrong": Record("wrong", (OTHER,)),
        "none": Record("none", error="its process died <SIGKILL>"),
        "unknown": Record("unknown", (RIGHT,)),
    }
    known = {id: task for id, task in tasks.items() if id != "unknown"}
    found = {id: record.attempts for id, record in records.items() if id in known}
    write_gallery(tmp_path, tasks, records, evaluate(found, known), title="A <title>")
    return tmp_path


class Balanced(HTMLParser):
    VOID = ("meta", "input", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.links += [named[key] for key in ("href", "src") if key in named]
        self.ids += [named["id"]] if "id" in named else []
        if tag not in self.VOID and tag != "path":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_pages_are_whole_and_point_to_one_another(gallery):
    pages = [gallery / "index.html", *sorted((gallery / "tasks").iterdir())]
    assert len(pages) == 7
    for path in pages:
        parser = Balanced()
        parser.feed(path.read_text())
        assert parser.open == []
        assert len(set(parser.ids)) == len(parser.ids)
        for link in parser.links:
            assert not re.match(r"\w+:|//", link), "a page must not need a network"
            target = link.partition("#")[0]
            assert not target or (path.parent / target).is_file()


def test_texts_are_escaped(gallery):
    index = (gallery / "index.html").read_text()
    assert "A &lt;title&gt;" in index and "<i>&" not in index
    assert "mirror &lt;b&gt;&amp; more" in (gallery / "tasks" / "solved.html").read_text()
    assert "died &lt;SIGKILL&gt;" in (gallery / "tasks" / "none.html").read_text()
    assert (gallery / "tasks" / "_i__.html").is_file()


def test_each_task_stands_where_it_belongs(gallery):
    index = (gallery / "index.html").read_text()
    rows = re.findall(r'<li data-status="(\w+)">\s*<a href="tasks/(\w+).html"', index)
    assert {id: status for status, id in rows} == {
        "solved": "solved", "fits": "fitting", "wrong": "wrong", "none": "none", "_i__": "none",
        "unknown": "unknown",
    }  # fmt: skip
    assert "solved 1 of 5 tasks" in index
    for label in ("all (6)", "solved (1)", "fitting but wrong (1)", "wrong (1)", "none (2)"):
        assert label in index
    page = (gallery / "tasks" / "wrong.html").read_text()
    assert "Its size is 2x1; it should be 1x2." in page
    assert "where it differs" in (gallery / "tasks" / "fits.html").read_text()


def test_the_player_gets_the_tests(gallery):
    page = (gallery / "tasks" / "solved.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert data["tests"] == [{"input": [[2, 0]], "output": [[0, 1]]}]
    assert data["palette"] == list(CODES)
    page = (gallery / "tasks" / "unknown.html").read_text()
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["tests"] == [
        {"input": [[2, 0]], "output": None}
    ]


def painted(picture, shape):
    """The grid that an SVG's runs paint; -1 where nothing does."""
    cells = np.full(shape, -1)
    for code, path in re.findall(r'<path fill="(#\w+)" d="([^"]*)"', picture):
        for left, top, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            cells[int(top), int(left) : int(left) + int(length)] = CODES.index(code)
    return cells


def test_svg_paints_every_cell():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 7), (30, 30)):
        one = rng.integers(0, 10, shape).astype(np.int8)
        np.testing.assert_array_equal(painted(draw_svg(one), shape), one)
    assert len(PALETTE) == len(set(CODES)) == 10


def test_the_difference_crosses_what_differs():
    a, b = grid([1, 2], [3, 4]), grid([1, 2], [3, 5])
    picture = draw_difference(a, b)
    assert picture.count("M1.2 1.2") == 2  # light and dark
    assert "M0.2" not in picture
    np.testing.assert_array_equal(painted(picture, (2, 2)), a)
    assert draw_difference(a, a[:1]) is None


FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")


def press(browser, key, code=0):
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent",
            type=kind, key=key, windowsVirtualKeyCode=code, text=key if len(key) == 1 else "",
        )  # fmt: skip


def shown(browser):
    return browser.eval(
        "[...document.querySelectorAll('.cards > li')]"
        ".filter(card => getComputedStyle(card).display !== 'none').length"
    )


def test_pages_in_a_browser(gallery, browser):
    for name in ("index", "tasks/fits", "tasks/wrong", "tasks/none"):
        for width in (375, 1280):
            browser.open(gallery / f"{name}.html", width=width)
            assert browser.eval("document.documentElement.scrollWidth") <= width, name
            assert [event for event in browser.events if event.get("method") in FAULTS] == []
    browser.open(gallery / "index.html")
    assert shown(browser) == 6
    browser.eval("document.getElementById('show-fitting').focus()")
    press(browser, " ", 32)
    assert shown(browser) == 1


def test_an_answer_can_be_painted_with_keys_and_checked(gallery, browser):
    browser.open(gallery / "tasks" / "solved.html", anchor="#play")
    hidden = "getComputedStyle(document.querySelector('.answers')).display === 'none'"
    assert browser.eval(hidden)
    browser.eval("document.getElementById('height').value = 1")
    browser.eval("document.getElementById('width').value = 2")
    browser.eval("document.getElementById('resize').click()")
    verdict = "document.getElementById('verdict').textContent"
    browser.eval("document.getElementById('check').click()")
    assert browser.eval(verdict) == "Not right; try 1."
    browser.eval("document.querySelector('.board button').focus()")
    press(browser, "ArrowRight", 39)
    press(browser, "1", 49)
    labels = "[...document.querySelectorAll('.board button')].map(b => b.ariaLabel).join('; ')"
    assert browser.eval(labels) == "row 1, column 1: 0; row 1, column 2: 1"
    browser.eval("document.getElementById('check').click()")
    assert browser.eval(verdict) == "Right, at try 2."
    browser.eval("document.getElementById('copy').click()")
    assert browser.eval(labels) == "row 1, column 1: 2; row 1, column 2: 0"
    assert [event for event in browser.events if event.get("method") in FAULTS] == []


def test_the_key_names_the_page_and_grids_must_be_as_many_as_tests(tmp_path):
    write_gallery(tmp_path, {"key": task("other")}, {"key": Record("key", (RIGHT,))})
    assert [page.name for page in (tmp_path / "tasks").iterdir()] == ["key.html"]
    none = Record("key", (Attempt(()),))
    with pytest.raises(ValueError, match="task key: a prediction has another number of grids"):
        write_gallery(tmp_path, {"key": task("key")}, {"key": none})
