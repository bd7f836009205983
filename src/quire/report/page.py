"""What a paper's page holds, worked out before it is written."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quire.lab.claims import Check
from quire.lab.evidence import Evidence, curves_path, read_curves
from quire.lab.memo import remembered
from quire.lab.papers import Claim, Experiment, Paper
from quire.report.figures import Dots, Strokes, curves, dots, series, slug, strokes
from quire.report.model import (
    FRESH,
    ArmResult,
    Counts,
    Found,
    Judged,
    Standings,
    arm_names,
    arm_results,
    command,
    finished,
    folder_of,
    headline,
    judge,
    of_experiment,
    sample,
    tally,
)
from quire.report.numbers import count
from quire.report.parts import Part, public_parts
from quire.report.prose import rendered, section
from quire.report.run_figures import RunFigure, run_figures
from quire.report.svg import inline_svg
from quire.report.wording import at_scale, decided, deciding, verdict_words

Drawing = tuple[str, str]
"""A figure's caption and its SVG."""
MOST_ROWS = 14
"""Arms of a dot plot, beyond which those that the claim names stand alone."""
BESIDE = 2
"""Figures that stand beside an experiment's claims; the others are folded."""


@dataclass(frozen=True)
class Sheet:
    """A paper with all that is known of it."""

    paper: Paper
    evidence: Sequence[Evidence]
    standings: Standings
    own: Path | None = None
    """The folder of one's own evidence."""
    runs: Path | None = None
    """The runs whose figures are shown."""


@dataclass(frozen=True)
class Measured:
    """One evidence file as a page shows it."""

    evidence: Evidence
    experiment: Experiment
    key: str
    stale: str
    """Why it is stale; empty where it is not."""
    results: list[ArmResult]
    metrics: dict[str, str]

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return command(self.evidence)

    @property
    def seeds(self) -> str:
        """How many seeds were run, or how many people rated."""
        return count(len({run.seed for run in self.evidence.runs}), sample(self.evidence))


@dataclass(frozen=True)
class Section:
    """An experiment on its paper's page: claims beside figures, numbers folded."""

    name: str
    experiment: Experiment
    claims: list[Judged]
    strokes: Strokes
    arms: list[str]
    beside: list[Drawing]
    more: list[Drawing]
    measured: list[Measured]
    run_figures: Mapping[str, list[RunFigure]]


@dataclass(frozen=True)
class Page:
    """A paper's page."""

    paper: Paper
    sentences: list[str]
    counts: Counts
    measured: bool
    first: Judged | None
    """The claim of the decisive figure."""
    figure: Drawing | None
    parts: list[Part]
    sections: list[Section]
    waiting: dict[str, list[Judged]]
    """Claims that were not run, by what they wait for: people, or the smallest preset."""
    differences: str
    """The card's section on what differs from the paper, as HTML."""
    card: list[tuple[str, str]] = field(default_factory=list)
    """The card's sections: title and HTML."""
    own: list[str] = field(default_factory=list)
    """Pages that the paper brings itself, as templates in ``pages/<name>.html``."""


def page_of(sheet: Sheet) -> Page:
    """Work out the page of one paper."""
    paper = sheet.paper
    judged = judge(paper, sheet.evidence, sheet.standings)
    known = strokes(
        [list(each.arms) for each in paper.experiments.values()]
        + [arm_names(item) for item in sheet.evidence]
    )
    first = next(
        (
            item
            for item in headline(paper, judged)
            if item.best is not None and item.claim.kind != "identity"
        ),
        None,
    )
    waiting: dict[str, list[Judged]] = {}
    for item in judged:
        if item.best is None:
            waiting.setdefault(_awaited(item.claim), []).append(item)
    card = _card(paper)
    figure = _decisive(first, sheet, known) if first else None
    shown = first if figure else None
    return Page(
        paper=paper,
        sentences=sentences(judged),
        counts=tally(judged),
        measured=any(item.best for item in judged),
        first=first,
        figure=figure,
        parts=public_parts(paper),
        sections=[_section(sheet, name, judged, known, shown) for name in _order(paper)],
        waiting=waiting,
        differences=rendered(section(card, "Differences from the paper")),
        card=_sections(card),
        own=[path.stem for path in sorted(paper.folder.glob("pages/*.html"))],
    )


def _order(paper: Paper) -> list[str]:
    """Experiments as a reader wants them: the headline's first, identities alone last."""
    homes = {claim.id: claim.experiment for claim in paper.claims}
    first = dict.fromkeys(homes[name] for name in paper.headline)
    alone = {
        name
        for name, experiment in paper.experiments.items()
        if experiment.claims and all(claim.kind == "identity" for claim in experiment.claims)
    }
    middle = [name for name in paper.experiments if name not in first and name not in alone]
    return [*first, *middle, *(name for name in paper.experiments if name in alone - set(first))]


