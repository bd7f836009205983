"""Races of PonderNet: training against labml's ParityPonderGRU, inference against the full unroll.

Every race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
pondernet`, or alone: `python benchmarks/pondernet.py`.
"""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from quire.lab.bench import Timing, race
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
    """Both races (and lucidrains' ponder-transformer where it is installed)."""
    races = [training_race(), inference_race()]
    return {"races": races}


def training_race() -> dict[str, Any]:
    """Whole training steps (forward, loss, backward, clip, Adam), the same network on both sides."""
    from labml_nn.adaptive_computation import ponder_net as labml

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
        "unit": "training steps/s",
        "goal": "2x or better",
        "parity": f"p_n and predictions on copied weights: largest difference {difference:.1e}",
    }
    if difference > 1e-4:
        return result | {"ours": None, "peer": None, "ratio": None}
    contestants = {
        "ours": training_step(ours, our_loss),
        "peer": training_step(peer, peer_loss),
    }
    return result | report(race(repeat(contestants, 10), repeats=15), 10, contestants)


def training_step(model: nn.Module, loss_of: Callable[[], Tensor]) -> Callable[[], object]:
    """A training step of one side; optimiser and clipping are the same on both."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)

    def run() -> None:
        optimizer.zero_grad()
        loss_of().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def inference_race() -> dict[str, Any]:
    """Answering with compaction against unrolling all N steps and picking, at 3 mean steps of 20."""
    torch.manual_seed(0)
    ponder = Ponder(RNNStep(64, 512, 1), STEPS).eval()
    x = torch.randn(1024, 64)
    tau = 0.5
    with torch.no_grad():
        ponder.step.mixed.weight[-1].mul_(4)
        calibrate_mean(ponder, x, tau, wanted=3.0)
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
        "goal": "3x or better",
        "parity": f"largest difference {difference:.1e}, steps {'equal' if same else 'DIFFER'}",
        "mean_steps": float(fast.steps.float().mean()),
        "max_steps": int(fast.steps.max()),
    }
    if difference > 1e-4 or not same:
        return result | {"ours": None, "peer": None, "ratio": None}
    contestants = {"ours": lambda: ponder.infer(x, rule=rule), "peer": full}
    return result | report(race(contestants, repeats=15), len(x), contestants)


def calibrate_mean(ponder: Ponder, x: Tensor, tau: float, *, wanted: float) -> None:
    """Shift the halting bias until the rule's mean number of steps is the wanted one."""
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        ponder.step.mixed.bias[-1] = middle  # type: ignore[union-attr, index]
        mean = float(ponder.infer(x, rule=threshold(tau)).steps.float().mean())
        low, high = (middle, high) if mean > wanted else (low, middle)


def copy_weights(peer: nn.Module, step: GRUStep) -> None:
    """The peer's cell and two heads, as one matrix."""
    with torch.no_grad():
        step.prepare.weight.copy_(peer.gru.weight_ih)
        step.prepare.bias.copy_(peer.gru.bias_ih)
        parts = (peer.gru, "weight_hh"), (peer.output_layer, "weight"), (peer.lambda_layer, "weight")
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


def report(
    timings: dict[str, Timing], work: float, contestants: dict[str, Callable[[], object]]
) -> dict[str, Any]:
    """Rates, their ratio and the bytes of tensors that one call holds at most."""
    ours, peer = timings["ours"].rate(work), timings["peer"].rate(work)
    memory = {name: peak_tensor_bytes(one) for name, one in contestants.items()}
    return {"ours": ours, "peer": peer, "ratio": ours["median"] / peer["median"], "memory": memory}


def peak_tensor_bytes(call: Callable[[], object]) -> int:
    """Largest sum of tensor memory during a call, from torch's profiler of allocations (CPU)."""
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
