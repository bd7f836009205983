"""The baseline of set prediction: Deep Set Prediction Networks (Zhang, Hare, Prügel-Bennett 2019).

An image becomes a vector, and a set is found whose own vector is near it: by gradient descent,
through which training goes. B batch, K rows of a set, F features of a row (the last is whether
there is an object), L numbers of a vector.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, linear, pad

from quire.nn.devices import without_autocast

PIECES = 20
"""Pieces of the weight that a rank has, a function that is linear in each of them."""


class SetEncoder(nn.Module):
    """Set (B, K, F) -> vector (B, L), whatever the order of the rows (their RNFSEncoder).

    Every pair of rows goes through the same small network. Each feature of the pairs is then sorted
    and summed, with a learned weight for each rank (FSPool, of the same authors).

    Args:
        features: F.
        latent: L.
        hidden: Hidden units of the network.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import SetEncoder
        >>> SetEncoder(7, latent=16, hidden=8)(torch.rand(2, 3, 7)).shape
        torch.Size([2, 16])
    """

    def __init__(self, features: int, *, latent: int = 512, hidden: int = 512) -> None:
        super().__init__()
        self.features, self.latent = features, latent
        self.pair, self.last = nn.Linear(2 * features, hidden), nn.Linear(hidden, latent)
        self.weight = nn.Parameter(torch.randn(PIECES + 1, latent))
        for part in (self.pair, self.last):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, K, F) -> (B, L)."""
        # One row's share of the first layer and the other's, instead of K K pairs of rows.
        one, other = self.pair.weight.chunk(2, 1)
        hidden = linear(rows, one, self.pair.bias)[:, :, None] + linear(rows, other)[:, None]
        # (B, K, K, L) -> (B, K K, L), divided so that it is no larger for a large set.
        pairs = self.last(hidden.relu()).flatten(1, 2) / rows.shape[1] ** 2
        ranked = pairs.sort(1, descending=True).values
        return (ranked * self._weigh(ranked.shape[1])).sum(1)

    def _weigh(self, count: int) -> Tensor:
        """The weight of each of `count` ranks, (count, L)."""
        at = torch.linspace(0, PIECES, count, device=self.weight.device, dtype=self.weight.dtype)
        knots = torch.arange(PIECES + 1, device=at.device)
        share = (1 - (at[:, None] - knots).abs()).clamp(min=0)
        return share @ self.weight


class FoundSet(NamedTuple):
    """What an image is thought to show."""

    rows: Tensor
    """(B, K, F), the flag in [0, 1]."""
    goal: Tensor
    """The image's vector (B, L), which that of the true set should equal."""


class DSPN(nn.Module):
    """Image (B, 3, S, S) -> `FoundSet`, by steps of gradient descent from a learned set.

    In training the loss of the rows is joined by `measure_gap` of the true set. It works under
    `no_grad` as well, where no graph is kept.

    Args:
        encoder: (B, 3, S, S) -> inputs (B, N, C).
        vector: Inputs -> slots and attention, of which the slots, (B, L) when they are flattened,
            are the image's vector: such as `SlotMLP` with one slot.
        sets: The vector of a set, such as `SetEncoder`.
        slots: K.
        features: F.
        iterations: T, the steps, unless a call says otherwise.
        rate: Their length, where the distance is a mean over the vector. The authors' 800 is for a
            mean over 32 examples too.

    Raises ValueError for sizes or iterations below one.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import DSPN, ImageEncoder, SetEncoder, SlotMLP
        >>> encoder = ImageEncoder(8, layers=1, kernel=3)
        >>> vector = SlotMLP(64, 8, slots=1, dim=16, hidden=32)
        >>> sets = SetEncoder(7, latent=16, hidden=8)
        >>> net = DSPN(encoder, vector, sets, slots=3, features=7, iterations=2)
        >>> net(torch.randn(2, 3, 8, 8)).rows.shape
        torch.Size([2, 3, 7])
    """

    def __init__(
        self,
        encoder: nn.Module,
        vector: nn.Module,
        sets: nn.Module,
        *,
        slots: int = 10,
        features: int = 19,
        iterations: int = 10,
        rate: float = 25.0,
    ) -> None:
        super().__init__()
        if min(slots, features, iterations) < 1:
            raise ValueError(
                "slots, features and iterations must be at least 1, "
                f"got {slots}, {features} and {iterations}"
            )
        self.encoder, self.vector, self.sets = encoder, vector, sets
        self.iterations, self.rate = iterations, rate
        first = torch.rand(slots, features)
        first[:, -1] = 0.5
        self.first = nn.Parameter(first)

    def forward(self, image: Tensor, *, rounds: int | None = None) -> FoundSet:
        """The set of each image after `rounds` steps. Raises ValueError for fewer than none."""
        rounds = self.iterations if rounds is None else rounds
        if rounds < 0:
            raise ValueError(f"rounds must be 0 or more, got {rounds}")
        slots, _ = self.vector(self.encoder(image))
        goal = slots.flatten(1)
        return FoundSet(self._descend(goal, rounds), goal)

    def measure_gap(self, goal: Tensor, true: Tensor) -> Tensor:
        """How far vectors of true sets (B, O, F), O at most K, are from goals (B, L): a mean ()."""
        filled = pad(true, (0, 0, 0, self.first.shape[0] - true.shape[1]))
        gap: Tensor = huber_loss(self.sets(filled), goal)
        return gap

    def _descend(self, goal: Tensor, rounds: int) -> Tensor:
        through = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        # A small gradient vanishes in half precision; and under no_grad, too, one is needed.
        with torch.inference_mode(False), torch.enable_grad(), without_autocast(goal):
            aim = goal if through else goal.detach().clone()
            aim = aim.to(self.first.dtype)
            rows = _with_flag(self.first.expand(len(aim), -1, -1))
            if not rows.requires_grad:
                rows.requires_grad_()
            for _ in range(rounds):
                # A mean over the vector and a sum over the batch: a set knows its own image alone.
                apart = huber_loss(self.sets(rows), aim, reduction="none").mean(1).sum()
                (slope,) = torch.autograd.grad(apart, rows, create_graph=through)
                rows = _with_flag(rows - self.rate * slope)
                if not through:
                    rows = rows.detach().requires_grad_()
        return rows if through else rows.detach()


def _with_flag(rows: Tensor) -> Tensor:
    """Rows (B, K, F) with the flag held in [0, 1]."""
    return torch.cat([rows[..., :-1], rows[..., -1:].clamp(0, 1)], -1)
