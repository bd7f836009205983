"""Convolutional networks: the paper's of CIFAR-10, and DCGAN's (Radford et al. 2016).

B examples in a minibatch, Z the width of the noise, C channels of images H x W. Discriminators
give logits (B,). Sizes and first weights of the paper's are those of the authors' configurations.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from quire.papers.gan.nets import Activation, Maxout, start_uniform


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


def cifar10_convolutional_networks() -> tuple[ConvolutionalGenerator, ConvolutionalDiscriminator]:
    """The convolutional ones of CIFAR-10; noise is normal, (B, 100)."""
    return ConvolutionalGenerator(), ConvolutionalDiscriminator()


class DCGANGenerator(nn.Module):
    """A dense layer to small maps, then transposed convolutions that double them (DCGAN).

    Kernels of 5 move by 2. Each layer but the last is normalised over its minibatch, ReLU; maps
    halve in number as they double in size. In evaluation normalisation takes running averages of
    the minibatches that were drawn in training, so that a sample depends on its own noise alone.

    Args:
        noise: Z.
        shape: (C, H, H) of one image; H is 4 to 7 times a power of 2, such as 28, 32, 48 or 64.
        maps: In the last hidden layer; the paper has 128 for images of 64 x 64.
        output: What the last layer goes through: the paper's tanh is for images in ±1, `sigmoid`
            for those in [0, 1], None is linear.

    First weights are normal with a deviation of 0.02. Raises ValueError for another shape.

    Example:
        >>> DCGANGenerator(4, (1, 28, 28), maps=2)(torch.randn(2, 4)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        noise: int,
        shape: Sequence[int],
        *,
        maps: int = 64,
        output: Activation | None = torch.tanh,
    ) -> None:
        super().__init__()
        self.side, doublings = plan_sides(shape)
        widths = [maps * 2**k for k in reversed(range(doublings))]
        self.dense = nn.Linear(noise, widths[0] * self.side**2, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for a, b in pairwise(widths):
            layers += [make_doubling(a, b, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, make_doubling(widths[-1], shape[0]))
        self.output = output
        start_normal(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Samples (B, C, H, H) of noise (B, Z)."""
        x = self.layers(self.dense(noise).unflatten(-1, (-1, self.side, self.side)))
        return x if self.output is None else self.output(x)


class DCGANDiscriminator(nn.Module):
    """The way back: convolutions that halve, leaky ReLU with a slope of 0.2, one logit (DCGAN).

    Each convolution but the first is normalised over its minibatch. Data and samples have other
    statistics and must come in minibatches of their own: `GAN(apart=True)`. In evaluation
    normalisation takes running averages over both kinds, so that this is not the discriminator
    that was trained: leave it in training to look at its scores.

    Args:
        shape: (C, H, H) of one image, as in `DCGANGenerator`.
        maps: In the first layer; they double in number as they halve in size.

    First weights are normal with a deviation of 0.02. Raises ValueError for another shape.

    Example:
        >>> DCGANDiscriminator((1, 28, 28), maps=2)(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2])
    """

    def __init__(self, shape: Sequence[int], *, maps: int = 64) -> None:
        super().__init__()
        side, halvings = plan_sides(shape)
        widths = [maps * 2**k for k in range(halvings)]
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], maps, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
        ]
        for a, b in pairwise(widths):
            layers += [
                nn.Conv2d(a, b, 5, stride=2, padding=2, bias=False),
                nn.BatchNorm2d(b),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.logit = nn.Linear(widths[-1] * side**2, 1)
        start_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) of images (B, C, H, H)."""
        return self.logit(self.layers(x)).squeeze(-1)


def make_doubling(inputs: int, maps: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    """A transposed convolution from (B, inputs, H, W) to exactly (B, maps, 2 H, 2 W)."""
    return nn.ConvTranspose2d(inputs, maps, 5, stride=2, padding=2, output_padding=1, bias=bias)


def plan_sides(shape: Sequence[int]) -> tuple[int, int]:
    """Side of the smallest maps, from 4 to 7, and how often it doubles up to that of an image.

    Raises ValueError for images (C, H, W) that are not square or of no such side.
    """
    side, doublings = shape[-1], 0
    while side >= 8 and side % 2 == 0:
        side, doublings = side // 2, doublings + 1
    if len(shape) != 3 or shape[1] != shape[2] or not doublings or not 4 <= side <= 7:
        raise ValueError(
            "images must be (C, H, H) with H from 4 to 7 times a power of 2, such as 28, 32 or 64, "
            f"got {tuple(shape)}"
        )
    return side, doublings


@torch.no_grad()
def start_normal(module: nn.Module, deviation: float = 0.02) -> None:
    """Normal weights of `deviation` and biases 0 in every convolution and linear layer."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, deviation)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
