"""Routers as values: from the gate's logits to where each token goes.

The paper's, its einsum form, and what came after. G groups, S tokens of a group, E experts,
C capacity, K choices of a token.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from quire.papers.gshard.gate import EPSILON, Second, check, soften, top2_gate
from quire.papers.gshard.routing import (
    EinsumRouting,
    Route,
    Routing,
    SlotRouting,
    SortedRouting,
    assign_slots,
    find_capacity,
    measure_balance,
)


@dataclass(frozen=True)
class Told:
    """What a mixture is told beside its tokens, by `tell`.

    counted: which tokens are no padding, bool (B, T). choice: experts that were chosen elsewhere,
    int64 (B, T, K). generator: what random decisions are drawn from, on the tokens' device.
    """

    counted: Tensor | None = None
    choice: Tensor | None = None
    generator: torch.Generator | None = None


NOTHING = Told()


class Router(Protocol):
    """Logits (G, S, E) to a route; a `Told` has the shapes (G, S) and (G, S, K)."""

    def __call__(self, logits: Tensor, *, training: bool = False, told: Told = NOTHING) -> Route:
        """The route."""
        ...


@dataclass(frozen=True)
class Top2:
    """The paper's router, `top2_gate`, with its capacity.

    factor: C is the integer part of factor * 2 S / E; the paper's is 1, lingvo's 2, Mesh-TF's
    0.625. evaluation_factor: the same outside training; None is `factor`. minimum, multiple: as in
    `find_capacity`. The others: as in `top2_gate`.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import Top2
        >>> routing = Top2(factor=2.0)(torch.randn(3, 8, 4))
        >>> routing.capacity, routing.dispatch.shape
        (8, torch.Size([3, 8, 4, 8]))
    """

    factor: float = 1.0
    evaluation_factor: float | None = None
    minimum: int = 1
    multiple: int = 1
    second: Second = "random"
    threshold: float = 0.5
    rejected_fill: bool = False

    def __call__(self, logits: Tensor, *, training: bool = False, told: Told = NOTHING) -> Routing:
        """logits (G, S, E)."""
        factor = self.factor
        if not training and self.evaluation_factor is not None:
            factor = self.evaluation_factor
        capacity = find_capacity(
            max(1, logits.shape[1]), logits.shape[2], factor=factor, minimum=self.minimum,
            multiple=self.multiple,
        )  # fmt: skip
        return top2_gate(
            logits, capacity, training=training, generator=told.generator, counted=told.counted,
            second=self.second, threshold=self.threshold, rejected_fill=self.rejected_fill,
        )  # fmt: skip


@dataclass(frozen=True)
class Switch:
    """The Switch Transformer's router: one expert a token, weighted with its probability.

    factor: C is the integer part of factor * S / E. minimum: what C is at the least. prioritised:
    whether the surest token stands first in the queue, and not the first one (V-MoE).
    """

    factor: float = 1.0
    minimum: int = 1
    prioritised: bool = False

    def __call__(self, logits: Tensor, *, training: bool = False, told: Told = NOTHING) -> Routing:
        """logits (G, S, E)."""
        tokens, experts = logits.shape[1:]
        capacity = find_capacity(
            max(1, tokens), experts, factor=self.factor, choices=1, minimum=self.minimum
        )
        check(logits, capacity, told.counted)
        probabilities, counted = soften(logits), count_all(logits, told)
        expert = probabilities.argmax(-1, keepdim=True)
        gate = probabilities.gather(-1, expert)
        priority = gate[..., 0].detach() if self.prioritised else None
        slot = assign_slots(expert, counted[..., None], experts, priority=priority)
        kept = counted[..., None] & (slot < capacity)
        loss = measure_balance(probabilities, expert[..., 0], counted)
        return Routing(expert, slot, gate * kept, kept, counted, loss, experts, capacity)


@dataclass(frozen=True)
class ExpertChoice:
    """Each expert takes the C tokens of its group that like it best, so that loads are even.

    Zhou et al. (2022). What a token gets depends on later tokens of its group: it is no router for
    a decoder. factor: C is the integer part of factor * S / E.
    """

    factor: float = 2.0

    def __call__(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> SlotRouting:
        """logits (G, S, E)."""
        tokens, experts = logits.shape[1:]
        capacity = find_capacity(max(1, tokens), experts, factor=self.factor, choices=1)
        check(logits, capacity, told.counted)
        probabilities, counted = soften(logits), count_all(logits, told)
        wanted = probabilities.masked_fill(~counted[..., None], 0.0).transpose(1, 2)
        weight, token = wanted.topk(min(capacity, tokens), dim=-1)
        return SlotRouting(token, weight, counted, probabilities.new_zeros(()))


@dataclass(frozen=True)
class Dropless:
    """The K likeliest experts of each token, without capacity: nothing is dropped.

    Mixtral's router with two choices, weighted with gates divided by their sum. choices: K.
    """

    choices: int = 2

    def __call__(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> SortedRouting:
        """logits (G, S, E). Raises ValueError for fewer experts than choices."""
        check(logits, 1, told.counted)
        probabilities = soften(logits)
        expert = choose(probabilities, self.choices)
        return route_all(probabilities, expert, count_all(logits, told))


class BiasBalance(nn.Module):
    """Balance without a loss: a bias for each expert decides the choice and not the weight.

    Wang et al. (2024), DeepSeek-V3; here over a softmax. After each update of the weights
    `rebalance` raises the bias of experts that got less than the mean in the last minibatch, and
    lowers the others'. Nothing is dropped.

    Args:
        experts: E.
        choices: K.
        rate: What a bias changes by.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import BiasBalance
        >>> router = BiasBalance(4)
        >>> logits = torch.tensor([2.0, 1.0, 0.0, 0.0]).expand(1, 8, 4)
        >>> router(logits, training=True).load
        tensor([8., 8., 0., 0.])
        >>> router.rebalance()
        >>> router.bias
        tensor([-0.0010, -0.0010,  0.0010,  0.0010])
    """

    bias: Tensor
    seen: Tensor

    def __init__(self, experts: int, *, choices: int = 2, rate: float = 1e-3) -> None:
        super().__init__()
        self.choices = choices
        self.rate = rate
        self.register_buffer("bias", torch.zeros(experts))
        self.register_buffer("seen", torch.zeros(experts))

    def forward(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> SortedRouting:
        """logits (G, S, E)."""
        check(logits, 1, told.counted)
        probabilities = soften(logits)
        expert = choose(probabilities + self.bias.to(probabilities.dtype), self.choices)
        routing = route_all(probabilities, expert, count_all(logits, told))
        if training:
            self.seen = routing.load.to(self.bias.dtype)
        return routing

    @torch.no_grad()
    def rebalance(self) -> None:
        """Move each bias by `rate`. Where several processes share a step, sum `seen` first."""
        self.bias += self.rate * (self.seen.mean() - self.seen).sign()


@dataclass(frozen=True)
class Assigned:
    """Experts that were chosen elsewhere, `Told.choice`, weighted alike: nothing is learned.

    Hash routing (Roller et al., 2021) with a random table of tokens, see `hash_table`.
    """

    def __call__(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> SortedRouting:
        """logits (G, S, E), of which only the shape is used.

        Raises ValueError where nobody told a choice of that shape.
        """
        check(logits, 1, told.counted)
        choice = told.choice
        if choice is None or choice.shape[:2] != logits.shape[:2]:
            got = None if choice is None else tuple(choice.shape)
            raise ValueError(f"choice must be {tuple(logits.shape[:2])} and K, got {got}: see tell")
        even = torch.zeros_like(soften(logits)) + 1 / logits.shape[-1]
        return route_all(even, choice, count_all(logits, told))


@dataclass(frozen=True)
class Soft:
    """Soft MoE (Puigcerver et al., 2023) with one slot an expert: mixtures of tokens, no choice.

    An expert gets the mean of its group's tokens, weighted by a softmax over tokens; a token the
    mean of all outputs, by a softmax over experts. It is no router for a decoder.
    """

    def __call__(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> EinsumRouting:
        """logits (G, S, E)."""
        check(logits, 1, told.counted)
        combine, counted = soften(logits), count_all(logits, told)
        # The least number, and not infinity: a group may be nothing but padding.
        hidden = logits.to(combine.dtype).masked_fill(~counted[..., None], -1e30)
        dispatch = hidden.softmax(1) * counted[..., None]
        combine = combine * counted[..., None]
        zero = combine.new_zeros(())
        load = dispatch.sum((0, 1))
        return EinsumRouting(dispatch[..., None], combine[..., None], zero, zero, load)


@dataclass(frozen=True)
class Einsum:
    """A router in the paper's form: the tensors (G, S, E, C) are made, and einsums do the rest.

    It computes what `router` does, at 4 G S E C M multiplications more: the oracle of the others.
    """

    router: Top2 | Switch | ExpertChoice

    def __call__(
        self, logits: Tensor, *, training: bool = False, told: Told = NOTHING
    ) -> EinsumRouting:
        """logits (G, S, E)."""
        route = self.router(logits, training=training, told=told)
        return EinsumRouting(route.dispatch, route.combine, route.loss, route.dropped, route.load)


def choose(scores: Tensor, choices: int) -> Tensor:
    """The largest of scores (G, S, E): int64 (G, S, K). Raises ValueError where E is below K."""
    if not 1 <= choices <= scores.shape[-1]:
        raise ValueError(f"choices must be from 1 to {scores.shape[-1]}, got {choices}")
    return scores.detach().topk(choices, dim=-1).indices


def route_all(probabilities: Tensor, expert: Tensor, counted: Tensor) -> SortedRouting:
    """Every choice int64 (G, S, K) is kept, weighted with its share of the chosen probabilities."""
    tokens, experts = probabilities.shape[1:]
    gate = probabilities.gather(-1, expert)
    gate = gate / (gate.sum(-1, keepdim=True) + EPSILON)
    kept = counted[..., None].expand_as(expert)
    slot = assign_slots(expert, kept, experts)
    loss = measure_balance(probabilities, expert[..., 0], counted)
    capacity = max(1, tokens * expert.shape[-1])
    return SortedRouting(expert, slot, gate * kept, kept, counted, loss, experts, capacity)


def count_all(logits: Tensor, told: Told) -> Tensor:
    """Which tokens count, bool (G, S): all, where nothing was told."""
    if told.counted is not None:
        return told.counted
    return logits.new_ones(logits.shape[:2], dtype=torch.bool)


def hash_table(
    vocabulary: int, experts: int, *, choices: int = 2, generator: torch.Generator | None = None
) -> Tensor:
    """Experts for every token of a vocabulary, drawn once and each as often: int64 (V, K).

    Args:
        vocabulary: V.
        experts: E.
        choices: K experts a token, all different.
        generator: On the CPU.

    Raises ValueError for fewer experts than choices.

    Example:
        >>> from quire.papers.gshard import hash_table
        >>> hash_table(256, 8).shape
        torch.Size([256, 2])
    """
    if not 1 <= choices <= experts:
        raise ValueError(f"choices must be from 1 to {experts}, got {choices}")
    first = torch.randperm(vocabulary, generator=generator) % experts
    # The other choices are at distances of their own from the first: different, and as even.
    step = torch.randperm(experts - 1, generator=generator)[: choices - 1] + 1
    rest = (first[:, None] + step) % experts
    return torch.cat((first[:, None], rest), 1)
