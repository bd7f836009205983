"""Weights from elsewhere, under transformers' or torchvision's names for a ResNet's tensors.

Every tensor is mapped and checked; nothing is left over silently.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from quire.nn.residual import accepted
from quire.papers.resnet.resnet import LAYOUTS, ResNet

Naming = Literal["transformers", "torchvision"]
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def foreign_names(net: ResNet, naming: Naming) -> dict[str, str]:
    """Name of each tensor of `net` -> its name in the other library.

    Raises ValueError for a net that the other library cannot hold: version 2, a stem that is not
    ImageNet's, or shortcuts without projections.
    """
    accepted("naming", naming, Naming)
    stem_is_imagenet = isinstance(net.stem, nn.Sequential)
    if net.version == "2" or not stem_is_imagenet or net.depth not in LAYOUTS:
        raise ValueError(
            'only a ResNet of version "1" or "1.5" with the "imagenet" stem has foreign weights'
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


def _add(names: dict[str, str], ours: str, convolution: str, norm: str) -> None:
    names[f"{ours}.conv.weight"] = f"{convolution}.weight"
    for field in _NORM:
        names[f"{ours}.norm.{field}"] = f"{norm}.{field}"


def naming_of(state: Mapping[str, Tensor]) -> Naming:
    """Which library's names a state dict has. Raises ValueError for neither."""
    if any(name.startswith(("resnet.embedder.", "embedder.")) for name in state):
        return "transformers"
    if "conv1.weight" in state:
        return "torchvision"
    found = ", ".join(list(state)[:3]) or "nothing"
    raise ValueError(
        "the weights must have transformers' names (resnet.embedder...) or torchvision's "
        f"(conv1.weight, layer1...); got {found}"
    )


@torch.no_grad()
def load_weights(net: ResNet, state: Mapping[str, Tensor]) -> ResNet:
    """Copies a state dict with transformers' or torchvision's names into `net`, and returns it.

    `state` may come from a ResNetModel (no classifier: `fc` then stays as it is) or from a
    ResNetForImageClassification. torchvision's ResNet-50 and deeper are version "1.5".
    Raises ValueError naming the first tensor that is missing, misshapen or left over, TypeError for
    what is no state dict.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a state dict, as torch.load(path, weights_only=True) gives it; "
            f"got {type(state).__name__}"
        )
    naming = naming_of(state)
    if naming == "transformers" and any(name.startswith("embedder.") for name in state):
        state = {f"resnet.{name}": tensor for name, tensor in state.items()}
    has_head = any(name.startswith(("classifier.", "fc.")) for name in state)
    names = foreign_names(net, naming)
    own = net.state_dict()
    for ours, theirs in names.items():
        optional = theirs.endswith("num_batches_tracked") or (not has_head and "head." in ours)
        if theirs not in state:
            if optional:
                continue
            raise ValueError(f"tensor {theirs!r} is missing: is this a ResNet-{net.depth}?")
        if state[theirs].shape != own[ours].shape:
            raise ValueError(
                f"tensor {theirs!r} must have shape {tuple(own[ours].shape)}; "
                f"got {tuple(state[theirs].shape)}"
            )
    # All is checked before anything is copied: a net is never left half loaded.
    left = sorted(set(state) - set(names.values()))
    if left:
        raise ValueError(f"tensor {left[0]!r} has no place in this ResNet-{net.depth}")
    unmapped = set(own) - set(names)
    if unmapped:
        raise ValueError(f"tensor {min(unmapped)!r} of this net has no name in {naming}")
    for ours, theirs in names.items():
        if theirs in state:
            own[ours].copy_(state[theirs])
    return net


def export_weights(net: ResNet, naming: Naming = "torchvision") -> dict[str, Tensor]:
    """The net's state dict under the other library's names (copies)."""
    own = net.state_dict()
    return {theirs: own[ours].clone() for ours, theirs in foreign_names(net, naming).items()}
