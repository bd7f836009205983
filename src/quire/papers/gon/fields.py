"""Other fields than a concatenating SIREN: shifts in every layer, and random Fourier features.

Legend: B examples, K latent dimensions, P points, D coordinates of a point, C channels, S random
frequencies, W hidden width, L hidden layers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.nn.devices import without_autocast
from quire.papers.gon.decoders import ActivationMaker
from quire.papers.gon.siren import check_inputs


class ShiftedSiren(nn.Module):
    """A SIREN of coordinates alone whose sines a latent shifts: functa's latent modulations.

    Layer l is sin(w0 (W h + b + s_l)), and all shifts s are one linear map of the latent (Dupont et
    al. 2022, arXiv 2201.12204, who take three inner steps with a learned step: `GON(..., steps=3,
    learned_scale=True)`). At the latent zero it is the SIREN without shifts.

    Args:
        latent: K.
        hidden: W.
        layers: L, sine layers.
        channels: C.
        coordinates: D.
        frequency: w0, the same in every layer.

    Raises ValueError for a size below 1.

    Example:
        >>> import torch
        >>> from quire.papers.gon import ShiftedSiren, make_grid
        >>> net = ShiftedSiren(16, hidden=32, layers=3)
        >>> net(torch.randn(5, 16), make_grid(4, 4)).shape
        torch.Size([5, 16, 1])
    """

    def __init__(
        self,
        latent: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        channels: int = 1,
        coordinates: int = 2,
        frequency: float = 30.0,
    ) -> None:
        super().__init__()
        _at_least_one(latent, hidden, layers, channels, coordinates)
        self.latent = latent
        self.coordinates = coordinates
        self.frequency = frequency
        widths = (coordinates, *[hidden] * (layers - 1))
        waves = [nn.Linear(width, hidden) for width in widths]
        self.waves = nn.ModuleList(waves)
        self.last = nn.Linear(hidden, channels)
        self.shift = nn.Linear(latent, layers * hidden, bias=False)
        bound = (6 / hidden) ** 0.5 / frequency
        bounds = (1 / coordinates, *[bound] * (layers - 1))
        for layer, reach in zip(waves, bounds, strict=True):
            nn.init.uniform_(layer.weight, -reach, reach)
        nn.init.uniform_(self.last.weight, -bound, bound)
        nn.init.uniform_(self.shift.weight, -1 / latent, 1 / latent)

    def forward(self, z: Tensor, points: Tensor) -> Tensor:
        """Channels (B, P, C) of the images of latents (B, K) at points (P, D), the same for all."""
        check_inputs(z, points, self.latent, self.coordinates)
        shifts = self.shift(z)[:, None].chunk(len(self.waves), -1)  # L times (B, 1, W)
        h = points.to(self.last.weight.dtype)  # (P, D), then (B, P, W)
        for layer, shift in zip(self.waves, shifts, strict=True):
            h = torch.sin(self.frequency * (layer(h) + shift))
        out: Tensor = self.last(h)
        return out


class FourierField(nn.Module):
    """A plain net of random Fourier features of a point and of a latent (Tancik et al. 2020).

    Features are cos and sin of 2 pi R c for S frequencies R from N(0, sigma^2), drawn once and kept
    with the weights. As in a `Siren`, what of the first layer depends on the point alone is
    computed once for all examples.

    Args:
        latent: K.
        hidden: W.
        layers: L, hidden layers.
        channels: C.
        coordinates: D.
        features: S; the first layer takes 2 S numbers beside the latent.
        sigma: Standard deviation of the frequencies, in periods a unit; a grid of H pixels over
            [-1, 1] shows at most H / 4 of them.
        activation: Made anew after each hidden layer; it needs a second derivative.

    Raises ValueError for a size below 1 and sigma at or below 0.

    Example:
        >>> import torch
        >>> from quire.papers.gon import FourierField, make_grid
        >>> net = FourierField(16, hidden=32, layers=3)
        >>> net(torch.randn(5, 16), make_grid(4, 4)).shape
        torch.Size([5, 16, 1])
    """

    frequencies: Tensor

    def __init__(
        self,
        latent: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        channels: int = 1,
        coordinates: int = 2,
        features: int = 32,
        sigma: float = 1.0,
        activation: ActivationMaker = nn.SiLU,
    ) -> None:
        super().__init__()
        _at_least_one(latent, hidden, layers, channels, coordinates, features)
        if sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        self.latent = latent
        self.coordinates = coordinates
        self.register_buffer("frequencies", sigma * torch.randn(features, coordinates))
        self.of_point = nn.Linear(2 * features, hidden)
        self.of_latent = nn.Linear(latent, hidden, bias=False)
        rest: list[nn.Module] = [activation()]
        for _ in range(layers - 1):
            rest += [nn.Linear(hidden, hidden), activation()]
        self.rest = nn.Sequential(*rest, nn.Linear(hidden, channels))

    def forward(self, z: Tensor, points: Tensor) -> Tensor:
        """Channels (B, P, C) of the images of latents (B, K) at points (P, D), the same for all."""
        check_inputs(z, points, self.latent, self.coordinates)
        with without_autocast(points):  # a phase of many periods needs all its digits
            turns = 2 * math.pi * F.linear(points.to(self.frequencies.dtype), self.frequencies)
        of_point = self.of_point(torch.cat([turns.cos(), turns.sin()], -1))
        out: Tensor = self.rest(of_point + self.of_latent(z)[:, None])
        return out


def _at_least_one(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"sizes must be at least 1, got {sizes}")
