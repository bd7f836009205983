"""What holds exactly: the rule, its limits, sizes, evolution's gradient, lives that are alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference, peak_tensor_mb
from quire.papers.hebbian.evolution import Decay, EvolutionStrategy, centred_ranks, raw
from quire.papers.hebbian.noise import Place, philox
from quire.papers.hebbian.pixels import FEATURES, PixelEncoder
from quire.papers.hebbian.policy import HebbianPolicy, Uniform
from quire.papers.hebbian.rollout import draw_lives, roll_out
from quire.papers.hebbian.rule import Form, change, normalize
from quire.papers.hebbian.walker import INTACT, Walker, damaged
from quire.papers.hebbian.workers import name_lives

FORMS = [
    Form("A"), Form("AD"), Form("ABC"), Form("ABCD"), Form("ABCD", constant="outside"),
    Form("ABCD", constant="both"), Form("A", rate=False), Form("AD", rate=False),
    Form("ABC", rate=False), Form("ABCD", rate=False), Form("D", rate=False),
]  # fmt: skip
POPULATION, NUMBERS = 500, 61_440
"""The quadruped's."""
KNOWN = {
    ((0, 0, 0, 0), (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)):
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
}  # fmt: skip
"""Philox 4x32-10: counter and key to words, as published with it."""


class Identities(Config):
    """Exact facts, of numbers in double precision where it is not evolution's own."""


def identities(config: Identities, run: Run) -> Metrics:
    """Distances from what must hold."""
    generator = run.rng("numbers")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    seed = run.rng("seed").initial_seed()
    return {
        "update_error": max(measure_update(form, draw) for form in FORMS),
        "still_error": measure_still(draw),
        "slope_error": measure_slope(draw),
        "single_error": measure_single(),
        "sign_error": measure_sign(draw),
        "largest_weight": measure_largest(draw),
        **count_numbers(),
        "estimate_error": measure_estimate(seed),
        "gradient_error": measure_gradient(seed),
        "rank_error": measure_ranks(draw),
        "pair_error": measure_pairs(seed),
        "philox_error": measure_philox(),
        "noise_share": measure_noise(seed),
        "single_life_error": measure_lives(seed),
        "leak": measure_leak(seed),
    }


def measure_update(form: Form, draw: Callable[..., Tensor]) -> float:
    """Distance of a batched update from one synapse after the other, as the equation reads."""
    lives, inputs, outputs = 3, 5, 4
    coefficients = draw(form.count, outputs, inputs)
    pre, post, weights = draw(lives, inputs), draw(lives, outputs), draw(lives, outputs, inputs)
    found = change(form.fold(coefficients), pre, post, weights)
    wanted = weights.clone()
    for life in range(lives):
        for j in range(outputs):
            for i in range(inputs):
                known = dict(zip(form.terms, coefficients[:, j, i].tolist(), strict=False))
                a, b, c, d = (known.get(term, 0.0) for term in "ABCD")
                eta = float(coefficients[len(form.terms), j, i]) if form.rate else 1.0
                x, y = float(pre[life, i]), float(post[life, j])
                outside = 0.0
                if form.constant == "outside":
                    d, outside = 0.0, d
                elif form.constant == "both":
                    outside = float(coefficients[-1, j, i])
                wanted[life, j, i] += eta * (a * x * y + b * x + c * y + d) + outside
    return largest_difference(found, wanted)


def measure_still(draw: Callable[..., Tensor]) -> float:
    """How far weights go where every eta is zero."""
    form = Form(normalize=False)
    coefficients, weights = draw(5, 4, 3), draw(4, 3)
    coefficients[4] = 0
    after = form.apply(form.fold(coefficients), draw(3), draw(4), weights)
    return largest_difference(after, weights)


def measure_slope(draw: Callable[..., Tensor]) -> float:
    """Distance from a line of weights whose D is 1 and whose other terms are 0, after 50 steps."""
    form, rate = Form(normalize=False), 0.01
    coefficients = torch.zeros(5, 4, 3, dtype=torch.float64)
    coefficients[3], coefficients[4] = 1, rate
    born = weights = draw(4, 3)
    for _ in range(50):
        weights = form.apply(form.fold(coefficients), draw(3), draw(4), weights)
    return largest_difference(weights, born + 50 * rate)


def measure_single() -> float:
    """Distance of one linear synapse with A alone, under a steady input, from w (1 + eta A x^2)^t,
    as a share."""
    form, x, steps = Form("A", normalize=False), torch.tensor([0.7], dtype=torch.float64), 30
    folded = form.fold(torch.tensor([0.5, 0.3], dtype=torch.float64).reshape(2, 1, 1))
    weights = torch.tensor([[0.1]], dtype=torch.float64)
    for _ in range(steps):
        weights = form.apply(folded, x, weights @ x, weights)
    wanted = 0.1 * (1 + 0.5 * 0.3 * 0.7**2) ** steps
    return abs(float(weights) / wanted - 1)


def measure_sign(draw: Callable[..., Tensor]) -> float:
    """Distance from its own sign of that synapse's weight, where it is normalised."""
    form, x = Form("A"), torch.tensor([0.7], dtype=torch.float64)
    folded = form.fold(torch.tensor([0.5, 0.3], dtype=torch.float64).reshape(2, 1, 1))
    far = []
    for born in draw(10).tolist():
        weights = torch.tensor([[born]], dtype=torch.float64)
        for _ in range(5):
            weights = form.apply(folded, x, weights @ x, weights)
        far.append(weights[0, 0] - torch.tensor(born).sign())
    return largest(torch.stack(far))


