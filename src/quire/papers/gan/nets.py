"""Dense networks: ReLU generators, maxout discriminators (section 5), and what stands beside them.

B examples in a minibatch, Z the width of the noise, K classes. Discriminators give logits (B,).
Sizes and first weights are those of the authors' configurations.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn

from quire.nn import devices

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


class Conditional(nn.Module):
    """A player that is told the class: its code stands beside the input (Mirza and Osindero 2014).

    The code has K numbers, 1 at the class and 0 elsewhere. A generator gets it beside the noise, a
    discriminator beside the example laid out flat, or as K more channels; each must be built for K
    more inputs. `GAN.given` plays the game with such players.

    Args:
        player: What takes (B, D + K), or with `maps` images (B, C + K, H, W).
        classes: K.
        maps: Whether the code becomes K constant channels.

    Example:
        >>> player = Conditional(DenseGenerator(4 + 10, (16,), (1, 8, 8)), 10)
        >>> player(torch.randn(3, 4), torch.tensor([0, 7, 9])).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(self, player: nn.Module, classes: int, *, maps: bool = False) -> None:
        super().__init__()
        self.player, self.classes, self.maps = player, classes, maps

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """What the player gives for x (B, ...) and classes (B,), whole numbers from 0 to K - 1.

        Raises ValueError for another number of labels, or labels outside; on an accelerator these
        are an error of the device, for which nobody waits.
        """
        if labels.shape != x.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"{len(x)} rows need as many labels, whole numbers, "
                f"got {tuple(labels.shape)} of {labels.dtype}"
            )
        fine = ((labels >= 0) & (labels < self.classes)).all()
        if devices.is_accelerator(labels):
            torch._assert_async(fine)
        elif not fine:
            raise ValueError(
                f"labels must be in 0..{self.classes - 1}, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        codes = (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(x)
        if self.maps:
            channels = codes[..., None, None].expand(-1, -1, *x.shape[2:])
            return self.player(torch.cat([x, channels], 1))
        return self.player(torch.cat([x.flatten(1), codes], 1))


class MinibatchDiscrimination(nn.Module):
    """Beside each row's features how near its minibatch is (Salimans et al. 2016, section 3.2).

    For each kernel k, row i gets the sum over all rows j of ``exp(-|M_ik - M_jk|)``, where
    M_k = T_k x has `dim` numbers and the norm is the sum of absolute values. Samples that are all
    alike betray themselves. Data and samples must come in minibatches of their own, of one size:
    `GAN(apart=True)`.

    Args:
        inputs: Width D of the rows.
        kernels: Numbers that each row gets.
        dim: Width of what is compared.

    Example:
        >>> MinibatchDiscrimination(8, kernels=3)(torch.randn(5, 8)).shape
        torch.Size([5, 11])
    """

    def __init__(self, inputs: int, *, kernels: int = 16, dim: int = 4) -> None:
        super().__init__()
        self.kernels = kernels
        self.tensor = nn.Linear(inputs, kernels * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, D + kernels); memory grows with B^2."""
        # (dim, kernels, B): what is summed first stands first, so that rows of B numbers are added.
        m = self.tensor(x).unflatten(-1, (self.kernels, -1)).permute(2, 1, 0).contiguous()
        apart = (m[..., None] - m[..., None, :]).abs().sum(0)  # (kernels, B, B)
        return torch.cat([x, torch.exp(-apart).sum(-1).T], -1)


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
    where the images are not of the generator's shape, or outside [0, 1]; on an accelerator these
    are an error of the device, for which nobody waits.
    """
    if tuple(images.shape[1:]) != generator.shape or not len(images):
        raise ValueError(
            f"images must be (N, {', '.join(map(str, generator.shape))}) with N >= 1, "
            f"got {tuple(images.shape)}"
        )
    fine = ((images >= 0) & (images <= 1)).all()
    if devices.is_accelerator(images):
        torch._assert_async(fine)
    elif not fine:
        raise ValueError("marginals are of images in [0, 1], got values outside")
    mean = images.float().mean(0).clamp(least, 1 - least)
    generator.last.bias.copy_(mean.logit().flatten())


@torch.no_grad()
def start_sparse(layer: nn.Linear, nonzeros: int = 100) -> None:
    """Standard normal weights from `nonzeros` random inputs into each unit, 0 from all others.

    All inputs count where there are fewer. Biases stay. Raises ValueError for less than one.
    """
    if nonzeros < 1:
        raise ValueError(f"a unit needs at least one weight, got {nonzeros}")
    places = torch.rand_like(layer.weight).topk(min(nonzeros, layer.in_features), 1).indices
    drawn = torch.randn_like(places, dtype=layer.weight.dtype)
    layer.weight.zero_().scatter_(1, places, drawn)


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


def face_networks(width: float = 1.0) -> tuple[nn.Sequential, MaxoutDiscriminator]:
    """Those of the Toronto Face Database, images (1, 48, 48); noise is normal, (B, 100).

    The generator is two in a row. `generator[1]` (8000 ReLU, 8000 sigmoid units) is trained first,
    alone; then `generator[0]` (8000 ReLU, 100 sigmoid units) stands in front of it and both are
    trained, against a new discriminator. Sigmoid units start with a bias of -2, the last layer with
    100 weights a unit.

    width: factor on all hidden units but the 100 between the two.
    """
    units = max(1, round(8000 * width))
    upper = DenseGenerator(
        100, (units, units), (1, 48, 48), activations=(torch.relu, torch.sigmoid)
    )
    lower = DenseGenerator(100, (units,), (100,))
    for biases in (upper.layers[1].get_parameter("bias"), lower.last.bias):
        nn.init.constant_(biases, -2.0)
    start_sparse(upper.last)
    return nn.Sequential(lower, upper), MaxoutDiscriminator(48 * 48, max(1, round(1200 * width)))


def cifar10_networks() -> tuple[DenseGenerator, MaxoutDiscriminator]:
    """The fully connected ones of CIFAR-10; noise is normal, (B, 100)."""
    generator = DenseGenerator(
        100, (8000, 8000), (3, 32, 32), activations=(torch.relu, torch.sigmoid), output=None
    )
    nn.init.uniform_(generator.last.weight, -0.5, 0.5)
    return generator, MaxoutDiscriminator(3072, 1600)
