"""Exact facts: sizes, costs, and a deep net that equals a shallow one. Nothing is trained."""

import torch

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.nn.residual import Bottleneck
from quire.papers.resnet.analysis import count_macs, count_parameters
from quire.papers.resnet.resnet import CifarResNet, ResNet


def identities(config: Config, run: Run) -> Metrics:
    """Counts of Table 1 and Table 6, and section 3.1's construction."""
    metrics: Metrics = {}
    # On `meta` tensors have a shape and no storage: a net of 1202 layers takes no memory.
    with torch.device("meta"):
        for depth in (20, 32, 44, 56, 110, 1202):
            metrics[f"cifar{depth}_parameters"] = count_parameters(CifarResNet(depth))
        for depth in (18, 34, 50, 101, 152):
            net = ResNet(depth)
            metrics[f"resnet{depth}_parameters"] = count_parameters(net)
            metrics[f"resnet{depth}_gmacs"] = count_macs(net) / 1e9
    metrics["bottleneck_macs"] = count_macs(Bottleneck(256, 64).body, (256, 1, 1))
    metrics["construction_difference"] = compare_construction(run.rng("images"))
    return metrics


@torch.no_grad()
def compare_construction(generator: torch.Generator) -> float:
    """Largest difference between ResNet-20 and the ResNet-56 built from it by zeroed blocks."""
    shallow, deep = CifarResNet(20).eval(), CifarResNet(56).eval()
    for block in deep.blocks().values():
        block.zero_residual()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    return largest_difference(shallow(images), deep(images))
