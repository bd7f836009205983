"""Weights from elsewhere, under transformers' or torchvision's names for a ResNet's tensors.

Every tensor is mapped and checked; nothing is left over silently.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from quire.nn.residual import Bottleneck, Conv, ResidualNet, Shortcut, Version, accepted
from quire.papers.resnet.resnet import ResNet

Naming = Literal["transformers", "torchvision"]
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def foreign_names(net: ResNet, naming: Naming) -> dict[str, str]:
    """Name of each tensor of `net` -> its name in the other library.

    Raises ValueError for a net that the other library cannot hold: version 2, a stem that is not
    ImageNet's, shortcuts other than option B, normalisations folded or frozen; TypeError for what
    is no ResNet.
    """
    accepted("naming", naming, Naming)
    if not isinstance(net, ResidualNet):
        raise TypeError(f"net must be a ResNet; got {type(net).__name__}")
    if not isinstance(net, ResNet) or net.version == "2" or not _has_imagenets_stem(net):
        raise ValueError(
            'only a ResNet of version "1" or "1.5" with the "imagenet" stem has foreign weights'
        )
    for name, block in net.blocks().items():
        shortcut = block.shortcut
        if not (isinstance(shortcut, Shortcut) and shortcut.kind == "B"):
            raise ValueError(
                'only a ResNet with shortcut="B" has foreign weights; that of block '
                f"{name!r} is another"
            )
    if any(isinstance(m, Conv) and not isinstance(m.norm, nn.BatchNorm2d) for m in net.modules()):
        raise ValueError(
            "foreign weights need every normalisation as it was trained; this net has been folded "
            "or frozen"
        )
    # Our name -> theirs, the linear layer first, then the stem and every block.
    names = {"head.fc.weight": "", "head.fc.bias": ""}
    hugging = naming == "transformers"
    for name in names:
        names[name] = name.replace("head.fc", "classifier.1" if hugging else "fc")
    stem = ("resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization")
    _add(names, "stem.0", *(stem if hugging else ("conv1", "bn1")))
    for name, block in net.blocks().items():
        stage, position = map(int, re.findall(r"\d+", name))
        theirs = (
            f"resnet.encoder.stages.{stage}.layers.{position}"
            if hugging
            else f"layer{stage + 1}.{position}"
        )
        for index in range(len(block.body)):
            layer = f"{theirs}.layer.{index}"
            pair = (f"{layer}.convolution", f"{layer}.normalization")
            other = (f"{theirs}.conv{index + 1}", f"{theirs}.bn{index + 1}")
            _add(names, f"{name}.body.{index}", *(pair if hugging else other))
        if getattr(block.shortcut, "projects", False):
            pair = (f"{theirs}.shortcut.convolution", f"{theirs}.shortcut.normalization")
            other = (f"{theirs}.downsample.0", f"{theirs}.downsample.1")
            _add(names, f"{name}.shortcut.projection", *(pair if hugging else other))
    return names


def _has_imagenets_stem(net: ResNet) -> bool:
    first = net.stem[0] if isinstance(net.stem, nn.Sequential) and len(net.stem) == 2 else None
    return isinstance(first, Conv) and first.conv.kernel_size == (7, 7) and first.conv.bias is None


def _add(names: dict[str, str], ours: str, convolution: str, norm: str) -> None:
    names[f"{ours}.conv.weight"] = f"{convolution}.weight"
    for field in _NORM:
        names[f"{ours}.norm.{field}"] = f"{norm}.{field}"


def naming_of(state: Mapping[str, Tensor]) -> Naming:
    """Which library's names a state dict has. Raises ValueError for neither."""
    if any(str(name).startswith(("resnet.embedder.", "embedder.")) for name in state):
        return "transformers"
    if "conv1.weight" in state:
        return "torchvision"
    found = ", ".join(map(str, list(state)[:3])) or "nothing"
    raise ValueError(
        "the weights must have transformers' names (resnet.embedder...) or torchvision's "
        "(conv1.weight, layer1...), without a prefix and not inside a checkpoint; "
        f"got {found}"
    )


def check_version(net: ResNet, version: Version | None) -> None:
    """Raises ValueError where bottlenecks may stride elsewhere than in the net of the weights.

    Args:
        net: Takes or gives the weights.
        version: Of the other side's net, or None where nobody has said it.
    """
    if version is not None:
        accepted("version", version, Literal["1", "1.5"])
    if not any(isinstance(block, Bottleneck) for block in net.blocks().values()):
        return  # Basic blocks stride in one place alone: both versions are the same net.
    if version is None and net.version == "1":
        raise ValueError(
            "weights cannot tell where a bottleneck strides, and torchvision's and transformers' "
            f'stride as version "1.5" does: make the net with ResNet({net.depth}, version="1.5"), '
            'or say version="1" if the other net is of version 1'
        )
    if version is not None and version != net.version:
        raise ValueError(
            f'weights of version {version!r} need ResNet({net.depth}, version="{version}"); '
            f"got a net of version {net.version!r}"
        )


