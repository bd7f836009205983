"""Races of Hebbian updates against numba loops over synapses, and of lives over more workers.

The peer of the updates is written as the published code is: a loop over a layer's synapses,
compiled by numba, whose coefficients are rows (synapses, 5) in the order A, B, C, eta, D, all
synapses of one neuron before them together. Every race begins with a parity test; where it fails,
no time is reported. Run it with `quire bench hebbian`, or alone: `python benchmarks/hebbian.py`.
"""

import importlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from quire.lab.bench import compare, race
from quire.papers.hebbian import (
    EvolutionStrategy,
    Form,
    HebbianPolicy,
    Here,
    Order,
    Processes,
    RayWorkers,
    Trial,
    World,
    live_all,
    read_authors,
)

CAR, ANT = (648, 128, 64, 3), (28, 128, 64, 8)
AGENTS, TURNS, LIVES, STEPS = 64, 256, 32, 60
CLOCK = time.process_time
"""One thread's own time."""


def main() -> dict[str, Any]:
    """All races, on one thread each."""
    torch.set_num_threads(1)
    numba = importlib.import_module("numba")
    loop = compile_loop(numba)
    races = [
        update_race(loop, "CarRacing's network, one agent", CAR, 1, normalize=True, goal=2.0),
        update_race(loop, "the quadruped's network, one agent", ANT, 1, normalize=False, goal=2.0),
        update_race(
            loop, f"the quadruped's network, {AGENTS} agents", ANT, AGENTS, normalize=False,
            goal=1.5,
        ),
    ]  # fmt: skip
    importlib.import_module("mujoco")
    return {"races": [*races, worker_race("processes"), worker_race("Ray")]}


def compile_loop(numba: Any) -> Any:
    """The peer: one layer's update in place, synapse by synapse."""

    def update(rows: Any, weights: Any, pre: Any, post: Any) -> None:
        outputs, inputs = weights.shape
        for i in range(inputs):
            for j in range(outputs):
                a, b, c, eta, d = rows[i * outputs + j]
                weights[j, i] += eta * (a * pre[i] * post[j] + b * pre[i] + c * post[j] + d)

    return numba.njit(update)


def update_race(
    loop: Any, name: str, sizes: tuple[int, ...], agents: int, *, normalize: bool, goal: float
) -> dict[str, Any]:
    """Updates a second of all layers of a network, with normalisation or without."""
    generator = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return generator.standard_normal(shape).astype(np.float32)

    layers = list(pairwise(sizes))
    form = Form(normalize=normalize)
    rows = [draw(agents, i * j, 5) for i, j in layers]
    weights = [draw(agents, j, i) / 10 for i, j in layers]
    activities = [np.tanh(draw(agents, size)) for size in sizes]
    folded = [
        form.fold(torch.stack([read_authors(torch.from_numpy(one), i, j) for one in each]))
        for each, (i, j) in zip(rows, layers, strict=True)
    ]
    mine = [torch.from_numpy(layer.copy()) for layer in weights]
    seen = [torch.from_numpy(part) for part in activities]

    @torch.no_grad()
    def ours() -> list[torch.Tensor]:
        return [
            form.apply(rule, pre, post, layer)
            for rule, pre, post, layer in zip(folded, seen, seen[1:], mine, strict=False)
        ]

    def peer() -> None:
        ends = zip(rows, weights, activities, activities[1:], strict=False)
        for each, layer, pre, post in ends:
            for agent in range(agents):
                loop(each[agent], layer[agent], pre[agent], post[agent])
                if normalize:
                    layer[agent] /= np.abs(layer[agent]).max()

    found = ours()
    peer()
    apart = max(
        float((a - torch.from_numpy(b)).abs().max()) for a, b in zip(found, weights, strict=True)
    )
    result = {
        "name": f"Hebbian updates, {name}",
        "unit": "updates/s",
        "goal": goal,
        "parity": apart <= 1e-4,
        "parity_test": f"weights after one update differ by {apart:.1e} at most",
    }
    if not result["parity"]:
        return result
    turns = TURNS // agents
    # One update is too short to be timed alone.
    contestants = {
        "ours": partial(repeat, ours, turns),
        "peer": partial(repeat, peer, turns),
    }
    return result | compare(contestants, turns * agents, repeats=9, clock=CLOCK)


def repeat(call: Callable[[], object], turns: int) -> None:
    """Call it so often and keep nothing."""
    for _ in range(turns):
        call()


def worker_race(kind: str) -> dict[str, Any]:
    """Steps of ants a second with as many workers as there are cores, and with one."""
    count = max(2, os.cpu_count() or 2)
    build = partial(HebbianPolicy, (27, *ANT[1:]), form=Form(normalize=False))
    trial = Trial(build, (World(), World(leg="front right")), STEPS).sealed()
    strategy = EvolutionStrategy(build().genome(), population=LIVES)
    order = Order(trial, strategy, 0, 0, False)
    if kind == "Ray":
        many: Any = RayWorkers(count)
        one: Any = RayWorkers(1)
    else:
        many, one = Processes(count), Processes(1)
    try:
        rewards = [live_all(w, order, LIVES).rewards for w in (many, one, Here())]
        same = all(torch.allclose(r, rewards[0], atol=1e-4) for r in rewards)
        result = {
            "name": f"ants over {count} workers against one, {kind}",
            "unit": "steps/s",
            "goal": 0.85 * count,
            "parity": same,
            "parity_test": "rewards of every step are the same, in this process too",
        }
        if not same:
            return result
        timings = race(
            {
                "ours": lambda: live_all(many, order, LIVES),
                "peer": lambda: live_all(one, order, LIVES),
            },
            repeats=5, warmup=1, clock=time.perf_counter,
        )  # fmt: skip
        work = 2 * LIVES * STEPS
        rates = {name: timing.rate(work) for name, timing in timings.items()}
        ratio = rates["ours"]["median"] / rates["peer"]["median"]
        return result | rates | {"ratio": ratio, "workers": count}
    finally:
        one.close()
        many.close()


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
