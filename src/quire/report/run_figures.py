"""The figures that finished runs have left in their folders."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from quire.lab.papers import Paper, Preset

_FORMATS = (".svg", ".png")  # In the order of preference where a figure stands in both.


@dataclass(frozen=True)
class RunFigure:
    """A figure of one run: where it stands, and what it shows."""

    path: Path
    preset: str
    arm: str
    run: str
    seed: int

    @property
    def name(self) -> str:
        """The figure's name."""
        return self.path.stem


def run_figures(runs: Path, paper: Paper, experiment: str) -> dict[Preset, list[RunFigure]]:
    """Figures of the finished runs of `experiment` under `runs`, by preset.

    In the order of figure, arm and seed, so that the same figure of two arms stands side by side.
    """
    arms = list(paper.experiments[experiment].arms)
    found: dict[Preset, list[RunFigure]] = {}
    for preset in paper.experiments[experiment].presets:
        figures = []
        for arm in arms:
            for folder in sorted((runs / paper.name / experiment / preset / arm).glob("seed*-*")):
                seed = re.match(r"seed(\d+)-", folder.name)
                if seed is None or not (folder / "result.json").is_file():
                    continue
                figures += [
                    RunFigure(path, preset, arm, folder.name, int(seed.group(1)))
                    for path in _preferred((folder / "figures").glob("*"))
                ]
        if figures:
            figures.sort(key=lambda item: (item.name, arms.index(item.arm), item.seed, item.run))
            found[preset] = figures
    return found


def _preferred(paths: Iterable[Path]) -> list[Path]:
    """One path a figure: the SVG where there is one, else the PNG."""
    best: dict[str, Path] = {}
    for path in sorted(paths):
        if path.suffix in _FORMATS:
            other = best.get(path.stem)
            if other is None or _FORMATS.index(path.suffix) < _FORMATS.index(other.suffix):
                best[path.stem] = path
    return list(best.values())
