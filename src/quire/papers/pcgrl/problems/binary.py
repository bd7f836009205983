"""Binary: a maze of one region whose longest path is 20 steps longer than at the start."""

from quire.papers.pcgrl.problem import Goal, LongestPath, Problem, Regions, Reward

EMPTY = ("empty",)

PROBLEM = Problem(
    name="binary",
    tiles=("empty", "solid"),
    width=14,
    height=14,
    start={"empty": 0.5, "solid": 0.5},
    varied="empty",
    border="solid",
    metrics=(Regions("regions", EMPTY), LongestPath("path", EMPTY)),
    rewards=(Reward("regions", 5, low=1, high=1), Reward("path", 1)),
    goals=(Goal("regions", low=1, high=1), Goal("path", low=20, relative=True)),
    letters=".#",
    looks=("floor", "wall"),
)
