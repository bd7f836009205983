"""The command line: parses, calls, prints. The work is done in `quire.lab` and `quire.report`."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from quire.lab.errors import MissingError, UserError, unknown

RUNS = Path(os.environ.get("QUIRE_RUNS", "runs"))
TargetText = Annotated[str, arg(metavar="PAPER[/EXPERIMENT[:ARM]]")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code.

    0 done · 1 a claim failed or a run stopped · 2 bad usage · 3 data or an extra missing ·
    130 interrupted, resumable.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from quire import __version__

        print(__version__)
        return 0
    try:
        if words[0] not in COMMANDS:
            raise unknown("command", words[0], COMMANDS)
        return COMMANDS[words[0]](words[1:])
    except UserError as error:
        print(f"quire: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("quire: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; give Python nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # tyro's own usage errors and --help
        return stop.code if isinstance(stop.code, int) else 2


def list_papers(
    family: str | None = None,
    markdown: bool = False,
) -> None:
    """List the papers with how many of their claims hold, fail, are undecided or not run.

    Args:
        family: Only papers of this family (vision, reasoning, …).
        markdown: Print a Markdown table.
    """
    from quire.lab.evidence import all_evidence
    from quire.lab.papers import find_paper, paper_names
    from quire.report import console

    papers = [find_paper(name) for name in paper_names()]
    if family:
        families = {paper.family for paper in papers}
        if family not in families:
            raise unknown("family", family, families)
        papers = [paper for paper in papers if paper.family == family]
    console.print_papers(papers, all_evidence(), markdown=markdown)


def show(paper: Positional[str], bibtex: bool = False) -> None:
    """Show a paper's card: parts, experiments, arms, presets, claims and verdicts.

    Args:
        paper: Name of the paper.
        bibtex: Print its BibTeX entry alone.
    """
    from quire.lab.evidence import all_evidence
    from quire.lab.papers import find_paper
    from quire.report import console

    found = find_paper(paper)
    if bibtex:
        print(found.bibtex)
    else:
        console.print_card(found, all_evidence())


def run(words: list[str]) -> int:
    """Run one arm of an experiment, or all of them, one after the other."""
    from quire.lab.execute import execute
    from quire.lab.job import Target, jobs_for
    from quire.lab.progress import for_terminal, numbers

    if not words or words[0].startswith("-"):
        print(RUN_HELP)
        return 0 if {"-h", "--help"} & set(words) else 2
    target = Target.parse(words[0])
    if len(target.experiments) > 1:
        raise UserError(f"name an experiment of {target.paper.name}: "
                        f"{', '.join(target.experiments)}")  # fmt: skip
    words = words[1:]
    preset, seed, options, jobs = _parse_run(target, words)
    chosen = jobs_for(target, preset, [seed], options=options)
    code, leads = 0, os.environ.get("RANK", "0") == "0"  # torchrun's other processes are silent
    for job, overrides in zip(chosen, jobs, strict=True):
        job = replace(job, overrides=overrides)
        outcome = execute(job, for_terminal(job.label) if leads else None)
        if leads:
            note = " (already run)" if outcome.status == "cached" else ""
            print(f"{job.label}{note}: {outcome.reason or numbers(outcome.metrics)}")
            print(f"  {outcome.directory}")
        code = max(code, int(outcome.status == "failed"))
    return code


def verify(
    target: Positional[TargetText],
    preset: Literal["smoke", "laptop", "gpu", "paper"] = "laptop",
    seeds: int | None = None,
    on: Literal["local", "ray"] = "local",
    workers: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    runs: Path = RUNS,
    evidence: Path | None = None,
    fresh: bool = False,
) -> int:
    """Run what is missing, decide the claims, print the verdicts. Exit code 1 if a claim fails
    that was expected to hold.

    Args:
        target: A paper, or one experiment of it.
        preset: Size of the runs.
        seeds: How many seeds; the preset's own number by default.
        on: Where: processes here, or a Ray cluster (RAY_ADDRESS, else a local one).
        workers: Local processes at once; as many as cores (or GPUs) by default.
        device: auto, cpu, cuda, cuda:1.
        data: Root of the datasets; QUIRE_DATA by default.
        runs: Folder for runs.
        evidence: Folder for the evidence file; runs/evidence by default.
        fresh: Run again what has finished.
    """
    from quire.lab.execute import data_root
    from quire.lab.job import Options, Target, check_preset
    from quire.lab.launch import run_local, run_ray
    from quire.lab.verify import verify as verify_target
    from quire.report import console

    if seeds is not None and seeds < 1:
        raise UserError(f"--seeds takes a positive number, got {seeds}")
    if workers is not None and workers < 1:
        raise UserError(f"--workers takes a positive number, got {workers}")
    root = data.expanduser().resolve() if data else data_root()
    options = Options(runs=runs, data=root, device=device, fresh=fresh)
    with console.Board() as board:

        def launch(jobs: Any) -> Any:
            board.begin(jobs)
            if on == "ray":
                return run_ray(jobs, report=board.report)
            return run_local(jobs, workers=workers, report=board.report, watch=board.watch)

        found = verify_target(
            Target.parse(target), check_preset(preset), launch=launch, seeds=seeds, options=options
        )
    folder = evidence or runs / "evidence"
    for item in found:
        if item.evidence:
            item.evidence.write(folder)
    console.print_verified(found, preset)
    if any(item.evidence for item in found):
        print(f"Report: {_build_site(runs / 'report', runs, folder)}")
    if any(item.surprises or item.crashed for item in found):
        return 1
    if any(item.evidence is None for item in found):
        return 3 if all(item.evidence is None for item in found) else 0
    return 0


def report(
    out: Path = Path("site"),
    runs: Path = RUNS,
    open: bool = False,
) -> None:
    """Write the static site: a matrix of papers and verdicts, then a page a paper.

    Args:
        out: Folder for the site.
        runs: Folder of the runs whose figures and evidence are shown with the committed evidence.
        open: Open it in the browser.
    """
    index = _build_site(out, runs, runs / "evidence")
    print(index)
    if open:
        import webbrowser

        webbrowser.open(index.resolve().as_uri())


def data(
    action: Positional[Literal["list", "get", "check"]],
    name: Positional[str | None] = None,
    root: Path | None = None,
) -> int:
    """List datasets, get one, or check its files against their checksums.

    Args:
        action: What to do.
        name: Name of the dataset (for get and check; check without it takes all).
        root: Root of the datasets; QUIRE_DATA, else the user's cache, by default.
    """
    from quire.data import catalogue, store
    from quire.report import console

    if name is not None and name not in catalogue.DATASETS:
        raise unknown("dataset", name, catalogue.DATASETS)
    if action == "get" and name is None:
        raise UserError(f"name a dataset to get: {', '.join(sorted(catalogue.DATASETS))}")
    try:
        if action == "get":
            got = store.get(str(name), root)
            print(f"{got.name}: {got.where or ''} {got.detail}")
            return 0 if got.present else 3
        names = [name] if name else sorted(catalogue.DATASETS)
        look = store.check if action == "check" else store.status
        rows = [look(item, root) for item in names]
    except store.DataMissing as error:
        raise MissingError(str(error)) from None
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from None
    console.print_data(rows)
    if action == "check" and any(row.checksum_ok is False for row in rows):
        return 1
    return 3 if name and not rows[0].present else 0


def bench(name: Positional[str | None] = None, folder: Path = Path("benchmarks")) -> int:
    """Race against installed peers; a race whose parity test fails reports no time.

    Args:
        name: A paper; all that have a race by default.
        folder: Where the race scripts stand (in a checkout).
    """
    from quire.lab.bench import run_script, scripts
    from quire.report import console

    found = scripts(folder)
    if name is not None and name not in found:
        raise unknown("race", name, found)
    red = False
    for key in [name] if name else sorted(found):
        result = run_script(found[key])
        console.print_races(key, result)
        red = red or any(race.get("parity") is False for race in result["races"])
    return int(red)


def new(name: Positional[str], root: Path = Path(".")) -> None:
    """Write the skeleton of a paper: its folder, its tests, its race.

    Args:
        name: Name of the paper's folder: lower-case letters, digits and underscores.
        root: The checkout to write into.
    """
    from quire.lab.skeleton import write_skeleton

    for path in write_skeleton(name, root):
        print(path)


def doctor() -> None:
    """Say what this machine can run: versions, devices, extras, datasets, papers."""
    from quire.report import console

    console.print_doctor()


def _build_site(out: Path, runs: Path, own: Path) -> Path:
    """The site of all papers, from committed evidence and this machine's own."""
    from quire.lab.digest import code_digest
    from quire.lab.evidence import all_evidence
    from quire.lab.papers import find_paper, paper_names
    from quire.report import build

    evidence = {item.file_name: item for item in [*all_evidence(), *all_evidence(own)]}
    papers = [find_paper(name) for name in paper_names()]
    return build(
        out, papers=papers, evidence=list(evidence.values()), runs=runs, digest=code_digest
    )


