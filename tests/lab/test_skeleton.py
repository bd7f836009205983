"""`quire new demo`, its blanks filled: a paper that passes the contract tests and its own."""

import os
import re
import subprocess
import sys

import pytest

from quire.lab.errors import UserError
from quire.lab.papers import read_paper
from quire.lab.skeleton import write_skeleton
from quire.report.tables import results_markdown


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "src" / "quire" / "papers").mkdir(parents=True)
    return tmp_path


def fill(checkout):
    """What an author does, in a hurry."""
    folder = checkout / "src" / "quire" / "papers" / "demo"
    files = [path for path in folder.rglob("*") if path.suffix in {".py", ".md", ".toml"}]
    for path in [*files, checkout / "benchmarks" / "demo.py"]:
        text = path.read_text()
        text = re.sub(r"<fill: what `quire show[^>]*>", "BIBTEX", text)
        path.write_text(re.sub(r"<fill: ([^>]*)>", r"\1", text))
    card = folder / "README.md"
    paper = read_paper(folder)
    text = card.read_text().replace("BIBTEX", paper.bibtex)
    text = text.replace("<!-- results -->\n", f"<!-- results -->\n{results_markdown(paper, [])}\n")
    assert paper.code is not None
    text += f"\n{paper.code.repository} {paper.code.licence}\n"
    card.write_text(text)


def run(checkout, *words):
    environment = os.environ | {
        "QUIRE_PAPERS": str(checkout / "src" / "quire" / "papers"),
        "QUIRE_EVIDENCE": str(checkout / "evidence"),
    }
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )


def test_the_skeleton_runs_as_it_is_and_names_what_is_left(checkout, root, tmp_path):
    files = write_skeleton("demo", checkout)
    assert all(path.is_file() for path in files)
    assert all("{{" not in path.read_text() for path in files)
    for words in (["show", "demo"], ["list"], ["run", "demo/line:method", "--preset", "smoke"]):
        runs = [] if words[0] != "run" else ["--runs", str(tmp_path / "runs")]
        found = run(checkout, "-m", "quire", *words, *runs)
        assert found.returncode == 0, found.stderr
        assert "demo" in found.stdout
    contract = ["-m", "pytest", "-q", str(root / "tests" / "contract" / "test_papers.py"), "-k",
                "demo and fill", "-p", "no:cacheprovider"]  # fmt: skip
    found = run(checkout, *contract)
    assert found.returncode != 0
    assert "<fill: " in found.stdout


@pytest.mark.slow
def test_filled_in_it_passes_the_contract_and_verifies(checkout, root, tmp_path):
    write_skeleton("demo", checkout)
    second = run(checkout, "-m", "quire", "new", "demo/curve_two")  # a pair of files, nothing else
    assert second.returncode == 0, second.stderr
    assert len(second.stdout.splitlines()) == 2
    fill(checkout)
    tests = root / "tests"
    found = run(
        checkout, "-m", "pytest", "-q", str(tests / "contract" / "test_papers.py"),
        str(tests / "contract" / "test_parts.py"), "-k", "demo", "-p", "no:cacheprovider",
    )  # fmt: skip
    assert found.returncode == 0, found.stdout
    assert int(re.search(r"(\d+) passed", found.stdout)[1]) >= 10
    own = run(checkout, "-m", "pytest", "-q", str(checkout / "tests"), "-p", "no:cacheprovider",
              "--rootdir", str(checkout), "-c", os.devnull)  # fmt: skip
    assert own.returncode == 0, own.stdout
    runs = str(tmp_path / "runs")
    verified = run(checkout, "-m", "quire", "verify", "demo", "--runs", runs, "--workers", "1")
    assert verified.returncode == 0, verified.stderr
    assert "method-beats-baseline" in verified.stdout
    assert "holds at laptop" in verified.stdout
    raced = run(checkout, "-m", "quire", "bench", "demo", "--folder", str(checkout / "benchmarks"))
    assert raced.returncode == 0, raced.stderr


@pytest.mark.parametrize(
    "name", ["class", "Demo", "2d", "a-b", "", "a b", "resnet", "resnet/import"]
)
def test_a_bad_name_is_one_line(checkout, name):
    with pytest.raises(UserError) as caught:
        write_skeleton(name, checkout)
    assert "\n" not in str(caught.value)
    assert not list((checkout / "src" / "quire" / "papers").iterdir())


def test_nothing_is_overwritten(checkout):
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "demo.py").write_text("mine")
    with pytest.raises(UserError, match=r"demo\.py exists already; nothing was written"):
        write_skeleton("demo", checkout)
    assert not (checkout / "src" / "quire" / "papers" / "demo").exists()
