"""How a trained net is tested: ten crops, fully convolutional at several scales (section 3.4),
exact statistics for batch normalisation, and normalisation folded into the convolutions.

Legend: B batch, C channels, H and W height and width, K classes.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quire.nn.residual import Conv, ResidualNet, at_least_one
from quire.papers.resnet.frozen import as_affine
from quire.papers.resnet.resnet import classify


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, all of `model` is in evaluation mode; then each module is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes.items():
            module.training = training


def resize_shorter_side(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> the same images with their shorter side `size` pixels long (bilinear).

    Raises ValueError for a size below 1 and for what are no floating-point images (B, C, H, W).
    """
    _check_images(images)
    at_least_one(size=size)
    height, width = images.shape[-2:]
    if min(height, width) == size:
        return images
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    if not len(images):
        return images.new_empty(*images.shape[:2], *target)
    # Smoothing in half precision would be coarser than its result, and a CPU does not have it.
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    result = F.interpolate(wide, target, mode="bilinear", antialias=True, align_corners=False)
    return result.to(images.dtype)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            "images must be floating-point numbers (B, C, H, W), as the net takes them; got "
            f"{tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}"
        )


def ten_crops(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (10, B, C, size, size): four corners, the centre, and all of them mirrored.

    Raises ValueError where an image is smaller than the crop, and for other than four dimensions.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (B, C, H, W); got {tuple(images.shape)}")
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size must be in 1..{min(height, width)}, the shorter side; got {size}")
    bottom, right = height - size, width - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = [images[..., top : top + size, left : left + size] for top, left in corners]
    return torch.stack([*crops, *(crop.flip(-1) for crop in crops)])


@torch.no_grad()
def ten_crop_test(model: nn.Module, images: Tensor, *, size: int = 224) -> Tensor:
    """Class probabilities (B, K), the mean over the ten crops of `images` (B, C, H, W).

    In evaluation mode, whatever mode `model` is in; it keeps that one. Raises ValueError as
    `ten_crops`, and for images of whole numbers.
    """
    _check_images(images)
    with evaluating(model):
        return torch.stack([model(crop).softmax(-1) for crop in ten_crops(images, size)]).mean(0)


@torch.no_grad()
def fully_convolutional_test(
    net: ResidualNet,
    images: Tensor,
    *,
    scales: Sequence[int] = (224, 256, 384, 480, 640),
    flip: bool = True,
) -> Tensor:
    """Class probabilities (B, K) of whole images, the mean over scales and mirroring.

    At each scale the linear layer slides over the last features as a 1x1 convolution and its score
    map is averaged. In evaluation mode, whatever mode `net` is in; it keeps that one.

    Args:
        net: With a head from `classifier`.
        images: Of any size (B, C, H, W).
        scales: Pixels of the shorter side.
        flip: Whether each image is seen mirrored as well.

    Raises ValueError without a scale, for one below 1, and for images of whole numbers.
    """
    if not scales:
        raise ValueError("scales must name at least one size in pixels; got none")
    probabilities = []
    with evaluating(net):
        for scale in scales:
            view = resize_shorter_side(images, scale)
            for mirrored in (view, view.flip(-1)) if flip else (view,):
                score_map = classify(net.features(mirrored)[-1], net)
                probabilities.append(score_map.mean((2, 3)).softmax(-1))
    return torch.stack(probabilities).mean(0)


class _Moments:
    """Mean and variance of each channel over everything that was added, exactly.

    Sums of squares about the running mean (Chan's update) in float64: no cancellation.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.mean)

    def add(self, x: Tensor) -> None:
        values = x.detach().double().movedim(1, 0).flatten(1)
        count = values.shape[1]
        mean = values.mean(1)
        delta, total = mean - self.mean, self.count + count
        self.squares += (values - mean[:, None]).square().sum(1)
        self.squares += delta.square() * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Sets the running mean and variance of every batch normalisation to those of all `batches`.

    The released models were made so: exact statistics over many images in place of a moving
    average. Each batch is normalised by its own statistics meanwhile, as in training; the total
    variance over batches is unbiased, as torch's own is. Returns the model, in its old mode.
    Raises ValueError if there is no image in them, TypeError for a tensor in place of a list of
    batches; the statistics are then as they were.
    """
    if isinstance(batches, Tensor):
        raise TypeError("batches must be an iterable of batches (B, C, H, W); got one tensor")
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    moments: dict[int, _Moments] = {}

    def observe(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        moments.setdefault(id(norm), _Moments(x.shape[1], x.device)).add(x)

    # What a normalisation gets depends on the ones before it: all are observed in one pass, each
    # normalising by its batch, so that none sees what the old running statistics make of the data.
    handles = [norm.register_forward_pre_hook(observe) for norm in norms]
    try:
        with _batch_statistics_only(model, norms):
            for batch in batches:
                if len(batch):
                    model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if norms and not moments:
        raise ValueError("recalibrate needs images in at least one batch; got none")
    for norm in norms:
        if id(norm) in moments:
            exact = moments[id(norm)]
            cast(Tensor, norm.running_mean).copy_(exact.mean)
            cast(Tensor, norm.running_var).copy_(exact.squares / max(exact.count - 1, 1))
    return model


@contextmanager
def _batch_statistics_only(model: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    with evaluating(model):
        for norm in norms:
            norm.train()
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


@torch.no_grad()
def fold(net: nn.Module) -> nn.Module:
    """A copy for inference: each normalisation that ends a `Conv`'s convolution becomes part of it.

    The same outputs as `net.eval()` up to rounding, with fewer passes over memory. Batch
    normalisations fold, frozen ones as well; those that stand before their convolution (version 2)
    stay, and those without running statistics, which normalise by the batch. The copy is in
    evaluation mode.
    """
    folded = copy.deepcopy(net).eval()
    for layer in folded.modules():
        affine = as_affine(layer.norm) if isinstance(layer, Conv) else None
        if isinstance(layer, Conv) and affine is not None:
            # gamma (w x + b - mean) / sigma + beta is again a convolution.
            scale, shift = affine
            conv = layer.conv
            bias = shift if conv.bias is None else shift + conv.bias * scale
            weight = conv.weight * scale[:, None, None, None]
            conv.weight = nn.Parameter(weight.to(conv.weight.dtype))
            conv.bias = nn.Parameter(bias.to(conv.weight.dtype))
            layer.norm = nn.Identity()
    return folded
