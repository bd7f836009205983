"""CarRacing's eyes: two convolutions, evolved and not plastic (section 4, published sizes)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

SIDE = 84
"""Pixels of an image's side."""
FEATURES = 648
"""What the encoder gives of an image: 8 channels of 9 x 9."""


class PixelEncoder(nn.Module):
    """Images (..., 3, 84, 84) in [0, 1] -> 648 features; 1,362 weights, standard normal at first.

    6 filters of 3 x 3, tanh, maxima of 2 x 2, 8 filters of 5 x 5 with stride 2, tanh, maxima of
    2 x 2: sides of 84, 82, 41, 19 and 9. There are no biases.

    Example:
        >>> encoder = PixelEncoder()
        >>> encoder(torch.rand(2, 3, 84, 84)).shape
        torch.Size([2, 648])
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.second = nn.Parameter(torch.randn(8, 6, 5, 5))

    def forward(self, images: Tensor, filters: tuple[Tensor, ...] | None = None) -> Tensor:
        """Images -> features (..., 648); each image may have filters of its own.

        filters: (..., 6, 3, 3, 3) and (..., 8, 6, 5, 5), whose leading dimensions broadcast to
        those of the images; None is the module's own. Raises ValueError for images of another
        shape.
        """
        if images.shape[-3:] != (3, SIDE, SIDE):
            raise ValueError(f"images end in (3, {SIDE}, {SIDE}), got {tuple(images.shape)}")
        first, second = (self.first, self.second) if filters is None else filters
        lives = images.shape[:-3]
        x = images.reshape(-1, 3, SIDE, SIDE)
        for kernel, stride in ((first, 1), (second, 2)):
            x = max_pool2d(convolve(x, kernel, lives, stride).tanh(), 2)
        return x.reshape(*lives, FEATURES)


def convolve(x: Tensor, kernel: Tensor, lives: torch.Size, stride: int) -> Tensor:
    """Images (N, C, H, W) of N lives with kernels (..., O, C, k, k): one for all, or one each."""
    if kernel.dim() == 4:
        return conv2d(x, kernel, stride=stride)
    own = kernel.expand(*lives, *kernel.shape[-4:]).flatten(0, -4)  # (N * O, C, k, k)
    made = conv2d(x.flatten(0, 1)[None], own, stride=stride, groups=max(1, len(x)))
    return made[0].unflatten(0, (len(x), -1))


def drive(outputs: Tensor) -> Tensor:
    """Outputs (..., 3) of CarRacing's network -> steering in [-1, 1], gas and brake in [0, 1]."""
    return torch.cat([outputs[..., :1].tanh(), outputs[..., 1:].sigmoid()], -1)
