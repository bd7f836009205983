"""Sizes and costs against section 6 of the paper's recount, and what the nets promise."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from quire.nn.residual import Bottleneck, Conv, Shortcut
from quire.papers.resnet import (
    CifarResNet,
    ResNet,
    classify,
    count_macs,
    count_parameters,
    initialise,
)
from quire.papers.resnet.resnet import channels_of, classifier

CIFAR = {  # depth: parameters with option A, with option B, million multiply-adds (A)
    20: (269_722, 272_474, 40.55),
    32: (464_154, 466_906, 68.86),
    44: (658_586, 661_338, 97.17),
    56: (853_018, 855_770, 125.49),
    110: (1_727_962, 1_730_714, 252.89),
    1202: (19_421_274, 19_424_026, 2829.24),
}
IMAGENET = {  # depth: parameters with option B, 1e9 multiply-adds of version 1 and 1.5
    18: (11_689_512, 1.814, 1.814),
    34: (21_797_672, 3.664, 3.664),
    50: (25_557_032, 3.858, 4.089),
    101: (44_549_160, 7.570, 7.801),
    152: (60_192_808, 11.282, 11.514),
}


@pytest.mark.parametrize("depth", CIFAR)
def test_cifar_counts(depth):
    with torch.device("meta"):
        net, plain = CifarResNet(depth), CifarResNet(depth, False)
        projected = CifarResNet(depth, shortcut="B")
    parameters, with_projections, million = CIFAR[depth]
    assert count_parameters(net) == count_parameters(plain) == parameters
    assert count_parameters(projected) == with_projections
    assert round(count_macs(net, (3, 32, 32)) / 1e6, 2) == million
    # Weighted layers: convolutions and the linear one.
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", IMAGENET)
def test_imagenet_counts(depth):
    parameters, one, one_and_a_half = IMAGENET[depth]
    with torch.device("meta"):
        net, later = ResNet(depth), ResNet(depth, version="1.5")
    assert count_parameters(net) == count_parameters(later) == parameters
    assert round(count_macs(net) / 1e9, 3) == one
    assert round(count_macs(later) / 1e9, 3) == one_and_a_half


def test_resnet34_counts_with_options_a_and_c():
    with torch.device("meta"):
        counts = [count_parameters(ResNet(34, shortcut=kind)) for kind in ("A", "C")]
    assert counts == [21_623_848, 22_716_840]


def test_block_costs_of_figure_5():
    def basic(channels):
        return nn.Sequential(Conv(channels, channels), Conv(channels, channels, activation=None))

    assert count_macs(Bottleneck(256, 64).body, (256, 1, 1)) == 69_632
    assert count_macs(basic(64), (64, 1, 1)) == 73_728
    assert count_macs(basic(256), (256, 1, 1)) == 1_179_648


def test_count_macs_agrees_with_torchs_flop_counter_and_changes_nothing():
    net = ResNet(50, width=0.125, num_classes=7).train()
    before = copy.deepcopy(net.state_dict())
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(net).eval()(torch.randn(1, 3, 64, 64))
    assert 2 * count_macs(net, (3, 64, 64)) == counter.get_total_flops()
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("depth", [18, 50])
def test_pyramid_has_strides_4_to_32(depth):
    net = ResNet(depth, width=0.125)
    levels = net.features(torch.randn(1, 3, 64, 64))
    assert [64 // level.shape[-1] for level in levels] == [4, 8, 16, 32]
    assert tuple(level.shape[1] for level in levels) == channels_of(net)


def test_cifar_stem_keeps_the_size():
    levels = ResNet(18, width=0.125, stem="cifar").features(torch.randn(1, 3, 16, 16))
    assert [16 // level.shape[-1] for level in levels] == [1, 2, 4, 8]


def test_stem_and_shortcut_are_values():
    net = ResNet(
        18,
        5,
        width=0.125,
        stem=Conv(1, 8, stride=2),
        shortcut=partial(Shortcut, kind="A", padding="both"),
    )
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 5)


def test_modules_that_are_given_keep_their_values():
    stem = Conv(3, 8)
    nn.init.constant_(stem.conv.weight, 0.5)
    nn.init.constant_(stem.norm.weight, 3.0)

    def shortcut(in_channels, out_channels, stride):
        layer = nn.Conv2d(in_channels, out_channels, 1, stride=stride)
        for parameter in layer.parameters():
            nn.init.constant_(parameter, 0.25)
        return layer

    net = ResNet(18, 5, width=0.125, stem=stem, shortcut=shortcut, zero_gamma=True)
    assert (net.stem.conv.weight == 0.5).all()
    assert (net.stem.norm.weight == 3).all()
    small = CifarResNet(8, width=0.25, shortcut=shortcut)
    for block in [*net.blocks().values(), *small.blocks().values()]:
        assert all((parameter == 0.25).all() for parameter in block.shortcut.parameters())
    assert net.stages[0][0].body[0].conv.weight.std() > 0


def test_initialise_keeps_what_it_is_told_to():
    net = CifarResNet(8, width=0.25)
    before = copy.deepcopy(net.state_dict())
    initialise(net, keep=[net.stem])
    assert torch.equal(net.stem.conv.weight, before["stem.conv.weight"])
    name = "stages.0.0.body.0.conv.weight"
    assert not torch.equal(net.state_dict()[name], before[name])


def test_counts_leave_out_what_is_frozen():
    net = CifarResNet(8, width=0.25)
    whole = count_parameters(net)
    net.stem.requires_grad_(False)
    assert count_parameters(net) == whole - sum(p.numel() for p in net.stem.parameters())


def test_counting_keeps_every_modules_mode():
    net = CifarResNet(8, width=0.25).train()
    net.stages.eval()
    count_macs(net, (3, 8, 8))
    assert net.training
    assert not net.stages[0].training


def test_classify_needs_the_nets_own_head():
    net = CifarResNet(8, width=0.25)
    features = net.features(torch.randn(1, 3, 8, 8))[-1]
    net.head = nn.Identity()
    with pytest.raises(TypeError, match="head must be pooling and a linear layer"):
        classify(features, net)


@pytest.mark.parametrize("version", ["1", "2"])
def test_zero_gamma_makes_every_block_the_identity(version):
    net = CifarResNet(20, width=0.25, zero_gamma=True, version=version)
    shallow = CifarResNet(8, width=0.25, zero_gamma=True, version=version)
    shallow.load_state_dict(
        {name: value for name, value in net.state_dict().items() if name in shallow.state_dict()}
    )
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(net.eval()(x), shallow.eval()(x))


def test_deep_net_with_zeroed_blocks_equals_the_shallow_one():
    shallow, deep = CifarResNet(8, width=0.5).eval(), CifarResNet(20, width=0.5).eval()
    x = torch.randn(3, 3, 16, 16)
    assert not torch.equal(shallow(x), deep(x))
    for block in deep.blocks().values():
        block.zero_residual()
    missing = deep.load_state_dict(shallow.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert torch.equal(shallow(x), deep(x))


@pytest.mark.parametrize(("init", "fan"), [("fan_in", 64), ("fan_out", 32)])
def test_initial_variance_is_two_over_the_fan(init, fan):
    torch.manual_seed(0)
    net = ResNet(18, init=init, width=0.5)
    weight = net.stages[1][0].shortcut.projection.conv.weight  # 1x1, 32 -> 64
    assert weight.shape[:2] == (64, 32)
    expected = 2 / (32 if init == "fan_in" else 64)
    assert weight.var().item() == pytest.approx(expected, rel=0.1)


def test_classify_gives_a_map_whose_mean_is_the_score():
    for version in ("1", "2"):
        net = CifarResNet(8, width=0.25, version=version).eval()
        x = torch.randn(2, 3, 12, 20)
        score_map = classify(net.features(x)[-1], net)
        assert score_map.shape == (2, 10, 3, 5)
        torch.testing.assert_close(score_map.mean((2, 3)), net(x))


@pytest.mark.parametrize(
    "net",
    [
        lambda: CifarResNet(8, width=0.25),
        lambda: CifarResNet(8, False, width=0.25),
        lambda: CifarResNet(8, width=0.25, version="2", shortcut="B"),
        lambda: ResNet(18, width=0.125, num_classes=10),
    ],
)
def test_exports_and_compiles_whole(net):
    net = net().eval()
    x = torch.randn(2, 3, 32, 32)
    expected = net(x)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), expected)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


def test_compiled_training_step_gives_the_same_gradients():
    net = CifarResNet(8, width=0.25)
    twin = copy.deepcopy(net)
    x = torch.randn(4, 3, 16, 16)
    net(x).square().sum().backward()
    torch.compile(twin, backend="eager", fullgraph=True)(x).square().sum().backward()
    for one, two in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.slow
def test_1202_layers_train_with_recomputation():
    net = CifarResNet(1202, width=0.0625, recompute=True)
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert net.stem.conv.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(51), "depth must be one of 18, 34, 50, 101, 152; got 51"),
        (lambda: CifarResNet(21), r"depth must be 6n \+ 2; got 21, the nearest is 20 or 26"),
        (lambda: ResNet([50]), r"depth must be one of 18, 34, 50, 101, 152; got \[50\]"),
        (lambda: CifarResNet("20"), r"depth must be a whole number, 6n \+ 2; got '20'"),
        (lambda: CifarResNet(2), r"depth must be 6n \+ 2; got 2, the nearest is 8"),
        (lambda: ResNet(18, width=0.001), "width must leave at least one of 64 channels"),
        (lambda: CifarResNet(8, width=float("nan")), "width must leave at least one of 16"),
        (lambda: ResNet(18, stem="tiny"), "stem must be one of 'imagenet', 'cifar'; got 'tiny'"),
        (lambda: ResNet(18, init="he"), "init must be one of 'fan_in', 'fan_out'; got 'he'"),
        (lambda: CifarResNet(8, version="1.6"), "version must be one of"),
        (lambda: CifarResNet(8, False, zero_gamma=True), "zero_gamma needs shortcuts"),
        (lambda: ResNet(18, 0, width=0.125), "num_classes must be at least 1; got 0"),
        (lambda: CifarResNet(8, num_classes=-1), "num_classes must be at least 1; got -1"),
        (lambda: CifarResNet(8, in_channels=0), "in_channels must be at least 1; got 0"),
    ],
)
def test_bad_input_is_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_stem_is_a_name_or_a_module():
    with pytest.raises(TypeError, match="stem must be 'imagenet', 'cifar' or a module; got None"):
        ResNet(18, width=0.125, stem=None)


def test_version_2_head_normalises_first():
    assert list(dict(classifier(4, 2, norm=True).named_children())) == [
        "norm",
        "activation",
        "pool",
        "flatten",
        "fc",
    ]