def _awaited(claim: Claim) -> str:
    return "people" if claim.kind == "judgement" else f"preset {deciding(claim)}"


def sentences(judged: Sequence[Judged]) -> list[str]:
    """What holds, what fails and why, what was not run: one sentence each."""
    scales = dict.fromkeys(at_scale(item.best.evidence.preset) for item in judged if item.best)
    counts = tally(judged)
    parts = []
    for group, title in (("trends", "trends of the paper"), ("beyond", "claims beyond it"),
                         ("identities", "identities"),
                         ("judged", "claims that people judge")):  # fmt: skip
        found = counts[group]  # type: ignore[index]
        if whole := sum(found.values()):
            parts.append(f"{found['holds']} of {whole} {title}")
    numbers = counts["numbers"]
    holds = f"{_listed(parts)} hold {_listed(list(scales)) or 'so far'}" if parts else ""
    if whole := sum(numbers.values()):
        number = f"of its {whole} numbers {decided(numbers) or 'none'} has been decided"
        holds = f"{holds}; {number}" if holds else number
    return [f"{_capital(holds)}.", _failing(judged), _not_run(judged)]


def _failing(judged: Sequence[Judged]) -> str:
    failing = [item for item in judged if item.outcome == "fails"]
    undecided = sum(item.outcome == "undecided" for item in judged)
    open_text = f" {undecided} {'are' if undecided != 1 else 'is'} undecided." if undecided else ""
    if not failing:
        return f"Nothing fails.{open_text}" if any(item.best for item in judged) else ""
    failing.sort(key=lambda item: not item.reason)
    item = failing[0]
    reason = f": {item.reason.rstrip('.')}" if item.reason else ""
    more = len(failing) - 1
    more_text = f" {more} more {'fail' if more != 1 else 'fails'}." if more else ""
    return f"“{item.claim.says.rstrip('.')}” fails{reason}.{more_text}{open_text}"


def _not_run(judged: Sequence[Judged]) -> str:
    waiting: dict[str, int] = {}
    for item in judged:
        if item.best is None:
            awaited = _awaited(item.claim)
            waiting[awaited] = waiting.get(awaited, 0) + 1
    if not waiting:
        return "Everything was run."
    total = sum(waiting.values())
    needs = _listed(
        [
            f"{amount} wait{'' if amount != 1 else 's'} for {awaited}"
            for awaited, amount in waiting.items()
        ]
    )
    return f"{total} {'were' if total != 1 else 'was'} not run: {needs}."


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _card(paper: Paper) -> str:
    """The card's text, without the results that the page itself shows."""
    path = paper.folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    start, end = text.find("<!-- results -->"), text.find("<!-- /results -->")
    return text[:start] + text[end + len("<!-- /results -->") :] if 0 <= start < end else text


def _sections(card: str) -> list[tuple[str, str]]:
    """The card's sections with their titles; what stands before the first one has none."""
    pieces = card.split("\n## ")
    found = []
    for place, piece in enumerate(pieces):
        title, _, text = piece.partition("\n")
        if place == 0:
            title, text = "", text if title.startswith("# ") else piece
        if text.strip():
            found.append((title.strip(), rendered(text.strip())))
    return found


def _section(
    sheet: Sheet, name: str, judged: Sequence[Judged], known: Strokes, shown: Judged | None
) -> Section:
    paper, experiment = sheet.paper, sheet.paper.experiments[name]
    claims = [item for item in judged if item.claim.experiment == name and item.best is not None]
    evidence = of_experiment(sheet.evidence, paper, name)
    drawings = _drawings(sheet, evidence[0], known, claims) if evidence else []
    trends = [item for item in claims if item.claim.kind != "identity"]
    if shown is not None and trends[:1] == [shown]:
        drawings = drawings[1:]  # It stands at the top of the page.
    found = run_figures(sheet.runs, paper, name) if sheet.runs is not None else {}
    return Section(
        name=name,
        experiment=experiment,
        claims=claims,
        strokes=known,
        arms=arm_names(evidence[0], experiment.arms) if evidence else [],
        beside=drawings[:BESIDE],
        more=drawings[BESIDE:],
        measured=[_measured(item, experiment, sheet.standings) for item in evidence],
        run_figures={str(preset): figures for preset, figures in found.items()},
    )


def _measured(evidence: Evidence, experiment: Experiment, standings: Standings) -> Measured:
    standing = standings.get(evidence.file_name, FRESH)
    results = arm_results(evidence, experiment.arms)
    reported = {name for result in results for name in result.metrics}
    return Measured(
        evidence=evidence,
        experiment=experiment,
        key=_key(evidence),
        stale=standing.reason if standing.state == "stale" else "",
        results=results,
        metrics={name: text for name, text in experiment.meanings.items() if name in reported},
    )


