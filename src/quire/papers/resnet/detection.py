"""Detection transfer (appendix A): a classification net turned into a Faster R-CNN head, "C4".

RoI pooling stands before conv5; conv5 and global average pooling then act on every region, and
batch normalisation is frozen to its ImageNet statistics. Regions are given, by any proposer.

Legend: B batch, C channels, H and W height and width, N regions, K classes with background 0,
P side of a pooled region. Boxes are (N, 4) as x1, y1, x2, y2 in image pixels, `image` (N,) the
index in the batch that each belongs to.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.nn import devices
from quire.nn.residual import ResidualNet, at_least_one
from quire.papers.resnet.frozen import freeze_batch_norm
from quire.papers.resnet.resnet import channels_of

RegionPooling = Callable[[Tensor, Tensor, Tensor, int, float], Tensor]
"""(features, boxes, image, size, scale) -> (N, C, size, size)."""


def roi_pool(features: Tensor, boxes: Tensor, image: Tensor, size: int, scale: float) -> Tensor:
    """Maximum over bins of each box (Fast R-CNN): (B, C, H, W) -> (N, C, P, P).

    Args:
        features: Of whole images (B, C, H, W).
        boxes: Regions (N, 4), rounded to the grid of features (a half upwards) and cut off at its
            border before they are divided.
        image: Which image each region is of (N,).
        size: P, bins a side; they overlap by a position where they do not divide the box.
        scale: Steps of the grid that one image pixel makes, 1 / stride.

    Raises ValueError for other shapes, an image that is not in the batch, or on a CPU a box whose
    corners are no finite numbers in order.
    """
    boxes = _checked_regions(features, boxes, image)
    at_least_one(size=size)
    height, width = features.shape[-2:]
    corners = (boxes * scale + 0.5).floor().long()
    last = torch.tensor([width - 1, height - 1], device=boxes.device)
    low = torch.minimum(corners[:, :2].clamp(min=0), last)
    high = torch.maximum(torch.minimum(corners[:, 2:], last), low)
    regions = [
        F.adaptive_max_pool2d(features[index, :, top : bottom + 1, left : right + 1], size)
        for index, (left, top), (right, bottom) in zip(
            image.tolist(), low.tolist(), high.tolist(), strict=True
        )
    ]
    # Without regions the result still hangs on the features, so that a backward pass runs.
    return torch.stack(regions) if regions else F.adaptive_max_pool2d(features[:0], size)


def roi_align(
    features: Tensor, boxes: Tensor, image: Tensor, size: int, scale: float, *, samples: int = 2
) -> Tensor:
    """Mean of bilinear readings in each bin of each box: (B, C, H, W) -> (N, C, P, P).

    No rounding: pixel centres lie at half integers (Mask R-CNN's RoIAlign, "aligned"). Later than
    the paper; it replaces `roi_pool` wherever accuracy counts.

    Args:
        features, boxes, image, scale: As for `roi_pool`, boxes not rounded.
        size: P, bins a side.
        samples: Readings a side of each bin.

    Raises ValueError as `roi_pool`.
    """
    boxes = _checked_regions(features, boxes, image)
    at_least_one(size=size, samples=samples)
    height, width = features.shape[-2:]
    # Position k of the grid is the centre of a cell that reaches from k to k + 1: half a step less.
    x1, y1, x2, y2 = (boxes * scale - 0.5).unbind(-1)
    count = size * samples
    step = (torch.arange(count, device=boxes.device) + 0.5) / count
    across, down = x1[:, None] + (x2 - x1)[:, None] * step, y1[:, None] + (y2 - y1)[:, None] * step
    columns, rows = _bilinear(across, width), _bilinear(down, height)
    # Channels last, so that one reading gathers all channels of a position.
    grid = features.permute(0, 2, 3, 1)
    result = features.new_zeros(len(boxes), count, count, features.shape[1])
    # A bilinear reading is the product of two linear ones: four corners, weighted.
    for row, row_weight in rows:
        for column, column_weight in columns:
            weight = row_weight[:, :, None] * column_weight[:, None, :]
            value = grid[image[:, None, None], row[:, :, None], column[:, None, :]]
            result = result + weight[..., None].to(features.dtype) * value
    return F.avg_pool2d(result.permute(0, 3, 1, 2), samples)


def _bilinear(position: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """The two grid positions around each coordinate with their weights; 0 beyond the border."""
    inside = (position > -1) & (position < length)
    position = position.clamp(0, length - 1)
    low = position.floor().long().clamp(max=max(length - 2, 0))
    high = (low + 1).clamp(max=length - 1)
    fraction = position - low
    return [(low, (1 - fraction) * inside), (high, fraction * inside)]


def _checked_regions(features: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    """`boxes` in float32 at least: half precision cannot tell apart the pixels of a large image."""
    if (
        features.ndim != 4
        or boxes.ndim != 2
        or boxes.shape[1] != 4
        or image.shape != boxes.shape[:1]
    ):
        raise ValueError(
            "regions need features (B, C, H, W), boxes (N, 4) and image (N,); got "
            f"{tuple(features.shape)}, {tuple(boxes.shape)} and {tuple(image.shape)}"
        )
    if image.is_floating_point() or image.dtype == torch.bool:
        raise ValueError(f"image must hold whole numbers, indices in the batch; got {image.dtype}")
    # Values are looked at where that does not wait for an accelerator.
    if not devices.is_accelerator(features) and not torch.compiler.is_compiling():
        if len(image) and not 0 <= int(image.min()) <= int(image.max()) < len(features):
            raise ValueError(
                f"image must be in 0..{len(features) - 1}, the images of the batch; got "
                f"{int(image.min())}..{int(image.max())}"
            )
        if not (boxes.isfinite().all() and (boxes[:, 2:] >= boxes[:, :2]).all()):
            raise ValueError("boxes must be finite, with x1 <= x2 and y1 <= y2")
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


class C4Detector(nn.Module):
    """Class scores and box corrections of given regions, with a ResNet as trunk and head.

    The stem and all stages but the last make the features of the whole image; each region is
    pooled from them, then goes through the last stage and global average pooling.
    forward(images (B, 3, H, W), boxes (N, 4), image (N,)) -> scores (N, K), corrections (N, K, 4)
    as `encode` makes them.

    Args:
        net: Is taken over: its batch normalisations are frozen in place.
        classes: K, the background counted.
        stride: Image pixels a position of conv4.
        size: P, side of a pooled region before conv5's stride.
        pooling: `roi_pool` (the paper), `roi_align`, or another function of their form.
        freeze: Whether normalisations become `FrozenBatchNorm`.

    Raises ValueError for less than two classes or for a net that recomputes: pooling comes between
    its blocks.

    Example:
        >>> from quire.papers.resnet import ResNet
        >>> detector = C4Detector(ResNet(18, width=0.125), classes=3, size=4)
        >>> boxes, image = torch.tensor([[0.0, 0.0, 31.0, 31.0]]), torch.tensor([0])
        >>> scores, corrections = detector(torch.randn(1, 3, 64, 64), boxes, image)
        >>> scores.shape, corrections.shape
        (torch.Size([1, 3]), torch.Size([1, 3, 4]))
    """

    def __init__(
        self,
        net: ResidualNet,
        classes: int,
        *,
        stride: int = 16,
        size: int = 14,
        pooling: RegionPooling = roi_pool,
        freeze: bool = True,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes counts the background too, so at least 2; got {classes}")
        at_least_one(stride=stride, size=size)
        if net.recompute:
            raise ValueError("net must be made without recompute, which a detector does not keep")
        channels = channels_of(net)[-1]
        if freeze:
            freeze_batch_norm(net)
        stages = list(net.stages)
        self.trunk = nn.Sequential(net.stem, *stages[:-1])
        # Version 2 normalises and activates its last sum in the head.
        norm, activation = (getattr(net.head, name, None) for name in ("norm", "activation"))
        last = [part for part in (norm, activation) if isinstance(part, nn.Module)]
        self.head = nn.Sequential(stages[-1], *last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.score = nn.Linear(channels, classes)
        self.correct = nn.Linear(channels, 4 * classes)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.correct.weight, std=0.001)
        nn.init.zeros_(self.score.bias)
        nn.init.zeros_(self.correct.bias)
        self.stride, self.size, self.pooling = stride, size, pooling

    def forward(self, images: Tensor, boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        regions = self.pooling(features, boxes, image, self.size, 1 / self.stride)
        pooled = self.head(regions)
        return self.score(pooled), self.correct(pooled).unflatten(1, (-1, 4))


def encode(boxes: Tensor, targets: Tensor) -> Tensor:
    """R-CNN's corrections (N, 4) that move `boxes` onto `targets`.

    Shifts of the centre in units of the box, and logarithms of the ratios of width and height, so
    that both boxes must have an extent.
    """
    (x, y, w, h), (tx, ty, tw, th) = _centres(boxes), _centres(targets)
    return torch.stack([(tx - x) / w, (ty - y) / h, (tw / w).log(), (th / h).log()], -1)


def decode(boxes: Tensor, corrections: Tensor) -> Tensor:
    """The boxes (N, 4) that `corrections` (N, 4) make of `boxes`; undoes `encode`."""
    x, y, w, h = _centres(boxes)
    dx, dy, dw, dh = corrections.unbind(-1)
    # The limit keeps an untrained net's exponentials finite.
    width, height = w * dw.clamp(max=4).exp(), h * dh.clamp(max=4).exp()
    x, y = x + dx * w, y + dy * h
    half_width, half_height = width / 2, height / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], -1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (N, 4) with boxes (M, 4): (N, M), in float32 at least."""
    # The area of a large box is more than half precision holds.
    first, second = (b.to(torch.promote_types(b.dtype, torch.float32)) for b in (first, second))
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area_first, area_second = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (first, second))
    return shared / (area_first[:, None] + area_second[None] - shared).clamp(min=1e-9)


