"""The site's content, without a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from quire.lab.errors import RunError
from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report import build


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


def test_the_matrix_has_a_row_a_paper_and_a_cell_a_claim(
    pages: dict[str, Page], papers: list[Paper]
) -> None:
    index = pages["index"]
    linked = [link for link in index.links if link.startswith("papers/")]
    for paper in papers:
        page = f"papers/{paper.name}.html"
        assert paper.title in index.text
        expected = [page, *(f"{page}#claim-{claim.id}" for claim in paper.claims)]
        assert [link for link in linked if link.split("#")[0] == page] == expected
    assert len(index.classed("title")) == len(papers)
    assert index.text.count("no evidence yet") == 1


def test_counts_in_the_matrix_take_one_seed_as_undecided(
    pages: dict[str, Page], site: Path
) -> None:
    first = (site / "index.html").read_text().split("<tbody")[1].split("</tr>")[0]
    counts = [int(number) for number in re.findall(r'data-label="[^"]*">(\d+)<', first)]
    cells = pages["index"].classed("cell")[4 : 4 + sum(counts)]
    shown = [
        sum(outcome in cell["class"].split() for cell in cells)
        for outcome in ("holds", "fails", "undecided", "not-run")
    ]
    assert counts == shown == [8, 3, 2, 1]
    assert sum(cell["aria-label"].startswith("one seed") for cell in cells) == 1


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


def test_expected_failures_stale_evidence_and_failed_runs_are_said(pages: dict[str, Page]) -> None:
    text = " ".join(pages["large"].text.split())
    assert "Expected to fail: the digits are too easy for depth to matter" in text
    assert text.count("Not what was expected.") == 2
    assert (
        text.count("Preset gpu, 2 seeds, linux-x86-64-16cpu-h200, 2026-11-20. code has changed")
        == 1
    )
    assert "Preset laptop, 3 seeds, linux-x86-64-2cpu, 2026-11-20. net" not in text
    assert "net10 , seed 2, failed: loss is not finite at step 120" in text.replace(
        "net10,", "net10 ,"
    )
    assert "2 of 3" in text
    assert "code has changed since" not in pages["small"].text


def test_without_a_digest_nothing_is_stale(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    small = [paper for paper in papers if paper.name == "small"]
    build(tmp_path, papers=small, evidence=evidence)
    assert "code has changed" not in (tmp_path / "papers" / "small.html").read_text()


def test_commands_cost_and_environment_are_shown(pages: dict[str, Page]) -> None:
    text = pages["large"].text
    assert "quire verify large/digits --preset laptop" in text
    assert "quire verify large/digits --preset gpu" in text
    assert "quire verify large/unseen --preset laptop" in text
    assert "2.13.0" in text
    assert "steps = 2000" in text
    assert "6.22 min" in text  # 31 s x 12 + 1 s
    assert "quire verify silent" in pages["silent"].text


def test_values_that_are_not_finite(pages: dict[str, Page]) -> None:
    text = " ".join(pages["large"].text.split())
    assert "net2.perplexity not finite" in text
    assert "net3.perplexity 40,000,000 2 of 3 finite" in text
    assert re.search(r"\b(nan|None|inf)\b", pages["large"].text) is None


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


def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    chosen = [paper for paper in papers if paper.name != "large"]
    for folder in ("one", "two"):
        build(tmp_path / folder, papers=chosen, evidence=evidence)
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


def test_a_site_of_nothing_is_a_site(tmp_path: Path) -> None:
    index = build(tmp_path / "deep" / "er", papers=[], evidence=[])
    assert index == tmp_path / "deep" / "er" / "index.html"
    assert "0 papers, 0 claims" in index.read_text()


def test_evidence_of_what_no_longer_exists_is_left_out(
    tmp_path: Path, papers: list[Paper], evidence: list[Evidence]
) -> None:
    small = next(paper for paper in papers if paper.name == "small")
    own = next(item for item in evidence if item.paper == "small")
    gone = own.model_copy(update={"experiment": "gone"})
    asked = []

    def digest(paper: str, experiment: str) -> str:
        asked.append((paper, experiment))
        return "fresh"

    build(tmp_path, papers=[small], evidence=[gone, *evidence], digest=digest)
    assert asked == [("small", "parity")]
    assert "gone" not in (tmp_path / "papers" / "small.html").read_text()


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write the report to .*file"):
        build(tmp_path / "file", papers=[], evidence=[])
