"""Responses, gradients and deletion against the same thing done by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.nn.residual import Conv
from quire.papers.resnet import (
    CifarResNet,
    ResNet,
    deletable,
    deleted,
    gradient_norms,
    layer_responses,
)


def test_responses_are_the_std_of_each_3x3_layers_normalised_output():
    net = CifarResNet(8, width=0.25).eval()
    batches = [torch.randn(4, 3, 8, 8), torch.randn(6, 3, 8, 8)]
    result = layer_responses(net, batches)
    assert len(result) == 7  # all layers but the linear one
    with torch.no_grad():
        images = torch.cat(batches)
        first = net.stem.norm(net.stem.conv(images))
        assert result["stem"] == pytest.approx(first.std(correction=0).item(), rel=1e-5)
        second = net.stages[0][0].body[0]
        value = second.norm(second.conv(first.relu()))
    name = "stages.0.0.body.0"
    assert result[name] == pytest.approx(value.std(correction=0).item(), rel=1e-5)


def test_responses_look_at_3x3_layers_alone():
    names = layer_responses(ResNet(50, width=0.125), [torch.randn(1, 3, 32, 32)])
    assert len(names) == 16
    assert all(name.endswith("body.1") for name in names)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 3, 8, 8)]])
def test_responses_need_an_image(batches):
    with pytest.raises(ValueError, match="needs a batch"):
        layer_responses(CifarResNet(8, width=0.25), batches)


def test_responses_take_batches_and_no_single_tensor():
    with pytest.raises(TypeError, match="batches must be an iterable of batches"):
        layer_responses(CifarResNet(8, width=0.25), torch.zeros(2, 3, 8, 8))


def test_empty_batches_and_modes_change_nothing():
    net = CifarResNet(8, width=0.25).train()
    net.stem.eval()
    batch = torch.randn(4, 3, 8, 8)
    assert layer_responses(net, [batch[:0], batch]) == layer_responses(net, [batch])
    assert net.training
    assert not net.stem.training


def test_gradient_norms_are_those_of_backward():
    net = CifarResNet(8, width=0.25)
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    norms = gradient_norms(net, images, labels)
    assert net.stem.conv.weight.grad is None
    F.cross_entropy(net(images), labels).backward()
    for name, norm in norms.items():
        weight = net.get_submodule(name).weight
        assert norm == pytest.approx(weight.grad.norm().item(), rel=1e-5)


def test_gradient_norms_leave_statistics_alone_and_measure_frozen_layers():
    net = CifarResNet(8, width=0.25)
    before = copy.deepcopy(net.state_dict())
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    norms = gradient_norms(net, images, labels)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        assert gradient_norms(net.requires_grad_(False), images, labels) == norms


@pytest.mark.parametrize(
    ("net", "count"), [(CifarResNet(8, width=0.25), 0), (nn.Sequential(nn.Flatten()), 2)]
)
def test_gradient_norms_need_an_image_and_a_convolution(net, count):
    with pytest.raises(ValueError, match="convolutions and at least one image"):
        gradient_norms(net, torch.zeros(count, 3, 8, 8), torch.zeros(count, dtype=torch.long))


def test_a_net_without_a_block_has_gradients_and_keeps_its_features():
    net = CifarResNet(14, width=0.25)
    with deleted(net, "stages.0.0", "stages.1.0"):
        levels = net.features(torch.randn(2, 3, 8, 8))
        net.head(levels[-1]).sum().backward()
    assert net.stem.conv.weight.grad.isfinite().all()
    # Not even where the stem gives negative values, on which the activation acts.
    stem = Conv(3, 4, activation=None)
    net = ResNet(18, 5, width=0.0625, stem=stem).eval()
    x = stem.eval()(torch.randn(2, 3, 8, 8)).detach()
    kept = x.clone()
    with deleted(net, "stages.0.0"):
        net.stages[0](x)
    assert torch.equal(x, kept)


def test_gradient_at_init_explodes_in_plain_nets_alone():
    torch.manual_seed(0)
    images, labels = torch.randn(16, 3, 16, 16), torch.randint(10, (16,))
    first = {}
    for residual in (False, True):
        norms = gradient_norms(CifarResNet(56, residual), images, labels)
        first[residual] = next(iter(norms.values()))
    assert first[False] > 50 * first[True]


def test_deletion_leaves_shortcut_and_activation_and_is_undone():
    net = CifarResNet(14, width=0.25).eval()
    x = torch.randn(2, 3, 8, 8)
    before = net(x)
    features = net.stem(x)
    name = "stages.0.1"
    with deleted(net, name):
        without = net.features(x)[0]
    torch.testing.assert_close(without, net.stages[0][0](features))
    torch.testing.assert_close(net(x), before)
    with deleted(net, "stages.1.0"):
        level = net.features(x)[1]
    block = net.stages[1][0]
    expected = net.stages[1][1](block.shortcut(net.features(x)[0]).relu())
    torch.testing.assert_close(level, expected)


def test_deletion_of_a_plain_block_takes_it_out():
    net = CifarResNet(14, False, width=0.25).eval()
    x = torch.randn(2, 3, 8, 8)
    with deleted(net, "stages.2.1"):
        level = net.features(x)[2]
    torch.testing.assert_close(level, net.stages[2][0](net.features(x)[1]))
    assert deletable(net) == ["stages.0.0", "stages.0.1", "stages.1.1", "stages.2.1"]


def test_deletion_of_what_must_stay_is_refused():
    net = CifarResNet(14, False, width=0.25)
    with (
        pytest.raises(ValueError, match=r"'stages\.1\.0' of a plain net changes the shape"),
        deleted(net, "stages.1.0"),
    ):
        pass
    with pytest.raises(ValueError, match="'stem' is no block"), deleted(net, "stem"):
        pass


def test_all_blocks_deleted_leaves_stem_shortcuts_and_head():
    net = CifarResNet(8, width=0.25).eval()
    x = torch.randn(2, 3, 8, 8)
    with deleted(net, *net.blocks()):
        result = net(x)
    y = net.stem(x)
    for block in net.blocks().values():
        y = block.shortcut(y).relu()
    torch.testing.assert_close(result, net.head(y))
