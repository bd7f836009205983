"""The engine in PyTorch, for GPUs and where numba is missing: all maps at once, wave by wave.

It takes and gives what `compiled` does. What is wide here is the batch: a wave of a search moves
in all maps by one tile, so that a search takes as many operators as its longest way has steps. On
an accelerator it looks whether all have ended only every `STRIDE` waves. Solutions of Sokoban are
searched on the CPU, where a map could have one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quire.nn import devices
from quire.papers.pcgrl.problem import (
    COUNT,
    DIFFERENCE,
    LONGEST,
    NEAREST,
    REGIONS,
    SOLUTION,
    WALK,
)
from quire.papers.pcgrl.representation import MOVES, NARROW, TURTLE
from quire.papers.pcgrl.rules import (
    BORDER,
    CHANGES,
    FLAG,
    HEIGHT,
    KIND,
    SIDE,
    SIGNED,
    STEPS,
    STOPS,
    TILES,
    WIDTH,
)
from quire.papers.pcgrl.solver import solve_maps

STRIDE = 16
FAR = 1 << 30


def is_in(maps: Tensor, mask: int, tiles: int) -> Tensor:
    """Which tiles of maps are of a set, as bool of the maps' shape."""
    table = torch.tensor([bool(mask >> t & 1) for t in range(tiles)], device=maps.device)
    return table[maps.long()]


def around(x: Tensor, fill: Any) -> list[Tensor]:
    """x (..., h, w) as its four neighbours see it; `fill` comes in over the border."""
    wide = torch.nn.functional.pad(x, (1, 1, 1, 1), value=fill)
    return [
        wide[..., 1 + dy : 1 + dy + x.shape[-2], 1 + dx : 1 + dx + x.shape[-1]] for dy, dx in MOVES
    ]


def in_waves(step: Callable[[int], Tensor], most: int, x: Tensor) -> None:
    """Call `step` with 1, 2, ... until all that it gives is false, `most` times at the most."""
    stride = STRIDE if devices.is_accelerator(x) else 1
    for wave in range(1, most + 1):
        alive = step(wave).any()
        if wave % stride == 0 and x.device.type != "meta" and not alive:
            return


def spread(start: Tensor, passable: Tensor) -> Tensor:
    """Steps (..., h, w) int32 from the nearest tile of `start`, -1 where there is no way."""
    distance = torch.where(start & passable, 0, -1).int()
    front = [start & passable]

    def step(wave: int) -> Tensor:
        reached = torch.stack(around(front[0], False)).any(0) & passable & (distance < 0)
        distance.masked_fill_(reached, wave)
        front[0] = reached
        return reached

    in_waves(step, passable.shape[-2] * passable.shape[-1], passable)
    return distance


def label(passable: Tensor) -> Tensor:
    """The number of the first tile of each tile's region (..., h, w), FAR beside the regions."""
    height, width = passable.shape[-2:]
    number = torch.arange(height * width, device=passable.device).view(height, width)
    labels = torch.where(passable, number, FAR)

    def step(wave: int) -> Tensor:
        least = torch.stack([labels, *around(labels, FAR)]).amin(0)
        changed = passable & (least < labels)
        labels.copy_(torch.where(changed, least, labels))
        return changed

    in_waves(step, height * width, passable)
    return labels


def longest_paths(passable: Tensor, labels: Tensor) -> Tensor:
    """The longest path (N,) of maps by two searches a region, as the paper's code does it."""
    count, height, width = passable.shape
    size = height * width
    number = torch.arange(size, device=passable.device)
    first = passable & (labels == number.view(height, width))
    distance = spread(first, passable).flatten(1).long()
    # The farthest of a region, the first of several: one number that is larger the better it is.
    rank = torch.where(passable.flatten(1), distance * size + size - 1 - number, -1)
    region = labels.flatten(1).clamp(max=size - 1)
    best = torch.full((count, size), -1, device=passable.device)
    best = best.scatter_reduce(1, region, rank, "amax")
    far = passable & (rank == best.gather(1, region)).view_as(passable)
    return spread(far, passable).amax((1, 2)).clamp(min=0)


def exact_longest(passable: Tensor) -> Tensor:
    """The longest path (N,) by a search from every tile."""
    count, height, width = passable.shape
    every = torch.eye(height * width, dtype=torch.bool, device=passable.device)
    starts = every.view(1, -1, height, width).expand(count, -1, -1, -1)
    return spread(starts, passable[:, None].expand_as(starts)).amax((1, 2, 3)).clamp(min=0)


def count_of(maps: Tensor, mask: int, tiles: int) -> Tensor:
    """How many tiles (N,) of a set maps have."""
    return is_in(maps, mask, tiles).sum((1, 2))


