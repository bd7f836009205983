"""Races of Gradient Origin Networks: one training step against the published formulation.

The peer is that formulation written out: two passes with losses that are means and two backward
passes, the first of which is kept for the second; in the implicit net coordinates and latents side
by side at every point. Ours decodes the common start once where a decoder treats rows alike. Each
race begins with a parity test on copied weights; where it fails, no time is reported. Beside it
stands a step of the mirrored autoencoder (`ratio_to_autoencoder`: below 1 where it is the faster
one). Run it with `quire bench gon`, or alone: `python benchmarks/gon.py`.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.gon import (
    GON,
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    DenseEncoder,
    ImplicitDecoder,
    Siren,
    find_mean_scale,
    make_grid,
)

BATCH, LATENT, SIZE = 16, 32, 28
"""The published implicit net's latents and pixels, at a quarter of its batch."""
CALLS = 3
"""Steps a timing."""


def main() -> dict[str, Any]:
    """All races."""
    return {"races": [implicit_race(), grouped_race(), convolutional_race(), dense_race()]}


def implicit_race() -> dict[str, Any]:
    """Forward and backward of the published SIREN: first layer in two parts, or side by side."""
    torch.manual_seed(0)
    siren = Siren(LATENT)
    decoder = ImplicitDecoder(siren, (SIZE, SIZE), align="corners")
    gon = GON(decoder, scale=find_mean_scale(BATCH))
    twin = copy.deepcopy(siren)
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

    encoder = DenseEncoder(LATENT, (1, SIZE, SIZE), hidden=(256, 256))
    autoencoder = Autoencoder(encoder, copy.deepcopy(decoder))

    def autoencoder_step() -> Tensor:
        autoencoder.zero_grad()
        loss = autoencoder.measure_loss(x).mean()
        loss.backward()
        return loss

    name = f"implicit GON, SIREN 256 x 4, {SIZE} x {SIZE} pixels, batch {BATCH}"
    return race(name, gon, twin, our_step, peer_step, autoencoder=autoencoder_step)


def grouped_race() -> dict[str, Any]:
    """The convolutional net whose norms treat each picture by itself: its first pass is one row."""
    torch.manual_seed(0)
    name = f"convolutional GON, width 16, group norm, batch {BATCH}"
    return image_race(name, ConvDecoder(LATENT), ConvEncoder(LATENT), (1, 32, 32))


def convolutional_race() -> dict[str, Any]:
    """The published convolutional net, whose norms over the batch leave nothing to save."""
    torch.manual_seed(0)
    decoder = ConvDecoder(LATENT, norm=nn.BatchNorm2d)
    encoder = ConvEncoder(LATENT, norm=nn.BatchNorm2d)
    return image_race(f"convolutional GON, width 16, batch {BATCH}", decoder, encoder, (1, 32, 32))


def dense_race() -> dict[str, Any]:
    """The same of the small net of 8x8 digits, where calls and not products take the time."""
    torch.manual_seed(0)
    decoder, encoder = DenseDecoder(16, (1, 8, 8)), DenseEncoder(16, (1, 8, 8))
    return image_race(f"dense GON, 8 x 8 pixels, batch {BATCH}", decoder, encoder, (1, 8, 8))


def image_race(
    name: str, decoder: ConvDecoder | DenseDecoder, encoder: nn.Module, shape: tuple[int, int, int]
) -> dict[str, Any]:
    """A net of whole pictures (C, H, W): ours, the formulation written out, and an autoencoder."""
    x = torch.rand(BATCH, *shape)
    pixels = shape[1] * shape[2]
    gon = GON(decoder, scale=find_mean_scale(BATCH, *shape[1:]))
    twin = copy.deepcopy(decoder)
    autoencoder = Autoencoder(encoder, copy.deepcopy(decoder))

    def our_step() -> Tensor:
        gon.zero_grad()
        loss = gon.measure_loss(x).mean() / pixels
        loss.backward()
        return loss

    def peer_step() -> Tensor:
        twin.zero_grad()
        z = torch.zeros(BATCH, decoder.latent, requires_grad=True)
        inner = (twin(z) - x).square().sum(1).mean()
        (slope,) = torch.autograd.grad(inner, z, create_graph=True)
        loss = (twin(-slope) - x).square().sum(1).mean()
        loss.backward()
        return loss

    def autoencoder_step() -> Tensor:
        autoencoder.zero_grad()
        loss = autoencoder.measure_loss(x).mean() / pixels
        loss.backward()
        return loss

    return race(name, gon, twin, our_step, peer_step, autoencoder=autoencoder_step)


def race(
    name: str,
    ours: nn.Module,
    peer: nn.Module,
    our_step: Callable[[], Tensor],
    peer_step: Callable[[], Tensor],
    **others: Callable[[], Tensor],
) -> dict[str, Any]:
    """One race: parity of loss and gradients, then steps a second.

    Args:
        name: What is raced.
        ours: The module that `our_step` trains.
        peer: The module that `peer_step` trains, with the same weights.
        our_step: One forward and backward pass; gives the loss.
        peer_step: The same.
        others: Steps of other nets, timed beside the two.
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

    def several(step: Callable[[], Tensor]) -> Callable[[], None]:
        def call() -> None:
            for _ in range(CALLS):
                step()

        return call

    contestants = {"ours": our_step, "peer": peer_step} | others
    return result | compare({k: several(v) for k, v in contestants.items()}, CALLS, repeats=9)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
