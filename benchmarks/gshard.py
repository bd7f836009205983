"""Races of the mixture of experts: against the PyPI package `mixture-of-experts` on copied weights,
and against the dense layer with as many multiplications of a token, the gate counted.

Tutel is not on the package index and is not raced. The race begins with a parity test of outputs
and gradients; where it fails, no time is reported. Run it with `quire bench gshard`, or alone:
`python benchmarks/gshard.py`.
"""

import json
import time
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare, load_alone
from quire.papers.gshard import Dropless, Einsum, MixtureOfExperts, Top2

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
"""On a CPU one thread's own time, which other work on the machine disturbs less."""
GROUPS, TOKENS, DIM, HIDDEN = 1, 4096, 512, 512
"""One group of S = 4,096 tokens of width M = 512."""


def main() -> dict[str, Any]:
    """One race for 8 experts and one for 64, on one thread."""
    torch.set_num_threads(1)
    return {
        "races": [layer_race(experts) for experts in (8, 64)],
        "missing": "tutel: not on the package index",
    }


def layer_race(experts: int) -> dict[str, Any]:
    """Tokens a second, forward and backward, gradients of tokens included; all eager."""
    torch.manual_seed(0)
    package = load_alone("mixture-of-experts", "mixture_of_experts.mixture_of_experts")
    # Its capacity is factor * S / E for both choices together, and ours factor * 2 S / E.
    peer = package.MoE(
        DIM, num_experts=experts, hidden_dim=HIDDEN, capacity_factor_train=2.0,
        second_policy_train="all",
    ).to(DEVICE)  # fmt: skip
    ours = MixtureOfExperts(DIM, HIDDEN, experts, router=Top2(second="all", minimum=4)).to(DEVICE)
    with torch.no_grad():
        peer.gate.w_gating.mul_(DIM**-0.5)
        ours.gate.weight.copy_(peer.gate.w_gating.T)
        inner, outer = ours.experts.parameters()
        inner.copy_(peer.experts.w1)
        outer.copy_(peer.experts.w2)
    x = torch.randn(GROUPS, TOKENS, DIM, device=DEVICE, requires_grad=True)
    outputs = [pass_both(ours, x), pass_both(peer, x)]
    apart = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*outputs, strict=True)]
    result: dict[str, Any] = {
        "name": f"4,096 tokens of 512, {experts} experts of {HIDDEN}, forward and backward: "
        "against mixture-of-experts",
        "unit": "tokens/s",
        "goal": 2.0,
        "parity": max(apart) <= 1e-4,
        "parity_test": f"on copied weights outputs differ by {apart[0]:.1e} of the largest, "
        f"gradients of tokens by {apart[1]:.1e}",
    }
    if not result["parity"]:
        return result
    width = 2 * HIDDEN + experts // 2
    dense = nn.Sequential(
        nn.Linear(DIM, width, bias=False), nn.ReLU(), nn.Linear(width, DIM, bias=False)
    ).to(DEVICE)
    einsum = twin(ours, experts, Einsum(Top2(second="all", minimum=4)))
    dropless = twin(ours, experts, Dropless())
    contestants = {
        "ours": lambda: pass_both(ours, x),
        "peer": lambda: pass_both(peer, x),
        "dense": lambda: pass_both(dense, x),
        "einsum": lambda: pass_both(einsum, x),
        "dropless": lambda: pass_both(dropless, x),
    }
    return result | compare(contestants, GROUPS * TOKENS, repeats=5, warmup=1, clock=CLOCK)


def twin(layer: MixtureOfExperts, experts: int, router: Any) -> MixtureOfExperts:
    """A layer with the same weights and another router."""
    other = MixtureOfExperts(DIM, HIDDEN, experts, router=router).to(DEVICE)
    other.load_state_dict(layer.state_dict())
    return other


def pass_both(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output for x and its gradient, after a forward and a backward pass."""
    x.grad = None
    layer.zero_grad()
    found = layer(x)
    y: Tensor = found[0] if isinstance(found, tuple) else found
    y.square().mean().backward()
    assert x.grad is not None
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return [y.detach(), x.grad.clone()]


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
