"""ACT by its definition: weights, cost, and the gradient that PonderNet's authors criticise."""

import math

import pytest
import torch
from torch import Tensor

from quire.papers.pondernet import ACT, DigitStep, RNNStep


def table_step(context: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reads predictions and hazards from a table `(B, N, 2)`."""
    row = context[torch.arange(len(count)), count]
    return row[:, :1], count + 1, row[:, 1].logit()


def run(hazards: Tensor, values: Tensor, **options: float) -> tuple[ACT, Tensor]:
    context = torch.stack([values, hazards], 2)
    return ACT(table_step, hazards.shape[1], **options), context


def test_weights_steps_and_cost() -> None:
    hazards = torch.tensor([[0.5, 0.3, 0.4, 0.9], [0.995, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]])
    values = torch.tensor([[1.0, 2, 3, 4]] * 3)
    act, context = run(hazards, values, eps=0.01)
    out = act(context, torch.zeros(3, dtype=torch.int64))
    assert out.steps.tolist() == [3, 1, 4]
    torch.testing.assert_close(out.ponder_cost, torch.tensor([3.2, 2.0, 4.7]))
    answers = [0.5 * 1 + 0.3 * 2 + 0.2 * 3, 1.0, 0.1 * 6 + 0.7 * 4]
    torch.testing.assert_close(out.prediction[:, 0], torch.tensor(answers))


def test_gradient_of_the_cost_is_minus_one_before_the_last_step() -> None:
    generator = torch.Generator().manual_seed(0)
    hazards = torch.rand(16, 9, generator=generator, dtype=torch.float64) * 0.4
    hazards.requires_grad_()
    act, context = run(hazards, torch.zeros(16, 9, dtype=torch.float64))
    out = act(context, torch.zeros(16, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(out.ponder_cost.sum(), hazards)
    before = torch.arange(1, 10) < out.steps[:, None]
    torch.testing.assert_close(gradient, -before.double())
    assert out.steps.unique().numel() > 2


def test_batch_equals_single_examples() -> None:
    torch.manual_seed(0)
    act = ACT(RNNStep(6, 16, 2), max_steps=10)
    with torch.no_grad():
        act.step.mixed.weight[-1].mul_(8)
        act.step.mixed.bias[-1].sub_(1)
    x = torch.randn(20, 6)
    together = act(x)
    assert together.steps.unique().numel() > 2
    single = [act(row[None]) for row in x]
    for name in ("prediction", "ponder_cost", "steps", "state"):
        torch.testing.assert_close(
            torch.cat([getattr(s, name) for s in single]), getattr(together, name)
        )


def test_a_stopped_example_ignores_the_others() -> None:
    """Its own later steps, which the others need, may be infinite or not a number."""
    values = torch.tensor([[1.0, math.nan, math.inf], [2.0, 3.0, 4.0], [-math.inf, 1.0, 1.0]])
    hazards = torch.tensor([[0.995, 0.5, 0.5], [0.3, 0.3, 0.3], [0.5, 0.5, 0.5]])
    act, context = run(hazards, values)
    out = act(context, torch.zeros(3, dtype=torch.int64))
    assert out.prediction[:, 0].tolist() == pytest.approx([1.0, 3.1, -math.inf])
    for row in range(3):
        alone = act(context[row : row + 1], torch.zeros(1, dtype=torch.int64))
        torch.testing.assert_close(alone.prediction, out.prediction[row : row + 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_sum_to_one_in_half_precision(dtype: torch.dtype) -> None:
    def step(context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return context, context, torch.full((2,), -3.3)

    x = torch.tensor([[1.0, 3.0], [-7.0, 0.5]], dtype=dtype)
    out = ACT(step, 20)(x, x)
    assert torch.equal(out.prediction, x) and torch.equal(out.state, x)


def test_an_empty_batch() -> None:
    out = ACT(RNNStep(6, 8, 2), 5)(torch.zeros(0, 6))
    assert out.prediction.shape == (0, 2) and out.steps.shape == (0,)


def test_one_step_is_the_plain_network() -> None:
    step = RNNStep(6, 16, 2)
    x = torch.randn(4, 6)
    context = step.prepare(x)
    out = ACT(step, 1)(x)
    torch.testing.assert_close(out.prediction, step(context, step.initial_state(context))[0])
    assert out.ponder_cost.tolist() == [2.0] * 4


def test_token_wise() -> None:
    torch.manual_seed(0)
    out = ACT(DigitStep(4, 8, token_wise=True), 6)(torch.randn(3, 4, 5))
    assert out.prediction.shape == (3, 5, 10) and out.ponder_cost.shape == (3, 5)

    def mismatched(context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return context, state, torch.zeros(3, 5)

    with pytest.raises(ValueError, match="must begin with the halt logit's shape"):
        ACT(mismatched, 2)(torch.zeros(3, 4), torch.zeros(3, 5))


@pytest.mark.parametrize("options", [{"max_steps": 0}, {"eps": 1.0}])
def test_errors(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        ACT(RNNStep(2, 2, 1), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        ACT(RNNStep(2, 2, 1))(torch.zeros(1, 2), max_steps=0)