def measure_nearest(maps: Tensor, row: list[int], tiles: int) -> Tensor:
    """Steps (N,) to the nearest tile of a set."""
    ends = is_in(maps, row[2], tiles)
    distance = spread(is_in(maps, row[1], tiles), is_in(maps, row[3], tiles))
    far = maps.shape[1] * maps.shape[2]
    steps = torch.where(ends & (distance > 0), distance, far).amin((1, 2))
    return torch.where(ends.any(2).any(1), steps, 0)


def measure_leg(maps: Tensor, a: int, b: int, through: int, tiles: int) -> Tensor:
    """Steps (N,) from the only tile of `a` to that of `b`, -1 where there is no way."""
    distance = spread(is_in(maps, a, tiles), is_in(maps, through, tiles))
    return torch.where(is_in(maps, b, tiles), distance, -1).amax((1, 2))


def measure_row(maps: Tensor, row: list[int], tiles: int, allowed: Tensor) -> Tensor:
    """One metric (N,) of maps, whatever it needs; `allowed` (N,) says where it is asked for."""
    kind = row[0]
    if kind == COUNT:
        return count_of(maps, row[1], tiles)
    if kind == DIFFERENCE:
        return (count_of(maps, row[1], tiles) - count_of(maps, row[2], tiles)).abs()
    if kind in (REGIONS, LONGEST):
        passable = is_in(maps, row[1], tiles)
        if kind == LONGEST and row[2]:
            return exact_longest(passable)
        labels = label(passable)
        if kind == LONGEST:
            return longest_paths(passable, labels)
        number = torch.arange(maps.shape[1] * maps.shape[2], device=maps.device)
        return (labels == number.view(maps.shape[1:])).sum((1, 2))
    if kind == NEAREST:
        return measure_nearest(maps, row, tiles)
    if kind == WALK:
        whole = measure_leg(maps, row[1], row[2], row[4], tiles)
        whole = whole + measure_leg(maps, row[2], row[3], row[5], tiles)
        ends = [is_in(maps, row[j], tiles).any(2).any(1) for j in (1, 2, 3)]
        return torch.where(ends[0] & ends[1] & ends[2], whole, 0)
    assert kind == SOLUTION
    solved = solve_maps(maps.cpu().numpy(), row, allowed.cpu().numpy())
    return torch.from_numpy(solved).to(maps.device)


def measure_all(rules: Any, maps: Tensor) -> Tensor:
    """All metrics (N, K) int64 of maps (N, h, w)."""
    tiles = int(rules.sizes[TILES])
    found: list[Tensor] = []
    for k, row in enumerate(rules.program.tolist()):
        allowed = torch.ones(len(maps), dtype=torch.bool, device=maps.device)
        for j, value in enumerate(rules.needs[k].tolist()):
            if value >= 0:
                allowed = allowed & (found[j] == value)
        value = measure_row(maps, row, tiles, allowed).long()
        found.append(torch.where(allowed, value, 0))
    return torch.stack(found, 1)


def gain(new: Tensor, old: Tensor, low: Tensor, high: Tensor, signed: int) -> Tensor:
    """What changes of metrics (N, K) are worth: how much nearer they came to intervals."""

    def away(value: Tensor) -> Tensor:
        below, above = (low - value).clamp(min=0), (value - high).clamp(min=0)
        # What is at infinity gives infinity here, and is left out below.
        return below + above

    worth = away(old) - away(new)
    if signed:
        leaps = ((old < low) & (new > high)) | ((new < low) & (old > high))
        worth = torch.where(leaps, -away(old) - away(new), worth)
    rise = (new - old).to(low.dtype)
    worth = torch.where(torch.isposinf(low), rise, worth)
    return torch.where(torch.isneginf(high), -rise, worth)


