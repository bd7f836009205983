"""Where tokens go: what a router decides, as a value that can send them and bring them back.

G groups, S tokens of a group, M width, E experts, C capacity (slots of an expert in a group),
K choices of a token.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Sent(NamedTuple):
    """What experts get: `rows` (E, R, M), or (R, M) sorted by expert with `counts` (E,)."""

    rows: Tensor
    counts: Tensor | None = None


class Route(Protocol):
    """What a router gives: where tokens go, and how evenly."""

    @property
    def loss(self) -> Tensor:
        """The balance loss, a scalar."""
        ...

    @property
    def dropped(self) -> Tensor:
        """Share of the tokens that no expert takes, a scalar."""
        ...

    @property
    def load(self) -> Tensor:
        """Tokens that each expert takes, (E,)."""
        ...

    def send(self, x: Tensor) -> Sent:
        """Tokens (G, S, M) as the experts get them."""
        ...

    def receive(self, rows: Tensor) -> Tensor:
        """What experts made of what was sent, put together for each token: (G, S, M)."""
        ...


def find_capacity(
    tokens: int, experts: int, *, factor: float = 1.0, choices: int = 2, minimum: int = 1,
    multiple: int = 1,
) -> int:  # fmt: skip
    """C, the slots of an expert in a group: the tokens' choices divided by the experts.

    Args:
        tokens: S.
        experts: E.
        factor: Times choices * S / E, cut to an integer. 1 is the paper's C = 2 S / E.
        choices: K.
        minimum: What C is at the least. lingvo takes 4 where it would be 0.
        multiple: C is rounded up to a multiple of this, 4 in lingvo.

    Raises ValueError for a number that is not positive.

    Example:
        >>> from quire.papers.gshard import find_capacity
        >>> find_capacity(128, 16), find_capacity(128, 512), find_capacity(100, 16, multiple=4)
        (16, 1, 12)
    """
    for name, value in (
        ("tokens", tokens), ("experts", experts), ("factor", factor), ("choices", choices),
        ("minimum", minimum), ("multiple", multiple),
    ):  # fmt: skip
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
    capacity = max(minimum, int(factor * choices * tokens / experts))
    return math.ceil(capacity / multiple) * multiple


def assign_slots(
    expert: Tensor, wanted: Tensor, experts: int, *, priority: Tensor | None = None
) -> Tensor:
    """Each choice's place in its expert's queue: all first choices stand before any second one.

    Sorted, and not summed over one-hot columns: memory does not grow with the experts.

    Args:
        expert: Chosen experts, int64 (G, S, K).
        wanted: Which choices stand in a queue, bool (G, S, K).
        experts: E.
        priority: (G, S); the highest stands first, by default the first token.

    Gives int64 (G, S, K); what is not wanted has a place that means nothing.
    """
    groups, tokens, choices = expert.shape
    turn = None if priority is None else priority.argsort(dim=1, descending=True, stable=True)
    if turn is not None:
        index = turn[..., None].expand_as(expert)
        expert, wanted = expert.gather(1, index), wanted.gather(1, index)
    key = torch.where(wanted, expert, experts).transpose(1, 2).reshape(groups, choices * tokens)
    ordered, order = key.sort(dim=1, stable=True)
    counts = key.new_zeros(groups, experts + 1).scatter_add(1, key, torch.ones_like(key))
    start = (counts.cumsum(1) - counts).gather(1, ordered)
    place = torch.arange(choices * tokens, device=key.device) - start
    slot = torch.empty_like(place).scatter(1, order, place)
    slot = slot.view(groups, choices, tokens).transpose(1, 2)
    if turn is None:
        return slot
    return torch.empty_like(slot).scatter(1, turn[..., None].expand_as(slot), slot)


def measure_balance(probabilities: Tensor, first: Tensor, counted: Tensor) -> Tensor:
    """l_aux as printed: the mean over experts of (c_e / S) m_e, then over groups.

    c_e counts first choices before any is dropped and has no gradient; m_e is the mean of an
    expert's gate. Tokens that do not count are in neither, and S is the number of those that do.
    Even gates give 1 / E^2.

    probabilities: (G, S, E). first: int64 (G, S). counted: bool (G, S).
    """
    experts = probabilities.shape[-1]
    number = counted.sum(1, keepdim=True).clamp(min=1).to(probabilities.dtype)
    weight = counted.to(probabilities.dtype)
    c = weight.new_zeros(len(first), experts).scatter_add(1, first, weight) / number
    m = (probabilities * weight[..., None]).sum(1) / number
    return (c * m).sum() / max(1, len(first) * experts)


def measure_z(logits: Tensor, counted: Tensor | None = None) -> Tensor:
    """The router z-loss of ST-MoE: the mean square of the logits' logsumexp.

    logits: (G, S, E). counted: bool (G, S).
    """
    square = logits.float().logsumexp(-1).square()
    weight = torch.ones_like(square) if counted is None else counted.to(square.dtype)
    return (square * weight).sum() / weight.sum().clamp(min=1)


@dataclass(frozen=True)
class Routing:
    """Up to K experts for each token, and a slot in each of them.

    Args:
        expert: Chosen experts, int64 (G, S, K); first choices are column 0.
        slot: Places in the experts' queues, int64 (G, S, K).
        weight: What an expert's output is multiplied with, (G, S, K); 0 where it was dropped.
        kept: Which choices got a slot, bool (G, S, K).
        counted: Which tokens are no padding, bool (G, S).
        loss: l_aux as printed, a scalar; `balance` is the same times E^2.
        experts: E.
        capacity: C.
    """

    expert: Tensor
    slot: Tensor
    weight: Tensor
    kept: Tensor
    counted: Tensor
    loss: Tensor
    experts: int
    capacity: int

    @property
    def balance(self) -> Tensor:
        """The loss times E^2, as every published code has it: 1 where gates are even."""
        return self.loss * self.experts**2

    @property
    def dispatch(self) -> Tensor:
        """Which token has which slot, bool (G, S, E, C)."""
        return self._spread(self.kept.to(torch.uint8)).bool()

    @property
    def combine(self) -> Tensor:
        """G of the paper: the weight of each slot for each token, (G, S, E, C)."""
        return self._spread(self.weight)

    @property
    def dropped(self) -> Tensor:
        """Share of the counted tokens that no expert takes: they pass by the residual only."""
        lost = self.counted & ~self.kept.any(-1)
        return lost.sum() / self.counted.sum().clamp(min=1)

    @property
    def load(self) -> Tensor:
        """Choices that each expert takes, float32 (E,)."""
        taken = self.kept.flatten().float()
        return taken.new_zeros(self.experts).index_add(0, self.expert.flatten(), taken)

    def send(self, x: Tensor) -> Sent:
        """Tokens (G, S, M) in their slots: (E, G C, M), with anything in empty ones."""
        groups, tokens, _ = x.shape
        rows = self.experts * groups * self.capacity
        token = torch.arange(groups * tokens, device=x.device).view(groups, tokens, 1)
        # What was dropped is written behind the last slot. An empty slot holds token 0, whose
        # output nobody asks for: its gradient is zero.
        source = token.new_zeros(rows + 1).scatter(
            0, self._address(rows).flatten(), token.expand_as(self.expert).flatten()
        )
        sent = x.flatten(0, 1).index_select(0, source[:rows])
        return Sent(sent.view(self.experts, groups * self.capacity, x.shape[-1]))

    def receive(self, rows: Tensor) -> Tensor:
        """Weighted sums (G, S, M) of the experts' outputs (E, G C, M)."""
        flat = rows.flatten(0, 1)
        address = self._address(len(flat)).clamp(max=max(0, len(flat) - 1))
        picked = flat.index_select(0, address.flatten()).view(*address.shape, rows.shape[-1])
        return (picked * self.weight.to(rows.dtype)[..., None]).sum(2)

    def _address(self, rows: int) -> Tensor:
        group = torch.arange(len(self.expert), device=self.expert.device)[:, None, None]
        address = (self.expert * len(self.expert) + group) * self.capacity + self.slot
        return torch.where(self.kept, address, rows)

    def _spread(self, value: Tensor) -> Tensor:
        device = value.device
        own = self.expert[..., None] == torch.arange(self.experts, device=device)
        place = self.slot[..., None] == torch.arange(self.capacity, device=device)
        spread = own[..., :, None] & place[..., None, :] & self.kept[..., None, None]
        zero = torch.zeros((), dtype=value.dtype, device=device)
        return torch.where(spread, value[..., None, None], zero).sum(2, dtype=value.dtype)


