"""Feedback alignment for dense and convolutional layers anywhere in a model.

The transposed weight of a backward pass is replaced by a fixed random one (Lillicrap et al. 2016),
from layer to layer: the chain stays, weight transport goes. The baseline between direct feedback
and back-propagation, for any model.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from quire.papers.dfa.direct import refuse_second_derivative
from quire.papers.dfa.feedback import Draw, uniform


class FeedbackAlignment(nn.Module):
    """A model whose marked layers send errors back through fixed random weights.

    Called like the model, with the same result. The random weights have the shape of the layer's
    own, divided by the square root of the numbers that go into one of its inputs' errors; they are
    buffers. By itself the model is as before.

    Args:
        model: Any module.
        layers: Names of nn.Linear and nn.Conv2d layers (padding of zeros); the first one of a model
            needs no feedback, since nothing is below it. None marks all such layers but the first.
        draw: Makes the entries.
        seed: What they follow from.

    Raises ValueError for an unknown name, another kind of layer, or no layer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.dfa import FeedbackAlignment
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        >>> model = FeedbackAlignment(net)
        >>> model(torch.randn(5, 8)).square().sum().backward()
        >>> model.layers
        ('2',)
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str] | None = None,
        *,
        draw: Draw = uniform,
        seed: int = 0,
    ) -> None:
        super().__init__()
        known = dict(model.named_modules())
        if layers is None:
            layers = [n for n, part in known.items() if isinstance(part, nn.Linear | nn.Conv2d)][1:]
        if not layers:
            raise ValueError(f"{type(model).__name__} has no second linear or convolutional layer")
        self.model = model
        self.layers = tuple(layers)
        self._active = False
        self._inputs: dict[int, list[Tensor]] = {}
        generator = torch.Generator().manual_seed(seed)
        for number, name in enumerate(self.layers):
            layer = known.get(name)
            if not isinstance(layer, nn.Linear | nn.Conv2d) or _pads_otherwise(layer):
                raise ValueError(
                    f"'{name}' must be nn.Linear or nn.Conv2d with padding of zeros, got "
                    f"{type(layer).__name__}"
                )
            drawn = draw(layer.weight.shape[0], layer.weight[0].numel(), generator)
            sent = layer.weight.shape[0] * layer.weight[0, 0].numel()
            matrix = drawn.view(layer.weight.shape).to(layer.weight.detach()) / sent**0.5
            self.register_buffer(f"matrix_{number}", matrix)
            layer.register_forward_pre_hook(partial(self._enter, number))
            layer.register_forward_hook(partial(self._leave, number))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives."""
        self._active = torch.is_grad_enabled()
        try:
            return self.model(*args, **kwargs)
        finally:
            self._active = False
            self._inputs.clear()

    def _enter(self, number: int, layer: nn.Module, args: tuple[Any, ...]) -> Any:
        """Cut a layer's input off, so that its own backward pass ends at its weights."""
        if not self._active:
            return None
        x, *rest = args
        self._inputs.setdefault(number, []).append(x)
        return (x.detach(), *rest)

    def _leave(self, number: int, layer: nn.Module, args: Any, out: Tensor) -> Tensor | None:
        """Lead the error of a layer's output around it, through the fixed weights."""
        if not self._active:
            return None
        x = self._inputs[number].pop()
        if not x.requires_grad:
            return out
        around: Tensor = Around.apply(out, x, getattr(self, f"matrix_{number}"), layer)
        return around


class Around(torch.autograd.Function):
    """A layer's output as it is; backward, its error goes on, and to the input by fixed weights."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, matrix: Tensor, layer: nn.Module) -> Tensor:
        ctx.save_for_backward(matrix)
        ctx.layer, ctx.shape, ctx.dtype = layer, x.shape, x.dtype
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        (matrix,) = ctx.saved_tensors
        matrix, layer = matrix.to(error.dtype), ctx.layer
        if isinstance(layer, nn.Linear):
            return error, (error @ matrix).to(ctx.dtype), None, None
        sent = conv2d_input(
            ctx.shape, matrix, error, layer.stride, layer.padding, layer.dilation, layer.groups
        )
        return error, sent.to(ctx.dtype), None, None


def _pads_otherwise(layer: nn.Linear | nn.Conv2d) -> bool:
    """Whether a convolution pads in a way that the backward pass here does not know."""
    if isinstance(layer, nn.Linear):
        return False
    return layer.padding_mode != "zeros" or isinstance(layer.padding, str)