def _parse_run(target: Any, words: list[str]) -> tuple[Any, int, Any, list[dict[str, Any]]]:
    """Preset, seed, options and each arm's overrides, from the words after the target."""
    from quire.lab.execute import data_root
    from quire.lab.job import Options, check_preset, load_experiment

    preset = check_preset(_value_of("--preset", words) or "laptop")
    experiment = target.paper.experiments[target.experiments[0]]
    arms = (target.arm,) if target.arm else experiment.arms_at(preset)
    _, config_class = load_experiment(target.paper.name, target.experiments[0])
    overrides, chosen = [], None
    for arm in arms:
        default = config_class.build(experiment.settings(preset, arm))
        parser = _run_parser(config_class, default, preset)
        try:
            chosen, config = tyro.cli(
                parser, args=words, prog=f"quire run {target.paper.name}/{target.experiments[0]}"
                + (f":{target.arm}" if target.arm else ""),
            )  # fmt: skip
        except ValueError as error:  # pydantic's own errors are ValueErrors too
            from pydantic import ValidationError

            from quire.lab.papers import first_fault

            raise UserError(
                first_fault(error) if isinstance(error, ValidationError) else str(error)
            ) from None
        before, after = default.model_dump(), config.model_dump()
        overrides.append({key: value for key, value in after.items() if value != before[key]})
    assert chosen is not None
    root = chosen["data"].expanduser().resolve() if chosen["data"] else data_root()
    options = Options(
        runs=chosen["runs"], data=root, device=chosen["device"], threads=chosen["threads"],
        checkpoint_seconds=chosen["checkpoint_seconds"], tensorboard=chosen["tensorboard"],
        fresh=chosen["fresh"],
    )  # fmt: skip
    return preset, chosen["seed"], options, overrides


