"""Texts as tokens: characters of Wikipedia, or WikiText-103 in 32,000 pieces of words."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire import data
from quire.data.sets.wikitext103 import Texts
from quire.lab import Run

Codes = NDArray[np.int64]

TextName = Literal["characters", "wikitext103"]
KINDS = 96
"""Characters that are told apart, the commonest; the others are one more."""
PIECES = 32_000
"""Pieces of words that byte-pair encoding makes."""


class Corpus(NamedTuple):
    """Tokens (N,) int64 of the three parts, and how many kinds there are."""

    train: Tensor
    val: Tensor
    test: Tensor
    vocabulary: int


def load_corpus(run: Run, name: TextName, *, train: int, test: int) -> Corpus:
    """The tokens of a text on the device.

    Args:
        run: Where it lies and where it goes.
        name: Which text.
        train: At most so many tokens to train on.
        test: At most so many to validate on, and to test on.
    """
    if name == "characters":
        parts, vocabulary = spell("\n\n".join(data.wiki_en(run.data)), train, test)
    else:
        parts, vocabulary = encode_pieces(data.wikitext103(run.data), train, test)
    train_part, val, test_part = (torch.from_numpy(part).to(run.device) for part in parts)
    return Corpus(train_part, val, test_part, vocabulary)


def spell(text: str, train: int, test: int) -> tuple[list[Codes], int]:
    """Characters as numbers of the training, the validation and the test part, and their kinds.

    The text begins with the test part and the validation part, so that more to train on leaves
    both as they are.
    """
    codes = np.frombuffer(text[: train + 2 * test].encode("utf-32-le"), np.uint32)
    values, counts = np.unique(codes[2 * test :], return_counts=True)
    kept = np.sort(values[np.argsort(-counts, kind="stable")][:KINDS])
    place = np.searchsorted(kept, codes).clip(max=len(kept) - 1)
    tokens = np.where(kept[place] == codes, place, len(kept)).astype(np.int64)
    return [tokens[2 * test :], tokens[test : 2 * test], tokens[:test]], len(kept) + 1


def encode_pieces(texts: Texts, train: int, test: int) -> tuple[list[Codes], int]:
    """Byte-pair encoding that is trained on the training part's first 12 million characters.

    Raises ImportError naming the extra where `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise ImportError("WikiText-103 needs tokenizers: pip install 'quire-papers[text]'"
                          ) from error  # fmt: skip
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts.train[:12_000_000].splitlines(), trainer)
    parts = []
    for text, count in ((texts.train, train), (texts.valid, test), (texts.test, test)):
        lines = (line for line in text.splitlines() if line.strip())
        found: list[int] = []
        for line in lines:
            found += tokenizer.encode(line).ids
            if len(found) >= count:
                break
        parts.append(np.array(found[:count], np.int64))
    return parts, tokenizer.get_vocab_size()


def bigram_perplexity(corpus: Corpus) -> float:
    """The test perplexity of pairs that were counted in the training part, with one added to each.

    NaN where a table of all pairs would have more than 10^8 numbers.
    """
    size = corpus.vocabulary
    if size**2 > 10**8:
        return float("nan")
    pairs = corpus.train[:-1] * size + corpus.train[1:]
    counts = torch.bincount(pairs, minlength=size**2).view(size, size).double() + 1
    log = (counts / counts.sum(1, keepdim=True)).log()
    return float((-log[corpus.test[:-1], corpus.test[1:]]).mean().exp())
