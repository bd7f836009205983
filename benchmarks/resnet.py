"""Races of ResNet-20 on 32x32 images: training against plain eager PyTorch and against
transformers' ResNet, and inference with folded normalisation; inference of ResNet-50 at 224 pixels
against transformers' ResNet-50.

Every race begins with a parity test; where it fails, no time is reported. Both sides of a training
race crop and mirror the same minibatches with the same function, so they differ in what is named.
Run it with `quire bench resnet`, or alone: `python benchmarks/resnet.py`.
"""

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire import data
from quire.lab.bench import compare
from quire.lab.device import pick_precision
from quire.lab.training import update
from quire.papers.resnet import CifarResNet, ResNet, fold, load_weights
from quire.papers.resnet.experiments.images import Part
from quire.papers.resnet.experiments.learner import channels_last, net_channels_last, sgd
from quire.papers.resnet.experiments.scenes import draw

BATCH, LARGE_BATCH, IMAGES, LOSS_STEPS, LR = 128, 8, 2048, 40, 0.02
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = pick_precision("auto", DEVICE) == "bfloat16"


def main() -> dict[str, Any]:
    """All races."""
    part = images()
    return {
        "races": [
            against_eager(part, half=HALF),
            against_eager(part, half=False),
            against_transformers(part),
            inference(part),
            inference_at_224(),
        ]
    }


def images() -> Part:
    """Drawn shapes as uint8 on the device: CIFAR-10's size, without a download."""
    scenes = draw(IMAGES, 32, torch.Generator().manual_seed(0))
    pixels = (128 + 40 * scenes.image).clamp(0, 255).to(torch.uint8)
    return Part(pixels.to(DEVICE), scenes.label[:, 0].to(DEVICE))


class Trainer:
    """Training steps of one side. `fast` is the experiments' path, else torch as it comes."""

    def __init__(self, net: nn.Module, part: Part, *, fast: bool, half: bool = False) -> None:
        self.net = net_channels_last(net).train() if fast else net.train()
        self.part, self.fast, self.half = part, fast, half
        self.optimizer = (
            sgd(net, LR)
            if fast
            else torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
        )
        self.step = 0

    def scores(self, image: Tensor) -> Tensor:
        """Class scores, whatever the library wraps them in."""
        output = self.net(channels_last(image) if self.fast else image)
        return output if isinstance(output, Tensor) else output.logits

    def __call__(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.step)
        rows = torch.randint(IMAGES, (BATCH,), generator=generator).to(DEVICE)
        image = (self.part.image[rows].float() - 128) / 64
        image = data.random_crop_flip(image, generator)
        autocast = torch.autocast(DEVICE.type, torch.bfloat16)
        with autocast if self.half else contextlib.nullcontext():
            loss = F.cross_entropy(self.scores(image), self.part.label[rows])
        update(loss, self.net, self.optimizer)
        self.step += 1
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return loss.detach()


def against_eager(part: Part, *, half: bool) -> dict[str, Any]:
    """The same net: channels last (and bfloat16), grouped SGD, against NCHW float32 defaults."""
    torch.manual_seed(0)
    net = CifarResNet(20).to(DEVICE)
    sides = {
        "ours": lambda: Trainer(copy.deepcopy(net), part, fast=True, half=half),
        "peer": lambda: Trainer(copy.deepcopy(net), part, fast=False),
    }
    ours = "channels_last bfloat16" if half else "channels_last float32"
    return training_race(f"training, {ours} against plain eager NCHW float32", sides, part)


def against_transformers(part: Part) -> dict[str, Any]:
    """transformers' ResNet with basic blocks of 16, 32 and 64 channels, as far as it allows.

    Its configuration has no 3x3 stem without pooling and no option A: the stem is replaced by its
    own 3x3 layer, and both sides use option B, which makes them the same function.
    """
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.resnet.modeling_resnet import ResNetConvLayer

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[3, 3, 3],
        layer_type="basic",
        num_labels=10,
    )
    theirs = ResNetForImageClassification(config)
    theirs.resnet.embedder.embedder = ResNetConvLayer(3, 16, kernel_size=3, stride=1)
    theirs.resnet.embedder.pooler = nn.Identity()
    ours = CifarResNet(20, shortcut="B")
    ours.load_state_dict({our_name(name): value for name, value in theirs.state_dict().items()})
    sides = {
        "ours": lambda: Trainer(copy.deepcopy(ours).to(DEVICE), part, fast=True, half=HALF),
        "peer": lambda: Trainer(copy.deepcopy(theirs).to(DEVICE), part, fast=False),
    }
    return training_race("training, against transformers' ResNet in float32", sides, part)


