"""The paper's two networks: what an agent sees in, logits of its actions and a value out.

C: channels of what is seen; s: side of the crop; h, w: of the map; T: kinds of tile; A: actions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quire.papers.pcgrl.world import World


class CropNet(nn.Module):
    """For narrow and turtle: three convolutions without padding, 512 units, two linear heads.

    The sizes printed in the paper are those of strides 1, 1, 1; the released code has 2, 2, 1 for
    Binary and Zelda (`strides`).

    Args:
        channels: C.
        side: s.
        actions: A.
        widths: Channels of the convolutions.
        strides: Their strides.
        hidden: Units before the heads.

    Example:
        >>> from quire.papers.pcgrl import CropNet
        >>> net = CropNet(channels=8, side=12, actions=9, widths=(8, 8, 8), hidden=16)
        >>> logits, value = net(torch.rand(2, 8, 12, 12))
        >>> logits.shape, value.shape
        (torch.Size([2, 9]), torch.Size([2]))
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        actions: int,
        widths: Sequence[int] = (32, 64, 64),
        strides: Sequence[int] = (1, 1, 1),
        hidden: int = 512,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        left = side
        for before, width, stride in zip((channels, *widths), widths, strides, strict=False):
            layers += [nn.Conv2d(before, width, 3, stride), nn.ReLU()]
            left = (left - 3) // stride + 1
        if left < 1:
            raise ValueError(f"a crop of {side} x {side} tiles is too small for convolutions of "
                             f"strides {tuple(strides)}")  # fmt: skip
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(widths[-1] * left * left, hidden), nn.ReLU()
        )
        self.policy = nn.Linear(hidden, actions)
        self.value = nn.Linear(hidden, 1)
        start_orthogonally(self.body, math.sqrt(2))
        start_orthogonally(self.policy, 0.01)
        start_orthogonally(self.value, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, C, s, s) -> logits (N, A), values (N,)."""
        features = self.body(x)
        return self.policy(features), self.value(features)[:, 0]


class MapNet(nn.Module):
    """For wide: convolutions that keep the map's size and whose last one is the logits themselves.

    It has no head, and its logits pass a ReLU, as in the released code (`rectify`). Action
    (y * w + x) * T + t is channel t at (y, x). The value is read off the logits by convolutions of
    stride 2: two of them where the shorter side has 7 tiles or more, else one.

    Args:
        channels: C.
        size: h and w.
        tiles: T.
        widths: Channels of the convolutions before the last.
        rectify: Whether logits pass a ReLU.

    Example:
        >>> from quire.papers.pcgrl import MapNet
        >>> net = MapNet(5, (5, 6), tiles=5, widths=(8, 8), rectify=False)
        >>> logits, value = net(torch.rand(2, 5, 5, 6))
        >>> logits.shape, value.shape
        (torch.Size([2, 150]), torch.Size([2]))
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        tiles: int,
        widths: Sequence[int] = (32, 64, 64, 64, 64, 64, 64),
        rectify: bool = True,
    ) -> None:
        super().__init__()
        if min(size) < 3:
            raise ValueError(f"a map of {size[1]} x {size[0]} tiles is too small: 3 a side")
        layers: list[nn.Module] = []
        for before, width in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        layers.append(nn.Conv2d((channels, *widths)[-1], tiles, 3, padding=1))
        self.policy = nn.Sequential(*layers, *([nn.ReLU()] if rectify else []))
        reader: list[nn.Module] = []
        before, (height, width) = tiles, size
        for _ in range(2 if min(size) >= 7 else 1):
            reader += [nn.Conv2d(before, VALUE, 3, 2), nn.ReLU()]
            before, height, width = VALUE, (height - 3) // 2 + 1, (width - 3) // 2 + 1
        reader += [nn.Conv2d(VALUE, VALUE, 1), nn.ReLU(), nn.Flatten()]
        self.value = nn.Sequential(*reader, nn.Linear(VALUE * height * width, 1))
        start_orthogonally(self.policy, math.sqrt(2))
        start_orthogonally(self.value, math.sqrt(2))
        start_orthogonally(self.value[-1], 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, C, h, w) -> logits (N, h * w * T), values (N,)."""
        logits = self.policy(x)
        return logits.permute(0, 2, 3, 1).flatten(1), self.value(logits)[:, 0]


VALUE = 64
"""Channels of the layers that read the value."""


def start_orthogonally(part: nn.Module, gain: float) -> None:
    """Orthogonal weights and biases of 0 in all layers of `part`."""
    for layer in part.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def build_net(
    world: World,
    *,
    widths: Sequence[int] | None = None,
    strides: Sequence[int] = (1, 1, 1),
    hidden: int = 512,
    rectify: bool = True,
) -> CropNet | MapNet:
    """The network for a world: `CropNet` for narrow and turtle, `MapNet` for wide.

    Args:
        world: Knows what is seen and how many actions there are.
        widths: Channels of the convolutions; the paper's where None.
        strides: Of `CropNet`.
        hidden: Units of `CropNet`.
        rectify: Of `MapNet`.
    """
    channels, *size = world.shape
    if world.representation.crops:
        return CropNet(
            channels, size[0], actions=world.actions, widths=widths or (32, 64, 64),
            strides=strides, hidden=hidden,
        )  # fmt: skip
    return MapNet(
        channels, (size[0], size[1]), tiles=len(world.problem.tiles),
        widths=widths or (32, 64, 64, 64, 64, 64, 64), rectify=rectify,
    )  # fmt: skip


def count_parameters(net: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(parameter.numel() for parameter in net.parameters())


@torch.no_grad()
def sample_actions(net: nn.Module, seen: Tensor, generator: torch.Generator) -> Tensor:
    """Actions (N,) drawn as the network's logits say, on its device.

    Args:
        net: Gives logits and values.
        seen: What agents see (N, C, ...), any dtype.
        generator: What draws, on the same device.
    """
    weights = next(net.parameters())
    logits, _ = net(seen.to(weights))
    chance = torch.rand(logits.shape, generator=generator, device=logits.device)
    # The largest of logits with Gumbel noise is a draw from their softmax; in double precision no
    # chance is 0 or so near to 1 that its logarithm is.
    noise = -torch.log(-torch.log(chance.double().clamp(1e-12, 1 - 1e-12)))
    return (logits.double() + noise).argmax(1)
