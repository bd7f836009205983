"""What holds exactly of origin gradients: closed forms, second order, independence, sizes."""

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.papers.gon.decoders import ConvDecoder, DenseDecoder, count_parameters
from quire.papers.gon.gon import GON
from quire.papers.gon.origin import find_mean_scale, origin, sum_squares
from quire.papers.gon.siren import Siren
from quire.papers.gon.variational import VariationalGON, kl_to_standard

BATCH, LATENT, PIXELS = 6, 4, 12
TRAINED, RATE = 3000, 0.02
"""Full-batch steps and Adam's rate of the linear GON."""
SHIFT = 1e-6
"""Of central differences."""


class Identities(Config):
    """Exact facts in double precision."""


def identities(config: Identities, run: Run) -> Metrics:
    """Distances from what must hold."""
    generator = run.rng("numbers")
    x = torch.rand(BATCH, PIXELS, generator=generator, dtype=torch.float64)
    decoder = DenseDecoder(LATENT, (PIXELS,), hidden=(8,)).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise / 2)
    return {
        "linear_error": measure_linear(x, generator),
        "pca_excess": measure_pca_excess(generator),
        "gradient_error": measure_gradient(decoder, x),
        "second_order_error": measure_second_order(decoder, x),
        "affine_error": measure_affinity(decoder, x),
        "neighbour_effect": measure_neighbours(decoder, x),
        "reduction_error": measure_reduction(decoder, x),
        "kl_error": measure_kl(generator),
        "conv_parameters": count_parameters(ConvDecoder(32)),
        "implicit_parameters": count_parameters(Siren(32)),
        "variational_parameters": count_parameters(VariationalGON(ConvDecoder(48, width=32))),
    }


def measure_linear(x: Tensor, generator: torch.Generator) -> float:
    """Distance of the origin gradient of F(z) = W z + b under half a square from W^T (x - b)."""
    linear = nn.Linear(LATENT, PIXELS).double()
    with torch.no_grad():
        for parameter in linear.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise)
    z = origin(linear, x, latent=LATENT, scale=0.5)
    return largest_difference(z, (x - linear.bias) @ linear.weight)


def measure_pca_excess(generator: torch.Generator) -> float:
    """How much a trained linear GON loses more than principal components do, as a share."""
    mixing = torch.randn(LATENT + 2, PIXELS, generator=generator, dtype=torch.float64)
    x = torch.randn(60, LATENT + 2, generator=generator, dtype=torch.float64) @ mixing
    gon = GON(nn.Linear(LATENT, PIXELS).double(), latent=LATENT, scale=0.5)
    with torch.no_grad():
        for parameter in gon.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise / 5)
    optimizer = torch.optim.Adam(gon.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TRAINED)
    for _ in range(TRAINED):
        optimizer.zero_grad()
        gon.measure_loss(x).mean().backward()
        optimizer.step()
        schedule.step()
    reached = float(gon.measure_loss(x).mean().detach())
    pca = PCA(LATENT).fit(x.numpy())
    rest = x.numpy() - pca.inverse_transform(pca.transform(x.numpy()))
    best = float((rest**2).sum(1).mean())
    return reached / best - 1


def measure_gradient(decoder: nn.Module, x: Tensor) -> float:
    """Distance of the origin gradient from central differences of the loss."""
    found = origin(decoder, x)
    wanted = torch.zeros_like(found)
    for place in range(LATENT):
        shift = torch.zeros_like(found)
        shift[:, place] = SHIFT
        with torch.no_grad():
            up, down = sum_squares(decoder(shift), x), sum_squares(decoder(-shift), x)
        wanted[:, place] = -(up - down) / (2 * SHIFT)
    return largest_difference(found, wanted)


def measure_second_order(decoder: nn.Module, x: Tensor) -> float:
    """Distance of the outer gradient of every weight from central differences of the outer loss."""
    gon = GON(decoder)
    gon.measure_loss(x).sum().backward()
    errors = []
    for parameter in gon.parameters():
        assert parameter.grad is not None
        flat = parameter.detach().view(-1)
        for place in range(flat.numel()):
            ends = []
            for sign in (1, -2, 1):  # up, down, and back
                flat[place] += sign * SHIFT
                with torch.no_grad():
                    ends.append(gon.measure_loss(x).sum())
            slope = (ends[0] - ends[1]) / (2 * SHIFT)
            errors.append((slope - parameter.grad.view(-1)[place]).abs())
    return float(torch.stack(errors).max())


def measure_affinity(decoder: nn.Module, x: Tensor) -> float:
    """Distance of the latent of a mixture of pictures from the mixture of their latents."""
    z = origin(decoder, x).detach()
    mixed = origin(decoder, 0.3 * x[:3] + 0.7 * x[3:])
    return largest_difference(mixed, 0.3 * z[:3] + 0.7 * z[3:])


def measure_neighbours(decoder: nn.Module, x: Tensor) -> float:
    """How far a latent moves when the other pictures of its batch change."""
    other = torch.cat([x[:1], 1 - x[1:]])
    return largest_difference(origin(decoder, x)[:1], origin(decoder, other)[:1])


def measure_reduction(decoder: nn.Module, x: Tensor) -> float:
    """Distance of latents of the scale for means from those of a loss that is a mean."""
    zero = torch.zeros(BATCH, LATENT, dtype=x.dtype, requires_grad=True)
    (slope,) = torch.autograd.grad((decoder(zero) - x).square().mean(), zero)
    return largest_difference(origin(decoder, x, scale=find_mean_scale(BATCH, PIXELS)), -slope)


def measure_kl(generator: torch.Generator) -> float:
    """Distance of the divergence from torch's own."""
    mean, log_variance = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    wanted = torch.distributions.kl_divergence(posterior, standard).sum(-1)
    return largest(kl_to_standard(mean, log_variance) - wanted)
