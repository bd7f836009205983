"""The rules of the house: imports go one way, files stay small, pages stay true."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

from contract.parts import PACKAGES, public, skip_without_extra
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
        is_experiments = len(parts) > 3 and parts[3] == "experiments"
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


def public_functions():
    """Every public function and method of Quire, with where it stands."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path, node


@pytest.mark.parametrize("package", [*PACKAGES, "quire.lab.training", "quire.lab.measure"])
def test_many_parameters_are_listed_one_a_line(package):
    """One dialect: `Args:` where a public part takes more than three parameters."""
    silent = []
    for name, part in public(package) if package in PACKAGES else functions_of(package):
        if not (inspect.isfunction(part) or (inspect.isclass(part) and part.__doc__)):
            continue
        if dataclasses.is_dataclass(part) or is_named_tuple(part):
            continue  # its fields have docstrings of their own
        parameters = inspect.signature(part).parameters
        if len(parameters) > 3 and "Args:" not in (part.__doc__ or ""):
            silent.append(f"{package}.{name}({', '.join(parameters)})")
    assert not silent, "no `Args:`\n" + "\n".join(silent)


def functions_of(module):
    found = vars(importlib.import_module(module))
    return [
        (name, part)
        for name, part in found.items()
        if inspect.isfunction(part) and part.__module__ == module and name[0] != "_"
    ]


def is_named_tuple(part):
    return inspect.isclass(part) and issubclass(part, tuple)


WORDS = {
    "lr": "learning_rate", "n_layers": "layers", "num_layers": "layers", "n_heads": "heads",
    "num_heads": "heads", "d_model": "dim", "seq_len": "length", "iterations": "steps",
    "num_steps": "steps", "rng": "generator",
}  # fmt: skip
"""One idea, one word: in configs and in the parameters of public functions."""


def test_one_vocabulary():
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}({name}): say {WORDS[name]}"
        for path, node in public_functions()
        if "papers" in path.parts or "nn" in path.parts or "recipes" in path.parts
        for name in [x.arg for x in (*node.args.args, *node.args.kwonlyargs)]
        if name in WORDS
    ]
    for name in paper_names():
        for path in (find_paper(name).folder / "experiments").glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    fields = [c.target.id for c in node.body if isinstance(c, ast.AnnAssign)]
                    wrong += [
                        f"{path.name} {node.name}.{field}: say {WORDS[field]}"
                        for field in fields
                        if field in WORDS
                    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", paper_names())
def test_an_experiment_is_one_place(name):
    """Configs are final, with at most one shared base; nothing is re-exported."""
    folder = find_paper(name).folder / "experiments"
    init = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert len(init.body) == 1, "experiments/__init__.py is one docstring"
    assert ast.get_docstring(init)
    bases = {}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets
                 if isinstance(t, ast.Name)]  # fmt: skip
        assert "__all__" not in names, f"{path.name}: experiments export nothing"
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [getattr(base, "id", "") for base in node.bases]
    for owner, direct in bases.items():
        for base in direct:
            further = [b for b in bases.get(base, []) if b not in ("Config", "Group", "")]
            is_config = owner in configs_of(bases)
            assert not (is_config and further), f"{owner} < {base} < {further}: at most one base"


def configs_of(bases):
    found = {"Config"}
    while more := {n for n, direct in bases.items() if set(direct) & found} - found:
        found |= more
    return found
