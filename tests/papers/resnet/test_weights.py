"""Weights under other names; numerical parity with transformers' ResNet on copied weights."""

import pytest
import torch
from torch import nn

from quire.nn.residual import Conv
from quire.papers.resnet import (
    CifarResNet,
    ResNet,
    export_weights,
    fold,
    freeze_batch_norm,
    load_weights,
)
from quire.papers.resnet.weights import naming_of


def peer(layer_type, depths, *, width=0.125, first_stride=False, head=True):
    transformers = pytest.importorskip("transformers", reason="needs the extra `peers`")
    expansion = 4 if layer_type == "bottleneck" else 1
    config = transformers.ResNetConfig(
        embedding_size=round(64 * width),
        hidden_sizes=[round(64 * 2**k * width) * expansion for k in range(4)],
        depths=depths,
        layer_type=layer_type,
        downsample_in_bottleneck=first_stride,
        num_labels=7,
    )
    torch.manual_seed(0)
    kind = transformers.ResNetForImageClassification if head else transformers.ResNetModel
    model = kind(config)
    with torch.no_grad():
        model.train()
        for _ in range(2):  # statistics other than 0 and 1
            model(torch.randn(4, 3, 48, 48))
    return model.eval()


CASES = [
    (18, "basic", [2, 2, 2, 2], "1"),
    (34, "basic", [3, 4, 6, 3], "1"),
    (50, "bottleneck", [3, 4, 6, 3], "1"),
    (50, "bottleneck", [3, 4, 6, 3], "1.5"),
]


