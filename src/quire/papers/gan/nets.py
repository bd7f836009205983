"""The paper's networks: ReLU and sigmoid generators, maxout discriminators (section 5).

B examples in a minibatch, Z the width of the noise, C channels of images H x W. Discriminators
give logits (B,). Sizes and first weights are those of the authors' configurations.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
M = TypeVar("M", nn.Linear, nn.Conv2d)


class Maxout(nn.Module):
    """The largest of some linear pieces, for each unit (Goodfellow et al. 2013).

    All pieces are one matrix product.

    Args:
        inputs: Width of the input.
        units: Width of the output.
        pieces: Linear pieces of a unit.
        spread: First weights are uniform in ±spread, biases 0; None is torch's own start.

    Example:
        >>> Maxout(8, 3, pieces=5)(torch.randn(2, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, inputs: int, units: int, *, pieces: int = 5, spread: float | None = None
    ) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = nn.Linear(inputs, units * pieces)
        start_uniform(self.linear, spread)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., units)."""
        return self.linear(x).unflatten(-1, (self.units, self.pieces)).amax(-1)


class MaxoutDiscriminator(nn.Module):
    """Dropout, maxout layers and one logit; examples of any shape are laid out flat.

    Args:
        inputs: Numbers in an example.
        units: Maxout units of each layer.
        layers: How many.
        pieces: Linear pieces of a unit.
        keep: Shares of the input and of hidden units that dropout leaves; what is left is divided
            by the share.
        spread: First weights are uniform in ±spread.

    Example:
        >>> MaxoutDiscriminator(16, 8)(torch.randn(2, 1, 4, 4)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        layers: int = 2,
        pieces: int = 5,
        keep: tuple[float, float] = (0.8, 0.5),
        spread: float | None = 0.005,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Flatten(), nn.Dropout(1 - keep[0])]
        width = inputs
        for _ in range(layers):
            parts += [Maxout(width, units, pieces=pieces, spread=spread), nn.Dropout(1 - keep[1])]
            width = units
        self.hidden = nn.Sequential(*parts)
        self.logit = start_uniform(nn.Linear(width, 1), spread)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) of examples (B, ...)."""
        return self.logit(self.hidden(x)).squeeze(-1)


class DenseGenerator(nn.Module):
    """Layers from noise to examples of any shape.

    Args:
        noise: Z.
        hidden: Width of each hidden layer.
        shape: Of one example.
        activations: One for all hidden layers, or one for each.
        output: What the last layer goes through; None is linear.
        spread: First weights are uniform in ±spread, biases 0.

    Raises ValueError for another number of activations than hidden layers.

    Example:
        >>> DenseGenerator(4, (16, 16), (1, 8, 8))(torch.randn(2, 4)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        noise: int,
        hidden: Sequence[int],
        shape: Sequence[int],
        *,
        activations: Activation | Sequence[Activation] = torch.relu,
        output: Activation | None = torch.sigmoid,
        spread: float | None = 0.05,
    ) -> None:
        super().__init__()
        chosen = [activations] * len(hidden) if callable(activations) else list(activations)
        if len(chosen) != len(hidden):
            raise ValueError(
                f"activations: one, or one for each of {len(hidden)} layers, got {len(chosen)}"
            )
        widths = [noise, *hidden]
        self.layers = nn.ModuleList(
            start_uniform(nn.Linear(a, b), spread) for a, b in zip(widths, hidden, strict=False)
        )
        self.last = start_uniform(nn.Linear(widths[-1], prod(shape)), spread)
        self.shape, self.activations, self.output = tuple(shape), chosen, output

    def forward(self, noise: Tensor) -> Tensor:
        """Samples (B, *shape) of noise (B, Z)."""
        x = noise
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        x = self.last(x)
        return (x if self.output is None else self.output(x)).unflatten(-1, self.shape)


class ConvolutionalGenerator(nn.Module):
    """Two dense layers, then one transposed convolution to 32 x 32, linear (CIFAR-10).

    Maps are 10 x 10, kernels of 5 move by 3; every pixel has a bias of its own. The second dense
    layer is as wide as the maps: 10 * 10 * maps.

    Args:
        noise: Z.
        hidden: Units of the first layer, ReLU.
        maps: Maps that the transposed convolution reads, sigmoid.
        channels: C.
        spread: First weights are uniform in ±spread.

    Example:
        >>> ConvolutionalGenerator(4, hidden=16, maps=2)(torch.randn(2, 4)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        noise: int = 100,
        *,
        hidden: int = 8000,
        maps: int = 80,
        channels: int = 3,
        spread: float = 0.05,
    ) -> None:
        super().__init__()
        self.dense = start_uniform(nn.Linear(noise, hidden), spread)
        self.wide = start_uniform(nn.Linear(hidden, 100 * maps), spread)
        self.spread_out = nn.ConvTranspose2d(maps, channels, 5, stride=3, bias=False)
        nn.init.uniform_(self.spread_out.weight, -spread, spread)
        self.bias = nn.Parameter(torch.zeros(channels, 32, 32))

    def forward(self, noise: Tensor) -> Tensor:
        """Samples (B, C, 32, 32) of noise (B, Z)."""
        x = torch.sigmoid(self.wide(torch.relu(self.dense(noise))))
        return self.spread_out(x.unflatten(-1, (-1, 10, 10))) + self.bias


class MaxoutConvolution(nn.Module):
    """A convolution with several pieces for each map, their largest, and max pooling.

    Pooling rounds up.

    Args:
        inputs: Maps that it reads.
        maps: Maps that it gives.
        kernel: Width of the kernels.
        padding: Zeros on each side.
        pool: Width of a pooling window; windows move by 2.
        pieces: Linear pieces of a map.
        spread: First weights are uniform in ±spread.

    Example:
        >>> MaxoutConvolution(3, 4, kernel=8, padding=4, pool=4)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 4, 16, 16])
    """

    def __init__(
        self,
        inputs: int,
        maps: int,
        *,
        kernel: int,
        padding: int,
        pool: int,
        pieces: int = 2,
        spread: float = 0.005,
    ) -> None:
        super().__init__()
        self.maps, self.pieces = maps, pieces
        self.convolution = nn.Conv2d(inputs, maps * pieces, kernel, padding=padding)
        start_uniform(self.convolution, spread)
        self.pooling = nn.MaxPool2d(pool, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, maps, H', W')."""
        return self.pooling(self.convolution(x).unflatten(1, (self.maps, self.pieces)).amax(2))