def _drawings(
    sheet: Sheet, evidence: Evidence, known: Strokes, claims: Iterable[Judged]
) -> list[Drawing]:
    """An experiment's figures, the claims' own first."""
    folder = folder_of(evidence, sheet.own)
    key = _key(evidence)
    trends = [item for item in claims if item.claim.kind != "identity"]

    def compute() -> list[Drawing]:
        drawn = read_curves(folder, evidence)
        pictures = {**series(evidence, drawn, known=known), **curves(evidence, drawn, known=known)}
        plotted = _dots(trends[0], sheet.paper, known) if trends else None
        found = [plotted] if plotted is not None else []
        for place, (name, figure) in enumerate(pictures.items()):
            label = f"{name}: {', '.join(arm_names(evidence))}"
            found.append((name, inline_svg(figure, prefix=f"{key}-{place}", label=label)))
        return found

    return _kept(sheet, evidence, f"figures-{evidence.paper}-{key}", compute)


def _key(evidence: Evidence) -> str:
    return slug(f"{evidence.experiment}-{evidence.preset}-{evidence.machine}")


def _kept(
    sheet: Sheet, evidence: Evidence, name: str, compute: Callable[[], list[Drawing]]
) -> list[Drawing]:
    """Drawings, remembered between commands where the evidence is a file."""
    path = folder_of(evidence, sheet.own) / evidence.file_name
    if not path.is_file():
        return compute()
    files = [path, curves_path(path), sheet.paper.folder / "paper.toml"]
    files += [*sheet.paper.folder.glob("experiments/*.toml"), *Path(__file__).parent.glob("*.py")]
    return [(caption, svg) for caption, svg in remembered(name, files, compute)]


def _decisive(item: Judged, sheet: Sheet, known: Strokes) -> Drawing | None:
    """The figure of the claim that a reader asks for first."""
    assert item.best is not None

    def compute() -> list[Drawing]:
        drawing = _dots(item, sheet.paper, known, prefix="first")
        return [drawing] if drawing else []

    name = f"first-{sheet.paper.name}-{item.claim.id}-{_key(item.best.evidence)}"
    kept = _kept(sheet, item.best.evidence, name, compute)
    verb = "is " if item.outcome == "undecided" else ""
    return (f"{item.claim.says} It {verb}{verdict_words(item)}.", kept[0][1]) if kept else None


def _dots(item: Judged, paper: Paper, known: Strokes, *, prefix: str = "dots") -> Drawing | None:
    assert item.best is not None
    content = dots_of(item.claim, item.best, paper.experiments[item.claim.experiment])
    if content is None:
        return None
    label = f"{content.label}: {', '.join(content.rows)}"
    name = f"{prefix}-{item.claim.id}"
    caption = content.label.partition(":")[0].replace("_", " ")
    return (
        f"{caption} by arm" if known.keys() & content.rows.keys() else caption,
        inline_svg(dots(content, known=known), prefix=name, label=label),
    )


def dots_of(claim: Claim, found: Found, experiment: Experiment) -> Dots | None:
    """What a claim compares, a value a seed: every arm's metric where it compares just one."""
    evidence = found.evidence
    arms = arm_names(evidence, experiment.arms)
    check = Check.parse(found.record.check or claim.check).over(arms)
    metrics = sorted({metric for _, metric in check.names})
    own = {arm for arm, _ in check.names}

    def seeds(arm: str, metric: str) -> list[float]:
        values = [run.metrics.get(metric) for run in finished(evidence, arm)]
        return [value for value in values if value is not None and math.isfinite(value)]

    if len(metrics) == 1:
        shown = arms if len(arms) <= MOST_ROWS else [arm for arm in arms if arm in own]
        rows = {arm: seeds(arm, metrics[0]) for arm in shown}
        label = f"{metrics[0]}: {experiment.meanings.get(metrics[0], '')}"
    else:
        rows = {f"{arm}.{metric}": seeds(arm, metric) for arm, metric in sorted(check.names)}
        own = set(rows)
        label = f"{', '.join(metrics)}"
    rows = {name: values for name, values in rows.items() if values}
    if not own & rows.keys():
        return None
    line = None
    for side in (check.left, check.right):
        try:
            line = float(side)
        except ValueError:
            continue
    simple = len(check.names) == 1 and f"{'.'.join(next(iter(check.names)))}" in (
        check.left,
        check.right,
    )
    return Dots(label[:76], rows, frozenset(own), line if simple else None)
