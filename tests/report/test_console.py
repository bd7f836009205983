"""What the command line prints, at any width."""

import io
import sys
from pathlib import Path

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.lab.verify import Verified
from quire.report import card, console
from quire.report.lines import say_table
from quire.report.model import Standings, judge
from quire.report.overview import row_of
from quire.report.parts import public_parts

WIDTHS = [40, 80, 100, 160]


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def _fits(text: str, width: int) -> bool:
    """Whether only lines of one long word are wider, and no column is a letter wide."""
    lines = text.splitlines()
    letters = sum(len(line.strip()) == 1 for line in lines)
    return letters < 3 and all(len(line) <= width or " " not in line.strip() for line in lines)


def test_a_card_fits_and_is_no_wall(
    papers: list[Paper], evidence: list[Evidence], standings: Standings, width: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    card.print_card(papers[0], evidence, standings=standings)
    short = capsys.readouterr().out
    card.print_card(papers[0], evidence, whole=True, standings=standings)
    whole = capsys.readouterr().out
    assert _fits(short, width)
    assert _fits(whole, width)
    assert len(short.splitlines()) < (120 if width == 40 else 70)
    words = " ".join(whole.split())
    for claim in papers[0].claims:
        assert claim.id in words
    assert "holds at gpu scale [stale]: A deeper plain net" in words
    assert "fails at gpu scale, as expected [stale]:" in words
    assert "not run: never (preset paper)" in words
    assert "the digits are too easy" in words
    assert "numbers of the paper: 1 holds, 1 not run; identities: 1 holds" in words
    assert "Stale: 3 of these verdicts, as the code behind it changed (digits, responses)." in words


def test_a_card_tells_what_the_experiments_took(
    papers: list[Paper], evidence: list[Evidence], standings: Standings,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "160")
    (first, *_) = [item for item in evidence if item.paper == papers[0].name]
    runs = tuple(run.model_copy(update={"cpu_seconds": 300.0}) for run in first.runs[:2])
    here = first.model_copy(update={"preset": "laptop", "runs": runs, "machine": "fast"})
    slow = tuple(run.model_copy(update={"cpu_seconds": 360.0}) for run in runs)
    there = here.model_copy(update={"runs": slow, "machine": "slow"})
    other = here.model_copy(update={"preset": "smoke"})
    assert card.laptop_seconds([here, other, there, here]) == {first.experiment: 720.0}
    card.print_card(papers[0], [here, there], standings=standings)
    said = " ".join(capsys.readouterr().out.split())
    assert "12.0 min)" in said
    assert "for all arms and seeds at laptop, 12.0 min together." in said
    card.print_card(papers[0], [other], standings=standings)
    assert "Times:" not in capsys.readouterr().out


def test_the_list_fits_and_counts_apart(
    papers: list[Paper], evidence: list[Evidence], standings: Standings, width: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rows = [row_of(paper, judge(paper, evidence, standings)) for paper in papers]
    console.print_papers(rows)
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("large "))
    assert line.split() == ["large", "6", "3", "2", "·", "1/2", "1/1", "·", "3"]
    assert len(line) <= 80
    words = " ".join(out.split())
    assert "vision, 2015, gpu, laptop scale. Layers that learn residuals" in words
    assert "Of the papers' 2 numbers 1 has been decided." in words


def test_the_chain_names_all_that_a_verdict_follows_from(
    papers: list[Paper], evidence: list[Evidence], standings: Standings, width: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    claim = papers[0].find_claim("degradation")
    card.print_chain(papers[0], claim, evidence, standings=standings)
    out = capsys.readouterr().out
    assert _fits(out, width)
    words = " ".join(out.split())
    assert words.startswith("A deeper plain net has a higher training error.")
    for text in (
        "Figure 6", "net11.error > net0.error", "holds at gpu scale: linux-x86-64-16cpu-h200",
        "holds at laptop scale: linux-x86-64-2cpu", "error: net11 5.68 against net0 2.42",
        "old, stale: the code behind it changed", "fresh, fresh", "Student's 95 %",
        "net11: depth = 68", "net0: depth = 2", "your own runs",
    ):  # fmt: skip
        assert text in words
    assert words.index("gpu scale: linux") < words.index("laptop scale: linux")
    card.print_chain(papers[0], papers[0].find_claim("never"), evidence, standings=standings)
    words = " ".join(capsys.readouterr().out.split())
    assert "Not run: no evidence decides it. quire verify large/digits --preset paper" in words


def test_verdicts_of_verify_name_scale_and_surprises(
    papers: list[Paper], evidence: list[Evidence], width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Verified(papers[0], "digits", evidence[0]),
        Verified(papers[0], "responses", None, "dataset mnist is not here"),
    ]
    console.print_verified(found, "laptop")
    out = capsys.readouterr().out
    assert _fits(out, width)
    words = " ".join(out.split())
    assert "fails at laptop scale, as expected: Depth" in words
    assert "not run: never (preset paper)" in words
    assert "not run: dataset mnist is not here" in words
    assert "fails unexpectedly: surprise (net5.error < net4.error)" in words


def test_smoke_says_what_it_proves(
    papers: list[Paper], evidence: list[Evidence], capsys: pytest.CaptureFixture[str]
) -> None:
    records = tuple(
        record.model_copy(update={"verdict": "holds" if record.id == "count" else "not run"})
        for record in evidence[0].claims
    )
    smoke = evidence[0].model_copy(update={"preset": "smoke", "claims": records})
    console.print_verified([Verified(papers[0], "digits", smoke)], "smoke")
    words = " ".join(capsys.readouterr().out.split())
    assert "smoke proves that everything runs" in words
    assert "holds at smoke scale: Net 0 has 272 474 parameters." in words
    assert "not run" not in words


def test_a_table_that_does_not_fit_becomes_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    out = console.console()
    say_table(out, ["a", "b"], [["1", "x" * 60], ["2", "y"]], right=(0,))
    assert capsys.readouterr().out.splitlines()[1].startswith("1  xxx")
    say_table(out, ["a", "b", "c"], [["1", "x" * 60, "z" * 60]])
    assert capsys.readouterr().out.splitlines()[0] == "1"


def test_a_terminal_that_lacks_a_sign(
    papers: list[Paper], evidence: list[Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="replace"))
    card.print_card(papers[0], evidence, standings={})
    sys.stdout.flush()
    assert b"holds at gpu scale" in raw.getvalue()


PARTS = {
    "__init__.py": """from quire.papers.made.second import LATER, Net
from quire.papers.made.first import early as renamed
__all__ = ["LATER", "Net", "renamed", "own"]
def own():
    "It stands here. And more."
""",
    "first.py": 'def early():\n    """It is read\n    first, of 3.5 lines.\n\n    More."""\n',
    "second.py": 'LATER = 3\n"""A number."""\nclass Net:\n    "A net: x -> y."\n',
}


def test_parts_are_read_in_order_without_importing(tmp_path: Path, papers: list[Paper]) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for name, text in PARTS.items():
        (folder / name).write_text(text)
    changed = {"name": "made", "folder": folder, "read": ("first", "second")}
    found = [(part.name, part.says) for part in public_parts(papers[0].model_copy(update=changed))]
    assert found == [
        ("renamed", "It is read first, of 3.5 lines."),
        ("LATER", "A number."),
        ("Net", "A net: x -> y."),
        ("own", "It stands here."),
    ]
    assert "quire.papers.made" not in sys.modules
