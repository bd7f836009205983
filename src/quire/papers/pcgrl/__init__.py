"""PCGRL: designers of levels, trained by reinforcement learning to edit maps tile by tile.

To read it: `problem` and the folder `problems`, `representation`, `rules`, then the two engines
`compiled` and `batched` beside their slow twin `plain`, `solver` (Sokoban), `world` and `env`,
`nets` and `ppo`, and how designers are judged: `search`, `evaluate`, `render`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quire.papers.pcgrl.registration import register
from quire.papers.pcgrl.problem import (
    Problem,
    Count,
    Difference,
    Regions,
    LongestPath,
    Nearest,
    Walk,
    SolutionLength,
    Reward,
    Goal,
    find_problem,
    problem_names,
)
from quire.papers.pcgrl.representation import (
    Narrow,
    Turtle,
    Wide,
    find_representation,
)
from quire.papers.pcgrl.plain import PlainEnv
from quire.papers.pcgrl.solver import (
    Solution,
    solve_level,
    replay,
)
from quire.papers.pcgrl.world import (
    World,
    DeviceWorld,
    Step,
)
from quire.papers.pcgrl.nets import (
    CropNet,
    MapNet,
    build_net,
)
from quire.papers.pcgrl.search import (
    RandomAgent,
    Painter,
    HillClimber,
    evolve,
    serpentine,
)
from quire.papers.pcgrl.evaluate import (
    NetAgent,
    Rollout,
    roll_out,
    success_by_budget,
    changed_share,
    diversity,
    BUDGETS,
)
from quire.papers.pcgrl.render import (
    draw_level,
    draw_sheet,
    save_film,
    write_levels,
    read_levels,
    as_tiled,
)

if TYPE_CHECKING:
    from quire.papers.pcgrl.env import PcgrlEnv, PcgrlVecEnv, make
    from quire.papers.pcgrl.ppo import PPO2, Learner, WorldVecEnv

__all__ = [
    "Problem",
    "Count",
    "Difference",
    "Regions",
    "LongestPath",
    "Nearest",
    "Walk",
    "SolutionLength",
    "Reward",
    "Goal",
    "find_problem",
    "problem_names",
    "Narrow",
    "Turtle",
    "Wide",
    "find_representation",
    "PlainEnv",
    "Solution",
    "solve_level",
    "replay",
    "World",
    "DeviceWorld",
    "Step",
    "make",
    "PcgrlEnv",
    "PcgrlVecEnv",
    "register",
    "CropNet",
    "MapNet",
    "build_net",
    "Learner",
    "WorldVecEnv",
    "PPO2",
    "RandomAgent",
    "Painter",
    "HillClimber",
    "evolve",
    "serpentine",
    "NetAgent",
    "Rollout",
    "roll_out",
    "success_by_budget",
    "changed_share",
    "diversity",
    "BUDGETS",
    "draw_level",
    "draw_sheet",
    "save_film",
    "write_levels",
    "read_levels",
    "as_tiled",
]

_NEED_RL = {
    "make": "env",
    "PcgrlEnv": "env",
    "PcgrlVecEnv": "env",
    "Learner": "ppo",
    "WorldVecEnv": "ppo",
    "PPO2": "ppo",
}


def __getattr__(name: str) -> Any:
    # Environments and PPO need the extra `rl`; problems, worlds, networks and baselines do not.
    if name in _NEED_RL:
        return getattr(import_module(f"quire.papers.pcgrl.{_NEED_RL[name]}"), name)
    raise AttributeError(f"quire.papers.pcgrl has no {name!r}")


# Gymnasium's `make` knows what an import has told it of: this is its own way, and needs no
# environment to be loaded. Without Gymnasium nothing happens.
register()
