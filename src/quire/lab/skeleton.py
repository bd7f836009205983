"""`quire new`: a paper's skeleton, or one more experiment's, which runs as it is.

Every blank is written ``<fill: …>``; the contract tests name those that are left.
"""

from importlib import resources
from pathlib import Path

from quire.lab.errors import UserError
from quire.lab.files import write_atomically
from quire.lab.papers import find_paper, is_folder_name, paper_folders

PAPER = {
    "paper.toml": "src/quire/papers/{name}/paper.toml",
    "method.py.txt": "src/quire/papers/{name}/method.py",
    "init.py.txt": "src/quire/papers/{name}/__init__.py",
    "card.md": "src/quire/papers/{name}/README.md",
    "experiments.py.txt": "src/quire/papers/{name}/experiments/__init__.py",
    "experiment.toml": "src/quire/papers/{name}/experiments/{experiment}.toml",
    "experiment.py.txt": "src/quire/papers/{name}/experiments/{experiment}.py",
    "test.py.txt": "tests/papers/{name}/test_method.py",
    "race.py.txt": "benchmarks/{name}.py",
}
EXPERIMENT = {
    "experiment.toml": "{experiment}.toml",
    "experiment.py.txt": "{experiment}.py",
}
FIRST = "line"
"""The experiment that a new paper begins with."""


def write_skeleton(target: str, root: Path) -> list[Path]:
    """Write the skeleton of a paper into the checkout at `root`, or, for ``paper/experiment``, a
    pair of files into that paper's folder; gives the files.

    Raises `UserError` for a name that is no module's name, one that is taken, or a root that is
    not a checkout. Writes nothing over an existing file.
    """
    name, slash, experiment = target.partition("/")
    for part in (name, experiment) if slash else (name,):
        if not is_folder_name(part):
            raise UserError(f"'{part}' is no name for this: lower-case letters, digits and "
                            "underscores, no word of Python's")  # fmt: skip
    if slash:
        return _write(EXPERIMENT, find_paper(name).folder / "experiments", name, experiment)
    if name in paper_folders():
        raise UserError(f"there is a paper called '{name}' already")
    if not (root / "src" / "quire" / "papers").is_dir():
        raise UserError(f"{root.resolve()} is no checkout of quire: it has no src/quire/papers")
    return _write(PAPER, root, name, FIRST)


def _write(places: dict[str, str], root: Path, name: str, experiment: str) -> list[Path]:
    texts = resources.files("quire.lab") / "templates"
    words = {
        "{{name}}": name,
        "{{experiment}}": experiment,
        "{{Config}}": "".join(part.capitalize() for part in experiment.split("_")),
        # A claim's name is unique in its paper.
        "{{claim}}": "method-beats-baseline"
        + ("" if experiment == FIRST else f"-{experiment}").replace("_", "-"),
    }
    files = {}
    for template, place in places.items():
        text = (texts / template).read_text(encoding="utf-8")
        for blank, word in words.items():
            text = text.replace(blank, word)
        files[root / place.format(name=name, experiment=experiment)] = text
    taken = [path for path in files if path.exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already; nothing was written")
    for path, text in files.items():
        write_atomically(path, text.encode())
    return list(files)
