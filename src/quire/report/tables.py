"""Markdown tables: a paper's claims and results for its card, and all papers for the README."""

import re
from collections.abc import Iterable, Sequence

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report.model import (
    OUTCOMES,
    ArmResult,
    Judged,
    Spread,
    arm_results,
    command,
    judge,
    of_experiment,
    tally,
)
from quire.report.numbers import count, mean_and_std, number


def papers_markdown(papers: Iterable[Paper], evidence: Iterable[Evidence]) -> str:
    """One row a paper: its card, year, family, summary, and how many claims hold, fail, …"""
    evidence = list(evidence)
    rows = []
    for paper in papers:
        counts = tally(judge(paper, evidence))
        card = f"[{plain(paper.title)}](src/{paper.module.replace('.', '/')}/README.md)"
        rows.append(
            [card, str(paper.year), plain(paper.family), plain(paper.summary)]
            + [str(counts[outcome]) for outcome in OUTCOMES]
        )
    return _table(["paper", "year", "family", "in one line", *OUTCOMES], rows, numeric=4)


def claims_markdown(paper: Paper, evidence: Iterable[Evidence]) -> str:
    """One row a claim: sentence, source and check, verdict, measured, the paper's number, preset.

    Measured is the check's left side against its right, then the 95 % interval of left - right.
    """
    rows = []
    for item in judge(paper, evidence):
        where = ""
        if item.evidence is not None:
            where = item.evidence.preset
            where += f", {count(item.record.seeds, 'seed')}" if item.record.seeds else ""
        rows.append(
            [
                f"{plain(item.claim.says)} ({plain(item.claim.source)}): `{item.claim.check}`",
                plain(verdict_text(item)),
                plain(measured_text(item)),
                plain(item.claim.paper or ""),
                where,
            ]
        )
    return _table(["claim", "verdict", "measured", "paper", "at"], rows)


def results_markdown(paper: Paper, evidence: Iterable[Evidence]) -> str:
    """The generated block of a paper's card: its claims, then each experiment's arms × metrics."""
    evidence = [item for item in evidence if item.paper == paper.name]
    blocks = [claims_markdown(paper, evidence)]
    if not evidence:
        blocks.insert(0, f"Nothing has been measured yet: `quire verify {paper.name}` does it.")
    for name, experiment in paper.experiments.items():
        measured = of_experiment(evidence, paper, name)
        if not measured:
            continue
        best = measured[0]
        blocks.append(f"**{name}**: {plain(experiment.summary)}")
        blocks.append(metrics_markdown(arm_results(best, experiment.arms), experiment.metrics))
        blocks.append(provenance(best))
    return "\n\n".join(blocks)


def metrics_markdown(results: Sequence[ArmResult], metrics: Iterable[str]) -> str:
    """Arms as rows, metrics as columns: mean ± standard deviation over seeds."""
    names = [name for name in metrics if any(name in row.metrics for row in results)]
    rows = [
        [f"`{row.arm}`", *(spread_text(row.metrics.get(name)) for name in names), seeds_text(row)]
        for row in results
    ]
    return _table(["arm", *(f"`{name}`" for name in names), "seeds"], rows, numeric=len(names) + 1)


def provenance(evidence: Evidence) -> str:
    """One line: preset, seeds, machine, date, and the command that repeats it."""
    seeds = len({run.seed for run in evidence.runs})
    repeat = command(evidence.paper, evidence.experiment, evidence.preset)
    return (
        f"Preset {evidence.preset}, {count(seeds, 'seed')}, {plain(evidence.machine)}, "
        f"{evidence.created[:10]}: `{repeat}`"
    )


def verdict_text(item: Judged) -> str:
    """The verdict in words, with the reason where it needs one."""
    text: str = item.record.verdict
    if item.claim.expected == "fails" and item.outcome == "fails":
        return f"{text}, as expected: {item.claim.reason}"
    if item.claim.expected == "fails" and item.outcome == "holds":
        return f"{text}, though it was expected to fail: {item.claim.reason}"
    return f"{text} ({item.record.reason})" if item.record.reason else text


def measured_text(item: Judged) -> str:
    """Left against right, the interval of their difference; for a number its own value first."""
    record = item.record
    if record.left is None and record.right is None:
        return ""
    text = f"{number(record.left)} vs {number(record.right)}"
    if record.interval is not None and item.claim.kind != "identity":
        low, high = record.interval
        text += f"; difference {number(low)} to {number(high)}"
    if item.claim.kind == "number" and item.values:
        named = ", ".join(f"{name} = {spread_text(value)}" for name, value in item.values.items())
        text = f"{named}; {text}"
    return text


def spread_text(spread: Spread | None) -> str:
    """Mean ± standard deviation, saying so where some seeds ended with no finite value."""
    if spread is None:
        return ""
    text = mean_and_std(spread.mean, spread.std)
    if 0 < spread.finite < spread.seeds:
        text += f" ({spread.finite} of {spread.seeds} finite)"
    return text


def seeds_text(row: ArmResult) -> str:
    """How many seeds finished, and of how many where some failed."""
    return f"{row.done} of {row.planned}" if row.failed else str(row.done)


def plain(text: str) -> str:
    """`text` as one table cell of Markdown: no line breaks, nothing read as markup but `code`."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|*\\])", r"\\\1", text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: int = 0) -> str:
    """A Markdown table whose last `numeric` columns are aligned to the right."""
    rule = ["---"] * (len(header) - numeric) + ["--:"] * numeric
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
