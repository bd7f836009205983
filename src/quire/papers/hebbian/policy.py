"""A network whose weights are born at random and organised by rules while it acts (section 3).

What is evolved, the genome, is not the weights. `express` makes genomes ready once, `begin` gives
the weights of new lives, a call acts and learns; nothing of a life is kept in the module.

Lives have any leading dimensions (...). A population of P genomes with E lives each is expressed as
(P, 1, n) and begins from (P, E, S).

n numbers of a genome, S weights, I inputs, J outputs of a layer, A actions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quire.papers.hebbian.pixels import PixelEncoder
from quire.papers.hebbian.rule import PAPER, Folded, Form, HebbianRule

Weights = tuple[Tensor, ...]
"""Of each layer, (..., J, I)."""
Start = Callable[[Tensor], Tensor]
"""From uniform numbers in [0, 1) to weights at birth, number by number."""
Squash = Callable[[Tensor], Tensor]
"""From the last layer's outputs (..., A) to actions."""


class Step(NamedTuple):
    """What a call of a policy gives."""

    action: Tensor
    """(..., A)."""
    state: Any
    """All that the next call needs: of a plastic network its weights."""


@dataclass(frozen=True)
class Uniform:
    """Weights at birth, uniform within `bound` around zero: the paper's, 0.1."""

    bound: float = 0.1

    def __call__(self, uniform: Tensor) -> Tensor:
        """Numbers in [0, 1) -> weights."""
        return (2 * uniform - 1) * self.bound


@dataclass(frozen=True)
class Normal:
    """Weights at birth, normal with a standard deviation of `std`."""

    std: float = 0.1

    def __call__(self, uniform: Tensor) -> Tensor:
        """Numbers in [0, 1) -> weights."""
        # Half a step of the 24 bits that a draw has, so that 0 is no infinity.
        return torch.special.ndtri(uniform.double() + 2.0**-25).to(uniform.dtype) * self.std


def identity(outputs: Tensor) -> Tensor:
    """Outputs as they are: where the environment chooses the largest, or clips."""
    return outputs


class Policy(nn.Module, ABC):
    """What evolution and rollouts ask for; its parameters in their order are one vector.

    Called with (observation, state, brain, learn=...) it gives a `Step`.
    """

    @property
    def size(self) -> int:
        """n."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    @abstractmethod
    def penalised(self) -> int:
        """How many numbers of a genome, from the first on, weight decay falls on."""

    @property
    @abstractmethod
    def draws(self) -> int:
        """S, uniform numbers that a life begins with."""

    @abstractmethod
    def express(self, genomes: Tensor) -> Any:
        """Genomes (..., n), made ready."""

    @abstractmethod
    def begin(self, uniform: Tensor, brain: Any = None) -> Any:
        """The state of new lives from uniform numbers (..., S)."""

    def genome(self) -> Tensor:
        """All parameters, (n,)."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters()])

    def load_genome(self, genome: Tensor) -> None:
        """Put numbers (n,) into the parameters."""
        with torch.no_grad():
            for name, part in self.split(genome).items():
                self.get_parameter(name).copy_(part)

    def split(self, genomes: Tensor) -> dict[str, Tensor]:
        """Genomes (..., n) as parameters by name, each with the same leading dimensions.

        Raises ValueError for another n.
        """
        if genomes.shape[-1] != self.size:
            raise ValueError(f"a genome has {self.size:,} numbers, got {genomes.shape[-1]:,}")
        named = dict(self.named_parameters())
        pieces = genomes.split([parameter.numel() for parameter in named.values()], -1)
        return {
            name: piece.unflatten(-1, parameter.shape) if parameter.numel() else
            piece.reshape(*piece.shape[:-1], *parameter.shape)
            for (name, parameter), piece in zip(named.items(), pieces, strict=True)
        }  # fmt: skip


