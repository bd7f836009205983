"""Sokoban: one player, as many crates as targets, and a shortest solution of 18 moves or more."""

import math

from quire.papers.pcgrl.problem import (
    Count,
    Difference,
    Goal,
    Problem,
    Regions,
    Reward,
    SolutionLength,
)

PROBLEM = Problem(
    name="sokoban",
    tiles=("empty", "solid", "player", "crate", "target"),
    width=5,
    height=5,
    start={"empty": 0.45, "solid": 0.4, "player": 0.05, "crate": 0.05, "target": 0.05},
    border="solid",
    metrics=(
        Count("player", ("player",)),
        Count("crate", ("crate",)),
        Count("target", ("target",)),
        Regions("regions", ("empty", "player", "crate", "target")),
        Difference("ratio", ("crate",), ("target",)),
        SolutionLength(
            "solution",
            player="player",
            crate="crate",
            target="target",
            solid=("solid",),
            needs={"player": 1, "regions": 1, "ratio": 0},
        ),
    ),
    rewards=(
        Reward("player", 3, low=1, high=1),
        Reward("crate", 2, low=1, high=3),
        Reward("target", 2, low=1, high=3),
        Reward("regions", 5, low=1, high=1),
        Reward("ratio", 2, low=-math.inf, high=-math.inf),
        Reward("solution", 1),
    ),
    goals=(Goal("solution", low=18),),
    letters=" #@$.",
    looks=("floor", "wall", "player", "crate", "target"),
)
