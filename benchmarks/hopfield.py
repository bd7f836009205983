"""Races of Hopfield layers: pooling over very many patterns against torch's nn.MultiheadAttention
and LayerNorm, and the reference's layers (ml-jku/hopfield-layers), all on copied weights.

Every race begins with a parity test; where it fails, no time is reported. The reference is found
if `hflayers` is installed or if QUIRE_HFLAYERS names a checkout.
Run it with `quire bench hopfield`, or alone: `python benchmarks/hopfield.py`.
"""

import copy
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.hopfield import (
    Association,
    Hopfield,
    HopfieldLayer,
    HopfieldPooling,
)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
"""On a CPU one thread's own time, which other work on the machine disturbs less."""
DIM, HEADS, STORED, QUERIES, CHUNK = 64, 4, 10_000, 16, 8192


def main() -> dict[str, Any]:
    """All races, on one thread."""
    torch.set_num_threads(1)
    races = [pooling(count) for count in (10_000, 100_000, 300_000)]
    folder = os.environ.get("QUIRE_HFLAYERS")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        import hflayers
    except ModuleNotFoundError:
        return {"races": races, "missing": "hflayers (set QUIRE_HFLAYERS to a checkout)"}
    return {"races": [*races, stored_layer(hflayers), three_steps(hflayers)]}