@pytest.mark.parametrize(("depth", "layer_type", "depths", "version"), CASES)
def test_outputs_and_gradients_equal_transformers(depth, layer_type, depths, version):
    theirs = peer(layer_type, depths, first_stride=version == "1")
    net = ResNet(depth, 7, width=0.125, version=version)
    ours = load_weights(net, theirs.state_dict(), version=version).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x).logits, atol=1e-5, rtol=1e-4)
    features = theirs.resnet(x, output_hidden_states=True).hidden_states[1:]
    for mine, other in zip(ours.features(x), features, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    ours.train()(x).square().sum().backward()
    theirs.train()(x).logits.square().sum().backward()
    one = ours.stem[0].conv.weight.grad
    two = theirs.resnet.embedder.embedder.convolution.weight.grad
    torch.testing.assert_close(one, two, atol=1e-4 * two.abs().max().item(), rtol=1e-3)


def test_body_without_classifier_loads_and_leaves_fc_alone():
    theirs = peer("basic", [2, 2, 2, 2], head=False)
    ours = ResNet(18, 7, width=0.125)
    fc = ours.head.fc.weight.clone()
    load_weights(ours, theirs.state_dict())
    assert torch.equal(ours.head.fc.weight, fc)
    x = torch.randn(2, 3, 64, 64)
    expected = theirs(x).last_hidden_state
    torch.testing.assert_close(ours.eval().features(x)[-1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("naming", ["transformers", "torchvision"])
@pytest.mark.parametrize("depth", [18, 50])
def test_round_trip_keeps_every_tensor(depth, naming):
    one, two = (ResNet(depth, 5, width=0.125, version="1.5") for _ in range(2))
    one(torch.randn(2, 3, 32, 32))
    exported = export_weights(one, naming)
    assert len(exported) == len(one.state_dict())
    assert naming_of(exported) == naming
    load_weights(two, exported)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_torchvision_names_are_the_known_ones():
    names = export_weights(ResNet(50, width=0.125, version="1.5"))
    for name in (
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer3.5.conv3.weight",
        "layer4.2.bn3.num_batches_tracked",
        "fc.bias",
    ):
        assert name in names
    assert len(names) == 320


@pytest.mark.parametrize("naming", ["transformers", "torchvision"])
def test_weights_of_another_version_are_refused_unless_it_is_said(naming):
    old, new = ResNet(50, 5, width=0.125), ResNet(50, 5, width=0.125, version="1.5")
    state = export_weights(new, naming)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    for act in (lambda: load_weights(old, state), lambda: export_weights(old, naming)):
        with pytest.raises(ValueError, match=r'make the net with ResNet\(50, version="1\.5"\)'):
            act()
    with pytest.raises(ValueError, match=r"weights of version '1' need .* of version '1\.5'"):
        load_weights(new, state, version="1")
    with pytest.raises(ValueError, match=r"weights of version '1\.5' need .* of version '1'"):
        load_weights(old, state, version="1.5")
    with pytest.raises(ValueError, match=r"version must be one of '1', '1\.5'; got '2'"):
        load_weights(old, state, version="2")
    assert all(torch.equal(value, before[name]) for name, value in old.state_dict().items())
    assert torch.equal(load_weights(old, state, version="1").head.fc.bias, new.head.fc.bias)
    assert export_weights(old, naming, version="1").keys() == state.keys()


def test_basic_blocks_are_the_same_net_in_both_versions():
    state = export_weights(ResNet(18, 5, width=0.125))
    for version in ("1", "1.5"):
        net = load_weights(ResNet(18, 5, width=0.125, version=version), state, version="1.5")
        assert all(torch.equal(value, state[name]) for name, value in export_weights(net).items())


@pytest.mark.parametrize("naming", ["transformers", "torchvision"])
def test_weights_for_other_classes_load_without_the_head(naming):
    state = export_weights(ResNet(18, 9, width=0.125), naming)
    net = ResNet(18, 5, width=0.125)
    fc = net.head.fc.weight.clone()
    with pytest.raises(ValueError, match=r"shape \(5, 64\); got \(9, 64\); head=False keeps"):
        load_weights(net, state)
    load_weights(net, state, head=False)
    assert torch.equal(net.head.fc.weight, fc)
    first = (
        "conv1.weight" if naming == "torchvision" else "resnet.embedder.embedder.convolution.weight"
    )
    assert torch.equal(net.stem[0].conv.weight, state[first])
    net.head.fc = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(
        ValueError, match=r"no 'head\.fc\.weight' for tensor .*: head=False leaves it"
    ):
        load_weights(net, state)
    load_weights(net, state, head=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNet(18, width=0.125, shortcut="A"),
        lambda: ResNet(18, width=0.125, shortcut="C"),
        lambda: ResNet(18, width=0.125, shortcut="none"),
        lambda: ResNet(18, width=0.125, shortcut=lambda i, o, s: nn.Conv2d(i, o, 1, stride=s)),
        lambda: ResNet(18, width=0.125, stem=nn.Sequential(Conv(3, 8), nn.MaxPool2d(2))),
        lambda: ResNet(18, width=0.125, stem=nn.Sequential(nn.Conv2d(3, 8, 3))),
        lambda: CifarResNet(50, width=0.125),
        lambda: fold(ResNet(18, width=0.125)),
        lambda: freeze_batch_norm(ResNet(18, width=0.125)),
    ],
)
def test_nets_that_the_other_library_cannot_hold_neither_go_out_nor_in(make):
    net = make()
    with pytest.raises(ValueError, match="foreign weights"):
        export_weights(net)
    with pytest.raises(ValueError, match="foreign weights"):
        load_weights(net, export_weights(ResNet(18, width=0.125)))


def broken(change):
    state = export_weights(ResNet(18, 5, width=0.125))
    change(state)
    return lambda: load_weights(ResNet(18, 5, width=0.125), state)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (broken(lambda s: s.pop("layer2.0.conv1.weight")), "'layer2.0.conv1.weight' is missing"),
        (
            broken(lambda s: s.update({"bn1.bias": torch.zeros(3)})),
            r"'bn1.bias' must have shape \(8,\); got \(3,\)",
        ),
        (broken(lambda s: s.update(extra=torch.zeros(1))), "'extra' has no place"),
        (lambda: load_weights(ResNet(18, width=0.125), {"a": torch.zeros(1)}), "must have transf"),
        (broken(lambda s: s.update({"fc.bias": torch.zeros(5, device="meta")})), "has no storage"),
        (broken(lambda s: s.update({"fc.bias": torch.zeros(5).long()})), "must hold torch.float32"),
        (lambda: load_weights(ResNet(18, width=0.125), {}), "got nothing"),
        (lambda: export_weights(ResNet(18, width=0.125, version="2")), "only a ResNet of version"),
        (lambda: export_weights(ResNet(18, width=0.125, stem="cifar")), "only a ResNet of version"),
        (lambda: export_weights(ResNet(18, width=0.125), "timm"), "naming must be one of"),
    ],
)
def test_bad_weights_are_one_clear_line(act, message):
    with pytest.raises(ValueError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            broken(lambda s: s.update({"fc.bias": [0.0] * 5})),
            "'fc.bias' must be a tensor; got list",
        ),
        (
            lambda: load_weights(ResNet(18, width=0.125), [1]),
            "state must be a state dict.*got list",
        ),
        (lambda: export_weights(nn.Linear(1, 1)), "net must be a ResNet; got Linear"),
    ],
)
def test_what_is_no_weight_is_one_clear_line(act, message):
    with pytest.raises(TypeError, match=message):
        act()


def test_a_net_without_storage_takes_no_weights():
    with torch.device("meta"):
        net = ResNet(18, 5, width=0.125)
    with pytest.raises(ValueError, match="has no storage"):
        load_weights(net, export_weights(ResNet(18, 5, width=0.125)))


def test_a_failed_load_changes_nothing():
    net = ResNet(18, 5, width=0.125)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = export_weights(ResNet(18, 5, width=0.125))
    del state["fc.bias"]
    with pytest.raises(ValueError, match="missing"):
        load_weights(net, state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_without_counters_load():
    state = export_weights(ResNet(18, 5, width=0.125))
    old = {name: value for name, value in state.items() if "num_batches" not in name}
    net = load_weights(ResNet(18, 5, width=0.125), old)
    assert torch.equal(net.stem[0].conv.weight, state["conv1.weight"])
    assert not isinstance(net, CifarResNet)
