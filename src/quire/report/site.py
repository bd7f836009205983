"""A static site of papers and verdicts: files that open without a server, a network or scripts."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.lab.errors import RunError
from quire.lab.evidence import Evidence
from quire.lab.papers import Experiment, Paper
from quire.report.figures import Strokes, curves, series, slug, strokes
from quire.report.model import (
    OUTCOMES,
    ArmResult,
    Judged,
    Outcome,
    Spread,
    Stale,
    arm_names,
    arm_results,
    command,
    judge,
    never_stale,
    of_experiment,
    tally,
)
from quire.report.numbers import count, mean_and_std, number, seconds
from quire.report.run_figures import RunFigure, run_figures
from quire.report.svg import inline_svg

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_HERE = Path(__file__).parent
Digest = Callable[[str, str], str]


@dataclass(frozen=True)
class Row:
    """A paper in the matrix."""

    paper: Paper
    claims: list[Judged]
    counts: dict[Outcome, int]
    measured: bool


@dataclass(frozen=True)
class Measured:
    """One evidence file as a page shows it; figures are pairs of caption and SVG."""

    evidence: Evidence
    experiment: Experiment
    key: str
    stale: bool
    results: list[ArmResult]
    metrics: dict[str, str]
    figures: list[tuple[str, "Markup"]]

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return command(self.evidence.paper, self.evidence.experiment, self.evidence.preset)

    @property
    def seeds(self) -> int:
        """How many seeds were run."""
        return len({run.seed for run in self.evidence.runs})

    def settings(self, arm: str) -> dict[str, str]:
        """What `arm` was run with, where it differs from the config's defaults."""
        if arm not in self.experiment.arms:
            return {}
        changed = self.experiment.settings(self.evidence.preset, arm)
        config = next((run.config for run in self.evidence.runs if run.arm == arm), {})
        return {key: _setting(config.get(key, value)) for key, value in changed.items()}


@dataclass(frozen=True)
class Section:
    """An experiment on its paper's page."""

    name: str
    experiment: Experiment
    strokes: Strokes
    measured: list[Measured]
    run_figures: dict[str, list[tuple[RunFigure, str]]]
    command: str


def build(
    out: Path,
    *,
    papers: Sequence[Paper],
    evidence: Sequence[Evidence],
    runs: Path | None = None,
    digest: Digest | None = None,
) -> Path:
    """Write the site to `out` and return its first page, ``index.html``.

    The first page is the matrix of papers and verdicts; each paper has a page of its own. With
    `runs` (a runs directory) the figures of finished runs are copied and shown. `digest` gives
    the present digest of a paper's experiment; evidence with another one is marked as older than
    the code. What else stands in `out` is left alone. The same input gives the same bytes.

    Raises `RunError` with one line when a file cannot be written.
    """
    templates = _templates()
    stale = _staleness(papers, digest)
    rows = [_row(paper, evidence, stale) for paper in papers]
    pages = {"index.html": templates.get_template("index.html").render(**_matrix(rows))}
    try:
        for row in rows:
            sections = [
                _section(row.paper, name, evidence, stale, runs=runs, out=out)
                for name in row.paper.experiments
            ]
            pages[f"papers/{row.paper.name}.html"] = templates.get_template("paper.html").render(
                row=row, paper=row.paper, sections=sections, home="../"
            )
        (out / "papers").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_HERE / "templates" / "style.css", out / "style.css")
        for name, page in pages.items():
            (out / name).write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        where = error.filename or out
        raise RunError(f"cannot write the report to {where}: {error.strerror}") from error
    return out / "index.html"


def _matrix(rows: Sequence[Row]) -> dict[str, Any]:
    judged = [item for row in rows for item in row.claims]
    as_expected = sum(item.outcome == "fails" and item.expected for item in judged)
    return {"rows": rows, "totals": tally(judged), "as_expected": as_expected, "home": ""}


def _staleness(papers: Sequence[Paper], digest: Digest | None) -> Stale:
    """Whether evidence is older than the code; asks for each experiment's digest once."""
    if digest is None:
        return never_stale
    known = {(paper.name, name) for paper in papers for name in paper.experiments}
    present: dict[tuple[str, str], str] = {}

    def stale(evidence: Evidence) -> bool:
        key = (evidence.paper, evidence.experiment)
        if key in known and key not in present:
            present[key] = digest(*key)
        return present.get(key) != evidence.code

    return stale


