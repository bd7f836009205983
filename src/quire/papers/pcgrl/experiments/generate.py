"""A generator: levels that are what is asked for, as files, Tiled maps and one picture of all."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.errors import UserError
from quire.lab.training import load_weights_into
from quire.papers.pcgrl.evaluate import NetAgent, diversity, roll_out
from quire.papers.pcgrl.experiments.designers import PROBLEMS, Level, Net, numpy_generator
from quire.papers.pcgrl.nets import build_net
from quire.papers.pcgrl.plain import measure_plainly
from quire.papers.pcgrl.problem import Maps, Problem, find_problem
from quire.papers.pcgrl.render import write_levels
from quire.papers.pcgrl.representation import Representation, Wide, find_representation
from quire.papers.pcgrl.search import Agent, HillClimber, evolve
from quire.papers.pcgrl.world import World


class Generate(Config):
    """Random maps that a designer edits until they are what is asked for; the others are left."""

    problem: str = "binary"
    """A problem's name, or a Python file with a PROBLEM."""
    n: PositiveInt = 100
    """Levels."""
    policy: Path | None = None
    """The folder of a run that trained (pcgrl/binary, zelda or sokoban), whose designer edits,
    on its problem and size; without it hill climbing does, then evolution what that left."""
    tries: PositiveInt = 20
    """Rounds of `n` random maps after which it stops."""


def generate(config: Generate, run: Run) -> Metrics:
    """Write `n` different levels into the run's folder `levels`."""
    problem, representation, agent = choose_designer(config, run)
    generator = numpy_generator(run, "starts")
    found: dict[bytes, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    rounds = 0
    while len(found) < config.n and rounds < config.tries:
        rounds += 1
        starts = problem.draw(config.n, generator)
        ends, reached = design_round(problem, representation, agent, starts, rounds, generator)
        for start, tiles in zip(starts[reached], ends[reached], strict=True):
            found.setdefault(tiles.tobytes(), (start, tiles))
    kept = list(found.values())[: config.n]
    if not kept:
        raise UserError(f"{rounds * config.n} maps of {problem.name} gave no level: ask for less "
                        "or try more")  # fmt: skip
    starts, maps = (np.stack(part) for part in zip(*kept, strict=True))
    folder = run.directory / "levels"
    write_levels(folder, problem, maps)
    run.note(f"{len(maps)} levels in {folder}, all of them on sheet.png")
    return {
        "levels": float(len(maps)),
        "maps": float(rounds * config.n),
        "valid": 100 * float(np.mean([is_valid(problem, s, m) for s, m in kept])),
        "changed": 100 * float((starts != maps).mean()),
        "diversity": diversity(maps),
    }


def choose_designer(config: Generate, run: Run) -> tuple[Problem, Representation, Agent]:
    """The problem, how it is edited, and by whom."""
    if config.policy is None:
        own = PROBLEMS.get(config.problem)
        return own or find_problem(config.problem), Wide(), HillClimber()
    path = config.policy.expanduser() / "config.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        problem = Level.model_validate(told["level"]).build()
        representation = find_representation(told["representation"])
        net = Net.model_validate(told["net"])
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{config.policy} is no folder of a run that trained a designer") from error
    designer = build_net(World(problem, representation), **net.model_dump()).to(run.device)
    load_weights_into(config.policy.expanduser(), "designer", designer)
    return problem, representation, NetAgent(designer, seed=run.rng("agent").initial_seed())


def design_round(
    problem: Problem,
    representation: Representation,
    agent: Agent,
    starts: Maps,
    seed: int,
    generator: np.random.Generator,
) -> tuple[Maps, NDArray[np.bool_]]:
    """What becomes of first maps, and which are what is asked for.

    Args:
        problem: What is asked for.
        representation: How maps are edited.
        agent: Who edits.
        starts: The first maps.
        seed: Of the world's random numbers.
        generator: For evolution, which goes on where hill climbing does not arrive.
    """
    size = problem.width * problem.height
    rollout = roll_out(agent, problem, representation, starts, seed=seed, horizon=10 * size)
    ends, reached = rollout.ends, rollout.reached.copy()
    left = np.flatnonzero(~reached)
    if isinstance(agent, HillClimber) and len(left):
        ends[left], reached[left] = evolve(
            problem, starts[left], change_percentage=1.0, generator=generator, generations=200
        )
    return ends, reached


def is_valid(problem: Problem, start: NDArray[np.uint8], tiles: NDArray[np.uint8]) -> bool:
    """Whether plain Python finds the level to be what is asked for."""
    found = []
    for each in (tiles, start):
        grid = [[problem.tiles[t] for t in row] for row in each]
        measured = measure_plainly(problem, grid)
        found.append(np.array([[measured[name] for name in problem.names]], np.int64))
    return bool(problem.reached(*found)[0])
