"""Random numbers that follow from a place alone: Philox 4x32-10 (Salmon et al. 2011).

A number is addressed by a seed, a stream, a generation, a row and its place in that row, and is the
same in whatever order, on whatever device and by however many workers it is asked for. So noise is
never stored: who needs it again computes it again.

R rows, N numbers of a row.
"""

import math

import torch
from torch import Tensor

from quire.nn import devices

EVOLUTION, STARTS, SCENES = range(3)
"""Streams: perturbations, weights at birth, what environments draw."""

ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF
_CHUNK = 1 << 15
"""Blocks at a time on a CPU: their words stay in its cache."""


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four words of 32 bits for each counter of four words, all of them int64 of one shape.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [f"{int(word):08x}" for word in philox((zero, zero, zero, zero), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    for turn in range(ROUNDS):
        low, high = ((k + turn * step) & _WORD for k, step in zip(key, _WEYL, strict=True))
        # A product of two words fills the 64 bits of an int64, whose sign means nothing here.
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = (second >> 32 & _WORD) ^ b ^ low, (first >> 32 & _WORD) ^ d ^ high
        b, d = second & _WORD, first & _WORD
    return a, b, c, d


def draw_words(place: "Place", rows: Tensor, count: int) -> Tensor:
    """Words of 32 bits (R, count) as int64. rows: their numbers (R,), below 2^32."""
    blocks = -(-count // 4)
    size = devices.piece_size(rows, max(1, _CHUNK // max(1, blocks)), len(rows), 16 * blocks)
    at = torch.arange(blocks, device=rows.device)
    pieces = []
    for piece in rows.to(torch.int64).split(size):
        row, block = torch.broadcast_tensors(piece[:, None], at)
        same = torch.zeros_like(row)
        counter = (block, row, same + place.generation, same + place.stream)
        words = philox(counter, (place.seed & _WORD, place.seed >> 32 & _WORD))
        pieces.append(torch.stack(words, -1).flatten(1)[:, :count])
    return torch.cat(pieces)


class Place:
    """Where numbers stand: a seed below 2^64, a stream and a generation below 2^32.

    Raises ValueError for a number out of its range.

    Example:
        >>> place = Place(seed=0)
        >>> alone = place.normal(torch.tensor([7]), 5)
        >>> torch.equal(alone[0], place.normal(torch.arange(10), 5)[7])
        True
    """

    def __init__(self, seed: int, *, stream: int = EVOLUTION, generation: int = 0) -> None:
        if not (0 <= seed < 1 << 64 and 0 <= stream <= _WORD and 0 <= generation <= _WORD):
            raise ValueError("a seed is below 2^64, a stream and a generation below 2^32, got "
                             f"{seed}, {stream} and {generation}")  # fmt: skip
        self.seed, self.stream, self.generation = seed, stream, generation

    def uniform(self, rows: Tensor, count: int) -> Tensor:
        """Numbers in [0, 1), float32 (..., count), for rows (...) of any shape."""
        words = draw_words(self, rows.flatten(), count)
        # 24 bits are what a float32 holds: more would round up to 1.
        return ((words >> 8).float() * 2.0**-24).unflatten(0, rows.shape)

    def normal(self, rows: Tensor, count: int) -> Tensor:
        """Standard normal numbers, float32 (..., count), by Box and Muller's transform."""
        words = draw_words(self, rows.flatten(), count + count % 2).unflatten(1, (-1, 2))
        first, second = words.unbind(-1)
        # In (0, 1], so that no logarithm is infinite: 6.66 is the largest number that can come.
        radius = ((first + 1).float() * 2.0**-32).log_().mul_(-2).sqrt_()
        angle = (second >> 8).float() * (2 * math.pi * 2.0**-24)
        both = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
        return both.flatten(1)[:, :count].unflatten(0, rows.shape)
