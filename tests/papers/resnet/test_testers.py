"""Testers, statistics and folding against brute force."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.nn.residual import Conv
from quire.papers.resnet import (
    CifarResNet,
    ResNet,
    fold,
    freeze_batch_norm,
    fully_convolutional_test,
    recalibrate,
    ten_crop_test,
    ten_crops,
)
from quire.papers.resnet.testers import resize_shorter_side


def trained(net):
    """A net whose statistics and affine parameters are not the initial ones."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 3, 16, 16))
    return net.eval()


def test_ten_crops_are_corners_centre_and_mirrors():
    images = torch.arange(2 * 1 * 5 * 7).reshape(2, 1, 5, 7).float()
    crops = ten_crops(images, 3)
    assert crops.shape == (10, 2, 1, 3, 3)
    starts = [(0, 0), (0, 4), (2, 0), (2, 4), (1, 2)]
    for index, (top, left) in enumerate(starts):
        expected = images[:, :, top : top + 3, left : left + 3]
        assert torch.equal(crops[index], expected)
        assert torch.equal(crops[index + 5], expected.flip(3))


def test_ten_crop_test_is_the_mean_of_probabilities():
    net = trained(CifarResNet(8, width=0.25))
    images = torch.randn(2, 3, 12, 14)
    expected = sum(net(crop).softmax(1) for crop in ten_crops(images, 8)) / 10
    torch.testing.assert_close(ten_crop_test(net, images, size=8), expected)


def test_fully_convolutional_at_one_scale_is_the_net_itself():
    net = trained(CifarResNet(8, width=0.25))
    images = torch.randn(2, 3, 16, 20)
    result = fully_convolutional_test(net, images, scales=(16,), flip=False)
    torch.testing.assert_close(result, net(images).softmax(1))


def test_fully_convolutional_averages_scales_and_mirrors():
    net = trained(ResNet(18, 10, width=0.125))
    images = torch.randn(2, 3, 40, 60)
    parts = []
    for scale in (32, 48):
        view = resize_shorter_side(images, scale)
        assert min(view.shape[2:]) == scale
        assert view.shape[3] == round(1.5 * scale)
        parts += [net(view).softmax(1), net(view.flip(3)).softmax(1)]
    result = fully_convolutional_test(net, images, scales=(32, 48))
    torch.testing.assert_close(result, torch.stack(parts).mean(0))
    torch.testing.assert_close(result.sum(1), torch.ones(2))


def test_recalibration_of_the_first_layer_is_the_brute_force_moments():
    torch.manual_seed(0)
    net = CifarResNet(8, width=0.25)
    batches = [3 + torch.randn(n, 3, 8, 8) * n for n in (5, 9, 4)]
    recalibrate(net, batches)
    values = net.stem.conv(torch.cat(batches)).detach().double().movedim(1, 0).flatten(1)
    torch.testing.assert_close(net.stem.norm.running_mean.double(), values.mean(1))
    torch.testing.assert_close(net.stem.norm.running_var.double(), values.var(1))


def test_recalibration_on_one_batch_is_torchs_own_with_momentum_one():
    net = CifarResNet(8, width=0.25)
    twin = CifarResNet(8, width=0.25)
    twin.load_state_dict(net.state_dict())
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    images = torch.randn(16, 3, 8, 8)
    twin(images)
    assert recalibrate(net.eval(), [images]) is net
    assert not net.training
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    for (name, one), two in zip(net.named_buffers(), twin.buffers(), strict=True):
        if "running" in name:
            torch.testing.assert_close(one, two, msg=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CifarResNet(8, width=0.25),
        lambda: CifarResNet(8, width=0.25, version="2", shortcut="B"),
        lambda: ResNet(50, 10, width=0.125),
    ],
)
def test_folded_net_is_the_same_function(make):
    net = trained(make())
    x = torch.randn(2, 3, 32, 32)
    folded = fold(net)
    torch.testing.assert_close(folded(x), net(x), atol=1e-4, rtol=1e-4)
    assert not any(
        isinstance(m.norm, nn.BatchNorm2d) for m in folded.modules() if isinstance(m, Conv)
    )
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


