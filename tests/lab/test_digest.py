import shutil

import pytest

import quire.papers
from quire.lab import digest as module
from quire.lab import papers
from quire.lab.digest import code_digest

METHOD = '''
"""A method."""
from quire.data import batches
FACTOR = 2
def used(x):
    """Doc."""
    return helper(x) * FACTOR
def helper(x):
    return x + 1
def unused(x):
    return x
'''
FIRST = '''
"""An experiment."""
from quire.papers.mine.method import used
def first(config, run):
    return used(3)
'''
SECOND = '''
"""Another one."""
from quire.papers.mine import method
def second(config, run):
    return method.unused(4)
'''


TOML = """
summary = "s"
metrics = { m = "a metric" }
arms = { a = {} }
[presets.smoke]
[presets.laptop]
[presets.gpu]
[presets.paper]
[claims.NAME]
identity = "It is small."
source = "nowhere"
check = "a.m < 1"
"""
TITLE = """
title = "T"
authors = ["A"]
year = 2000
family = "f"
summary = "s"
"""


def forget():
    module.digest_of.cache_clear()
    module._module.cache_clear()
    module._text.cache_clear()
    papers._cached.cache_clear()


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """Writes a paper of two experiments and gives the digest of one of them."""
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path)])

    def of(experiment, method=METHOD, first=FIRST, second=SECOND, **others):
        folder = tmp_path / "mine"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "experiments").mkdir(parents=True)
        (folder / "paper.toml").write_text(TITLE)
        (folder / "__init__.py").write_text("")
        (folder / "method.py").write_text(method)
        for name, text in {"experiments/first": first, "experiments/second": second}.items():
            (folder / f"{name}.py").write_text(text)
            (folder / f"{name}.toml").write_text(TOML.replace("NAME", name[12:]))
        for name, text in others.items():
            (folder / f"{name}.py").write_text(text)
        forget()
        return code_digest("mine", experiment)

    yield of
    forget()


def test_comments_docstrings_and_layout_do_not_count(digest):
    changed = METHOD.replace('"""Doc."""', '"""Other words."""')
    changed = changed.replace("x + 1", "(x  +  1)  # why")
    assert digest("first") == digest("first", changed)


@pytest.mark.parametrize(("old", "new"), [("x + 1", "x + 2"), ("FACTOR = 2", "FACTOR = 3")])
def test_reached_code_counts(digest, old, new):
    assert digest("first") != digest("first", METHOD.replace(old, new))


def test_other_experiments_do_not_count(digest):
    changed = SECOND.replace("method.unused(4)", "method.unused(5)")
    assert digest("first") == digest("first", second=changed)
    assert digest("second") != digest("second", second=changed)


def test_modules_are_followed_by_attribute(digest):
    changed = METHOD.replace("return x\n", "return -x\n")
    assert digest("second") != digest("second", changed)
    assert digest("first") == digest("first", changed)


def test_moving_code_changes_nothing(digest):
    """A function goes to a module of its own, and is imported under another name."""
    moved = METHOD.replace("def helper(x):\n    return x + 1\n", "").replace(
        "FACTOR = 2", "from quire.papers.mine.elsewhere import helper as other\nFACTOR = 2"
    )
    moved = moved.replace("helper(x) *", "other(x) *")
    elsewhere = '"""Moved."""\ndef helper(x):\n    return x + 1\n'
    assert digest("first") == digest("first", moved, elsewhere=elsewhere)
    changed = elsewhere.replace("x + 1", "x + 2")
    assert digest("first") != digest("first", moved, elsewhere=changed)


def test_renaming_changes_nothing(digest):
    renamed = METHOD.replace("helper", "assistant").replace("FACTOR", "SCALE")
    assert digest("first") == digest("first", renamed)
    renamed = METHOD.replace("used", "applied")
    first = FIRST.replace("used", "applied")
    second = SECOND.replace("method.unused", "method.unapplied")
    assert digest("first") == digest("first", renamed, first=first)
    assert digest("second") == digest("second", renamed, second=second)


LOOP = """
import math
def first(config, run):
    total = 0.0
    for value in [v * 2 for v in range(3)]:
        with open("f") as file:
            total += math.sqrt(value) + len(file.read())
    return {"m": total, "n": (lambda x: x)(1)}
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("total", "whole", True),
        ("v * 2 for v in", "each * 2 for each in", True),
        ("import math\n", "from math import sqrt\n", True),
        ("lambda x: x", "lambda y: y", True),
        ("def first(config, run):", "def first(config, run):\n    import math", True),
        ("total += ", "total -= ", False),
        ("v * 2", "v * 3", False),
        ("math.sqrt", "math.exp", False),
        ('"m"', '"q"', False),
        ("config, run", "settings, run", False),  # a parameter's name is part of the call
    ],
)
def test_local_names_and_imports(digest, old, new, same):
    changed = LOOP.replace(old, new)
    if old.startswith("import math"):
        changed = changed.replace("math.sqrt", "sqrt")
    assert changed != LOOP
    assert (digest("first", first=LOOP) == digest("first", first=changed)) is same


def test_a_local_name_hides_a_definition(digest):
    first = (
        "def helper():\n    return 1\ndef first(config, run):\n    helper = 2\n    return helper\n"
    )
    changed = first.replace("return 1", "return 7")
    assert digest("first", first=first) == digest("first", first=changed)


def test_an_attribute_set_on_a_definition_leaves_it_as_it_is(digest):
    method = METHOD + "used.marked = True\nREST = {}\nREST[0], (SECOND, *_) = 1, (2, 3)\n"
    assert digest("first", method) == digest("first")
    assert digest("first", method) != digest("first", method.replace("x + 1", "x + 2"))
    first = FIRST.replace("used\n", "SECOND\n").replace("used(3)", "SECOND")
    changed = method.replace("(2, 3)", "(4, 3)")
    assert digest("first", method, first) != digest("first", changed, first)


def test_shared_packages_and_the_labs_own_functions_are_followed(digest, monkeypatch):
    first = "from quire import data\ndef first(c, r):\n    data.batches(1)\n"
    reached = reached_by(monkeypatch)
    digest("first", first=first)
    assert ("quire.data.batching", "batches") in reached
    first = "from quire.lab.training import update\nfrom quire.lab import Run\n"
    digest("first", first=first + "def first(c, r: Run):\n    update(1, 2, 3)\n")
    assert ("quire.lab.training", "update") in reached
    assert not any(module.startswith("quire.lab.run") for module, _ in reached)


def reached_by(monkeypatch):
    """Fills with the definitions that are written down."""
    found, write = set(), module._Writer.definition

    def watched(self, node):
        found.add((self.source.module, getattr(node, "name", "")))
        return write(self, node)

    monkeypatch.setattr(module._Writer, "definition", watched)
    return found
