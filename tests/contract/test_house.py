"""The rules of the house: imports go one way, files stay small, pages stay true."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

from contract.parts import skip_without_extra
from quire.lab.evidence import all_evidence
from quire.lab.papers import find_paper, paper_names
from quire.report.tables import papers_markdown

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "quire"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (
                names
                if node.module in ("quire", "quire.papers", "quire.recipes")
                else [node.module]
            )


def allowed(importer, imported):
    """Whether `importer` may import `imported`, both module names of quire."""
    parts, target = importer.split("."), imported.split(".")
    if len(parts) == 1 or len(target) == 1 or imported.startswith("quire.__"):
        return True
    room, to = parts[1], target[1]
    if room == "papers" and len(parts) > 2:
        own = to == "papers" and len(target) > 2 and target[2] == parts[2]
        is_experiments = len(parts) > 3 and parts[3].startswith("experiments")
        return own or to in ("nn", "data") or (to == "lab" and is_experiments)
    arrows = {
        "nn": {"nn"},
        "data": {"data"},
        # The bare packages papers and recipes, whose paths hold the folders.
        "lab": {"lab", "data", "papers", "recipes"},
        "report": {"report", "lab", "data"},
        "recipes": {"recipes", "papers", "nn", "data", "lab"},
        "papers": {"papers"},
        "cli": {"cli", "report", "lab", "data"},
        "__main__": {"cli"},
    }
    if room == "lab" and to in ("papers", "recipes"):
        return len(target) == 2
    return to in arrows[room]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_one_way(path):
    wrong = [
        name for name in imports(path)
        if name.startswith("quire") and not allowed(module_name(path), name)
    ]  # fmt: skip
    assert not wrong, f"{module_name(path)} may not import {wrong[0]}"


def test_files_and_functions_stay_small():
    over = []
    for path, tree in TREES.items():
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > 500:
            over.append(f"{path.relative_to(ROOT)}: {lines} lines (500)")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                a = node.args
                names = [x.arg for x in a.posonlyargs + a.args + a.kwonlyargs]
                count = len([name for name in names if name not in ("self", "cls")])
                where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                if length > 100:
                    over.append(f"{where}: {length} lines (100)")
                if count > 10:
                    over.append(f"{where}: {count} parameters (10)")
    assert not over, "\n".join(over)


def test_everything_is_typed_in_public():
    untyped = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.returns is None
    ]
    assert not untyped, "\n".join(untyped)


@pytest.mark.parametrize(
    "path", [p for p in FILES if ">>> " in p.read_text(encoding="utf-8")], ids=module_name
)
def test_examples_in_docstrings(path):
    options = {"optionflags": doctest.ELLIPSIS, "raise_on_error": True}
    try:
        module = importlib.import_module(module_name(path))
        failed, tried = doctest.testmod(module, extraglobs={"torch": torch}, **options)
    except ImportError as error:
        skip_without_extra(error)
    except doctest.UnexpectedException as error:
        skip_without_extra(error.exc_info[1])
    assert tried
    assert not failed


def fenced(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_the_readme_lists_every_paper_as_it_stands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- papers -->\n(.*?)<!-- /papers -->", readme, re.S)
    assert block
    own = [find_paper(n) for n in paper_names() if SOURCE in find_paper(n).folder.parents]
    fresh = papers_markdown(own, all_evidence(ROOT / "evidence"))
    assert block[1].strip() == fresh.strip(), "run `python docs/refresh.py` and commit"


def test_the_readme_and_ci_run_the_same_tests():
    blocks = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "sh")
    assert len(blocks) >= 2
    command = blocks[1].strip().splitlines()[-1]
    assert "pytest" in command
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_evidence_belongs_to_papers_that_are_here():
    for item in all_evidence(ROOT / "evidence"):
        paper = find_paper(item.paper)
        assert item.experiment in paper.experiments
        known = {claim.id for claim in paper.claims}
        assert {claim.id for claim in item.claims} <= known, item.file_name
