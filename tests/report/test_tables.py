"""Markdown tables and the numbers in them."""

import doctest
import math
from pathlib import Path
from types import ModuleType

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report import numbers, wording
from quire.report.model import Spread, Standings, judge, known_evidence, tally
from quire.report.numbers import mean_and_std, number
from quire.report.tables import papers_markdown, results_markdown
from quire.report.wording import apart, compared, first_sentence


def _rows(table: str) -> list[list[str]]:
    """Cells of a Markdown table, header first; every row must have as many as the header."""
    escaped = table.replace("\\|", "\0")
    lines = [line for line in escaped.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


@pytest.mark.parametrize("module", [numbers, wording])
def test_examples_in_docstrings(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0012345, "-0.00123"),
        (1234.56, "1,235"),
        (0.1 + 0.2, "0.3"),
        (99.96, "100"),
        (1e12, "1e+12"),
        (math.nan, "not finite"),
        (-math.inf, "not finite"),
        (97.1234, "97.1"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.0, 0.5, "0 ± 0.50"),
        (5.0, 0.0, "5"),
        (None, None, "not finite"),
        (98.34, 1e-9, "98.340 ± 1e-09"),
        (272474.3, 1200, "272,474 ± 1,200"),
        (1e-7, 2e-8, "1e-07 ± 2e-08"),
    ],
)
def test_a_deviation_decides_the_digits(mean: float | None, std: float | None, text: str) -> None:
    assert mean_and_std(mean, std) == text


def test_a_spread_leaves_out_what_is_not_finite() -> None:
    assert Spread.of([1.0, None, 3.0, math.nan]) == Spread(2.0, math.sqrt(2), 2, 4)
    assert Spread.of([None]) == Spread(None, None, 0, 1)
    assert Spread.of([2.0]) == Spread(2.0, None, 1, 1)


def _results(papers: list[Paper], evidence: list[Evidence], standings: Standings) -> str:
    return results_markdown(papers[0], evidence, standings=standings)


def test_every_claim_stands_once_or_was_not_run(
    papers: list[Paper], evidence: list[Evidence], standings: Standings
) -> None:
    for paper in papers:
        text = results_markdown(paper, evidence, standings=standings)
        blocks = [block for block in text.split("\n\n") if block.startswith("|")]
        rows = [row for block in blocks for row in _rows(block)[2:]]
        waiting = [item for item in judge(paper, evidence, standings) if item.best is None]
        assert len(rows) + len(waiting) == len(paper.claims)
        for item in waiting:
            assert item.claim.id in text.split("Not run: ")[1]
        assert max((len(line) for line in text.splitlines() if line[0:1] == "|"), default=0) < 330


def test_rows_say_verdict_with_scale_both_sides_and_the_papers_number(
    papers: list[Paper], evidence: list[Evidence], standings: Standings
) -> None:
    text = _results(papers, evidence, standings)
    rows = {row[1]: row for block in text.split("\n\n") if block[0] == "|" for row in _rows(block)}
    assert rows["Net 3 reaches 3.3 % error."] == [
        "holds at laptop scale", "Net 3 reaches 3.3 % error.", "net3.error 3.28 against 3.3 ± 0.4",
        "3.3 %",
    ]  # fmt: skip
    assert rows["Net 0 has 272 474 parameters."][2:] == [
        "net0.parameters equals 272,474", "0.27 M",
    ]  # fmt: skip
    stale = rows["A deeper plain net has a higher training error."]
    assert stale[0] == "holds at gpu scale, stale"
    assert stale[2] == "error: net11 5.68 against net0 2.42"
    assert rows["Only one seed has seen this."][0] == "one seed at laptop scale"
    assert rows["More is less, the paper says."][0] == "fails at laptop scale, unexpectedly"
    assert "&lt;script>" in text
    assert "<script" not in text


def test_counts_stand_apart_and_failures_have_their_reasons(
    papers: list[Paper], evidence: list[Evidence], standings: Standings
) -> None:
    text = _results(papers, evidence, standings)
    assert text.startswith(
        "Trends of the paper: 6 hold, 3 fail, 2 undecided; numbers of the paper: 1 holds, "
        "1 not run; identities: 1 holds."
    )
    assert "Stale: 3 verdicts, as the code behind it changed (digits, responses)." in text
    assert "- `backwards` fails at gpu scale, as expected: the digits are too easy" in text
    assert "- `not-finite` undecided at laptop scale: a value is not finite" in text
    assert "<details><summary>Identities: 1 of 1 hold</summary>" in text
    assert text.endswith("Not run: never (preset paper).")
    assert "Stale" not in results_markdown(papers[0], evidence, standings={})


def test_headline_claims_come_first(papers: list[Paper], evidence: list[Evidence]) -> None:
    paper = papers[0].model_copy(update={"headline": ("count", "ladder-7")})
    first = results_markdown(paper, evidence, standings={}).split("**digits**")[0]
    assert [row[1][:5] for row in _rows(first.split("\n\n")[1])[2:]] == ["Net 0", "Net 7"]