def _row(paper: Paper, evidence: Iterable[Evidence], stale: Stale) -> Row:
    own = [item for item in evidence if item.paper == paper.name]
    claims = judge(paper, own, stale)
    return Row(paper, claims, tally(claims), measured=bool(own))


def _section(
    paper: Paper, name: str, evidence: Iterable[Evidence], stale: Stale, *,
    runs: Path | None, out: Path,
) -> Section:  # fmt: skip
    experiment = paper.experiments[name]
    evidence = [item for item in evidence if item.paper == paper.name]
    groups = [list(each.arms) for each in paper.experiments.values()]
    groups += [arm_names(item) for item in evidence]
    known = strokes(groups)
    found = run_figures(runs, paper, name) if runs is not None else {}
    measured = [
        _measured(item, experiment, known, stale) for item in of_experiment(evidence, paper, name)
    ]
    return Section(
        name=name,
        experiment=experiment,
        strokes=known,
        measured=measured,
        run_figures={
            preset: [(figure, _copy(figure, paper, name, out)) for figure in figures]
            for preset, figures in found.items()
        },
        command=command(paper.name, name, "laptop"),
    )


def _measured(evidence: Evidence, experiment: Experiment, known: Strokes, stale: Stale) -> Measured:
    from markupsafe import Markup

    key = slug(f"{evidence.experiment}-{evidence.preset}-{evidence.machine}")
    results = arm_results(evidence, experiment.arms)
    figures = []
    for kind, drawn in (
        ("against step", curves(evidence, known=known, titled=False)),
        ("", series(evidence, known=known, titled=False)),
    ):
        for place, (name, figure) in enumerate(drawn.items()):
            caption = f"{name} {kind}".strip()
            label = f"{caption}: {', '.join(arm_names(evidence, experiment.arms))}"
            prefix = f"{key}-{'curve' if kind else 'series'}{place}"
            figures.append((caption, Markup(inline_svg(figure, prefix=prefix, label=label))))
    reported = {name for result in results for name in result.metrics}
    metrics = {name: text for name, text in experiment.metrics.items() if name in reported}
    return Measured(evidence, experiment, key, stale(evidence), results, metrics, figures)


def _copy(figure: RunFigure, paper: Paper, experiment: str, out: Path) -> str:
    """Copy a run's figure into the site; returns its address as seen from the paper's page."""
    parts = ["figures", paper.name, experiment, figure.preset, figure.arm, figure.run]
    folder = out.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{slug(figure.name)}{figure.path.suffix}"
    shutil.copyfile(figure.path, folder / name)
    return "/".join(["..", *parts, name])


def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _minus(number),
        "seconds": seconds,
        "spread": _spread,
        "prose": _prose,
        "setting": _setting,
        "css": lambda outcome: outcome.replace(" ", "-"),
        "dashes": lambda stroke: " ".join(f"{2 * length:g}" for length in stroke.dashes),
    }
    environment.globals |= {
        "outcomes": OUTCOMES,
        "count": count,
        "repository": _repository,
        "verb": lambda outcome, amount: outcome.removesuffix("s") if amount != 1 else outcome,
    }
    return environment


def _minus(shown: Callable[[float | None], str]) -> Callable[[float | None], str]:
    """The same text with a real minus sign, as wide as a digit."""
    return lambda value: shown(value).replace("-", "\N{MINUS SIGN}")


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return mean_and_std(spread.mean, spread.std).replace("-", "\N{MINUS SIGN}")


def _prose(text: str) -> "Markup":
    """Text in which `backticks` become code, and nothing else becomes anything."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _setting(value: Any) -> str:
    """A value of a config or of an environment as it would stand in a file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _repository(address: str) -> str | None:
    """The address of a repository: GitHub's for ``owner/name``, None for what is not a link."""
    if re.match(r"https?://", address):
        return address
    return f"https://github.com/{address}" if re.fullmatch(r"[\w.-]+/[\w.-]+", address) else None
