"""What the experiments share: settings, policies, evolution, and blows to weights."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Group, Metrics, Run
from quire.lab.training import Kept, save_weights
from quire.papers.hebbian.controls import Gait, RecurrentPolicy, StaticPolicy
from quire.papers.hebbian.evolution import (
    Decay,
    EvolutionStrategy,
    RandomSearch,
    centred_ranks,
    raw,
)
from quire.papers.hebbian.noise import STARTS, Place
from quire.papers.hebbian.pixels import PixelEncoder
from quire.papers.hebbian.policy import (
    HebbianPolicy,
    Policy,
    Squash,
    Uniform,
    Weights,
)
from quire.papers.hebbian.rollout import Draws, Environment, draw_lives, roll_out
from quire.papers.hebbian.rule import FROZEN, Form
from quire.papers.hebbian.workers import name_lives

TEST, BLOW = 1 << 31, (1 << 31) + 1
"""Generations that evolution never comes to: of lives in tests, of weights drawn again."""
LAST = 10
"""Generations that the last fitness is a mean of."""


class Rule(Group):
    """The rules' form."""

    terms: str = "ABCD"
    """Some of A, B, C, D."""
    rate: bool = True
    """Whether each synapse has its own eta."""
    constant: Literal["inside", "outside", "both"] = "inside"
    """Where D stands, of the bracket that eta multiplies."""
    normalize: bool = True
    """Whether layers are divided by their largest absolute weight after each step."""
    shared: bool = False
    """Whether a layer has one rule."""
    coevolved: bool = False
    """Whether the weights at birth are evolved as well."""


class Evolving(Config):
    """Base of the experiments that evolve."""

    method: Literal["hebbian", "static", "random", "search", "recurrent", "gait"] = "hebbian"
    """Plastic, evolved weights, random weights that stay, the best of as many random weights, an
    Elman network, or sines without observation."""
    rule: Rule = Rule()
    """Of plastic networks."""
    start: PositiveFloat = 0.1
    """Weights at birth are uniform within it."""
    hidden: tuple[PositiveInt, ...] = (128, 64)
    """Neurons of the hidden layers; an Elman network has the first of them."""
    population: PositiveInt = 500
    """Individuals of a generation."""
    generations: PositiveInt = 300
    """Updates of the mean."""
    learning_rate: PositiveFloat = 0.2
    """At the first generation."""
    shaped: bool = True
    """Whether fitness counts by its rank."""
    penalty: NonNegativeFloat = 0.01
    """Of the mean square of a genome, off its fitness."""
    common: bool = False
    """Whether both of a pair live the same life."""
    fixed_start: bool = False
    """Whether all lives of evolution begin with the same weights; in tests they are fresh."""


def build(
    config: Evolving,
    inputs: int,
    actions: int,
    *,
    squash: Squash = torch.tanh,
    learns_from_action: bool = True,
    has_pixels: bool = False,
) -> Policy:
    """The policy, its parameters drawn as at generation 0.

    Args:
        config: Says which.
        inputs: I; of pixels the encoder's features.
        actions: A.
        squash: From outputs to actions.
        learns_from_action: Whether the last layer's rule sees the action or the raw output.
        has_pixels: Whether images are seen.
    """
    sizes = (inputs, *config.hidden, actions)
    encoder = PixelEncoder() if has_pixels else None
    if config.method == "gait":
        return Gait(actions, squash=squash)
    if config.method == "recurrent":
        return RecurrentPolicy(inputs, actions, hidden=config.hidden[0], squash=squash)
    if config.method in ("static", "search"):
        return StaticPolicy(sizes, squash=squash, encoder=encoder)
    rule = config.rule
    form = Form(rule.terms, rule.rate, rule.constant, rule.normalize)
    return HebbianPolicy(
        sizes, form=FROZEN if config.method == "random" else form, start=Uniform(config.start),
        squash=squash, learns_from_action=learns_from_action, coevolved=rule.coevolved,
        shared=rule.shared, encoder=encoder,
    )  # fmt: skip


class Learned(NamedTuple):
    """What evolution ends with."""

    genome: Tensor
    """The mean, (n,), or the best that random search met."""
    metrics: Metrics
    """Fitness at first and at last, without the penalty; evaluations."""


