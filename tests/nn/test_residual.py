"""Blocks against their equations, written out with functional operations."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.nn.residual import (
    BasicBlock,
    Bottleneck,
    Conv,
    ResidualNet,
    Shortcut,
    residual_stage,
)


def norm(x, layer):
    return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)


def randomise(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module


def test_conv_is_convolution_norm_activation():
    layer = randomise(Conv(3, 5, stride=2))
    x = torch.randn(4, 3, 7, 9)
    expected = F.relu(norm(F.conv2d(x, layer.conv.weight, stride=2, padding=1), layer.norm))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 6), (2, 7)])
def test_option_a_samples_and_pads_at_the_end(stride, side):
    x = torch.randn(2, 3, side, side)
    y = Shortcut(3, 7, stride, kind="A")(x)
    expected = torch.zeros(2, 7, *y.shape[2:])
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            expected[:, :3, row, column] = x[:, :, row * stride, column * stride]
    assert torch.equal(y, expected)


def test_option_a_pads_both_sides():
    x = torch.randn(2, 3, 4, 4)
    y = Shortcut(3, 8, 1, kind="A", padding="both")(x)
    assert torch.equal(y[:, 2:5], x)
    assert y[:, :2].abs().sum() == y[:, 5:].abs().sum() == 0


def test_option_a_has_a_gradient_where_it_sampled():
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    Shortcut(2, 4, 2, kind="A")(x).sum().backward()
    expected = torch.zeros(5, 5)
    expected[::2, ::2] = 1
    assert torch.equal(x.grad, expected.expand(1, 2, 5, 5))


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_shortcut_compiles_whole(kind):
    layer = Shortcut(4, 6, 2, kind=kind)
    x = torch.randn(2, 4, 6, 6)
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


def test_kinds_project_where_the_paper_says():
    def projects(*args, kind):
        return Shortcut(*args, kind=kind).projects

    assert [projects(4, 4, 1, kind=k) for k in ("A", "B", "C")] == [False, False, True]
    assert [projects(4, 8, 1, kind=k) for k in ("A", "B", "C")] == [False, True, True]
    assert [projects(4, 4, 2, kind=k) for k in ("A", "B", "C")] == [False, True, True]
    assert Shortcut(4, 8, 2, kind="none")(torch.randn(1, 4, 2, 2)) == 0


def test_basic_block_is_relu_after_the_addition():
    block = randomise(BasicBlock(4, 6, stride=2, shortcut="B"))
    x = torch.randn(3, 4, 8, 8)
    one, two = block.body
    inner = F.relu(norm(F.conv2d(x, one.conv.weight, stride=2, padding=1), one.norm))
    residual = norm(F.conv2d(inner, two.conv.weight, padding=1), two.norm)
    side = block.shortcut.projection
    skip = norm(F.conv2d(x, side.conv.weight, stride=2), side.norm)
    torch.testing.assert_close(block(x), F.relu(residual + skip))


@pytest.mark.parametrize(("version", "strides"), [("1", (2, 1, 1)), ("1.5", (1, 2, 1))])
def test_bottleneck_and_where_its_stride_sits(version, strides):
    block = randomise(Bottleneck(8, 3, stride=2, shortcut="B", version=version))
    x = torch.randn(3, 8, 6, 6)
    y = x
    for index, (layer, stride) in enumerate(zip(block.body, strides, strict=True)):
        padding = layer.conv.kernel_size[0] // 2
        y = norm(F.conv2d(y, layer.conv.weight, stride=stride, padding=padding), layer.norm)
        y = F.relu(y) if index < 2 else y
    side = block.shortcut.projection
    skip = norm(F.conv2d(x, side.conv.weight, stride=2), side.norm)
    torch.testing.assert_close(block(x), F.relu(y + skip))


def test_version_2_activates_before_and_projects_what_is_activated():
    block = randomise(BasicBlock(4, 6, stride=2, shortcut="B", version="2"))
    x = torch.randn(3, 4, 8, 8)
    ready = F.relu(norm(x, block.before[0]))
    one, two = block.body
    inner = F.relu(norm(F.conv2d(ready, one.conv.weight, stride=2, padding=1), one.norm))
    residual = F.conv2d(inner, two.conv.weight, padding=1)
    skip = F.conv2d(ready, block.shortcut.projection.conv.weight, stride=2)
    torch.testing.assert_close(block(x), residual + skip)


def test_version_2_keeps_an_identity_path_without_any_operation():
    block = BasicBlock(4, 4, version="2")
    block.zero_residual()
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("version", ["1", "1.5"])
@pytest.mark.parametrize("block_type", [BasicBlock, Bottleneck])
def test_zeroed_residual_is_the_identity_on_non_negative_input(block_type, version):
    block = block_type(4 * block_type.expansion, 4, shortcut="A", version=version)
    block.zero_residual()
    x = torch.randn(3, 4 * block_type.expansion, 5, 5).relu()
    assert torch.equal(block(x), x)


def test_jacobian_is_identity_plus_that_of_the_residual():
    block = BasicBlock(2, 2, version="2").double().eval()
    randomise(block)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    whole = torch.autograd.functional.jacobian(block, x).reshape(18, 18)
    residual = torch.autograd.functional.jacobian(
        lambda value: block.body(block.before(value)), x
    ).reshape(18, 18)
    torch.testing.assert_close(whole, torch.eye(18, dtype=torch.float64) + residual)


def test_plain_block_adds_nothing():
    plain, residual = BasicBlock(4, 4, shortcut="none"), BasicBlock(4, 4, shortcut="A")
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(plain(x), F.relu(plain.body(x)))
    torch.testing.assert_close(residual(x), F.relu(plain.body(x) + x))


def test_blocks_take_a_shortcut_by_value():
    block = BasicBlock(3, 8, stride=2, shortcut=partial(Shortcut, kind="A", padding="both"))
    assert block.shortcut.padding == (2, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Shortcut(3, 4, kind="D"),
            "shortcut must be one of 'A', 'B', 'C', 'none'; got 'D'",
        ),
        (lambda: Shortcut(4, 3, kind="A"), 'shortcut "A" cannot drop channels; got 4 in, 3 out'),
        (lambda: Shortcut(3, 4, kind="A", padding="left"), "padding must be one of"),
        (lambda: BasicBlock(3, 4, version="3"), "version must be one of '1', '1.5', '2'; got '3'"),
        (lambda: Bottleneck(3, 4, shortcut="D"), "shortcut must be one of"),
        (lambda: Conv(3, 4, kernel_size=4), "kernel_size must be odd and at least 1; got 4"),
        (lambda: Conv(0, 4), "in_channels must be at least 1; got 0"),
        (lambda: Conv(3, 0), "out_channels must be at least 1; got 0"),
        (lambda: Conv(3, 4, stride=0), "stride must be at least 1; got 0"),
        (lambda: Shortcut(3, 4, 0, kind="A"), "stride must be at least 1; got 0"),
        (
            lambda: residual_stage(BasicBlock, 4, channels=4, count=0),
            "count must be at least 1; got 0",
        ),
        (
            lambda: ResidualNet(nn.Identity(), [], nn.Identity()),
            "stages must hold at least one stage",
        ),
    ],
)
def test_bad_input_is_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_maker_of_no_shortcut_makes_a_plain_block():
    block = BasicBlock(4, 4, shortcut=partial(Shortcut, kind="none"))
    assert block.shortcut is None


def test_version_2_without_normalisation_leaves_its_input_alone():
    block = BasicBlock(4, 4, version="2", norm=nn.Identity)
    x = torch.randn(2, 4, 5, 5)
    kept = x.clone()
    y = block(x)
    assert torch.equal(x, kept)
    inner = F.relu(F.conv2d(x.relu(), block.body[0].conv.weight, padding=1))
    torch.testing.assert_close(y, x + F.conv2d(inner, block.body[1].conv.weight, padding=1))


@pytest.mark.parametrize(
    "norm",
    [
        partial(nn.GroupNorm, 2),
        partial(nn.GroupNorm, 2, affine=False),
        partial(nn.BatchNorm2d, affine=False),
        nn.BatchNorm2d,
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_zeroed_residual_is_zero_for_every_normalisation(norm, training):
    block = BasicBlock(4, 4, norm=norm)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 4, 5, 5).relu()
    block(x)  # statistics that are not 0
    block.zero_residual()
    assert torch.equal(block.train(training)(x), x)


def make_net(recompute, count=2):
    torch.manual_seed(0)
    block = partial(BasicBlock, shortcut="A")
    stages = [
        residual_stage(block, 4, channels=4, count=count),
        residual_stage(block, 4, channels=8, count=count, stride=2),
    ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return ResidualNet(Conv(3, 4), stages, head, recompute=recompute)


def test_recomputed_net_has_the_same_gradients_and_statistics():
    plain, saving = make_net(False), make_net(True)
    x = torch.randn(4, 3, 8, 8)
    for net in (plain, saving):
        net(x).square().sum().backward()
    for (name, one), (_, two) in zip(
        plain.named_parameters(), saving.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, two.grad, msg=name)
    for (name, one), (_, two) in zip(plain.named_buffers(), saving.named_buffers(), strict=True):
        assert torch.equal(one, two), name


def test_recomputed_net_compiles_whole_with_the_same_gradients_and_statistics():
    plain, saving = make_net(False, count=1), make_net(True, count=1)
    x = torch.randn(4, 3, 8, 8)
    plain(x).square().sum().backward()
    compiled = torch.compile(saving, backend="aot_eager", fullgraph=True)
    compiled(x).square().sum().backward()
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(plain.buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(one, two)


def test_recomputed_net_compiles_forward_with_any_backend_and_exports():
    net = make_net(True, count=1)
    x = torch.randn(4, 3, 8, 8)
    expected = copy.deepcopy(net)(x)
    torch.testing.assert_close(torch.compile(copy.deepcopy(net), backend="eager")(x), expected)
    program = torch.export.export(copy.deepcopy(net).train(), (x,))
    torch.testing.assert_close(program.module()(x), expected)


def test_features_are_the_stages_outputs():
    net = make_net(False).eval()
    levels = net.features(torch.randn(2, 3, 8, 8))
    assert [tuple(level.shape) for level in levels] == [(2, 4, 8, 8), (2, 8, 4, 4)]
    assert list(net.blocks()) == ["stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_channels_last_and_autocast_agree_with_float32(version):
    block = BasicBlock(4, 8, stride=2, shortcut="A", version=version)
    x = torch.randn(4, 4, 8, 8)
    expected = block(x)
    inner = x.contiguous(memory_format=torch.channels_last)
    result = block.to(memory_format=torch.channels_last)(inner)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(block(inner).float(), expected, atol=0.1, rtol=0.05)