def decode(rules: Any, state: Any, actions: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where (N,) actions write, which tile (-1 for none), and where the agent is afterwards."""
    sizes, cells = rules.sizes.tolist(), state.cells
    height, width = sizes[HEIGHT], sizes[WIDTH]
    if sizes[KIND] == NARROW:
        following = (cells + 1) % (height * width) if sizes[FLAG] else drawn
        return cells, actions - 1, following
    if sizes[KIND] == TURTLE:
        moves = torch.tensor([*MOVES, (0, 0)], device=cells.device)[actions.clamp(max=4)]
        y, x = cells // width + moves[:, 0], cells % width + moves[:, 1]
        if sizes[FLAG]:
            y, x = y % height, x % width
        following = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return cells, (actions - 4).clamp(min=-1), following
    return actions // sizes[TILES], actions % sizes[TILES], cells


def edit(rules: Any, state: Any, actions: Tensor, drawn: Tensor) -> Tensor:
    """Carry out actions (N,) on the maps; gives which maps (N,) changed."""
    where, tile, following = decode(rules, state, actions, drawn)
    flat = state.maps.flatten(1)
    old = flat.gather(1, where[:, None])[:, 0].long()
    frozen = state.frozen.flatten(1).gather(1, where[:, None])[:, 0]
    changed = (tile >= 0) & (tile != old) & ~frozen
    written = torch.where(changed, tile, old)[:, None].to(flat.dtype)
    state.maps.copy_(flat.scatter(1, where[:, None], written).view_as(state.maps))
    edits = state.edits.flatten(1)
    more = changed[:, None].to(edits.dtype)
    state.edits.copy_(edits.scatter_add(1, where[:, None], more).view_as(state.edits))
    state.cells.copy_(following)
    state.counts.add_(torch.stack([changed.long(), torch.ones_like(where)], 1))
    return changed


def end(rules: Any, state: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Whether goals are reached, episodes over, episodes cut off, (N,) bool each."""
    goals = torch.from_numpy(rules.goals).to(state.stats.device)
    sizes = rules.sizes.tolist()
    value = state.stats - state.start * goals[:, 2].long()
    reached = ((goals[:, 0] <= value) & (value <= goals[:, 1])).all(1)
    over = state.counts[:, 0] >= sizes[CHANGES]
    if sizes[STOPS]:
        over = over | reached
    return reached, over, (state.counts[:, 1] >= sizes[STEPS]) & ~over


def score(rules: Any, state: Any, new: Tensor, changed: Tensor) -> Tensor:
    """Take over the metrics (N, K) of changed maps; gives the rewards (N,)."""
    worth = gain(new, state.stats, state.low, state.high, int(rules.sizes[SIGNED]))
    weights = torch.from_numpy(rules.weights).to(worth)
    paid = torch.where(weights != 0, weights * worth, 0.0)
    rewards = torch.where(changed, paid.sum(1), 0.0)
    state.stats.copy_(torch.where(changed[:, None], new, state.stats))
    return rewards


# The engine on NumPy arrays, as `compiled` has it


def measure(rules: Any, maps: Any, out: Any) -> None:
    """All metrics (N, K) of maps (N, h, w), written to `out`."""
    if len(maps):
        torch.from_numpy(out).copy_(measure_all(rules, torch.from_numpy(maps)))


def advance(rules: Any, state: Any, actions: Any, drawn: Any, rewards: Any, ends: Any) -> None:
    """One action (N,) in each map; writes the state, rewards (N,) and ends (3, N)."""
    tensors = type(state)(*map(torch.from_numpy, state))
    changed = edit(rules, tensors, torch.from_numpy(actions), torch.from_numpy(drawn))
    if changed.any():
        rows = changed.nonzero()[:, 0]
        new = tensors.stats.clone()
        new[rows] = measure_all(rules, tensors.maps[rows])
        torch.from_numpy(rewards).copy_(score(rules, tensors, new, changed))
    else:
        rewards[:] = 0
    torch.from_numpy(ends).copy_(torch.stack(end(rules, tensors)))


def observe(rules: Any, maps: Any, cells: Any, out: Any) -> None:
    """Maps (N, h, w) as they are seen, written to `out` (N, C, s, s) or (N, C, h, w)."""
    seen = see(rules, torch.from_numpy(maps), torch.from_numpy(cells))
    torch.from_numpy(out).copy_(seen)


def see(rules: Any, maps: Tensor, cells: Tensor) -> Tensor:
    """Maps (N, h, w) as they are seen, (N, C, s, s) or (N, C, h, w) uint8."""
    sizes = rules.sizes.tolist()
    shown = maps.long()
    if side := sizes[SIDE]:
        width = sizes[WIDTH]
        line = torch.arange(side, device=maps.device) - side // 2
        y = (cells // width)[:, None] + line
        x = (cells % width)[:, None] + line
        inside = ((y >= 0) & (y < sizes[HEIGHT]))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        y, x = y.clamp(0, sizes[HEIGHT] - 1), x.clamp(0, width - 1)
        place = y[:, :, None] * width + x[:, None]
        shown = shown.flatten(1).gather(1, place.flatten(1)).view_as(place)
        shown = torch.where(inside, shown, sizes[BORDER])
    if sizes[TILES] == 2:
        return shown[:, None].to(torch.uint8)
    number = torch.arange(sizes[TILES], device=maps.device).view(1, -1, 1, 1)
    return (shown[:, None] == number).to(torch.uint8)