class TorchPooling(nn.Module):
    """The same layer of torch's parts: layer normalisation and `nn.MultiheadAttention`."""

    def __init__(self, pool: HopfieldPooling) -> None:
        super().__init__()
        layer: Any = pool.hopfield
        self.key_norm, self.value_norm = copy.deepcopy((layer.stored_norm, layer.value_norm))
        self.attention = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        self.attention.out_proj = copy.deepcopy(layer.output)
        # A bias for each head's query is what a static learned state is: it is not projected.
        state = pool.states.detach().flatten().repeat(HEADS)
        with torch.no_grad():
            self.attention.in_proj_weight.copy_(
                torch.cat((torch.zeros(DIM, DIM), layer.key.weight, layer.value.weight))
            )
            self.attention.in_proj_bias.copy_(torch.cat((state, layer.key.bias, layer.value.bias)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        query = x.new_zeros(len(x), 1, DIM)
        pooled = self.attention(query, self.key_norm(x), self.value_norm(x), need_weights=False)
        return pooled[0][:, 0]

    def gradients(self) -> list[Any]:
        """In the order of `HopfieldPooling`'s parameters."""
        weight: Any = self.attention.in_proj_weight.grad
        bias: Any = self.attention.in_proj_bias.grad
        output: Any = self.attention.out_proj
        return [
            bias[:DIM].view(HEADS, -1).sum(0)[None, None],
            self.key_norm.weight.grad, self.key_norm.bias.grad,
            weight[DIM : 2 * DIM], bias[DIM : 2 * DIM],
            self.value_norm.weight.grad, self.value_norm.bias.grad,
            weight[2 * DIM :], bias[2 * DIM :],
            output.weight.grad, output.bias.grad,
        ]  # fmt: skip


def pooling(count: int) -> dict[str, Any]:
    """Forward and backward over one bag; gradients of the parameters."""
    torch.manual_seed(0)
    ours = HopfieldPooling(DIM, HEADS, association=Association(chunk=CHUNK))
    shake(ours)
    theirs = TorchPooling(ours)
    bag = torch.randn(1, count, DIM)

    def sides(dtype: torch.dtype) -> dict[str, Callable[[], list[Tensor]]]:
        mine, its = (copy.deepcopy(model).to(DEVICE, dtype) for model in (ours, theirs))
        x = bag.to(DEVICE, dtype)

        def train(
            model: nn.Module, gradients: Callable[[], list[Any]]
        ) -> Callable[[], list[Tensor]]:
            def call() -> list[Tensor]:
                model.zero_grad()
                out = model(x)
                out.square().sum().backward()
                return synchronised([out.detach(), *gradients()])

            return call

        return {
            "ours": train(mine, lambda: [p.grad for p in mine.parameters()]),
            "peer": train(its, its.gradients),
        }

    name = f"HopfieldPooling, {count} patterns of {DIM}, forward and backward: chunks of {CHUNK}"
    # Sums over 300,000 rows differ by 1e-4 in single precision, whoever takes them.
    return compete(f"{name} against nn.MultiheadAttention and LayerNorm", sides(torch.float32),
                   1e-9, repeats=5, exact=sides(torch.float64))  # fmt: skip


def stored_layer(hflayers: Any) -> dict[str, Any]:
    """10,000 learned patterns that are their own projections, 16 queries, forward."""
    torch.manual_seed(0)
    theirs = hflayers.HopfieldLayer(
        input_size=DIM, quantity=STORED, stored_pattern_as_static=True,
        pattern_projection_as_static=True, hidden_size=DIM, normalize_stored_pattern=False,
        normalize_stored_pattern_affine=False, normalize_pattern_projection=False,
        normalize_pattern_projection_affine=False,
    ).to(DEVICE).eval()  # fmt: skip
    shake(theirs)
    ours = HopfieldLayer(DIM, quantity=STORED, separate=False).to(DEVICE).eval()
    core, layer = theirs.hopfield.association_core, ours.hopfield
    with torch.no_grad():
        ours.stored.copy_(theirs.lookup_weights[0])
        weight = core.q_proj_weight if core.q_proj_weight is not None else core.in_proj_weight
        layer.query.weight.copy_(weight)
    copied(layer.output, core.out_proj)
    x = torch.randn(1, QUERIES, DIM, device=DEVICE)
    sides = {"ours": without_gradient(ours, x), "peer": without_gradient(theirs, x)}
    return compete("HopfieldLayer, 10,000 stored patterns of 64, 16 queries, forward: against "
                   "hflayers", sides, 1e-4, repeats=15)  # fmt: skip


def three_steps(hflayers: Any) -> dict[str, Any]:
    """10,000 stored patterns as input, beta 0.25, three updates, forward."""
    torch.manual_seed(0)
    theirs = hflayers.Hopfield(
        input_size=DIM, scaling=0.25, update_steps_max=3, update_steps_eps=1e-12
    )
    rule = Association(beta=0.25, steps=3, tolerance=0.0)
    ours = Hopfield(DIM, association=rule).to(DEVICE).eval()
    theirs = theirs.to(DEVICE).eval()
    shake(theirs)
    core = theirs.association_core
    parts: list[Any] = [ours.query, ours.key, ours.value]
    with torch.no_grad():
        for part, weight in zip(parts, core.in_proj_weight.chunk(3), strict=True):
            part.weight.copy_(weight)
        for part, bias in zip(parts, core.in_proj_bias.chunk(3), strict=True):
            part.bias.copy_(bias)
    copied(ours.output, core.out_proj)
    x, y = (torch.randn(1, count, DIM, device=DEVICE) for count in (QUERIES, STORED))
    sides = {
        "ours": without_gradient(ours, x, y),
        "peer": without_gradient(theirs, (y, x, y)),
        "ours_stopping": without_gradient(stopping(ours), x, y),
    }
    return compete("Hopfield, 10,000 stored patterns of 64, 16 queries, beta 0.25, 3 updates, "
                   "forward: against hflayers", sides, 1e-4, repeats=15)  # fmt: skip


def stopping(layer: Hopfield) -> Hopfield:
    """The same layer with the default tolerance: heads stop where they stand still."""
    other = copy.deepcopy(layer)
    other.association = replace(other.association, tolerance=1e-4)
    return other


@torch.no_grad()
def shake(model: nn.Module) -> None:
    """Weights that are not near zero, so that parity means something; norms stay as they are."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter.shape[-1] ** -0.5)


def copied(mine: nn.Module, theirs: nn.Module) -> None:
    """Their weights in my module."""
    mine.load_state_dict(theirs.state_dict())


def without_gradient(model: nn.Module, *inputs: Any) -> Callable[[], list[Tensor]]:
    """A call that gives the output."""

    @torch.no_grad()
    def call() -> list[Tensor]:
        return synchronised([model(*inputs)])

    return call


def synchronised(tensors: list[Any]) -> list[Tensor]:
    """Wait for an accelerator."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return tensors


def compete(
    name: str,
    sides: dict[str, Callable[[], list[Tensor]]],
    tolerance: float,
    *,
    repeats: int,
    exact: dict[str, Callable[[], list[Tensor]]] | None = None,
) -> dict[str, Any]:
    """Parity of everything that a call gives, then time (calls a second) and memory.

    exact: the same calls in double precision, for the parity.
    """
    results = {side: call() for side, call in (exact or sides).items()}
    # A gradient that is zero but for rounding (of a key's bias) is held against the others' size.
    size = 1e-3 * max(float(b.abs().max()) for b in results["peer"])
    largest = max(
        float((a - b).abs().max()) / max(float(b.abs().max()), size)
        for side in sides
        if side != "peer"
        for a, b in zip(results[side], results["peer"], strict=True)
    )
    result: dict[str, Any] = {
        "name": name,
        "unit": "calls/s",
        "goal": 1.0,
        "parity": largest <= tolerance,
        "parity_test": f"outputs (and gradients) differ by {largest:.1e} at most, relative",
    }
    if not result["parity"]:
        return result
    return result | compare(sides, 1.0, repeats=repeats, clock=CLOCK)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
