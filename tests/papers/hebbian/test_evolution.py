"""Noise by its place, evolution's slope, shaping, decay, and what is saved."""

import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from contract.operators import Operators
from quire.papers.hebbian import Decay, EvolutionStrategy, Place, RandomSearch, centred_ranks, raw
from quire.papers.hebbian.evolution import penalty, rank


def test_numbers_follow_from_their_place_alone():
    place = Place(7, stream=1, generation=3)
    rows = torch.tensor([5, 0, 12, 5])
    whole = place.normal(rows, 1001)
    assert torch.equal(whole[0], whole[3])
    assert torch.equal(whole[2:3], place.normal(torch.tensor([12]), 1001))
    # The first numbers of a longer row are those of a shorter one.
    assert torch.equal(whole[:, :10], place.normal(rows, 10))
    shaped = place.uniform(rows.reshape(2, 2), 9)
    assert torch.equal(shaped.reshape(4, 9), place.uniform(rows, 9))
    others = [Place(8, stream=1, generation=3), Place(7, generation=3), Place(7, stream=1)]
    for other in others:
        assert not torch.equal(other.normal(rows, 8), whole[:, :8])


def test_numbers_have_their_distributions():
    rows = torch.arange(200)
    normal = Place(0).normal(rows, 1000)
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 0.01
    assert torch.corrcoef(normal[:50]).fill_diagonal_(0).abs().max() < 0.15
    uniform = Place(0).uniform(rows, 1000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 0.01


def test_a_large_seed_counts_whole_and_empty_rows_are_empty():
    rows = torch.arange(2)
    low, high = Place(1), Place(1 + (1 << 40))
    assert not torch.equal(low.normal(rows, 4), high.normal(rows, 4))
    assert Place(0).normal(rows[:0], 4).shape == (0, 4)
    assert Place(0).uniform(rows, 0).shape == (2, 0)


def test_an_update_is_the_published_formula():
    strategy = EvolutionStrategy(torch.randn(7), population=10, learning_rate=0.3, sigma=0.2)
    before, genomes = strategy.mean.clone(), strategy.ask()
    fitness = torch.randn(10)
    strategy.tell(fitness)
    noise = (genomes - before) / 0.2
    ranks = fitness.argsort().argsort().double() / 9 - 0.5
    shaped = (ranks / ranks.std(unbiased=False)).float()
    step = 0.3 / (10 * 0.2) * (shaped[:, None] * noise).sum(0)
    torch.testing.assert_close(strategy.mean, before + step, rtol=1e-4, atol=1e-5)


def test_pieces_of_noise_change_nothing(monkeypatch):
    fitness = torch.randn(60)
    means = []
    for piece in (1, 1 << 18):
        monkeypatch.setattr("quire.papers.hebbian.evolution._PIECE", piece)
        strategy = EvolutionStrategy(torch.zeros(33), population=60)
        strategy.tell(fitness)
        means.append(strategy.mean)
    torch.testing.assert_close(*means)


def test_a_pair_is_mirrored_and_individuals_can_be_asked_for_alone():
    strategy = EvolutionStrategy(torch.randn(5), population=6)
    genomes = strategy.ask()
    torch.testing.assert_close(genomes[0::2] + genomes[1::2], 2 * strategy.mean.expand(3, -1))
    assert torch.equal(strategy.ask(torch.tensor([4, 1])), genomes[[4, 1]])


def test_learning_rate_and_sigma_fall_to_their_floors():
    decay = Decay(rate=0.5, rate_floor=0.05, sigma=0.8, sigma_floor=0.06)
    strategy = EvolutionStrategy(torch.zeros(2), population=2, decay=decay)
    seen = []
    for _ in range(5):
        seen.append((strategy.learning_rate, strategy.sigma))
        strategy.tell(torch.tensor([0.0, 1.0]))
    rates, sigmas = zip(*seen, strict=True)
    assert rates == pytest.approx((0.2, 0.1, 0.05, 0.05, 0.05))
    assert sigmas == pytest.approx((0.1, 0.08, 0.064, 0.0512, 0.0512))


def test_ranks_share_ties_and_put_what_is_no_number_last():
    fitness = torch.tensor([2.0, torch.nan, 5.0, 2.0, torch.inf])
    assert rank(fitness).tolist() == [1.5, 0, 3, 1.5, 4]
    numbers = torch.randn(50)
    assert rank(numbers).tolist() == (stats.rankdata(numbers.numpy()) - 1).tolist()
    shaped = centred_ranks(numbers)
    assert float(shaped.mean()) == pytest.approx(0, abs=1e-6)
    assert float(shaped.std(unbiased=False)) == pytest.approx(1)
    for same in (torch.ones(4), torch.full((4,), torch.nan), torch.ones(1)):
        assert centred_ranks(same).tolist() == [0.0] * len(same)
    assert raw(numbers.double()).dtype == torch.float32


def test_equal_fitness_moves_nothing():
    strategy = EvolutionStrategy(torch.randn(3), population=4)
    before = strategy.mean.clone()
    strategy.tell(torch.ones(4))
    assert torch.equal(strategy.mean, before)


def test_the_penalty_falls_on_the_first_numbers():
    genomes = torch.tensor([[1.0, 3.0, 100.0]])
    assert penalty(genomes, 0.01, 2).tolist() == pytest.approx([0.05])
    assert penalty(genomes, 0.01, 0).tolist() == [0]
    strategy = EvolutionStrategy(torch.zeros(3), population=2, penalised=2)
    assert strategy.penalty(genomes).tolist() == pytest.approx([0.05])


@pytest.mark.parametrize("make", [
    lambda: EvolutionStrategy(torch.zeros(6), population=8, seed=3),
    lambda: RandomSearch(6, population=8, seed=3),
])  # fmt: skip
def test_what_is_saved_goes_on_as_it_would_have(make):
    def go_on(strategy, turns):
        for _ in range(turns):
            strategy.tell(-strategy.ask().square().sum(-1))
        return strategy

    whole, other = go_on(make(), 7), make()
    other.load_state_dict(go_on(make(), 3).state_dict())
    assert torch.equal(go_on(other, 4).mean, whole.mean)
    assert torch.equal(pickle.loads(pickle.dumps(whole)).ask(), whole.ask())


def test_random_search_keeps_the_best():
    search = RandomSearch(4, population=30)
    seen = []
    for _ in range(3):
        genomes = search.ask()
        fitness = -genomes.square().sum(-1)
        fitness[0] = torch.nan
        seen += list(zip(fitness.nan_to_num(-1e9).tolist(), genomes.tolist(), strict=True))
        search.tell(fitness)
    assert search.mean.tolist() == pytest.approx(max(seen)[1])
    assert search.penalty(genomes).tolist() == [0] * 30


@pytest.mark.parametrize("population", [40, 4000])
def test_nothing_waits_for_a_device(population):
    strategy = EvolutionStrategy(torch.zeros(100, device="meta"), population=population)
    with Operators() as watched:
        genomes = strategy.ask()
        strategy.tell(genomes.sum(-1) - strategy.penalty(genomes))
    assert watched.waits == 0
    assert watched.number < 1000


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: EvolutionStrategy(torch.zeros(2), population=3), "of pairs, got 3"),
        (lambda: EvolutionStrategy(torch.zeros(2), sigma=0), "are positive"),
        (lambda: EvolutionStrategy(torch.zeros(2), population=4).tell(torch.zeros(3)), "as many"),
        (
            lambda: EvolutionStrategy(torch.zeros(2)).load_state_dict({"mean": torch.zeros(3)}),
            "saved was a genome of 3",
        ),
        (lambda: RandomSearch(2, population=0), "1 or more"),
        (lambda: Place(-1), "a seed is below"),
        (lambda: Place(1 << 64), "a seed is below"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_noise_of_a_row_is_not_that_of_numpy_by_accident():
    """Counter words are in the order block, row, generation, stream: all four count."""
    whole = [Place(0, stream=s, generation=g).uniform(torch.arange(3), 8)
             for s in range(3) for g in range(3)]  # fmt: skip
    rows = torch.cat(whole).numpy()
    assert len(np.unique(rows, axis=0)) == 27
