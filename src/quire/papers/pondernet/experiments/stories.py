"""Questions about short stories (section 3.2): bAbI, or made-up stories in its form."""

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.experiments.learner import Halting, Learner, score, train
from quire.papers.pondernet.experiments.tasks import Examples
from quire.papers.pondernet.experiments.universal import WARM_UP, Universal, make_learner
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.transformer import StoryEmbedding

MAX_FACTS = 70
"""Most recent sentences that are kept of a story of bAbI."""


class StoryTasks(Config):
    """All chosen tasks jointly (table 1). Question and sentences are one token each."""

    halting: Halting = Halting(max_steps=10)
    """How long to think."""
    universal: Universal = Universal()
    """What thinks."""
    tasks: tuple[PositiveInt, ...] = tuple(range(1, 21))
    """Task numbers: 1 to 20; of made-up stories 1 to 3, which is also how many facts support an
    answer."""
    made_up: PositiveInt | None = None
    """Training questions to make up; None reads bAbI."""
    learning_rate: PositiveFloat = 3e-4
    """Adam's, after the warm-up."""
    batch_size: PositiveInt = 128
    """Examples a step."""
    steps: PositiveInt = 2_000_000
    """Minibatches."""
    test_examples: PositiveInt = 1000
    """Test questions used of each task."""


def stories(config: StoryTasks, run: Run) -> Metrics:
    """Average error over tasks and the number of tasks solved (error below 5 %)."""
    if config.made_up is None:
        found = data.babi(run.data, tasks=config.tasks, max_facts=MAX_FACTS)
    else:
        found = data.babi_like(config.made_up, seed=run.seed, tasks=config.tasks)
    _, facts, words = found.train.story.shape
    words = max(words, found.train.question.shape[1])
    size = len(found.vocabulary)
    embed = StoryEmbedding(size, config.universal.dim, sentences=facts, words=words)
    learner = run.place(make_learner(embed, config.universal, outputs=size, halting=config.halting))
    minibatch_at = data.batches(found.train, config.batch_size, seed=run.seed)

    def batch_at(step: int) -> Examples:
        batch = minibatch_at(step)
        return Examples((trim(batch.story), batch.question), batch.answer, batch.task)

    train(
        learner,
        run,
        batch_at=batch_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
        rising=WARM_UP,
    )
    return evaluate_tasks(config, run, learner, found.test)


def evaluate_tasks(config: StoryTasks, run: Run, learner: Learner, test: data.Stories) -> Metrics:
    """Error and steps, averaged over the tasks; those of each task are kept as series.

    Args:
        config: The experiment's.
        run: Where the answers are drawn and the series kept.
        learner: What answers, in evaluation.
        test: Stories of all tasks.
    """
    errors, steps = [], []
    numbers = np.unique(test.task)
    for task in numbers:
        rows = np.flatnonzero(test.task == task)[: config.test_examples]
        story = trim(torch.from_numpy(test.story[rows])).to(run.device)
        question = torch.from_numpy(test.question[rows]).to(run.device)
        target = torch.from_numpy(test.answer[rows]).to(run.device)
        answer = learner.answer((story, question), sample(run.rng("halting", int(task))))
        errors.append(100 - 100 * float(score(answer.prediction, target).mean()))
        steps.append(float(answer.steps.float().mean()))
    tasks = [float(task) for task in numbers]
    run.series("error", tasks, errors, x_label="task", y_label="test error, %")
    run.series("steps", tasks, steps, x_label="task", y_label="mean steps")
    return {
        "error": float(np.mean(errors)),
        "solved": float(sum(error < 5 for error in errors)),
        "steps": float(np.mean(steps)),
        "total_steps": float(sum(steps)),
    }


def trim(story: Tensor) -> Tensor:
    """Cut the sentences (B, S, W) that are padding in the whole batch; at least one stays."""
    longest = int(story.any(2).sum(1).max())
    return story[:, : max(1, longest)]
