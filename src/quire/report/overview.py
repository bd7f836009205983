"""One row a paper, as `quire list` and the first page of the site show it; remembered."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.lab.errors import UserError
from quire.lab.memo import remembered, source_files
from quire.lab.papers import paper_folders

if TYPE_CHECKING:
    from quire.lab.papers import Paper
    from quire.report.model import Counts, Judged


@dataclass(frozen=True)
class Mark:
    """A claim in the matrix: its verdict in a word, and in words."""

    id: str
    says: str
    group: str
    outcome: str
    words: str
    stale: bool
    expected: bool


@dataclass(frozen=True)
class Row:
    """A paper with its claims counted by group and outcome."""

    name: str
    title: str
    family: str
    year: int
    summary: str
    module: str
    counts: "Counts"
    stale: int
    """Verdicts whose evidence is stale."""
    scales: tuple[str, ...]
    """Presets of the verdicts, the largest first."""
    marks: tuple[Mark, ...]

    @property
    def measured(self) -> bool:
        """Whether anything of it has been measured."""
        return bool(self.scales)


def rows(own: Path) -> tuple[list[Row], list[UserError]]:
    """A row a paper in the order of their names, recipes last, and the faults of broken papers.

    Follows from the sources, the papers' TOML, the committed evidence and one's own below `own`;
    worked out again when a file of these changed.
    """

    def compute() -> dict[str, Any]:
        found, faults = _computed(own)
        return {"rows": [asdict(row) for row in found], "faults": faults}

    kept = remembered("overview", chain(source_files(), _evidence_files(own)), compute)
    return [_row(table) for table in kept["rows"]], [UserError(text) for text in kept["faults"]]


def _evidence_files(own: Path) -> Iterator[Path]:
    from quire.lab.evidence import evidence_files

    yield from evidence_files()
    yield from evidence_files(own)
    yield from (folder / "paper.toml" for folder in paper_folders().values())


def _computed(own: Path) -> tuple[list[Row], list[str]]:
    from quire.lab.papers import readable_papers
    from quire.report.model import judge, known_evidence, known_standings

    papers, broken = readable_papers()
    found, faults = [], [str(error) for error in broken]
    for paper in papers:
        try:
            evidence = known_evidence(paper, own)
            found.append(row_of(paper, judge(paper, evidence, known_standings(paper, evidence))))
        except UserError as error:
            faults.append(str(error))
    return found, faults


def row_of(paper: "Paper", judged: "list[Judged]") -> Row:
    """The row of one paper."""
    from quire.lab.papers import PRESETS
    from quire.report.model import tally
    from quire.report.wording import verdict_words

    scales = {item.best.evidence.preset for item in judged if item.best is not None}
    return Row(
        name=paper.name,
        title=paper.title,
        family=paper.family,
        year=paper.year,
        summary=paper.summary,
        module=paper.module,
        counts=tally(judged),
        stale=sum(item.stale for item in judged),
        scales=tuple(preset for preset in reversed(PRESETS) if preset in scales),
        marks=tuple(
            Mark(
                id=item.claim.id,
                says=item.claim.says,
                group=item.group,
                outcome=item.outcome,
                words=verdict_words(item),
                stale=item.stale,
                expected=item.expected,
            )
            for item in judged
        ),
    )


def _row(table: dict[str, Any]) -> Row:
    marks = tuple(Mark(**mark) for mark in table["marks"])
    return Row(**table | {"scales": tuple(table["scales"]), "marks": marks})