def suppress(boxes: Tensor, scores: Tensor, *, above: float = 0.3) -> Tensor:
    """Non-maximum suppression: indices that stay, best score first."""
    order = scores.argsort(descending=True, stable=True)
    overlaps = overlap(boxes, boxes)
    kept: list[int] = []
    for index in order.tolist():
        if not kept or float(overlaps[index, kept].max()) <= above:
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)


def detection_loss(scores: Tensor, corrections: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Fast R-CNN's loss: cross-entropy of the classes plus smooth L1 of the true class's boxes.

    Args:
        scores: Of the classes (N, K).
        corrections: Of the boxes for each class (N, K, 4).
        labels: True classes (N,), 0 for background.
        targets: True corrections (N, 4) from `encode`; ignored for background.

    Half-precision values are summed in float32. No region has loss 0.
    """
    wide = torch.promote_types(scores.dtype, torch.float32)
    scores, corrections = scores.to(wide), corrections.to(wide)
    if not len(labels):
        return scores.sum() + corrections.sum()
    foreground = labels.nonzero().squeeze(1)
    chosen = corrections[foreground, labels[foreground]]
    boxes = F.smooth_l1_loss(chosen, targets[foreground], reduction="sum") / len(labels)
    return F.cross_entropy(scores, labels) + boxes


def average_precision(scores: Tensor, correct: Tensor, positives: int) -> float:
    """Area under the precision-recall curve, precision made non-increasing (VOC from 2010 on).

    scores (N,) and correct (N,) bool of one class's detections, `positives` true objects. Not a
    number where there is no true object: nothing can be found.
    """
    if positives == 0:
        return float("nan")
    hits = correct[scores.argsort(descending=True, stable=True)].double()
    found = hits.cumsum(0)
    precision = found / torch.arange(1, len(hits) + 1, device=hits.device)
    best_from_here = precision.flip(0).cummax(0).values.flip(0) if len(hits) else precision
    return float((best_from_here * hits).sum() / positives)


def match(boxes: Tensor, truth: Tensor, *, above: float = 0.5) -> Tensor:
    """Whether each of `boxes` (N, 4), best score first, is the first to find an object (M, 4)."""
    correct = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if not len(truth):
        return correct
    best, which = overlap(boxes, truth).max(1)
    found: set[int] = set()
    for index, (value, target) in enumerate(zip(best.tolist(), which.tolist(), strict=True)):
        if value >= above and target not in found:
            found.add(target)
            correct[index] = True
    return correct