Evaluate = Callable[[Any], tuple[Tensor, Tensor]]
"""From a strategy to fitness and penalty of its generation's individuals, (P,) each."""


def evolve(config: Evolving, run: Run, policy: Policy, evaluate: Evaluate) -> Learned:
    """All generations; nothing where there is nothing to evolve."""
    begun = policy.genome().to(run.device)
    if config.method == "random" and not len(begun):
        return Learned(begun, {})
    strategy, kept = make_strategy(config, run, policy, begun), Kept()
    for generation in run.steps(config.generations, state=(strategy, kept)):
        fitness, penalty = evaluate(strategy)
        strategy.tell(fitness - penalty)
        mean = fitness.nanmean()
        run.log(fitness=mean)
        if generation == 0:
            kept.average("first_fitness", mean)
        if generation >= config.generations - LAST:
            kept.average("last_fitness", mean)
    with torch.no_grad():
        policy.load_genome(strategy.mean.to(begun.device))
    save_weights(run.directory, "policy", policy)
    evaluations = float(config.population * config.generations)
    return Learned(strategy.mean, {**kept.numbers, "evaluations": evaluations})


def make_strategy(
    config: Evolving, run: Run, policy: Policy, begun: Tensor
) -> EvolutionStrategy | RandomSearch:
    """Who asks for genomes."""
    seed = run.rng("evolution").initial_seed()
    if config.method == "search":
        return RandomSearch(len(begun), population=config.population, seed=seed, device=run.device)
    return EvolutionStrategy(
        begun, population=config.population, learning_rate=config.learning_rate,
        shape=centred_ranks if config.shaped else raw, decay=Decay(penalty=config.penalty),
        penalised=policy.penalised, seed=seed,
    )  # fmt: skip


def evaluate_together(
    config: Evolving, run: Run, policy: Policy, env: Environment, *, each: int, steps: int
) -> Evaluate:
    """All individuals at once, on the run's device, `each` lives of every one.

    Args:
        config: Says which lives individuals share.
        run: Gives device and seeds.
        policy: Who lives.
        env: Where, for lives (P, each).
        each: Lives of an individual.
        steps: T.
    """
    seed = run.rng("lives").initial_seed()
    individuals = torch.arange(config.population, device=run.device)
    rows = name_lives(individuals, each, common=config.common)

    def evaluate(strategy: Any) -> tuple[Tensor, Tensor]:
        genomes = strategy.ask()
        draws = draw_lives(policy, env, rows, seed=seed, generation=strategy.generation)
        if config.fixed_start:
            draws = Draws(only_start(policy, env, rows, seed), draws.scenes)
        brain = policy.express(genomes[:, None])
        rollout = roll_out(policy, env, draws, steps=steps, brain=brain)
        return rollout.returns.mean(-1), strategy.penalty(genomes)

    return evaluate


def only_start(policy: Policy, env: Environment, rows: Tensor, seed: int) -> Tensor:
    """The same weights at birth for all lives, (*rows.shape, S)."""
    return draw_lives(policy, env, torch.zeros_like(rows), seed=seed).starts


def redraw(state: Weights, *, bound: float, seed: int) -> Weights:
    """Weights drawn again as at birth, whatever they were: a blow."""
    lives = state[0].shape[:-2]
    rows = torch.arange(lives.numel(), device=state[0].device).reshape(lives)
    sizes = [layer.shape[-1] * layer.shape[-2] for layer in state]
    place = Place(seed, stream=STARTS, generation=BLOW)
    fresh = Uniform(bound)(place.uniform(rows, sum(sizes))).split(sizes, -1)
    return tuple(part.reshape(layer.shape) for part, layer in zip(fresh, state, strict=True))


def erase(state: Weights) -> Weights:
    """All weights zero."""
    return tuple(torch.zeros_like(layer) for layer in state)


def saturate(state: Weights) -> Weights:
    """Every weight at 1 or -1."""
    return tuple(layer.sign() for layer in state)


def maker(config: Evolving, inputs: int, actions: int, **options: Any) -> Callable[[], Policy]:
    """`build` with its arguments, to be sent to other processes."""
    return partial(build, config, inputs, actions, **options)
