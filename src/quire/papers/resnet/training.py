"""What the experiments on small images share: preparing them, the optimizer, and the errors.

Legend: N images, C channels, H and W height and width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from quire.data import Images, Split
from quire.papers.resnet.schedule import parameter_groups

N = TypeVar("N", bound=nn.Module)


class Rows(NamedTuple):
    """Which images make a minibatch: their row numbers (B,)."""

    row: NDArray[np.int64]


class Part(NamedTuple):
    """image (N, C, H, W) uint8 and label (N,) as tensors on the device that trains."""

    image: Tensor
    label: Tensor


class Prepared(NamedTuple):
    """Images on the device, with the mean image (C, H, W) and one deviation of the training set."""

    train: Part
    test: Part
    mean: Tensor
    std: float

    def centre(self, image: Tensor) -> Tensor:
        """uint8 images (B, C, H, W) less the mean image, as float32 with deviation 1."""
        return (image.float() - self.mean) / self.std


def prepare(split: Split, device: torch.device) -> Prepared:
    """Moves both parts to `device`, where minibatches are gathered by row.

    The paper subtracts the per-pixel mean; all pixels are then divided by one number as well.
    """
    pixels = split.train.image
    mean = pixels.mean(0, dtype=np.float64)
    square = sum(
        float(np.square(part, dtype=np.float32).sum()) for part in np.array_split(pixels, 50)
    )
    std = (square / pixels.size - (mean**2).mean()) ** 0.5
    train, test = (
        Part(torch.from_numpy(part.image).to(device), torch.from_numpy(part.label).to(device))
        for part in split
    )
    return Prepared(train, test, torch.from_numpy(mean).float().to(device), float(std))


def shorten(images: Images, count: int) -> Images:
    """The first `count` images, or all of them."""
    return Images(images.image[:count], images.label[:count])


def hold_out(train: Images, count: int) -> Split:
    """The last `count` training images as the test part. Raises ValueError if nothing is left."""
    kept = len(train.label) - count
    if kept < 1:
        raise ValueError(f"holdout must leave images to train on; got {count} of {kept + count}")
    return Split(shorten(train, kept), Images(train.image[kept:], train.label[kept:]))


def sgd(
    net: nn.Module, lr: float, *, weight_decay: float = 1e-4, decay_norm: bool = True
) -> torch.optim.SGD:
    """The paper's optimizer: momentum 0.9 in the form v = 0.9 v + g, w = w - lr v."""
    groups = parameter_groups(net, weight_decay, norm=decay_norm)
    fused = next(net.parameters()).is_cuda
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, fused=fused, foreach=not fused)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the loss's gradient."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def channels_last(image: Tensor) -> Tensor:
    """The same images with channels innermost in memory, as convolutions like them."""
    return image.contiguous(memory_format=torch.channels_last)


def net_channels_last(net: N) -> N:
    """`net` itself, its convolutions' weights with channels innermost in memory."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def evaluate(
    net: nn.Module,
    part: Part,
    centre: Callable[[Tensor], Tensor],
    *,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and error rate (%) in evaluation mode, 500 images at a time.

    Raises ValueError for a part without images.
    """
    if not len(part.label):
        raise ValueError("evaluate needs at least one image; got none")
    training = net.training
    net.eval()
    loss = wrong = 0.0
    for image, label in zip(part.image.split(500), part.label.split(500), strict=True):
        with precision():
            score = net(channels_last(centre(image))).float()
        loss += float(F.cross_entropy(score, label, reduction="sum"))
        wrong += float((score.argmax(1) != label).sum())
    net.train(training)
    return loss / len(part.label), 100 * wrong / len(part.label)
