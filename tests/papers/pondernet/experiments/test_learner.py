"""Every halting method around the same step; losses, scores and correlations by hand."""

from pathlib import Path

import pytest
import torch

from quire.lab.testing import run_in
from quire.papers.pondernet import RNNStep
from quire.papers.pondernet.experiments.learner import (
    Halting,
    Learner,
    example_loss,
    keep_means,
    rank_correlation,
    score,
)


@pytest.mark.parametrize("method", ["ponder", "act", "fixed", "deep"])
def test_every_method_trains_the_same_step(method: str) -> None:
    torch.manual_seed(0)
    learner = Learner(RNNStep(4, 16, 3), Halting(method=method, max_steps=4))  # type: ignore[arg-type]
    x, target = torch.randn(32, 4), torch.randint(0, 3, (32,))
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        trained = learner(x, target)
        optimizer.zero_grad()
        trained.loss.backward()
        optimizer.step()
        losses.append(trained.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    answer = learner.answer(x)
    assert answer.prediction.shape == (32, 3) and answer.steps.shape == (32,)


def test_loss_and_accuracy_reduce_tokens() -> None:
    predictions = torch.randn(5, 4, 3, 10)  # steps, batch, tokens, classes
    target = predictions[0].argmax(-1)
    assert example_loss(predictions, target, 2).shape == (5, 4)
    assert example_loss(predictions, target, 3).shape == (5, 4, 3)
    assert score(predictions, target, 2)[0].tolist() == [1.0] * 4
    wrong = target.clone()
    wrong[0, 1] += 1
    assert score(predictions[0], wrong).tolist() == [0.0, 1, 1, 1]
    logits = torch.tensor([[2.0], [-3.0]])
    manual = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0], torch.tensor([1.0, 1.0]), reduction="none"
    )
    torch.testing.assert_close(example_loss(logits, torch.tensor([1, 1]), 1), manual)


def test_means_at_each_level_say_what_they_are(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    level = torch.tensor([1, 2, 1])
    keep_means(run, "accuracy", level, torch.tensor([0.0, 50, 100]), label="k", of="accuracy, %")
    keep_means(run, "steps", level, torch.tensor([3, 4, 5]), label="k")
    assert run.results["accuracy"]["y"] == [50.0, 50.0]
    assert run.results["accuracy"]["y_label"] == "accuracy, %"
    assert run.results["steps"]["y_label"] == "mean steps"


def test_a_renormalised_network_is_deployed_as_it_was_trained() -> None:
    torch.manual_seed(0)
    halting = Halting(max_steps=4, truncation="renormalise")
    learner = Learner(RNNStep(4, 16, 3), halting).eval()
    # Every step is computed, as the rule has to; forced halts would stop sooner.
    assert learner.answer(torch.randn(200, 4)).steps.unique().tolist() == [4]


def test_constant_pondering_has_no_correlation() -> None:
    assert rank_correlation(torch.ones(5), torch.arange(5)) == 0.0
    assert rank_correlation(torch.arange(5), torch.arange(5)) == pytest.approx(1.0)
