"""Sphinx: Markdown sources, the papers' cards as pages, the API from docstrings."""

import ast
import importlib
import inspect
import re
import shutil
import textwrap
from itertools import groupby
from pathlib import Path

from quire import __version__
from quire.lab.papers import Paper, find_paper, paper_names
from quire.report.parts import Part, public_parts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = HERE / "papers"
"""Written anew by every build: ``<paper>.md`` is its card, ``parts/<paper>.md`` its reference."""

project = "Quire"
author = "The Quire authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing", "myst.header"]
default_role = "code"  # docstrings write names in single backticks, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
html_theme = "furo"
html_title = "Quire"
exclude_patterns = ["_build", "refresh.py"]


def _write_pages() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "parts").mkdir(parents=True)
    papers = [paper for paper in map(find_paper, paper_names()) if ROOT in paper.folder.parents]
    for paper in papers:
        card = (paper.folder / "README.md").read_text(encoding="utf-8")
        (PAGES / f"{paper.name}.md").write_text(_link_parts(card, paper), encoding="utf-8")
        (PAGES / "parts" / f"{paper.name}.md").write_text(_reference(paper), encoding="utf-8")
    names = "\n".join(paper.name for paper in papers)
    rows = [f"- [{p.title}]({p.name}.md) ({p.year}, {p.family}): {p.summary}" for p in papers]
    index = ["# Papers", "", *rows, "", "```{toctree}", ":hidden:", "", names, "```", ""]
    (PAGES / "index.md").write_text("\n".join(index), encoding="utf-8")


def _link_parts(card: str, paper: Paper) -> str:
    """The card with a link from each name in its table of parts, and above it one to all."""
    known = {part.name for part in public_parts(paper)}

    def link(match: re.Match[str]) -> str:
        names = [name.strip() for name in match[1].split(",")]
        linked = [
            f"{{py:obj}}`{name} <{paper.module}.{name}>`" if name in known else f"`{name}`"
            for name in names
        ]
        return f"`from {paper.module} import` {', '.join(linked)}"

    card = re.sub(rf"`from {re.escape(paper.module)} import ([\w, ]+)`", link, card)
    said = f"## Parts\n\nEach is described in the [reference](parts/{paper.name}.md).\n"
    return re.sub(r"^## Parts\n", lambda _: said, card, count=1, flags=re.M)


def _reference(paper: Paper) -> str:
    """A paper's public parts in reading order, under the modules in which they stand."""
    package = importlib.import_module(paper.module)
    pieces = [
        f"# {paper.name}\n\n[{paper.title}](../{paper.name}.md): `from {paper.module} import …`\n"
    ]
    found = [(_home(package, part), part) for part in public_parts(paper)]
    places = {name: place for place, name in enumerate(paper.read)}

    def place(pair: tuple[str, Part]) -> tuple[int, str]:
        return places.get(pair[0].partition(".")[0], len(places)), pair[0]

    for home, group in groupby(sorted(found, key=place), key=lambda pair: pair[0]):
        pieces.append(f"## {home or 'More'}\n\n{_says(paper, home)}\n")
        rows = "\n".join(_directive(package, part) for _, part in group)
        pieces.append(f"```{{eval-rst}}\n{rows}```\n")
    return "\n".join(pieces)


def _home(package: object, part: Part) -> str:
    """The module below the paper's package where a part is defined: ``training.session``."""
    module = part.module
    try:
        module = getattr(getattr(package, part.name), "__module__", module)
    except ImportError:  # its extra is not installed
        pass
    name = str(getattr(package, "__name__", ""))
    return module.removeprefix(name).lstrip(".") if module.startswith(name) else ""


def _says(paper: Paper, home: str) -> str:
    """The first paragraph of what a module says of itself."""
    path = paper.folder.joinpath(*home.split(".")).with_suffix(".py")
    if not home or not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0]


def _directive(package: object, part: Part) -> str:
    name = f"{getattr(package, '__name__', '')}.{part.name}"
    try:
        value = getattr(package, part.name)
    except ImportError as error:
        return f".. py:data:: {name}\n\n{textwrap.indent(f'{part.says} ({error})', '   ')}\n"
    if inspect.isclass(value):
        return f".. autoclass:: {name}\n   :members:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n"
    return f".. py:data:: {name}\n\n{textwrap.indent(part.says, '   ')}\n"


_write_pages()
