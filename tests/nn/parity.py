"""Weights of torch's own modules into ours."""

import torch
from torch import nn

from quire.nn import MultiHeadAttention


def copy_attention(mine: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    parts = zip(
        (mine.query, mine.key, mine.value),
        theirs.in_proj_weight.chunk(3),
        theirs.in_proj_bias.chunk(3),
        strict=True,
    )
    with torch.no_grad():
        for linear, weight, bias in parts:
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        mine.output.load_state_dict(theirs.out_proj.state_dict())
