"""Policies without plasticity, with the same genomes, lives and calls as `HebbianPolicy`.

`HebbianPolicy` itself is two more: of `FROZEN` form a random network, of terms "D" a fixed slope.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quire.papers.hebbian.pixels import PixelEncoder
from quire.papers.hebbian.policy import Policy, Squash, Step, Weights, check_sizes, weigh


class StaticPolicy(Policy):
    """The same network with evolved weights that stay: the paper's baseline.

    At generation 0 weights are uniform within 1 / sqrt(I).

    Args:
        sizes: Neurons of each layer, inputs first.
        squash: From the last layer's outputs to actions.
        encoder: What images pass first.

    Raises ValueError for less than two sizes.

    Example:
        >>> policy = StaticPolicy((4, 16, 2))
        >>> weights = policy.begin(torch.rand(5, policy.draws))
        >>> policy(torch.randn(5, 4), weights).action.shape, policy.size
        (torch.Size([5, 2]), 96)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        squash: Squash = torch.tanh,
        encoder: PixelEncoder | None = None,
    ) -> None:
        super().__init__()
        self.squash = squash
        self.weights = nn.ParameterList(draw(*layer) for layer in check_sizes(sizes))
        self.encoder = encoder

    @property
    def draws(self) -> int:
        """0: nothing is drawn at birth."""
        return 0

    @property
    def penalised(self) -> int:
        """The weights: all but the encoder's filters."""
        return sum(weights.numel() for weights in self.weights)

    def express(self, genomes: Tensor) -> dict[str, Tensor]:
        """Genomes (..., n) as weights by name."""
        return self.split(genomes)

    def begin(self, uniform: Tensor, brain: dict[str, Tensor] | None = None) -> Weights:
        """The genome's weights (..., J, I) for lives of `uniform` (..., 0)."""
        parts = dict(self.named_parameters()) if brain is None else brain
        own = (parts[f"weights.{k}"] for k in range(len(self.weights)))
        return tuple(w.expand(*uniform.shape[:-1], *w.shape[-2:]) for w in own)

    def forward(
        self,
        observation: Tensor,
        state: Weights,
        brain: dict[str, Tensor] | None = None,
        *,
        learn: bool = True,
    ) -> Step:
        """Act on observations (..., I); `learn` changes nothing."""
        x = observation
        if self.encoder is not None:
            names = ("encoder.first", "encoder.second")
            x = self.encoder(x, None if brain is None else tuple(brain[name] for name in names))
        for weights in state[:-1]:
            x = weigh(weights, x).tanh()
        return Step(self.squash(weigh(state[-1], x)), state)


class RecurrentPolicy(Policy):
    """An Elman network: evolved weights, and a memory that is its hidden layer's activity.

    Args:
        inputs: I.
        outputs: A.
        hidden: H.
        squash: From the outputs to actions.

    Raises ValueError for a layer of no neuron.

    Example:
        >>> policy = RecurrentPolicy(4, 2, hidden=8)
        >>> state = policy.begin(torch.rand(5, policy.draws))
        >>> action, state = policy(torch.randn(5, 4), state)
        >>> action.shape, state.shape
        (torch.Size([5, 2]), torch.Size([5, 8]))
    """

    def __init__(
        self, inputs: int, outputs: int, *, hidden: int = 16, squash: Squash = torch.tanh
    ) -> None:
        super().__init__()
        check_sizes((inputs, hidden, outputs))
        self.squash = squash
        self.hidden = hidden
        self.seeing = nn.Parameter(draw(inputs, hidden))
        self.remembering = nn.Parameter(draw(hidden, hidden))
        self.acting = nn.Parameter(draw(hidden, outputs))

    @property
    def draws(self) -> int:
        """0: nothing is drawn at birth."""
        return 0

    @property
    def penalised(self) -> int:
        """All of them."""
        return self.size

    def express(self, genomes: Tensor) -> dict[str, Tensor]:
        """Genomes (..., n) as weights by name."""
        return self.split(genomes)

    def begin(self, uniform: Tensor, brain: dict[str, Tensor] | None = None) -> Tensor:
        """An empty memory (..., H) for lives of `uniform` (..., 0)."""
        return self.seeing.new_zeros(*uniform.shape[:-1], self.hidden)

    def forward(
        self,
        observation: Tensor,
        state: Tensor,
        brain: dict[str, Tensor] | None = None,
        *,
        learn: bool = True,
    ) -> Step:
        """Act on observations (..., I) and remember; `learn` changes nothing."""
        parts = dict(self.named_parameters()) if brain is None else brain
        state = (weigh(parts["seeing"], observation) + weigh(parts["remembering"], state)).tanh()
        return Step(self.squash(weigh(parts["acting"], state)), state)


class Gait(Policy):
    """Open loop: each action follows a sine of one frequency, whatever is observed.

    actions: A. A genome is the frequency's logarithm, then amplitudes, phases and offsets, of which
    `squash` is taken: 3 A + 1 numbers. Two in three that are standard normal have a period of 11 to
    82 steps.

    Raises ValueError for no action.

    Example:
        >>> policy = Gait(4)
        >>> age = policy.begin(torch.rand(5, policy.draws))
        >>> policy(torch.randn(5, 7), age).action.shape, policy.size
        (torch.Size([5, 4]), 13)
    """

    def __init__(self, actions: int, *, squash: Squash = torch.tanh) -> None:
        super().__init__()
        if actions < 1:
            raise ValueError(f"a gait has actions, got {actions}")
        self.squash = squash
        self.pace = nn.Parameter(torch.randn(1))
        self.shape = nn.Parameter(torch.randn(3, actions))

    @property
    def draws(self) -> int:
        """0: nothing is drawn at birth."""
        return 0

    @property
    def penalised(self) -> int:
        """All of them."""
        return self.size

    def express(self, genomes: Tensor) -> dict[str, Tensor]:
        """Genomes (..., n) by name."""
        return self.split(genomes)

    def begin(self, uniform: Tensor, brain: dict[str, Tensor] | None = None) -> Tensor:
        """The age (..., 1) of lives of `uniform` (..., 0)."""
        return self.pace.new_zeros(*uniform.shape[:-1], 1)

    def forward(
        self,
        observation: Tensor,
        state: Tensor,
        brain: dict[str, Tensor] | None = None,
        *,
        learn: bool = True,
    ) -> Step:
        """The action at this age; observations (..., I) and `learn` change nothing."""
        parts = dict(self.named_parameters()) if brain is None else brain
        amplitude, phase, offset = parts["shape"].unbind(-2)
        angle = parts["pace"].exp() * (2 * math.pi / PERIOD) * state
        wave = torch.sin(angle + phase)
        return Step(self.squash(offset + 2 * amplitude * wave), state + 1)


PERIOD = 30
"""Steps of a period, where the pace is 0."""


def draw(inputs: int, outputs: int) -> Tensor:
    """Weights (J, I) at generation 0, uniform within 1 / sqrt(I): as in the authors' static nets,
    which begin as torch's linear layers do."""
    return (2 * torch.rand(outputs, inputs) - 1) / inputs**0.5
