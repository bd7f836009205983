"""Races: interleaved timing of contestants on the same work, and the scripts that hold them.

A race script stands at ``benchmarks/<paper>.py`` and has ``main() -> dict``, which gives
``{"races": [{"name", "unit", "ours", "peer", "ratio", "goal", "parity", ...}, ...]}``.
"""

import gc
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quire.lab.errors import MissingError, UserError


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and quartiles over the repeats."""

    median: float
    q1: float
    q3: float

    def rate(self, work: float) -> dict[str, float]:
        """`work` units a second, as median and quartiles (q1 is the slower one)."""
        return {"median": work / self.median, "q1": work / self.q3, "q3": work / self.q1}

    def seconds(self) -> dict[str, float]:
        """The timing as a plain dict."""
        return asdict(self)


def race(
    contestants: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 9,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each contestant `repeats` times, interleaved (A B C A B C …), after `warmup` rounds.

    Interleaving spreads a noisy machine's moods evenly. A contestant that works on an accelerator
    must synchronise before it returns.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 for quartiles, got {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmup + repeats):
        for name, contestant in contestants.items():
            gc.collect()
            gc.disable()
            try:
                began = clock()
                contestant()
                spent = clock() - began
            finally:
                gc.enable()
            if turn >= warmup:
                seconds[name].append(spent)
    return {name: _timing(values) for name, values in seconds.items()}


def _timing(values: list[float]) -> Timing:
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, q1, q3)


def compare(
    contestants: Mapping[str, Callable[[], object]],
    work: float,
    *,
    repeats: int = 9,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Race `ours`, `peer` and others, each doing `work` units a call: rates, ratio and memory.

    The ratio is ours to the peer's, of medians; `ratio_to_<name>` to every other contestant;
    `memory_mb` holds the most that tensors take during one call of each.
    """
    timings = race(contestants, repeats=repeats, warmup=warmup, clock=clock)
    result: dict[str, Any] = {name: timing.rate(work) for name, timing in timings.items()}
    for name, timing in timings.items():
        if name != "ours":
            key = "ratio" if name == "peer" else f"ratio_to_{name}"
            result[key] = timing.median / timings["ours"].median
    return result | {"memory_mb": {k: peak_tensor_mb(call) for k, call in contestants.items()}}


def peak_tensor_mb(call: Callable[[], object]) -> float:
    """Largest memory that tensors take during a call, in MB (10^6 bytes).

    On a CUDA device from torch's own count, else from its profiler of allocations.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 1e6
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 1e6


def scripts(folder: Path) -> dict[str, Path]:
    """The race scripts in `folder`, by name. Raises `UserError` where there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: races stand in a checkout; name it with --folder")
    found = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem[0] != "_"}
    if not found:
        raise UserError(f"no race scripts in {folder}")
    return found


def run_script(path: Path) -> dict[str, Any]:
    """Run a race script and keep its result beside it, as ``results/<name>--<machine>.json``.

    Raises `MissingError` where the peer is not installed.
    """
    from quire.lab.device import environment, pick_device
    from quire.lab.evidence import machine_name
    from quire.lab.files import write_atomically

    spec = importlib.util.spec_from_file_location(f"quire_race_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        result: dict[str, Any] = module.main()
    except ModuleNotFoundError as error:
        raise MissingError(
            f"race {path.stem} needs {error.name}: pip install 'quire[peers]' (see {path})"
        ) from None
    import torch

    result["environment"] = environment(pick_device("auto"), torch.get_num_threads())
    result["date"] = time.strftime("%Y-%m-%d")
    out = path.parent / "results" / f"{path.stem}--{machine_name()}.json"
    write_atomically(out, (json.dumps(result, indent=1) + "\n").encode())
    return result
