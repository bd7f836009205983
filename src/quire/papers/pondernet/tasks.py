"""Tasks whose difficulty is known: parity, hops, integer arithmetic, associative inference,
corruption.

A task is split in two where the experiment has a curriculum: random draws, which follow from the
step alone, and the examples made of them for the current difficulty. B examples, n places, T
digits.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

Operation = Literal["add", "subtract", "multiply", "modulo"]


class Examples(NamedTuple):
    """Inputs with answers and ground-truth difficulty."""

    x: Tensor | tuple[Tensor, Tensor]
    target: Tensor
    """Class numbers `(B,)` or `(B, T)`."""
    difficulty: Tensor
    """`(B,)` int64: how many sequential operations an example takes."""


class ParityDraws(NamedTuple):
    """Uniform numbers that parity examples are made of."""

    share: Tensor
    """`(B,)`"""
    order: Tensor
    """`(B, n)`"""
    sign: Tensor
    """`(B, n)`"""


def parity_draws(batch: int, length: int, generator: torch.Generator) -> ParityDraws:
    """The randomness of a batch of parity examples."""
    share = torch.rand(batch, generator=generator)
    order, sign = torch.rand(2, batch, length, generator=generator)
    return ParityDraws(share, order, sign)


def parity(draws: ParityDraws, least: int, most: int, *, prefix: int | None = None) -> Examples:
    """Vectors of +1, -1 and 0; the answer is whether the number of +1 is odd.

    The number k of non-zero entries, the difficulty, is uniform in least..most, their places and
    signs are random. `prefix` puts them in the first `prefix` places only (the other reading of
    the paper's "integers from 1 to 48").
    """
    room = prefix or draws.order.shape[1]
    if not 0 <= least <= most <= room:
        raise ValueError(f"0 <= least <= most <= {room} is needed, got {least} and {most}")
    k = (least + draws.share * (most - least + 1)).long().clamp(max=most)
    order = draws.order.clone()
    order[:, room:] = 2.0  # behind every other place
    used = order.argsort(1).argsort(1) < k.unsqueeze(1)
    x = torch.where(draws.sign < 0.5, -1.0, 1.0) * used
    return Examples(x, (x > 0).sum(1) % 2, k)


class HopMap(NamedTuple):
    """A map of elements to elements with one path: every element leads, in the end, to the last
    one."""

    order: Tensor
    """`(elements,)`: order[i + 1] leads to order[i]; order[0] leads to itself."""

    @classmethod
    def draw(cls, elements: int, generator: torch.Generator) -> "HopMap":
        """A random one. (A pure cycle would not do: there, m hops repeated can stand for one
        hop.)"""
        return cls(torch.randperm(elements, generator=generator))

    def examples(self, uniform: Tensor, largest: int, *, hops: int) -> Examples:
        """Where k in 1..largest applications lead; starts and counts from `uniform`, `(B, 2)` in
        [0, 1).

        x is a one-hot start beside a one-hot k, `(B, elements + hops)`; difficulty is k.
        """
        elements = len(self.order)
        place = (uniform[:, 0] * elements).long()
        k = (1 + uniform[:, 1] * largest).long()
        order = self.order.to(uniform.device)
        x = torch.cat([one_hot(order[place], elements), one_hot(k - 1, hops)], 1).float()
        return Examples(x, order[(place - k).clamp(min=0)], k)


def arithmetic(
    operation: Operation, batch: int, digits: int, *, generator: torch.Generator, fewest: int = 1
) -> Examples:
    """Integer operations on numbers of `fewest`..`digits` digits, digit by digit, least
    significant first.

    `add` and `subtract` (larger minus smaller) take two numbers; `multiply` a number and one digit;
    `modulo` a number and a one-digit modulus 2..9, the answer standing in the lowest place. x
    holds two rows of one-hot digits, `(B, 20, T)`, T = digits + 1; a one-digit operand is repeated
    at every place. Difficulty is the longest chain that must be worked off in order: the farthest
    that a carry (or borrow) travels, or the number of digits for `modulo`. Long chains are made
    frequent.
    """
    length = digits + 1
    place = torch.arange(length)
    size = torch.randint(fewest, digits + 1, (batch, 1), generator=generator)
    used = place < size
    a = torch.randint(0, 10, (batch, length), generator=generator)
    b = torch.randint(0, 10, (batch, length), generator=generator)
    pass_on = torch.rand(batch, length, generator=generator) < torch.rand(
        batch, 1, generator=generator
    )
    if operation == "add":
        b = torch.where(pass_on, 9 - a, b) * used
        a = a * used
    elif operation == "subtract":
        b = torch.where(pass_on, a, b) * used
        a = a * used
        larger = _value(a) >= _value(b)
        a, b = torch.where(larger[:, None], a, b), torch.where(larger[:, None], b, a)
    else:
        a = a * used
        low = 2 if operation == "modulo" else 0
        b = torch.randint(low, 10, (batch, 1), generator=generator).expand(-1, length)
    target, chain = _work_out(operation, a, b, size.squeeze(1))
    x = torch.cat([one_hot(a, 10), one_hot(b, 10)], 2).transpose(1, 2).float()
    return Examples(x, target, chain)


def _value(digits: Tensor) -> Tensor:
    return (digits * 10 ** torch.arange(digits.shape[1])).sum(1)


def _work_out(operation: Operation, a: Tensor, b: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """School arithmetic on `(B, T)` digits: answer digits, and the longest distance a carry
    travels."""
    if operation == "modulo":
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


def paired_associates(
    batch: int,
    *,
    pool: Tensor,
    pairs: int,
    generator: torch.Generator,
    link: Literal["AB", "BC", "AC", "mixed"] = "mixed",
) -> Examples:
    """Paired associative inference: `pairs` chains A-B-C are stored as rows A-B and B-C.

    The query is a cue with a match and a lure, in random order; the answer, 0 or 1, is the place
    of the match. The lure has the match's role in another chain. An A-C query needs both rows of
    its chain.

    Args:
        batch: B.
        pool: embeddings `(images, F)` of this split; splits must use disjoint pools.
        pairs: chains in an episode; the memory has `2 * pairs` rows.
        generator: where the randomness comes from.
        link: which kind of query; `mixed` draws a kind for each example.

    Returns:
        x = (memory `(B, 2 pairs, 2, F)`, query `(B, 3, F)`); difficulty 1 for direct links, 2 for
        A-C.
    """
    if pairs < 2 or len(pool) < 3 * pairs:
        raise ValueError(
            f"pairs must be at least 2 and the pool hold 3 images a chain, "
            f"got {pairs} and {len(pool)}"
        )
    ids = torch.rand(batch, len(pool), generator=generator).argsort(1)[:, : 3 * pairs]
    chains = pool[ids].unflatten(1, (pairs, 3))
    rows = torch.cat([chains[:, :, :2], chains[:, :, 1:]], 1)
    order = torch.rand(batch, 2 * pairs, generator=generator).argsort(1)
    memory = rows.gather(1, order[:, :, None, None].expand_as(rows))
    kind = torch.randint(0, 3, (batch,), generator=generator)
    if link != "mixed":
        kind = torch.full_like(kind, ("AB", "BC", "AC").index(link))
    cue_role = torch.tensor([0, 1, 0])[kind]
    answer_role = torch.tensor([1, 2, 2])[kind]
    chain = torch.randint(0, pairs, (batch,), generator=generator)
    other = (chain + torch.randint(1, pairs, (batch,), generator=generator)) % pairs
    row = torch.arange(batch)
    match, lure = chains[row, chain, answer_role], chains[row, other, answer_role]
    place = torch.randint(0, 2, (batch,), generator=generator)
    swap = place.bool()[:, None]
    options = [torch.where(swap, lure, match), torch.where(swap, match, lure)]
    query = torch.stack([chains[row, chain, cue_role], *options], 1)
    return Examples((memory, query), place, torch.where(kind == 2, 2, 1))


def image_pool(images: int, features: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors `(images, features)` that stand for embedded images."""
    pool = torch.randn(images, features, generator=generator)
    return pool / pool.norm(dim=1, keepdim=True)


def corrupt(images: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Images `(B, C, H, W)` in [0, 1] with noise, blur and a grey square, all growing with the
    level.

    `level` is `(B,)` in [0, 1]: noise of standard deviation `0.8 level`, a share `level` of a 3x3
    blur, and at a random place a square of side `level * H / 2`.
    """
    batch, _, height, width = images.shape
    amount = level[:, None, None, None]
    blurred = avg_pool2d(images, 3, 1, 1)
    noise = torch.randn(images.shape, generator=generator)
    result = torch.lerp(images, blurred, amount.expand_as(images)) + 0.8 * amount * noise
    side = level * height / 2
    corner = torch.rand(2, batch, generator=generator) * (
        torch.stack([height - side, width - side])
    )
    below = torch.arange(height) - corner[0][:, None]
    across = torch.arange(width) - corner[1][:, None]
    inside_rows = (below >= 0) & (below < side[:, None])
    inside = inside_rows[:, :, None] & ((across >= 0) & (across < side[:, None]))[:, None, :]
    return torch.where(inside[:, None], 0.5, result)
