"""Measuring: seconds, memory, how a cost grows, where a curve crosses, how far two results are."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

Call = Callable[[], object]
Numbers = Sequence[float] | Tensor


# Time and memory


def now(device: torch.device, *, wall: bool = False) -> float:
    """Seconds on the clock that times work on `device`.

    On a CPU it is the CPU time of this process over all its threads, which other processes do not
    disturb, or with `wall` the clock on the wall. An accelerator is waited for first, and the
    clock is always the one on the wall.
    """
    if device.type in ("cpu", "meta"):
        return time.perf_counter() if wall else time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def seconds(
    call: Call, device: torch.device, *, repeats: int = 5, warmup: int = 1, wall: bool = False
) -> float:
    """Median seconds of a call over `repeats`, after `warmup` calls that do not count.

    Args:
        call: What is timed.
        device: Where it works; the clock is that of `now`.
        repeats: Timings, of which the median is taken.
        warmup: Calls before the first timing.
        wall: Whether the time on a CPU is that on the wall.

    Raises ValueError for less than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    spent = []
    for turn in range(warmup + repeats):
        began = now(device, wall=wall)
        call()
        if turn >= warmup:
            spent.append(now(device, wall=wall) - began)
    return statistics.median(spent)


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
    contestants: Mapping[str, Call],
    *,
    repeats: int = 9,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each contestant `repeats` times, interleaved (A B C A B C …), after `warmup` rounds.

    Interleaving spreads a noisy machine's moods evenly. A contestant that works on an accelerator
    must synchronise before it returns, or the clock must before it is read, as `now` does.

    Args:
        contestants: What is timed, by name.
        repeats: Timings of each.
        warmup: Rounds before the first timing.
        clock: Gives the time now in seconds.

    Raises ValueError for less than two repeats, which have no quartiles.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 for quartiles, got {repeats}")
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmup + repeats):
        for name, contestant in contestants.items():
            # A collection amid a timing would be paid by whoever happens to run then.
            gc.collect()
            gc.disable()
            try:
                began = clock()
                contestant()
                taken = clock() - began
            finally:
                gc.enable()
            if turn >= warmup:
                spent[name].append(taken)
    return {name: _timing(values) for name, values in spent.items()}


def _timing(values: list[float]) -> Timing:
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, q1, q3)


def peak_tensor_mb(call: Call) -> float:
    """Largest memory that tensors take during a call, in MB (10^6 bytes).

    On a CUDA device from torch's own count, else from its profiler of allocations.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 1e6
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    # Events come in the order of time; what is freed counts below zero.
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 1e6


# How a cost grows


@dataclass(frozen=True)
class Costs:
    """What one call cost at each length: `seconds` is empty where nothing was timed."""

    lengths: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def measure_costs(
    lengths: Sequence[int],
    calls_at: Callable[[int], Mapping[str, Call]],
    device: torch.device,
    *,
    repeats: int = 5,
    wall: bool = False,
) -> dict[str, Costs]:
    """Median seconds and peak tensor memory (MB) of some calls against the length.

    Args:
        lengths: What the calls are made for, in this order.
        calls_at: Gives the calls of one length by name; a name may be missing at some lengths.
        device: Where they work; the clock is that of `now`.
        repeats: Timings of each call, interleaved, after one call of each; 0 times nothing.
        wall: Whether the time on a CPU is that on the wall.

    Raises ValueError for one repeat. At each length all times come before all memories.
    """
    found: dict[str, Costs] = {}
    for length in lengths:
        calls = calls_at(length)
        timings: dict[str, Timing] = {}
        if repeats:
            clock = lambda: now(device, wall=wall)  # noqa: E731
            timings = race(calls, repeats=repeats, warmup=1, clock=clock)
        for name, call in calls.items():
            costs = found.setdefault(name, Costs())
            costs.lengths.append(length)
            costs.megabytes.append(peak_tensor_mb(call))
            if timings:
                costs.seconds.append(timings[name].median)
    return found


def doublings(shortest: int, longest: int) -> list[int]:
    """`shortest`, then twice as much each time, up to `longest`.

    >>> doublings(128, 600)
    [128, 256, 512]
    """
    lengths = [shortest]
    while lengths[-1] * 2 <= longest:
        lengths.append(lengths[-1] * 2)
    return lengths


def slope(x: Numbers, y: Numbers) -> float:
    """The slope of the least-squares line through points (N,), in double precision; NaN for one."""
    xs, ys = (torch.as_tensor(v, dtype=torch.float64) for v in (x, y))
    # Centred, so that no two large sums are subtracted; the mean of y then drops out.
    xs = xs - xs.mean()
    return float((xs * ys).sum() / xs.square().sum())


def exponent(lengths: Numbers, costs: Numbers) -> float:
    """The exponent of a power law, the slope of log cost on log length: 2 is quadratic.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    x, y = (torch.as_tensor(v, dtype=torch.float64).log() for v in (lengths, costs))
    return slope(x, y)


# Where a curve crosses a level


def crossing(
    x: Sequence[float], y: Sequence[float], level: float, *, below: float | None = None
) -> float:
    """Where a falling curve first passes from `level` or more to below it.

    Between two x it is on the straight line over log x. A curve that ends at the level or above
    gives the last x.

    Args:
        x: Where the curve is known, positive and ascending.
        y: The curve there, as many.
        level: What it is to cross.
        below: What a curve gives that begins below the level; where None a later fall through the
            level counts, and the first x where there is none.
    """
    if below is not None and y[0] < level:
        return below
    for left, right, high, low in zip(x, x[1:], y, y[1:], strict=False):
        if low < level <= high:
            share = (high - level) / (high - low)
            return float(left * (right / left) ** share)
    return float(x[-1] if y[-1] >= level else x[0])


def overtaking(x: Sequence[float], ratio: Sequence[float]) -> float:
    """The x from which a positive ratio stays above 1, on the line over both logarithms.

    The first x if it is above 1 everywhere, twice the last if it is not above 1 at the end.
    """
    if ratio[-1] <= 1:
        return 2.0 * x[-1]
    # From the end: a ratio that dips below 1 again has not overtaken yet.
    last = max((i for i, value in enumerate(ratio) if value <= 1), default=-1)
    if last < 0:
        return float(x[0])
    a, b = math.log(ratio[last]), math.log(ratio[last + 1])
    share = -a / (b - a)
    return float(math.exp((1 - share) * math.log(x[last]) + share * math.log(x[last + 1])))


# How far two results are


def largest(tree: Any) -> float:
    """Largest absolute value in a tensor, or in tuples, lists and dicts of them; NaN if one is."""
    values = [float(leaf.detach().abs().max()) for leaf in _leaves(tree)]
    return math.nan if any(math.isnan(value) for value in values) else max(values)


def largest_difference(a: Any, b: Any) -> float:
    """Largest absolute difference of two tensors or trees of them; NaN if one is.

    Raises ValueError where they have another number of tensors or another shape: broadcasting
    would hide that.
    """
    left, right = _leaves(a), _leaves(b)
    shapes = [[tuple(leaf.shape) for leaf in side] for side in (left, right)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"cannot compare tensors of shapes {shapes[0]} and {shapes[1]}")
    return largest([x.detach() - y.detach() for x, y in zip(left, right, strict=True)])


def _leaves(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in _leaves(part)]
    raise TypeError(f"expected tensors in tuples, lists or dicts, got {type(tree).__name__}")
