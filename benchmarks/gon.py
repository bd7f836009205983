"""Races of Gradient Origin Networks: one training step against the published formulation.

The peer is that formulation written out: coordinates and latents side by side at every point, both
passes with losses that are means, the inner gradient kept for the outer one. Each race begins with
a parity test on copied weights; where it fails, no time is reported. Run it with `quire bench gon`,
or alone: `python benchmarks/gon.py`.
"""

import copy
import json
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.gon import (
    GON,
    ConvDecoder,
    ImplicitDecoder,
    Siren,
    find_mean_scale,
    make_grid,
)

BATCH, LATENT, SIZE = 16, 32, 28
"""The published implicit net's latents and pixels, at a quarter of its batch."""


def main() -> dict[str, Any]:
    """Both races."""
    return {"races": [implicit_race(), convolutional_race()]}


def implicit_race() -> dict[str, Any]:
    """Forward and backward of the published SIREN: first layer in two parts, or side by side."""
    torch.manual_seed(0)
    decoder = ImplicitDecoder(Siren(LATENT), (SIZE, SIZE), align="corners")
    gon = GON(decoder, scale=find_mean_scale(BATCH))
    twin = copy.deepcopy(decoder.net)
    x = torch.rand(BATCH, 1, SIZE, SIZE)
    points = make_grid(SIZE, SIZE, align="corners").expand(BATCH, -1, -1)
    target = x.flatten(2).transpose(1, 2)

    def our_step() -> Tensor:
        gon.zero_grad()
        loss = gon.measure_loss(x).mean()
        loss.backward()
        return loss

    def draw(z: Tensor) -> Tensor:
        h = torch.cat([points, z.expand(-1, points.shape[1], -1)], dim=2)
        for layer in (twin.first, *twin.middle):
            h = torch.sin(twin.frequency * layer(h))
        out: Tensor = twin.last(h)
        return out

    def peer_step() -> Tensor:
        twin.zero_grad()
        z = torch.zeros(BATCH, 1, LATENT, requires_grad=True)
        inner = (draw(z) - target).square().sum(1).mean()
        (slope,) = torch.autograd.grad(inner, z, create_graph=True)
        loss = (draw(-slope) - target).square().sum(1).mean()
        loss.backward()
        return loss

    name = f"implicit GON, SIREN 256 x 4, {SIZE} x {SIZE} pixels, batch {BATCH}"
    return race(name, gon, twin, our_step, peer_step)


def convolutional_race() -> dict[str, Any]:
    """Forward and backward of the published convolutional net: nothing to save, so about level."""
    torch.manual_seed(0)
    decoder = ConvDecoder(LATENT, norm=nn.BatchNorm2d)
    gon = GON(decoder, scale=find_mean_scale(BATCH, 32, 32))
    twin = copy.deepcopy(decoder)
    x = torch.rand(BATCH, 1, 32, 32)

    def our_step() -> Tensor:
        gon.zero_grad()
        loss = gon.measure_loss(x).mean() / (32 * 32)
        loss.backward()
        return loss

    def peer_step() -> Tensor:
        twin.zero_grad()
        z = torch.zeros(BATCH, LATENT, requires_grad=True)
        inner = (twin(z) - x).square().sum(1).mean()
        (slope,) = torch.autograd.grad(inner, z, create_graph=True)
        loss = (twin(-slope) - x).square().sum(1).mean()
        loss.backward()
        return loss

    return race(f"convolutional GON, width 16, batch {BATCH}", gon, twin, our_step, peer_step)


def race(name: str, ours: nn.Module, peer: nn.Module, our_step: Any, peer_step: Any) -> Any:
    """One race: parity of loss and gradients, then steps a second.

    Args:
        name: What is raced.
        ours: The module that `our_step` trains.
        peer: The module that `peer_step` trains, with the same weights.
        our_step: One forward and backward pass; gives the loss.
        peer_step: The same.
    """
    difference = abs(float(our_step().detach()) / float(peer_step().detach()) - 1)
    for mine, its in zip(ours.parameters(), peer.parameters(), strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        largest = float(its.grad.abs().max())
        difference = max(difference, float((mine.grad - its.grad).abs().max()) / max(largest, 1e-6))
    result = {
        "name": f"{name}, against the published formulation",
        "unit": "forward and backward passes/s",
        "goal": 1.0,
        "parity": difference <= 1e-3,
        "parity_test": f"loss and gradients differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result
    return result | compare({"ours": our_step, "peer": peer_step}, 1, repeats=9)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
