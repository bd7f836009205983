"""RMSProp as deep Q-learning uses it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class RMSProp(torch.optim.Optimizer):
    """RMSProp with its constant inside the root, centred or not; all in place.

    s <- decay s + (1 - decay) d^2 and w <- w - rate d / sqrt(s + floor), for a gradient d (Tieleman
    and Hinton 2012). Centred (2015, after Graves 2013) it also keeps m <- decay m + (1 - decay) d
    and divides by sqrt(s - m^2 + floor). What the table of 2015 calls gradient momentum is the
    decay of m: the step has no momentum.

    torch's own RMSprop adds its constant outside the root, so that rates do not carry over.

    Args:
        parameters: What to train.
        learning_rate: The rate.
        decay: Of the running means.
        floor: The constant.
        centred: Whether the mean of the gradients is taken off.

    Raises ValueError for a rate or floor that is not positive, or a decay outside 0 to 1.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = RMSProp([weight], learning_rate=0.1)
        >>> weight.square().sum().backward()
        >>> optimizer.step()
        >>> round(float(weight.detach()), 4)
        0.5636
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        learning_rate: float = 2.5e-4,
        *,
        decay: float = 0.95,
        floor: float = 0.01,
        centred: bool = False,
    ) -> None:
        if not (learning_rate > 0 and floor > 0 and 0 <= decay < 1):
            raise ValueError(f"rate and floor must be positive and decay from 0 to 1, got "
                             f"{learning_rate}, {floor} and {decay}")  # fmt: skip
        values = {"lr": learning_rate, "decay": decay, "floor": floor, "centred": centred}
        super().__init__(parameters, values)
        self._room: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step down the gradients; gives what `closure` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            held = [weight for weight in group["params"] if weight.grad is not None]
            if held:
                self._descend(group, held)
        return loss

    def _descend(self, group: dict[str, Any], held: list[Tensor]) -> None:
        for weight in held:
            if not self.state[weight]:
                self.state[weight]["square"] = torch.zeros_like(weight)
                if group["centred"]:
                    self.state[weight]["mean"] = torch.zeros_like(weight)
            if weight not in self._room:
                self._room[weight] = torch.empty_like(weight)
        slopes: list[Any] = [weight.grad for weight in held]
        squares = [self.state[weight]["square"] for weight in held]
        room = [self._room[weight] for weight in held]
        new = 1 - group["decay"]
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, slopes, slopes, new)
        torch._foreach_copy_(room, squares)
        if group["centred"]:
            means = [self.state[weight]["mean"] for weight in held]
            torch._foreach_lerp_(means, slopes, new)
            torch._foreach_addcmul_(room, means, means, -1.0)
        torch._foreach_add_(room, group["floor"])
        torch._foreach_sqrt_(room)
        torch._foreach_addcdiv_(held, slopes, room, -group["lr"])
