"""A walker with four legs, seen from above, for thousands of bodies at once.

The body is rigid and moves in the plane; legs stick out at its corners and swing at the hips. A leg
that is driven backwards presses its foot to the ground, one that is driven forwards lifts it, so
that friction is high one way and low the other. There is no inertia: forces balance at each moment,
as for what crawls or rows slowly. The trunk drags at a point beside its axis, so that left and
right are not alike: who walks straight pulls unevenly, and a lame left leg is not a lame right leg
in a mirror.

Lives (...), legs in the order of `LEGS`. Lengths are in lengths of the trunk.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from quire.papers.hebbian.rollout import Turn

LEGS = ("front left", "front right", "rear left", "rear right")
LENGTH, REACH = 0.5, 0.8
"""Of a sound leg; the most that a hip turns to each side, radians."""
GRIP, SLIP, SHARPNESS = 4.0, 0.4, 6.0
"""Friction of a foot that is pressed to the ground and of one that is lifted; how sharply the
drive decides which."""
STIFF, TRUNK, TURNING = 0.25, 1.0, 0.1
"""Friction of a hip, of the trunk, and of its turning on the spot."""
TRUNK_AT = (-0.2, 0.25)
"""Where the trunk drags: behind its middle, at its left edge."""
INTERVAL = 0.15
"""Time of a step."""
_SIDES = (1.0, -1.0, 1.0, -1.0)
_HIPS = ((0.5, 0.25), (0.5, -0.25), (-0.5, 0.25), (-0.5, -0.25))


class Body(NamedTuple):
    """A walker's legs, a value for each; 1 is sound."""

    lengths: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """Shares of a sound length."""
    strengths: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """Shares of a sound leg's torque."""


INTACT = Body()


def damaged(leg: str, *, length: float = 0.25, strength: float = 1.0) -> Body:
    """A body with one leg that is shorter or weaker.

    Raises ValueError for an unknown leg and for shares that are not above 0.

    >>> damaged("front left").lengths
    (0.25, 1.0, 1.0, 1.0)
    """
    if leg not in LEGS:
        raise ValueError(f"unknown leg '{leg}'. Known: {', '.join(LEGS)}")
    if length <= 0 or strength <= 0:
        raise ValueError(f"shares are above 0, got a length of {length} and strength {strength}")
    one = [leg == each for each in LEGS]
    return Body(
        tuple(length if hit else 1.0 for hit in one),
        tuple(strength if hit else 1.0 for hit in one),
    )


