"""Races of supermasks in superposition: naming the tasks of single images, and training masks.

The peer of inference is the dense stack written out, as the published adaptor works: for every
image the masks of all tasks are weighted and summed, and autograd gives the gradient of every
weight. The peer of training is one mask after the other. Each race begins with a parity test; where
it fails, no time is reported. Run it with `quire bench supsup`, or alone: `python
benchmarks/supsup.py`.
"""

import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quire.lab.bench import compare
from quire.papers.supsup import (
    MaskBank,
    Supermask,
    entropy,
    find_slopes,
    make_mlp,
    measure_loss,
)

TASKS, OUTPUTS, PIXELS = 250, 100, 784
OURS, THEIRS = 256, 2
"""Images a call: the peer's costs the same for each, so that two are enough to time it."""
TOGETHER, BATCH = 10, 128


def main() -> dict[str, Any]:
    """All races."""
    return {"races": [inference_race(), training_race()]}


def inference_race() -> dict[str, Any]:
    """One-Shot over 250 masks of LeNet 300-100, images one by one."""
    torch.manual_seed(0)
    bank = MaskBank(make_mlp(PIXELS, OUTPUTS))
    for begin in range(0, TASKS, 50):
        bank.add(bank.new(tasks=50, generator=torch.Generator().manual_seed(begin)))
    x = torch.randn(OURS, 1, PIXELS)
    shapes = bank.net.shapes
    sizes = bank.net.sizes
    weights = [w.view(s) for w, s in zip(bank.net.weights.split(sizes), shapes, strict=True)]
    # What the published adaptor caches: a float for every weight of every task.
    masks = bank.take(torch.arange(TASKS)) / bank.net.weights
    stacks = [m.view(TASKS, *s) for m, s in zip(masks.split(sizes, 1), shapes, strict=True)]

    def name_by_stack(image: Tensor) -> Tensor:
        alphas = torch.full((TASKS, 1, 1), 1 / TASKS, requires_grad=True)
        h = image
        for number, (weight, stack) in enumerate(zip(weights, stacks, strict=True)):
            h = F.linear(h if number == 0 else F.relu(h), weight * (alphas * stack).sum(0))
        (slope,) = torch.autograd.grad(entropy(h), alphas)
        return slope.flatten()

    def ours() -> Tensor:
        return find_slopes(bank, x, entropy)

    def peer() -> Tensor:
        return torch.stack([name_by_stack(image) for image in x[:THEIRS]])

    slow, quick = peer(), ours()[:THEIRS]
    difference = float((slow - quick).abs().max() / slow.abs().max())
    result = {
        "name": f"One-Shot of single images over {TASKS} masks of LeNet 300-100, against the stack",
        "unit": "images/s",
        "goal": 20.0,
        "parity": difference <= 1e-3,
        "parity_test": f"gradients differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result
    # Each call's work counts in images: ours names 256, the peer two.
    timed = compare({"ours": ours, "peer": peer}, 1, repeats=5)
    for name, images in (("ours", OURS), ("peer", THEIRS)):
        timed[name] = {key: value * images for key, value in timed[name].items()}
    timed["ratio"] = timed["ours"]["median"] / timed["peer"]["median"]
    return result | timed


def training_race() -> dict[str, Any]:
    """A step of ten masks together by vmap, against ten steps of one."""
    torch.manual_seed(0)
    bank = MaskBank(make_mlp(PIXELS, OUTPUTS))
    together = bank.new(tasks=TOGETHER)
    alone = [bank.new(scores=scores) for scores in together.scores.detach()]
    x, label = torch.randn(TOGETHER, BATCH, PIXELS), torch.randint(10, (TOGETHER, BATCH))

    def step(mask: Supermask, images: Tensor, labels: Tensor) -> None:
        mask.zero_grad()
        measure_loss(mask(images), labels).backward()

    def ours() -> None:
        step(together, x, label)

    def peer() -> None:
        for mask, images, labels in zip(alone, x, label, strict=True):
            step(mask, images, labels)

    ours(), peer()
    assert together.scores.grad is not None
    slopes = torch.stack([m.scores.grad for m in alone if m.scores.grad is not None])
    difference = float((together.scores.grad - slopes).abs().max() / slopes.abs().max())
    result = {
        "name": f"a step of {TOGETHER} masks of LeNet 300-100, batch {BATCH}, against one by one",
        "unit": "masks/s",
        "goal": 1.0,
        "parity": difference <= 1e-3,
        "parity_test": f"gradients differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result
    return result | compare({"ours": ours, "peer": peer}, TOGETHER, repeats=9)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
