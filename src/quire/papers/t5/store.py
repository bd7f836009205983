"""Tokens of a corpus in a file that is mapped into memory, and batches of raw tokens from it.

A store is a folder: `tokens.bin` (uint16 where the vocabulary allows, else int32), `offsets.npy`
(int64, where each document begins, and the end) and `store.json`. It is written once and read by
any number of processes, which share its pages.
"""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.papers.t5.vocabulary import Vocabulary

BLOCK = 1000
"""Documents that are encoded together."""


class TokenStore:
    """A corpus as token ids, document after document, on disk.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> store = write_tokens([[5, 6, 7], [8, 9]], folder, size=100)
        >>> len(store), store.tokens, store.document(1).tolist()
        (2, 5, [8, 9])

    Args:
        folder: What `write_tokens` wrote.
        documents: Begin and end of the documents that count; None takes all.

    Raises ValueError where the folder holds no whole store.
    """

    def __init__(
        self, folder: str | os.PathLike[str], documents: tuple[int, int] | None = None
    ) -> None:
        self.folder = Path(folder)
        try:
            about = json.loads((self.folder / "store.json").read_text())
            dtype, count = np.dtype(about["dtype"]), about["tokens"]
            size = (self.folder / "tokens.bin").stat().st_size
            # A file of no bytes cannot be mapped.
            offsets = np.load(self.folder / "offsets.npy", mmap_mode="r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} holds no token store ({error}): write_tokens makes one")\
                from error  # fmt: skip
        if size != count * dtype.itemsize or int(offsets[-1]) != count:
            raise ValueError(f"the token store in {folder} is cut short: write it again")
        begin, end = documents or (0, len(offsets) - 1)
        if not 0 <= begin <= end <= len(offsets) - 1:
            raise ValueError(f"documents must lie in 0..{len(offsets) - 1}, got {begin} to {end}")
        self.documents = (begin, end)
        self.offsets: NDArray[np.int64] = offsets[begin : end + 1]
        path = self.folder / "tokens.bin"
        every = np.memmap(path, dtype, mode="r") if count else np.empty(0, dtype)
        self.stream: NDArray = every[int(self.offsets[0]) : int(self.offsets[-1])]

    def __len__(self) -> int:
        """Documents."""
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return len(self.stream)

    def document(self, number: int) -> NDArray:
        """Ids of one document."""
        begin, end = (int(at) - int(self.offsets[0]) for at in self.offsets[number : number + 2])
        return self.stream[begin:end]

    def split(self, *shares: float) -> list["TokenStore"]:
        """Stores of consecutive documents, by shares of all of them, such as 0.9, 0.05, 0.05.

        Raises ValueError where the shares are not positive or sum to more than 1.
        """
        if not shares or min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(f"shares must be positive and sum to at most 1, got {shares}")
        first = self.documents[0]
        cuts = [first + round(sum(shares[:n]) * len(self)) for n in range(len(shares) + 1)]
        return [TokenStore(self.folder, cut) for cut in pairwise(cuts)]


def write_tokens(
    documents: Iterable[Sequence[int]], folder: str | os.PathLike[str], *, size: int
) -> TokenStore:
    """Write ids as a store; documents are read once and never held together.

    Args:
        documents: Ids of each, without end of sequence.
        folder: Is made.
        size: Ids of the vocabulary.

    Raises ValueError for an id that is not below `size`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = np.dtype(np.uint16 if size <= 1 << 16 else np.int32)
    offsets = [0]
    (folder / "store.json").unlink(missing_ok=True)  # until it is whole again
    with (folder / "tokens.bin").open("wb") as file:
        for document in documents:
            ids = np.asarray(document, np.int64)
            if ids.size and not 0 <= ids.min() <= ids.max() < size:
                raise ValueError(
                    f"ids must lie in 0..{size - 1}, document {len(offsets) - 1} has "
                    f"{ids.min()} to {ids.max()}"
                )
            file.write(ids.astype(dtype).tobytes())
            offsets.append(offsets[-1] + len(ids))
    np.save(folder / "offsets.npy", np.array(offsets, np.int64))
    about = {"dtype": dtype.name, "tokens": offsets[-1], "documents": len(offsets) - 1}
    (folder / "store.json").write_text(json.dumps(about))
    return TokenStore(folder)


def tokenise(
    texts: Iterable[str], vocabulary: Vocabulary, folder: str | os.PathLike[str]
) -> TokenStore:
    """Write texts as a store of their tokens; they are read once, a block at a time."""

    def encoded() -> Iterable[list[int]]:
        rest = iter(texts)
        while block := list(islice(rest, BLOCK)):
            yield from vocabulary.encode(block)

    return write_tokens(encoded(), folder, size=vocabulary.ids.size)


class Chunks:
    """Raw texts of one length from a store: documents one after another, cut anywhere.

    An epoch shows each chunk once, in an order that follows from seed and epoch; a batch follows
    from its step, so that a resumed run sees what it would have seen. What is left at the end, less
    than a chunk, is not shown.

    Example:
        >>> chunks = Chunks(torch.arange(10).numpy(), 3, seed=0)
        >>> chunks.batch(0, 2).shape
        torch.Size([2, 3])

    Args:
        stream: Token ids, such as `TokenStore.stream`.
        length: Tokens of a chunk, such as `raw_length(512).raw`.
        tokens: Only so many tokens from the beginning; data that is repeated is a short beginning
            (section 3.4.2). None takes all.
        seed: Of the order.

    Raises ValueError where there is no whole chunk.
    """

    def __init__(
        self, stream: NDArray, length: int, *, tokens: int | None = None, seed: int = 0
    ) -> None:
        if tokens is not None and not 0 < tokens <= len(stream):
            raise ValueError(f"tokens must lie in 1..{len(stream)}, got {tokens}")
        shown = len(stream) if tokens is None else tokens
        if length < 1 or shown < length:
            raise ValueError(f"chunks of {length} tokens need as many, got {shown}")
        self.rows = stream[: shown // length * length].reshape(-1, length)
        self.seed = seed
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Chunks of an epoch."""
        return len(self.rows)

    def batch(self, step: int, size: int) -> Tensor:
        """The raw tokens of a step, int64 (size, length)."""
        numbers = np.arange(step * size, (step + 1) * size)
        epochs = numbers // len(self)
        chosen = np.empty(size, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            chosen[here] = self._order(epoch)[numbers[here] % len(self)]
        return torch.from_numpy(self.rows[chosen].astype(np.int64))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
            self._epoch = epoch, order
        return self._epoch[1]
