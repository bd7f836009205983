"""Races: interleaved timing of contestants on the same work, and the scripts that hold them.

A race script stands at ``benchmarks/<paper>.py`` and has ``main() -> dict``, which gives
``{"races": [{"name", "unit", "ours", "peer", "ratio", "goal", "parity", ...}, ...]}``.
"""

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from quire.lab.errors import MissingError, UserError
from quire.lab.extras import install, packages_of
from quire.lab.measure import Timing as Timing
from quire.lab.measure import peak_tensor_mb as peak_tensor_mb
from quire.lab.measure import race as race


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


def load_alone(package: str, module: str) -> ModuleType:
    """One module of an installed package by itself, without what the package imports beside it.

    package: its name on the index. module: "folder.file". Raises ModuleNotFoundError where the
    package is not installed.
    """
    # By the package's files, as a race's script may have the package's name.
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        name = package.replace("-", "_")
        raise ModuleNotFoundError(f"{package} is missing", name=name) from error
    path = Path(str(found.locate_file(f"{module.replace('.', '/')}.py")))
    spec = importlib.util.spec_from_file_location(f"{module.replace('.', '_')}_alone", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


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
        name = str(error.name).partition(".")[0]
        brought = name in (peer.replace("-", "_") for peer in packages_of("peers"))
        how = install("peers") if brought else f"no extra brings it, {path} says where it is"
        raise MissingError(f"race {path.stem} needs {name}: {how}") from None
    import torch

    result["environment"] = environment(pick_device("auto"), torch.get_num_threads())
    result["date"] = time.strftime("%Y-%m-%d")
    out = path.parent / "results" / f"{path.stem}--{machine_name()}.json"
    write_atomically(out, (json.dumps(result, indent=1) + "\n").encode())
    return result
