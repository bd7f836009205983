"""Region pooling against loops over bins and positions; the C4 head; boxes; precision."""

import copy
import math

import pytest
import torch
from torch import nn

from quire.papers.resnet import (
    C4Detector,
    FrozenBatchNorm,
    ResNet,
    freeze_batch_norm,
    roi_align,
    roi_pool,
)
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
        # A half is rounded upwards, as the original code does: no banker's rounding.
        left, top, right, bottom = (math.floor(value * scale + 0.5) for value in box)
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
    without = pooling(features, BOXES[:0], OWNER[:0], 2, 1 / 8)
    features.grad = None
    without.sum().backward()
    assert features.grad.abs().sum() == 0


@pytest.mark.parametrize("pooling", [roi_pool, roi_align])
@pytest.mark.parametrize(
    ("boxes", "image", "message"),
    [
        (BOXES[:, :3], OWNER, r"regions need features \(B, C, H, W\)"),
        (BOXES, OWNER - 1, r"image must be in 0\.\.1, the images of the batch; got -1\.\.0"),
        (BOXES, OWNER + 1, r"image must be in 0\.\.1, the images of the batch; got 1\.\.2"),
        (BOXES, OWNER.float(), "image must hold whole numbers"),
        (BOXES, OWNER.bool(), "image must hold whole numbers"),
        (BOXES * math.inf, OWNER, "boxes must be finite"),
        (BOXES.flip(1), OWNER, "with x1 <= x2 and y1 <= y2"),
    ],
)
def test_bad_regions_are_one_clear_line(pooling, boxes, image, message):
    with pytest.raises(ValueError, match=message) as caught:
        pooling(torch.randn(2, 3, 6, 8), boxes, image, 2, 1 / 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pooling", [roi_pool, roi_align])
def test_pooling_reads_boxes_of_half_precision_in_full(pooling):
    features = torch.randn(2, 3, 6, 8)
    boxes = BOXES.half()
    expected = pooling(features, boxes.float(), OWNER, 2, 1 / 8)
    assert torch.equal(pooling(features, boxes, OWNER, 2, 1 / 8), expected)
    whole = pooling(features, BOXES.long(), OWNER, 2, 1 / 8)
    assert torch.equal(whole, pooling(features, BOXES.long().float(), OWNER, 2, 1 / 8))


def test_frozen_norm_is_the_evaluated_norm_and_never_changes():
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    norm(torch.randn(5, 4, 3, 3))
    frozen = FrozenBatchNorm(norm).train()
    x = torch.randn(5, 4, 3, 3)
    torch.testing.assert_close(frozen(x), norm.eval()(x))
    assert not list(frozen.parameters())
    torch.testing.assert_close(frozen(x), norm(x))


def test_frozen_norm_in_half_precision_is_torchs_own():
    norm = nn.BatchNorm2d(4)
    norm(7 + 3 * torch.randn(20, 4, 3, 3))
    x = torch.randn(5, 4, 3, 3).bfloat16()
    torch.testing.assert_close(FrozenBatchNorm(norm)(x), norm.eval()(x))
    half = copy.deepcopy(norm).half()
    y = x.half()
    torch.testing.assert_close(FrozenBatchNorm(half)(y), half(y))


def test_a_norm_without_scale_freezes_and_one_without_statistics_is_refused():
    norm = nn.BatchNorm2d(4, affine=False)
    norm(7 + 3 * torch.randn(20, 4, 3, 3))
    x = torch.randn(5, 4, 3, 3)
    torch.testing.assert_close(freeze_batch_norm(norm)(x), norm.eval()(x))
    kinds = [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)]
    both = nn.Sequential(*kinds)
    with pytest.raises(ValueError, match="batch normalisation with running statistics"):
        freeze_batch_norm(both)
    assert list(both) == kinds
    with pytest.raises(ValueError, match="batch normalisation with running statistics; got int"):
        FrozenBatchNorm(3)


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (2, 5, 3, 3), (4, 3)])
def test_frozen_norm_takes_its_own_channels_alone(shape):
    with pytest.raises(ValueError, match=r"x must be \(B, 4, H, W\)"):
        FrozenBatchNorm(nn.BatchNorm2d(4))(torch.zeros(shape))


def test_head_of_version_2_keeps_its_last_normalisation():
    net = ResNet(18, 5, width=0.125, version="2")
    net(3 + torch.randn(4, 3, 64, 64))
    net.eval()
    images = torch.randn(2, 3, 64, 64)
    features = net.stages[2](net.stages[1](net.stages[0](net.stem(images)))).detach()
    last = net.stages[3](roi_pool(features, BOXES, OWNER, 4, 1 / 16))
    expected = net.head.norm(last).relu().mean((2, 3)).detach()
    detector = C4Detector(net, classes=3, size=4)
    scores, _ = detector(images, BOXES, OWNER)
    torch.testing.assert_close(scores, detector.score(expected), atol=1e-5, rtol=1e-4)


def test_a_detector_does_not_recompute():
    with pytest.raises(ValueError, match="made without recompute"):
        C4Detector(ResNet(18, width=0.125, recompute=True), classes=3)


def test_loss_of_no_region_is_zero_and_half_precision_is_summed_in_full():
    scores = torch.zeros(0, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    loss = detection_loss(scores, torch.zeros(0, 3, 4), none, torch.zeros(0, 4))
    loss.backward()
    assert loss == 0
    scores, corrections = torch.randn(300, 3).half(), torch.randn(300, 3, 4).half()
    labels, targets = torch.arange(300) % 3, torch.zeros(300, 4)
    loss = detection_loss(scores, corrections, labels, targets)
    wide = detection_loss(scores.double(), corrections.double(), labels, targets.double())
    torch.testing.assert_close(loss.double(), wide, atol=1e-5, rtol=1e-5)


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
    # Some pixels more, so that no box is a hundredth of its target: decoding has a limit.
    wider = BOXES + torch.tensor([0.0, 0, 5, 5])
    boxes, targets = wider + torch.rand(4, 4), wider.flip(0)
    torch.testing.assert_close(decode(boxes, encode(boxes, targets)), targets)


def test_overlap_by_hand():
    a = torch.tensor([[0.0, 0, 2, 2], [5.0, 5, 6, 6]])
    b = torch.tensor([[1.0, 1, 3, 3], [0.0, 0, 2, 2]])
    torch.testing.assert_close(overlap(a, b), torch.tensor([[1 / 7, 1.0], [0.0, 0.0]]))


def test_overlap_of_large_boxes_in_half_precision():
    box = torch.tensor([[0.0, 0, 500, 500]]).half()
    assert overlap(box, box).item() == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda f: roi_pool(f, BOXES, OWNER, 0, 1 / 8),
        lambda f: roi_align(f, BOXES, OWNER, 0, 1 / 8),
        lambda f: C4Detector(ResNet(18, width=0.125), classes=3, size=0),
    ],
)
def test_a_pooled_region_has_a_size(act):
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        act(torch.randn(2, 3, 6, 8))


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
