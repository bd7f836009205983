"""Zelda: a dungeon in which the player can walk to the key and then to the door, far from enemies.

What the paper's code does and one would not guess stays: the key blocks the way to the nearest
enemy, enemies that cannot be reached count as far away, a blocked leg of the walk as -1, and the
number of enemies is rewarded but not asked for.
"""

from quire.papers.pcgrl.problem import Count, Goal, Nearest, Problem, Regions, Reward, Walk

ENEMIES = ("bat", "scorpion", "spider")
PASSABLE = ("empty", "player", "key", *ENEMIES)

PROBLEM = Problem(
    name="zelda",
    tiles=("empty", "solid", "player", "key", "door", *ENEMIES),
    width=11,
    height=7,
    start={"empty": 0.58, "solid": 0.3} | dict.fromkeys(("player", "key", "door", *ENEMIES), 0.02),
    border="solid",
    metrics=(
        Count("player", ("player",)),
        Count("key", ("key",)),
        Count("door", ("door",)),
        Count("enemies", ENEMIES),
        Regions("regions", PASSABLE),
        Nearest(
            "nearest",
            "player",
            to=ENEMIES,
            through=("empty", "player", *ENEMIES),
            needs={"player": 1, "regions": 1},
        ),
        Walk(
            "path",
            "player",
            "key",
            "door",
            through=(PASSABLE, (*PASSABLE, "door")),
            needs={"player": 1, "regions": 1, "key": 1, "door": 1},
        ),
    ),
    rewards=(
        Reward("player", 3, low=1, high=1),
        Reward("key", 3, low=1, high=1),
        Reward("door", 3, low=1, high=1),
        Reward("enemies", 1, low=2, high=5),
        Reward("regions", 5, low=1, high=1),
        Reward("nearest", 2, low=4),
        Reward("path", 1),
    ),
    goals=(Goal("nearest", low=4), Goal("path", low=16)),
    letters=".wA+g123",
    looks=("floor", "wall", "player", "key", "door", "bat", "scorpion", "spider"),
)
