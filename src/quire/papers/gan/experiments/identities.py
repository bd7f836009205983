"""What holds exactly: the theory over finitely many symbols, losses, maxout, Parzen, sizes."""

import math

import torch
from pydantic import PositiveInt
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.papers.gan.convolutional import cifar10_convolutional_networks
from quire.papers.gan.game import (
    LEAST_VALUE,
    game_value,
    measure_value,
    optimal_discriminator,
)
from quire.papers.gan.losses import non_saturating_loss, saturating_loss
from quire.papers.gan.nets import (
    Maxout,
    cifar10_networks,
    face_networks,
    mnist_networks,
)
from quire.papers.gan.parzen import parzen_log_likelihood


class Identities(Config):
    """Random games: pairs of distributions over as many symbols."""

    symbols: PositiveInt = 16
    """S."""
    games: PositiveInt = 64
    """Random pairs of distributions."""


def identities(config: Identities, run: Run) -> Metrics:
    """Theorem 1 and its pieces on random games, and what the code computes beside them."""
    generator = run.rng("games")
    shape = (config.games, config.symbols)
    p, q, other = (
        torch.softmax(2 * torch.randn(shape, generator=generator, dtype=torch.float64), -1)
        for _ in range(3)
    )
    value = game_value(p, q)
    # SciPy gives the root of the divergence.
    roots = [float(jensenshannon(a, b)) for a, b in zip(p, q, strict=True)]
    divergence = torch.tensor(roots, dtype=torch.float64).square()
    mixed = (game_value(p, q) + game_value(p, other)) / 2
    return {
        "optimum_error": largest_difference(climb(p, q), optimal_discriminator(p, q)),
        "plug_in_error": largest(measure_value(p, q, optimal_discriminator(p, q)) - value),
        "value_error": largest(value - (LEAST_VALUE + 2 * divergence)),
        "least_error": largest(game_value(p, p) + math.log(4)),
        "least_gap": float((value + math.log(4)).min()),
        "concavity": float((game_value(p, (q + other) / 2) - mixed).max()),
        "ratio_error": measure_ratio(generator),
        "maxout_error": measure_maxout(generator),
        "parzen_error": measure_parzen(generator),
        **count_weights(),
    }


def climb(p: Tensor, q: Tensor, steps: int = 100) -> Tensor:
    """D by Newton's ascent of V, a table of logits (..., S) that moves by at most 1 a step."""
    logits = torch.zeros_like(p)
    for _ in range(steps):
        d = logits.sigmoid()
        logits += ((p - (p + q) * d) / ((p + q) * d * (1 - d))).clamp(-1, 1)
    return logits.sigmoid()


def measure_ratio(generator: torch.Generator) -> float:
    """Distance of the losses' gradients' ratio from (1 - D) / D, relative, on random logits."""
    logits = (3 * torch.randn(64, generator=generator, dtype=torch.float64)).requires_grad_()
    slopes = [
        torch.autograd.grad(loss(logits), logits)[0]
        for loss in (non_saturating_loss, saturating_loss)
    ]
    # 1 - D as a sigmoid of its own: the difference would lose its digits where D is near 1.
    d, rest = logits.detach().sigmoid(), (-logits.detach()).sigmoid()
    return largest(slopes[0] / slopes[1] / (rest / d) - 1)


def measure_maxout(generator: torch.Generator) -> float:
    """Distance of maxout with the pieces (w, 0) from ReLU and with (w, -w) from the modulus."""
    x = torch.randn(32, 8, generator=generator, dtype=torch.float64)
    plain = nn.Linear(8, 6).double()
    differences = []
    for sign, expected in ((0.0, torch.relu(plain(x))), (-1.0, plain(x).abs())):
        maxout = Maxout(8, 6, pieces=2).double()
        with torch.no_grad():
            for mine, its in zip(maxout.linear.parameters(), plain.parameters(), strict=True):
                mine.copy_(torch.stack([its, sign * its], 1).flatten(0, 1))
        differences.append(largest_difference(maxout(x), expected))
    return max(differences)


def measure_parzen(generator: torch.Generator) -> float:
    """Distance of the Parzen log-likelihood from torch's normal densities, nats."""
    samples, test = torch.randn(2, 40, 5, generator=generator, dtype=torch.float64)
    density = torch.distributions.Independent(torch.distributions.Normal(samples, 0.3), 1)
    slow = density.log_prob(test[:, None]).logsumexp(1) - math.log(len(samples))
    return largest_difference(parzen_log_likelihood(samples, test, 0.3), slow)


def count_weights() -> Metrics:
    """Parameters of the paper's networks, by network."""
    with torch.device("meta"):
        pairs = {
            "mnist": mnist_networks(),
            "faces": face_networks(),
            "cifar10": cifar10_networks(),
            "cifar10_convolutional": cifar10_convolutional_networks(),
        }
    return {
        f"{name}_{side}": float(sum(weight.numel() for weight in network.parameters()))
        for name, pair in pairs.items()
        for side, network in zip(("generator", "discriminator"), pair, strict=True)
    }