def our_name(theirs: str) -> str:
    """Our name of one of transformers' tensors."""
    for old, new in (
        ("resnet.embedder.embedder", "stem"),
        ("resnet.encoder.stages", "stages"),
        (".layers.", "."),
        (".layer.", ".body."),
        (".shortcut.", ".shortcut.projection."),
        (".convolution.", ".conv."),
        (".normalization.", ".norm."),
        ("classifier.1", "head.fc"),
    ):
        theirs = theirs.replace(old, new)
    return theirs


def training_race(name: str, sides: dict[str, Callable[[], Trainer]], part: Part) -> dict[str, Any]:
    """Equal outputs in float32 first, then losses over the same minibatches, then the clock."""
    sample = (part.image[:32].float() - 128) / 64
    with torch.no_grad():
        answers = [make().scores(sample) for make in sides.values()]
    difference = float((answers[0] - answers[1]).abs().max())
    result: dict[str, Any] = {
        "name": f"ResNet-20, batch {BATCH}: {name}",
        "unit": "images/s",
        "goal": 1.0,
        "parity": difference <= 1e-4,
        "parity_test": f"outputs in float32 on copied weights: differ by {difference:.1e} at most",
    }
    if not result["parity"]:
        return result
    result["losses"] = {side: final_loss(make()) for side, make in sides.items()}
    contestants: dict[str, Callable[[], object]] = {k: make() for k, make in sides.items()}
    return result | compare(contestants, BATCH)


def final_loss(trainer: Trainer) -> float:
    """Mean loss of the last ten of the first training steps: both sides see the same images."""
    losses = [float(trainer()) for _ in range(LOSS_STEPS)]
    return sum(losses[-10:]) / 10


def inference(part: Part) -> dict[str, Any]:
    """Folded, channels last against the net as it was trained, NCHW; both float32."""
    torch.manual_seed(0)
    trainer = Trainer(CifarResNet(20).to(DEVICE), part, fast=False)
    for _ in range(LOSS_STEPS // 2):
        trainer()
    net = trainer.net.eval()
    fast = net_channels_last(fold(net))
    image = (part.image[:BATCH].float() - 128) / 64
    inner = channels_last(image)
    with torch.no_grad():
        difference = float((fast(inner) - net(image)).abs().max())
    result: dict[str, Any] = {
        "name": f"ResNet-20, batch {BATCH}: inference, folded channels_last against eager NCHW",
        "unit": "images/s",
        "goal": 1.0,
        "parity": difference <= 1e-3,
        "parity_test": f"outputs differ by {difference:.1e} at most",
    }
    if not result["parity"]:
        return result
    return result | compare({"ours": caller(fast, inner), "peer": caller(net, image)}, BATCH)


def inference_at_224() -> dict[str, Any]:
    """ResNet-50 as transformers publishes it, of version 1.5, on copied weights; both float32."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    theirs = ResNetForImageClassification(ResNetConfig(num_labels=1000)).to(DEVICE)
    image = torch.randn(LARGE_BATCH, 3, 224, 224, device=DEVICE)
    with torch.no_grad():
        theirs.train()(image)  # statistics other than 0 and 1
    net = ResNet(50, version="1.5").to(DEVICE)
    fast = net_channels_last(fold(load_weights(net, theirs.eval().state_dict())))
    inner = channels_last(image)
    with torch.no_grad():
        expected = theirs(image).logits
        difference = float((fast(inner) - expected).abs().max() / expected.abs().max())
    result: dict[str, Any] = {
        "name": f"ResNet-50 at 224, batch {LARGE_BATCH}: inference, folded channels_last, against "
        "transformers' ResNet-50",
        "unit": "images/s",
        "goal": 1.0,
        "parity": difference <= 1e-3,
        "parity_test": f"outputs differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result
    sides = {"ours": caller(fast, inner), "peer": caller(theirs, image)}
    return result | compare(sides, LARGE_BATCH)


def caller(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """A call of `model` without gradients that waits for the scores."""

    def call() -> object:
        with torch.inference_mode():
            output = model(x)
            return float((output if isinstance(output, Tensor) else output.logits).sum())

    return call


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
