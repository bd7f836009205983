"""The stopping distribution, priors, penalties and loss against closed forms and torch."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Geometric, kl_divergence

from quire.papers.pondernet import (
    GeometricPrior,
    Regulariser,
    entropy_bonus,
    expected_loss,
    expected_steps,
    kl_empirical,
    kl_geometric,
    kl_to_prior,
    log_stopping_distribution,
    ponder_loss,
    sample,
    stop,
    stopping_distribution,
    truncate_examples,
)

TRUNCATIONS = ("remainder", "renormalise")


def constant(hazard: float, steps: int) -> Tensor:
    return torch.full((steps, 2), math.log(hazard / (1 - hazard)), dtype=torch.float64)


def by_hand(logits: Tensor, truncation: str) -> Tensor:
    """The products of section 2.1, one at a time, in float64."""
    hazards, survival, out = logits.double().sigmoid(), 1.0, []
    for n, hazard in enumerate(hazards):
        last = truncation == "remainder" and n == len(hazards) - 1
        out.append(survival * (torch.ones_like(hazard) if last else hazard))
        survival = survival * (1 - hazard)
    probability = torch.stack(out)
    return probability / probability.sum(0)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(-40, 40), min_size=3, max_size=3), min_size=1, max_size=20),
)
def test_sums_to_one_and_matches_the_products(truncation: str, rows: list[list[float]]) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    probability = stopping_distribution(logits, truncation)
    assert (probability >= 0).all()
    torch.testing.assert_close(probability.sum(0), torch.ones(3, dtype=torch.float64))
    if logits.max() > -30:  # the product form loses all digits where nothing ever stops
        kept = logits.clamp(min=-30)
        torch.testing.assert_close(
            stopping_distribution(kept, truncation), by_hand(kept, truncation), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("size", [40.0, -40.0, 1000.0, -1000.0])
def test_saturated_logits_stay_finite(truncation: str, size: float) -> None:
    logits = torch.full((20, 4), size)
    log_stop = log_stopping_distribution(logits, truncation)
    assert log_stop.isfinite().all()
    torch.testing.assert_close(log_stop.exp().sum(0), torch.ones(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("hazard", [0.05, 0.2, 0.9])
def test_constant_hazard_has_the_closed_form(hazard: float) -> None:
    n = torch.arange(12, dtype=torch.float64)
    geometric = hazard * (1 - hazard) ** n
    renormalised = stopping_distribution(constant(hazard, 12), "renormalise")[:, 0]
    torch.testing.assert_close(renormalised, geometric / (1 - (1 - hazard) ** 12))
    remainder = stopping_distribution(constant(hazard, 12), "remainder")[:, 0]
    torch.testing.assert_close(remainder[:-1], geometric[:-1])
    assert remainder[-1].item() == pytest.approx((1 - hazard) ** 11)
    mean = expected_steps(log_stopping_distribution(constant(hazard, 12)))[0].item()
    assert mean == pytest.approx((1 - (1 - hazard) ** 12) / hazard)


def test_tokens_are_independent_columns() -> None:
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    flat = stopping_distribution(logits.flatten(1)).view(5, 3, 4)
    assert torch.equal(stopping_distribution(logits), flat)


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    probability = stopping_distribution(logits)
    assert probability.dtype == torch.float32
    assert torch.equal(probability, stopping_distribution(logits.float()))


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_prior_equals_torch_distributions(truncation: str) -> None:
    prior = GeometricPrior(0.3, truncation).log_prob(7).exp()
    # torch counts failures before the success, from 0
    mass = (
        Geometric(torch.tensor(0.3, dtype=torch.float64)).log_prob(torch.arange(7.0)).exp().double()
    )
    if truncation == "renormalise":
        expected = mass / mass.sum()
    else:
        expected = torch.cat([mass[:-1], 1 - mass[:-1].sum(0, keepdim=True)])
    torch.testing.assert_close(prior, expected, atol=1e-7, rtol=1e-6)


def test_prior_with_a_horizon_is_cut_and_not_normalised_again() -> None:
    whole = GeometricPrior(0.2).log_prob(20)
    assert torch.equal(GeometricPrior(0.2, horizon=20).log_prob(3), whole[:3])
    at_once = log_stopping_distribution(torch.zeros(1, 2))
    assert kl_geometric(0.2)(at_once).tolist() == [0.0, 0.0]
    assert kl_geometric(0.2, horizon=20)(at_once).min() > 1.5
    with pytest.raises(ValueError, match="horizon of 2 steps, got an unroll of 3"):
        GeometricPrior(0.2, horizon=2).log_prob(3)


def test_kl_has_the_direction_of_the_paper() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_stop = log_stopping_distribution(logits)
    prior = GeometricPrior(0.4).log_prob(6).exp()
    ours = kl_geometric(0.4)(log_stop)
    forward = kl_divergence(Categorical(log_stop.exp().T), Categorical(prior))
    backward = kl_divergence(Categorical(prior), Categorical(log_stop.exp().T))
    torch.testing.assert_close(ours, forward)
    assert (ours - backward).abs().min() > 1e-3


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_prior_has_no_divergence_from_itself(truncation: str) -> None:
    log_stop = log_stopping_distribution(constant(0.3, 9), truncation)
    assert kl_geometric(0.3, truncation)(log_stop).abs().max() < 1e-12


def test_free_priors() -> None:
    log_stop = log_stopping_distribution(
        torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    )
    uniform = kl_to_prior(torch.ones(4))(log_stop)
    torch.testing.assert_close(uniform, entropy_bonus(log_stop) + math.log(4))
    learned = torch.randn(4, requires_grad=True)
    kl_to_prior(learned.softmax(0))(log_stop).sum().backward()
    assert learned.grad is not None and learned.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="at least 4, got \\(3,\\)"):
        kl_to_prior(torch.ones(3))(log_stop)


def test_empirical_kl_is_that_of_the_mean() -> None:
    logits = torch.tensor([[40.0, -40.0], [0.0, 0.0]])  # one stops at 1, the other at 2
    log_stop = log_stopping_distribution(logits)
    assert kl_empirical(torch.ones(2))(log_stop).item() == pytest.approx(0, abs=1e-6)
    assert kl_to_prior(torch.ones(2))(log_stop).min() > 0.69


def test_a_prior_may_forbid_steps_that_never_stop() -> None:
    never = torch.tensor([[-1e4] * 2, [0.0] * 2, [0.0] * 2], requires_grad=True)
    for prior in (torch.tensor([0.0, 1, 1]), torch.tensor([0, 1, 1])):
        for regulariser in (kl_to_prior(prior), kl_empirical(prior)):
            loss = ponder_loss(torch.zeros(3, 2), never, regulariser=regulariser, beta=1.0)
            assert loss.item() == pytest.approx(0, abs=1e-6)
            (gradient,) = torch.autograd.grad(loss, never)
            assert gradient.isfinite().all()
    assert (
        kl_to_prior(torch.tensor([0.0, 1]))(torch.tensor([[0.5], [0.5]]).log()).item() == math.inf
    )


def test_infinite_logits_are_certain_hazards() -> None:
    logits = torch.tensor([[math.inf], [0.0], [-math.inf]], requires_grad=True)
    log_stop = log_stopping_distribution(logits)
    assert log_stop.exp().squeeze(1).tolist() == [1.0, 0.0, 0.0]
    for penalty in (kl_geometric(0.2), entropy_bonus, expected_steps):
        value = penalty(log_stop).sum()
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert value.isfinite() and gradient.isfinite().all()


def test_a_prior_without_end_closes_the_loophole() -> None:
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    gradients = []
    for horizon in (6, 20, math.inf):
        value = kl_geometric(0.3, horizon=horizon)(log_stopping_distribution(logits)).sum()
        gradients += torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradients[0], gradients[2])
    torch.testing.assert_close(gradients[1], gradients[2])
    endless = GeometricPrior(0.3, horizon=math.inf).log_prob(3)
    torch.testing.assert_close(endless.exp(), 0.3 * 0.7 ** torch.arange(3, dtype=torch.float64))
    at_once = log_stopping_distribution(torch.zeros(1, 2))
    assert kl_geometric(0.2, horizon=math.inf)(at_once).min() > 1.5


def test_an_unreachable_step_counts_for_nothing() -> None:
    losses = torch.tensor([[math.inf], [2.0], [math.nan]], requires_grad=True)
    logits = torch.tensor([[-1e4], [1e4], [0.0]], requires_grad=True)
    loss = ponder_loss(losses, logits, regulariser=kl_geometric(0.2), beta=0.0)
    assert loss.item() == 2.0
    loss.backward()
    assert losses.grad.tolist() == [[0.0], [1.0], [0.0]]
    assert logits.grad.isfinite().all()


REGULARISERS = {
    "kl": kl_geometric(0.5),
    "empirical": kl_empirical(GeometricPrior(0.5)),
    "steps": expected_steps,
    "entropy": entropy_bonus,
}


@pytest.mark.parametrize("regulariser", REGULARISERS.values(), ids=REGULARISERS)
@pytest.mark.parametrize("fill", [1e4, math.inf, math.nan])
def test_padding_is_left_out_of_loss_and_penalty(regulariser: Regulariser, fill: float) -> None:
    generator = torch.Generator().manual_seed(8)
    logits, losses = torch.randn(2, 4, 3, 2, generator=generator)
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    whole = [logits.masked_fill(weight == 0, fill), losses.masked_fill(weight == 0, fill)]
    part = [logits[:, weight > 0], losses[:, weight > 0]]
    for tensor in whole + part:
        tensor.requires_grad_()
    padded = ponder_loss(whole[1], whole[0], regulariser=regulariser, beta=1.0, weight=weight)
    alone = ponder_loss(part[1], part[0], regulariser=regulariser, beta=1.0)
    torch.testing.assert_close(padded, alone)
    padded.backward(), alone.backward()
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a.grad[:, weight > 0], b.grad)
        assert (a.grad[:, weight == 0] == 0).all()


@pytest.mark.parametrize("regulariser", REGULARISERS.values(), ids=REGULARISERS)
def test_nothing_to_average_is_no_loss(regulariser: Regulariser) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = ponder_loss(logits.square(), logits, regulariser=regulariser, weight=torch.zeros(3))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()
    none = torch.zeros(4, 0, requires_grad=True)
    empty = ponder_loss(none.square(), none, regulariser=regulariser)
    empty.backward()
    assert empty.item() == 0


def test_weights_of_the_empirical_kl_are_those_of_a_repeated_example() -> None:
    log_stop = log_stopping_distribution(torch.randn(5, 2))
    penalty = kl_empirical(GeometricPrior(0.3))
    thrice = penalty(log_stop[:, [0, 0, 0, 1]])
    torch.testing.assert_close(penalty(log_stop, torch.tensor([1.5, 0.5])), thrice)  # type: ignore[call-arg]


def test_entropy_and_mean_equal_torch_and_sums() -> None:
    log_stop = log_stopping_distribution(
        torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    )
    torch.testing.assert_close(entropy_bonus(log_stop), -Categorical(log_stop.exp().T).entropy())
    mean = sum((n + 1) * log_stop[n].exp() for n in range(6))
    torch.testing.assert_close(expected_steps(log_stop), mean)


def test_loss_is_the_expectation_of_losses_plus_the_penalty() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, losses = torch.randn(2, 5, 8, generator=generator)
    probability = by_hand(logits, "remainder").float()
    task = sum(probability[n] * losses[n] for n in range(5))
    penalty = kl_geometric(0.2)(log_stopping_distribution(logits))
    loss = ponder_loss(losses, logits, regulariser=kl_geometric(0.2), beta=0.5)
    torch.testing.assert_close(loss, (task + 0.5 * penalty).mean())
    weight = torch.tensor([1.0, 0] * 4)
    some = ponder_loss(losses, logits, regulariser=None, weight=weight)
    torch.testing.assert_close(some, task[::2].mean())


def test_loss_is_not_the_loss_of_the_expectation() -> None:
    predictions = torch.tensor([[-1.0], [1.0]])
    logits = torch.zeros(2, 1)
    assert expected_loss(predictions.square(), log_stopping_distribution(logits)).item() == 1.0


def test_never_halting_does_not_lower_the_loss() -> None:
    losses = torch.ones(5, 1)
    never = ponder_loss(losses, torch.full((5, 1), -40.0), regulariser=None)
    assert never.item() == pytest.approx(1.0)


def test_one_step_reduces_to_the_plain_network() -> None:
    losses = torch.rand(1, 6)
    for truncation in TRUNCATIONS:
        logits = torch.randn(1, 6, requires_grad=True)
        loss = ponder_loss(
            losses, logits, regulariser=kl_geometric(0.2), beta=1.0, truncation=truncation
        )
        torch.testing.assert_close(loss, losses.mean())
        loss.backward()
        assert logits.grad is not None and logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize(
    "regulariser", [kl_geometric(0.2), entropy_bonus, expected_steps, kl_empirical(torch.ones(20))]
)
def test_gradients(truncation: str, steps: int, regulariser: Regulariser) -> None:
    generator = torch.Generator().manual_seed(steps)
    logits = torch.randn(steps, 2, generator=generator, dtype=torch.float64)
    losses = torch.rand(steps, 2, generator=generator, dtype=torch.float64)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return ponder_loss(b, a, regulariser=regulariser, beta=0.3, truncation=truncation)

    inputs = (logits.requires_grad_(), losses.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_gradients_at_saturation(truncation: str) -> None:
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    logits = (40 * torch.stack([sign, -sign, sign])).requires_grad_()
    losses = torch.rand(3, 4, dtype=torch.float64)
    loss = ponder_loss(losses, logits, regulariser=kl_geometric(0.2), truncation=truncation)
    loss.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert torch.autograd.gradcheck(
        lambda a: ponder_loss(losses, a, regulariser=kl_geometric(0.2), truncation=truncation),
        logits.detach().requires_grad_(),
    )


def bernoulli_halts(logits: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """The paper's evaluation, literally: draw Lambda_n step by step, force the last."""
    steps = len(logits)
    halted = torch.rand(draws, steps, generator=generator) < logits.sigmoid()
    halted[:, -1] = True
    return halted.int().argmax(1)


