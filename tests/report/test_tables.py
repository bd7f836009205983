"""Markdown tables and the numbers in them."""

import doctest
import math

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report import numbers
from quire.report.model import Spread, judge, tally
from quire.report.numbers import mean_and_std, number
from quire.report.tables import claims_markdown, papers_markdown, results_markdown


def _rows(table: str) -> list[list[str]]:
    """Cells of a Markdown table, header first; every row must have as many as the header."""
    escaped = table.replace("\\|", "\0")
    lines = [line for line in escaped.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


def test_examples_of_numbers() -> None:
    outcome = doctest.testmod(numbers)
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


def test_every_claim_has_a_row(papers: list[Paper], evidence: list[Evidence]) -> None:
    for paper in papers:
        rows = _rows(claims_markdown(paper, evidence))
        assert rows[0] == ["claim", "verdict", "measured", "paper", "at"]
        assert len(rows) == 2 + len(paper.claims)
        for claim, row in zip(paper.claims, rows[2:], strict=True):
            assert claim.check in row[0]
            assert claim.source in row[0]


def test_claims_say_verdict_measured_and_published(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    large = papers[0]
    rows = dict(
        zip(
            (claim.id for claim in large.claims),
            _rows(claims_markdown(large, evidence))[2:],
            strict=True,
        )
    )
    assert (
        rows["backwards"][1] == "fails, as expected: the digits are too easy for `depth` to matter"
    )
    assert "&lt;script>" in rows["backwards"][0]
    assert "<" not in rows["backwards"][0].split("`")[0]
    assert rows["number"][1:] == [
        "holds",
        "net3.error = 3.284 ± 0.040; 0.0353 vs 0.4; difference -0.372 to -0.353",
        "3.3 %",
        "laptop, 3 seeds",
    ]
    assert rows["count"][2] == "272,474 vs 272,474"
    assert rows["never"][1:] == ["not run", "", "6.97", ""]
    assert rows["one-seed"][1] == "one seed"
    assert rows["not-finite"][1] == "undecided (a value is not finite)"
    assert rows["surprise"][1] == "fails"


def test_a_failure_expected_that_holds_is_said(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    large = papers[0]
    claims = tuple(
        claim.model_copy(update={"expected": "fails", "reason": "of nothing"})
        if claim.id == "degradation"
        else claim
        for claim in large.claims
    )
    text = claims_markdown(large.model_copy(update={"claims": claims}), evidence)
    assert "holds, though it was expected to fail: of nothing" in text


def test_results_show_the_best_preset_of_each_experiment(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    large = papers[0]
    text = results_markdown(large, evidence)
    assert "**digits**" in text
    assert "**responses**" in text
    assert "**unseen**" not in text
    assert (
        "Preset gpu, 2 seeds, linux-x86-64-16cpu-h200, 2026-11-20: "
        "`quire verify large/digits --preset gpu`"
    ) in text
    table = _rows(text.split("**digits**")[1].split("Preset")[0])
    assert table[0] == ["arm", "`error`", "`noise`", "`perplexity`", "`parameters`", "seeds"]
    assert table[2] == ["`net0`", "2.424 ± 0.034", "-0.258 ± 0.56", "10,000,000", "272,474", "2"]
    laptop = results_markdown(large, [item for item in evidence if item.preset == "laptop"])
    table = _rows(laptop.split("**digits**")[1].split("Preset")[0])
    assert table[4][3] == "not finite"
    assert table[5][3] == "40,000,000 (2 of 3 finite)"
    assert table[12][-1] == "2 of 3"


def test_results_without_evidence_say_so(papers: list[Paper], evidence: list[Evidence]) -> None:
    text = results_markdown(papers[3], evidence)
    assert text.startswith("Nothing has been measured yet: `quire verify silent` does it.")
    assert text.count("not run") == 2


def test_the_readme_table_links_cards_and_counts(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    rows = _rows(papers_markdown(papers, evidence))
    assert rows[0] == [
        "paper",
        "year",
        "family",
        "in one line",
        "holds",
        "fails",
        "undecided",
        "not run",
    ]
    assert rows[2][0] == (
        "[Deep Residual Learning for Image Recognition](src/quire/papers/large/README.md)"
    )
    assert rows[2][4:] == ["8", "3", "2", "1"]
    assert rows[5][4:] == ["0", "0", "0", "2"]


def test_verdicts_that_do_not_decide_are_counted_apart(
    papers: list[Paper], evidence: list[Evidence]
) -> None:
    judged = judge(papers[0], evidence)
    assert sum(tally(judged).values()) == len(papers[0].claims)
    elsewhere = {item.claim.id: [record.verdict for record, _ in item.elsewhere] for item in judged}
    assert elsewhere["degradation"] == ["holds"]
    assert elsewhere["surprise"] == []