class Walker:
    """Walk towards +x; the reward is the way of the trunk's middle in that direction.

    Observed are, each for four legs, the hips' angles and their speeds, then sine and cosine of the
    heading, and the body's own velocity: forwards, to the left, turning; (..., 13).

    bodies: E of them; lives (..., E) have them in this order.

    Raises ValueError without a body, and for a leg without length or strength.

    Example:
        >>> env = Walker([INTACT, damaged("front right")])
        >>> env.reset(torch.rand(5, 2, env.draws)).shape
        torch.Size([5, 2, 13])
        >>> env.step(torch.zeros(5, 2, 4)).reward.abs().max()
        tensor(0.)
    """

    inputs, actions, draws = 13, 4, 5

    def __init__(self, bodies: Sequence[Body]) -> None:
        if not bodies:
            raise ValueError("a walker has a body")
        self.bodies = list(bodies)
        self.change(bodies)

    def change(self, bodies: Sequence[Body]) -> None:
        """Go on with E other bodies until the next reset: damage within a life."""
        for body in bodies:
            shares = *body.lengths, *body.strengths
            if len(shares) != 2 * len(LEGS) or min(shares) <= 0:
                raise ValueError(f"a body has four lengths and strengths above 0, got {body}")
        if len(bodies) != len(self.bodies):
            raise ValueError(f"{len(self.bodies)} bodies change to as many, got {len(bodies)}")
        self._now = list(bodies)
        self._table: Tensor | None = None

    def reset(self, uniform: Tensor) -> Tensor:
        """New lives from uniform numbers (..., E, 5): hips and headings near their middle."""
        if uniform.shape[-2] != len(self.bodies):
            raise ValueError(f"{len(self.bodies)} bodies need as many lives, got "
                             f"{uniform.shape[-2]}")  # fmt: skip
        self.change(self.bodies)
        spread = 0.6 * uniform - 0.3
        self.hips, self.heading = spread[..., :4], spread[..., 4]
        self.speeds = torch.zeros_like(self.hips)
        self.motion = uniform.new_zeros(*self.heading.shape, 3)
        return self._see()

    def step(self, action: Tensor) -> Turn:
        """Drive the hips with actions (..., 4), each within [-1, 1]; above 0 is forwards."""
        if self._table is None:
            self._table = self._tabulate(action)
        length, strength, hip_x, hip_y, side = self._table.unbind(-2)
        drive = action.clamp(-1, 1)
        friction = SLIP + (GRIP - SLIP) * torch.sigmoid(-SHARPNESS * drive)
        torque = strength * drive
        # A foot, and where it goes when its hip turns forwards.
        sine, cosine = self.hips.sin(), self.hips.cos()
        foot = hip_x + length * sine, hip_y + side * length * cosine
        along = length * cosine, -side * length * sine
        # A hip that is driven against its stop does not turn: the leg is then an oar held still.
        held = (drive * self.hips > 0) & (self.hips.abs() >= REACH)
        ease = torch.where(held, 0, 1 / (friction * length.square() + STIFF))
        self.motion = balance(foot, along, friction, torque, ease)
        forward, left, turning = self.motion.unbind(-1)
        pull_x = forward[..., None] - turning[..., None] * foot[1]
        pull_y = left[..., None] + turning[..., None] * foot[0]
        speeds = ease * (torque - friction * (along[0] * pull_x + along[1] * pull_y))
        hips = (self.hips + INTERVAL * speeds).clamp(-REACH, REACH)
        self.speeds, self.hips = (hips - self.hips) / INTERVAL, hips
        way = INTERVAL * (forward * self.heading.cos() - left * self.heading.sin())
        self.heading = self.heading + INTERVAL * turning
        return Turn(self._see(), way)

    def _tabulate(self, like: Tensor) -> Tensor:
        fixed = [[x for x, _ in _HIPS], [y for _, y in _HIPS], list(_SIDES)]
        rows = [
            [[LENGTH * share for share in body.lengths], list(body.strengths), *fixed]
            for body in self._now
        ]
        return like.new_tensor(rows)

    def _see(self) -> Tensor:
        heading = torch.stack([self.heading.sin(), self.heading.cos()], -1)
        return torch.cat([self.hips / REACH, self.speeds, heading, self.motion], -1)


Pair = tuple[Tensor, Tensor]


def balance(foot: Pair, along: Pair, friction: Tensor, torque: Tensor, ease: Tensor) -> Tensor:
    """The body's velocity (forwards, left, turning), (..., 3), at which no force is left over.

    A foot that moves with velocity v drags with -friction v. Its own motion is the body's at that
    place and the hip's turning, which follows from the hip's torque less what the ground takes.

    Args:
        foot: Where feet are in the body's frame, x and y, (..., 4) each.
        along: Where they go when hips turn by one radian.
        friction: Of each foot.
        torque: Of each hip.
        ease: How fast a hip turns under a torque, where the body stands still.
    """
    (x, y), (u, v) = foot, along
    drawn = friction.square() * ease
    m11, m12, m22 = friction - drawn * u * u, -drawn * u * v, friction - drawn * v * v
    push = -friction * ease * torque
    f1, f2 = push * u, push * v
    tx, ty = TRUNK_AT
    a11 = m11.sum(-1) + TRUNK
    a12 = m12.sum(-1)
    a22 = m22.sum(-1) + TRUNK
    a13 = (x * m12 - y * m11).sum(-1) - TRUNK * ty
    a23 = (x * m22 - y * m12).sum(-1) + TRUNK * tx
    a33 = (x * x * m22 - 2 * x * y * m12 + y * y * m11).sum(-1)
    a33 = a33 + TRUNK * (tx * tx + ty * ty) + TURNING
    force = torch.stack([f1.sum(-1), f2.sum(-1), (x * f2 - y * f1).sum(-1)], -1)
    rows = torch.stack([a11, a12, a13, a12, a22, a23, a13, a23, a33], -1).unflatten(-1, (3, 3))
    first, second, third = rows.unbind(-2)
    # The inverse of a symmetric matrix by its rows' cross products.
    sides = (torch.linalg.cross(second, third), torch.linalg.cross(third, first),
             torch.linalg.cross(first, second))  # fmt: skip
    inverse = torch.stack(sides, -1)
    size = (first * sides[0]).sum(-1, keepdim=True)
    return torch.linalg.vecdot(inverse, force[..., None, :]) / size
