"""Sphinx: Markdown sources, the papers' cards as pages, the API from docstrings."""

import shutil
from pathlib import Path

from quire import __version__

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

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


def _pages() -> None:
    """A page for each paper and recipe: its card, then its public parts."""
    folder = HERE / "papers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = []
    found = [path for kind in ("papers", "recipes")
             for path in sorted((ROOT / "src/quire" / kind).glob("*/paper.toml"))]  # fmt: skip
    for path in found:
        name, package = path.parent.name, path.parent.parent.name
        names.append(name)
        card = (path.parent / "README.md").read_text(encoding="utf-8")
        api = f"\n\n## Reference\n\n```{{eval-rst}}\n.. automodule:: quire.{package}.{name}\n"
        api += "   :members:\n   :imported-members:\n```\n"
        (folder / f"{name}.md").write_text(card + api, encoding="utf-8")
    rows = "\n".join(names)
    (folder / "index.md").write_text(f"# Papers\n\n```{{toctree}}\n:maxdepth: 1\n\n{rows}\n```\n")


_pages()
