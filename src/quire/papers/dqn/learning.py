"""What is learned from a minibatch, and the settings of the papers of 2013 and 2015.

B minibatch, A actions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Values = Callable[[Tensor], Tensor]
"""From states (B, ...) to values (B, A)."""
Bootstrap = Callable[[Values, Values, Tensor], Tensor]
"""From the network that learns, the one that makes targets, and next states to values (B,)."""


@dataclass(frozen=True)
class Setting:
    """All that a score depends on beside game, screen and network. Steps are the agent's, over all
    lanes; the defaults are those of 2013, and of 2015 where 2013 is silent."""

    learning_rate: float = 2.5e-4
    """Of RMSProp with decay 0.95 and floor 0.01. 2013 is silent."""
    centred: bool = False
    """Whether RMSProp takes off the mean of the gradients."""
    clipped: bool = False
    """Whether a TD error counts as 1 at most in the gradient."""
    gamma: float = 0.99
    """Discount of a step. 2013 is silent."""
    batch_size: int = 32
    """B."""
    replay: int = 1_000_000
    """Rows of the buffer."""
    warm_up: int = 50_000
    """Steps before the first update. 2013 is silent."""
    update_every: int = 1
    """Steps for each update."""
    target_every: int | None = None
    """Updates after which the target network is copied; None has no target network."""
    epsilon: float = 0.1
    """Of the policy at the end of its fall from 1."""
    fall: int = 1_000_000
    """Steps that it takes."""
    fall_from: int = 0
    """The step at which it begins."""
    sign_rewards: bool = True
    """Whether a reward counts by its sign only."""
    returns: int = 1
    """n, steps of a transition."""

    def epsilon_at(self, step: int) -> float:
        """Probability of a random action.

        >>> [round(Setting().epsilon_at(step), 2) for step in (0, 500_000, 1_000_000, 2_000_000)]
        [1.0, 0.55, 0.1, 0.1]
        """
        done = min(1.0, max(0, step - self.fall_from) / self.fall)
        return 1 + (self.epsilon - 1) * done


NIPS_2013 = Setting()
NATURE_2015 = Setting(
    centred=True, clipped=True, update_every=4, target_every=10_000, fall_from=50_000
)


def best_value(online: Values, target: Values, states: Tensor) -> Tensor:
    """The largest value of the target network, (B,): Q-learning."""
    return target(states).amax(-1)


def double_value(online: Values, target: Values, states: Tensor) -> Tensor:
    """The target network's value of the action that the learning one likes best, (B,) (van Hasselt
    et al. 2016)."""
    return target(states).gather(-1, online(states).argmax(-1, keepdim=True))[..., 0]


def td_errors(values: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    """Targets (B,) less the values (B, A) of the actions (B,) that were taken."""
    return targets - values.gather(-1, actions[:, None]).squeeze(-1).float()


def td_loss(errors: Tensor, *, clipped: bool = False) -> Tensor:
    """Half the square of each error (B,), whose gradient is the error.

    clipped: from an error of 1 on along a line, so that the gradient is the error clipped to
    [-1, 1] (2015; the Huber loss).

    >>> td_loss(torch.tensor([0.5, 3.0]), clipped=True)
    tensor([0.1250, 2.5000])
    """
    if clipped:
        return functional.huber_loss(errors, torch.zeros_like(errors), reduction="none")
    return errors.square() / 2


def value_gradient(
    values: Tensor,
    actions: Tensor,
    errors: Tensor,
    *,
    clipped: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """The gradient of the sum of `td_loss` in the values, (B, A): less the error where the action
    was taken, else 0. From here backwards there is nothing but the network.

    Args:
        values: (B, A).
        actions: (B,).
        errors: TD errors (B,).
        clipped: Whether an error counts as 1 at most.
        weights: Of the losses, (B,); None weighs all alike.
    """
    slopes = errors.clamp(-1, 1) if clipped else errors
    slopes = slopes if weights is None else slopes * weights
    return torch.zeros_like(values).scatter_(
        -1, actions[:, None], -slopes[:, None].to(values.dtype)
    )
