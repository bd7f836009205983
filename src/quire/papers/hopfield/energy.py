"""Continuous modern Hopfield networks: energy, update and retrieval (sections 2 and A.1).

S states (queries), N stored patterns, K dimension. `stored` holds the patterns as rows, the paper's
X as columns. Leading batch dimensions are allowed and broadcast.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from quire.nn import devices
from quire.papers.hopfield.association import Beta, associate, check_beta


def hopfield_energy(state: Tensor, stored: Tensor, *, beta: Beta) -> Tensor:
    """E(xi) = -lse(beta, X xi) + xi.xi / 2 + ln(N) / beta + M^2 / 2 (equation 2).

    state: (..., S, K). stored: (..., N, K). beta: positive, a number or a tensor that broadcasts
    with (..., S, 1). Gives (..., S). M is the largest norm of a stored pattern, so that the energy
    of a state in the patterns' convex hull lies in 0..2 M^2 (lemma A1).

    Raises ValueError if the widths differ, there is no pattern, or beta is not positive; of a beta
    on an accelerator nothing is read back.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import hopfield_energy
        >>> one = torch.tensor([[3.0, 4.0]])
        >>> hopfield_energy(one, one, beta=1.0)
        tensor([0.])
    """
    check(state, stored, beta)
    scores = beta * (state @ stored.transpose(-1, -2))
    inverse = 1 / beta
    if isinstance(inverse, Tensor):
        inverse = inverse[..., 0] if inverse.ndim else inverse
    largest = stored.square().sum(-1).amax(-1, keepdim=True)
    constant = inverse * math.log(stored.shape[-2]) + largest / 2
    return constant - inverse * scores.logsumexp(-1) + state.square().sum(-1) / 2


def hopfield_update(
    state: Tensor, stored: Tensor, *, beta: Beta, chunk: int | None = None
) -> Tensor:
    """One update xi <- X^T softmax(beta X xi) (equation 3): (..., S, K).

    Args:
        state: (..., S, K).
        stored: (..., N, K).
        beta: As in `hopfield_energy`.
        chunk: Patterns at a time, for O(S chunk) memory in place of O(S N); the gradient is
            recomputed chunk by chunk.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import hopfield_update
        >>> stored = torch.eye(3)
        >>> hopfield_update(stored + 0.1, stored, beta=50.0).round()
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    check(state, stored, beta)
    return associate(state, stored, beta=beta, chunk=chunk)


def hopfield_jacobian(state: Tensor, stored: Tensor, *, beta: Beta) -> Tensor:
    """J = beta X^T (diag(p) - p p^T) X of the update at each state: (..., S, K, K) (equation 58).

    Arguments as in `hopfield_energy`. It is symmetric and positive semi-definite.
    """
    check(state, stored, beta)
    p = (beta * (state @ stored.transpose(-1, -2))).softmax(-1)
    mean = p @ stored
    second = torch.einsum("...sn,...ni,...nj->...sij", p, stored, stored)
    factor = beta[..., None] if isinstance(beta, Tensor) and beta.ndim else beta
    return factor * (second - mean[..., :, None] * mean[..., None, :])


class Retrieved(NamedTuple):
    """What `retrieve` gives.

    state: (..., S, K). steps: (..., S) int64, updates until the state stood still. energies:
    (T + 1, ..., S), the energy before the first and after every update.
    """

    state: Tensor
    steps: Tensor
    energies: Tensor


def retrieve(
    state: Tensor, stored: Tensor, *, beta: Beta, tolerance: float = 1e-6, limit: int = 1000
) -> Retrieved:
    """Update until every state stands still. One that does is not moved any more.

    Gradients flow through all updates.

    Args:
        state: (..., S, K).
        stored: (..., N, K).
        beta: As in `hopfield_energy`.
        tolerance: A state stands still when an update moves it by less (Euclidean).
        limit: Updates at most; 0 makes none.

    Raises ValueError as `hopfield_energy`, and for a tolerance or limit below 0.
    """
    if not tolerance >= 0 or limit < 0:
        raise ValueError(f"tolerance and limit must be at least 0, got {tolerance} and {limit}")
    steps = torch.zeros(state.shape[:-1], dtype=torch.int64, device=state.device)
    moving = torch.ones_like(steps, dtype=torch.bool)
    energies = [hopfield_energy(state, stored, beta=beta)]
    for step in range(limit):
        new = torch.where(moving[..., None], hopfield_update(state, stored, beta=beta), state)
        steps = steps + moving
        moving = moving & ((new - state).detach().norm(dim=-1) >= tolerance)
        state = new
        energies.append(hopfield_energy(state, stored, beta=beta))
        look = not devices.is_accelerator(state) or (step + 1) % devices.STRIDE == 0
        if look and not moving.any():
            break
    if devices.is_accelerator(state) and steps.numel():
        energies = energies[: int(steps.max()) + 1]  # without those after the last look
    return Retrieved(state, steps, torch.stack(energies))


def check(state: Tensor, stored: Tensor, beta: Beta) -> None:
    """Raises ValueError where the three do not fit together, TypeError for other than tensors."""
    for name, value in (("state", state), ("stored", stored)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if state.shape[-1] != stored.shape[-1]:
        raise ValueError(
            f"state and stored must have the same width, got {state.shape[-1]} "
            f"and {stored.shape[-1]}"
        )
    if stored.ndim < 2 or stored.shape[-2] == 0:
        raise ValueError(f"stored must be (..., patterns, dim), got {tuple(stored.shape)}")
    check_beta(beta)
