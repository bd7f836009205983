"""Augmentation that the generator's gradient passes, for few images (Zhao et al. 2020).

Images (B, C, H, W). Each one is changed in a way of its own, drawn anew at each call from the
global generator of its device, as dropout is. `GAN(augment=diff_augment)` shows data and samples
alike through it, in the steps of both players.
"""

import torch
from torch import Tensor


def diff_augment(x: Tensor) -> Tensor:
    """Images (B, C, H, W) with other colours, moved, and with a square cut out; of the same shape.

    The three of the paper, at its strengths. Raises ValueError for other shapes.

    >>> diff_augment(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """
    return cut_out(translate(change_colours(x)))


def change_colours(x: Tensor) -> Tensor:
    """Brightness moved by up to 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5.

    x: images (B, C, H, W), about as wide as [0, 1] or ±1; they are not clamped. Saturation is the
    distance from a pixel's mean over channels (nothing in grey images), contrast that from an
    image's mean. Raises ValueError for other shapes.
    """
    check_images(x)
    brightness, saturation, contrast = torch.rand(
        3, len(x), 1, 1, 1, dtype=x.dtype, device=x.device
    )
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def translate(x: Tensor, share: float = 0.125) -> Tensor:
    """Images (B, C, H, W) moved by whole pixels, up to `share` of each side; zeros come in.

    Raises ValueError for other shapes or a share outside [0, 1].
    """
    check_images(x, share)
    for dim in (2, 3):
        size = x.shape[dim]
        most = round(share * size)
        moved = torch.randint(-most, most + 1, (len(x), 1), device=x.device)
        source = torch.arange(size, device=x.device) - moved
        view = [len(x), 1, 1, 1]
        view[dim] = size
        inside = ((source >= 0) & (source < size)).view(view)
        source = source.clamp(0, size - 1).view(view).expand_as(x)
        x = x.gather(dim, source) * inside
    return x


def cut_out(x: Tensor, share: float = 0.5) -> Tensor:
    """Images (B, C, H, W) with zeros in a rectangle of `share` of each side, anywhere.

    Its middle lies in the image, its edges may lie outside. Raises ValueError for other shapes or
    a share outside [0, 1].
    """
    check_images(x, share)
    hidden = x.new_ones(len(x), 1, 1, 1, dtype=torch.bool)
    for dim in (2, 3):
        size = x.shape[dim]
        length = round(share * size)
        begin = torch.randint(size + 1 - length % 2, (len(x), 1), device=x.device) - length // 2
        place = torch.arange(size, device=x.device)
        view = [len(x), 1, 1, 1]
        view[dim] = size
        hidden = hidden & ((place >= begin) & (place < begin + length)).view(view)
    return x * ~hidden


def check_images(x: Tensor, share: float = 0.0) -> None:
    """Raise ValueError unless x is (B, C, H, W) and the share in [0, 1]."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"images must be floating-point numbers (B, C, H, W), got {tuple(x.shape)} of {x.dtype}"
        )
    if not 0 <= share <= 1:
        raise ValueError(f"the share of a side must be in [0, 1], got {share}")
