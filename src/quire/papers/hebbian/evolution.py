"""Evolution strategies as published (Salimans et al. 2017, algorithm 2, mirrored); random search.

n numbers of a genome, P individuals of a generation: individual 2 j adds sigma times noise j to the
mean, individual 2 j + 1 subtracts it. Noise follows from its place (see `noise`) and is computed
where and when it is needed, a piece at a time: never is a generation's noise (P / 2, n) stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quire.nn import devices
from quire.papers.hebbian.noise import EVOLUTION, Place

Shape = Callable[[Tensor], Tensor]
"""From fitness (P,) to what an update weighs individuals with, (P,)."""
_PIECE = 1 << 18
"""Numbers of noise at a time, on a CPU."""


def rank(fitness: Tensor) -> Tensor:
    """Ranks (P,) from 0, the worst; equal ones share their mean, and NaN is last of all."""
    known = torch.where(fitness.isnan(), -torch.inf, fitness.double())
    ordered = known.sort().values
    below, up_to = (torch.searchsorted(ordered, known, right=right) for right in (False, True))
    return (below + up_to - 1).double() / 2


def centred_ranks(fitness: Tensor) -> Tensor:
    """Ranks in [-0.5, 0.5], divided by their standard deviation; zeros where all are equal.

    >>> centred_ranks(torch.tensor([3.0, 1.0, 100.0, 2.0])).tolist()
    [0.4472135901451111, -1.341640830039978, 1.341640830039978, -0.4472135901451111]
    """
    ranks = rank(fitness) / max(1, len(fitness) - 1) - 0.5
    spread = (ranks - ranks.mean()).square().mean().sqrt()
    return ((ranks - ranks.mean()) / torch.where(spread > 0, spread, 1)).float()


def raw(fitness: Tensor) -> Tensor:
    """Fitness as it is, not shaped."""
    return fitness.float()


@dataclass(frozen=True)
class Decay:
    """Constants of the published schedule and penalty, those of the quadruped and of CarRacing."""

    rate: float = 0.995
    """What the learning rate is multiplied with after a generation."""
    rate_floor: float = 0.001
    """At and below it the rate stays."""
    sigma: float = 0.999
    """The same of sigma."""
    sigma_floor: float = 0.01
    """The same."""
    penalty: float = 0.01
    """Fitness falls by so much times the mean square of the numbers that weight decay falls on."""


def perturb(mean: Tensor, sigma: float, place: Place, individuals: Tensor) -> Tensor:
    """Genomes (k, n) of some individuals (k,) of a generation around `mean` (n,)."""
    noise = place.normal(individuals // 2, len(mean))
    sign = 1 - 2 * (individuals % 2)
    return noise.mul_((sigma * sign)[:, None]).add_(mean)


class EvolutionStrategy:
    """Ask for genomes, tell their fitness: the mean moves along the fitness-weighted noise.

        mean += learning_rate / (P sigma) sum_k F_k noise_k

    F are shaped fitness values. Learning rate and sigma fall by `decay` with each generation.

    Args:
        mean: Where it begins, (n,); moves to the device that it is on.
        population: P, even.
        learning_rate: At the first generation.
        sigma: Of the perturbations, at the first generation.
        shape: From fitness to weights; `raw` leaves it.
        decay: Of learning rate, sigma and genomes.
        penalised: How many numbers, from the first on, are penalised; None is all.
        seed: What all noise follows from.

    Raises ValueError for an odd population, and for a rate or sigma that is not positive.

    Example:
        >>> strategy = EvolutionStrategy(torch.zeros(3), learning_rate=0.05)
        >>> for _ in range(150):
        ...     strategy.tell(-(strategy.ask() - 2).square().sum(-1))
        >>> bool((strategy.mean - 2).abs().max() < 0.2)
        True
    """

    def __init__(
        self,
        mean: Tensor,
        *,
        population: int = 200,
        learning_rate: float = 0.2,
        sigma: float = 0.1,
        shape: Shape = centred_ranks,
        decay: Decay = Decay(),
        penalised: int | None = None,
        seed: int = 0,
    ) -> None:
        if population < 2 or population % 2:
            raise ValueError(f"a population is of pairs, got {population}")
        if learning_rate <= 0 or sigma <= 0:
            raise ValueError(f"learning rate and sigma are positive, got {learning_rate} "
                             f"and {sigma}")  # fmt: skip
        self.mean = mean.detach().clone().float()
        self.population, self.learning_rate, self.sigma = population, learning_rate, sigma
        self.shape, self.decay, self.seed = shape, decay, seed
        self.penalised = len(mean) if penalised is None else penalised
        self.generation = 0

    def ask(self, individuals: Tensor | None = None) -> Tensor:
        """Genomes (k, n) of this generation's individuals (k,), or of all of them."""
        if individuals is None:
            individuals = torch.arange(self.population, device=self.mean.device)
        return perturb(self.mean, self.sigma, self._place, individuals)

    def penalty(self, genomes: Tensor) -> Tensor:
        """What weight decay takes off the fitness of genomes (k, n), (k,)."""
        return penalty(genomes, self.decay.penalty, self.penalised)

    def tell(self, fitness: Tensor) -> None:
        """One update from the fitness of all individuals, (P,). Raises ValueError for fewer."""
        if fitness.shape != (self.population,):
            raise ValueError(f"{self.population} individuals have as many fitness values, got "
                             f"{tuple(fitness.shape)}")  # fmt: skip
        weights = self.shape(fitness.to(self.mean.device))
        # Of a pair both have one noise, with two signs.
        weights = weights[0::2] - weights[1::2]
        pairs = torch.arange(len(weights), device=self.mean.device)
        size = devices.piece_size(pairs, max(1, _PIECE // len(self.mean)), len(pairs),
                                  16 * len(self.mean))  # fmt: skip
        slope = torch.zeros_like(self.mean)
        for piece, weight in zip(pairs.split(size), weights.split(size), strict=True):
            slope += weight @ self._place.normal(piece, len(self.mean))
        self.mean += self.learning_rate / (self.population * self.sigma) * slope
        self.generation += 1
        if self.learning_rate > self.decay.rate_floor:
            self.learning_rate *= self.decay.rate
        if self.sigma > self.decay.sigma_floor:
            self.sigma *= self.decay.sigma

    @property
    def _place(self) -> Place:
        return Place(self.seed, stream=EVOLUTION, generation=self.generation)

    def state_dict(self) -> dict[str, Any]:
        """All that changes; the population is not in it."""
        return {
            "mean": self.mean,
            "generation": self.generation,
            "learning_rate": self.learning_rate,
            "sigma": self.sigma,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back. Raises ValueError for genomes of another size."""
        if state["mean"].shape != self.mean.shape:
            raise ValueError(f"saved was a genome of {len(state['mean']):,} numbers, this is of "
                             f"{len(self.mean):,}")  # fmt: skip
        self.mean = state["mean"].to(self.mean.device)
        self.generation = int(state["generation"])
        self.learning_rate, self.sigma = float(state["learning_rate"]), float(state["sigma"])


def penalty(genomes: Tensor, amount: float, penalised: int) -> Tensor:
    """`amount` times the mean square of the first `penalised` numbers of genomes (k, n), (k,)."""
    if not penalised or not amount:
        return genomes.new_zeros(len(genomes))
    return amount * genomes[:, :penalised].square().mean(-1)


class RandomSearch:
    """The baseline of as many evaluations: independent genomes, of which the best so far is kept.

    It is asked and told as `EvolutionStrategy` is; `mean` is the best genome. What it is worth must
    be measured anew, on fresh episodes: the best of many was also the luckiest.

    Args:
        size: n.
        population: Genomes of a generation.
        scale: Their standard deviation.
        seed: What they follow from.
        device: Where they are.

    Example:
        >>> search = RandomSearch(3, population=50)
        >>> for _ in range(20):
        ...     search.tell(-search.ask().square().sum(-1))
        >>> bool(search.mean.abs().max() < 1)
        True
    """

    def __init__(
        self,
        size: int,
        *,
        population: int = 200,
        scale: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if population < 1:
            raise ValueError(f"a population is of 1 or more, got {population}")
        self.mean = torch.zeros(size, device=device)
        self.best = torch.full((), -torch.inf, device=device)
        self.population, self.scale, self.seed, self.generation = population, scale, seed, 0

    def ask(self, individuals: Tensor | None = None) -> Tensor:
        """Genomes (k, n) of this generation's individuals (k,), or of all of them."""
        if individuals is None:
            individuals = torch.arange(self.population, device=self.mean.device)
        place = Place(self.seed, stream=EVOLUTION, generation=self.generation)
        return self.scale * place.normal(individuals, len(self.mean))

    def penalty(self, genomes: Tensor) -> Tensor:
        """Nothing is taken off, (k,)."""
        return genomes.new_zeros(len(genomes))

    def tell(self, fitness: Tensor) -> None:
        """Keep the best genome of the generation where it is better than all before it."""
        known = torch.where(fitness.isnan(), -torch.inf, fitness).to(self.mean.device)
        best = known.max(0)
        genome = self.ask(best.indices[None])[0]
        better = best.values > self.best
        self.mean = torch.where(better, genome, self.mean)
        self.best = torch.where(better, best.values, self.best)
        self.generation += 1

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"mean": self.mean, "best": self.best, "generation": self.generation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.mean = state["mean"].to(self.mean.device)
        self.best = state["best"].to(self.mean.device)
        self.generation = int(state["generation"])
