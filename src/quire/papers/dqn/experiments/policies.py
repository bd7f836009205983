"""Play by rules, as a ceiling."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def follow_ball(states: Tensor) -> NDArray[np.int64]:
    """MinAtar's Breakout, states (N, 4, 10, 10): the paddle goes to the column the ball is in."""
    planes = states.cpu().numpy()
    paddle, ball = (planes[:, plane].any(1).argmax(1) for plane in (0, 1))
    return np.where(ball < paddle, 1, np.where(ball > paddle, 2, 0))
