"""What `quire show` and `quire why` print: a paper's card, and one claim's chain of evidence."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console

from quire.lab.claims import Check
from quire.lab.evidence import Evidence
from quire.lab.papers import PRESETS, Claim, Paper
from quire.report.lines import STYLES, console, say, say_marked, say_named, say_table
from quire.report.model import (
    Found,
    Judged,
    OwnEvidence,
    Standings,
    finished,
    headline,
    judge,
    known_standings,
    sample,
    tally,
)
from quire.report.numbers import number, seconds
from quire.report.parts import public_parts
from quire.report.wording import (
    apart,
    compared,
    deciding,
    found_words,
    group_words,
    interval_source,
    interval_words,
    not_run_words,
    seeds_words,
    verdict_words,
)


def print_card(
    paper: Paper,
    evidence: Sequence[Evidence],
    *,
    whole: bool = False,
    standings: Standings | None = None,
) -> None:
    """What `quire show` prints: the headline claims, or with `whole` every claim.

    `standings` says how the evidence stands to the code; it is worked out where None.
    """
    out = console()
    if standings is None:
        standings = known_standings(paper, evidence)
    judged = judge(paper, evidence, standings)
    say(out, f"{paper.title} ({paper.year})", style="bold")
    links = [f"arXiv {paper.arxiv}" if paper.arxiv else "", paper.venue or "", paper.url or ""]
    say(out, " · ".join([", ".join(paper.authors), *(link for link in links if link)]), style="dim")
    say(out, paper.summary)
    if paper.code:
        say(out, f"Reference code: {paper.code.repository} ({paper.code.licence})", style="dim")
    _say_parts(out, paper)
    _say_experiments(out, paper, evidence)
    if whole:
        for name, group in groupby(
            sorted(judged, key=lambda item: list(paper.experiments).index(item.claim.experiment)),
            key=lambda item: item.claim.experiment,
        ):
            say(out, f"\nClaims of {name}", style="bold")
            say_claims(out, group)
    else:
        first = headline(paper, judged)
        out.print()
        say(out, f"Claims: {len(first)} of {len(judged)}", style="bold")
        say_claims(out, first)
    out.print()
    _say_counts(out, judged)
    more = "" if whole else f"quire show {paper.name} --all: every claim. "
    say(out, f"{more}quire why {paper.name}/CLAIM: its evidence. quire verify {paper.name}: run "
             f"what is missing. Card: {paper.folder / 'README.md'}", style="dim")  # fmt: skip


def _say_parts(out: Console, paper: Paper) -> None:
    parts = public_parts(paper)
    if parts:
        out.print()
        say(out, f"Parts: from {paper.module} import …", style="bold")
        say_named(out, [(part.name, part.says) for part in parts])


def _say_experiments(out: Console, paper: Paper, evidence: Sequence[Evidence]) -> None:
    costs = laptop_seconds(evidence)
    out.print()
    say(
        out, f"Experiments: quire run {paper.name}/NAME, presets {', '.join(PRESETS)}", style="bold"
    )
    rows = []
    for name, experiment in paper.experiments.items():
        arms = f"{len(experiment.arms)} arm{'s' if len(experiment.arms) != 1 else ''}"
        needs = [f"data {item}" for item in experiment.data]
        needs += [f"extra {item}" for item in experiment.needs]
        took = [seconds(costs[name])] if name in costs else []
        rows.append((name, f"{experiment.summary} ({', '.join([arms, *needs, *took])})"))
    say_named(out, rows)
    if costs:
        whole = seconds(sum(costs.values()))
        say(out, f"Times: of one core, for all arms and seeds at laptop, {whole} together.",
            style="dim")  # fmt: skip


def laptop_seconds(evidence: Sequence[Evidence]) -> dict[str, float]:
    """What each experiment took at `laptop` on a CPU, all its runs: the longest of several times.

    Runs that it stands on count with their own experiment.
    """
    costs: dict[str, float] = {}
    for item in evidence:
        if item.preset == "laptop" and item.rated is None:
            took = sum(run.cpu_seconds for run in item.runs)
            costs[item.experiment] = max(took, costs.get(item.experiment, 0.0))
    return costs


def _say_counts(out: Console, judged: Sequence[Judged]) -> None:
    say(out, f"All claims: {'; '.join(group_words(tally(judged)))}.")
    say_stale(out, judged)


def say_stale(out: Console, judged: Iterable[Judged]) -> None:
    """Say which verdicts are older than the code, with the reasons."""
    stale = [item.best for item in judged if item.best is not None and item.best.stale]
    if stale:
        reasons: dict[str, set[str]] = {}
        for item in stale:
            reasons.setdefault(item.standing.reason, set()).add(item.evidence.experiment)
        text = "; ".join(f"{why} ({', '.join(sorted(names))})" for why, names in reasons.items())
        say(out, f"Stale: {len(stale)} of these verdicts, as {text}.", style="yellow")


def say_claims(out: Console, judged: Iterable[Judged]) -> None:
    """Two lines a claim that was decided; those that were not run in one line together."""
    waiting = []
    for item in judged:
        if item.best is None:
            waiting.append(item)
        else:
            say_claim(out, item)
    if waiting:
        say_marked(out, "not run:", not_run_words(waiting), style="dim", indent=2)


def say_claim(out: Console, item: Judged) -> None:
    """Verdict with scale and sentence; what was measured, the paper's number, other scales."""
    assert item.best is not None
    stale = " [stale]" if item.stale else ""
    mark = f"{verdict_words(item)}{stale}:"
    say_marked(out, mark, item.claim.says, style=STYLES[item.outcome], indent=2, hang=4)
    said = [
        compared(item.claim, item.best),
        interval_words(item.best) if item.claim.kind != "identity" else "",
        seeds_words(item.best) if item.claim.kind in ("trend", "number") else "",
        f"paper: {item.claim.paper}" if item.claim.paper else "",
    ]
    text = f"{item.claim.id}: {'; '.join(part for part in said if part)}"
    if item.reason:
        text += f". {item.reason}"
    if item.disagree:
        text += f". Elsewhere: {', '.join(found_words(other) for other in item.others)}"
    say(out, text, indent=6, style="dim")


