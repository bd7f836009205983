"""Reaching with a hidden map: what an action does is turned by an angle that nobody tells.

A point of mass one in the plane is pushed by two numbers. The push is turned by an angle that is
drawn for each life and stays: turned by 180 degrees, whatever leads to the target leads away from
it. A policy without memory cannot know which; what follows an action tells.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from quire.papers.hebbian.rollout import Turn

DRAG, PACE = 0.7, 0.1
"""What is left of a velocity after a step; distance of a step at velocity 1."""


class Reach:
    """Targets at distance 1 in any direction; the reward is minus the distance.

    Observed are the way to the target, velocity and the change of velocity, (..., 6). Doing nothing
    gets -1 a step.

    angles: Degrees of the hidden map, each as likely as the others; None is the whole circle.

    Raises ValueError for no angle.

    Example:
        >>> env = Reach((0, 180))
        >>> env.reset(torch.rand(5, env.draws)).shape
        torch.Size([5, 6])
        >>> env.step(torch.zeros(5, 2)).reward.mean().round(decimals=4)
        tensor(-1.)
    """

    inputs, actions, draws = 6, 2, 2

    def __init__(self, angles: Sequence[float] | None = (0, 180)) -> None:
        if angles is not None and not len(angles):
            raise ValueError("a map has an angle: give one or more, or None for the whole circle")
        self.angles = angles

    def reset(self, uniform: Tensor) -> Tensor:
        """New lives from uniform numbers (..., 2): the target's direction, the map's angle."""
        direction = 2 * math.pi * uniform[..., 0]
        if self.angles is None:
            angle = 2 * math.pi * uniform[..., 1]
        else:
            known = uniform.new_tensor([math.radians(angle) for angle in self.angles])
            angle = known[(uniform[..., 1] * len(known)).long()]
        cosine, sine = angle.cos(), angle.sin()
        self.map = torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2))
        self.way = torch.stack([direction.cos(), direction.sin()], -1)
        self.velocity = torch.zeros_like(self.way)
        return self._see(self.velocity)

    def step(self, action: Tensor) -> Turn:
        """Push with actions (..., 2), each within [-1, 1]."""
        push = torch.linalg.vecdot(self.map, action.clamp(-1, 1)[..., None, :])
        velocity = DRAG * self.velocity + (1 - DRAG) * push
        change = velocity - self.velocity
        self.velocity = velocity
        self.way = self.way - PACE * velocity
        return Turn(self._see(change), -torch.linalg.vector_norm(self.way, dim=-1))

    def _see(self, change: Tensor) -> Tensor:
        return torch.cat([self.way, self.velocity, change], -1)
