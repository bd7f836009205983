"""Races of Slot Attention: the module against the PyPI package `slot-attention`, and scenes.

The race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
slot_attention`, or alone: `python benchmarks/slot_attention.py`.
"""

import json
import time
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare, load_alone
from quire.papers.slot_attention import Solids, Sprites, Tetrominoes, draw, from_package

BATCH, INPUTS, SLOTS, DIM, HIDDEN = 64, 1024, 7, 64, 128
"""The paper's set prediction: 32 x 32 places; three rounds."""
SCENES = 16


def main() -> dict[str, Any]:
    """The race, and how many scenes a second are made."""
    return {"races": [module_race()], "scenes": measure_scenes()}


def module_race() -> dict[str, Any]:
    """Forward and backward passes, gradients of inputs included; both eager, as they come."""
    torch.manual_seed(0)
    # By itself: the package's other modules need further packages.
    package = load_alone("slot-attention", "slot_attention.slot_attention")
    peer: nn.Module = package.SlotAttention(SLOTS, DIM, hidden_dim=HIDDEN)
    ours = from_package(peer)
    x = torch.randn(BATCH, INPUTS, DIM, requires_grad=True)
    outputs, gradients = [], []
    for module in (ours, peer):
        torch.manual_seed(1)
        output = pass_both(module, x)
        outputs.append(output)
        assert x.grad is not None
        gradients.append(x.grad.clone())
    difference = float((outputs[0] - outputs[1]).abs().max())
    apart = float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
    result: dict[str, Any] = {
        "name": "batch 64, 1024 inputs, 7 slots of 64, 3 rounds, against slot-attention",
        "unit": "forward and backward passes/s",
        "goal": 1.3,
        "parity": difference <= 1e-4 and apart <= 1e-3,
        "parity_test": f"on copied weights slots differ by {difference:.1e} at most, "
        f"gradients of inputs by {apart:.1e} of the largest",
    }
    if not result["parity"]:
        return result
    contestants = {"ours": lambda: pass_both(ours, x), "peer": lambda: pass_both(peer, x)}
    return result | compare(contestants, 1, repeats=15)


def pass_both(module: nn.Module, x: Tensor) -> Tensor:
    """Slots of x after a forward and a backward pass, which leaves a gradient on x."""
    x.grad = None
    module.zero_grad()
    found = module(x)
    slots: Tensor = found[0] if isinstance(found, tuple) else found
    slots.square().mean().backward()
    return slots.detach()


def measure_scenes() -> dict[str, float]:
    """Scenes a second of each maker at its own size, the best of three calls."""
    makers = {
        "tetrominoes, 35 x 35": Tetrominoes(),
        "tetrominoes, 12 x 12": Tetrominoes(12, 2, 2, 2),
        "sprites, 64 x 64": Sprites(),
        "sprites, 14 x 14": Sprites(14, 2, 3),
        "solids, 128 x 128": Solids(),
        "solids, 20 x 20": Solids(20, 1, 2),
    }
    rates = {}
    for name, maker in makers.items():
        draws = draw(SCENES, maker.most, torch.Generator().manual_seed(0))
        spent = []
        for _ in range(4):
            began = time.perf_counter()
            maker.render(draws)
            spent.append(time.perf_counter() - began)
        rates[name] = SCENES / min(spent[1:])
    return rates


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
