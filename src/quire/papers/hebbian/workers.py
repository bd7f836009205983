"""Lives over processes or a Ray cluster: what travels is one genome, numbers and returns.

A worker computes its individuals' genomes itself, from the mean and their numbers. So the same seed
gives the same fitness however many workers there are.
"""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from quire.papers.hebbian.policy import Policy
from quire.papers.hebbian.rollout import Change, draw_lives, roll_out
from quire.papers.hebbian.simulators import Simulators, World

S = TypeVar("S")
R = TypeVar("R")


class Workers(Protocol):
    """Who carries out calls."""

    def map(self, function: Callable[[S, Any], R], shared: S, items: Sequence[Any]) -> list[R]:
        """`function(shared, item)` of each item, in their order; `shared` is sent once a worker."""

    def __len__(self) -> int:
        """How many there are."""


class Here:
    """No worker: this process."""

    def map(self, function: Callable[[S, Any], R], shared: S, items: Sequence[Any]) -> list[R]:
        """One after the other."""
        return [function(shared, item) for item in items]

    def __len__(self) -> int:
        """1."""
        return 1

    def close(self) -> None:
        """Nothing is open."""


class Processes:
    """Local processes of one thread each.

    count: How many. Raises ValueError for less than one.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"there are 1 or more processes, got {count}")
        self.count = count
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_quiet)

    def map(self, function: Callable[[S, Any], R], shared: S, items: Sequence[Any]) -> list[R]:
        """As many at a time as there are processes."""
        waiting = [self._pool.submit(function, shared, item) for item in items]
        return [future.result() for future in waiting]

    def __len__(self) -> int:
        """How many."""
        return self.count

    def close(self) -> None:
        """End them."""
        self._pool.shutdown(cancel_futures=True)


class RayWorkers:
    """Tasks on a Ray cluster: the one at RAY_ADDRESS, else one that is started here.

    count: Parts that work is cut into, such as the cluster's cores. Raises ImportError where the
    extra `ray` is missing, ValueError for less than one.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"there are 1 or more workers, got {count}")
        try:
            import ray
        except ImportError:
            raise ImportError("ray is missing: pip install 'quire-papers[ray]'") from None
        self.count, self._ray = count, ray
        self._started = not ray.is_initialized()
        if self._started:
            # "local", since with no address Ray joins whatever cluster was started here last.
            address = os.environ.get("RAY_ADDRESS") or "local"
            settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
            ray.init(address, log_to_driver=False, configure_logging=False, **settings)

    def map(self, function: Callable[[S, Any], R], shared: S, items: Sequence[Any]) -> list[R]:
        """Whenever a core of the cluster is free; what is shared lies in its object store."""
        call: Any = self._ray.remote(num_cpus=1)(_alone)
        place = self._ray.put((function, shared))
        found: list[R] = self._ray.get([call.remote(place, item) for item in items])
        return found

    def __len__(self) -> int:
        """How many parts."""
        return self.count

    def close(self) -> None:
        """End the cluster if it was started here."""
        if self._started:
            self._ray.shutdown()


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started them saves its state and ends
    torch.set_num_threads(1)


def _alone(task: tuple[Callable[[Any, Any], R], Any], item: Any) -> R:
    torch.set_num_threads(1)
    function, shared = task
    return function(shared, item)


class Strategy(Protocol):
    """Who knows genomes: `EvolutionStrategy`, `RandomSearch`, `Settled`."""

    def ask(self, individuals: Tensor) -> Tensor:
        """Genomes (k, n) of individuals (k,)."""

    def penalty(self, genomes: Tensor) -> Tensor:
        """What is taken off their fitness, (k,)."""


@dataclass(frozen=True)
class Settled:
    """One genome (n,) for every individual: to test it in many lives."""

    genome: Tensor

    def ask(self, individuals: Tensor) -> Tensor:
        """The same genome for each, (k, n)."""
        return self.genome.expand(len(individuals), -1)

    def penalty(self, genomes: Tensor) -> Tensor:
        """Nothing, (k,)."""
        return genomes.new_zeros(len(genomes))


@dataclass(frozen=True)
class Trial:
    """What a life is: who lives, where, how long. Can be sent to another process."""

    build: Callable[[], Policy]
    """Makes the policy; its own parameters do not matter."""
    worlds: tuple[World, ...]
    """E; every individual lives once in each."""
    steps: int = 1000
    """T, the most."""
    lanes: int = 8
    """Individuals that live in lock-step."""
    alter: Callable[[Any, Simulators, Policy, int], "dict[int, Change]"] | None = None
    """From draws, environment, policy and steps to what happens on the way; see `roll_out`."""

    def sealed(self) -> bytes:
        """As bytes: workers keep what they have opened."""
        return pickle.dumps(self)


class Order(NamedTuple):
    """What all workers are sent."""

    trial: bytes
    strategy: Strategy
    seed: int
    generation: int
    common: bool
    """Whether both of a pair have the same life: weights at birth and scene."""


class Lived(NamedTuple):
    """What came of individuals (k,)."""

    rewards: Tensor
    """(T, k, E); T is that of the longest life."""
    penalty: Tensor
    """(k,)."""


@lru_cache(maxsize=2)
def _open(trial: bytes) -> tuple[Trial, Policy, Simulators]:
    known: Trial = pickle.loads(trial)
    return known, known.build(), Simulators(known.worlds)


def live(order: Order, individuals: list[int]) -> Lived:
    """The lives of some individuals, `lanes` at a time."""
    trial, policy, env = _open(order.trial)
    found = []
    for piece in torch.tensor(individuals).split(trial.lanes):
        genomes = order.strategy.ask(piece)
        rows = name_lives(piece, len(trial.worlds), common=order.common)
        draws = draw_lives(policy, env, rows, seed=order.seed, generation=order.generation)
        changes = trial.alter(draws, env, policy, trial.steps) if trial.alter else None
        brain = policy.express(genomes[:, None])
        rollout = roll_out(policy, env, draws, steps=trial.steps, brain=brain, changes=changes)
        found.append(Lived(rollout.rewards, order.strategy.penalty(genomes)))
    return join(found)


def join(parts: Sequence[Lived]) -> Lived:
    """Parts side by side; who ended earlier gets zeros."""
    longest = max(len(part.rewards) for part in parts)
    rewards = [
        torch.cat([p.rewards, p.rewards.new_zeros(longest - len(p.rewards), *p.rewards.shape[1:])])
        for p in parts
    ]
    return Lived(torch.cat(rewards, 1), torch.cat([part.penalty for part in parts]))


def name_lives(individuals: Tensor, each: int, *, common: bool = False) -> Tensor:
    """Names (k, E) of the lives of individuals (k,), `each` lives of every one; see `draw_lives`.

    common: Whether individuals 2 j and 2 j + 1 have the same lives.
    """
    own = individuals // 2 if common else individuals
    return own[:, None] * each + torch.arange(each, device=individuals.device)


def live_all(workers: Workers, order: Order, count: int) -> Lived:
    """The lives of individuals 0 to `count` - 1, shared evenly among the workers."""
    share = -(-count // len(workers))
    items = [list(range(count))[first : first + share] for first in range(0, count, share)]
    return join(workers.map(live, order, items))
