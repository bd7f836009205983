"""Sphinx: Markdown sources, the papers' cards as pages, the API from docstrings."""

import ast
import importlib
import inspect
import re
import shutil
import textwrap
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from quire import __version__
from quire.lab.papers import Paper, find_paper, paper_names
from quire.report.parts import Part, public_parts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = HERE / "papers"
"""Written anew by every build: ``<paper>.md`` is its card, ``parts/<paper>.md`` its reference,
``rows.inc`` the list that the first page includes."""

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
autodoc_preserve_defaults = True  # as in the source: nn.ReLU and not <class 'torch.nn…'>
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
    index = [
        "# Papers",
        "",
        _rows(papers, ""),
        "",
        "```{toctree}",
        ":hidden:",
        "",
        names,
        "```",
        "",
    ]
    (PAGES / "index.md").write_text("\n".join(index), encoding="utf-8")
    (PAGES / "rows.inc").write_text(_rows(papers, "papers/"), encoding="utf-8")


def _rows(papers: list[Paper], folder: str) -> str:
    """A sentence a paper, with a link to its page below `folder`."""
    rows = [f"- [{p.title}]({folder}{p.name}.md) ({p.year}): {p.summary}" for p in papers]
    return "\n".join(rows)


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
        f"# {paper.module}\n\nThe parts of [{paper.title}](../{paper.name}.md), in reading order.\n"
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
    package_name = str(getattr(package, "__name__", ""))
    module = part.module
    with suppress(ImportError):  # its extra is not installed
        value = getattr(package, part.name)
        own = value.__name__ if inspect.ismodule(value) else str(getattr(value, "__module__", ""))
        module = own if own.startswith(package_name) else module  # an alias is typing's
    return module.removeprefix(package_name).lstrip(".")


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
    if inspect.ismodule(value):
        public = ", ".join(getattr(package, "__all__", ()))
        return f".. automodule:: {value.__name__}\n   :members:\n   :exclude-members: {public}\n"
    if inspect.isclass(value):
        return f".. autoclass:: {name}\n   :members:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n"
    text = repr(value)
    says = part.says or (f"``{text}``" if len(text) <= 100 else f"A {type(value).__name__}.")
    return f".. py:data:: {name}\n\n{textwrap.indent(says, '   ')}\n"


def _mark_up(app: Any, what: str, name: str, item: object, options: Any, lines: list[str]) -> None:
    """What docstrings write plainly, as reStructuredText: indented code, and stars in shapes."""
    for number, line in enumerate(lines):
        gap, code = (*lines[number + 1 : number + 3], "", "")[:2]
        if line.endswith(":") and not gap.strip() and _indent(code) >= _indent(line) + 4:
            line = line.rstrip(":") + "::"
        lines[number] = re.sub(r"(?<![\w*`])\*(?=\w+\))", r"\\*", line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _mark_up, priority=400)  # before napoleon reads them


_write_pages()
