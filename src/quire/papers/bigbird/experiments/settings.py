"""Settings that several experiments share: groups of a config, and the base of those that train."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from quire.lab import Config, Group
from quire.papers.bigbird.pattern import BigBirdPattern


class Pattern(Group):
    """Which keys a query attends to; its blocks are drawn anew for each of the run's seeds."""

    block: PositiveInt = 64
    """Tokens of a block."""
    window: NonNegativeInt = 3
    """Blocks of the window, odd; 0 for none."""
    random: NonNegativeInt = 3
    """Random blocks."""
    global_blocks: NonNegativeInt = 2
    """Global blocks (etc: global tokens)."""
    shared: bool = False
    """Whether all heads have the same random blocks."""

    def build(self, seed: int) -> BigBirdPattern:
        """The pattern of the first layer in the run with this seed."""
        sizes = self.block, self.window, self.random, self.global_blocks
        # Layer i takes the seed i further on: no two runs share a layer's blocks.
        return BigBirdPattern(*sizes, seed=1000 * seed, shared=self.shared)


class Encoder(Group):
    """The size of an encoder, by default the paper's base size."""

    dim: PositiveInt = 768
    """Width of a token."""
    layers: PositiveInt = 12
    """Layers."""
    heads: PositiveInt = 12
    """Attention heads."""
    rotary: bool = False
    """Rotary positions in place of learned ones (beyond the paper)."""


class Training(Config):
    """An encoder and how it is trained: Adam, a warm-up, then a linear decay to zero."""

    attention: Literal["sparse", "full", "etc"] = "sparse"
    """sparse (the pattern), full, or etc (extra global tokens and relative positions)."""
    pattern: Pattern = Pattern()
    """Which keys a query attends to (full: all of them)."""
    encoder: Encoder = Encoder()
    """Size of the encoder."""
    steps: PositiveInt = 500_000
    """Minibatches."""
    learning_rate: PositiveFloat = 1e-4
    """Adam's, at its highest."""
    warm_up: PositiveInt = 10_000
    """Minibatches over which the rate rises, at most a tenth of all."""
    tokens_at_once: PositiveInt | None = None
    """Tokens whose states are in memory at a time, in whole sequences and at least one: a minibatch
    is cut in such parts and their gradients are added up. None: the whole minibatch."""
