"""What stores masks of neurons and recalls one from a part of it.

Legend: k masks of d neurons, each -1 or 1.

Each function takes masks (k, d) and gives a `Stored`: how a state (d,) is recalled, and the bytes
of what is kept. Hebb and Storkey keep one matrix whatever k is; the others keep the masks.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from quire.papers.hopfield import DenseMemory, HebbianMemory, exponential, hopfield_update
from quire.papers.supsup import MaskMemory

Recall = Callable[[Tensor], Tensor]
"""From a state (d,) of -1 and 1 to the mask (d,) that it is taken for."""


class Stored(NamedTuple):
    """Masks in a memory, and what the memory costs."""

    recall: Recall
    """From a state to a mask."""
    bytes: int
    """Of what is kept: four a number of a matrix, one bit a neuron of a mask."""


def hebb(masks: Tensor) -> Stored:
    """Hopfield's network of 1982: sum of z z^T / d without the diagonal, all neurons at once."""
    memory = HebbianMemory(masks)
    return Stored(lambda state: memory.retrieve(state[None])[0], 4 * masks.shape[1] ** 2)


def storkey(masks: Tensor) -> Stored:
    """Storkey's rule, one mask after the other, one neuron at a time (HopSupSup's)."""
    memory = MaskMemory(masks.shape[1])
    for mask in masks:
        memory.write(mask)
    return Stored(memory.settle, 4 * masks.shape[1] ** 2)


def dense(masks: Tensor) -> Stored:
    """The dense associative memory with an exponential energy (Demircigil et al. 2017)."""
    memory = DenseMemory(masks, exponential)
    return Stored(lambda state: memory.retrieve(state[None])[0], count_mask_bytes(masks))


def modern(masks: Tensor) -> Stored:
    """One update of the continuous modern network (Ramsauer et al. 2021), and the signs of it."""
    beta = 8 / masks.shape[1] ** 0.5

    def recall(state: Tensor) -> Tensor:
        found = hopfield_update(state[None], masks, beta=beta)[0]
        return torch.where(found >= 0, 1.0, -1.0)

    return Stored(recall, count_mask_bytes(masks))


def count_mask_bytes(masks: Tensor) -> int:
    """Bytes of masks (k, d) at one bit a neuron."""
    return len(masks) * -(-masks.shape[1] // 8)