def measure_largest(draw: Callable[..., Tensor]) -> float:
    """The largest weight after normalisation, of layers of all scales and of a layer of zeros."""
    layers = torch.stack([draw(4, 3) * 10.0**power for power in range(-8, 9)])
    layers = torch.cat([layers, torch.zeros(1, 4, 3, dtype=torch.float64)])
    return largest(normalize(layers))


def count_numbers() -> Metrics:
    """Synapses, coefficients, filters and features of the paper's networks."""
    car = HebbianPolicy((FEATURES, 128, 64, 3), encoder=PixelEncoder())
    ant = HebbianPolicy((28, 128, 64, 8))
    return {
        "car_synapses": float(car.draws),
        "car_coefficients": float(car.penalised),
        "car_numbers": float(car.size),
        "ant_synapses": float(ant.draws),
        "ant_coefficients": float(ant.size),
        "features": float(PixelEncoder()(torch.rand(1, 3, 84, 84)).shape[-1]),
    }


def bowl(seed: int, *, population: int, numbers: int = 5) -> tuple[EvolutionStrategy, Tensor]:
    """A strategy without shaping and penalty, and where -|theta - c|^2 has its top."""
    mean = torch.linspace(-1, 1, numbers)
    strategy = EvolutionStrategy(
        mean, population=population, shape=raw, decay=Decay(penalty=0), seed=seed
    )
    return strategy, torch.linspace(0.5, -0.25, numbers)


def estimate(strategy: EvolutionStrategy, fitness: Tensor) -> Tensor:
    """The slope that an update followed, (n,): its step over the learning rate."""
    rate, before = strategy.learning_rate, strategy.mean.clone()
    strategy.tell(fitness)
    return (strategy.mean - before) / rate


def measure_estimate(seed: int) -> float:
    """Distance of a bowl's estimated slope from 2 S (c - theta), S the second moment of its noise:
    what mirrored pairs give on a quadratic without any remainder."""
    strategy, top = bowl(seed, population=40)
    genomes, mean, sigma = strategy.ask(), strategy.mean.clone(), strategy.sigma
    noise = (genomes[0::2] - mean).double() / sigma
    moment = noise.T @ noise / len(noise)
    found = estimate(strategy, -(genomes - top).square().sum(-1))
    return largest_difference(found.double(), 2 * moment @ (top - mean).double())


def measure_gradient(seed: int) -> float:
    """Distance of the slope by 100,000 individuals from the gradient, as a share of its length."""
    strategy, top = bowl(seed, population=100_000)
    gradient = 2 * (top - strategy.mean)
    found = estimate(strategy, -(strategy.ask() - top).square().sum(-1))
    return float((found - gradient).norm() / gradient.norm())


def measure_ranks(draw: Callable[..., Tensor]) -> float:
    """Distance of shaped fitness from that of transforms that keep the order; NaN is the worst."""
    fitness = draw(100)
    shaped = centred_ranks(fitness)
    others = [centred_ranks(f) for f in (fitness.exp(), fitness**3, 5 + fitness.sigmoid() / 7)]
    lost = fitness.clone()
    lost[fitness.argmin()] = torch.nan
    others.append(centred_ranks(lost))
    return max(largest_difference(shaped, other) for other in others)


def measure_pairs(seed: int) -> float:
    """What is left of a generation's perturbations when they are added up."""
    strategy = EvolutionStrategy(torch.zeros(1000), population=100, seed=seed)
    return largest(strategy.ask().sum(0))


def measure_philox() -> float:
    """Words that are not those of the published tests."""
    wrong = 0
    for (counter, key), words in KNOWN.items():
        found = philox(tuple(torch.tensor([word]) for word in counter), key)
        wrong += tuple(int(word) for word in found) != words
    return float(wrong)


def measure_noise(seed: int) -> float:
    """The most memory that an update takes, as a share of what a generation's noise would."""
    strategy = EvolutionStrategy(torch.zeros(NUMBERS), population=POPULATION, seed=seed)
    fitness = Place(seed).normal(torch.arange(1), POPULATION)[0]
    whole = POPULATION // 2 * NUMBERS * 4 / 1e6
    return peak_tensor_mb(lambda: strategy.tell(fitness)) / whole


def measure_lives(seed: int) -> float:
    """Distance of returns of a population together from those of its members one by one."""
    policy = HebbianPolicy((13, 8, 4)).double()
    env = Walker([INTACT, damaged("front right")])
    genomes = Place(seed).normal(torch.arange(6), policy.size).double()
    draws = draw_lives(policy, env, name_lives(torch.arange(6), 2), seed=seed)
    draws = draws._replace(starts=draws.starts.double(), scenes=draws.scenes.double())
    whole = roll_out(policy, env, draws, steps=20, brain=policy.express(genomes[:, None]))
    alone = []
    for number, genome in enumerate(genomes):
        one = draws._replace(starts=draws.starts[number], scenes=draws.scenes[number])
        alone.append(roll_out(policy, env, one, steps=20, brain=policy.express(genome)).returns)
    return largest_difference(whole.returns, torch.stack(alone))


def measure_leak(seed: int) -> float:
    """Distance of a life from the same life after another one: nothing is carried over. Two lives
    of one policy must also be born apart, else it is 1."""
    policy = HebbianPolicy((13, 8, 4), start=Uniform(0.1))
    env = Walker([INTACT])
    rows = torch.arange(2)[:, None]
    draws = [draw_lives(policy, env, rows, seed=seed, generation=each) for each in (0, 1)]
    first, _, again = (roll_out(policy, env, draws[k], steps=20) for k in (0, 1, 0))
    apart = (draws[0].starts - draws[1].starts).abs().max() > 0
    apart &= (draws[0].starts[0] - draws[0].starts[1]).abs().max() > 0
    return largest_difference(first.rewards, again.rewards) if bool(apart) else 1.0
