"""Experiments: settings become policies, runs resume, genomes are kept, blows are what they say."""

import contextlib
import importlib.util

import pytest
import torch

from quire.lab.errors import Interrupted
from quire.lab.testing import run_in, try_run
from quire.lab.training import load_weights_into
from quire.papers.hebbian import Gait, HebbianPolicy, RecurrentPolicy, StaticPolicy
from quire.papers.hebbian.experiments.learner import (
    Evolving,
    Rule,
    build,
    erase,
    evolve,
    redraw,
    saturate,
)
from quire.papers.hebbian.experiments.walker import Judge, Walking

KINDS = {"hebbian": HebbianPolicy, "static": StaticPolicy, "random": HebbianPolicy,
         "search": StaticPolicy, "recurrent": RecurrentPolicy, "gait": Gait}  # fmt: skip


@pytest.mark.parametrize("method", KINDS)
def test_a_method_is_a_policy(method):
    policy = build(Evolving(method=method, hidden=(5,)), 4, 2)
    assert type(policy) is KINDS[method]
    assert (policy.size == 0) == (method == "random")


def test_the_rules_settings_reach_the_policy():
    rule = Rule(terms="AD", constant="outside", normalize=False, coevolved=True, shared=True)
    policy = build(Evolving(rule=rule, hidden=(5,), start=0.7), 4, 2)
    form = policy.form
    assert (form.terms, form.rate, form.constant, form.normalize) == ("AD", True, "outside", False)
    assert policy.size == 2 * 3 + 4 * 5 + 5 * 2
    assert policy.start.bound == 0.7


@pytest.mark.parametrize(
    ("experiment", "arm"),
    [("walker", "hebbian"), ("ablations", "fixed_start"), ("reach", "search")],
)
def test_a_run_that_was_killed_ends_with_the_same_numbers(experiment, arm, tmp_path):
    setting = {"hidden": [6], "population": 6, "generations": 4, "steps": 24, "tests": 2}
    run = {"arm": arm, "overrides": setting}
    whole = try_run("hebbian", experiment, directory=tmp_path / "a", **run)
    for stop in (1, 2):
        with contextlib.suppress(Interrupted):
            try_run("hebbian", experiment, directory=tmp_path / "b", stop_after=stop, **run)
    assert try_run("hebbian", experiment, directory=tmp_path / "b", **run) == whole


@pytest.mark.skipif(importlib.util.find_spec("gymnasium") is None, reason="extra rl")
def test_simulated_runs_resume_as_well(tmp_path):
    setting = {"generations": 3, "population": 4, "steps": 20, "tests": 2, "hidden": [4]}
    run = {"arm": "cartpole", "overrides": setting}
    whole = try_run("hebbian", "classic", directory=tmp_path / "a", **run)
    with contextlib.suppress(Interrupted):
        try_run("hebbian", "classic", directory=tmp_path / "b", stop_after=2, **run)
    assert try_run("hebbian", "classic", directory=tmp_path / "b", **run) == whole


def test_the_evolved_genome_is_kept(tmp_path):
    config = Evolving(method="static", hidden=(3,), population=4, generations=2)
    run = run_in(tmp_path, config)
    policy = build(config, 4, 2)
    learned = evolve(config, run, policy, lambda s: (s.ask().sum(-1), torch.zeros(4)))
    other = build(config, 4, 2)
    load_weights_into(tmp_path, "policy", other)
    assert torch.equal(other.genome(), learned.genome)
    assert learned.metrics["evaluations"] == 8


def test_fitness_that_is_no_number_stops_nothing_unless_all_of_it_is(tmp_path):
    config = Evolving(method="static", hidden=(3,), population=4, generations=2)

    def broken(strategy):
        fitness = strategy.ask().sum(-1)
        return torch.where(torch.arange(4) == 2, torch.nan, fitness), torch.zeros(4)

    learned = evolve(config, run_in(tmp_path, config), build(config, 4, 2), broken)
    assert learned.genome.isfinite().all()
    assert learned.metrics["last_fitness"] == pytest.approx(learned.metrics["last_fitness"])


def test_blows_are_what_they_say():
    state = (torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 5))
    fresh, again = (redraw(state, bound=0.1, seed=3) for _ in range(2))
    assert [w.shape for w in fresh] == [w.shape for w in state]
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))
    assert max(w.abs().max() for w in fresh) <= 0.1
    assert not torch.equal(fresh[0][0, 0], fresh[0][0, 1])
    assert not any(w.any() for w in erase(state))
    assert {float(v) for w in saturate(state) for v in w.unique()} == {-1.0, 1.0}


def test_what_is_judged_of_a_walker(tmp_path):
    """A static policy by hand: what is drawn again is lost, what is kept goes on as it was."""
    config = Walking(method="static", hidden=(6,), steps=40, tests=3)
    run = run_in(tmp_path, config)
    torch.manual_seed(0)
    policy = build(config, 13, 4)
    genome = 5 * policy.genome()
    judge = Judge(config, run, policy, genome)
    bodies = judge.measure_bodies()
    assert bodies["known"] == pytest.approx((bodies["intact"] + bodies["seen"]) / 2)
    assert judge.measure_bodies() == bodies
    blows = judge.measure_blows()
    assert blows["erased"] == pytest.approx(0, abs=0.05)
    assert (tmp_path / "figures" / "blows.svg").is_file()
