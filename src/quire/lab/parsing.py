"""Words of a command line as arguments: tyro does the work, every mistake is one line."""

import contextlib
import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import ValidationError
from tyro.conf import arg

from quire.lab.errors import UserError
from quire.lab.job import Options, Target, check_preset, load_experiment
from quire.lab.papers import first_fault

MOST_SEEDS = 1000
Number = Annotated[int | None, arg(metavar="N")]
Folder = Annotated[Path | None, arg(metavar="FOLDER")]


def parse_run(
    target: Target, words: list[str], runs: Path
) -> tuple[Any, int, Any, list[dict[str, Any]]]:
    """Preset, seed, options and each arm's overrides, from the words after the target.

    The preset and the arm decide the parser's defaults, so the preset is looked up first.
    """
    from quire.lab.execute import data_root  # brings torch, which no other command's words need

    preset = check_preset(_value_of("--preset", words) or "laptop")
    experiment = target.paper.experiments[target.experiments[0]]
    arms = (target.arm,) if target.arm else experiment.arms_at(preset)
    _, config_class = load_experiment(experiment, target.paper)
    name = f"quire run {target.paper.name}/{experiment.name}" + (
        f":{target.arm}" if target.arm else ""
    )
    overrides, chosen = [], None
    for arm in arms:
        default = config_class.build(experiment.settings(preset, arm))
        chosen, config = parse(_run_parser(config_class, default, preset, runs), words, name)
        before, after = default.model_dump(), config.model_dump()
        overrides.append({key: value for key, value in after.items() if value != before[key]})
    assert chosen is not None
    if chosen["device"] == "meta":
        raise UserError("device 'meta' computes nothing: try auto, cpu or cuda")
    if not 0 < chosen["checkpoint_seconds"] < float("inf"):
        raise UserError("--checkpoint-seconds takes a positive number of seconds")
    root = chosen["data"].expanduser().resolve() if chosen["data"] else data_root()
    options = Options(
        runs=chosen["runs"], data=root, device=chosen["device"], threads=chosen["threads"],
        checkpoint_seconds=chosen["checkpoint_seconds"], tensorboard=chosen["tensorboard"],
        fresh=chosen["fresh"],
    )  # fmt: skip
    return preset, chosen["seed"], options, overrides


def _run_parser(
    config_class: type[Any], default: Any, preset: str, folder: Path
) -> Callable[..., Any]:
    """A function whose signature tyro reads: the run's own options, then the config's fields."""

    def parsed(
        config: Any = default,
        preset: Literal["smoke", "laptop", "gpu", "paper"] = preset,  # type: ignore[assignment]
        seed: int = 0,
        device: str = "auto",
        threads: Number = None,
        data: Folder = None,
        runs: Path = folder,
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
            threads: Torch threads; one on a CPU by default.
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


def parse_seeds(text: str | None) -> int | list[int] | None:
    """How many seeds, or which: ``5``, or ``0,3,7``. A bad text raises `UserError`."""
    if text is None:
        return None
    numbers = [int(word) if word.isdecimal() else -1 for word in text.split(",")]
    if min(numbers) < 0 or (len(numbers) == 1 and not 1 <= numbers[0] <= MOST_SEEDS):
        raise UserError(f"--seeds takes a number from 1 to {MOST_SEEDS}, or distinct seeds such as "
                        f"0,1,7; got {text}")  # fmt: skip
    if len(numbers) == 1 and "," not in text:
        return numbers[0]
    if len(set(numbers)) < len(numbers):
        raise UserError(
            f"--seeds must be distinct, got {text}: a seed counted twice is no evidence"
        )
    return numbers


GROUP_FAULT = re.compile(
    r"Error parsing config\.([\w.]+): \d+ validation errors? for \w+ (?:(?!Value error)(\S+) )?"
    r"(?:Value error, )?(.+?) \[type=(\w+), input_value=(.*?), input_type="
)
"""How tyro says what pydantic found wrong in a group of settings: where, what, and what it got."""


def parse(function: Callable[..., Any], words: list[str], name: str) -> Any:
    """Call `function` with what `words` say; a mistake in them is one line like any other."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            call = tyro.cli(_deferred(function), args=words, prog=name)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_usage_fault(said.getvalue(), name)) from None
    except ValidationError as error:
        raise UserError(first_fault(error)) from None
    except ValueError as error:
        raise UserError(str(error)) from None
    return call()


def _deferred(function: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """The same signature, but what is given back does the work: parsing alone comes first."""

    @functools.wraps(function)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return functools.partial(function, *args, **kwargs)

    return bind


def _usage_fault(text: str, name: str) -> str:
    """tyro's box as one line, with the nearest option where one is unknown."""
    lines = [line.strip("│ ").strip() for line in text.splitlines()]
    lines = [line for line in lines if line and line[0] not in "╭╰"]
    rules = [k for k, line in enumerate(lines) if not line.strip("─-")]
    if "│" not in text and rules:  # without a box a heading and a rule come first
        lines, rules = lines[rules[0] + 1 :], [k - rules[0] - 1 for k in rules[1:]]
    until = rules[0] if rules else len(lines)
    what = " ".join(lines[:until])
    if stray := re.match(r"Unrecognized options: (-\S+)", what):
        near = next((m[0] for line in lines if (m := re.match(r"--\w[\w.-]*", line))), None)
        hint = f": did you mean '{near}'?" if near else ""
        return f"unknown option '{stray[1].rstrip(',')}'{hint} ({name} --help lists them)"
    if stray := re.match(r"Unrecognized options: (.*)", what):
        if re.match(r"(true|false|yes|no|on|off)(,|$)", stray[1], re.IGNORECASE):
            return (f"a flag takes no value, got '{stray[1]}': --name sets it, --no-name clears it "
                    f"({name} --help lists them)")  # fmt: skip
        return f"what is '{stray[1]}'? ({name} --help says what it takes)"
    if fault := GROUP_FAULT.match(what):
        where, field, said, kind, got = fault.groups()
        said += "" if kind == "value_error" else f" (got {got})"
        return f"{'.'.join(filter(None, (where, field)))}: {said}"
    what = what.split(" Got errors:")[0].replace("{None}|", "").rstrip(".")
    return f"{what[:1].lower()}{what[1:]} ({name} --help says what it takes)"