@torch.no_grad()
def load_weights(
    net: ResNet, state: Mapping[str, Tensor], *, version: Version | None = None, head: bool = True
) -> ResNet:
    """Copies a state dict with transformers' or torchvision's names into `net`, and returns it.

    Versions 1 and 1.5 have the same tensors and are different functions, so a bottleneck net must
    be of version "1.5", as torchvision's and transformers' are, unless `version` says otherwise.

    Args:
        net: Has the depth, width and shortcuts that the weights were made for.
        state: Of a ResNetModel (no classifier: `fc` then stays as it is), of a
            ResNetForImageClassification, or of one of torchvision's.
        version: Of the net that the weights are from, where that is known: "1" for the authors'
            release and for transformers' with `downsample_in_bottleneck`, else "1.5".
        head: False leaves the linear layer as it is, to train it on other classes.

    Raises ValueError naming the first tensor that is missing, misshapen or left over, or for
    another version, TypeError for what is no state dict; the net is then as it was.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a state dict, as torch.load(path, weights_only=True) gives it; "
            f"got {type(state).__name__}"
        )
    naming = naming_of(state)
    if naming == "transformers" and any(name.startswith("embedder.") for name in state):
        state = {f"resnet.{name}": tensor for name, tensor in state.items()}
    heads = ("classifier.", "fc.")
    if not head:
        state = {name: value for name, value in state.items() if not name.startswith(heads)}
    names = foreign_names(net, naming)
    check_version(net, version)
    own = net.state_dict()
    _check_tensors(state, names, own, depth=net.depth)
    for ours, theirs in names.items():
        if theirs in state:
            own[ours].copy_(state[theirs])
    return net


def _check_tensors(
    state: Mapping[str, Tensor], names: dict[str, str], own: Mapping[str, Tensor], *, depth: int
) -> None:
    """All is checked before anything is copied: a net is never left half loaded."""
    has_head = any(name.startswith(("classifier.", "fc.")) for name in state)
    for ours, theirs in names.items():
        optional = theirs.endswith("num_batches_tracked") or (not has_head and "head." in ours)
        if theirs not in state:
            if optional:
                continue
            raise ValueError(f"tensor {theirs!r} is missing: is this a ResNet-{depth}?")
        value = state[theirs]
        if ours not in own:
            raise ValueError(
                f"this net has no {ours!r} for tensor {theirs!r}: head=False leaves it"
            )
        if not isinstance(value, Tensor):
            raise TypeError(f"{theirs!r} must be a tensor; got {type(value).__name__}")
        if value.is_meta or own[ours].is_meta:
            raise ValueError(f"tensor {theirs!r} has no storage: neither side may be on `meta`")
        if value.is_complex() or value.is_floating_point() != own[ours].is_floating_point():
            raise ValueError(f"tensor {theirs!r} must hold {own[ours].dtype}; got {value.dtype}")
        if value.shape != own[ours].shape:
            advice = "; head=False keeps this net's own linear layer" if "head." in ours else ""
            raise ValueError(
                f"tensor {theirs!r} must have shape {tuple(own[ours].shape)}; "
                f"got {tuple(value.shape)}{advice}"
            )
    left = sorted(set(state) - set(names.values()))
    if left:
        raise ValueError(f"tensor {left[0]!r} has no place in this ResNet-{depth}")
    unmapped = sorted(name for name in set(own) - set(names) if not name.startswith("head."))
    if unmapped:
        raise ValueError(f"tensor {unmapped[0]!r} of this net has no name in the other library")


def export_weights(
    net: ResNet, naming: Naming = "torchvision", *, version: Version | None = None
) -> dict[str, Tensor]:
    """The net's state dict under the other library's names (copies).

    Args:
        net: Of a form that the other library has.
        naming: Whose names the tensors get.
        version: Of the net that shall load them. Bottlenecks of version "1" go out only where this
            says "1": torchvision has none, transformers' need `downsample_in_bottleneck`.

    Raises ValueError as `foreign_names`, or for another version.
    """
    names = foreign_names(net, naming)
    check_version(net, version)
    own = net.state_dict()
    if own.keys() != names.keys():
        other = min(own.keys() ^ names.keys())
        raise ValueError(f"tensor {other!r} is not what a ResNet of this form has")
    return {theirs: own[ours].clone() for ours, theirs in names.items()}
