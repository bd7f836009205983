"""The nets of He et al. (2015): ImageNet's (Table 1), CIFAR-10's (section 4.2), their plain twins.

Legend: B batch, C channels, H and W height and width.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from quire.nn.residual import (
    BasicBlock,
    Bottleneck,
    Conv,
    ResidualNet,
    ShortcutKind,
    ShortcutMaker,
    Version,
    accepted,
    at_least_one,
    relu,
    residual_stage,
)

Init = Literal["fan_in", "fan_out"]

LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Table 1: depth -> the block and how many of it stand in conv2_x to conv5_x."""


class ResNet(ResidualNet):
    """The ImageNet nets of Table 1: images (B, C, H, W) -> class scores (B, classes).

    Args:
        depth: 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).
        num_classes: how many classes are scored.
        shortcut: "A", "B" (the paper's choice from 50 on), "C", "none" for the plain twin, or a
            function (in, out, stride) -> module, such as
            `partial(Shortcut, kind="A", padding="both")`.
        version: "1" the paper's, "1.5" with the bottleneck's stride on the 3x3, "2" pre-activation.
        stem: "imagenet" (7x7 stride 2 and max-pooling: levels at strides 4, 8, 16, 32), "cifar"
            (one 3x3: strides 1, 2, 4, 8), or a module with round(64 * width) output channels.
            Modules that are given, as a stem or a shortcut, keep the values that they come with.
        width: multiplies all channels.
        in_channels: C of the images.
        zero_gamma: every block starts as the identity.
        init: He's normal with variance 2 / fan_in (the paper) or 2 / fan_out.
        recompute: activation checkpointing, less memory for more time.

    `features(x)` gives the four levels of a feature pyramid. Raises ValueError for anything else,
    TypeError for a stem that is neither a name nor a module.

    Example:
        >>> net = ResNet(18, width=0.125, num_classes=5, stem="cifar")
        >>> net(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        depth: int = 50,
        num_classes: int = 1000,
        *,
        shortcut: ShortcutKind | ShortcutMaker = "B",
        version: Version = "1",
        stem: Literal["imagenet", "cifar"] | nn.Module = "imagenet",
        width: float = 1.0,
        in_channels: int = 3,
        zero_gamma: bool = False,
        init: Init = "fan_in",
        recompute: bool = False,
    ) -> None:
        if not hasattr(depth, "__index__") or depth not in LAYOUTS:
            raise ValueError(f"depth must be one of {', '.join(map(str, LAYOUTS))}; got {depth!r}")
        block, counts = LAYOUTS[depth]
        widths = [scale_channels(64 * 2**level, width) for level in range(4)]
        norm_first = version == "2"
        given = [] if isinstance(stem, str) else [stem]
        if isinstance(stem, str):
            stem = _stem(stem, in_channels, widths[0], norm=not norm_first)
        elif not isinstance(stem, nn.Module):
            raise TypeError(
                f"stem must be 'imagenet', 'cifar' or a module; got {type(stem).__name__}"
            )
        make = partial(block, shortcut=shortcut, version=version)
        # conv2_x keeps the stem's size, each later stage halves it in its first block (Table 1).
        stages, channels = [], widths[0]
        for level, (count, inner) in enumerate(zip(counts, widths, strict=True)):
            stride = 1 if level == 0 else 2
            stages.append(
                residual_stage(make, channels, channels=inner, count=count, stride=stride)
            )
            channels = inner * block.expansion
        super().__init__(
            stem, stages, classifier(channels, num_classes, norm=norm_first), recompute=recompute
        )
        self.depth, self.version = depth, version
        if not isinstance(shortcut, str):
            given += _shortcuts(self)
        initialise(self, init, zero_gamma=zero_gamma, keep=given)


class CifarResNet(ResidualNet):
    """The CIFAR-10 nets of section 4.2: images (B, C, H, W) -> class scores (B, classes).

    A 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 channels at strides 1, 2
    and 4, global average pooling and a linear layer: 6n + 2 weighted layers.

    Args:
        depth: 6n + 2, the paper's being 20, 32, 44, 56, 110 and 1202 (which wants `recompute`).
        residual: False gives the plain twin.
        shortcut, version, width, in_channels, zero_gamma, init, recompute: as `ResNet`.
        num_classes: how many classes are scored.

    Raises ValueError for another depth, naming the nearest ones.

    Example:
        >>> net = CifarResNet(8, width=0.25)
        >>> net(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int = 20,
        residual: bool = True,
        *,
        shortcut: ShortcutKind | ShortcutMaker = "A",
        version: Version = "1",
        width: float = 1.0,
        num_classes: int = 10,
        in_channels: int = 3,
        zero_gamma: bool = False,
        init: Init = "fan_in",
        recompute: bool = False,
    ) -> None:
        count = blocks_per_stage(depth)
        accepted("version", version, Version)
        widths = [scale_channels(base, width) for base in (16, 32, 64)]
        norm_first = version == "2"
        stem = _stem("cifar", in_channels, widths[0], norm=not norm_first)
        make = partial(BasicBlock, shortcut=shortcut if residual else "none", version=version)
        stages = [
            residual_stage(make, previous, channels=inner, count=count, stride=stride)
            for previous, inner, stride in zip(
                [widths[0], *widths[:2]], widths, (1, 2, 2), strict=True
            )
        ]
        head = classifier(widths[-1], num_classes, norm=norm_first)
        super().__init__(stem, stages, head, recompute=recompute)
        self.depth, self.version = depth, version
        given = [] if isinstance(shortcut, str) else _shortcuts(self)
        initialise(self, init, zero_gamma=zero_gamma, keep=given)