def test_simulated_halts_follow_the_distribution_and_the_loss_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(8, generator=generator) - 0.5
    losses = torch.rand(8, generator=generator)
    draws = 100_000
    exact = stopping_distribution(logits[:, None])[:, 0].double()
    by_rule = stop(
        torch.zeros(8, draws), logits[:, None].expand(8, draws), sample(generator)
    ).steps.sub(1)
    for halts in (bernoulli_halts(logits, draws, generator), by_rule):
        counts = torch.bincount(halts, minlength=8)
        assert scipy.stats.chisquare(counts, exact / exact.sum() * draws).pvalue > 1e-3
        sampled = losses[halts]
        z = (sampled.mean() - (exact * losses).sum()) / (sampled.std() / math.sqrt(draws))
        assert abs(z) < 4


def test_eps_rule_for_each_example_equals_running_it_alone() -> None:
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(15, 9, generator=generator)
    losses = torch.rand(15, 9, generator=generator)
    together = expected_loss(losses, log_stopping_distribution(truncate_examples(logits, 0.05)))
    for b in range(9):
        reached = 1 - torch.sigmoid(logits[:, b])
        own = next((n for n in range(1, 16) if reached[:n].prod() < 0.05), 15)
        alone = expected_loss(losses[:own, b], log_stopping_distribution(logits[:own, b]))
        torch.testing.assert_close(together[b], alone)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stopping_distribution(torch.zeros(2, 2), "cut"), "truncation must be one of"),
        (lambda: stopping_distribution(torch.zeros(0, 2)), "at least one step, got shape"),
        (lambda: GeometricPrior(0.0), "lambda_p must lie in"),
        (lambda: GeometricPrior(1.0), "lambda_p must lie in"),
        (lambda: GeometricPrior(0.5, horizon=0), "horizon must be a whole number from 1"),
        (lambda: GeometricPrior(0.5, horizon=2.5), "horizon must be a whole number from 1"),
        (lambda: kl_to_prior(torch.tensor([1.0, -1.0, 1.0])), "weights of zero or more"),
        (lambda: kl_empirical(torch.zeros(3)), "a sum above zero"),
        (lambda: kl_to_prior(torch.ones(2, 2)), "one weight a step, got shape"),
        (lambda: truncate_examples(torch.zeros(2, 2), 0.0), "eps must lie in"),
        (
            lambda: ponder_loss(
                torch.zeros(2, 3, 3),
                torch.zeros(2, 3, 3),
                regulariser=None,
                weight=torch.ones(3),
            ),
            "weight must have one entry an example",
        ),
        (
            lambda: ponder_loss(torch.zeros(2, 3), torch.zeros(3, 3), regulariser=None),
            "losses must have one entry a step",
        ),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
