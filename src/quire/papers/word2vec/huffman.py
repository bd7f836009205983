"""The binary Huffman tree of hierarchical softmax (section 2.1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class HuffmanTree(NamedTuple):
    """Paths from the root to every word. W words have W - 1 inner nodes; the root is W - 2.

    `points[w, :lengths[w]]` are the inner nodes on the way to word w, the root first;
    `codes[w, :lengths[w]]` the branch taken at each (0 or 1). The rest is zero.
    """

    points: NDArray[np.int32]
    codes: NDArray[np.int8]
    lengths: NDArray[np.int32]


def huffman(counts: Sequence[int] | NDArray[np.int64]) -> HuffmanTree:
    """The tree that gives frequent words short codes, in O(W), from counts that do not increase.

    Two pointers walk over the leaves (from the rarest) and the inner nodes (in order of creation,
    which is order of weight). A leaf goes before an inner node only where it is strictly lighter,
    as in the authors' code. Expected code length lies between the entropy H of the words and
    H + 1 bits.

    Raises ValueError for fewer than two words, a count below 1, or counts that increase.

    Example:
        >>> from quire.papers.word2vec import huffman
        >>> huffman([5, 2, 1]).lengths.tolist()
        [1, 2, 2]
    """
    weights = np.asarray(counts, dtype=np.int64)
    words = len(weights)
    if words < 2:
        raise ValueError(f"a Huffman tree needs at least two words, got {words}")
    if weights.min() < 1 or (np.diff(weights) > 0).any():
        raise ValueError("counts must be at least 1 and sorted, the largest first")
    # Leaves are 0..W-1, inner nodes W..2W-2 in order of creation; a new one is never lighter than
    # those before it, so both queues stay sorted and no heap is needed.
    weight = weights.tolist() + [0] * (words - 1)
    parent, branch = [0] * (2 * words - 1), [0] * (2 * words - 1)
    leaf, inner = words - 1, words

    for new in range(words, 2 * words - 1):
        pair = []  # the two lightest nodes that have no parent yet
        for _ in range(2):
            if leaf >= 0 and (inner >= new or weight[leaf] < weight[inner]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(inner)
                inner += 1
        weight[new] = weight[pair[0]] + weight[pair[1]]
        parent[pair[0]] = parent[pair[1]] = new
        branch[pair[1]] = 1

    # A parent has a larger number than its children: from the root down each is one level deeper.
    depth = [0] * (2 * words - 1)
    for node in range(2 * words - 3, -1, -1):
        depth[node] = depth[parent[node]] + 1
    lengths = np.array(depth[:words], dtype=np.int32)
    points = np.zeros((words, int(lengths.max())), dtype=np.int32)
    codes = np.zeros(points.shape, dtype=np.int8)
    # All words climb towards the root together, one level at a time.
    up, took = np.array(parent), np.array(branch, dtype=np.int8)
    at, place = np.arange(words), lengths - 1
    while (alive := np.flatnonzero(place >= 0)).size:
        codes[alive, place[alive]] = took[at[alive]]
        at[alive] = up[at[alive]]
        points[alive, place[alive]] = at[alive] - words
        place[alive] -= 1
    return HuffmanTree(points, codes, lengths)
