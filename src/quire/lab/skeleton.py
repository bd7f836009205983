"""`quire new`: a paper's skeleton, which runs as it is and says what is still to fill in.

Every blank is written ``<fill: …>``; the contract tests name those that are left.
"""

import re
from importlib import resources
from pathlib import Path

from quire.lab.errors import UserError
from quire.lab.files import write_atomically
from quire.lab.papers import paper_folders

PLACES = {
    "paper.toml": "src/quire/papers/{name}/paper.toml",
    "method.py.txt": "src/quire/papers/{name}/method.py",
    "experiments.py.txt": "src/quire/papers/{name}/experiments.py",
    "init.py.txt": "src/quire/papers/{name}/__init__.py",
    "card.md": "src/quire/papers/{name}/README.md",
    "test.py.txt": "tests/papers/{name}/test_method.py",
    "race.py.txt": "benchmarks/{name}.py",
}


def write_skeleton(name: str, root: Path) -> list[Path]:
    """Write the skeleton of paper `name` into the checkout at `root`; gives the files.

    Raises `UserError` for a name that is no folder name, one that is taken, or a root that is not
    a checkout. Writes nothing over an existing file.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"'{name}' is no paper name: lower-case letters, digits, underscores")
    if name in paper_folders():
        raise UserError(f"there is a paper called '{name}' already")
    if not (root / "src" / "quire" / "papers").is_dir():
        raise UserError(f"{root.resolve()} is no checkout of quire: it has no src/quire/papers")
    texts = resources.files("quire.lab") / "templates"
    files = {}
    for template, place in PLACES.items():
        text = (texts / template).read_text(encoding="utf-8")
        files[root / place.format(name=name)] = text.replace("{{name}}", name)
    taken = [path for path in files if path.exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already; nothing was written")
    for path, text in files.items():
        write_atomically(path, text.encode())
    return list(files)
