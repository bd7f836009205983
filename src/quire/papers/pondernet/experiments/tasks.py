"""Tasks whose difficulty is known: parity, hops, arithmetic, associative inference, corruption.

Parity and hops are split in two: random draws, which follow from the step alone, and the examples
made of them for the difficulty that training has come to. B examples, n places, T digits, F
features.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

Operation = Literal["add", "subtract", "multiply", "modulo"]
Link = Literal["AB", "BC", "AC"]
LINKS: tuple[Link, ...] = ("AB", "BC", "AC")
"""The kinds of query of associative inference: two that were shown, and the one to infer."""


class Examples(NamedTuple):
    """Inputs with answers and ground-truth difficulty."""

    x: Tensor | tuple[Tensor, Tensor]
    target: Tensor
    """Class numbers (B,) or (B, T)."""
    difficulty: Tensor
    """(B,): how many operations, one after another, an example takes; or how much it is corrupted.
    """


class ParityDraws(NamedTuple):
    """Uniform numbers that parity examples are made of."""

    share: Tensor
    """(B,)"""
    order: Tensor
    """(B, n)"""
    sign: Tensor
    """(B, n)"""


def draw_parity(batch_size: int, length: int, generator: torch.Generator) -> ParityDraws:
    """The randomness of a batch of parity examples of `length` places."""
    share = torch.rand(batch_size, generator=generator)
    order, sign = torch.rand(2, batch_size, length, generator=generator)
    return ParityDraws(share, order, sign)


def make_parity(
    draws: ParityDraws, least: int, most: int, *, prefix: int | None = None
) -> Examples:
    """Vectors (B, n) of +1, -1 and 0; the answer is whether the number of +1 is odd.

    Args:
        draws: The randomness.
        least: Fewest non-zero entries. Their number k, the difficulty, is uniform.
        most: Most non-zero entries.
        prefix: Places at the front that they stand in; None is all (see the card: two readings).

    Raises `ValueError` unless 0 <= least <= most <= the places that there are, and for a prefix
    that is longer than the vector or has no place.
    """
    places = draws.order.shape[1]
    room = places if prefix is None else prefix
    if not 1 <= room <= places:
        raise ValueError(f"prefix must lie in 1..{places} or be None, got {prefix}")
    if not 0 <= least <= most <= room:
        raise ValueError(f"0 <= least <= most <= {room} is needed, got {least} and {most}")
    k = (least + draws.share * (most - least + 1)).long().clamp(max=most)
    order = draws.order.clone()
    # Draws lie below one: places beyond the prefix come last in every order, so are never used.
    order[:, room:] = 2.0
    used = order.argsort(1).argsort(1) < k.unsqueeze(1)
    x = torch.where(draws.sign < 0.5, -1.0, 1.0) * used
    return Examples(x, (x > 0).sum(1) % 2, k)


class HopMap(NamedTuple):
    """A map of elements to elements with one path, which leads every element to the last one.

    A cycle would not do: a step could learn m hops at once and repeat them.
    """

    order: Tensor
    """(elements,): order[i + 1] leads to order[i]; order[0] leads to itself."""

    @classmethod
    def draw(cls, elements: int, generator: torch.Generator) -> "HopMap":
        """A random one."""
        return cls(torch.randperm(elements, generator=generator))

    def leads_to(self) -> Tensor:
        """The element (elements,) that each one leads to."""
        before = torch.cat([self.order[:1], self.order[:-1]])
        return torch.empty_like(self.order).scatter_(0, self.order, before)

    def make(self, uniform: Tensor, hops: int) -> Examples:
        """Where k in 1..hops applications lead; starts and k from `uniform`, (B, 2) in [0, 1).

        x is a one-hot start beside a one-hot k, (B, elements + hops); difficulty is k.
        """
        elements = len(self.order)
        place = (uniform[:, 0] * elements).long()
        k = (1 + uniform[:, 1] * hops).long()
        order = self.order.to(uniform.device)
        x = torch.cat([one_hot(order[place], elements), one_hot(k - 1, hops)], 1).float()
        return Examples(x, order[(place - k).clamp(min=0)], k)


def make_arithmetic(
    operation: Operation,
    batch_size: int,
    digits: int,
    *,
    generator: torch.Generator,
    fewest: int = 1,
) -> Examples:
    """Integer operations digit by digit, least significant first.

    Args:
        operation: subtract is larger minus smaller; multiply and modulo take one digit beside a.
        batch_size: B.
        digits: Most digits of an operand; T = digits + 1.
        generator: Where the randomness comes from.
        fewest: Fewest digits of an operand.

    x holds two rows of one-hot digits, (B, 20, T); a one-digit operand is repeated at every place.
    `modulo` has a modulus of 2..9, and its answer stands in the lowest place. Difficulty is the
    longest chain that must be worked off in order: the farthest that a carry (or borrow) travels,
    or the number of digits for `modulo`. Raises `ValueError` for another operation and unless
    1 <= fewest <= digits.
    """
    if operation not in get_args(Operation):
        raise ValueError(f"operation must be one of {get_args(Operation)}, got {operation!r}")
    if not 1 <= fewest <= digits:
        raise ValueError(f"1 <= fewest <= digits is needed, got {fewest} and {digits}")
    length = digits + 1
    place = torch.arange(length)
    size = torch.randint(fewest, digits + 1, (batch_size, 1), generator=generator)
    used = place < size
    a = torch.randint(0, 10, (batch_size, length), generator=generator)
    b = torch.randint(0, 10, (batch_size, length), generator=generator)
    # Random digits rarely chain. A place where the two sum to 9 (or are equal, in a subtraction)
    # passes a carry on; how often that happens is drawn for each example, so that all lengths of
    # chain are frequent.
    often = torch.rand(batch_size, length, generator=generator)
    pass_on = often < torch.rand(batch_size, 1, generator=generator)
    if operation == "add":
        b = torch.where(pass_on, 9 - a, b) * used
        a = a * used
    elif operation == "subtract":
        b = torch.where(pass_on, a, b) * used
        a = a * used
        # No answer is negative.
        larger = _is_at_least(a, b)
        a, b = torch.where(larger[:, None], a, b), torch.where(larger[:, None], b, a)
    else:
        a = a * used
        low = 2 if operation == "modulo" else 0
        b = torch.randint(low, 10, (batch_size, 1), generator=generator).expand(-1, length)
    target, chain = _work_out(operation, a, b, size.squeeze(1))
    x = torch.cat([one_hot(a, 10), one_hot(b, 10)], 2).transpose(1, 2).float()
    return Examples(x, target, chain)


def _is_at_least(a: Tensor, b: Tensor) -> Tensor:
    """Whether the number of digits a (B, T) is that of b or larger, (B,), at any length."""
    # The highest place where they differ decides; numbers of 19 digits no longer fit an integer.
    differ = (a != b) * torch.arange(1, a.shape[1] + 1)
    highest = differ.argmax(1, keepdim=True)
    return (a.gather(1, highest) >= b.gather(1, highest)).squeeze(1)


def _work_out(operation: Operation, a: Tensor, b: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """School arithmetic on digits (B, T): answer digits, and the farthest that a carry travels.

    `size`, (B,), is the chain of `modulo`.
    """
    if operation == "modulo":
        # Long division, from the most significant digit down; only the remainder is kept.
        rest = torch.zeros_like(a[:, 0])
        for t in reversed(range(a.shape[1])):
            rest = (10 * rest + a[:, t]) % b[:, t]
        answer = torch.zeros_like(a)
        answer[:, 0] = rest
        return answer, size
    answer, carry = torch.zeros_like(a), torch.zeros_like(a[:, 0])
    chain, longest = torch.zeros_like(carry), torch.zeros_like(carry)
    for t in range(a.shape[1]):
        if operation == "add":
            alone, total = a[:, t] + b[:, t], a[:, t] + b[:, t] + carry
        elif operation == "subtract":
            alone, total = a[:, t] - b[:, t], a[:, t] - b[:, t] - carry
        else:
            alone, total = a[:, t] * b[:, t], a[:, t] * b[:, t] + carry
        answer[:, t] = total % 10
        # A carry that differs from the one made here alone has travelled from below.
        made = total.div(10, rounding_mode="floor").abs()
        moved = made != alone.div(10, rounding_mode="floor").abs()
        chain = torch.where(moved, chain + 1, (made > 0).long())
        longest = torch.maximum(longest, chain)
        carry = made
    return answer, longest


def make_paired_associates(
    pool: Tensor,
    batch_size: int,
    *,
    pairs: int,
    generator: torch.Generator,
    link: Link | None = None,
) -> Examples:
    """Paired associative inference: `pairs` chains A-B-C are stored as rows A-B and B-C.

    The query is a cue with a match and a lure, in random order; the answer, 0 or 1, is the place
    of the match. The lure has the match's role in another chain. An A-C query needs both rows of
    its chain.

    Args:
        pool: Embeddings (images, F) of this split; splits must use disjoint pools.
        batch_size: B.
        pairs: Chains in an episode; the memory has 2 * pairs rows.
        generator: Where the randomness comes from.
        link: Which kind of query; None draws a kind for each example.

    x is (memory (B, 2 * pairs, 2, F), query (B, 3, F)); difficulty is 1 for direct links and 2 for
    A-C. Raises `ValueError` for less than 2 pairs, a pool of less than 3 images a chain, or another
    link.
    """
    if link not in (None, *LINKS):
        raise ValueError(f"link must be one of {LINKS} or None, got {link!r}")
    if pairs < 2 or len(pool) < 3 * pairs:
        raise ValueError(
            f"pairs must be at least 2 and the pool hold 3 images a chain, "
            f"got {pairs} and {len(pool)}"
        )
    # Images without repetition within an episode: no other chain can give the answer away.
    ids = torch.rand(batch_size, len(pool), generator=generator).argsort(1)[:, : 3 * pairs]
    chains = pool[ids].unflatten(1, (pairs, 3))
    # Rows in random order, so that their place does not say which two belong to one chain.
    rows = torch.cat([chains[:, :, :2], chains[:, :, 1:]], 1)
    order = torch.rand(batch_size, 2 * pairs, generator=generator).argsort(1)
    memory = rows.gather(1, order[:, :, None, None].expand_as(rows))
    kind = torch.randint(0, 3, (batch_size,), generator=generator)
    if link is not None:
        kind = torch.full_like(kind, LINKS.index(link))
    # Roles in a chain: 0 is A, 1 is B, 2 is C.
    cue_role = torch.tensor([0, 1, 0])[kind]
    answer_role = torch.tensor([1, 2, 2])[kind]
    chain = torch.randint(0, pairs, (batch_size,), generator=generator)
    # Another chain: the own one plus 1..pairs-1, around the end.
    other = (chain + torch.randint(1, pairs, (batch_size,), generator=generator)) % pairs
    row = torch.arange(batch_size)
    match, lure = chains[row, chain, answer_role], chains[row, other, answer_role]
    place = torch.randint(0, 2, (batch_size,), generator=generator)
    swap = place.bool()[:, None]
    options = [torch.where(swap, lure, match), torch.where(swap, match, lure)]
    query = torch.stack([chains[row, chain, cue_role], *options], 1)
    return Examples((memory, query), place, torch.where(kind == 2, 2, 1))


def draw_image_pool(images: int, features: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors (images, features) that stand for embedded images."""
    pool = torch.randn(images, features, generator=generator)
    return pool / pool.norm(dim=1, keepdim=True)


def corrupt(images: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) in [0, 1] with noise, blur and a grey square, growing with the level.

    `level` is (B,) in [0, 1]: noise of standard deviation 0.8 * level, a share `level` of a 3x3
    blur, and at a random place a square of side level * H / 2.
    """
    batch, _, height, width = images.shape
    amount = level[:, None, None, None]
    blurred = avg_pool2d(images, 3, 1, 1)
    noise = torch.randn(images.shape, generator=generator)
    result = torch.lerp(images, blurred, amount.expand_as(images)) + 0.8 * amount * noise
    # Corners and side are real numbers, so that a level of zero has no square at all.
    side = level * height / 2
    room = torch.stack([height - side, width - side])
    corner = torch.rand(2, batch, generator=generator) * room
    below = torch.arange(height) - corner[0][:, None]
    across = torch.arange(width) - corner[1][:, None]
    inside_rows = (below >= 0) & (below < side[:, None])
    inside = inside_rows[:, :, None] & ((across >= 0) & (across < side[:, None]))[:, None, :]
    return torch.where(inside[:, None], 0.5, result)
