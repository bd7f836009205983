"""Stop rules on what networks really give: masked classes, overflow, integers, nothing at all."""

import math
from collections.abc import Callable

import pytest
import scipy.stats
import torch
from torch import Tensor

from quire.papers.pondernet import (
    DigitStep,
    Ponder,
    RNNStep,
    StopRule,
    argmax,
    calibrate_threshold,
    expected,
    median,
    sample,
    stop,
    stopping_distribution,
    threshold,
)

RULES: dict[str, Callable[[], StopRule]] = {
    "sample": lambda: sample(torch.Generator().manual_seed(0)),
    "sample_renormalised": lambda: sample(
        torch.Generator().manual_seed(0), truncation="renormalise"
    ),
    "threshold": lambda: threshold(0.7),
    "argmax": argmax,
    "argmax_renormalised": lambda: argmax(truncation="renormalise"),
    "expected": expected,
    "expected_renormalised": lambda: expected(truncation="renormalise"),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
inf, nan = math.inf, math.nan


@every_rule
def test_a_masked_class_stays_masked(rule: Callable[[], StopRule]) -> None:
    def step(context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = len(context)
        return torch.tensor([[1.0, -inf, 0.0]]).expand(rows, 3), state, torch.zeros(rows)

    wanted = torch.tensor([[1.0, -inf, 0.0]]).expand(2, 3)
    unroll = Ponder(step, 4)(torch.zeros(2, 3), torch.zeros(2, 3))
    assert torch.equal(stop(unroll.predictions, unroll.halt_logits, rule()).prediction, wanted)
    for compact in (True, False):
        ponder = Ponder(step, 4)
        answer = ponder.infer(torch.zeros(2, 3), torch.zeros(2, 3), rule=rule(), compact=compact)
        assert torch.equal(answer.prediction, wanted)


@pytest.mark.parametrize("rule", [median(), argmax(), threshold(0.9)])
def test_what_comes_after_the_halt_does_not_matter(rule: StopRule) -> None:
    predictions = torch.tensor([[[1.0], [2.0]], [[nan], [3.0]], [[inf], [4.0]]])
    logits = torch.tensor([[40.0, -40.0], [0.0, -40.0], [0.0, 0.0]])
    answer = stop(predictions, logits, rule)
    assert answer.prediction.tolist() == [[1.0], [4.0]]

    def step(context: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.arange(2)
        return predictions[count, rows], count + 1, logits[count, rows]

    start = torch.zeros(2, dtype=torch.int64)
    kept = Ponder(step, 3).infer(torch.zeros(2, 1), start, rule=rule, compact=False)
    assert torch.equal(kept.prediction, answer.prediction)


def test_an_infinity_at_any_step_is_in_the_mean() -> None:
    for place in range(3):
        predictions = torch.ones(3, 1, 1)
        predictions[place] = -inf
        assert stop(predictions, torch.zeros(3, 1), expected()).prediction.item() == -inf
    # 6e4 - (-6e4) is more than half precision holds.
    wide = torch.tensor([-6e4, 6e4], dtype=torch.float16).view(2, 1, 1)
    assert stop(wide, torch.zeros(2, 1), expected()).prediction.item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_mean_in_half_precision_is_as_good_as_one_rounding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    predictions = torch.randn(20, 40, 2).to(dtype)
    logits = torch.full((20, 40), -3.0)
    wanted = stop(predictions.double(), logits.double(), expected()).prediction.to(dtype)
    answer = stop(predictions, logits, expected()).prediction
    torch.testing.assert_close(answer, wanted, rtol=torch.finfo(dtype).eps, atol=1e-6)

    def step(context: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = int(count[0])
        return context[:, place], count + 1, torch.full((len(context),), -3.0)

    start = torch.zeros(40, dtype=torch.int64)
    online = Ponder(step, 20).infer(predictions.transpose(0, 1), start, rule=expected())
    assert torch.equal(online.prediction, answer) and answer.dtype == dtype


def test_an_impossible_first_step_has_no_share() -> None:
    predictions = torch.arange(3.0).view(3, 1, 1)
    logits = torch.tensor([-inf, 0.0, 0.0])[:, None]
    assert stop(predictions, logits, expected()).prediction.item() == pytest.approx(1.5)
    steps = {stop(predictions, logits, RULES["sample_renormalised"]()).prediction.item()}
    assert steps <= {1.0, 2.0}


def test_integers_are_chosen_and_never_averaged() -> None:
    predictions = torch.arange(6).view(3, 2)
    logits = torch.tensor([[40.0, -40.0], [0.0, 40.0], [0.0, 0.0]])
    assert stop(predictions, logits, median()).prediction.tolist() == [0, 3]
    assert stop(predictions > 2, logits, argmax()).prediction.tolist() == [False, True]
    with pytest.raises(ValueError, match=r"averages predictions.*got torch\.int64"):
        stop(predictions, torch.zeros(3, 2), expected())


@every_rule
def test_an_empty_batch_has_an_empty_answer(rule: Callable[[], StopRule]) -> None:
    answer = Ponder(RNNStep(6, 8, 2), 5).infer(torch.zeros(0, 6), rule=rule())
    assert answer.prediction.shape == (0, 2) and answer.steps.shape == (0,)
    tokens = Ponder(DigitStep(4, 8, token_wise=True), 5).infer(torch.zeros(0, 4, 3), rule=rule())
    assert tokens.prediction.shape == (0, 3, 10) and tokens.steps.shape == (0, 3)
    assert stop(torch.zeros(5, 0, 2), torch.zeros(5, 0), rule()).prediction.shape == (0, 2)


def test_renormalised_rules_follow_the_renormalised_distribution() -> None:
    logits = torch.tensor([-1.0, -2.0, -0.5, -1.5])
    exact = stopping_distribution(logits[:, None], "renormalise")[:, 0].double()
    many = torch.arange(4.0)[:, None].expand(4, 20_000)
    wide = logits[:, None].expand(4, 20_000)
    drawn = stop(many, wide, RULES["sample_renormalised"]())
    counts = torch.bincount(drawn.prediction.long(), minlength=4)
    assert scipy.stats.chisquare(counts, exact / exact.sum() * 20_000).pvalue > 1e-3
    assert drawn.steps.unique().tolist() == [4]
    mean = stop(many[:, :1], wide[:, :1], RULES["expected_renormalised"]()).prediction
    torch.testing.assert_close(mean.double(), (exact * torch.arange(4)).sum()[None])
    late = torch.tensor([-1.0, -2.0, -2.0])[:, None]
    values = torch.arange(3.0)[:, None]
    assert stop(values, late, argmax()).prediction.item() == 2
    assert stop(values, late, argmax(truncation="renormalise")).prediction.item() == 0


def test_a_sure_halt_ends_renormalised_sampling() -> None:
    rule = RULES["sample_renormalised"]()
    answer = stop(torch.arange(9.0)[:, None], torch.full((9, 1), 40.0), rule)
    assert (answer.prediction.item(), answer.steps.item()) == (0, 1)


def test_decisions_are_made_in_the_precision_of_the_logits() -> None:
    torch.manual_seed(0)
    ponder = Ponder(RNNStep(4, 8, 1).double(), 6).eval()
    x = torch.randn(50, 4, dtype=torch.float64)
    with torch.no_grad():
        predictions, logits, _ = ponder(x)
    slow, fast = stop(predictions, logits, expected()), ponder.infer(x, rule=expected())
    torch.testing.assert_close(fast.prediction, slow.prediction, rtol=0, atol=1e-15)


def test_calibration_of_tokens_leaves_padding_out() -> None:
    logits = torch.zeros(4, 2, 3)
    correct = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(4, 1, 1).expand(4, 2, 3).clone()
    alone = calibrate_threshold(logits, correct, tolerance=0.0)
    assert 0.75 < alone <= 0.77
    weight = torch.tensor([[1.0, 1.0, 0.0]] * 2)
    correct[:, :, 2] = torch.tensor([0.0, 0.0, 0.0, nan])[:, None]
    assert calibrate_threshold(logits, correct, tolerance=0.0, weight=weight) == alone


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample(truncation="cut"), "truncation must be one of"),  # type: ignore[arg-type]
        (lambda: argmax(truncation="cut"), "truncation must be one of"),  # type: ignore[arg-type]
        (lambda: expected(1.0), "tolerance must lie in"),
        (lambda: stop(torch.zeros(3, 2), torch.zeros(4, 2), median()), "must begin with the shape"),
        (lambda: stop(torch.zeros(0, 2), torch.zeros(0, 2), median()), "have a step at least"),
        (lambda: calibrate_threshold(torch.zeros(3, 0), torch.zeros(3, 0)), "a sum above zero"),
        (
            lambda: calibrate_threshold(torch.zeros(3, 2), torch.zeros(3, 2), tolerance=-1.0),
            "tolerance at least 0",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
