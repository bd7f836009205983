"""A small pondering ViT on MNIST, corrupted to a known level (beyond the paper)."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.experiments.learner import (
    Halting,
    Learner,
    keep_means,
    rank_correlation,
    score,
    train,
)
from quire.papers.pondernet.experiments.tasks import Examples, corrupt
from quire.papers.pondernet.experiments.universal import WARM_UP, Universal, make_learner
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.stopping import expected_steps, log_stopping_distribution
from quire.papers.pondernet.transformer import PatchEmbedding

PATCH = 7
"""Pixels of a patch's side."""


class CorruptedImages(Config):
    """MNIST with noise, blur and a grey square; difficulty is how much of them."""

    halting: Halting = Halting(max_steps=8)
    """How long to think."""
    universal: Universal = Universal(dim=64, heads=4, attention=64)
    """What thinks."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's, after the warm-up."""
    batch_size: PositiveInt = 128
    """Images a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    test_examples: PositiveInt = Field(default=10_000, le=10_000)
    """Test images."""
    levels: PositiveInt = 5
    """Corruption levels in 0..1 at test."""


def images(config: CorruptedImages, run: Run) -> Metrics:
    """Steps against corruption; and whether few steps mean a safe answer (risk and coverage)."""
    training, test = data.mnist(run.data)
    embed = PatchEmbedding(training.image.shape[-1], PATCH, config.universal.dim)
    learner = run.place(make_learner(embed, config.universal, outputs=10, halting=config.halting))
    minibatch_at = data.batches(training, config.batch_size, seed=run.seed)

    def batch_at(step: int) -> Examples:
        batch = minibatch_at(step)
        generator = run.rng("train", step)
        level = torch.rand(config.batch_size, generator=generator)
        return Examples(corrupt(batch.image.float() / 255, level, generator), batch.label, level)

    train(
        learner,
        run,
        batch_at=batch_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
        rising=WARM_UP,
    )
    good, steps, level = answer_corrupted(config, run, learner, test)
    keep_means(run, "steps", level, steps, label="corruption level")
    keep_means(run, "accuracy", level, 100 * good, label="corruption level", of="accuracy, %")
    risk = accumulate_risk(good.numpy(), steps.numpy())
    coverage = np.linspace(0.05, 1, 20)
    at = [risk[int(share * len(risk)) - 1] for share in coverage]
    run.series(
        "risk", coverage.tolist(), at, x_label="coverage", y_label="error of the covered share, %"
    )
    return {
        "clean_accuracy": 100 * float(good[level == 0].mean()),
        "accuracy": 100 * float(good.mean()),
        "steps": float(steps.mean()),
        "correlation": rank_correlation(steps, level),
        "risk_half": float(at[9]),
        "risk_full": float(at[-1]),
    }


def answer_corrupted(
    config: CorruptedImages, run: Run, learner: Learner, test: data.Images
) -> tuple[Tensor, Tensor, Tensor]:
    """The test images at every level: whether answered right, steps and level, each (B,).

    Args:
        config: The experiment's.
        run: What corruption and stopping are drawn from.
        learner: What answers, in evaluation.
        test: Images and labels.
    """
    pixels = torch.from_numpy(test.image[: config.test_examples]).float() / 255
    target = torch.from_numpy(test.label[: config.test_examples]).to(run.device)
    levels = torch.linspace(0, 1, config.levels)
    good, steps = [], []
    for index, level in enumerate(levels):
        generator = run.rng("corruption", index)
        seen = corrupt(pixels, level.expand(len(pixels)), generator).to(run.device)
        answer = learner.answer(seen, sample(run.rng("halting", index)))
        good.append(score(answer.prediction, target).cpu())
        steps.append(estimate_steps(learner, seen, answer.steps).cpu())
    return torch.cat(good), torch.cat(steps), levels.repeat_interleave(len(pixels))


def estimate_steps(learner: Learner, x: Tensor, used: Tensor) -> Tensor:
    """Each example's expected number of steps (B,): difficulty without the noise of one draw."""
    if learner.halting.method != "ponder":
        return used.float()
    with torch.no_grad():
        return expected_steps(log_stopping_distribution(learner.net(x).halt_logits))


def accumulate_risk(good: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Error (%) of the answers with the fewest steps, for every number of answers covered.

    Answers with equally many steps are covered in random order: each counts with the mean error of
    all of them, so that the order in which they are given decides nothing.
    """
    _, group, size = np.unique(steps, return_inverse=True, return_counts=True)
    mean = np.bincount(group, 1.0 - good) / size
    wrong = mean[np.sort(group)]
    return 100 * np.cumsum(wrong, dtype=np.float64) / np.arange(1, len(wrong) + 1)
