"""The command line as a user meets it: exit codes, one clear line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quire.papers
from quire.cli import COMMANDS, main

TOYS = Path(__file__).parent / "lab" / "papers"


@pytest.fixture(autouse=True)
def _toys(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIRE_PAPERS", str(TOYS))
    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
    monkeypatch.delenv("QUIRE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_overview_names_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_list_and_show(capsys):
    assert main(["list"]) == 0
    assert "toy" in capsys.readouterr().out
    assert main(["list", "--family", "test"]) == 0
    assert main(["show", "toy"]) == 0
    out = capsys.readouterr().out
    assert "momentum-helps" in out
    assert main(["show", "toy", "--bibtex"]) == 0
    assert capsys.readouterr().out.startswith("@article{nobody2000,")


def test_list_imports_no_torch():
    code = (
        "import sys; from quire.cli import main; code = main(['list']);"
        "heavy = {'torch', 'scipy', 'matplotlib', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_run_prints_metrics_and_folder(capsys):
    assert main(["run", "toy/line:method", "--preset", "smoke"]) == 0
    out = capsys.readouterr().out
    assert "toy/line:method seed 0: error" in out
    assert main(["run", "toy/line:method", "--preset", "smoke"]) == 0
    assert "(already run)" in capsys.readouterr().out
    assert main(["run", "toy/line", "--preset", "smoke", "--steps", "3"]) == 0
    assert "smoke-custom" in capsys.readouterr().out


def test_run_help_lists_the_config(capsys):
    assert main(["run", "toy/line:method", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--momentum" in out
    assert "Momentum of SGD." in out


def test_a_run_that_diverges_exits_with_1(capsys):
    assert main(["run", "toy/line:diverges"]) == 1
    assert "loss became nan at step 5" in capsys.readouterr().out


def test_verify_prints_verdicts_and_a_report(capsys):
    assert main(["verify", "toy/line", "--preset", "smoke", "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert "fails unexpectedly: weights-differ" in out
    report = out.split("Report: ")[1].strip()
    assert Path(report).is_file()
    assert list(Path("runs/evidence/toy").glob("line--smoke--*.json"))
    assert list(Path("runs/evidence/toy").glob("line--smoke--*.curves.json"))


def test_ones_own_results_are_shown(capsys):
    """After `verify`, `show`, `why` and `list` know what was found here."""
    assert main(["verify", "toy/line", "--preset", "smoke", "--workers", "1"]) == 1
    capsys.readouterr()
    assert main(["show", "toy", "--all"]) == 0
    assert "fails at smoke" in capsys.readouterr().out
    assert main(["why", "toy/weights-differ"]) == 0
    out = capsys.readouterr().out
    assert "fails at smoke scale" in out
    assert "method.weight == baseline.weight" in out


def test_verify_of_what_lacks_its_data_exits_with_3(capsys):
    assert main(["verify", "toy/starved", "--data", "nowhere"]) == 3
    assert "mnist is not here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        (["vrify", "toy"], 2, "unknown command 'vrify': did you mean 'verify'"),
        (["show", "toi"], 2, "unknown paper 'toi': did you mean 'toy'"),
        (["run", "toi/line"], 2, "unknown paper 'toi': did you mean 'toy'"),
        (["run", "toy/lin"], 2, "unknown experiment of toy 'lin': did you mean 'line'"),
        (["run", "toy/line:metod"], 2, "did you mean 'method'"),
        (["run", "toy"], 2, "name an experiment of toy: line, pupil, stages, starved"),
        (["run", "toy/line", "--preset", "desk"], 2, "unknown preset 'desk'"),
        (["run", "toy/line", "--steps", "0"], 2, "steps: Input should be greater than 0 (got 0)"),
        (["run", "toy/line", "--steps", "many"], 2, "--steps"),
        (["run", "toy/line", "--stepz", "3"], 2, "--steps"),
        (["run", "toy/line:method", "--fresh", "true"], 2, "a flag takes no value, got 'true'"),
        (["run", "toy/line:method", "--dropout", "7"], 2, "dropout probability has to be between"),
        (["run", "toy/line:method", "--device", "cuda:77"], 2, "device 'cuda:77' cannot be used"),
        (["run", "toy/starved:method", "--data", "nowhere"], 3, "mnist"),
        (["verify", "toy/line:method"], 2, "a claim compares arms"),
        (["verify", "toy/line", "--preset", "desk"], 2, "desk"),
        (["verify", "toy/line", "--seeds", "1,1"], 2, "--seeds must be distinct, got 1,1"),
        (["verify", "toy/line", "--seeds", "99999999999999999999"], 2, "--seeds takes a number"),
        (["verify", "toy/line", "--workers", "0"], 2, "--workers takes a positive number, got 0"),
        (["verify", "toy/line", "--pset", "smoke"], 2, "unknown option '--pset'"),
        (["run", "toy/line:method", "--seed", "-1"], 2, "a seed is a number from 0 to 4294967295"),
        (["run", "toy/line:method", "--seed", "4294967296"], 2, "a seed is a number from 0"),
        (["run", "toy/line:method", "--momentum", "inf"], 2, "momentum: Input should be a finite"),
        (["run", "toy/line:method", "--threads", "-2"], 2, "--threads takes a positive number"),
        (["run", "toy/line:method", "--device", "meta"], 2, "device 'meta' computes nothing"),
        (["rate"], 2, "name a claim that people judge: "),
        (["rate", "toy"], 2, "no claim of toy is judged by people"),
        (["rate", "toy/momentum-helps"], 2, "is decided by runs, not by people: quire verify toy"),
        (["rate", "seen/people-see-lite"], 2, "did you mean 'people-see-light'"),
        (["rate", "seen/people-see-light"], 3, "has finished at laptop: quire verify seen/squares"),
        (["rate", "seen/people-see-light", "--add", "x.json"], 2, "--add takes the claim from its"),
        (["rate", "--add", "none.json"], 2, "none.json is not evidence: No such file"),
        (["why", "toy"], 2, "name a claim: "),
        (["why", "toy/momentum-help"], 2, "did you mean 'momentum-helps'"),
        (["evidence", "carry", "toi"], 2, "did you mean 'toy'"),
        (["new", "class"], 2, "'class' is no name for this"),
        (["verify", "toy/line", "--seeds", "0"], 2, "--seeds takes a number from 1 to 1000"),
        (["list", "--family", "tests"], 2, "unknown family 'tests': did you mean 'test'"),
        (["data", "get"], 2, "name a dataset to get"),
        (["data", "get", "mnits"], 2, "unknown dataset 'mnits': did you mean 'mnist'"),
        (["bench"], 2, "no folder benchmarks"),
        (["new", "Bad-Name"], 2, "'Bad-Name' is no name for this"),
        (["new", "toy"], 2, "there is a paper called 'toy' already"),
        (["new", "mine"], 2, "is no checkout of quire"),
    ],
)
def test_bad_input_is_one_clear_line(words, code, fault, capsys):
    assert main(words) == code
    captured = capsys.readouterr()
    message = captured.err + captured.out
    assert fault in message
    assert "Traceback" not in message
    if captured.err.startswith("quire: "):
        assert captured.err.count("\n") == 1


def test_a_malformed_paper_names_file_and_key(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "more" / "broken"
    folder.mkdir(parents=True)
    text = (TOYS / "toy" / "paper.toml").read_text().replace("title ", "titel ", 1)
    (folder / "paper.toml").write_text(text)
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path / "more")])
    assert main(["show", "broken"]) == 2
    assert capsys.readouterr().err.startswith("quire: broken/paper.toml: ")


def test_data_list(capsys, tmp_path):
    assert main(["data", "list", "--root", str(tmp_path)]) == 0
    assert "cifar10" in capsys.readouterr().out
    assert main(["data", "check", "mnist", "--root", str(tmp_path)]) == 3


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "toy" in out


def test_bench_reports_no_time_on_a_red_gate(tmp_path, capsys):
    folder = tmp_path / "races"
    folder.mkdir()
    (folder / "green.py").write_text(
        "from quire.lab.bench import race\n"
        "def main():\n"
        "    t = race({'ours': lambda: sum(range(100)), 'peer': lambda: sum(range(9000))},\n"
        "             repeats=2, warmup=0)\n"
        "    return {'races': [dict(name='sum', unit='calls/s', parity=True, goal=2.0,\n"
        "        ours=t['ours'].rate(1), peer=t['peer'].rate(1),\n"
        "        ratio=t['peer'].median / t['ours'].median)]}\n"
    )
    (folder / "red.py").write_text(
        "def main():\n    return {'races': [dict(name='sum', unit='calls/s', parity=False)]}\n"
    )
    (folder / "alone.py").write_text("import a_peer_that_is_not_here\n")
    assert main(["bench", "green", "--folder", str(folder)]) == 0
    assert "reached" in capsys.readouterr().out
    assert list((folder / "results").glob("green--*.json"))
    assert main(["bench", "red", "--folder", str(folder)]) == 1
    assert "no time" in capsys.readouterr().out
    assert main(["bench", "alone", "--folder", str(folder)]) == 3
    assert "needs a_peer_that_is_not_here" in capsys.readouterr().err
    assert main(["bench", "--folder", str(folder)]) == 1  # a missing peer does not stop the others
    captured = capsys.readouterr()
    assert "reached" in captured.out
    assert "needs a_peer_that_is_not_here" in captured.err
    assert main(["bench", "gren", "--folder", str(folder)]) == 2


def test_a_broken_paper_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "more" / "broken"
    folder.mkdir(parents=True)
    (folder / "paper.toml").write_text("title = 7")
    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(folder.parent)])
    for words in (["list"], ["show", "toy"], ["doctor"], ["evidence", "check", "toy"]):
        assert main(words) == 0, words
        assert "toy" in capsys.readouterr().out or words[0] == "evidence"
    assert main(["list"]) == 0
    assert "left out: broken/paper.toml" in capsys.readouterr().err
    assert main(["verify", "toy/line", "--preset", "smoke", "--workers", "1"]) == 1


def test_a_terminal_without_our_signs(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "QUIRE_PAPERS": str(TOYS)}
    command = [sys.executable, "-m", "quire", "list"]
    found = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("variable", ["QUIRE_DATA", "QUIRE_RUNS", "QUIRE_EVIDENCE"])
def test_a_variable_that_names_a_file_is_one_line(tmp_path, variable):
    (tmp_path / "file").write_text("no folder")
    environment = os.environ | {variable: str(tmp_path / "file"), "QUIRE_PAPERS": str(TOYS)}
    for words in (["data", "list"], ["list"], ["run", "toy/line:method", "--preset", "smoke"]):
        command = [sys.executable, "-m", "quire", *words]
        found = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert found.returncode in (0, 1, 2, 3), found.stderr
        assert "Traceback" not in found.stderr, found.stderr


def test_help_and_version(capsys):
    for words in (["help"], ["version"], ["--version"], ["--help"]):
        assert main(words) == 0
        assert capsys.readouterr().out