def _run_parser(config_class: type[Any], default: Any, preset: str) -> Callable[..., Any]:
    """A function whose signature tyro reads: the run's own options, then the config's fields."""

    def parsed(
        config: Any = default,
        preset: Literal["smoke", "laptop", "gpu", "paper"] = preset,  # type: ignore[assignment]
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        data: Path | None = None,
        runs: Path = RUNS,
        checkpoint_seconds: float = 15.0,
        tensorboard: bool = False,
        fresh: bool = False,
    ) -> tuple[dict[str, Any], Any]:
        """Run it. What differs from the preset makes a run of its own, which is never evidence.

        Args:
            config: The experiment's config at this preset.
            preset: Size of the run.
            seed: Seed of the run.
            device: auto, cpu, cuda, cuda:1.
            threads: Torch threads; torch's own choice by default.
            data: Root of the datasets; QUIRE_DATA by default.
            runs: Folder for runs.
            checkpoint_seconds: Seconds between two checkpoints.
            tensorboard: Also write TensorBoard events.
            fresh: Run again what has finished.
        """
        return {
            "seed": seed, "device": device, "threads": threads, "data": data, "runs": runs,
            "checkpoint_seconds": checkpoint_seconds, "tensorboard": tensorboard, "fresh": fresh,
        }, config  # fmt: skip

    parsed.__annotations__["config"] = Annotated[config_class, arg(name="")]  # type: ignore[valid-type]
    return parsed


def _value_of(option: str, words: list[str]) -> str | None:
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(option + "="):
            return word.split("=", 1)[1]
    return None


def _by_signature(name: str, function: Callable[..., Any]) -> Callable[[list[str]], int]:
    def call(words: list[str]) -> int:
        code = tyro.cli(function, args=words, prog=f"quire {name}")
        return code if isinstance(code, int) else 0

    call.__doc__ = function.__doc__
    return call


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "list": _by_signature("list", list_papers),
    "show": _by_signature("show", show),
    "run": run,
    "verify": _by_signature("verify", verify),
    "report": _by_signature("report", report),
    "data": _by_signature("data", data),
    "bench": _by_signature("bench", bench),
    "new": _by_signature("new", new),
    "doctor": _by_signature("doctor", doctor),
}

RUN_HELP = """usage: quire run PAPER/EXPERIMENT[:ARM] [--preset P] [--seed N] [OPTIONS]

Run one arm of an experiment, or all of them. `quire show PAPER` names experiments and arms;
`quire run PAPER/EXPERIMENT --help` lists that experiment's options with their units."""


def _overview() -> str:
    rows = []
    for name, function in COMMANDS.items():
        summary = (function.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        rows.append(f"  {name:8} {summary}")
    return "\n".join([
        "usage: quire COMMAND [ARGUMENTS]   (quire COMMAND --help tells more)", "", *rows,
    ])  # fmt: skip


__all__ = ["main"]