def blocks_per_stage(depth: int) -> int:
    """n of depth = 6n + 2. Raises ValueError naming the nearest depths that have one."""
    if not hasattr(depth, "__index__"):
        raise ValueError(f"depth must be a whole number, 6n + 2; got {depth!r}")
    count, rest = divmod(depth - 2, 6)
    if rest or count < 1:
        below = 6 * max(count, 1) + 2
        nearest = f"{below} or {below + 6}" if count >= 1 else f"{below}"
        raise ValueError(f"depth must be 6n + 2; got {depth!r}, the nearest is {nearest}")
    return count


def scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, rounded. Raises ValueError where nothing is left."""
    result = round(channels * width) if math.isfinite(width) else 0
    if result < 1:
        raise ValueError(f"width must leave at least one of {channels} channels; got {width!r}")
    return result


def _shortcuts(net: ResidualNet) -> list[nn.Module]:
    return [block.shortcut for block in net.blocks().values() if block.shortcut is not None]


def _stem(kind: str, in_channels: int, out_channels: int, *, norm: bool) -> nn.Module:
    accepted("stem", kind, Literal["imagenet", "cifar"])
    # Version 2 normalises inside its first block: its stem is the bare convolution.
    conv = partial(
        Conv,
        norm=nn.BatchNorm2d if norm else None,
        activation=relu if norm else None,
    )
    if kind == "cifar":
        return conv(in_channels, out_channels)
    return nn.Sequential(
        conv(in_channels, out_channels, kernel_size=7, stride=2), nn.MaxPool2d(3, 2, padding=1)
    )


def classifier(channels: int, classes: int, *, norm: bool = False) -> nn.Sequential:
    """Global average pooling and a linear layer `fc`; `norm` puts version 2's last one before.

    Raises ValueError for less than one class.
    """
    at_least_one(num_classes=classes)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if norm:
        parts["norm"], parts["activation"] = nn.BatchNorm2d(channels), relu()
    parts["pool"], parts["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    parts["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(parts)


def initialise(
    net: ResidualNet,
    init: Init = "fan_in",
    *,
    zero_gamma: bool = False,
    keep: Iterable[nn.Module] = (),
) -> None:
    """He's normal initialisation (arXiv 1502.01852) of every convolution; `fc` keeps torch's own.

    Normalisations keep their scale 1 and shift 0, unless `zero_gamma` turns off the residuals.

    Args:
        net: Is initialised in place.
        init: Variance 2 / fan_in (the paper) or 2 / fan_out.
        zero_gamma: Whether every block starts as the identity.
        keep: Modules of the net that keep their values, and all inside them.

    Raises ValueError for `zero_gamma` on a plain net.
    """
    accepted("init", init, Init)
    kept = {id(inner) for module in keep for inner in module.modules()}
    for module in net.modules():
        if id(module) in kept:
            continue
        # The gain 2 makes up for the half of the values that a ReLU sets to zero.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=init, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    if zero_gamma:
        for block in net.blocks().values():
            if block.shortcut is None:
                raise ValueError("zero_gamma needs shortcuts: a plain net would output zeros")
            block.zero_residual()


def channels_of(net: ResidualNet) -> tuple[int, ...]:
    """The number of channels of each level that `features` returns."""
    return tuple(cast(int, cast(nn.Sequential, stage)[-1].out_channels) for stage in net.stages)


def classify(features: Tensor, net: ResidualNet) -> Tensor:
    """The class scores (B, classes, H, W) of every position of the last features (B, C, H, W).

    The linear layer as a 1x1 convolution; their mean over positions is what the net returns.
    Raises TypeError for a net whose head is not one of `classifier`.
    """
    head = cast(nn.Sequential, net.head)
    fc = getattr(head, "fc", None)
    if not isinstance(fc, nn.Linear):
        raise TypeError("the net's head must be pooling and a linear layer `fc`, from `classifier`")
    if hasattr(head, "norm"):
        features = head.activation(head.norm(features))  # type: ignore[operator]
    scores = torch.einsum("bchw,kc->bkhw", features, fc.weight)
    return scores if fc.bias is None else scores + fc.bias[:, None, None]
