"""Which device, which precision, and what a machine is."""

import contextlib
import functools
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from quire.lab.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes an accelerator where there is one.

    Raises `UserError` for a name that torch does not know or a device that is not here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device '{name}' cannot be used here: try auto, cpu or cuda") from None
    return device


def pick_threads(chosen: int | None, device: torch.device) -> int:
    """Torch threads of a run: `chosen`, else one on a CPU and torch's own choice elsewhere.

    Sums depend on their number. Raises `UserError` for fewer than one.
    """
    if chosen is not None and chosen < 1:
        raise UserError(f"--threads takes a positive number, got {chosen}")
    if chosen is None:
        return 1 if device.type == "cpu" else torch.get_num_threads()
    return chosen


def pick_precision(name: str, device: torch.device) -> str:
    """ "auto" as bfloat16 where the device computes it natively, else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and "avx512_bf16" in _cpu_flags()
    return "bfloat16" if native else "float32"


@functools.cache
def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((row for row in text.splitlines() if row.startswith("flags")), "")
    return frozenset(line.split())


@functools.cache
def cpu_name() -> str:
    """The processor's model name."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
        return next(row.split(":", 1)[1].strip() for row in rows if row.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@functools.cache
def git_revision() -> str | None:
    """Revision of the checkout that `quire` runs from, with ``+`` when it was changed since."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def environment(device: torch.device, threads: int) -> dict[str, Any]:
    """What a reader must know of the machine: versions, device, threads, revision."""
    import numpy as np

    import quire

    is_cuda = device.type == "cuda"
    return {
        "quire": quire.__version__,
        "revision": git_revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if is_cuda else cpu_name(),
        "threads": threads,
    }


class OtherWork:
    """How busy the machine is with anything but this process, from now on."""

    def __init__(self) -> None:
        self._began = _busy_seconds(), time.process_time(), time.monotonic()

    def cores(self) -> float | None:
        """Cores that other work kept busy since then, on average; None where the system does not
        tell, or within the first second."""
        busy, own, wall = self._began
        now, spent = _busy_seconds(), time.monotonic() - wall
        if now is None or busy is None or spent < 1:
            return None
        return round(max(0.0, now - busy - (time.process_time() - own)) / spent, 2)


def _busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the machine was started."""
    try:
        row = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, *_ = (int(value) for value in row[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the peak memory of this process anew, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # elsewhere the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MB (10^6 bytes): of the device for CUDA, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        text = Path("/proc/self/status").read_text()
        row = next(line for line in text.splitlines() if line.startswith("VmHWM"))
        return int(row.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
