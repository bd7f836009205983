"""Networks from a stack of frames to a value for each action.

B batch, C channels (stack included), H height, W width, A actions.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from quire.nn import devices

Head = Callable[[int, int, int], nn.Module]
"""From (features, hidden units, actions) to a module (B, features) -> (B, A)."""


class Convolution(NamedTuple):
    """A layer: filters, size of their squares, stride."""

    filters: int
    size: int
    stride: int


PLAYING = (Convolution(16, 8, 4), Convolution(32, 4, 2))
"""Of 2013 (section 4.1)."""
NATURE = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""Of 2015."""
SMALL = (Convolution(16, 3, 1),)
"""MinAtar's, for planes of 10 x 10."""
FEW = 36
"""Frames of less pixels a side than these are small."""


class ConvolutionalNetwork(nn.Module):
    """Convolutions, a hidden layer and a linear output, with rectifiers between.

    Frames are uint8 and are divided by `high` here, and nowhere else.

    Args:
        shape: (C, H, W) of a state: all channels of a stack.
        actions: A.
        convolutions: The layers.
        hidden: Units after them.
        head: The hidden layer and the output: `plain_head`, or `Dueling`.
        high: The largest value of a frame.

    Raises ValueError for states too small for the layers, and for frames of another type or shape.

    Example:
        >>> from quire.papers.dqn import ConvolutionalNetwork
        >>> network = ConvolutionalNetwork((4, 84, 84), actions=4)
        >>> sum(weight.numel() for weight in network.parameters())
        677172
        >>> network(torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        actions: int,
        *,
        convolutions: tuple[Convolution, ...] = PLAYING,
        hidden: int = 256,
        head: Head | None = None,
        high: float = 255.0,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape, self.high = shape, high
        layers: list[nn.Module] = []
        for filters, size, stride in convolutions:
            if min(height, width) < size:
                raise ValueError(f"states of {shape} are too small for {convolutions}")
            layer: nn.Module
            if height < FEW:
                layer = PatchConvolution((channels, height, width), filters, size, stride)
            else:
                layer = nn.Conv2d(channels, filters, size, stride)
            layers += [layer, nn.ReLU(inplace=True)]
            height, width = ((side - size) // stride + 1 for side in (height, width))
            channels = filters
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = (head or plain_head)(channels * height * width, hidden, actions)

    def forward(self, states: Tensor) -> Tensor:
        """(B, C, H, W) of uint8 -> (B, A)."""
        return self.head(self.body(scaled(states, self.shape, self.high, self.body[0].weight)))


class PatchConvolution(nn.Module):
    """`nn.Conv2d` on small images: patches are gathered and multiplied at once.

    On a CPU it takes two thirds of the time of a convolution on 10 x 10 planes, forward and
    backward; on an accelerator it is the convolution.

    Args:
        shape: (C, H, W) of an image.
        filters: F.
        size: Of their squares.
        stride: Pixels between two of them.

    Example:
        >>> PatchConvolution((4, 10, 10), 16, 3)(torch.randn(2, 4, 10, 10)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, shape: tuple[int, ...], filters: int, size: int, stride: int = 1) -> None:
        super().__init__()
        layer = nn.Conv2d(shape[0], filters, size, stride)
        self.weight, self.bias, self.stride = layer.weight, layer.bias, stride
        pixels = torch.arange(math.prod(shape)).view(shape)
        patches = pixels.unfold(1, size, stride).unfold(2, size, stride).permute(1, 2, 0, 3, 4)
        self.sides = patches.shape[:2]
        self.patches: Tensor
        self.register_buffer("patches", patches.flatten(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H', W')."""
        if devices.is_accelerator(images):
            return functional.conv2d(images, self.weight, self.bias, self.stride)
        weight = self.weight.flatten(1)
        rows = images.flatten(1).index_select(1, self.patches).view(-1, weight.shape[1])
        found = functional.linear(rows, weight, self.bias)
        rows_each = self.sides[0] * self.sides[1]
        found = found.view(len(images), rows_each, len(weight)).mT
        return found.reshape(len(images), len(weight), *self.sides)


class LinearNetwork(nn.Module):
    """One linear layer from all pixels or planes: the baseline.

    Frames are uint8 and are divided by `high` here, or float32 where `high` is None.

    Raises ValueError for frames of another type or shape.

    Example:
        >>> from quire.papers.dqn import LinearNetwork
        >>> network = LinearNetwork((4, 10, 10), actions=3, high=1.0)
        >>> network(torch.ones(2, 4, 10, 10, dtype=torch.uint8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, shape: tuple[int, ...], actions: int, *, high: float | None = 255.0) -> None:
        super().__init__()
        self.shape, self.high = shape, high
        self.layer = nn.Linear(math.prod(shape), actions)

    def forward(self, states: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, A)."""
        return self.layer(scaled(states, self.shape, self.high, self.layer.weight).flatten(1))


class VectorNetwork(nn.Module):
    """Two hidden layers for states that are vectors of float32.

    Raises ValueError for states of another type or shape.

    Example:
        >>> from quire.papers.dqn import VectorNetwork
        >>> VectorNetwork(4, actions=2)(torch.randn(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(self, dim: int, actions: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.shape = (dim,)
        self.body = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, actions),
        )  # fmt: skip

    def forward(self, states: Tensor) -> Tensor:
        """(B, D) -> (B, A)."""
        return self.body(scaled(states, self.shape, None, self.body[0].weight))


def scaled(
    states: Tensor, shape: tuple[int, ...], high: float | None, weight: Tensor | nn.Module
) -> Tensor:
    """States as numbers of the type of `weight`, uint8 from 0 to `high` as 0 to 1.

    Args:
        states: (B, *shape).
        shape: What is taken.
        high: The largest value of uint8 frames; None takes numbers of any range as they are.
        weight: Of the first layer.

    Raises ValueError for another shape, and for frames that are no uint8: they were scaled before.
    """
    if states.shape[1:] != shape:
        raise ValueError(f"states are (B, {', '.join(map(str, shape))}), got "
                         f"{tuple(states.shape)}")  # fmt: skip
    assert isinstance(weight, Tensor)
    if high is None:
        return states.to(weight.dtype)
    if states.dtype != torch.uint8:
        raise ValueError(f"frames are uint8 from 0 to {high:g}, scaled here and only here; got "
                         f"{str(states.dtype).removeprefix('torch.')}")  # fmt: skip
    if len(shape) == 3 and shape[1] >= FEW:  # convolutions on a CPU are a third faster so
        found = states.to(weight.dtype, memory_format=torch.channels_last)
    else:
        found = states.to(weight.dtype)
    return found if high == 1 else found.div_(high)


def plain_head(features: int, hidden: int, actions: int) -> nn.Module:
    """A hidden layer and an output, (B, features) -> (B, A)."""
    return nn.Sequential(
        nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, actions)
    )


class Dueling(nn.Module):
    """A value of the state plus advantages less their mean (Wang et al. 2016, equation 9).

    Give the class as `head`.

    Example:
        >>> from quire.papers.dqn import ConvolutionalNetwork, Dueling
        >>> Dueling(8, 16, 3)(torch.randn(2, 8)).shape
        torch.Size([2, 3])
        >>> network = ConvolutionalNetwork((4, 84, 84), 4, head=Dueling)
    """

    def __init__(self, features: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.value = plain_head(features, hidden, 1)
        self.advantage = plain_head(features, hidden, actions)

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) -> (B, A)."""
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(-1, keepdim=True)


def network_2013(
    shape: tuple[int, ...], actions: int, *, head: Head | None = None
) -> ConvolutionalNetwork:
    """The paper's: 677,172 parameters for four actions."""
    return ConvolutionalNetwork(shape, actions, head=head)


def network_2015(
    shape: tuple[int, ...], actions: int, *, head: Head | None = None
) -> ConvolutionalNetwork:
    """That of 2015: 1,686,180 parameters for four actions."""
    return ConvolutionalNetwork(shape, actions, convolutions=NATURE, hidden=512, head=head)


def small_network(
    shape: tuple[int, ...], actions: int, *, head: Head | None = None, high: float = 1.0
) -> ConvolutionalNetwork:
    """MinAtar's own, for small frames.

    Args:
        shape: (C, H, W) of a state.
        actions: A.
        head: The hidden layer and the output; None is plain.
        high: The largest value of a frame, 1 for planes of bits.
    """
    return ConvolutionalNetwork(
        shape, actions, convolutions=SMALL, hidden=128, head=head, high=high
    )


def choose_network(shape: tuple[int, ...], actions: int, high: float | None) -> nn.Module:
    """A network that fits the states: of 2013, `small_network`, or two layers for vectors.

    Raises ValueError for frames that are neither vectors nor uint8 images.
    """
    if len(shape) == 1:
        return VectorNetwork(shape[0], actions)
    if high is None or len(shape) != 3:
        raise ValueError(f"no network for states of {shape}: give one with `network=`")
    if min(shape[1:]) < FEW:
        return small_network(shape, actions, high=high)
    if high != 255:
        raise ValueError(f"no network for images from 0 to {high:g}: give one with `network=`")
    return network_2013(shape, actions)
