"""The site's content, without a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from quire.lab.errors import RunError
from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report.model import judge
from quire.report.overview import row_of, rows
from quire.report.page import Sheet, sentences
from quire.report.prose import rendered, section
from quire.report.site import build, write
from report.samples import make_standings


class Page(HTMLParser):
    """What the tests ask of a page: its text, ids, links, loaded resources and cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.text = ""
        self.ids: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append((tag, values))
        self.text += " " if tag in ("dd", "td") else ""
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        else:
            # `use` and clip paths refer to their own page; all else is loaded.
            loaded = [values[key] for key in ("src", "href", "xlink:href") if key in values]
            self.resources += [address for address in loaded if not address.startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def classed(self, name: str) -> list[dict[str, str]]:
        """Attributes of the elements of a class."""
        return [values for _, values in self.tags if name in values.get("class", "").split()]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.stem: Page(path) for path in sorted(site.rglob("*.html"))}


def test_the_matrix_has_a_row_a_paper_and_counts_apart(
    pages: dict[str, Page], papers: list[Paper]
) -> None:
    index = pages["index"]
    linked = [link for link in index.links if link.startswith("papers/")]
    for paper in papers:
        page = f"papers/{paper.name}.html"
        assert paper.title in index.text
        assert " ".join(paper.summary.split()) in " ".join(index.text.split())
        assert page in linked
        trends = [claim.id for claim in paper.claims if claim.kind == "trend"]
        assert [x.split("#claim-")[1] for x in linked if x.startswith(f"{page}#")] == trends
    assert len(index.classed("title")) == len(papers)
    text = " ".join(index.text.split())
    assert text.count("no evidence yet") == 1
    assert "Trends of the papers 7 hold, 4 fail, 2 undecided, 2 not run" in text
    assert "Numbers of the papers 1 of 2 decided" in text
    assert "vision, 2015 · gpu, laptop scale · 3 verdicts stale" in text


def test_every_claim_stands_on_its_page(pages: dict[str, Page], papers: list[Paper]) -> None:
    for paper in papers:
        page = pages[paper.name]
        text = " ".join(page.text.split())
        for claim in paper.claims:
            assert f"claim-{claim.id}" in page.ids
            assert claim.says in text
            assert claim.check in text
            assert claim.paper is None or claim.paper in text
        for name, experiment in paper.experiments.items():
            assert f"experiment-{name}" in page.ids
            assert experiment.summary in text
        assert " ".join(paper.bibtex.split()) in text


def test_a_page_begins_with_what_holds_what_fails_and_what_was_not_run(
    pages: dict[str, Page], papers: list[Paper], evidence: list[Evidence]
) -> None:
    found = sentences(judge(papers[0], evidence, {}))
    assert found == [
        "6 of 11 trends of the paper and 1 of 1 identities hold at gpu scale and at laptop scale; "
        "of its 2 numbers 1 has been decided.",
        f"“{papers[0].find_claim('backwards').says.rstrip('.')}” fails: the digits are too easy "
        "for `depth` to matter. 2 more fail. 2 are undecided.",
        "1 was not run: 1 waits for preset paper.",
    ]
    text = " ".join(pages["large"].text.split())
    assert found[0] in text
    assert text.index(found[0]) < text.index("digits responses unseen")
    assert sentences(judge(papers[3], evidence, {}))[2] == "2 were not run: 2 wait for preset gpu."


def test_failures_stale_evidence_and_failed_runs_are_said(pages: dict[str, Page]) -> None:
    text = " ".join(pages["large"].text.split())
    assert "fails at gpu scale, as expected" in text
    assert "the digits are too easy for depth to matter" in text
    assert text.count("fails at laptop scale, unexpectedly") == 2
    assert "stale the code behind it changed." in text
    assert "Preset laptop, 3 seeds, linux-x86-64-2cpu, 2026-11-20. stale the code" in text
    assert "net10, seed 2, failed: loss is not finite at step 120" in text
    assert "also holds at laptop scale (linux-x86-64-2cpu, 2026-11-20)" in text
    assert "2 of 3" in text
    assert "stale" not in pages["small"].text


def test_commands_cost_settings_and_environment_are_shown(pages: dict[str, Page]) -> None:
    text = pages["large"].text
    assert "quire verify large/digits --preset laptop" in text
    assert "quire verify large/digits --preset gpu" in text
    assert "quire verify large/unseen" in text
    assert "quire why large/degradation" in text
    assert "2.13.0" in text
    assert "steps = 2000" in text
    assert "6.22 min" in text  # 31 s x 12 + 1 s
    assert "quire verify silent" in pages["silent"].text


def test_values_that_are_not_finite(pages: dict[str, Page]) -> None:
    text = " ".join(pages["large"].text.split())
    assert "net2.perplexity not finite, net3.perplexity 40,000,000" in text
    assert re.search(r"\b(nan|None|inf)\b", pages["large"].text) is None


def test_the_card_and_its_differences_are_shown(pages: dict[str, Page]) -> None:
    text = " ".join(pages["large"].text.split())
    assert "The rate is 0.1, not 0.2 from the start; see the text and a file." in text
    assert "large-card.html" in pages["large"].links
    card = " ".join(pages["large-card"].text.split())
    assert "It learns residuals" in card
    assert "made here" not in card
    assert "small-card" not in pages


