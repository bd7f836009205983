"""The game over probability vectors, where all of it is known (section 4).

S symbols on the last dimension; any dimensions before it are games of their own. Logarithms are
natural, values are in nats.
"""

import math

import torch
from torch import Tensor

from quire.nn import devices

TOLERANCE = 1e-2
"""How far a sum of probabilities may be from one: bfloat16 has three digits."""


def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """D*(x) = p(x) / (p(x) + q(x)), (..., S): the best answer to a generator (proposition 1).

    p: probabilities of the data, (..., S); q: of the generator, of the same shape. Where neither
    ever comes, D* is 1/2, which is as good as any other number. Raises ValueError for what is no
    pair of probability vectors.

    >>> optimal_discriminator(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    check_probabilities(p, q)
    total = p + q
    return torch.where(total > 0, p / torch.where(total > 0, total, 1), 0.5)


def measure_value(p: Tensor, q: Tensor, discriminator: Tensor) -> Tensor:
    """V(D, G) = sum of p log D + q log(1 - D), (...): equation 1 with any D in [0, 1].

    p, q: probabilities (..., S) of data and generator; discriminator: D(x) of each symbol. Raises
    ValueError where shapes differ or p and q are no probability vectors.
    """
    check_probabilities(p, q)
    if discriminator.shape != p.shape:
        raise ValueError(
            f"D needs a number for each symbol, {tuple(p.shape)}, got {tuple(discriminator.shape)}"
        )
    return (torch.xlogy(p, discriminator) + torch.xlogy(q, 1 - discriminator)).sum(-1)


def game_value(p: Tensor, q: Tensor) -> Tensor:
    """C(G), the largest V(D, G) of any D, (...): -log 4 + 2 JSD(p, q), at least -log 4 (theorem 1).

    p: probabilities of the data, (..., S); q: of the generator. D* is put into equation 1, which
    leaves p log p + q log q - (p + q) log(p + q). Derivatives of every order are right; at a
    symbol that only one of the two has, that of the other is minus infinity. Half precision is
    computed and given in float32. Raises ValueError for what is no pair of probability vectors.

    >>> p = torch.tensor([0.25, 0.75], dtype=torch.float64)
    >>> float(game_value(p, p)), -math.log(4)
    (-1.386294..., -1.386294...)
    """
    check_probabilities(p, q)
    p, q = in_full(p), in_full(q)
    used = p + q > 0
    # Both branches of a `where` are differentiated: an unused symbol gets numbers without poles.
    p, q = torch.where(used, p, 0.5), torch.where(used, q, 0.5)
    terms = torch.special.entr(p + q) - torch.special.entr(p) - torch.special.entr(q)
    return torch.where(used, terms, 0).sum(-1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence in nats, (...), from 0 to log 2.

    With d = (p - q) / (p + q) it is the mean of p log(1 + d) and q log(1 - d), which keeps its
    digits where p and q are close and -log 4 + 2 JSD has lost them. Half precision is computed and
    given in float32. Raises ValueError for what is no pair of probability vectors.

    >>> jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    tensor(0.6931)
    """
    check_probabilities(p, q)
    p, q = in_full(p), in_full(q)
    total = p + q
    d = (p - q) / torch.where(total > 0, total, 1)
    return (torch.special.xlog1py(p, d) + torch.special.xlog1py(q, -d)).sum(-1) / 2


def check_probabilities(p: Tensor, q: Tensor) -> None:
    """Raise ValueError unless p and q are probability vectors (..., S) of one shape."""
    if p.shape != q.shape or p.ndim < 1 or p.shape[-1] < 1:
        raise ValueError(
            "p and q must be probability vectors (..., S) of one shape, "
            f"got {tuple(p.shape)} and {tuple(q.shape)}"
        )
    for name, vector in (("p", p), ("q", q)):
        if not vector.is_floating_point():
            raise ValueError(f"{name} must hold floating-point numbers, got {vector.dtype}")
        # Values are looked at where that does not wait for an accelerator.
        if devices.is_accelerator(vector) or not vector.numel():
            continue
        total = vector.detach().double().sum(-1)
        if not bool(((total - 1).abs() <= TOLERANCE).all()) or bool((vector < 0).any()):
            raise ValueError(
                f"{name} must be at least 0 and sum to 1, got a least of {float(vector.min()):.3g} "
                f"and a sum of {float(total.flatten()[(total - 1).abs().argmax()]):.3g}"
            )


def in_full(x: Tensor) -> Tensor:
    """`x` in float32 where it has half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


LEAST_VALUE = -math.log(4)
"""C(G) where the generator draws as the data do."""
