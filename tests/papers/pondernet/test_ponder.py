"""Unroll, eps rule, halting networks, stop rules and compaction."""

import itertools
import math

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from quire.papers.pondernet import (
    DigitStep,
    GRUStep,
    HaltingNetwork,
    PatchEmbedding,
    Ponder,
    PonderLoss,
    RNNStep,
    StopRule,
    TransformerStep,
    argmax,
    calibrate_threshold,
    expected,
    expected_steps,
    export_step,
    kl_geometric,
    log_stopping_distribution,
    median,
    ponder_loss,
    sample,
    stop,
    stopping_distribution,
    threshold,
    universal_layer,
)

RULES = {
    "threshold": threshold(0.7),
    "median": median(),
    "argmax": argmax(),
    "expected": expected(),
}


def eager(module: nn.Module, scale: float = 3.0) -> nn.Module:
    """Spread the halt logits, so that examples stop at different steps."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "mixed" in name or "readout" in name or "neighbours" in name:
                parameter.mul_(scale)
            if name.endswith(("mixed.bias", "readout.bias")):
                parameter[-1] -= 1.5
    return module


@pytest.fixture
def ponder() -> Ponder:
    torch.manual_seed(0)
    return eager(Ponder(RNNStep(6, 16, 2), max_steps=12, eps=0.05)).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(1))


def test_any_function_is_a_step(x: Tensor) -> None:
    def step(context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = torch.tanh(context + state)
        return state, state, state[:, 0]

    out = Ponder(step, max_steps=3, eps=None)(x, torch.zeros_like(x))
    torch.testing.assert_close(out.predictions[1], torch.tanh(x + torch.tanh(x)))
    with pytest.raises(ValueError, match="needs state"):
        Ponder(step)(x)


def test_hoisting_prepares_once(x: Tensor) -> None:
    calls = []

    class Counted(RNNStep):
        def __init__(self) -> None:
            super().__init__(6, 16, 1)
            self.prepare.register_forward_hook(lambda *_: calls.append(1))

    Ponder(Counted(), max_steps=7, eps=None)(x)
    assert len(calls) == 1


def test_eps_rule_is_the_first_step_where_all_have_stopped(ponder: Ponder, x: Tensor) -> None:
    full = ponder(x)
    assert len(full.predictions) == 12  # evaluation is not cut
    ponder.eps = 0.6
    cut = ponder.train()(x)
    cdf = 1 - (1 - full.halt_logits.sigmoid()).cumprod(0)
    first = next((n for n in range(1, 13) if (cdf[n - 1] > 0.4).all()), 12)
    assert len(cut.predictions) == first < 12
    torch.testing.assert_close(cut.predictions, full.predictions[:first])
    ponder.check_every = 4
    assert len(ponder(x).predictions) == min(12, -(-first // 4) * 4)
    ponder.eps = 1e-30
    assert len(ponder(x).predictions) == 12
    assert ponder(x[:0]).predictions.shape[1:] == (0, 2)


def test_min_steps_forbid_earlier_halts(x: Tensor) -> None:
    ponder = Ponder(RNNStep(6, 16, 1), max_steps=6, min_steps=3, eps=None)
    halt_logits = ponder(x).halt_logits
    assert (stopping_distribution(halt_logits)[:2] == 0).all()
    log_stop = log_stopping_distribution(halt_logits)
    assert expected_steps(log_stop).min() >= 3
    loss = ponder_loss(torch.rand(6, 40), halt_logits, regulariser=None)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in ponder.parameters() if p.grad is not None)
    assert ponder.infer(x, rule=threshold(0.01)).steps.min() == 3


@pytest.mark.parametrize("detached", [False, True])
def test_separate_halting_network(x: Tensor, detached: bool) -> None:
    step = RNNStep(6, 16, 1)
    halting = HaltingNetwork(16, 8)
    ponder = Ponder(step, max_steps=4, eps=None, halting=halting, detach_halting=detached)
    ponder(x).halt_logits.sum().backward()
    assert halting.layers[0].weight.grad is not None
    assert (step.mixed.weight.grad is None) == detached


def test_recomputing_changes_no_gradient(x: Tensor) -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        ponder = Ponder(GRUStep(6, 8, 1), max_steps=5, eps=None, recompute=recompute)
        predictions, logits, _ = ponder(x)
        ponder_loss(predictions[..., 0].square(), logits, regulariser=None).backward()
        gradients.append([p.grad for p in ponder.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_compaction_equals_the_full_unroll_and_single_examples(
    ponder: Ponder, x: Tensor, rule: StopRule
) -> None:
    predictions, logits, _ = ponder(x)
    slow = stop(predictions, logits, rule)
    for compact in (True, False):
        fast = ponder.infer(x, rule=rule, compact=compact)
        assert torch.equal(fast.steps, slow.steps)
        torch.testing.assert_close(fast.prediction, slow.prediction)
    single = [ponder.infer(row[None], rule=rule) for row in x]
    torch.testing.assert_close(torch.cat([s.prediction for s in single]), fast.prediction)
    assert torch.equal(torch.cat([s.steps for s in single]), fast.steps)
    if rule is not RULES["expected"]:
        assert fast.steps.unique().numel() > 2


def test_compaction_works_less(ponder: Ponder, x: Tensor) -> None:
    rows = []
    ponder.step.mixed.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))
    steps = ponder.infer(x, rule=median()).steps
    assert sum(rows) == steps.sum()
    assert rows == sorted(rows, reverse=True) and rows[-1] < 40


def test_sampling_follows_the_distribution(ponder: Ponder, x: Tensor) -> None:
    one = x[:1].expand(20_000, -1)
    rule = sample(torch.Generator().manual_seed(0))
    steps = ponder.infer(one, rule=rule).steps
    exact = stopping_distribution(ponder(x[:1]).halt_logits)[:, 0].detach().double()
    counts = torch.bincount(steps - 1, minlength=12)
    likely = exact * 20_000 > 5
    assert likely.sum() > 3 and counts[~likely].sum() < 40
    observed, wanted = counts[likely].double(), exact[likely]
    wanted = wanted * observed.sum() / wanted.sum()
    assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-3


def test_rules_on_a_known_distribution() -> None:
    p = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1])[:, None]
    survival = 1 - torch.cat([torch.zeros(1, 1), p.cumsum(0)[:-1]])
    logits = (p / survival).clamp(max=1 - 1e-6).logit()
    predictions = torch.arange(5.0)[:, None]

    def answer(rule: StopRule) -> tuple[float, int]:
        result = stop(predictions, logits, rule)
        return round(result.prediction.item(), 4), int(result.steps)

    assert answer(argmax()) == (2.0, 3)
    assert answer(median()) == (2.0, 3)
    assert answer(threshold(0.65)) == (2.0, 3)
    assert answer(threshold(0.75)) == (3.0, 4)
    assert answer(expected())[0] == 2.0
    late = torch.tensor([0.3, 0.1, 0.6])[:, None]
    hazards = torch.tensor([0.3, 1 / 7, 0.5])[:, None]
    assert late.sum() == 1
    result = stop(predictions[:3], hazards.logit(), argmax())
    assert (result.prediction.item(), result.steps.item()) == (2.0, 3)


def test_longer_evaluation(ponder: Ponder, x: Tensor) -> None:
    assert len(ponder(x, max_steps=30).predictions) == 30
    assert ponder.infer(x, rule=threshold(1.0), max_steps=30).steps.min() == 30


def test_token_wise_halting_freezes_and_equals_single_examples() -> None:
    torch.manual_seed(0)
    ponder = eager(Ponder(DigitStep(4, 8, token_wise=True), max_steps=8), 2.0).eval()
    x = torch.randn(12, 4, 5)
    rule = threshold(0.6)
    together = ponder.infer(x, rule=rule)
    assert together.steps.shape == (12, 5)
    assert together.steps.unique().numel() > 2
    single = [ponder.infer(row[None], rule=rule) for row in x]
    torch.testing.assert_close(torch.cat([s.prediction for s in single]), together.prediction)
    assert torch.equal(torch.cat([s.steps for s in single]), together.steps)
    prediction, steps = frozen_by_hand(ponder, x[:1], 0.6)
    torch.testing.assert_close(prediction, together.prediction[:1])
    assert torch.equal(steps, together.steps[:1])


def test_tokens_that_are_not_frozen_follow_the_full_unroll() -> None:
    torch.manual_seed(0)
    ponder = eager(Ponder(DigitStep(4, 8, token_wise=True), max_steps=8), 2.0).eval()
    x, rule = torch.randn(12, 4, 5), threshold(0.6)
    predictions, logits, _ = ponder(x)
    slow = stop(predictions, logits, rule)
    going_on = ponder.infer(x, rule=rule, freeze=False)
    torch.testing.assert_close(going_on.prediction, slow.prediction)
    assert torch.equal(going_on.steps, slow.steps)
    assert not torch.equal(ponder.infer(x, rule=rule).prediction, going_on.prediction)


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 3, 3, 5), (2, 4, 3)])
def test_a_state_whose_tokens_cannot_be_told_is_an_error(shape: tuple[int, ...]) -> None:
    """(B, heads, T, K), with as many heads as tokens or not."""

    class Step:
        def __call__(self, context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return context, state + 1, torch.tensor([[40.0, 0.0, 0.0]]).expand(len(context), 3)

    ponder = Ponder(Step(), 3)
    with pytest.raises(ValueError, match=r"give the step a method keep_stopped"):
        ponder.infer(torch.zeros(2, 3, 1), torch.zeros(shape), rule=threshold(1.0))
    seen = []

    class Told(Step):
        def keep_stopped(self, new: Tensor, old: Tensor, running: Tensor) -> Tensor:
            seen.append(running[0].tolist())
            return torch.where(running[:, None, :, None], new, old) if new.dim() == 4 else new

    Ponder(Told(), 3).infer(torch.zeros(2, 3, 1), torch.zeros(shape), rule=threshold(0.9))
    assert seen == [[True] * 3, [False, True, True], [False, True, True]]


def frozen_by_hand(ponder: Ponder, x: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """One example, one token at a time: a token that has stopped keeps its state and its answer."""
    context, state = ponder.begin(x)
    tokens = state.shape[1]
    survival, done = [1.0] * tokens, [False] * tokens
    answer, steps = torch.zeros(1, tokens, 10), torch.zeros(1, tokens, dtype=torch.int64)
    for n in range(1, ponder.max_steps + 1):
        with torch.no_grad():
            prediction, new, logit = ponder.step(context, state)
        state = state.clone()
        for t in itertools.compress(range(tokens), [not d for d in done]):
            state[:, t], answer[:, t], steps[:, t] = new[:, t], prediction[:, t], n
            survival[t] *= 1 - float(logit[0, t].sigmoid())
            done[t] = survival[t] <= 1 - tau
    return answer, steps


def test_one_dropout_mask_for_all_steps() -> None:
    torch.manual_seed(0)
    layer = nn.Identity()
    layer.forward = lambda h, mask=None: h + 1  # type: ignore[method-assign]
    step = TransformerStep(PatchEmbedding(8, 4, 16), layer, dim=16, outputs=2, dropout=0.5)
    context = step.train().prepare(torch.randn(2, 1, 8, 8))
    first = step.initial_state(context)
    _, second, _ = step(context, first)
    _, third, _ = step(context, second)
    codes = step.depth_codes
    one = second[0] - first[0] - codes[0]
    two = third[0] - second[0] - codes[1]
    torch.testing.assert_close(one, two)
    assert set(one.round(decimals=3).unique().tolist()) == {0.0, 2.0}
    assert step.eval().prepare(torch.randn(2, 1, 8, 8))["drop"] is None


def test_calibrated_threshold_is_the_smallest_that_is_good_enough() -> None:
    logits = torch.full((4, 100), 0.0)  # CDF 0.5, 0.75, 0.875, 1
    correct = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 100)
    tau = calibrate_threshold(logits, correct, tolerance=0.0)
    assert 0.75 < tau <= 0.77
    assert stop(correct, logits, threshold(tau)).steps.unique().tolist() == [3]
    with pytest.raises(ValueError, match="correct must be"):
        calibrate_threshold(logits, correct[:2])


def test_an_unroll_tells_its_distribution(ponder: Ponder, x: Tensor) -> None:
    unroll = ponder(x)
    for truncation in ("remainder", "renormalise"):
        p = unroll.stop_prob(truncation)
        assert torch.equal(p, stopping_distribution(unroll.halt_logits, truncation))
        mean = sum((n + 1) * p[n] for n in range(12))
        torch.testing.assert_close(unroll.expected_steps(truncation), mean)


def test_the_loss_in_one_call_is_the_one_by_hand(x: Tensor) -> None:
    torch.manual_seed(0)
    bce, ce = nn.BCEWithLogitsLoss(reduction="none"), nn.CrossEntropyLoss(reduction="none")
    unroll = Ponder(RNNStep(6, 16, 1), max_steps=5)(x)
    target = torch.randint(0, 2, (40,)).float()
    logits = unroll.predictions[..., 0]
    losses = bce(logits, target.expand(5, -1))
    prior = kl_geometric(0.3, horizon=math.inf)
    wanted = ponder_loss(losses, unroll.halt_logits, regulariser=prior, beta=0.1)
    loss = PonderLoss(bce, lambda_p=0.3, beta=0.1)
    torch.testing.assert_close(loss(unroll, target), wanted)
    torch.testing.assert_close(loss(unroll, target[:, None]), wanted)
    classes = Ponder(RNNStep(6, 16, 3), max_steps=5)(x)
    labels = torch.randint(0, 3, (40,))
    losses = torch.stack([ce(prediction, labels) for prediction in classes.predictions])
    wanted = ponder_loss(losses, classes.halt_logits, regulariser=expected_steps)
    torch.testing.assert_close(PonderLoss(ce, regulariser=expected_steps)(classes, labels), wanted)


@pytest.mark.parametrize("token_wise", [False, True])
def test_the_loss_of_tokens(token_wise: bool) -> None:
    torch.manual_seed(0)
    unroll = Ponder(DigitStep(4, 8, token_wise=token_wise), max_steps=3)(torch.randn(6, 4, 5))
    target = torch.randint(0, 10, (6, 5))

    def criterion(predictions: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(predictions.mT, target, reduction="none")

    loss = PonderLoss(criterion)
    losses = torch.stack([criterion(p, target) for p in unroll.predictions])
    torch.testing.assert_close(
        loss.losses(unroll, target), losses if token_wise else losses.mean(2)
    )
    weight = torch.rand(6, 5) if token_wise else torch.rand(6)
    loss(unroll, target, weight).backward()
    with pytest.raises(ValueError, match=r'reduction="none"'):
        PonderLoss(lambda p, t: criterion(p, t).mean())(unroll, target)
    with pytest.raises(ValueError, match="target must have 6 examples, got 5"):
        loss(unroll, target[:5])


def test_the_default_graph_is_fixed_and_the_loss_gives_nothing_for_an_early_stop(x: Tensor) -> None:
    ponder = Ponder(RNNStep(6, 16, 1), max_steps=7)
    with torch.no_grad():
        ponder.step.mixed.bias[-1] = 40.0
    assert len(ponder(x).predictions) == 7
    ponder.eps = 0.05
    at_once = ponder(x)
    assert len(at_once.predictions) == 1
    loss = PonderLoss(nn.MSELoss(reduction="none"), beta=1.0)
    bare = PonderLoss(nn.MSELoss(reduction="none"), beta=0.0)
    assert loss(at_once, x[:, :1]) - bare(at_once, x[:, :1]) > 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"min_steps": 9, "max_steps": 4}, "min_steps must lie in"),
        ({"eps": 1.0}, "eps must lie in"),
        ({"check_every": 0}, "check_every must be at least 1"),
    ],
)
def test_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ponder(RNNStep(2, 2, 1), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tau must lie in"):
        threshold(1.5)


@pytest.mark.parametrize("steps", [-1, 0, 2])
def test_less_than_the_least_steps_is_an_error(x: Tensor, steps: int) -> None:
    ponder = Ponder(RNNStep(6, 16, 1), max_steps=6, min_steps=3)
    for call in (ponder, lambda x, **o: ponder.infer(x, rule=median(), **o)):
        with pytest.raises(ValueError, match=rf"at least min_steps \(3\), got {steps}"):
            call(x, max_steps=steps)


@pytest.mark.slow
def test_fixed_training_path_compiles_to_one_graph(x: Tensor) -> None:
    ponder = Ponder(RNNStep(6, 16, 1), max_steps=4)

    def loss(x: Tensor) -> Tensor:
        predictions, logits, _ = ponder(x)
        return ponder_loss(predictions[..., 0].square(), logits, regulariser=None)

    eager_loss = loss(x)
    eager_loss.backward()
    wanted = ponder.step.mixed.weight.grad.clone()
    ponder.zero_grad()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, eager_loss)
    compiled.backward()
    torch.testing.assert_close(ponder.step.mixed.weight.grad, wanted)


@pytest.mark.slow
def test_an_exported_step_ponders_with_any_batch(ponder: Ponder, x: Tensor) -> None:
    run = export_step(ponder, x[:4]).module()
    again = Ponder(lambda context, state: run(context, state), max_steps=12)
    context, state = ponder.begin(x)
    loaded = again.infer(context, state, rule=median())
    wanted = ponder.infer(x, rule=median())
    torch.testing.assert_close(loaded.prediction, wanted.prediction)
    assert torch.equal(loaded.steps, wanted.steps)
    # The loop counts the steps: what forbids early ones is told to it.
    ponder.min_steps = 3
    late = Ponder(again.step, max_steps=12, min_steps=3).infer(context, state, rule=median())
    assert torch.equal(late.steps, ponder.infer(x, rule=median()).steps)


def test_transformer_ponders_with_padding() -> None:
    torch.manual_seed(0)
    step = TransformerStep(
        PatchEmbedding(8, 4, 16), universal_layer(16, 2, 32), dim=16, outputs=3, token_wise=True
    )
    predictions, logits, _ = Ponder(step, max_steps=3, eps=None)(torch.randn(2, 1, 8, 8))
    assert predictions.shape == (3, 2, 5, 3) and logits.shape == (3, 2, 5)
