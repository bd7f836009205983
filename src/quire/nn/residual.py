"""Convolution and residual blocks of He et al. (2015) and their pre-activation form (2016).

Legend: B batch, C channels, H and W height and width of the input; H' = ceil(H / stride).
Versions: "1" puts a bottleneck's stride on its first 1x1 convolution, as the paper does; "1.5"
puts it on the 3x3; "2" normalises and activates before each convolution (arXiv 1603.05027).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Version = Literal["1", "1.5", "2"]
ShortcutKind = Literal["A", "B", "C", "none"]
ShortcutMaker = Callable[[int, int, int], nn.Module]
"""Builds a shortcut from (input channels, output channels, stride)."""
NormMaker = Callable[[int], nn.Module]
ActivationMaker = Callable[[], nn.Module]

relu: ActivationMaker = partial(nn.ReLU, inplace=True)
"""The default activation. In place, because the normalisation before it keeps its own input."""


def accepted(name: str, value: object, literal: object) -> None:
    """Raise ValueError unless `value` is one of the Literal's values."""
    if value not in get_args(literal):
        choices = ", ".join(repr(choice) for choice in get_args(literal))
        raise ValueError(f"{name} must be one of {choices}; got {value!r}")


def at_least_one(**counts: int) -> None:
    """Raise ValueError naming the first of `counts` that is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count!r}")


class Conv(nn.Module):
    """Convolution, then normalisation, then activation: (B, in, H, W) -> (B, out, H', W').

    Padded by half the kernel, so that only the stride changes the size.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, odd.
        stride: Pixels from one output to the next, in both directions.
        bias: Whether the convolution has one; the normalisation's shift does its work.
        norm: Makes the normalisation from its channels; None leaves it out.
        activation: Makes the activation; None leaves it out.

    Raises ValueError for an even kernel, whose half cannot be padded, or a size below 1.

    Example:
        >>> import torch
        >>> layer = Conv(3, 8, stride=2)
        >>> layer(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        bias: bool = False,
        norm: NormMaker | None = nn.BatchNorm2d,
        activation: ActivationMaker | None = relu,
    ) -> None:
        super().__init__()
        at_least_one(in_channels=in_channels, out_channels=out_channels, stride=stride)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1; got {kernel_size!r}")
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=bias,
        )
        self.norm = nn.Identity() if norm is None else norm(out_channels)
        self.activation = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class Shortcut(nn.Module):
    """What a block adds to its residual: (B, in, H, W) -> (B, out, H', W'). Section 3.3.

    "A": the input itself, every `stride`-th pixel of it, new channels filled with zeros (no
    parameters). "B": a 1x1 convolution with normalisation where the shape changes, else the input
    itself. "C": that convolution everywhere. "none": the number 0, which makes a plain net.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Pixels from one output to the next, in both directions.
        kind: "A", "B", "C" or "none".
        padding: Where "A" puts the new channels: all at the "end" or half on "both" sides.
        norm: Makes the normalisation of the 1x1 convolution from its channels; None leaves it out.

    Raises ValueError for another kind or padding, or for "A" with fewer channels out than in.

    Example:
        >>> import torch
        >>> layer = Shortcut(4, 8, 2, kind="A")
        >>> layer(torch.randn(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kind: ShortcutKind = "B",
        padding: Literal["end", "both"] = "end",
        norm: NormMaker | None = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        accepted("shortcut", kind, ShortcutKind)
        accepted("padding", padding, Literal["end", "both"])
        at_least_one(in_channels=in_channels, out_channels=out_channels, stride=stride)
        added = out_channels - in_channels
        if kind == "A" and added < 0:
            raise ValueError(
                f'shortcut "A" cannot drop channels; got {in_channels} in, {out_channels} out'
            )
        self.kind = kind
        self.stride = stride
        # Of an odd number of new channels the last side gets one more.
        before = added // 2 if padding == "both" else 0
        self.padding = (before, added - before)
        changes = stride != 1 or added != 0
        self.projects = kind == "C" or (kind == "B" and changes)
        if self.projects:
            # Without activation: that comes after the sum, and a skip is to carry both signs.
            self.projection = Conv(
                in_channels, out_channels, kernel_size=1, stride=stride, norm=norm, activation=None
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "none":
            # Without dimensions: it broadcasts in the sum, and takes no memory.
            return x.new_zeros(())
        if self.projects:
            return self.projection(x)
        if self.stride != 1:
            # The pixels that a 1x1 convolution of this stride would read; pooling would blur them.
            x = x[:, :, :: self.stride, :: self.stride]
        if any(self.padding):
            # Sides are given from the last dimension on: width, height, then channels.
            x = F.pad(x, (0, 0, 0, 0, *self.padding))
        return x


class _Block(nn.Module):
    """The part that both blocks share: y = after(F(before(x)) + shortcut(x)).

    Subclasses build `body`, the residual function F, whose last element is a `Conv`.
    """

    expansion: int
    body: nn.Sequential

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        shortcut: ShortcutKind | ShortcutMaker,
        version: Version,
        norm: NormMaker,
        activation: ActivationMaker,
    ) -> None:
        super().__init__()
        accepted("version", version, Version)
        self.version = version
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        pre_activated = version == "2"
        # Version 2 leaves nothing after the sum, so that x reaches every later block unchanged.
        self.before = _before(norm(in_channels), activation()) if pre_activated else None
        self.after = nn.Identity() if pre_activated else activation()
        made: nn.Module
        if not isinstance(shortcut, str):
            made = shortcut(in_channels, out_channels, stride)
        else:
            # A pre-activated projection reads normalised input, so it has no norm of its own.
            projection_norm = None if pre_activated else norm
            made = Shortcut(in_channels, out_channels, stride, kind=shortcut, norm=projection_norm)
        # A plain net adds nothing: it does not even spend an addition.
        adds_nothing = isinstance(made, Shortcut) and made.kind == "none"
        self.shortcut: nn.Module | None = None if adds_nothing else made

    def skip(self, x: Tensor, normalised: Tensor) -> Tensor | None:
        """The shortcut's value, or None in a plain block. `normalised` is before(x)."""
        if self.shortcut is None:
            return None
        # A projection reads what F reads; an identity is one only of x itself.
        return self.shortcut(normalised if getattr(self.shortcut, "projects", False) else x)

    def forward(self, x: Tensor) -> Tensor:
        normalised = x if self.before is None else self.before(x)
        residual = self.body(normalised)
        skip = self.skip(x, normalised)
        return self.after(residual if skip is None else residual + skip)

    def zero_residual(self) -> None:
        """Make F = 0: the last normalisation's scale, or in version 2 the last weights, are 0.

        Such a block is the identity on non-negative inputs (section 3.1's construction). The last
        weights are zeroed as well where the normalisation has no scale.
        """
        last = cast(Conv, self.body[-1])
        scale = getattr(last.norm, "weight", None)
        scaled = last.norm if scale is not None else last.conv
        # With a scale of 0 the shift would be all that F gives; without one the old mean would.
        zeroed = [scaled.weight, *(getattr(layer, "bias", None) for layer in (scaled, last.norm))]
        if scale is None:
            zeroed.append(getattr(last.norm, "running_mean", None))
        for tensor in zeroed:
            if tensor is not None:
                nn.init.zeros_(cast(Tensor, tensor))