@pytest.mark.parametrize(
    "test",
    [
        lambda net, images: ten_crop_test(net, images, size=8),
        lambda net, images: fully_convolutional_test(net, images, scales=(8, 12)),
    ],
)
def test_testers_evaluate_and_leave_the_net_as_it_was(test):
    net = trained(CifarResNet(8, width=0.25))
    images = torch.randn(3, 3, 12, 14)
    expected = test(net, images)
    net.train().stem.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.testing.assert_close(test(net, images), expected)
    # Nor does a row depend on the others, of which there may be none.
    torch.testing.assert_close(test(net, images[:1]), expected[:1])
    assert test(net, images[:0]).shape == (0, 10)
    assert net.training
    assert not net.stem.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_fully_convolutional_takes_bfloat16():
    net = trained(CifarResNet(8, width=0.25)).bfloat16()
    result = fully_convolutional_test(net, torch.randn(2, 3, 16, 20).bfloat16(), scales=(12,))
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float().sum(1), torch.ones(2), atol=0.02, rtol=0)


def test_recalibration_passes_over_empty_batches():
    net = CifarResNet(8, width=0.25)
    batch = torch.randn(6, 3, 8, 8)
    one = {k: v.clone() for k, v in recalibrate(net, [batch]).state_dict().items()}
    two = recalibrate(net, [batch[:0], batch, batch[:0]]).state_dict()
    assert all(torch.equal(value, one[name]) for name, value in two.items())


def test_recalibration_that_fails_changes_nothing():
    net = CifarResNet(8, width=0.25).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError):
        recalibrate(net, [torch.randn(4, 3, 8, 8), torch.randn(4, 2, 8, 8)])
    assert net.training
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("norm", "stays"),
    [
        (partial(nn.BatchNorm2d, affine=False), False),
        (partial(nn.BatchNorm2d, track_running_stats=False), True),
        (partial(nn.GroupNorm, 2), True),
    ],
)
def test_fold_of_other_normalisations(norm, stays):
    net = nn.Sequential(Conv(3, 4, norm=norm), Conv(4, 4, norm=norm))
    net(torch.randn(5, 3, 6, 6))
    net.eval()
    x = torch.randn(5, 3, 6, 6)
    folded = fold(net)
    torch.testing.assert_close(folded(x), net(x), atol=1e-5, rtol=1e-4)
    assert isinstance(folded[0].norm, nn.Identity) is not stays


def test_fold_of_frozen_norms_and_of_layers_that_share_weights():
    net = nn.Sequential(Conv(3, 3), Conv(3, 3))
    net[1].conv.weight = net[0].conv.weight
    trained(net)
    x = torch.randn(2, 3, 6, 6)
    expected = net(x)
    torch.testing.assert_close(fold(net)(x), expected, atol=1e-5, rtol=1e-4)
    frozen = fold(freeze_batch_norm(net))
    torch.testing.assert_close(frozen(x), expected, atol=1e-5, rtol=1e-4)
    assert isinstance(frozen[0].norm, nn.Identity)


def test_fold_keeps_a_bias():
    layer = trained(nn.Sequential(Conv(3, 4, bias=True)))
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(fold(layer)(x), layer(x), atol=1e-5, rtol=1e-5)


def test_recalibration_takes_batches_and_no_single_tensor():
    with pytest.raises(TypeError, match="batches must be an iterable of batches"):
        recalibrate(CifarResNet(8, width=0.25), torch.zeros(2, 3, 8, 8))


def test_resizing_agrees_with_interpolation():
    images = torch.randn(1, 3, 20, 10)
    expected = F.interpolate(images, (10, 5), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize_shorter_side(images, 5), expected)
    assert resize_shorter_side(images, 10) is images


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ten_crops(torch.zeros(1, 3, 4, 8), 5), r"size must be in 1\.\.4"),
        (lambda: recalibrate(CifarResNet(8, width=0.25), []), "at least one batch; got none"),
        (
            lambda: recalibrate(CifarResNet(8, width=0.25), [torch.zeros(0, 3, 8, 8)]),
            "at least one batch; got none",
        ),
        (lambda: ten_crops(torch.zeros(3, 8, 8), 5), r"images must have the shape \(B, C, H, W\)"),
        (
            lambda: ten_crop_test(CifarResNet(8), torch.zeros(1, 3, 8, 8).byte(), size=8),
            r"floating-point numbers \(B, C, H, W\).* of uint8",
        ),
        (
            lambda: fully_convolutional_test(CifarResNet(8), torch.zeros(1, 3, 8, 8).byte()),
            r"floating-point numbers \(B, C, H, W\).* of uint8",
        ),
        (
            lambda: fully_convolutional_test(CifarResNet(8), torch.zeros(1, 3, 8, 8), scales=(0,)),
            "size must be at least 1; got 0",
        ),
        (
            lambda: fully_convolutional_test(CifarResNet(8), torch.zeros(1, 3, 8, 8), scales=()),
            "scales must name at least one size",
        ),
    ],
)
def test_bad_input_is_one_clear_line(act, message):
    with pytest.raises(ValueError, match=message):
        act()