def test_results_without_evidence_say_so(papers: list[Paper], evidence: list[Evidence]) -> None:
    text = results_markdown(papers[3], evidence, standings={})
    assert text.startswith("Nothing has been measured yet: `quire verify silent` does it.")
    assert text.endswith("Not run: it, two (preset gpu).")


def test_the_readme_table_links_cards_and_counts_apart(
    papers: list[Paper], evidence: list[Evidence], standings: Standings
) -> None:
    rows = _rows(papers_markdown(papers, evidence, standings=standings))
    assert rows[0][4:] == [
        "trends: hold / fail / open / not run", "numbers decided", "identities that hold",
        "judged by people", "beyond the paper", "stale",
    ]  # fmt: skip
    assert rows[2][0] == (
        "[Deep Residual Learning for Image Recognition](src/quire/papers/large/README.md)"
    )
    assert rows[2][4:] == ["6 / 3 / 2 / 0 (gpu, laptop)", "1 of 2", "1 of 1", "", "", "3"]
    assert rows[5][4:] == ["0 / 0 / 0 / 2", "", "", "", "", ""]


def test_what_goes_beyond_the_paper_is_counted_apart(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    judged = judge(papers[0], evidence, {})
    counts = tally(judged)
    assert sum(sum(group.values()) for group in counts.values()) == len(papers[0].claims)
    assert counts["beyond"]["holds"] == 0
    experiment = papers[0].experiments["responses"]
    claims = tuple(claim.model_copy(update={"origin": "beyond"}) for claim in experiment.claims)
    changed = experiment.model_copy(update={"claims": claims})
    table = papers[0].experiments | {"responses": changed}
    beyond = tally(judge(papers[0].model_copy(update={"experiments": table}), evidence, {}))
    assert beyond["beyond"]["holds"] == 1
    assert beyond["trends"]["holds"] == counts["trends"]["holds"] - 1


def test_the_largest_scale_comes_first_and_disagreement_is_known(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    judged = {item.claim.id: item for item in judge(papers[0], evidence, {})}
    found = judged["degradation"].found
    assert [item.evidence.preset for item in found] == ["gpu", "laptop"]
    assert not judged["degradation"].disagree
    (gpu,) = [item for item in evidence if item.preset == "gpu"]
    turned = tuple(
        claim.model_copy(update={"verdict": "fails"}) if claim.id == "degradation" else claim
        for claim in gpu.claims
    )
    others = [item for item in evidence if item is not gpu]
    changed = [*others, gpu.model_copy(update={"claims": turned})]
    again = next(x for x in judge(papers[0], changed, {}) if x.claim.id == "degradation")
    assert again.outcome == "fails"
    assert again.disagree
    assert "scales or machines disagree" in results_markdown(papers[0], changed, standings={})


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("net5.error > 2 * net4.error", "error: net5 3.88 against 2 × net4 3.57 = 7.15"),
        ("abs(net3.error - 3.3) <= 0.4", "net3.error 3.28 against 3.3 ± 0.4"),
        ("max(*.error) < 9", "max(every arm's error) = 5.71 against 9"),
        ("net0.parameters == 272474", "net0.parameters equals 272,474"),
        ("net0.error > net0.noise", "net0: error 2.43 against noise 0.105"),
    ],
)
def test_both_sides_are_named(
    papers: list[Paper], evidence: list[Evidence], check: str, text: str
) -> None:
    from quire.lab.claims import Check, decide

    item = next(each for each in judge(papers[0], evidence, {}) if each.claim.id == "ladder-6")
    assert item.best is not None
    results: dict[str, dict[int, dict[str, float]]] = {}
    for run in item.best.evidence.runs:
        whole = {key: math.nan if v is None else v for key, v in run.metrics.items()}
        if run.status == "done":
            results.setdefault(run.arm, {})[run.seed] = whole
    decision = decide(Check.parse(check).over(list(results)), "trend", results)
    record = item.best.record.model_copy(
        update={"check": check, "left": decision.left, "right": decision.right}
    )
    found = type(item.best)(record, item.best.evidence)
    assert compared(item.claim, found) == text


def test_sides_that_differ_never_look_alike() -> None:
    for left, right in ((127_469_000.0, 127_469_001.0), (0.1234567, 0.1234568), (1e-20, 2e-20)):
        one, other = apart(left, right)
        assert one != other


def test_first_sentences() -> None:
    assert first_sentence("One net, e.g. of 3.5 layers.\n\nMore.") == "One net, e.g. of 3.5 layers."
    assert first_sentence("It ends\nhere. And goes on.") == "It ends here."
    assert first_sentence("No end") == "No end"


def test_ones_own_evidence_wins_under_the_same_name(
    papers: list[Paper], evidence: list[Evidence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, own = tmp_path / "committed", tmp_path / "own"
    monkeypatch.setenv("QUIRE_EVIDENCE", str(committed))
    for item in evidence:
        item.write(committed)
    assert {type(x).__name__ for x in known_evidence(papers[0], own)} == {"Evidence"}
    evidence[0].model_copy(update={"created": "2027-01-01"}).write(own)
    found = {item.file_name: item for item in known_evidence(papers[0], own)}
    assert len(found) == 3
    mine = found[evidence[0].file_name]
    assert (type(mine).__name__, mine.created) == ("OwnEvidence", "2027-01-01")
