"""Regions for the detection experiment: proposals around drawn objects, and their score.

Legend: B images, O objects an image, N regions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quire.papers.resnet.detection import (
    average_precision,
    decode,
    encode,
    match,
    overlap,
    suppress,
)
from quire.papers.resnet.experiments.scenes import SHAPES, Scenes


class Regions(NamedTuple):
    """box (N, 4), image (N,), label (N,) with 0 for background, target (N, 4) from `encode`."""

    box: Tensor
    image: Tensor
    label: Tensor
    target: Tensor


def propose_regions(
    scenes: Scenes, generator: torch.Generator, *, near: int = 4, anywhere: int = 8
) -> Regions:
    """Stands in for a region proposer: shaken boxes round the objects, and some anywhere.

    Args:
        scenes: The images and their objects.
        generator: Where all randomness comes from.
        near: Regions round each object.
        anywhere: Regions at random places of each image.

    A region takes the class of the object that it overlaps most, by a half at least.
    """
    count, _, size, _ = scenes.image.shape
    truth = scenes.box.repeat_interleave(near, 1)
    # Corners move by 15 % of the box: most still overlap their object by a half, some do not.
    span = (truth[..., 2:] - truth[..., :2]).repeat(1, 1, 2)
    shaken = truth + 0.15 * span * torch.randn(truth.shape, generator=generator)
    centre = size * torch.rand(count, anywhere, 2, generator=generator)
    half = size * (0.08 + 0.2 * torch.rand(count, anywhere, 2, generator=generator))
    boxes = torch.cat([shaken, torch.cat([centre - half, centre + half], -1)], 1)
    # Inside the image and four pixels long at least: pooling and logarithms need an extent.
    low, high = boxes[..., :2].clamp(0, size - 4), boxes[..., 2:].clamp(4, size)
    boxes = torch.cat([low, torch.maximum(high, low + 4)], -1)
    labels, targets = [], []
    for image in range(count):
        best, which = overlap(boxes[image], scenes.box[image]).max(1)
        labels.append(torch.where(best >= 0.5, scenes.label[image][which] + 1, 0))
        targets.append(encode(boxes[image], scenes.box[image][which]))
    owner = torch.arange(count).repeat_interleave(boxes.shape[1])
    return Regions(boxes.flatten(0, 1), owner, torch.cat(labels), torch.cat(targets))


@torch.no_grad()
def mean_average_precision(
    detector: nn.Module, scenes: Scenes, regions: Regions, device: torch.device
) -> float:
    """Mean over classes of the average precision at an overlap of a half (VOC), in 0..1.

    Args:
        detector: In evaluation mode, on `device`.
        scenes: Images with their true objects.
        regions: What is proposed for them.
        device: Where the detector is.
    """
    scores, corrections = [], []
    for first in range(0, len(scenes.image), 50):
        # The detector counts images from 0 in its own batch.
        chosen = (regions.image >= first) & (regions.image < first + 50)
        inputs = (
            scenes.image[first : first + 50],
            regions.box[chosen],
            regions.image[chosen] - first,
        )
        score, correction = detector(*(value.to(device) for value in inputs))
        scores.append(score.float().softmax(-1).cpu())
        corrections.append(correction.float().cpu())
    score, correction = torch.cat(scores), torch.cat(corrections)
    results = []
    for number in range(len(SHAPES)):
        found, correct = [], []
        for image in range(len(scenes.image)):
            own = regions.image == image
            # A class has boxes of its own, and suppression is among detections of one class.
            boxes = decode(regions.box[own], correction[own, number + 1])
            kept = suppress(boxes, score[own, number + 1])
            truth = scenes.box[image][scenes.label[image] == number]
            found.append(score[own, number + 1][kept])
            correct.append(match(boxes[kept], truth))
        positives = int((scenes.label == number).sum())
        # A class that no test scene shows has no recall to speak of: it is left out of the mean.
        if positives:
            results.append(average_precision(torch.cat(found), torch.cat(correct), positives))
    return sum(results) / len(results)
