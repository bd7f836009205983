"""The language model as the experiments ask for it."""

from collections.abc import Callable
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from quire.lab import Config
from quire.nn import FeedForward, GatedFeedForward
from quire.recipes.attentions import kernels
from quire.recipes.attentions.model import KernelOfLayer, LanguageModel

ATTENTIONS: dict[str, KernelOfLayer] = {
    "none": kernels.none,
    "softmax": kernels.softmax,
    "window": kernels.window,
    "bigbird": kernels.bigbird,
    "linear": kernels.linear,
    "taylor": kernels.taylor,
    "hopfield": kernels.hopfield,
}
FEED_FORWARDS: dict[str, Callable[[int], nn.Module]] = {
    "gelu": lambda dim: FeedForward(dim, 4 * dim, activation=nn.GELU),
    "geglu": lambda dim: GatedFeedForward(dim, 8 * dim // 3),  # as many weights
}


class Shape(Config):
    """The language model, and how long its sequences are."""

    attention: Literal["none", "softmax", "window", "bigbird", "linear", "taylor", "hopfield"] = (
        "softmax"
    )
    """The kernel of every layer."""
    feed_forward: Literal["gelu", "geglu"] = "gelu"
    """Hidden layer with GELU, or gated."""
    dim: PositiveInt = 128
    """Width D."""
    heads: PositiveInt = 4
    """Attention heads; D must be a multiple."""
    layers: PositiveInt = 2
    """Layers."""
    length: PositiveInt = 512
    """Tokens of a sequence."""

    def make_model(self) -> LanguageModel:
        """The model, anew."""
        return LanguageModel(
            self.dim,
            heads=self.heads,
            layers=self.layers,
            kernel=ATTENTIONS[self.attention],
            feed_forward=FEED_FORWARDS[self.feed_forward],
        )
