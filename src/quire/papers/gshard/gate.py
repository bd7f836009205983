"""Top-2 gating of a group of tokens, as published (algorithm 1).

G groups, S tokens of a group, E experts, C capacity.
"""

from typing import Literal

import torch
from torch import Tensor

from quire.papers.gshard.routing import Routing, assign_slots, measure_balance

Second = Literal["random", "threshold", "all", "none"]
EPSILON = 1e-9


def top2_gate(
    logits: Tensor,
    capacity: int,
    *,
    training: bool = False,
    generator: torch.Generator | None = None,
    counted: Tensor | None = None,
    second: Second = "random",
    threshold: float = 0.5,
    rejected_fill: bool = False,
) -> Routing:
    """Each token's two likeliest experts, with a slot in each where its group left one.

    Gates are a softmax over experts in single precision at the least; the two largest are divided
    by their sum. First choices take slots in the order of tokens, then second ones. Where `second`
    is "random", a second expert is kept in training with the probability min(1, g2 / threshold):
    2 g2 > rnd in the paper. Outside training it is always kept, so that the same tokens go the
    same way. What finds its expert full is dropped, and the other gate keeps its value.

    Args:
        logits: (G, S, E).
        capacity: C of each expert in each group.
        training: Whether second experts may be left out at random.
        generator: What they are drawn from; None is torch's own.
        counted: Which tokens are no padding, bool (G, S). Padding takes no slot and is in no mean.
        second: Which second experts are kept: at "threshold", those with g2 above it.
        threshold: For "random" and "threshold".
        rejected_fill: Whether a second choice that is left out takes a slot all the same, as
            algorithm 1 is printed; the published codes free it.

    Raises ValueError for another shape, capacity below 1 or threshold that is not positive.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import top2_gate
        >>> logits = torch.tensor([[[2.0, 1.0, 0.0], [2.0, 0.0, 1.0]]])  # a group of two tokens
        >>> routing = top2_gate(logits, capacity=1)
        >>> routing.expert.tolist(), routing.kept.tolist()
        ([[[0, 1], [0, 2]]], [[[True, True], [False, True]]])
        >>> routing.combine.shape
        torch.Size([1, 2, 3, 1])
    """
    check(logits, capacity, counted)
    if second not in ("random", "threshold", "all", "none"):
        raise ValueError(f"second must be random, threshold, all or none, got {second!r}")
    if threshold <= 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    probabilities = soften(logits)
    groups, tokens, experts = probabilities.shape
    everyone = logits.new_ones(groups, tokens, dtype=torch.bool)
    counted = everyone if counted is None else counted
    expert = choose_two(probabilities)
    gate = probabilities.gather(-1, expert)
    gate = gate / (gate.sum(-1, keepdim=True) + EPSILON) if experts > 1 else gate
    accepted = torch.ones_like(expert, dtype=torch.bool)
    if experts > 1:
        accepted[..., 1] = accept_second(gate[..., 1], training, generator, second, threshold)
    wanted = counted[..., None] & (torch.ones_like(accepted) if rejected_fill else accepted)
    slot = assign_slots(expert, wanted, experts)
    kept = counted[..., None] & accepted & (slot < capacity)
    loss = measure_balance(probabilities, expert[..., 0], counted)
    weight = gate * kept
    return Routing(expert, slot, weight, kept, counted, loss, experts, capacity)


def soften(logits: Tensor) -> Tensor:
    """A softmax over experts, in single precision where the logits have less."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.softmax(-1)


def choose_two(probabilities: Tensor) -> Tensor:
    """The two largest of (..., E), the lower number first among equals: int64 (..., 2).

    One expert has no second: (..., 1).
    """
    probabilities = probabilities.detach()
    first = probabilities.argmax(-1, keepdim=True)
    if probabilities.shape[-1] == 1:
        return first
    # topk does not say which of two equal gates comes first, and differs between devices.
    second = probabilities.scatter(-1, first, -1.0).argmax(-1, keepdim=True)
    return torch.cat((first, second), -1)


def accept_second(
    gate: Tensor,
    training: bool,
    generator: torch.Generator | None,
    second: Second,
    threshold: float,
) -> Tensor:
    """Which second experts are kept, of their gates (G, S): bool (G, S).

    Args:
        gate: Normalised.
        training: As in `top2_gate`, like all that follow.
        generator: Where "random" draws from.
        second: The rule.
        threshold: Its bound.
    """
    if second == "none":
        return torch.zeros_like(gate, dtype=torch.bool)
    if second == "threshold":
        return gate > threshold
    if second == "random" and training:
        drawn = torch.rand(gate.shape, generator=generator, device=gate.device)
        return gate > threshold * drawn
    return torch.ones_like(gate, dtype=torch.bool)


def check(logits: Tensor, capacity: int, counted: Tensor | None) -> None:
    """Raises ValueError for what is no (G, S, E), C or mask of tokens."""
    if logits.ndim != 3 or not logits.shape[-1]:
        shape = tuple(logits.shape)
        raise ValueError(f"logits must be (groups, tokens, experts), got {shape}")
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, got {capacity}")
    if counted is not None and (
        counted.shape != logits.shape[:2] or counted.dtype != torch.bool
    ):  # fmt: skip
        raise ValueError(
            f"counted must be bool {tuple(logits.shape[:2])}, "
            f"got {counted.dtype} {tuple(counted.shape)}"
        )
