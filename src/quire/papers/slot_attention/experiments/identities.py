"""What holds exactly, for any weights (section 2.1, proposition 1)."""

import torch
from torch import nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.papers.slot_attention.attention import SlotAttention, compete
from quire.papers.slot_attention.autoencoder import (
    BroadcastDecoder,
    ImageEncoder,
    PixelDecoder,
    SlotAutoencoder,
)
from quire.papers.slot_attention.sets import SetPredictor

SHARP = 1e5
"""Inverse temperature at which soft k-means is hard."""


class Identities(Config):
    """Random weights and inputs, in double precision."""

    bias: bool = False
    """Biases of queries, keys and values."""


def identities(config: Identities, run: Run) -> Metrics:
    """Symmetries, limits, and the number of parameters."""
    generator = run.rng("inputs")
    module = SlotAttention(5, 16, bias=config.bias).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        metrics = measure_symmetries(module, generator) | measure_limits(module, generator)
    return metrics | {
        "kmeans_error": measure_kmeans(generator),
        "masks_error": measure_masks(),
        "module_parameters": count(SlotAttention()),
        "discovery_parameters": count(
            SlotAutoencoder(ImageEncoder(), SlotAttention(), BroadcastDecoder())
        ),
        "set_parameters": count(SetPredictor(ImageEncoder(), SlotAttention(10))),
    }


def measure_symmetries(module: SlotAttention, generator: torch.Generator) -> Metrics:
    """Distance of the output from what a permutation must make of it."""
    inputs = torch.randn(2, 40, 16, generator=generator, dtype=torch.float64)
    first = torch.randn(2, 5, 16, generator=generator, dtype=torch.float64)
    slots, attention = module(inputs, first)
    order, turn = torch.randperm(40, generator=generator), torch.tensor([2, 0, 4, 1, 3])
    shuffled, routed = module(inputs[:, order], first)
    turned, _ = module(inputs, first[:, turn])
    return {
        "input_error": largest_difference([shuffled, routed], [slots, attention[:, :, order]]),
        "slot_error": largest_difference(turned, slots[:, turn]),
        "slot_effect": largest_difference(turned, slots),
    }


def measure_limits(module: SlotAttention, generator: torch.Generator) -> Metrics:
    """One slot takes the mean of all values; one input gives every slot its value."""
    inputs = torch.randn(2, 40, 16, generator=generator, dtype=torch.float64)
    first = torch.randn(2, 5, 16, generator=generator, dtype=torch.float64)
    values = module.value(module.norm_inputs(inputs))
    one, _ = module(inputs, first[:, :1], rounds=1)
    alone, _ = module(inputs[:, :1], first, rounds=1)
    nothing, _ = module(inputs, first, rounds=0)
    return {
        "one_slot_error": largest_difference(
            one, module.renew(values.mean(1, keepdim=True), first[:, :1])
        ),
        "one_input_error": largest_difference(
            alone, module.renew(values[:, :1].expand(-1, 5, -1), first)
        ),
        "no_round_error": largest_difference(nothing, first),
    }


def measure_kmeans(generator: torch.Generator) -> float:
    """Distance of a sharp round without networks from a step of Lloyd's algorithm."""
    x = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    centres = x[:4].clone()
    logits = SHARP * (2 * centres @ x.T - centres.square().sum(1, keepdim=True))
    found = compete(logits[None, None], None).weights[0, 0] @ x
    nearest = torch.cdist(x, centres).argmin(1)
    lloyd = torch.stack([x[nearest == index].mean(0) for index in range(len(centres))])
    return largest_difference(found, lloyd)


def measure_masks() -> float:
    """Distance of the sum of masks from one, for images without a pattern."""
    net = SlotAutoencoder(
        ImageEncoder(8, layers=2, kernel=3), SlotAttention(4, 8), PixelDecoder(8, 6)
    )
    with torch.no_grad():
        return largest(net(torch.zeros(3, 3, 6, 6)).masks.sum(1) - 1)


def count(module: nn.Module) -> float:
    """Numbers that are learned."""
    return float(sum(parameter.numel() for parameter in module.parameters()))