def print_chain(
    paper: Paper,
    claim: Claim,
    evidence: Sequence[Evidence],
    *,
    standings: Standings | None = None,
) -> None:
    """What `quire why` prints: all that a claim's verdicts follow from, the largest scale first."""
    out = console()
    if standings is None:
        standings = known_standings(paper, evidence)
    item = next(each for each in judge(paper, evidence, standings) if each.claim.id == claim.id)
    say(out, claim.says, style="bold")
    origin = "beyond the paper" if claim.origin == "beyond" else "the paper's"
    rows = [
        ("claim", f"{paper.name}/{claim.id}: {claim.kind}, {origin}"),
        ("source", claim.source),
        ("paper", claim.paper or "gives no number"),
        *([("question", claim.question)] if claim.question else []),
        ("check", claim.check),
        ("decided", f"at {', '.join(claim.at)}; experiment {claim.experiment}"),
    ]
    say_named(out, rows, indent=0)
    if item.disagree:
        texts = ", ".join(found_words(found) for found in item.found)
        say(out, f"Scales or machines disagree: {texts}.", style="yellow")
    if item.best is None:
        again = f"quire verify {paper.name}/{claim.experiment} --preset {deciding(claim)}"
        if claim.kind == "judgement":
            again += f" makes the pictures, quire rate {paper.name}/{claim.id} the page for people"
        say(out, f"\nNot run: no evidence decides it. {again}")
    for found in item.found:
        out.print()
        _say_found(out, item, found)


def _say_found(out: Console, item: Judged, found: Found) -> None:
    evidence, record = found.evidence, found.record
    words = verdict_words(Judged(item.claim, (found,)))
    own = ", your own runs" if isinstance(evidence, OwnEvidence) else ""
    say_marked(
        out, f"{words}:", f"{evidence.machine}, {evidence.created[:10]}{own}",
        style=STYLES[found.outcome],
    )  # fmt: skip
    rows = [("measured", compared(item.claim, found, limit=200))]
    if interval := interval_words(found):
        rows.append(("interval", f"{interval} ({interval_source(found)})"))
    reason = Judged(item.claim, (found,)).reason
    if reason:
        rows.append(("reason", reason))
    if record.check and record.check != item.claim.check:
        rows.append(("check then", record.check))
    state = found.standing.state + (f": {found.standing.reason}" if found.standing.reason else "")
    rows.append(("code", f"{evidence.code}, {state}"))
    rows += [("settings", text) for text in _settings(item.claim, found)]
    say_named(out, rows)
    _say_seeds(out, item.claim, found)


def _check(claim: Claim, found: Found) -> Check:
    arms = dict.fromkeys(run.arm for run in found.evidence.runs)
    return Check.parse(found.record.check or claim.check).over(list(arms))


def _settings(claim: Claim, found: Found) -> list[str]:
    """What the arms share, and for each arm what it has of its own."""
    arms = sorted(_check(claim, found).arms & found.evidence.settings.keys())
    tables = [found.evidence.settings[arm] for arm in arms]
    shared = {
        key: value
        for key, value in (tables[0] if tables else {}).items()
        if all(key in table and table[key] == value for table in tables)
    }
    texts = [_assignments(shared)] if shared else []
    for arm, table in zip(arms, tables, strict=True):
        own = {key: value for key, value in table.items() if key not in shared}
        if own:
            texts.append(f"{arm}: {_assignments(own)}")
    return texts


def _assignments(table: dict[str, object]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in table.items())


def _say_seeds(out: Console, claim: Claim, found: Found) -> None:
    """Both sides for each seed that every arm of the check has finished."""
    check = _check(claim, found)
    runs = {arm: {run.seed: run for run in finished(found.evidence, arm)} for arm in check.arms}
    seeds = sorted(set.intersection(*(set(of) for of in runs.values()))) if runs else []
    rows = []
    for seed in seeds:
        metrics = {
            arm: {key: float("nan") if value is None else value
                  for key, value in runs[arm][seed].metrics.items()}
            for arm in check.arms
        }  # fmt: skip
        try:
            left, right = check.sides(metrics)
        except (KeyError, ArithmeticError, ValueError, TypeError):
            continue
        rows.append([str(seed), *apart(left, right), number(left - right)])
    if rows:
        header = [f"  {sample(found.evidence)}", "left", "right", "left - right"]
        say_table(out, header, rows, right=(0, 1, 2, 3))