class ConvolutionalDiscriminator(nn.Module):
    """Three maxout convolutions, a maxout layer and one logit (CIFAR-10).

    Args:
        channels: C of the images (C, 32, 32).
        width: Factor on the numbers of maps and units.
        keep: Shares of the input and of hidden units that dropout leaves.
        spread: First weights are uniform in ±spread.

    Example:
        >>> net = ConvolutionalDiscriminator(3, width=0.125, spread=0.5)
        >>> net(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        width: float = 1.0,
        keep: tuple[float, float] = (0.8, 0.5),
        spread: float = 0.005,
    ) -> None:
        super().__init__()
        few, many, units = (max(1, round(width * count)) for count in (32, 192, 500))
        self.hidden = nn.Sequential(
            nn.Dropout(1 - keep[0]),
            MaxoutConvolution(channels, few, kernel=8, padding=4, pool=4, spread=spread),
            nn.Dropout(1 - keep[1]),
            MaxoutConvolution(few, few, kernel=8, padding=3, pool=4, spread=spread),
            nn.Dropout(1 - keep[1]),
            MaxoutConvolution(few, many, kernel=5, padding=3, pool=2, spread=spread),
            nn.Flatten(),
            nn.Dropout(1 - keep[1]),
            Maxout(25 * many, units, spread=spread),
            nn.Dropout(1 - keep[1]),
        )
        self.logit = start_uniform(nn.Linear(units, 1), spread)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) of images (B, C, 32, 32)."""
        return self.logit(self.hidden(x)).squeeze(-1)


def start_uniform(layer: M, spread: float | None) -> M:
    """Weights uniform in ±spread and biases 0; None leaves torch's own start."""
    if spread is not None:
        nn.init.uniform_(layer.weight, -spread, spread)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def start_at_marginals(generator: DenseGenerator, images: Tensor, *, least: float = 1e-3) -> None:
    """Set the last biases so that first samples are near the mean of `images`, (N, ...) in [0, 1].

    They become the logit of each pixel's mean, kept `least` away from 0 and 1. Raises ValueError
    where the images are not of the generator's shape, or outside [0, 1].
    """
    if tuple(images.shape[1:]) != generator.shape or not len(images):
        raise ValueError(
            f"images must be (N, {', '.join(map(str, generator.shape))}) with N >= 1, "
            f"got {tuple(images.shape)}"
        )
    if not images.is_meta and bool(((images < 0) | (images > 1)).any()):
        raise ValueError("marginals are of images in [0, 1], got values outside")
    mean = images.float().mean(0).clamp(least, 1 - least)
    generator.last.bias.copy_(mean.logit().flatten())


@torch.no_grad()
def limit_column_norms(module: nn.Module, largest: float = 1.9365) -> None:
    """Shrink the weights into each unit of every linear layer to a norm of `largest` at most.

    To be called after each update; 1.9365 is the authors' on faces. Raises ValueError for a
    `largest` that is not positive.
    """
    if not largest > 0:
        raise ValueError(f"the largest norm must be positive, got {largest}")
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.copy_(torch.renorm(part.weight, 2, 0, largest))


def mnist_networks() -> tuple[DenseGenerator, MaxoutDiscriminator]:
    """Generator and discriminator of MNIST; noise is uniform in ±sqrt(3), (B, 100)."""
    return DenseGenerator(100, (1200, 1200), (1, 28, 28)), MaxoutDiscriminator(784, 240)


def face_networks() -> tuple[DenseGenerator, MaxoutDiscriminator]:
    """Those of the Toronto Face Database, images (1, 48, 48); noise is normal, (B, 100).

    Noise passes 8000 ReLU and 100 sigmoid units before the generator that was trained first (8000
    ReLU, 8000 sigmoid units). The authors' sparse start is not here.
    """
    relu, sigmoid = torch.relu, torch.sigmoid
    widths, activations = (8000, 100, 8000, 8000), (relu, sigmoid, relu, sigmoid)
    generator = DenseGenerator(100, widths, (1, 48, 48), activations=activations)
    return generator, MaxoutDiscriminator(48 * 48, 1200)


def cifar10_networks() -> tuple[DenseGenerator, MaxoutDiscriminator]:
    """The fully connected ones of CIFAR-10; noise is normal, (B, 100)."""
    generator = DenseGenerator(
        100, (8000, 8000), (3, 32, 32), activations=(torch.relu, torch.sigmoid), output=None
    )
    nn.init.uniform_(generator.last.weight, -0.5, 0.5)
    return generator, MaxoutDiscriminator(3072, 1600)


def cifar10_convolutional_networks() -> tuple[ConvolutionalGenerator, ConvolutionalDiscriminator]:
    """The convolutional ones of CIFAR-10; noise is normal, (B, 100)."""
    return ConvolutionalGenerator(), ConvolutionalDiscriminator()
