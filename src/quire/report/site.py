"""A static site of papers and verdicts: files that open without a server, a network or scripts."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.lab.errors import RunError, UserError
from quire.lab.papers import Paper, readable_papers
from quire.report.facts import Facts, facts_of
from quire.report.figures import slug
from quire.report.model import ANSWERS, GROUPS, known_evidence, known_standings, sample
from quire.report.numbers import count, mean_and_std, number, seconds
from quire.report.overview import Row, rows
from quire.report.page import Page, Sheet, page_of
from quire.report.wording import (
    compared,
    found_words,
    interval_source,
    interval_words,
    outcome_words,
    seeds_words,
    verdict_words,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from quire.report.model import Spread
    from quire.report.run_figures import RunFigure

_TEMPLATES = Path(__file__).parent / "templates"


def build(out: Path, *, runs: Path, own: Path) -> tuple[Path, list[UserError]]:
    """Write the whole site to `out`; gives its first page and the faults of broken papers.

    The first page is the matrix of papers and verdicts; each paper has a page of its own. Figures
    that finished runs below `runs` left are shown, and evidence below `own` counts as well. What
    else stands in `out` is left alone. The same input gives the same bytes.

    Raises `RunError` with one line when a file cannot be written.
    """
    found, faults = rows(own)
    papers, _ = readable_papers()
    names = {row.name for row in found}
    sheets = [sheet_of(paper, runs, own) for paper in papers if paper.name in names]
    return write(out, found, sheets), faults


def refresh(out: Path, paper: Paper, *, runs: Path, own: Path) -> Path:
    """Write the page of `paper` and the first page anew; gives the page's path.

    Raises `RunError` with one line when a file cannot be written.
    """
    found, _ = rows(own)
    write(out, found, [sheet_of(paper, runs, own)])
    return out / "papers" / f"{paper.name}.html"


def sheet_of(paper: Paper, runs: Path, own: Path) -> Sheet:
    """The paper with all that is known of it."""
    evidence = known_evidence(paper, own)
    return Sheet(paper, evidence, known_standings(paper, evidence), own=own, runs=runs)


def write(out: Path, found: Sequence[Row], sheets: Sequence[Sheet]) -> Path:
    """Write the first page from `found` and a page for each of `sheets`; gives the first page."""
    templates = make_templates()
    try:
        (out / "papers").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_TEMPLATES / "style.css", out / "style.css")
        for sheet in sheets:
            page = page_of(sheet)
            _copy_figures(page, out)
            _put(out / f"papers/{page.paper.name}.html", templates, "paper.html", page=page)
            if page.card:
                _put(out / f"papers/{page.paper.name}-card.html", templates, "card.html", page=page)
            if page.own:
                _put_own(out, page, facts_of(sheet))
        written = [row for row in found if (out / "papers" / f"{row.name}.html").is_file()]
        _put(out / "index.html", templates, "index.html", rows=found, total=_total(found),
             written={row.name for row in written}, home="")  # fmt: skip
    except OSError as error:
        where = error.filename or out
        raise RunError(f"cannot write the report to {where}: {error.strerror}") from error
    return out / "index.html"


def _put(path: Path, templates: "Environment", name: str, **values: Any) -> None:
    text = templates.get_template(name).render(**{"home": "../"} | values)
    path.write_text(text, encoding="utf-8", newline="\n")


def _put_own(out: Path, page: Page, facts: dict[str, Facts]) -> None:
    """The pages that the paper brings itself, from what its experiments measured."""
    templates = make_templates(page.paper.folder / "pages")
    # Nothing in the JSON can end the script that it stands in.
    content = json.dumps({name: each.content for name, each in facts.items()})
    for name in page.own:
        path = out / f"papers/{page.paper.name}-{name}.html"
        _put(path, templates, f"{name}.html", paper=page.paper, facts=facts,
             content=content.replace("<", "\\u003c"))  # fmt: skip


def _total(found: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Claims of all papers by group and outcome."""
    return {
        group: {outcome: sum(row.counts[group][outcome] for row in found) for outcome in ANSWERS}
        for group in GROUPS
    }


def _copy_figures(page: Page, out: Path) -> None:
    for section in page.sections:
        for figures in section.run_figures.values():
            for figure in figures:
                path = out / _address(figure, page.paper.name, section.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(figure.path, path)


def _address(figure: "RunFigure", paper: str, experiment: str) -> str:
    """Where a run's figure stands in the site."""
    name = f"{slug(figure.name)}{figure.path.suffix}"
    return "/".join(["figures", paper, experiment, figure.preset, figure.arm, figure.run, name])


def make_templates(*folders: Path) -> "Environment":
    """The pages' templates, those in `folders` first, with what they say in words and numbers."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
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
        "drawn": Markup,
        "css": lambda outcome: outcome.replace(" ", "-"),
        "dashes": lambda stroke: " ".join(f"{2 * length:g}" for length in stroke.dashes),
    }
    environment.globals |= {
        "outcomes": ANSWERS,
        "groups": GROUPS,
        "count": count,
        "repository": _repository,
        "address": _address,
        "verdict_words": verdict_words,
        "found_words": found_words,
        "outcome_words": outcome_words,
        "compared": lambda item: compared(item.claim, item.best, limit=90),
        "interval_source": interval_source,
        "interval_words": interval_words,
        "sample": sample,
        "seeds_words": seeds_words,
    }
    return environment


def _minus(shown: Callable[[float | None], str]) -> Callable[[float | None], str]:
    """The same text with a real minus sign, as wide as a digit."""
    return lambda value: shown(value).replace("-", "\N{MINUS SIGN}")


def _spread(spread: "Spread | None") -> str:
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