@dataclass(frozen=True)
class SortedRouting(Routing):
    """The same without capacity: tokens are sorted by expert, and none is dropped."""

    def send(self, x: Tensor) -> Sent:
        """Tokens (G, S, M), once for each choice, sorted by expert: (G S K, M) and counts (E,)."""
        chosen = self.expert.flatten()
        token = chosen.argsort(stable=True) // self.expert.shape[-1]
        counts = chosen.new_zeros(self.experts).index_add(0, chosen, torch.ones_like(chosen))
        return Sent(x.flatten(0, 1).index_select(0, token), counts)

    def receive(self, rows: Tensor) -> Tensor:
        """Weighted sums (G, S, M) of the experts' outputs (G S K, M)."""
        # The inverse of the order, so that reading and its gradient add no two rows twice.
        order = self.expert.flatten().argsort(stable=True)
        back = torch.empty_like(order).scatter(
            0, order, torch.arange(len(order), device=order.device)
        )
        picked = rows.index_select(0, back).view(*self.expert.shape, rows.shape[-1])
        return (picked * self.weight.to(rows.dtype)[..., None]).sum(2)


@dataclass(frozen=True)
class SlotRouting:
    """A token for each slot: experts choose, and a token may have many of them or none.

    Args:
        token: int64 (G, E, C).
        weight: What an expert's output is multiplied with, (G, E, C).
        counted: Which tokens are no padding, bool (G, S).
        loss: A scalar.
    """

    token: Tensor
    weight: Tensor
    counted: Tensor
    loss: Tensor

    @property
    def dispatch(self) -> Tensor:
        """Which token has which slot, bool (G, S, E, C)."""
        every = torch.arange(self.counted.shape[1], device=self.token.device)
        return (self.token[:, None] == every[:, None, None]) & (self.weight > 0)[:, None]

    @property
    def combine(self) -> Tensor:
        """The weight of each slot for each token, (G, S, E, C)."""
        return self.dispatch * self.weight[:, None]

    @property
    def dropped(self) -> Tensor:
        """Share of the counted tokens that no expert chose."""
        taken = self.weight.new_zeros(self.counted.shape).scatter_add(
            1, self.token.flatten(1), (self.weight > 0).to(self.weight.dtype).flatten(1)
        )
        lost = self.counted & (taken == 0)
        return lost.sum() / self.counted.sum().clamp(min=1)

    @property
    def load(self) -> Tensor:
        """Tokens that each expert takes, float32 (E,)."""
        return (self.weight > 0).float().sum((0, 2))

    def send(self, x: Tensor) -> Sent:
        """Tokens (G, S, M) in their slots: (E, G C, M)."""
        index = self.token.flatten(1)[..., None].expand(-1, -1, x.shape[-1])
        sent = x.gather(1, index).view(*self.token.shape, x.shape[-1])
        return Sent(sent.transpose(0, 1).flatten(1, 2))

    def receive(self, rows: Tensor) -> Tensor:
        """Weighted sums (G, S, M) of the experts' outputs (E, G C, M)."""
        groups, experts, capacity = self.token.shape
        made = rows.view(experts, groups, capacity, -1).transpose(0, 1)
        made = (made * self.weight.to(rows.dtype)[..., None]).flatten(1, 2)
        index = self.token.flatten(1)[..., None].expand_as(made)
        zero = made.new_zeros(groups, self.counted.shape[1], made.shape[-1])
        return zero.scatter_add(1, index, made)


@dataclass(frozen=True)
class EinsumRouting:
    """The paper's form: dense tensors, einsums and nothing else (algorithm 2).

    Args:
        dispatch: (G, S, E, C), 0 or 1; any weights in a soft mixture.
        combine: (G, S, E, C).
        loss: A scalar.
        dropped: A scalar.
        load: (E,).
    """

    dispatch: Tensor
    combine: Tensor
    loss: Tensor
    dropped: Tensor
    load: Tensor

    def send(self, x: Tensor) -> Sent:
        """GSEC,GSM->EGCM of tokens (G, S, M): (E, G C, M)."""
        sent = torch.einsum("gsec,gsm->egcm", self.dispatch.to(x.dtype), x)
        return Sent(sent.flatten(1, 2))

    def receive(self, rows: Tensor) -> Tensor:
        """GSEC,EGCM->GSM of the experts' outputs (E, G C, M): (G, S, M)."""
        groups, _, experts, capacity = self.combine.shape
        made = rows.view(experts, groups, capacity, rows.shape[-1])
        return torch.einsum("gsec,egcm->gsm", self.combine.to(rows.dtype), made)
