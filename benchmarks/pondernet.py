"""Races of PonderNet: training against labml's ParityPonderGRU, inference against the full unroll.

Every race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
pondernet`, or alone: `python benchmarks/pondernet.py`.
"""

import importlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from quire.lab.bench import compare
from quire.papers.pondernet import (
    GRUStep,
    Ponder,
    RNNStep,
    kl_geometric,
    log_stopping_distribution,
    ponder_loss,
    stop,
    threshold,
)

LENGTH, HIDDEN, STEPS, BATCH, LAMBDA, BETA = 8, 64, 20, 128, 0.2, 0.01
"""labml's own experiment."""


def main() -> dict[str, Any]:
    """Both races."""
    return {"races": [training_race(), inference_race()]}


def training_race() -> dict[str, Any]:
    """Forward, loss and backward of the same network.

    `ours` is the fixed-N path under torch.compile, `ours_eager` the same without it; `peer` is as
    its authors run it, `peer_compiled` the same under torch.compile.
    """
    labml = importlib.import_module("labml_nn.adaptive_computation.ponder_net")

    torch.manual_seed(0)
    peer = labml.ParityPonderGRU(LENGTH, HIDDEN, STEPS)
    step = GRUStep(LENGTH, HIDDEN, 1)
    copy_weights(peer, step)
    ours = Ponder(step, STEPS, eps=None)
    x = torch.randint(-1, 2, (BATCH, LENGTH)).float()
    target = (x == 1).sum(1).remainder(2).float()
    reconstruction = labml.ReconstructionLoss(nn.BCEWithLogitsLoss(reduction="none"))
    regularisation = labml.RegularizationLoss(LAMBDA, STEPS)
    penalty = kl_geometric(LAMBDA)

    def our_loss() -> Tensor:
        predictions, halt_logits, _ = ours(x)
        losses = bce(predictions[..., 0], target.expand(STEPS, -1), reduction="none")
        return ponder_loss(losses, halt_logits, regulariser=penalty, beta=BETA)

    def peer_loss() -> Tensor:
        p, y_hat, _, _ = peer(x)
        return reconstruction(p, y_hat, target) + BETA * regularisation(p)

    with torch.no_grad():
        p, y_hat, _, _ = peer(x)
        predictions, halt_logits, _ = ours(x)
        probability = log_stopping_distribution(halt_logits).exp()
        difference = max(
            float((probability - p).abs().max()), float((predictions[..., 0] - y_hat).abs().max())
        )
    result = {
        "name": "training, GRU 64, N 20, batch 128, against labml ParityPonderGRU",
        "unit": "forward and backward passes/s",
        "goal": 2.0,
        "parity": difference <= 1e-4,
        "parity_test": f"p_n and predictions on copied weights differ by {difference:.1e} at most",
    }
    if not result["parity"]:
        return result
    compiled, peer_compiled = torch.compile(our_loss), torch.compile(peer_loss)
    contestants = {
        "ours": lambda: compiled().backward(),
        "peer": lambda: peer_loss().backward(),
        "ours_eager": lambda: our_loss().backward(),
        "peer_compiled": lambda: peer_compiled().backward(),
    }
    return result | compare(repeat(contestants, 10), 10, repeats=15)


def inference_race() -> dict[str, Any]:
    """Compaction against unrolling all N steps and picking, at 3 mean steps of 20."""
    torch.manual_seed(0)
    step = RNNStep(64, 512, 1)
    ponder = Ponder(step, STEPS).eval()
    x = torch.randn(1024, 64)
    tau = 0.5
    with torch.no_grad():
        step.mixed.weight[-1].mul_(4)
        calibrate_mean(ponder, step.mixed.bias, x, tau)
    rule = threshold(tau)

    def full() -> object:
        with torch.no_grad():
            predictions, halt_logits, _ = ponder(x)
        return stop(predictions, halt_logits, rule)

    slow, fast = full(), ponder.infer(x, rule=rule)
    difference = float((slow.prediction - fast.prediction).abs().max())  # type: ignore[attr-defined]
    same = torch.equal(slow.steps, fast.steps)  # type: ignore[attr-defined]
    result = {
        "name": "inference, RNN 512, batch 1024, compaction against the full unroll",
        "unit": "examples/s",
        "goal": 3.0,
        "parity": difference <= 1e-4 and same,
        "parity_test": f"answers differ by {difference:.1e} at most, steps equal: {same}",
        "mean_steps": float(fast.steps.float().mean()),
        "max_steps": int(fast.steps.max()),
    }
    if not result["parity"]:
        return result
    contestants = {"ours": lambda: ponder.infer(x, rule=rule), "peer": full}
    return result | compare(contestants, len(x), repeats=15)


def calibrate_mean(ponder: Ponder, bias: Tensor, x: Tensor, tau: float) -> None:
    """Shift the halting bias until the rule takes 3 steps on average."""
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        bias[-1] = middle
        mean = float(ponder.infer(x, rule=threshold(tau)).steps.float().mean())
        low, high = (middle, high) if mean > 3 else (low, middle)


def copy_weights(peer: Any, step: GRUStep) -> None:
    """The peer's cell and two heads, as one matrix."""
    with torch.no_grad():
        step.read.weight.copy_(peer.gru.weight_ih)
        step.read.bias.copy_(peer.gru.bias_ih)
        parts = (
            (peer.gru, "weight_hh"),
            (peer.output_layer, "weight"),
            (peer.lambda_layer, "weight"),
        )
        step.mixed.weight.copy_(torch.cat([getattr(m, name) for m, name in parts]))
        parts = (peer.gru, "bias_hh"), (peer.output_layer, "bias"), (peer.lambda_layer, "bias")
        step.mixed.bias.copy_(torch.cat([getattr(m, name) for m, name in parts]))


def repeat(
    contestants: dict[str, Callable[[], object]], times: int
) -> dict[str, Callable[[], object]]:
    """Each contestant `times` times a call, so that a call is long against the clock."""

    def many(one: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            for _ in range(times):
                one()

        return run

    return {name: many(one) for name, one in contestants.items()}


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