def _before(norm: nn.Module, activation: nn.Module) -> nn.Sequential:
    """What version 2 does before F; leaves its input as it is, which is the shortcut's too."""
    if isinstance(norm, nn.Identity) and getattr(activation, "inplace", False):
        # Nothing stands between x and the activation: in place it would change the shortcut.
        activation.inplace = False  # type: ignore[assignment]
    return nn.Sequential(norm, activation)


class BasicBlock(_Block):
    """Two 3x3 convolutions and a shortcut: (B, in, H, W) -> (B, channels, H', W'). Figure 5, left.

    Args:
        in_channels: Channels of the input.
        channels: Channels of both convolutions and of the output.
        stride: Pixels from one output to the next, in the first convolution.
        shortcut: A kind of `Shortcut`, or a function (in, out, stride) -> module.
        version: "1" or "1.5", here the same, or "2", which normalises before each convolution.
        norm: Makes a normalisation from its channels.
        activation: Makes an activation.

    Raises ValueError for another version or kind of shortcut.

    Example:
        >>> import torch
        >>> block = BasicBlock(4, 8, stride=2, shortcut="A")
        >>> block(torch.randn(2, 4, 8, 8)).shape
        torch.Size([2, 8, 4, 4])
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: ShortcutKind | ShortcutMaker = "B",
        version: Version = "1",
        norm: NormMaker = nn.BatchNorm2d,
        activation: ActivationMaker = relu,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            stride=stride,
            shortcut=shortcut,
            version=version,
            norm=norm,
            activation=activation,
        )
        # In version 2 the block that comes next normalises the sum.
        last_norm = None if version == "2" else norm
        self.body = nn.Sequential(
            Conv(in_channels, channels, stride=stride, norm=norm, activation=activation),
            Conv(channels, channels, norm=last_norm, activation=None),
        )


class Bottleneck(_Block):
    """1x1, 3x3 and 1x1 convolutions: (B, in, H, W) -> (B, 4 * channels, H', W'). Figure 5, right.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the 3x3 convolution, a quarter of the output's.
        stride: Pixels from one output to the next.
        shortcut: A kind of `Shortcut`, or a function (in, out, stride) -> module.
        version: "1" strides in the first 1x1, "1.5" and "2" in the 3x3.
        norm: Makes a normalisation from its channels.
        activation: Makes an activation.

    Raises ValueError for another version or kind of shortcut.

    Example:
        >>> import torch
        >>> block = Bottleneck(8, 4, stride=2, version="1.5")
        >>> block(torch.randn(2, 8, 8, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: ShortcutKind | ShortcutMaker = "B",
        version: Version = "1",
        norm: NormMaker = nn.BatchNorm2d,
        activation: ActivationMaker = relu,
    ) -> None:
        out = self.expansion * channels
        super().__init__(
            in_channels,
            out,
            stride=stride,
            shortcut=shortcut,
            version=version,
            norm=norm,
            activation=activation,
        )
        # A 1x1 of stride 2 never reads three pixels of four; in the 3x3 every pixel is seen.
        first, second = (stride, 1) if version == "1" else (1, stride)
        conv = partial(Conv, norm=norm, activation=activation)
        # In version 2 the block that comes next normalises the sum.
        last_norm = None if version == "2" else norm
        self.body = nn.Sequential(
            conv(in_channels, channels, kernel_size=1, stride=first),
            conv(channels, channels, stride=second),
            Conv(channels, out, kernel_size=1, norm=last_norm, activation=None),
        )


BlockMaker = Callable[..., _Block]
"""Builds a block from (input channels, channels, stride=...): a block class, or a partial of one
with its shortcut, version, norm and activation set."""


def residual_stage(
    block: BlockMaker, in_channels: int, *, channels: int, count: int, stride: int = 1
) -> nn.Sequential:
    """`count` blocks of one width; only the first one strides and changes the channels.

    Args:
        block: Makes a block.
        in_channels: Channels of the input.
        channels: What each block is given; a `Bottleneck` gives four times as many.
        count: Number of blocks, at least one.
        stride: That of the first block.

    Raises ValueError for a count below 1.
    """
    at_least_one(count=count)
    first = block(in_channels, channels, stride=stride)
    rest = [block(first.out_channels, channels, stride=1) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)


class ResidualNet(nn.Module):
    """A stem, stages of blocks and a head, all given as values: (B, C, H, W) -> head's output.

    Args:
        stem: What comes before the first block.
        stages: Blocks in order, e.g. from `residual_stage`.
        head: What makes the output of the last stage's.
        recompute: Whether in training only the inputs of blocks are kept for the backward pass, and
            the rest is computed again (activation checkpointing): less memory for about a third
            more time, same numbers. Under torch.compile it needs a backend that traces the backward
            pass as well, as inductor does.

    Raises ValueError without a stage.

    Example:
        >>> import torch
        >>> stage = residual_stage(BasicBlock, 4, channels=8, count=2, stride=2)
        >>> head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> net = ResidualNet(Conv(3, 4), [stage], head)
        >>> net(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Iterable[nn.Sequential],
        head: nn.Module,
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        if not len(self.stages):
            raise ValueError("stages must hold at least one stage of blocks; got none")
        self.head = head
        self.recompute = recompute

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of every stage, finest first: the levels of a feature pyramid."""
        x = self.stem(x)
        levels: list[Tensor] = []
        for stage in self.stages:
            for block in cast(nn.Sequential, stage):
                # Evaluation has no backward pass as a rule: there is nothing to save.
                x = _recomputed(block, x) if self.recompute and self.training else block(x)
            levels.append(x)
        return tuple(levels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1])

    def blocks(self) -> dict[str, _Block]:
        """The residual blocks by their name in this net, in depth order."""
        return {name: m for name, m in self.named_modules() if isinstance(m, _Block)}


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    if torch.compiler.is_exporting():
        # An exported program has no backward pass.
        return cast(Tensor, block(x))
    if torch.compiler.is_compiling():
        # The compiler updates statistics once, in the forward pass, and takes no such context.
        return cast(Tensor, checkpoint(block, x, use_reentrant=False))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        # For the first computation and for the second one, in the backward pass.
        return nullcontext(), _statistics_untouched(block)

    # The reentrant form gives parameters no gradient where x needs none, as in the first block
    # after a frozen stem.
    return cast(Tensor, checkpoint(block, x, use_reentrant=False, context_fn=contexts))


@contextmanager
def _statistics_untouched(module: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation uses the batch but leaves its running statistics alone.

    A block that is computed a second time would otherwise count its batch twice.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # With momentum 0 the statistics take nothing of the batch; without a count none is added.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
