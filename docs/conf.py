"""Sphinx: Markdown sources, the papers' cards as pages, the API from docstrings."""

import shutil
from pathlib import Path

from quire import __version__
from quire.lab.papers import find_paper, paper_names

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
    papers = [paper for paper in map(find_paper, paper_names()) if ROOT in paper.folder.parents]
    for paper in papers:
        card = (paper.folder / "README.md").read_text(encoding="utf-8")
        api = f"\n\n## Reference\n\n```{{eval-rst}}\n.. automodule:: {paper.module}\n"
        api += "   :members:\n   :imported-members:\n```\n"
        (folder / f"{paper.name}.md").write_text(card + api, encoding="utf-8")
    rows = "\n".join(paper.name for paper in papers)
    (folder / "index.md").write_text(f"# Papers\n\n```{{toctree}}\n:maxdepth: 1\n\n{rows}\n```\n")


_pages()
