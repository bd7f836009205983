"""Several examples in one row: batches without padding, and which tokens may look at which.

Shapes: B rows, I tokens of inputs, T tokens of targets. Segments are numbered from 1 in each row, 0
is padding; a token attends to its own segment alone. Relative positions inside a segment are the
same wherever it stands in a row, so that the model needs no positions beside the segments.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.papers.t5.vocabulary import Vocabulary


class Batch(NamedTuple):
    """A batch of token ids, int64.

    Args:
        inputs: (B, I).
        targets: (B, T).
        input_segments: (B, I), None where each row is one example.
        target_segments: (B, T), likewise.
    """

    inputs: Tensor
    targets: Tensor
    input_segments: Tensor | None = None
    target_segments: Tensor | None = None


Tokens = Sequence[int]


def encode(
    examples: Iterable[tuple[str, str, Any]], vocabulary: Vocabulary
) -> list[tuple[Tokens, Tokens]]:
    """Tokens of inputs and targets of each example, such as those of a `Task`.

    Example:
        >>> vocabulary = Vocabulary.train(["so good .", "so bad ."] * 20, 20, sentinels=2)
        >>> batch = pad(encode([("so good .", "so", None)], vocabulary), 16, 4)
        >>> vocabulary.decode(batch.inputs.tolist())
        ['so good .']
    """
    columns = list(zip(*((shown, written) for shown, written, _ in examples), strict=True))
    return list(zip(*map(vocabulary.encode, columns), strict=True)) if columns else []


def pad(
    pairs: Sequence[tuple[Tokens, Tokens]], inputs: int, targets: int, *, eos: int = 1
) -> Batch:
    """One example a row; what is over is cut before the end of sequence is put.

    Example:
        >>> pad([([5, 6], [7]), ([8], [9, 9, 9])], 4, 3).targets
        tensor([[7, 1, 0],
                [9, 9, 1]])

    Args:
        pairs: Tokens of inputs and targets of each example, without end of sequence.
        inputs: I.
        targets: T.
        eos: Id of end of sequence.
    """
    rows = np.arange(len(pairs))
    begin = np.zeros(len(pairs), np.int64)
    filled = [
        _fill([pair[side][: width - 1] for pair in pairs], rows, begin, (len(pairs), width), eos)[0]
        for side, width in enumerate((inputs, targets))
    ]
    return Batch(*filled)


def pack(
    pairs: Sequence[tuple[Tokens, Tokens]],
    inputs: int,
    targets: int,
    *,
    open_rows: int = 10,
    eos: int = 1,
) -> Batch:
    """Examples in their order, each in the first open row that has room for it.

    Example:
        >>> packed = pack([([5, 6], [7]), ([8], [9])], 6, 4)
        >>> packed.inputs, packed.input_segments
        (tensor([[5, 6, 1, 8, 1, 0]]), tensor([[1, 1, 1, 2, 2, 0]]))

    Args:
        pairs: Tokens of inputs and targets of each example, without end of sequence.
        inputs: I.
        targets: T.
        open_rows: Rows that are filled at a time; the fullest is closed for a new one.
        eos: Id of end of sequence.
    """
    if open_rows < 1:
        raise ValueError(f"open_rows must be at least 1, got {open_rows}")
    shown = [pair[0][: inputs - 1] for pair in pairs]
    written = [pair[1][: targets - 1] for pair in pairs]
    places = _places(
        ((len(a) + 1, len(b) + 1) for a, b in zip(shown, written, strict=True)),
        inputs, targets, open_rows,
    )  # fmt: skip
    row, number, left, right = np.array(places, np.int64).reshape(-1, 4).T
    rows = int(row.max()) + 1 if len(row) else 0
    filled = (
        _fill(shown, row, left, (rows, inputs), eos, number),
        _fill(written, row, right, (rows, targets), eos, number),
    )
    (a, b), (c, d) = filled
    return Batch(a, c, b, d)


def _places(
    sizes: Iterable[tuple[int, int]], inputs: int, targets: int, open_rows: int
) -> list[tuple[int, int, int, int]]:
    """(row, segment, begin in the inputs, begin in the targets) of each example."""
    places, opened, rows = [], [], 0  # type: ignore[var-annotated]
    for a, b in sizes:
        for state in opened:
            if state[2] + a <= inputs and state[3] + b <= targets:
                break
        else:
            if len(opened) == open_rows:
                opened.remove(max(opened, key=lambda state: state[2] / inputs + state[3] / targets))
            state = [rows, 0, 0, 0]
            opened.append(state)
            rows += 1
        state[1] += 1
        places.append(tuple(state))
        state[2] += a
        state[3] += b
    return places


def _fill(
    texts: Sequence[Tokens],
    row: NDArray[np.int64],
    begin: NDArray[np.int64],
    shape: tuple[int, int],
    eos: int,
    number: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Texts put where they belong, and their segments; one write for all of them."""
    sizes = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    flat = np.fromiter((id for text in texts for id in (*text, eos)), np.int64, int(sizes.sum()))
    inside = np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = np.repeat(row * shape[1] + begin, sizes) + inside
    tokens, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    tokens.reshape(-1)[at] = flat
    segments.reshape(-1)[at] = np.repeat(np.ones_like(sizes) if number is None else number, sizes)
    return torch.from_numpy(tokens), torch.from_numpy(segments)
