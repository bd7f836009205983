"""The command line: parses, calls, prints. The work is done in `quire.lab` and `quire.report`."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from quire.lab.errors import MissingError, UserError, unknown

RUNS = Path(os.environ.get("QUIRE_RUNS", "runs"))
PaperText = Annotated[str, arg(metavar="PAPER")]
ExperimentText = Annotated[str, arg(metavar="PAPER[/EXPERIMENT]")]
Number = Annotated[int | None, arg(metavar="N")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code.

    0 done · 1 a claim failed or a run stopped · 2 bad usage · 3 data or an extra missing ·
    130 interrupted, resumable.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a terminal that lacks a sign shows a question mark
            stream.reconfigure(errors="replace")
    try:
        return _command(words)
    except UserError as error:
        # One line, whatever control characters a mistyped word brought along.
        print(f"quire: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("quire: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; give Python nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename or ''}: {error.strerror or error}"
        print(f"quire: {' '.join(what.split())}", file=sys.stderr)
        return 2


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("--version", "version"):
        from quire import __version__

        print(__version__)
        return 0
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    return COMMANDS[words[0]](words[1:])


def list_papers(
    family: Annotated[str | None, arg(metavar="NAME")] = None,
    markdown: bool = False,
    runs: Folder = None,
) -> None:
    """List the papers with what holds, fails, is undecided or not run, and at which scale.

    Args:
        family: Only papers of this family (vision, reasoning, …).
        markdown: Print a Markdown table.
        runs: Folder of your own runs, whose verdicts count as well; QUIRE_RUNS or runs by default.
    """
    from quire.report import console, overview

    rows, faults = overview.rows(own=(runs or RUNS) / "evidence")
    if family:
        families = {row.family for row in rows}
        if family not in families:
            raise unknown("family", family, families)
        rows = [row for row in rows if row.family == family]
    console.print_papers(rows, markdown=markdown)
    _say_faults(faults)


def show(
    paper: Positional[PaperText],
    all: bool = False,
    bibtex: bool = False,
    runs: Folder = None,
) -> None:
    """Show a paper's card: parts, experiments, arms, claims and verdicts.

    Args:
        paper: Name of the paper.
        all: Every claim, not only those of the headline.
        bibtex: Print its BibTeX entry alone.
        runs: Folder of your own runs, whose verdicts count as well; QUIRE_RUNS or runs by default.
    """
    from quire.lab.papers import find_paper
    from quire.report import console
    from quire.report.model import known_evidence

    found = find_paper(paper)
    if bibtex:
        print(found.bibtex)
    else:
        evidence = known_evidence(found, own=(runs or RUNS) / "evidence")
        console.print_card(found, evidence, whole=all)


def why(claim: Positional[Annotated[str, arg(metavar="PAPER/CLAIM")]], runs: Folder = None) -> None:
    """Show a claim's whole chain: sentence, source, check, seeds, both sides, runs, machine, code.

    Args:
        claim: The paper and the claim.
        runs: Folder of your own runs, whose verdicts count as well; QUIRE_RUNS or runs by default.
    """
    from quire.lab.papers import find_paper
    from quire.report import console
    from quire.report.model import known_evidence

    name, _, wanted = claim.partition("/")
    paper = find_paper(name)
    if not wanted:
        raise UserError(f"name a claim: {', '.join(c.id for c in paper.claims)}")
    evidence = known_evidence(paper, own=(runs or RUNS) / "evidence")
    console.print_chain(paper, paper.find_claim(wanted), evidence)


def run(words: list[str]) -> int:
    """Run one arm of an experiment, or all of them, one after the other."""
    from quire.lab.execute import execute
    from quire.lab.job import Target, jobs_for
    from quire.lab.parsing import parse_run
    from quire.lab.progress import for_terminal, numbers

    if not words or words[0].startswith("-"):
        print(RUN_HELP)
        return 0 if {"-h", "--help"} & set(words) else 2
    target = Target.parse(words[0])
    if len(target.experiments) > 1:
        raise UserError(f"name an experiment of {target.paper.name}: "
                        f"{', '.join(target.experiments)}")  # fmt: skip
    try:
        preset, seed, options, overrides = parse_run(target, words[1:], RUNS)
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
    chosen = jobs_for(target, preset, [seed], options=options)
    code, leads = 0, os.environ.get("RANK", "0") == "0"  # torchrun's other processes are silent
    for job, changed in zip(chosen, overrides, strict=True):
        job = replace(job, overrides=changed)
        outcome = execute(job, for_terminal(job.label) if leads else None)
        if leads:
            note = " (already run)" if outcome.status == "cached" else ""
            print(f"{job.label}{note}: {outcome.reason or numbers(outcome.metrics)}")
            print(f"  {outcome.directory}")
        code = max(code, int(outcome.status == "failed"))
    return code


def verify(
    target: Positional[ExperimentText],
    preset: Literal["smoke", "laptop", "gpu", "paper"] = "laptop",
    seeds: Annotated[str | None, arg(metavar="N|A,B,…")] = None,
    on: Literal["local", "ray"] = "local",
    workers: Number = None,
    device: str = "auto",
    data: Folder = None,
    runs: Path = RUNS,
    evidence: Folder = None,
    fresh: bool = False,
) -> int:
    """Run what is missing, decide the claims, print the verdicts. Exit code 1 if a claim fails
    that was expected to hold, or the other way round.

    Args:
        target: A paper, or one experiment of it.
        preset: Size of the runs.
        seeds: How many seeds, or which; the preset's own number by default.
        on: Where: processes here, or a Ray cluster (RAY_ADDRESS, else a local one).
        workers: Local processes at once; as many as cores (or GPUs) by default.
        device: auto, cpu, cuda, cuda:1.
        data: Root of the datasets; QUIRE_DATA by default.
        runs: Folder for runs.
        evidence: Folder for the evidence files; runs/evidence by default.
        fresh: Run again what has finished.
    """
    from quire.lab.execute import data_root
    from quire.lab.job import Options, Target, check_preset
    from quire.lab.launch import run_local, run_ray
    from quire.lab.parsing import parse_seeds
    from quire.lab.verify import verify as verify_target
    from quire.report import console
    from quire.report.site import refresh

    if workers is not None and workers < 1:
        raise UserError(f"--workers takes a positive number, got {workers}")
    chosen = parse_seeds(seeds)
    root = data.expanduser().resolve() if data else data_root()
    options = Options(runs=runs, data=root, device=device, fresh=fresh)
    with console.Board() as board:

        def launch(jobs: Any) -> Any:
            board.begin(jobs)
            if on == "ray":
                return run_ray(jobs, report=board.report)
            return run_local(jobs, workers=workers, report=board.report, watch=board.watch)

        found = verify_target(
            Target.parse(target), check_preset(preset), launch=launch, seeds=chosen, options=options
        )
    folder = evidence or runs / "evidence"
    for item in found:
        if item.evidence:
            item.evidence.write(folder, item.curves)
    console.print_verified(found, preset)
    if any(item.evidence for item in found):
        print(f"Report: {refresh(runs / 'report', found[0].paper, runs=runs, own=folder)}")
    if any(item.surprises or item.crashed for item in found):
        return 1
    return 3 if found and all(item.evidence is None for item in found) else 0


def rate(
    claim: Positional[Annotated[str | None, arg(metavar="PAPER[/CLAIM]")]] = None,
    preset: Literal["smoke", "laptop", "gpu", "paper"] = "laptop",
    add: Annotated[Path | None, arg(metavar="FILE")] = None,
    out: Annotated[Path | None, arg(metavar="FILE")] = None,
    seed: int = 0,
    device: str = "auto",
    data: Folder = None,
    runs: Path = RUNS,
    evidence: Folder = None,
) -> None:
    """Write a page on which people judge a claim, blind; or add the ratings that it saved.

    Args:
        claim: A paper's claim that people judge; the paper alone where it has one such claim.
        preset: The runs whose pictures are shown.
        add: Add the ratings in this file, which a page saved, to the evidence.
        out: Where to write the page; rate-DIGEST.html by default, which names no claim.
        seed: Decides which pairs are shown, in which order and on which side.
        device: The device of the runs.
        data: Root of the datasets; QUIRE_DATA by default.
        runs: Folder of the runs.
        evidence: Folder for the evidence files; runs/evidence by default.
    """
    from quire.lab import ratings
    from quire.lab.execute import data_root
    from quire.lab.job import Options
    from quire.report import console
    from quire.report.rate import write_page

    if add is not None:
        if claim is not None:
            raise UserError(f"--add takes the claim from its file, not '{claim}'")
        whole = ratings.add(add, evidence or runs / "evidence")
        console.print_rated(whole, whole.write(evidence or runs / "evidence"))
        return
    paper, found = ratings.find_judged(claim or "")
    root = data.expanduser().resolve() if data else data_root()
    options = Options(runs=runs, data=root, device=device)
    page, pictures = ratings.make_page(paper, found, preset, options=options, seed=seed)
    where = out or Path(f"rate-{page.page}.html")
    write_page(where, page, pictures)
    print(f"{where}: {len(pictures)} pairs. quire rate --add FILE adds what it saves")


def evidence(
    action: Positional[Literal["check", "carry", "judge"]],
    target: Positional[Annotated[str | None, arg(metavar="PAPER[/EXPERIMENT]")]] = None,
    revision: Annotated[str, arg(metavar="REVISION", name="from")] = "HEAD",
    folder: Folder = None,
    data: Folder = None,
) -> int:
    """Say which evidence is fresh, carried or stale, and why; carry it over a change of code that
    changed no number; decide claims again from stored metrics after a check's text changed.

    Args:
        action: check, carry or judge.
        target: A paper, or one experiment of it; all by default.
        revision: For carry: the state of the code that the evidence belongs to.
        folder: Folder of the evidence files; the committed ones by default.
        data: Root of the datasets; QUIRE_DATA by default.
    """
    from quire.lab import freshness
    from quire.lab.evidence import all_evidence, evidence_folder
    from quire.lab.execute import data_root
    from quire.lab.job import Target
    from quire.report import console

    where = folder or evidence_folder()
    wanted = Target.parse(target) if target else None
    items = [
        item
        for item in all_evidence(where, wanted.paper.name if wanted else "*")
        if wanted is None or item.experiment in wanted.experiments
    ]
    root = data.expanduser().resolve() if data else data_root()
    standings = freshness.standings(items)
    code = 0
    for item in items:
        now = standings[item.file_name]
        if action == "judge":
            freshness.judged(item).write(where)
        elif action == "carry" and now.state == "stale":
            try:
                carried = freshness.carry(item, revision, data=root)
            except UserError as error:
                now, code = freshness.Standing("stale", str(error)), 1
            else:
                carried.write(where)
                now = freshness.standings([carried])[item.file_name]
        console.print_standing(item, now)
        code = max(code, int(action == "check" and now.state == "stale"))
    return code


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
    from quire.report.site import build

    index, faults = build(out, runs=runs, own=runs / "evidence")
    print(index)
    _say_faults(faults)
    if open:
        import webbrowser

        webbrowser.open(index.resolve().as_uri())


def data(
    action: Positional[Literal["list", "get", "check"]],
    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None,
    root: Folder = None,
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
        store.check_root(root)
        if action == "get":
            got = store.get(str(name), root)
            print(f"{got.name}: {got.where or ''} {got.detail}")
            return 0 if got.present else 3
        names = [name] if name else sorted(catalogue.DATASETS)
        look = store.check if action == "check" else store.status
        rows, faults = [], []
        for item in names:
            try:
                rows.append(look(item, root))
            except (ValueError, ImportError) as error:
                if name or isinstance(error, store.DataMissing):
                    raise
                faults.append(UserError(str(error)))
    except store.DataMissing as error:
        raise MissingError(str(error)) from None
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from None
    _say_faults(faults)
    console.print_data(rows)
    if action == "check" and (faults or any(row.checksum_ok is False for row in rows)):
        return 1
    return 3 if name and not rows[0].present else 0


def bench(
    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None,
    folder: Path = Path("benchmarks"),
) -> int:
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
    red, missing = False, []
    for key in [name] if name else sorted(found):
        try:
            result = run_script(found[key])
        except MissingError as error:
            if name:
                raise
            missing.append(error)
            print(f"quire: {error}", file=sys.stderr)
            continue
        console.print_races(key, result)
        red = red or any(race.get("parity") is False for race in result["races"])
    return 1 if red else 3 if missing else 0


def new(name: Positional[Annotated[str, arg(metavar="NAME")]], root: Path = Path(".")) -> None:
    """Write the skeleton of a paper (or of an experiment, PAPER/EXPERIMENT) that runs as it is.

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


def _say_faults(faults: Sequence[UserError]) -> None:
    for fault in faults:
        print(f"quire: left out: {fault}", file=sys.stderr)


def _by_signature(name: str, function: Callable[..., Any]) -> Callable[[list[str]], int]:
    def call(words: list[str]) -> int:
        from quire.lab.parsing import parse

        try:
            code = parse(function, words, f"quire {name}")
        except SystemExit as stop:  # --help
            return stop.code if isinstance(stop.code, int) else 0
        return code if isinstance(code, int) else 0

    call.__doc__ = function.__doc__
    return call


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "list": _by_signature("list", list_papers),
    "show": _by_signature("show", show),
    "why": _by_signature("why", why),
    "run": run,
    "verify": _by_signature("verify", verify),
    "report": _by_signature("report", report),
    "data": _by_signature("data", data),
    "evidence": _by_signature("evidence", evidence),
    "rate": _by_signature("rate", rate),
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
