"""AdaFactor as T5 uses it (section 3.1.2): Shazeer and Stern (2018) with Mesh TensorFlow's values.

The second moment of a large matrix is kept as the means of its rows and columns. No momentum, no
weight decay.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

SQUARE_EPSILON = 1e-30
SCALE_EPSILON = 1e-3


class AdaFactor(Optimizer):
    """A step is lr * max(1e-3, rms(w)) * x / max(1, rms(x)), where x = g / sqrt(v).

    v = b v + (1 - b) (g^2 + 1e-30) with b = 1 - t^-0.8, t counted from 1 for each parameter: one
    that has no gradient for a while, because it is frozen, keeps its state and its count.

    Args:
        parameters: As in any optimiser.
        lr: Relative to each parameter's own scale. The paper has 1 / sqrt(max(step, 10,000)) in
            pre-training, see `inverse_square_root` of quire.lab.training, and 1e-3 in fine-tuning.
        decay: The 0.8 above.
        clip: Largest root mean square of x; None for no limit.
        smallest: Factored are tensors whose two largest dimensions have at least this size; 1 for
            all matrices, as transformers does.

    Raises ValueError for a rate below 0, a decay outside of (0, 1) or a clip that is not positive.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import AdaFactor
        >>> layer = torch.nn.Linear(256, 128)
        >>> optimizer = AdaFactor(layer.parameters(), lr=1e-2)
        >>> layer(torch.randn(4, 256)).square().mean().backward()
        >>> optimizer.step()
        >>> [part.shape for part in optimizer.state[layer.weight]["factors"]]
        [torch.Size([128, 1]), torch.Size([1, 256])]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        *,
        decay: float = 0.8,
        clip: float | None = 1.0,
        smallest: int = 128,
    ) -> None:
        if lr < 0 or not 0 < decay < 1 or (clip is not None and clip <= 0):
            raise ValueError(
                f"lr must be at least 0, decay between 0 and 1 and clip positive or None, got "
                f"{lr}, {decay} and {clip}"
            )
        super().__init__(parameters, {"lr": lr, "decay": decay, "clip": clip, "smallest": smallest})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimiser, but the moments of half-precision weights stay in single precision."""
        super().load_state_dict(state_dict)
        # In the order of the groups, which the numbers in a state's dict follow.
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        own = [p for group in self.param_groups for p in group["params"]]
        for number, parameter in zip(numbers, own, strict=True):
            if number not in state_dict["state"] or not _is_half(parameter):
                continue
            for name, value in state_dict["state"][number].items():
                if isinstance(value, tuple):
                    value = tuple(x.to(parameter.device, copy=True) for x in value)
                elif isinstance(value, Tensor):
                    value = value.to(parameter.device, copy=True)
                self.state[parameter][name] = value

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Move every parameter that has a gradient; gives the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad = parameter.grad
        assert grad is not None
        if grad.is_sparse:
            raise ValueError("AdaFactor takes dense gradients, got a sparse one")
        half = _is_half(parameter)
        grad, weight = (x.float() if half else x for x in (grad, parameter))
        state = self.state[parameter]
        axes = factored_axes(parameter, group["smallest"])
        if not state:
            state["step"] = 0
            if axes is None:
                state["square"] = torch.zeros_like(grad)
            else:
                sums = (grad.new_zeros(grad.sum(axis, keepdim=True).shape) for axis in axes)
                state["factors"] = tuple(sums)
        state["step"] += 1
        keep = 1 - state["step"] ** -group["decay"]
        square = grad.square().add_(SQUARE_EPSILON)
        if axes is None:
            second = state["square"].lerp_(square, 1 - keep)
            move = grad * second.rsqrt()
        else:
            rows, columns = state["factors"]
            rows.lerp_(square.mean(axes[0], keepdim=True), 1 - keep)
            columns.lerp_(square.mean(axes[1], keepdim=True), 1 - keep)
            # rows * columns / mean: the matrix of rank one with these means. Roots before the
            # product, which would be too small for single precision.
            mean = rows.mean(axes[1], keepdim=True)
            move = grad * (rows / mean).rsqrt() * columns.rsqrt()
        if group["clip"] is not None:
            move /= (_rms(move) / group["clip"]).clamp(min=1.0)
        move *= _rms(weight).clamp(min=SCALE_EPSILON) * group["lr"]
        parameter.copy_(weight - move) if half else parameter.sub_(move)


def factored_axes(tensor: Tensor, smallest: int) -> tuple[int, int] | None:
    """The two largest dimensions, the larger one first; None where the second is too small."""
    order = sorted(range(tensor.ndim), key=lambda axis: tensor.shape[axis], reverse=True)
    if len(order) < 2 or tensor.shape[order[1]] < smallest:
        return None
    return order[0], order[1]


def _is_half(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