def test_simple_markdown() -> None:
    assert rendered("a **b** `<i>`\nc") == "<p>a <b>b</b> <code>&lt;i&gt;</code> c</p>"
    assert rendered("- one\n  more\n- 2 * 3 * 4") == (
        "<ul><li>one more</li><li>2 * 3 * 4</li></ul>"
    )
    assert rendered("```python\na < b\n```") == ('<pre tabindex="0"><code>a &lt; b</code></pre>')
    assert "<td>1</td>" in rendered("| a | b |\n|---|---|\n| 1 | 2 |")
    assert "href" not in rendered("[x](javascript:alert(1))")
    assert section("## A\n\nyes\n\n## B\nno", "A") == "yes"
    assert section("nothing", "A") == ""


def test_markup_in_texts_is_escaped(pages: dict[str, Page], site: Path) -> None:
    for page in pages.values():
        assert "<script>alert" not in page.path.read_text()
    assert "alert('no')" in pages["large"].text
    assert sum(tag == "script" for tag, _ in pages["large"].tags) == 0
    assert not any(link.startswith("javascript:") for link in pages["large"].links)


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page], site: Path) -> None:
    for page in pages.values():
        for address in page.resources:
            parts = urlsplit(address)
            assert parts.netloc == "", address
            assert parts.scheme in ("", "data"), address
            if parts.scheme == "":
                assert (page.path.parent / unquote(parts.path)).is_file(), address
    assert "url(" not in (site / "style.css").read_text()
    assert "@import" not in (site / "style.css").read_text()


def test_links_inside_the_site_lead_somewhere(pages: dict[str, Page]) -> None:
    by_path = {page.path.resolve(): page for page in pages.values()}
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https"
                continue
            target = (
                (page.path.parent / parts.path).resolve() if parts.path else page.path.resolve()
            )
            assert target in by_path, link
            assert not parts.fragment or parts.fragment in by_path[target].ids, link


def test_pages_are_well_formed(pages: dict[str, Page]) -> None:
    for page in pages.values():
        assert len(page.ids) == len(set(page.ids)), "an id stands twice"
        names = [tag for tag, _ in page.tags]
        assert names.count("h1") == names.count("main") == names.count("title") == 1
        assert {"header", "footer"} <= set(names)
        assert ("html", {"lang": "en"}) in page.tags
        metas = [values.get("name") for tag, values in page.tags if tag == "meta"]
        assert "viewport" in metas
        for tag, values in page.tags:
            if tag == "img":
                assert values["alt"]
            if tag == "svg":
                assert values.get("aria-hidden") or (
                    values["role"] == "img" and values["aria-label"]
                )


def test_figures_of_finished_runs_are_copied(pages: dict[str, Page], site: Path) -> None:
    images = [values for tag, values in pages["large"].tags if tag == "img"]
    assert [image["alt"] for image in images] == ["filters: net0, seed 0", "filters: net1, seed 0"]
    copied = sorted(path.relative_to(site / "figures").as_posix() for path in site.rglob("*.svg"))
    assert copied == [
        f"large/digits/laptop/{arm}/seed0-0a1b2c/filters.svg" for arm in ("net0", "net1")
    ]
    assert not list(site.rglob("*.png"))


def _sheets(papers: list[Paper], evidence: list[Evidence]) -> list[Sheet]:
    standings = make_standings(evidence)
    return [Sheet(p, [x for x in evidence if x.paper == p.name], standings) for p in papers]


def test_the_same_input_gives_the_same_bytes_without_curves(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    sheets = _sheets(papers[1:], evidence)
    table = [row_of(sheet.paper, judge(sheet.paper, sheet.evidence, {})) for sheet in sheets]
    for folder in ("one", "two"):
        write(tmp_path / folder, table, sheets)
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 5
    assert b"<figure" in one[Path("papers/small.html")]


def test_a_site_of_nothing_is_a_site(tmp_path: Path) -> None:
    index = write(tmp_path / "deep" / "er", [], [])
    assert index == tmp_path / "deep" / "er" / "index.html"
    assert "0 papers" in index.read_text()


def test_papers_without_a_page_are_not_linked(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    table = [row_of(paper, judge(paper, evidence, {})) for paper in papers]
    write(tmp_path, table, _sheets(papers[1:2], evidence))
    page = Page(tmp_path / "index.html")
    assert {link.split("#")[0] for link in page.links if link[:1] != "#"} == {"papers/small.html"}


def test_evidence_of_what_no_longer_exists_is_left_out(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    own = next(item for item in evidence if item.paper == "small")
    gone = own.model_copy(update={"experiment": "gone"})
    write(tmp_path, [], _sheets(papers[1:2], [gone]))
    page = Page(tmp_path / "papers" / "small.html")
    assert "gone" not in page.text
    assert "No evidence yet" in page.text


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write the report to .*file"):
        write(tmp_path / "file", [], [])


BROKEN = 'title = "Broken"\n'


def test_a_broken_paper_is_a_fault_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import quire.papers

    (tmp_path / "more" / "broken").mkdir(parents=True)
    (tmp_path / "more" / "broken" / "paper.toml").write_text(BROKEN)
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path / "more")])
    monkeypatch.setattr("quire.recipes.__path__", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found, faults = rows(tmp_path / "own")
    assert found == []
    assert [str(fault).split(":")[0] for fault in faults] == ["broken/paper.toml"]
    index, again = build(tmp_path / "site", runs=tmp_path / "runs", own=tmp_path / "own")
    assert index.is_file()
    assert [str(fault) for fault in again] == [str(fault) for fault in faults]
