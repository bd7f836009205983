"""Pondering transformers: bAbI (section 3.2), associative inference (3.3), images."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Metrics, Run
from quire.papers.pondernet.experiments_common import (
    Halting,
    Learner,
    descend,
    draw_steps,
    rank_correlation,
    right,
)
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.stopping import expected_steps, log_stopping_distribution
from quire.papers.pondernet.tasks import Examples, corrupt, image_pool, paired_associates
from quire.papers.pondernet.transformer import (
    PairEmbedding,
    PatchEmbedding,
    StoryEmbedding,
    TransformerStep,
    universal_layer,
)


class Transformer(Halting):
    """A Universal Transformer: one layer, repeated."""

    max_steps: PositiveInt = 10
    """N."""
    dim: PositiveInt = 128
    """Width of a token."""
    heads: PositiveInt = 8
    """Attention heads."""
    attention: PositiveInt = 512
    """Width of all heads together."""
    transition: PositiveInt = 128
    """Hidden units of the transition network."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the layer's update that is dropped, by one mask for all steps."""
    learning_rate: PositiveFloat = 3e-4
    """Adam's, after the warm-up."""
    warmup: PositiveInt = 100
    """Minibatches over which the learning rate rises."""
    batch_size: PositiveInt = 128
    """Examples a step."""
    steps: PositiveInt = 2_000_000
    """Minibatches."""


class StoryTask(Transformer):
    """Questions about short stories; question and sentences are one token each."""

    max_facts: PositiveInt = 70
    """Most recent sentences that are kept of a story."""
    test_examples: PositiveInt = 1000
    """Test questions used of each task."""


class Babi(StoryTask):
    """bAbI, all chosen tasks jointly (table 1)."""

    tasks: tuple[int, ...] = tuple(range(1, 21))
    """Task numbers."""


class Stories(StoryTask):
    """Made-up stories in the form of bAbI: nothing to download."""

    tasks: tuple[Literal[1, 2, 3], ...] = (1, 2)
    """Supporting facts of the questions."""
    stories: PositiveInt = 10_000
    """Training questions."""


def babi(config: Babi, run: Run) -> Metrics:
    """Average error over tasks and the number of tasks solved (error below 5 %)."""
    found = data.babi(run.data, tasks=config.tasks, max_facts=config.max_facts)
    return _stories(config, run, found)


def stories(config: Stories, run: Run) -> Metrics:
    """The same on procedural stories."""
    found = data.babi_like(config.stories, seed=run.seed, tasks=config.tasks)
    return _stories(config, run, found)


def _stories(config: StoryTask, run: Run, found: data.Babi) -> Metrics:
    _, facts, words = found.train.story.shape
    words = max(words, found.train.question.shape[1])
    size = len(found.vocabulary)
    embed = StoryEmbedding(size, config.dim, sentences=facts, words=words)
    learner = run.place(_learner(config, embed, outputs=size))
    batch_at = data.batches(found.train, config.batch_size, seed=run.seed)

    def examples(step: int) -> Examples:
        batch = batch_at(step)
        return Examples((_trim(batch.story), batch.question), batch.answer, batch.task)

    _train(config, run, learner, examples)
    test = found.test
    errors, steps = [], []
    for task in np.unique(test.task):
        rows = np.flatnonzero(test.task == task)[: config.test_examples]
        story = _trim(torch.from_numpy(test.story[rows])).to(run.device)
        question = torch.from_numpy(test.question[rows]).to(run.device)
        target = torch.from_numpy(test.answer[rows]).to(run.device)
        answer = learner.answer((story, question), sample(run.rng("halting", int(task))))
        errors.append(100 - 100 * float(right(answer.prediction, target).mean()))
        steps.append(float(answer.steps.float().mean()))
    tasks = [float(task) for task in np.unique(test.task)]
    run.series("error", tasks, errors, x_label="task", y_label="test error, %")
    run.series("steps", tasks, steps, x_label="task", y_label="mean steps")
    return {
        "error": float(np.mean(errors)),
        "solved": float(sum(error < 5 for error in errors)),
        "steps": float(np.mean(steps)),
        "total_steps": float(sum(steps)),
    }


def _trim(story: Tensor) -> Tensor:
    """Cut the places that are padding in the whole batch."""
    longest = int(story.any(2).sum(1).max())
    return story[:, : max(1, longest)]


def _learner(config: Transformer, embed: torch.nn.Module, outputs: int) -> Learner:
    layer = universal_layer(config.dim, config.heads, config.transition, attention=config.attention)
    step = TransformerStep(embed, layer, dim=config.dim, outputs=outputs, dropout=config.dropout)
    return Learner(step, config)


def _train(config: Transformer, run: Run, learner: Learner, batch_at: Callable[[int], Any]) -> None:
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    warmup = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / config.warmup)
    )
    learner.train()
    for batch in run.steps(config.steps, batch_at, state=(learner, optimizer, warmup)):
        with run.precision():
            trained = learner(batch.x, batch.target)
        descend(trained.loss, learner, optimizer)
        warmup.step()
        run.log(loss=trained.loss, accuracy=trained.accuracy, steps=trained.steps)
    learner.eval()


