"""Region pooling against loops over bins and positions; the C4 head; boxes; precision."""

import math

import pytest
import torch
from torch import nn

from quire.papers.resnet import C4Detector, FrozenBatchNorm, ResNet, roi_align, roi_pool
from quire.papers.resnet.detection import (
    average_precision,
    decode,
    detection_loss,
    encode,
    match,
    overlap,
    suppress,
)

BOXES = torch.tensor([[0.0, 0, 63, 47], [8.0, 4, 40, 30], [20.0, 20, 22, 21], [50.0, 30, 63, 47]])
OWNER = torch.tensor([0, 1, 0, 1])


def test_roi_pool_is_the_maximum_of_each_bin():
    features = torch.randn(2, 3, 6, 8)
    size, scale = 3, 1 / 8
    result = roi_pool(features, BOXES, OWNER, size, scale)
    for n, (box, owner) in enumerate(zip(BOXES.tolist(), OWNER.tolist(), strict=True)):
        left, top, right, bottom = (round(value * scale) for value in box)
        left, right, top, bottom = min(left, 7), min(right, 7), min(top, 5), min(bottom, 5)
        height, width = max(bottom, top) - top + 1, max(right, left) - left + 1
        for i in range(size):
            for j in range(size):
                rows = range(top + i * height // size, top + math.ceil((i + 1) * height / size))
                columns = range(left + j * width // size, left + math.ceil((j + 1) * width / size))
                best = torch.stack([features[owner, :, y, x] for y in rows for x in columns])
                assert torch.equal(result[n, :, i, j], best.amax(0))


def bilinear(plane, y, x):
    """One reading of (C, H, W) at a real position, zero outside, as Mask R-CNN defines it."""
    _, height, width = plane.shape
    if not (-1 < y < height and -1 < x < width):
        return torch.zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    value = torch.zeros(plane.shape[0])
    rows = ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top))
    columns = ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left))
    for row, row_weight in rows:
        for column, column_weight in columns:
            value += row_weight * column_weight * plane[:, row, column]
    return value


def test_roi_align_is_the_mean_of_bilinear_readings():
    features = torch.randn(2, 3, 6, 8)
    size, scale, samples = 2, 1 / 8, 2
    result = roi_align(features, BOXES, OWNER, size, scale, samples=samples)
    for n, (box, owner) in enumerate(zip(BOXES.tolist(), OWNER.tolist(), strict=True)):
        x1, y1, x2, y2 = (value * scale - 0.5 for value in box)
        for i in range(size):
            for j in range(size):
                total = torch.zeros(3)
                for a in range(samples):
                    for b in range(samples):
                        y = y1 + (y2 - y1) * (i * samples + a + 0.5) / (size * samples)
                        x = x1 + (x2 - x1) * (j * samples + b + 0.5) / (size * samples)
                        total += bilinear(features[owner], y, x)
                torch.testing.assert_close(result[n, :, i, j], total / samples**2)


def test_roi_align_of_a_ramp_is_the_ramp_at_the_bins_centres():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    result = roi_align(ramp, box, torch.tensor([0]), 2, 1 / 8)
    # Bins' centres lie at 3 and 5 features from the left edge; feature k is centred at k + 0.5.
    torch.testing.assert_close(result[0, 0], torch.tensor([[2.5, 4.5], [2.5, 4.5]]))


@pytest.mark.parametrize("pooling", [roi_pool, roi_align])
def test_pooling_has_gradients_and_takes_no_regions(pooling):
    features = torch.randn(2, 3, 6, 8, requires_grad=True)
    pooling(features, BOXES, OWNER, 2, 1 / 8).sum().backward()
    assert features.grad.abs().sum() > 0
    assert pooling(features, BOXES[:0], OWNER[:0], 2, 1 / 8).shape == (0, 3, 2, 2)
    with pytest.raises(ValueError, match=r"regions need features \(B, C, H, W\)"):
        pooling(features, BOXES[:, :3], OWNER, 2, 1 / 8)


