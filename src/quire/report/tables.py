"""Markdown tables: a paper's claims for its card, and all papers for the README."""

import re
from collections.abc import Iterable, Sequence

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report.model import (
    Judged,
    Standings,
    command,
    judge,
    known_standings,
    of_experiment,
    sample,
    tally,
)
from quire.report.numbers import count
from quire.report.overview import Row, row_of
from quire.report.wording import compared, found_words, group_words, not_run_words, verdict_words

WIDEST = 200
"""Characters of a row, about."""


def papers_markdown(
    papers: Iterable[Paper], evidence: Iterable[Evidence], *, standings: Standings | None = None
) -> str:
    """One row a paper, its claims counted apart: trends, numbers, identities, beyond the paper.

    `standings` says how the evidence stands to the code; it is worked out where None.
    """
    evidence = list(evidence)
    rows = []
    for paper in papers:
        known = known_standings(paper, evidence) if standings is None else standings
        rows.append(row_of(paper, judge(paper, evidence, known)))
    return rows_markdown(rows)


def rows_markdown(rows: Sequence[Row]) -> str:
    """The table of `papers_markdown` from rows that are worked out."""
    header = ["paper", "year", "family", "in one line", "trends: hold / fail / open / not run",
              "numbers decided", "identities that hold", "judged by people", "beyond the paper",
              "stale"]  # fmt: skip
    lines = []
    for row in rows:
        trends, beyond = row.counts["trends"], row.counts["beyond"]
        scales = f" ({', '.join(row.scales)})" if row.scales else ""
        numbers, identities = row.counts["numbers"], row.counts["identities"]
        judged = row.counts["judged"]
        lines.append([
            f"[{plain(row.title)}](src/{row.module.replace('.', '/')}/README.md)",
            str(row.year), plain(row.family), plain(row.summary),
            " / ".join(map(str, trends.values())) + scales if sum(trends.values()) else "",
            _share(numbers["holds"] + numbers["fails"], sum(numbers.values())),
            _share(identities["holds"], sum(identities.values())),
            " / ".join(map(str, judged.values())) if sum(judged.values()) else "",
            " / ".join(map(str, beyond.values())) if sum(beyond.values()) else "",
            str(row.stale) if row.stale else "",
        ])  # fmt: skip
    return _table(header, lines)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def results_markdown(
    paper: Paper, evidence: Iterable[Evidence], *, standings: Standings | None = None
) -> str:
    """The generated block of a paper's card: counts, claims, failures with reasons, what was not
    run. `standings` says how the evidence stands to the code; it is worked out where None."""
    evidence = [item for item in evidence if item.paper == paper.name]
    if standings is None:
        standings = known_standings(paper, evidence)
    judged = judge(paper, evidence, standings)
    decided = [item for item in judged if item.best is not None]
    blocks = [f"{_capital('; '.join(group_words(tally(judged))))}."]
    if not evidence:
        blocks.insert(0, f"Nothing has been measured yet: `quire verify {paper.name}` does it.")
    blocks += stale_lines(decided)
    first = [item for item in decided if item.claim.id in paper.headline]
    if first:
        blocks.append(claims_markdown(first))
    apart = ("identity", "judgement")
    rest = [item for item in decided if item not in first and item.claim.kind not in apart]
    for name, experiment in paper.experiments.items():
        group = [item for item in rest if item.claim.experiment == name]
        measured = of_experiment(evidence, paper, name)
        if group:
            blocks.append(f"**{name}**: {plain(experiment.summary)}")
            blocks.append(claims_markdown(group))
        if measured and any(item.claim.experiment == name for item in group + first):
            blocks.append(provenance(measured[0]))
    people = [item for item in decided if item not in first and item.claim.kind == "judgement"]
    if people:
        blocks.append("**Judged by people**, who chose between two pictures without names")
        blocks.append(claims_markdown(people))
        blocks += [provenance(item.best.evidence) for item in people if item.best]
    identities = [item for item in decided if item not in first and item.claim.kind == "identity"]
    if identities:
        held = sum(item.outcome == "holds" for item in identities)
        blocks.append(
            f"<details><summary>Identities: {held} of {len(identities)} hold</summary>\n\n"
            f"{claims_markdown(identities)}\n\n</details>"
        )
    blocks += _reasons(decided)
    waiting = [item for item in judged if item.best is None]
    if waiting:
        blocks.append(f"Not run: {not_run_words(waiting)}.")
    return "\n\n".join(blocks)


def claims_markdown(judged: Iterable[Judged]) -> str:
    """One row a decided claim: verdict with scale, sentence, what was measured, paper's number."""
    rows = []
    for item in judged:
        assert item.best is not None
        verdict = verdict_words(item) + (", stale" if item.stale else "")
        says, published = plain(item.claim.says), plain(item.claim.paper or "")
        room = max(44, WIDEST - len(verdict) - len(says) - len(published) - 13)
        rows.append([verdict, says, plain(compared(item.claim, item.best, limit=room)), published])
    return _table(["verdict", "claim", "here", "paper"], rows)


def stale_lines(judged: Iterable[Judged]) -> list[str]:
    """A line that says which verdicts are older than the code and why; none where all are not."""
    reasons: dict[str, dict[str, None]] = {}
    amount = 0
    for item in judged:
        if item.best is not None and item.stale:
            amount += 1
            reasons.setdefault(item.best.standing.reason, {})[item.claim.experiment] = None
    if not amount:
        return []
    text = "; ".join(f"{why} ({', '.join(names)})" for why, names in reasons.items())
    return [f"Stale: {count(amount, 'verdict')}, as {text}."]


def _reasons(judged: Iterable[Judged]) -> list[str]:
    """What fails or was stopped, with the reason, and where scales or machines disagree."""
    lines = []
    for item in judged:
        if item.reason or item.outcome == "fails":
            reason = plain(item.reason or "no reason is known")
            lines.append(f"- `{item.claim.id}` {verdict_words(item)}: {reason}")
        if item.disagree:
            texts = "; ".join(found_words(found) for found in item.found)
            lines.append(f"- `{item.claim.id}`: scales or machines disagree: {plain(texts)}")
    return ["**What fails or was stopped, and why**\n\n" + "\n".join(lines)] if lines else []


def provenance(evidence: Evidence) -> str:
    """One line: preset, seeds, machine, date, and the command that repeats it."""
    seeds = count(len({run.seed for run in evidence.runs}), sample(evidence))
    return (
        f"`{evidence.experiment}`: preset {evidence.preset}, {seeds}, "
        f"{plain(evidence.machine)}, {evidence.created[:10]}: `{command(evidence)}`"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plain(text: str) -> str:
    """`text` as one table cell of Markdown: no line breaks, nothing read as markup but `code`."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|*\\])", r"\\\1", text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
