"""Decoders of a vector into an image, and the encoders that mirror them (for the baselines).

Legend: B examples, K latent dimensions, C channels, H and W height and width.

An activation needs a second derivative other than zero, or nothing but the weights carries the
outer loss through the inner gradient: hence SiLU and ELU rather than ReLU.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

ActivationMaker = Callable[[], nn.Module]
NormMaker = Callable[[int], nn.Module]
"""Makes a normalisation from its channels; `nn.BatchNorm2d` is the published one."""


def group_norm(channels: int) -> nn.Module:
    """Groups of four channels, or one group where that does not divide: each example for itself."""
    return nn.GroupNorm(channels // 4 if channels % 4 == 0 else 1, channels)


def batch_norm(channels: int) -> nn.Module:
    """The batch's own statistics in training and evaluation, as in the published code.

    A latent then depends on the other examples of its batch. Running averages would mix two
    regimes: the pass at the origin, where all examples are the same, and the one at the latents.
    """
    return nn.BatchNorm2d(channels, track_running_stats=False)


class DenseDecoder(nn.Module):
    """Fully connected: latents (B, K) -> images (B, *shape) in (0, 1), or their logits.

    Args:
        latent: K.
        shape: Of one example, such as (1, 8, 8).
        hidden: Widths between.
        activation: Made anew after each hidden layer.
        logits: Whether the last sigmoid is left to the loss.

    Raises ValueError for a size below 1.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseDecoder
        >>> DenseDecoder(16, (1, 8, 8))(torch.randn(5, 16)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128),
        activation: ActivationMaker = nn.SiLU,
        logits: bool = False,
    ) -> None:
        super().__init__()
        _at_least_one(latent, *shape, *hidden)
        self.latent = latent
        self.shape = tuple(shape)
        self.layers = _dense((latent, *hidden, math.prod(shape)), activation)
        self.squash: nn.Module = nn.Identity() if logits else nn.Sigmoid()

    def forward(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, *shape)."""
        out: Tensor = self.squash(self.layers(z))
        return out.reshape(len(z), *self.shape)


class DenseEncoder(nn.Module):
    """The mirror of `DenseDecoder`: images (B, *shape) -> (B, K), linear at the end.

    Args:
        latent: K.
        shape: Of one example.
        hidden: Widths from the decoder's side, so that the same tuple mirrors it.
        activation: Made anew after each hidden layer.

    With `hidden=()` it is one affine map, which is all that a one-step origin gradient of a squared
    loss can be.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseEncoder
        >>> DenseEncoder(16, (1, 8, 8))(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128),
        activation: ActivationMaker = nn.SiLU,
    ) -> None:
        super().__init__()
        _at_least_one(latent, *shape, *hidden)
        self.latent = latent
        self.layers = _dense((math.prod(shape), *reversed(hidden), latent), activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, K)."""
        out: Tensor = self.layers(x.flatten(1))
        return out


class ConvDecoder(nn.Module):
    """The published convolutional decoder: latents (B, K) -> images (B, C, 32, 32) in (0, 1).

    Four transposed convolutions of 4 x 4: to 4 x 4 pixels and 4 `width` channels, then twice as
    large each, with 2 `width`, `width` and C channels. With K = 32, `width` 16 and one channel it
    has 74,321 weights.

    Args:
        latent: K.
        width: Channels before the last layer.
        channels: C.
        norm: Made after each convolution but the last. `group_norm` treats each example by itself;
            the published code has the batch's statistics (`batch_norm`).
        activation: Made after each normalisation.
        logits: Whether the last sigmoid is left to the loss.

    Raises ValueError for a size below 1.

    Example:
        >>> import torch
        >>> from quire.papers.gon import ConvDecoder
        >>> ConvDecoder(8, width=4)(torch.randn(5, 8)).shape
        torch.Size([5, 1, 32, 32])
    """

    def __init__(
        self,
        latent: int,
        *,
        width: int = 16,
        channels: int = 1,
        norm: NormMaker = group_norm,
        activation: ActivationMaker = nn.ELU,
        logits: bool = False,
    ) -> None:
        super().__init__()
        _at_least_one(latent, width, channels)
        self.latent = latent
        widths = (4 * width, 2 * width, width)
        blocks: list[nn.Module] = []
        before = latent
        for place, after in enumerate(widths):
            stride, padding = (1, 0) if place == 0 else (2, 1)
            conv = nn.ConvTranspose2d(before, after, 4, stride, padding)
            blocks += [conv, norm(after), activation()]
            before = after
        last = nn.ConvTranspose2d(before, channels, 4, 2, 1)
        self.layers = nn.Sequential(*blocks, last)
        self.squash: nn.Module = nn.Identity() if logits else nn.Sigmoid()

    @property
    def alike(self) -> bool:
        """Whether every row is drawn alike and alone; see `origin`."""
        return not any(isinstance(part, _BatchNorm | _DropoutNd) for part in self.layers)

    def forward(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, C, 32, 32)."""
        out: Tensor = self.squash(self.layers(z[:, :, None, None]))
        return out


class ConvEncoder(nn.Module):
    """The mirror of `ConvDecoder`: images (B, C, 32, 32) -> (B, K).

    Args:
        latent: K.
        width: Channels after the first convolution, the decoder's.
        channels: C.
        norm: Made after each convolution but the last, as in the decoder.
        activation: Made after each normalisation.

    Example:
        >>> import torch
        >>> from quire.papers.gon import ConvEncoder
        >>> ConvEncoder(8, width=4)(torch.randn(5, 1, 32, 32)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        latent: int,
        *,
        width: int = 16,
        channels: int = 1,
        norm: NormMaker = group_norm,
        activation: ActivationMaker = nn.ELU,
    ) -> None:
        super().__init__()
        _at_least_one(latent, width, channels)
        self.latent = latent
        blocks: list[nn.Module] = []
        before = channels
        for after in (width, 2 * width, 4 * width):
            conv = nn.Conv2d(before, after, 4, 2, 1)
            blocks += [conv, norm(after), activation()]
            before = after
        last = nn.Conv2d(before, latent, 4)
        self.layers = nn.Sequential(*blocks, last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 32, 32) -> (B, K)."""
        if x.dim() != 4 or x.shape[2:] != (32, 32):
            raise ValueError(f"images must be (B, C, 32, 32), got {tuple(x.shape)}")
        out: Tensor = self.layers(x)
        return out.flatten(1)


def count_parameters(*modules: nn.Module) -> int:
    """Learned numbers of some modules, what they share counted once."""
    return sum({id(p): p.numel() for m in modules for p in m.parameters()}.values())


def resize(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) at size x size, bilinear, as the published code brings 28 to 32."""
    return torch.nn.functional.interpolate(
        images, (size, size), mode="bilinear", align_corners=False
    )


def _dense(sizes: Sequence[int], activation: ActivationMaker) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(sizes)):
        if place:
            layers.append(activation())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def _at_least_one(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"sizes must be at least 1, got {sizes}")