class Pai(Transformer):
    """Paired associative inference on procedural embeddings, with disjoint pools of images."""

    dim: PositiveInt = 256
    """Width of a token."""
    pairs: PositiveInt = Field(default=16, ge=2)
    """Chains A-B-C in an episode; the memory has twice as many rows."""
    features: PositiveInt = 1000
    """Width of an image embedding."""
    pool: PositiveInt = 10_000
    """Images of each pool (training, test)."""
    steps: PositiveInt = 200_000
    """Minibatches."""
    test_examples: PositiveInt = Field(default=2000, ge=20)
    """Test episodes of each kind of query."""


def pai(config: Pai, run: Run) -> Metrics:
    """Accuracy on direct (A-B, B-C) and indirect (A-C) queries over images never trained on."""
    pools = {
        name: image_pool(config.pool, config.features, run.rng(name)) for name in ("train", "test")
    }
    learner = run.place(_learner(config, PairEmbedding(config.features, config.dim), outputs=2))

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        return paired_associates(
            config.batch_size, pool=pools["train"], pairs=config.pairs, generator=generator
        )

    _train(config, run, learner, batch_at)
    metrics = {}
    for link in ("AB", "BC", "AC"):
        test = paired_associates(
            config.test_examples,
            pool=pools["test"],
            pairs=config.pairs,
            generator=run.rng("episodes", link),
            link=link,  # type: ignore[arg-type]
        )
        x = tuple(part.to(run.device) for part in test.x)
        answer = learner.answer(x, sample(run.rng("halting", link)))
        good = right(answer.prediction, test.target.to(run.device))
        metrics[f"{link.lower()}_accuracy"] = 100 * float(good.mean())
        metrics[f"{link.lower()}_steps"] = float(answer.steps.float().mean())
    return metrics


class Images(Transformer):
    """A small pondering ViT on MNIST whose images are corrupted to a known level."""

    max_steps: PositiveInt = 8
    """N."""
    patch: PositiveInt = 7
    """Pixels of a patch's side."""
    dim: PositiveInt = 64
    """Width of a token."""
    heads: PositiveInt = 4
    """Attention heads."""
    attention: PositiveInt = 64
    """Width of all heads together."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's, after the warm-up."""
    test_examples: PositiveInt = Field(default=10_000, le=10_000)
    """Test images."""
    levels: PositiveInt = 5
    """Corruption levels in 0..1 at test."""


class Pixels(NamedTuple):
    """Images and what corrupts them."""

    x: Tensor
    target: Tensor


def images(config: Images, run: Run) -> Metrics:
    """Steps against corruption, and whether few steps mean a safe answer (risk against
    coverage)."""
    train, test = data.mnist(run.data)
    embed = PatchEmbedding(train.image.shape[-1], config.patch, config.dim)
    learner = run.place(_learner(config, embed, outputs=10))
    source = data.batches(train, config.batch_size, seed=run.seed)

    def batch_at(step: int) -> Pixels:
        batch = source(step)
        generator = run.rng("train", step)
        level = torch.rand(config.batch_size, generator=generator)
        return Pixels(corrupt(batch.image.float() / 255, level, generator), batch.label)

    _train(config, run, learner, batch_at)
    pixels = torch.from_numpy(test.image[: config.test_examples]).float() / 255
    target = torch.from_numpy(test.label[: config.test_examples]).to(run.device)
    levels = torch.linspace(0, 1, config.levels)
    good, steps = [], []
    for index, level in enumerate(levels):
        generator = run.rng("corruption", index)
        seen = corrupt(pixels, level.expand(len(pixels)), generator).to(run.device)
        answer = learner.answer(seen, sample(run.rng("halting", index)))
        good.append(right(answer.prediction, target).cpu())
        steps.append(_mean_steps(learner, seen, answer.steps).cpu())
    level_of = levels.repeat_interleave(len(pixels))
    all_good, all_steps = torch.cat(good), torch.cat(steps)
    draw_steps(run, "steps", level_of, all_steps, "corruption level")
    draw_steps(run, "accuracy", level_of, 100 * all_good, "corruption level")
    risk = _risk_at_coverage(all_good.numpy(), all_steps.numpy())
    coverage = np.linspace(0.05, 1, 20)
    at = [risk[int(share * len(risk)) - 1] for share in coverage]
    run.series(
        "risk", coverage.tolist(), at, x_label="coverage", y_label="error of the covered share, %"
    )
    return {
        "clean_accuracy": 100 * float(good[0].mean()),
        "accuracy": 100 * float(all_good.mean()),
        "steps": float(all_steps.mean()),
        "correlation": rank_correlation(all_steps, level_of),
        "risk_half": float(at[9]),
        "risk_full": float(at[-1]),
    }


def _mean_steps(learner: Learner, x: Tensor, used: Tensor) -> Tensor:
    """Each example's expected number of steps: its difficulty without the noise of one draw."""
    if learner.config.method != "ponder":
        return used.float()
    with torch.no_grad():
        return expected_steps(log_stopping_distribution(learner.net(x).halt_logits))


def _risk_at_coverage(good: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Error (%) of the answers with the fewest steps, for every number of answers covered."""
    order = np.argsort(steps, kind="stable")
    wrong = 1 - good[order]
    return 100 * np.cumsum(wrong, dtype=np.float64) / np.arange(1, len(wrong) + 1)
