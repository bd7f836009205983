import shutil

import pytest

import quire.papers
from quire.lab import digest as module
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
EXPERIMENTS = '''
"""Experiments."""
from quire.papers.mine import method
from quire.papers.mine.method import used
def first(config, run):
    return used(3)
def second(config, run):
    return method.unused(4)
'''


@pytest.fixture
def digest(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "paper.toml").write_text("")
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path)])

    def of(experiment, method=METHOD, experiments=EXPERIMENTS):
        (folder / "method.py").write_text(method)
        (folder / "experiments.py").write_text(experiments)
        module.digest_of.cache_clear()
        module._module.cache_clear()
        return code_digest("mine", experiment)

    yield of
    module.digest_of.cache_clear()
    module._module.cache_clear()
    shutil.rmtree(tmp_path)


def test_comments_docstrings_and_layout_do_not_count(digest):
    changed = METHOD.replace('"""Doc."""', '"""Other words."""')
    changed = changed.replace("x + 1", "(x  +  1)  # why")
    assert digest("first") == digest("first", changed)


@pytest.mark.parametrize(("old", "new"), [("x + 1", "x + 2"), ("FACTOR = 2", "FACTOR = 3")])
def test_reached_code_counts(digest, old, new):
    assert digest("first") != digest("first", METHOD.replace(old, new))


def test_other_experiments_do_not_count(digest):
    changed = EXPERIMENTS.replace("method.unused(4)", "method.unused(5)")
    assert digest("first") == digest("first", experiments=changed)
    assert digest("second") != digest("second", experiments=changed)


def test_modules_are_followed_by_attribute(digest):
    changed = METHOD.replace("return x\n", "return -x\n")
    assert digest("second") != digest("second", changed)
    assert digest("first") == digest("first", changed)


def test_shared_packages_are_followed(digest, monkeypatch):
    experiments = EXPERIMENTS + "from quire import data\ndef third(c, r):\n    data.batches(1)\n"
    before = digest("third", experiments=experiments)
    dump = module._dump
    monkeypatch.setattr(
        module, "_dump", lambda n: dump(n) + ("?" if getattr(n, "name", "") == "batches" else "")
    )
    assert digest("third", experiments=experiments) != before
