"""Races of PCGRL: steps a CPU second against the same rules in plain Python.

The peer is `quire.papers.pcgrl.PlainEnv`: one map as rows of names, measured anew tile by tile at
every change, as gym-pcgrl does it. Both sides give what the network sees and begin ended episodes
anew. Every race begins with a parity test; where it fails, no time is reported. Run it with
`quire bench pcgrl`, or alone: `python benchmarks/pcgrl.py`.

For comparison, measured elsewhere: gym-pcgrl itself on a machine of this kind, one core, random
actions (`ELSEWHERE`); pcgrl-jax's own table for Binary of 16 x 16, random actions, hardware not
named: 271 steps/s with one map, 11,980 with 100, 46,499 with 600.
"""

import json
import random
import time
from typing import Any

import numpy as np

from quire.lab.bench import race
from quire.papers.pcgrl import PcgrlEnv, PcgrlVecEnv, PlainEnv, World, find_problem
from quire.papers.pcgrl.representation import REPRESENTATIONS
from quire.papers.pcgrl.solver import solve_maps, solve_plainly

MAPS, STEPS, SINGLE, PLAIN = 1024, 40, 3000, 400
ELSEWHERE = {
    "binary-narrow": 1700, "binary-turtle": 5000, "binary-wide": 1700, "zelda-narrow": 7100,
    "zelda-turtle": 10400, "zelda-wide": 7300, "sokoban-narrow": 9400, "sokoban-wide": 4500,
}  # fmt: skip
"""gym-pcgrl's base environment, steps/s, without what the network sees."""


def main() -> dict[str, Any]:
    """Many maps and one map, for every problem and representation; solutions of Sokoban."""
    names = [(p, r) for p in ("binary", "zelda", "sokoban") for r in REPRESENTATIONS]
    races = [step_race(*name, many) for many in (True, False) for name in names]
    return {"races": [*races, solution_race()]}


def is_alike(problem: str, representation: str) -> bool:
    """Whether maps, rewards and ends are those of plain Python over a few hundred steps."""
    what, how = find_problem(problem), REPRESENTATIONS[representation]
    world, generator = World(what, how, envs=4, seed=0), np.random.default_rng(0)
    twins = [PlainEnv(what, how) for _ in range(4)]
    for i, twin in enumerate(twins):
        grid = [[what.tiles[t] for t in row] for row in world.state.maps[i]]
        twin.reset(grid, divmod(int(world.state.cells[i]), what.width))
    for _ in range(100):
        seen = zip(world.observe(), twins, strict=True)
        if not all((mine == twin.observe()).all() for mine, twin in seen):
            return False
        actions = generator.integers(world.actions, size=4)
        step = world.step(actions)
        for i, twin in enumerate(twins):
            following = divmod(int(world.state.cells[i]), what.width)
            reward, over = twin.step(int(actions[i]), following)
            grid = [[what.tiles[t] for t in row] for row in world.state.maps[i]]
            ended = bool(step.terminated[i] or step.truncated[i])
            if (grid, reward, over) != (twin.grid, step.rewards[i], ended):
                return False
    return True


def step_race(problem: str, representation: str, many: bool) -> dict[str, Any]:
    """Random actions, with new maps where episodes end."""
    name = f"{problem}-{representation}"
    result: dict[str, Any] = {
        "name": f"{name}, {MAPS if many else 1} map{'s' if many else ''}, random actions",
        "unit": "steps/CPU s",
        "goal": 50.0 if many else 5.0,
        "parity": is_alike(problem, representation),
        "parity_test": "maps, rewards, ends and what is seen are the same over 400 steps",
        "elsewhere": {"gym-pcgrl": ELSEWHERE.get(name)},
    }
    if not result["parity"]:
        return result
    generator = np.random.default_rng(0)
    envs = PcgrlVecEnv(problem, representation, envs=MAPS, seed=0)
    env = PcgrlEnv(problem, representation)
    actions = generator.integers(envs.single_action_space.n, size=(STEPS, MAPS))
    singles = generator.integers(envs.single_action_space.n, size=SINGLE).tolist()
    envs.reset(seed=0)
    env.reset(seed=0)
    twin = PlainEnv(find_problem(problem), REPRESENTATIONS[representation])
    places = random.Random(0)
    twin.reset_randomly(places)

    def ours_many() -> None:
        for row in actions:
            envs.step(row)

    def ours_single() -> None:
        for action in singles:
            _, _, ended, cut, _ = env.step(action)
            if ended or cut:
                env.reset()

    def peer() -> None:
        for action in singles[:PLAIN]:
            place = (places.randrange(twin.problem.height), places.randrange(twin.problem.width))
            _, over = twin.step(action, place)
            if over:
                twin.reset_randomly(places)
            twin.observe()

    ours, work = (ours_many, STEPS * MAPS) if many else (ours_single, SINGLE)
    return result | timed(ours, work, peer, PLAIN)


def solution_race() -> dict[str, Any]:
    """Shortest solutions of maps with one player and two crates, where the solver is at work."""
    sokoban = find_problem("sokoban")
    row = list(sokoban.metrics[-1].row(sokoban.mask))
    generator, maps = np.random.default_rng(0), []
    for _ in range(200):
        flat = (generator.random(25) < 0.15).astype(np.uint8)
        flat[generator.permutation(25)[:5]] = [2, 3, 3, 4, 4]
        maps.append(flat.reshape(5, 5))
    batch = np.stack(maps)
    lines = [["".join(sokoban.letters[t] for t in line) for line in tiles] for tiles in batch]
    slow = [solve_plainly(level, budget=row[5]).length for level in lines[:20]]
    same = slow == solve_maps(batch[:20], row, np.ones(20, bool)).tolist()
    result = {
        "name": "Sokoban of 5 x 5 tiles with two crates, shortest solutions",
        "unit": "maps/CPU s",
        "goal": 20.0,
        "parity": same,
        "parity_test": "solutions of 20 maps are as long",
    }
    if not same:
        return result

    def peer() -> None:
        for level in lines[:20]:
            solve_plainly(level, budget=row[5])

    return result | timed(lambda: sokoban.measure(batch), 200, peer, 20)


def timed(ours: Any, work: int, peer: Any, peers_work: int) -> dict[str, Any]:
    """Rates of both, interleaved, and their ratio."""
    timings = race({"ours": ours, "peer": peer}, repeats=5, warmup=1, clock=time.process_time)
    rates = {"ours": timings["ours"].rate(work), "peer": timings["peer"].rate(peers_work)}
    return {**rates, "ratio": rates["ours"]["median"] / rates["peer"]["median"]}


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
