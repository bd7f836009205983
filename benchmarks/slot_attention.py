"""Races of Slot Attention: the module against the PyPI package `slot-attention`, and scenes.

The race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
slot_attention`, or alone: `python benchmarks/slot_attention.py`.
"""

import importlib.util
import json
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.slot_attention import SlotAttention, Solids, Sprites, Tetrominoes, draw

BATCH, INPUTS, SLOTS, DIM, HIDDEN = 64, 1024, 7, 64, 128
"""The paper's set prediction: 32 x 32 places; three rounds."""
SCENES = 16


def main() -> dict[str, Any]:
    """The race, and how many scenes a second are made."""
    return {"races": [module_race()], "scenes": measure_scenes()}


def module_race() -> dict[str, Any]:
    """Forward and backward passes, gradients of inputs included; both eager, as they come."""
    torch.manual_seed(0)
    peer = load_peer()
    ours = SlotAttention(SLOTS, DIM, hidden=HIDDEN, bias=True)
    copy_weights(peer, ours)
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


def load_peer() -> nn.Module:
    """The package's module by itself: its other modules need further packages."""
    # By the package's files, as this script has the package's name.
    try:
        found = distribution("slot-attention")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError("slot-attention is missing", name="slot_attention") from error
    path = Path(str(found.locate_file("slot_attention/slot_attention.py")))
    spec = importlib.util.spec_from_file_location("slot_attention_peer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    peer: nn.Module = module.SlotAttention(SLOTS, DIM, hidden_dim=HIDDEN)
    return peer


def copy_weights(peer: Any, ours: SlotAttention) -> None:
    """The package's weights into our module."""
    pairs = {
        "query": "to_q", "key": "to_k", "value": "to_v", "cell": "gru", "mlp": "mlp",
        "norm_inputs": "norm_input", "norm_slots": "norm_slots", "norm_mlp": "norm_pre_ff",
    }  # fmt: skip
    for name, other in pairs.items():
        getattr(ours, name).load_state_dict(getattr(peer, other).state_dict())
    with torch.no_grad():
        ours.start.mean.copy_(peer.slots_mu)
        ours.start.log_deviation.copy_(peer.slots_logsigma)


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
