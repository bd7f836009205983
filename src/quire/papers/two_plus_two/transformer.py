"""A small transformer that reads "a+b=" and writes the digits of the sum, stacked.

Shapes: M members, N pairs, T = 6 tokens, D width, H heads, C answers (the sums 0 to C - 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.two_plus_two.stacked import StackedLinear, draw_uniform

PLUS, EQUALS, END = 10, 11, 12
WORDS = 13
"""Ten digits and three signs."""
PROMPT, WRITTEN = 4, 3
"""Tokens of "a+b=", and the most that are written: two digits and the end."""


def write_answers(count: int, *, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """The tokens of the sums 0 to `count` - 1, (C, 3), and which of them are written, bool (C, 3).

    reverse: whether the units come first. Raises ValueError beyond two digits.
    """
    if not 1 <= count <= 100:
        raise ValueError(f"count must be 1 to 100, answers of two digits, got {count}")
    digits = [[int(digit) for digit in str(number)] for number in range(count)]
    rows = [(row[::-1] if reverse else row) + [END] for row in digits]
    tokens = torch.tensor([row + [END] * (WRITTEN - len(row)) for row in rows])
    length = torch.tensor([len(row) for row in rows])
    return tokens, torch.arange(WRITTEN) < length[:, None]


class StackedNorm(nn.Module):
    """M layer normalisations over the last dimension.

    Args:
        members: M.
        dim: D.

    Example:
        >>> StackedNorm(3, 8)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, members: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, dim))
        self.bias = nn.Parameter(torch.zeros(members, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(M, ..., D) to the same shape."""
        shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        x = F.layer_norm(x.to(self.weight.dtype), x.shape[-1:])
        return x * self.weight.view(shape) + self.bias.view(shape)


class Block(nn.Module):
    """Causal attention and a feed-forward layer of 4 D, each after a normalisation, stacked."""

    def __init__(
        self, members: int, dim: int, *, heads: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        linear = {
            name: StackedLinear(members, inputs, outputs=outputs, generator=generator)
            for name, inputs, outputs in (
                ("qkv", dim, 3 * dim), ("mix", dim, dim), ("up", dim, 4 * dim),
                ("down", 4 * dim, dim),
            )
        }  # fmt: skip
        self.qkv, self.mix, self.up, self.down = linear.values()
        self.norm_attention, self.norm_up = StackedNorm(members, dim), StackedNorm(members, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, T, D) to the same shape."""
        members, rows, length, dim = x.shape
        split = (members, rows, length, 3, self.heads, dim // self.heads)
        q, k, v = self.qkv(self.norm_attention(x)).view(split).permute(3, 0, 1, 4, 2, 5)
        logits = q @ k.mT * (dim // self.heads) ** -0.5
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        mixed = logits.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.mix(mixed.transpose(2, 3).reshape(members, rows, length, dim))
        return x + self.down(F.gelu(self.up(self.norm_up(x))))


class DigitTransformer(nn.Module):
    """M transformers that write sums digit by digit, the end included.

    Positions are learned. Every answer's probability is the product of its tokens', so that those
    of all numbers that can be written sum to one at most.

    Args:
        members: M.
        answers: C: sums below it are the possible answers.
        dim: D.
        layers: Blocks.
        heads: H.
        reverse: Whether the units are written first.
        generator: Of the first weights.

    Example:
        >>> DigitTransformer(3, 19, dim=8, heads=2)(torch.tensor([[2, 2], [0, 4]])).shape
        torch.Size([3, 2, 19])
    """

    def __init__(
        self,
        members: int,
        answers: int = 19,
        *,
        dim: int = 32,
        layers: int = 1,
        heads: int = 4,
        reverse: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}")
        tokens, written = write_answers(answers, reverse=reverse)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("written", written, persistent=False)
        self.tokens: Tensor
        self.written: Tensor
        bound = (3 / dim) ** 0.5
        self.words = nn.Parameter(draw_uniform(members, WORDS, dim, bound=bound,
                                               generator=generator))  # fmt: skip
        length = PROMPT + WRITTEN - 1
        self.places = nn.Parameter(
            draw_uniform(members, length, dim, bound=bound, generator=generator)
        )
        self.blocks = nn.Sequential(
            *(Block(members, dim, heads=heads, generator=generator) for _ in range(layers))
        )
        self.norm = StackedNorm(members, dim)
        self.out = StackedLinear(members, dim, outputs=WORDS, generator=generator)

    def forward(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to logarithms of every answer's probability (M, N, C)."""
        count = len(self.tokens)
        every = torch.arange(count, device=pairs.device)
        asked = pairs[..., None, :].expand(*pairs.shape[:-1], count, 2).flatten(-3, -2)
        sums = every.expand(*pairs.shape[:-1], count).flatten(-2)
        return self.score(asked, sums).unflatten(-1, (pairs.shape[-2], count))

    def score(self, pairs: Tensor, sums: Tensor) -> Tensor:
        """Logarithm of the probability of the given answers.

        pairs (N, 2) or (M, N, 2), sums (N,) or (M, N), to (M, N).
        """
        members = len(self.words)
        answer = self.tokens[sums]
        pairs = pairs.expand(members, *pairs.shape[-2:])
        answer = answer.expand(members, *answer.shape[-2:])
        sign = torch.full_like(pairs[..., :1], PLUS)
        given = [pairs[..., :1], sign, pairs[..., 1:], torch.full_like(sign, EQUALS)]
        tokens = torch.cat([*given, answer[..., :-1]], -1)
        onehot = F.embedding(tokens, torch.eye(WORDS, device=tokens.device)).to(self.words.dtype)
        x = (onehot.flatten(1, 2) @ self.words).unflatten(1, tokens.shape[1:])
        x = self.norm(self.blocks(x + self.places[:, None]))
        log = self.out(x[:, :, PROMPT - 1 :]).log_softmax(-1)
        each = log.gather(-1, answer[..., None])[..., 0]
        return (each * self.written[sums]).sum(-1)

    def losses(self, pairs: Tensor, sums: Tensor) -> Tensor:
        """Minus `score`, (M, N)."""
        return -self.score(pairs, sums)

    def penalty(self) -> Tensor:
        """Nothing, ()."""
        return torch.zeros(())