def test_frozen_norm_is_the_evaluated_norm_and_never_changes():
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    norm(torch.randn(5, 4, 3, 3))
    frozen = FrozenBatchNorm(norm).train()
    x = torch.randn(5, 4, 3, 3)
    torch.testing.assert_close(frozen(x), norm.eval()(x))
    assert not list(frozen.parameters())
    torch.testing.assert_close(frozen(x), norm(x))


def test_c4_head_is_conv5_on_pooled_conv4():
    net = ResNet(18, 5, width=0.125)
    net(torch.randn(4, 3, 64, 64))
    net.eval()
    images = torch.randn(2, 3, 64, 64)
    features = net.stages[2](net.stages[1](net.stages[0](net.stem(images)))).detach()
    pooled = roi_pool(features, BOXES, OWNER, 4, 1 / 16)
    expected = net.stages[3](pooled).mean((2, 3)).detach()
    detector = C4Detector(net, classes=3, size=4).train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in detector.modules())
    scores, corrections = detector(images, BOXES, OWNER)
    torch.testing.assert_close(scores, detector.score(expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        corrections.flatten(1), detector.correct(expected), atol=1e-5, rtol=1e-4
    )
    loss = detection_loss(scores, corrections, torch.tensor([0, 1, 2, 0]), torch.zeros(4, 4))
    loss.backward()
    assert detector.trunk[0][0].conv.weight.grad.abs().sum() > 0


def test_c4_head_of_the_paper_pools_14_by_14_for_resnet50():
    detector = C4Detector(ResNet(50, width=0.125), classes=21)
    scores, corrections = detector(torch.randn(2, 3, 64, 64), BOXES, OWNER)
    assert (scores.shape, corrections.shape) == ((4, 21), (4, 21, 4))
    with pytest.raises(ValueError, match="at least 2; got 1"):
        C4Detector(ResNet(18, width=0.125), classes=1)


def test_loss_counts_boxes_of_objects_alone():
    scores, corrections = torch.zeros(2, 3), torch.ones(2, 3, 4)
    targets = torch.tensor([[9.0, 9, 9, 9], [1.0, 1, 1, 3]])
    loss = detection_loss(scores, corrections, torch.tensor([0, 2]), targets)
    # Cross-entropy log 3; smooth L1 of one difference of 2 is 1.5, over two regions.
    assert loss.item() == pytest.approx(math.log(3) + 1.5 / 2)


def test_decode_undoes_encode():
    boxes, targets = BOXES + torch.rand(4, 4), BOXES.flip(0) + torch.tensor([0.0, 0, 5, 5])
    torch.testing.assert_close(decode(boxes, encode(boxes, targets)), targets)


def test_overlap_by_hand():
    a = torch.tensor([[0.0, 0, 2, 2], [5.0, 5, 6, 6]])
    b = torch.tensor([[1.0, 1, 3, 3], [0.0, 0, 2, 2]])
    torch.testing.assert_close(overlap(a, b), torch.tensor([[1 / 7, 1.0], [0.0, 0.0]]))


def test_suppress_keeps_the_best_of_what_overlaps():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 4, 5], [9.0, 9, 12, 12]])
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.1])).tolist() == [1, 2]


def test_match_counts_an_object_once():
    truth = torch.tensor([[0.0, 0, 4, 4]])
    boxes = torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 4, 4], [9.0, 9, 12, 12]])
    assert match(boxes, truth).tolist() == [True, False, False]
    assert match(boxes, truth[:0]).tolist() == [False] * 3


def test_average_precision_by_hand():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    correct = torch.tensor([True, False, True, True])
    # Precision 1, 1/2, 2/3, 3/4 with best-from-here 1, 3/4, 3/4, 3/4; four objects, one missed.
    expected = (1 + 0.75 + 0.75) / 4
    assert average_precision(scores, correct, 4) == pytest.approx(expected)
    assert average_precision(scores[:0], correct[:0], 4) == 0
    assert math.isnan(average_precision(scores, correct, 0))
