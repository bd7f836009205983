"""A pondering Universal Transformer, as bAbI, associative inference and images use it."""

from pydantic import Field, PositiveInt
from torch import nn

from quire.lab import Group
from quire.papers.pondernet.experiments.learner import Halting, Learner
from quire.papers.pondernet.transformer import TransformerStep, universal_layer

WARM_UP = 100
"""Minibatches over which the learning rate rises."""


class Universal(Group):
    """A Universal Transformer: one layer, repeated."""

    dim: PositiveInt = 128
    """Width of a token."""
    heads: PositiveInt = 8
    """Attention heads."""
    attention: PositiveInt = 512
    """Width of all heads together."""
    transition: PositiveInt = 128
    """Hidden units of the transition network."""
    transition_layers: PositiveInt = 1
    """Its hidden layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the layer's update that is dropped, by one mask for all steps."""


def make_learner(
    embed: nn.Module, universal: Universal, *, outputs: int, halting: Halting
) -> Learner:
    """A learner around one layer of a Universal Transformer.

    Args:
        embed: What reads the input (see `TransformerStep`).
        universal: The layer's sizes.
        outputs: Number of classes.
        halting: How long to think.
    """
    dim = universal.dim
    layer = universal_layer(
        dim,
        universal.heads,
        universal.transition,
        attention=universal.attention,
        transitions=universal.transition_layers,
    )
    step = TransformerStep(embed, layer, dim=dim, outputs=outputs, dropout=universal.dropout)
    return Learner(step, halting)
