"""Arrays into minibatches, as a pure function of the step; and the usual augmentation of images.

N images or examples, C channels, H height, W width, B batch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def batches(arrays: Any, size: int, *, seed: int) -> Callable[[int], Any]:
    """A function from the step to its minibatch, so that a resumed run sees the same data.

    arrays: a NamedTuple of numpy arrays with the same first dimension N. size: examples a batch B.
    Epoch e visits the examples in an order that only (seed, e) decides; the last N mod B of that
    order are dropped. The function returns the same NamedTuple with tensors (B, ...) of the same
    dtypes: uint8 stays uint8.

    Raises ValueError if size is not in 1..N, or if the arrays do not have the same length.

    Example:
        >>> import numpy as np
        >>> from quire.data import Images, batches
        >>> images = Images(np.zeros((10, 1, 8, 8), np.uint8), np.arange(10))
        >>> batch_at = batches(images, 4, seed=0)
        >>> batch_at(0).image.shape
        torch.Size([4, 1, 8, 8])
    """
    lengths = {field: len(array) for field, array in arrays._asdict().items()}
    total = next(iter(lengths.values()))
    if len(set(lengths.values())) != 1:
        raise ValueError(f"arrays must have the same length, got {lengths}")
    if not 1 <= size <= total:
        raise ValueError(f"size must be in 1..{total}, the number of examples, got {size}")
    per_epoch = total // size
    latest: tuple[int, Any] = (-1, None)

    def batch_at(step: int) -> Any:
        nonlocal latest
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        epoch, position = divmod(step, per_epoch)
        if latest[0] != epoch:
            latest = (epoch, np.random.default_rng((seed, epoch)).permutation(total))
        chosen = latest[1][position * size : (position + 1) * size]
        return type(arrays)(*(torch.from_numpy(array[chosen]) for array in arrays))

    return batch_at


def random_crop_flip(images: Tensor, generator: torch.Generator, *, padding: int = 4) -> Tensor:
    """Pads images (N, C, H, W) with zeros, crops each at random to H x W, flips half of them.

    Works for every dtype and device; random numbers come from `generator` on its own device, so a
    CPU generator gives the same crops everywhere. padding: pixels added on each side.

    Raises ValueError if images do not have four dimensions or padding is negative.
    """
    if images.ndim != 4 or padding < 0:
        raise ValueError(
            "random_crop_flip takes images (N, C, H, W) and padding >= 0, "
            f"got shape {tuple(images.shape)} and padding {padding}"
        )
    count, channels, height, width = images.shape
    home = generator.device
    offsets = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=home)
    top, left = offsets.to(images.device)
    flip = torch.randint(2, (count, 1), generator=generator, device=home).to(images.device) == 1
    rows = top + torch.arange(height, device=images.device)
    across = torch.arange(width, device=images.device)
    columns = left + torch.where(flip, across.flip(0), across)
    padded = functional.pad(images, (padding,) * 4)
    return padded[
        torch.arange(count, device=images.device)[:, None, None, None],
        torch.arange(channels, device=images.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
