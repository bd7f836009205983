"""Sequences made by a program, whose hidden tokens depend on tokens near by, at the front, or far.

B examples, N tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from quire.lab import Run

SYMBOLS, VALUES = 32, 8
"""Symbols of the text, and values of a key or an item."""

RUN = 8
"""Tokens that repeat a symbol where the text is of runs."""


class Examples(NamedTuple):
    """words: (B, N) int64. target: (B, N) int64, the hidden word, -100 where nothing is asked.
    kind: (B, N) int64, which kind of question, -1 where none."""

    words: Tensor
    target: Tensor
    kind: Tensor


class Dependencies:
    """Three kinds of questions in one text (the paper's building blocks, in small).

    The text is of runs: each of 32 symbols is repeated 8 times. Kind 0, local: one of a run is
    hidden. Kind 1, global: a question mark asks for the key, one of 8, that stands at position 0
    alone. Kind 2, distant: a question about item m asks for its value; the item's token, one of 8
    values, stands once at a random place.

    length: N, a multiple of 8. items: how many. asked: questions of each kind.

    Raises ValueError for a length that is no multiple of 8 or has no room for the questions.
    """

    kinds = ("local", "global", "distant")

    def __init__(self, length: int, *, items: int = 1, asked: int = 16) -> None:
        if length % RUN or length // 2 <= 3 * asked + items:
            raise ValueError(
                f"length must be a multiple of {RUN} and above {2 * (3 * asked + items)}, "
                f"got {length}"
            )
        self.length, self.items, self.asked = length, items, asked
        self.key = SYMBOLS
        self.item = self.key + VALUES
        self.hidden = self.item + VALUES * items
        self.words = self.hidden + 2 + items

    def draw(self, batch: int, generator: torch.Generator) -> Examples:
        """A batch; each example follows from the generator."""
        runs = torch.randint(SYMBOLS, (batch, self.length // RUN), generator=generator)
        words = runs.repeat_interleave(RUN, 1)
        key = torch.randint(VALUES, (batch, 1), generator=generator)
        value = torch.randint(VALUES, (batch, self.items), generator=generator)
        # Every second place after the first, in random order: for questions and items.
        places = 1 + 2 * torch.rand(batch, self.length // 2, generator=generator).argsort(1)
        local, rest = places[:, : self.asked], places[:, self.asked :]
        ask_key, rest = rest[:, : self.asked], rest[:, self.asked :]
        ask_item, stand = rest[:, : self.asked], rest[:, self.asked : self.asked + self.items]
        which = torch.arange(self.asked) % self.items
        # The answers first, while the words that are asked for still stand.
        target = torch.full_like(words, -100)
        kind = torch.full_like(words, -1)
        target.scatter_(1, local, words.gather(1, local))
        target.scatter_(1, ask_key, (self.key + key).expand(-1, self.asked))
        item = self.item + VALUES * torch.arange(self.items) + value
        target.scatter_(1, ask_item, item[:, which])
        for number, asked in enumerate((local, ask_key, ask_item)):
            kind.scatter_(1, asked, torch.full_like(asked, number))
        words[:, :1] = self.key + key
        words.scatter_(1, stand, item)
        words.scatter_(1, local, torch.full_like(local, self.hidden))
        words.scatter_(1, ask_key, torch.full_like(ask_key, self.hidden + 1))
        words.scatter_(1, ask_item, (self.hidden + 2 + which).expand(batch, -1))
        return Examples(words, target, kind)


class Recall:
    """Items that stand at one random place and are asked for at another, far away.

    An item's token says which of 8 values it has. All items stand side by side, and so do the
    questions, in the same order. One item is a needle to retrieve, many are a passage to copy.

    `far` is the least distance between them.

    Args:
        length: N.
        items: how many.
        asked: times that each is asked for.
        front: the questions are the first tokens of the text and the items stand in its second
            half; else the questions stand anywhere, at least a quarter of the text away.

    Raises ValueError for a text that has no room for them.
    """

    kinds = ("recall",)

    def __init__(self, length: int, *, items: int = 1, asked: int = 1, front: bool = False) -> None:
        if 4 * items * (asked + 1) > length:
            raise ValueError(
                f"a text of {length} tokens has no room for {items} items asked for {asked} times: "
                f"at least {4 * items * (asked + 1)} tokens"
            )
        self.length, self.items, self.asked, self.front = length, items, asked, front
        self.far = length // 2 - items * asked if front else length // 4
        self.hidden = SYMBOLS + VALUES * items
        self.words = self.hidden + items

    def draw(self, batch: int, generator: torch.Generator) -> Examples:
        """A batch; each example follows from the generator."""
        words = torch.randint(SYMBOLS, (batch, self.length), generator=generator)
        value = torch.randint(VALUES, (batch, self.items), generator=generator)
        item = SYMBOLS + VALUES * torch.arange(self.items) + value
        questions = self.items * self.asked
        if self.front:
            half = self.length // 2
            stand = half + torch.randint(half - self.items + 1, (batch, 1), generator=generator)
            ask = torch.arange(questions).expand(batch, -1)
        else:
            # A ring here: the questions begin between a quarter and three quarters later.
            stand = torch.randint(self.length, (batch, 1), generator=generator)
            room = self.length - 2 * self.far - self.items - questions + 1
            gap = self.far + torch.randint(room, (batch, 1), generator=generator)
            ask = (stand + self.items + gap + torch.arange(questions)) % self.length
        stand = (stand + torch.arange(self.items)) % self.length
        which = torch.arange(questions) % self.items
        target = torch.full_like(words, -100).scatter_(1, ask, item[:, which])
        kind = torch.full_like(words, -1).scatter_(1, ask, torch.zeros_like(ask))
        words.scatter_(1, stand, item)
        words.scatter_(1, ask, (self.hidden + which).expand(batch, -1))
        return Examples(words, target, kind)


def draw_test(task: Dependencies | Recall, count: int, run: Run) -> list[Examples]:
    """About `count` test examples, the same for every arm, in batches of at most 32."""
    batch = min(32, count)
    return [task.draw(batch, run.rng("test", i)) for i in range(max(1, count // 32))]


def hide(words: Tensor, mask: int, words_in_all: int, generator: torch.Generator) -> Examples:
    """Masked language modelling as in BERT: 15 % of the tokens are asked for.

    Of the chosen ones 80 % become the token `mask`, 10 % a random word, 10 % stay. Kind 0 is
    masked, 1 random, 2 unchanged.

    Args:
        words: (B, N) int64.
        mask: the word that hides another one.
        words_in_all: size of the vocabulary that random words are drawn from.
        generator: draws what is hidden, and how.
    """
    chosen = torch.rand(words.shape, generator=generator) < 0.15
    kind = torch.rand(words.shape, generator=generator).mul(10).sub(8).ceil().clamp(0).long()
    other = torch.randint(words_in_all, words.shape, generator=generator)
    seen = torch.where(kind == 0, mask, torch.where(kind == 1, other, words))
    return Examples(
        torch.where(chosen, seen, words),
        torch.where(chosen, words, -100),
        torch.where(chosen, kind, -1),
    )
