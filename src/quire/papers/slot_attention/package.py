"""Weights of the package `slot-attention` (lucidrains) in our module."""

from typing import Any

import torch

from quire.papers.slot_attention.attention import GaussianStart, SlotAttention

NAMES = {
    "query": "to_q", "key": "to_k", "value": "to_v", "cell": "gru", "mlp": "mlp",
    "norm_inputs": "norm_input", "norm_slots": "norm_slots", "norm_mlp": "norm_pre_ff",
}  # fmt: skip
"""Our part -> the package's."""


def from_package(peer: Any) -> SlotAttention:
    """A module with a copy of the weights of a `slot_attention.SlotAttention` from PyPI.

    With the same first slots it gives the same slots. The package has biases in queries, keys and
    values. Raises ValueError for another module, such as the package's with several heads.
    """
    children = {name for name, _ in peer.named_children()}
    if children != set(NAMES.values()) or not hasattr(peer, "slots_mu"):
        raise ValueError(f"a slot_attention.SlotAttention is needed, got {type(peer).__name__}")
    hidden, dim = peer.mlp[0].weight.shape
    start = GaussianStart(dim)
    ours = SlotAttention(
        peer.num_slots, dim, iterations=peer.iters, hidden=hidden,
        bias=peer.to_q.bias is not None, start=start,
    )  # fmt: skip
    ours.to(peer.slots_mu)  # its dtype and device, before anything is copied
    for name, other in NAMES.items():
        getattr(ours, name).load_state_dict(getattr(peer, other).state_dict())
    with torch.no_grad():
        start.mean.copy_(peer.slots_mu)
        start.log_deviation.copy_(peer.slots_logsigma)
    return ours
