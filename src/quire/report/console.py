"""What the command line prints: plain lines that fit any width, coloured on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from quire.report.board import Board
from quire.report.lines import STYLES, console, say, say_marked, say_named
from quire.report.overview import Row

if TYPE_CHECKING:
    from pathlib import Path

    from quire.lab.evidence import Evidence
    from quire.lab.freshness import Standing
    from quire.lab.papers import Claim, Paper, Preset
    from quire.lab.verify import Verified
    from quire.report.model import Answer, Group

__all__ = [
    "Board", "print_card", "print_chain", "print_data", "print_doctor", "print_papers",
    "print_races", "print_rated", "print_standing", "print_verified",
]  # fmt: skip
_NAME = 19
_COLUMNS: "tuple[tuple[str, str, int, Group, Answer | None], ...]" = (
    ("trends", "hold", 6, "trends", "holds"),
    ("", "fail", 6, "trends", "fails"),
    ("", "open", 6, "trends", "undecided"),
    ("", "not run", 9, "trends", "not run"),
    ("numbers", "decided", 9, "numbers", None),
    ("identities", "hold", 11, "identities", None),
    ("beyond", "hold", 8, "beyond", None),
)
"""Two lines of heading, width, and what is counted; where it is None, how many of how many."""


def print_papers(rows: Sequence[Row], *, markdown: bool = False) -> None:
    """The table of `quire list`: a line of counts a paper, and a line that says what it is."""
    if markdown:
        from quire.report.tables import rows_markdown

        print(rows_markdown(rows))
        return
    out = console()
    for place, (name, last) in enumerate((("", ""), ("paper", "stale"))):
        heads = "".join(f"{column[place]:>{column[2]}}" for column in _COLUMNS)
        out.print(Text(f"{name:{_NAME}}{heads}{last:>6}".rstrip(), style="dim"))
    for row in rows:
        _say_paper(out, row)
    scales = sorted({scale for row in rows for scale in row.scales})
    numbers = [row.counts["numbers"] for row in rows]
    decided = sum(count["holds"] + count["fails"] for count in numbers)
    whole = sum(sum(count.values()) for count in numbers)
    out.print()
    say(out, f"Of the papers' {whole} numbers {decided or 'none'} {_has(decided)} been decided. "
             f"Trends stand at {' and '.join(scales) or 'no'} scale: reduced settings show "
             "the trend in small. quire show PAPER tells more.", style="dim")  # fmt: skip


def _has(amount: int) -> str:
    return "have" if amount > 1 else "has"


def _say_paper(out: Console, row: Row) -> None:
    line = Text(f"{row.name:{_NAME}}", style="bold")
    if len(row.name) >= _NAME:
        out.print(line)
        line = Text(" " * _NAME)
    for _, _, width, group, outcome in _COLUMNS:
        counts = row.counts[group]
        if outcome is None:
            amount = counts["holds"] + (counts["fails"] if group == "numbers" else 0)
            whole = sum(counts.values())
            cell, style = f"{amount}/{whole}" if whole else "·", ""
        else:
            cell, style = str(counts[outcome] or "·"), STYLES[outcome]
        line.append(f"{cell:>{width}}", style=f"not bold {style if cell != '·' else 'dim'}")
    line.append(f"{row.stale or '·':>6}", style=f"not bold {'yellow' if row.stale else 'dim'}")
    out.print(line)
    scales = f"{', '.join(row.scales)} scale" if row.scales else "not run"
    judged = row.counts["judged"]
    found = ", ".join(f"{outcome} {amount}" for outcome, amount in judged.items() if amount)
    people = f", judged by people: {found}" if found else ""
    say(out, f"{row.family}, {row.year}, {scales}{people}. {row.summary}", indent=2, style="dim")


def print_card(paper: "Paper", evidence: "Sequence[Evidence]", *, whole: bool = False) -> None:
    """What `quire show` prints; `whole` lists every claim."""
    from quire.report import card

    card.print_card(paper, evidence, whole=whole)


def print_chain(paper: "Paper", claim: "Claim", evidence: "Sequence[Evidence]") -> None:
    """What `quire why` prints."""
    from quire.report import card

    card.print_chain(paper, claim, evidence)


def print_verified(found: "Sequence[Verified]", preset: "Preset") -> None:
    """The verdicts of `quire verify`, an experiment at a time, then counts and surprises."""
    from quire.report.card import say_claims
    from quire.report.model import Found, Judged, tally
    from quire.report.wording import group_words

    out = console()
    everything = []
    for item in found:
        say(out, f"{item.paper.name}/{item.experiment} at {preset}", style="bold")
        if item.evidence is None:
            word = "stopped" if item.crashed else "not run"
            say_marked(out, f"{word}:", item.reason, style="yellow", indent=2)
            out.print()
            continue
        records = {record.id: record for record in item.evidence.claims}
        judged = []
        for claim in item.paper.experiments[item.experiment].claims:
            record = records.get(claim.id)
            known = record is not None and record.verdict != "not run"
            judged.append(Judged(claim, (Found(record, item.evidence),) if known else ()))  # type: ignore[arg-type]
            if record is not None and not known and preset in claim.at:
                judged.pop()
                say_marked(out, "not run:", f"{claim.id}: {record.reason}", style="yellow",
                           indent=2)  # fmt: skip
        decided = [each for each in judged if preset in each.claim.at]
        if not decided:
            say(out, f"{len(item.evidence.runs)} runs came to their end", indent=2, style="dim")
        say_claims(out, decided if preset == "smoke" else judged)
        everything += decided
        out.print()
    if preset == "smoke":
        say(out, "smoke proves that everything runs and decides identities; trends are decided at "
                 "laptop and above.")  # fmt: skip
    say(out, "; ".join(group_words(tally(everything))) or "No claim was decided.")
    for item in found:
        for claim, verdict in item.surprises:
            says = f"{claim.id} ({claim.check})"
            say_marked(out, f"{verdict} unexpectedly:", says, style="red")


def print_rated(evidence: "Evidence", path: "Path") -> None:
    """What people judged so far: the verdict, and the file that it stands in."""
    from quire.lab.papers import find_paper
    from quire.report.card import say_claim
    from quire.report.model import Found, Judged

    paper = find_paper(evidence.paper)
    out = console()
    for record in evidence.claims:
        claim = paper.find_claim(record.id)
        say_claim(out, Judged(claim, (Found(record, evidence),)))
    say(out, str(path), indent=2, style="dim")


def print_standing(evidence: "Evidence", standing: "Standing") -> None:
    """One line: a piece of evidence, and how it stands to the code."""
    style = {"fresh": "green", "carried": "green", "stale": "yellow"}[standing.state]
    name = evidence.file_name.removesuffix(".json")
    say_marked(console(), standing.state, f"{name}  {standing.reason}".rstrip(), style=style)


def print_data(rows: Sequence[Any]) -> None:
    """What `quire data list` and `check` print: two lines a dataset."""
    from quire.data.catalogue import DATASETS

    out = console()
    for row in rows:
        checksum = {True: ", checksums agree", False: ", a checksum differs", None: ""}
        entry = DATASETS[row.name]
        mark = f"{row.name}: {'here' if row.present else 'missing'}"
        known = checksum[row.checksum_ok] if row.present else ""
        style = "red" if row.checksum_ok is False else "green" if row.present else "yellow"
        places = [str(row.where) if row.where else "", row.detail]
        say_marked(out, f"{mark}{known}", " · ".join(text for text in places if text), style=style)
        say(out, f"{entry.summary} · licence: {entry.licence}", indent=2, style="dim")


def print_races(name: str, result: dict[str, Any]) -> None:
    """What `quire bench` prints: two lines a race, no time where the parity test failed."""
    out = console()
    say(out, name, style="bold")
    for race in result["races"]:
        if race.get("parity") is False:
            say_marked(
                out, f"{race['name']}:", "parity test failed: no time", style="red", indent=2
            )
            continue
        goal, ratio = race.get("goal"), race.get("ratio")
        texts = [
            f"ours {_rate(race.get('ours'))}",
            f"peer {_rate(race.get('peer'))} {race['unit']}",
        ]
        texts += [f"ratio {ratio:.3g}"] if ratio is not None else []
        if goal is not None and ratio is not None:
            texts.append(f"goal {goal:.3g} {'reached' if ratio >= goal else 'not reached'}")
        style = "yellow" if goal is not None and ratio is not None and ratio < goal else "bold"
        say_marked(out, f"{race['name']}:", "; ".join(texts), style=style, indent=2)


def _rate(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['median']:.4g} ({value['q1']:.4g} to {value['q3']:.4g})"
    return "" if value is None else f"{value:.3g}"


def print_doctor() -> None:
    """What this machine can run and what is missing."""
    import torch

    from quire.data.catalogue import DATASETS
    from quire.data.store import status
    from quire.lab.device import environment, pick_device, pick_precision
    from quire.lab.evidence import evidence_folder, machine_name
    from quire.lab.execute import data_root
    from quire.lab.extras import extra_names
    from quire.lab.job import cores
    from quire.lab.papers import readable_papers

    out = console()
    device = pick_device("auto")
    facts = {key: str(value) for key, value in
             environment(device, torch.get_num_threads()).items()}  # fmt: skip
    facts |= {
        "cores": str(cores()),
        "bfloat16": str(pick_precision("auto", device) == "bfloat16"),
        "machine": machine_name(),
        "data": str(data_root() or "user cache"),
        "evidence": str(evidence_folder()),
    }
    say_named(out, list(facts.items()), indent=0)
    say(out, "\nExtras", style="bold")
    for extra in extra_names():
        lacking = _lacking(extra)
        say_marked(out, extra, lacking or "installed", style="yellow" if lacking else "green",
                   indent=2)  # fmt: skip
    here = {name: status(name, data_root()).present for name in DATASETS}
    say(out, "\nDatasets", style="bold")
    for name, present in here.items():
        word = "here" if present else f"missing; get it with: quire data get {name}"
        say_marked(out, name, word, style="green" if present else "yellow", indent=2)
    say(out, "\nPapers", style="bold")
    papers, faults = readable_papers()
    for paper in papers:
        _say_runnable(out, paper, here)
    for fault in faults:
        say_marked(out, "broken:", str(fault), style="red", indent=2)


def _lacking(extra: str) -> str:
    from quire.lab.errors import MissingError
    from quire.lab.extras import check_extras

    try:
        check_extras((extra,))
    except MissingError as error:
        return str(error)
    return ""


def _say_runnable(out: Console, paper: "Paper", here: dict[str, bool]) -> None:
    """What the paper cannot run here, and why."""
    reasons: dict[str, list[str]] = {}
    for name, experiment in paper.experiments.items():
        missing = [f"extra {extra}" for extra in experiment.needs if _lacking(extra)]
        missing += [f"data {item}" for item in experiment.data if not here.get(item, False)]
        if missing:
            reasons.setdefault(", ".join(missing), []).append(name)
    texts = [f"cannot run {', '.join(names)} (lacks {why})" for why, names in reasons.items()]
    say_marked(out, paper.name, "; ".join(texts) or "every experiment can run",
               style="yellow" if texts else "green", indent=2)  # fmt: skip