def check_sizes(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The layers (I, J). Raises ValueError for less than one layer, or a layer of no neuron."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"a network has two sizes or more, of 1 or more, got {tuple(sizes)}")
    return list(pairwise(sizes))


class Brain(NamedTuple):
    """A `HebbianPolicy`'s genomes, made ready."""

    rules: tuple[Folded, ...]
    """Of each layer."""
    first: Weights | None
    """Weights at birth where they are evolved as well."""
    filters: tuple[Tensor, ...] | None
    """Of the encoder."""


class HebbianPolicy(Policy):
    """A network without biases, tanh between its layers, every layer plastic.

    Args:
        sizes: Neurons of each layer, inputs first: (28, 128, 64, 8) is the quadruped's.
        form: Of the rules; `FROZEN` is a random network that stays as it was born.
        start: Weights at birth from uniform numbers.
        squash: From the last layer's outputs to actions.
        learns_from_action: Whether the last layer's o_j is the action, as in the authors' Bullet
            environments, or its raw output, as in CarRacing.
        coevolved: Whether the weights at birth are evolved, the same for every life.
        shared: Whether a layer has one rule for all its synapses.
        encoder: What images (..., C, H, W) pass first; evolved, and not plastic.

    Raises ValueError for less than two sizes.

    Example:
        >>> policy = HebbianPolicy((4, 16, 2))
        >>> weights = policy.begin(torch.rand(5, policy.draws))  # five lives
        >>> action, weights = policy(torch.randn(5, 4), weights)
        >>> action.shape, weights[0].shape, policy.size
        (torch.Size([5, 2]), torch.Size([5, 16, 4]), 480)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        form: Form = PAPER,
        start: Start = Uniform(),
        squash: Squash = torch.tanh,
        learns_from_action: bool = True,
        coevolved: bool = False,
        shared: bool = False,
        encoder: PixelEncoder | None = None,
    ) -> None:
        super().__init__()
        self.layers = check_sizes(sizes)
        self.form, self.start, self.squash = form, start, squash
        self.learns_from_action = learns_from_action
        self.rules = nn.ModuleList(
            HebbianRule(inputs, outputs, form=form, shared=shared)
            for inputs, outputs in self.layers
        )
        self.first = nn.ParameterList(
            torch.randn(outputs, inputs) for inputs, outputs in self.layers if coevolved
        )
        self.encoder = encoder

    @property
    def penalised(self) -> int:
        """The rules' coefficients: all but weights at birth and filters."""
        return sum(parameter.numel() for parameter in self.rules.parameters())

    @property
    def draws(self) -> int:
        """S, a uniform number for each weight."""
        return sum(inputs * outputs for inputs, outputs in self.layers)

    def express(self, genomes: Tensor) -> Brain:
        """Genomes (..., n) made ready, eta multiplied in."""
        return self._express(self.split(genomes))

    def begin(self, uniform: Tensor, brain: Brain | None = None) -> Weights:
        """Fresh weights (..., J, I) of new lives from uniform numbers (..., S)."""
        first = tuple(self.first) if brain is None else brain.first
        if first:
            return tuple(w.expand(*uniform.shape[:-1], *w.shape[-2:]) for w in first)
        weights = self.start(uniform)
        pieces = weights.split([inputs * outputs for inputs, outputs in self.layers], -1)
        return tuple(
            piece.unflatten(-1, (outputs, inputs))
            for piece, (inputs, outputs) in zip(pieces, self.layers, strict=True)
        )

    def forward(
        self,
        observation: Tensor,
        state: Weights,
        brain: Brain | None = None,
        *,
        learn: bool = True,
    ) -> Step:
        """Act with the weights as they are, then change them by the same step's activities.

        Args:
            observation: (..., I), or images (..., C, H, W) where there is an encoder.
            state: The weights of these lives.
            brain: What `express` gave; None is the module's own parameters.
            learn: Whether the weights change.
        """
        if brain is None:
            brain = self._express(dict(self.named_parameters()))
        x = observation if self.encoder is None else self.encoder(observation, brain.filters)
        activities = [x]
        for weights in state[:-1]:
            activities.append(weigh(weights, activities[-1]).tanh())
        outputs = weigh(state[-1], activities[-1])
        action = self.squash(outputs)
        if learn:
            activities.append(action if self.learns_from_action else outputs)
            ends = pairwise(activities)
            state = tuple(
                self.form.apply(rule, pre, post, weights)
                for rule, (pre, post), weights in zip(brain.rules, ends, state, strict=True)
            )
        return Step(action, state)

    def shuffled(self, genome: Tensor, generator: torch.Generator) -> Tensor:
        """A genome (n,) whose rules went to other synapses of their layers: a control."""
        parts = self.split(genome)
        for name, part in parts.items():
            if name.startswith("rules."):
                order = torch.randperm(part[0].numel() if len(part) else 0, generator=generator)
                parts[name] = part.flatten(1)[:, order.to(part.device)]
        return torch.cat([part.flatten() for part in parts.values()])

    def _express(self, parts: dict[str, Tensor]) -> Brain:
        layers = range(len(self.layers))
        rules = tuple(self.form.fold(parts[f"rules.{k}.coefficients"]) for k in layers)
        first = tuple(parts[f"first.{k}"] for k in layers) if len(self.first) else None
        filters = None
        if self.encoder is not None:
            filters = tuple(parts[f"encoder.{name}"] for name in ("first", "second"))
        return Brain(rules, first, filters)


def weigh(weights: Tensor, x: Tensor) -> Tensor:
    """Weights (..., J, I) times x (..., I): every life has its own."""
    # Products of small matrices with one vector each cost less so than as a batched product.
    if weights.shape[-1] * weights.shape[-2] > SMALL:
        return (weights @ x[..., None]).squeeze(-1)
    return torch.linalg.vecdot(weights, x[..., None, :])


SMALL = 4096
"""Weights of a layer."""
