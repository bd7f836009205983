"""One model for all tasks at once: examples are mixed by rates (sections 3.5.2 and 3.5.3)."""

import copy
from typing import Literal, NamedTuple

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch.nn.utils.rnn import pad_sequence

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into, save_weights
from quire.papers.t5.experiments.learner import (
    Best,
    Net,
    Noise,
    Rows,
    Tuning,
    finetune_model,
    make_model,
    score,
)
from quire.papers.t5.experiments.sources import (
    Labelled,
    Part,
    Source,
    Text,
    read_tasks,
    read_text,
)
from quire.papers.t5.mixing import Mixture, mixing_rates
from quire.papers.t5.model import T5
from quire.papers.t5.objectives import Pair
from quire.papers.t5.store import Chunks

DEFAULT_NOISE = Noise()


class Multitask(Config):
    """One model trained on a mixture; of each task its own best checkpoint is tested."""

    net: Net = Net()
    """The model, as it was pre-trained."""
    labelled: Labelled = Labelled()
    """The tasks; `rows` is of the largest one."""
    shares: tuple[PositiveFloat, ...] = ()
    """Rows of each task over `rows`; none gives each as many."""
    tuning: Tuning = Tuning()
    """Steps and rate."""
    mixing: Literal["equal", "proportional"] = "proportional"
    """Rates of the tasks before temperature."""
    limit: NonNegativeInt = 2**21
    """K: examples that a task counts at most; 0 sets no limit."""
    temperature: PositiveFloat = 1.0
    """T: rates to the power of 1 / T."""
    without: str = ""
    """A task that is left out."""
    skip: bool = False
    """Train nothing: the weights stay as they were, and are scored so."""
    unsupervised: NonNegativeFloat = 0.0
    """Share of each minibatch that is raw text."""
    text: Text = Text()
    """That text."""


def multitask(config: Multitask, run: Run) -> Metrics:
    """Each task's metric at its best checkpoint, their mean; the last weights are kept."""
    source = read_text(config.text, run)
    parts = select(read_tasks(config.labelled, run), config)
    model = make_model(config.net, source.coder, run)
    load_weights_into(run.before("base"), "model", model)
    if config.skip:
        scores = {
            name: score(model, part.task, part.test, source.coder, config.tuning, run)
            for name, part in parts.items()
        }
    else:
        mix = Mix(config.mixing, config.limit, config.temperature, config.unsupervised)
        scores = train_mixture(model, parts, source, mix, config.tuning, run)
    save_weights(run.directory, "model", model)
    return scores | {"mean": sum(scores.values()) / len(scores)}


class Mix(NamedTuple):
    """How tasks are mixed.

    Args:
        mixing: Equal rates, or by size.
        limit: K, 0 for none.
        temperature: T.
        unsupervised: Share of each minibatch that is raw text.
    """

    mixing: Literal["equal", "proportional"] = "proportional"
    limit: int = 2**21
    temperature: float = 1.0
    unsupervised: float = 0.0

    def rates(self, sizes: dict[str, int]) -> dict[str, float]:
        """Rates of tasks of these sizes."""
        limit = 1 if self.mixing == "equal" else self.limit or None
        return mixing_rates(sizes, limit=limit, temperature=self.temperature)


def train_mixture(
    model: T5, parts: dict[str, Part], source: Source, mix: Mix, tuning: Tuning, run: Run, *,
    name: str = "mixture", noise: Noise = DEFAULT_NOISE,
) -> Metrics:  # fmt: skip
    """Train on all tasks at once; each task's score at its own best checkpoint, on the test part.

    Args:
        model: It ends with the weights that were best on average.
        parts: The tasks.
        source: Vocabulary, and raw text where the mix has some.
        mix: The rates.
        tuning: Steps and rate.
        run: The run.
        name: Of the loop.
        noise: Objective of the raw text.
    """
    coder = source.coder
    rows = {task: Rows(part.train, coder, tuning) for task, part in parts.items()}
    sizes = {task: len(each) for task, each in rows.items()}
    mixture = Mixture(sizes, mix.rates(sizes), seed=run.seed)
    free = round(mix.unsupervised * tuning.batch_size)
    chunks = Chunks(source.stream, noise.raw(tuning.inputs), seed=run.seed)
    objective = noise.objective(coder.ids, tuning.inputs)

    def batches(step: int) -> Pair:
        places = mixture.batch(step, tuning.batch_size - free)
        pairs = [Pair(rows[task].inputs[i], rows[task].targets[i]) for task, i in places]
        if free:
            noisy = objective(chunks.batch(step, free), generator=run.rng(name, "noise", step))
            pairs += [Pair(*pair) for pair in zip(*noisy, strict=True)]
        return together(pairs)

    best = {task: Best(model) for task in parts}

    def judge(tried: T5) -> float:
        found = [score(tried, part.task, part.dev, coder, tuning, run) for part in parts.values()]
        for task, value in zip(parts, found, strict=True):
            best[task].offer(value, tried)
        return sum(found) / len(found)

    finetune_model(model, batches, judge, tuning, run, name=name, state=best.values())
    together_best = copy.deepcopy(model.state_dict())
    scores: Metrics = {}
    for task, part in parts.items():
        model.load_state_dict(best[task].weights)
        scores[task] = score(model, part.task, part.test, coder, tuning, run)
    model.load_state_dict(together_best)
    return scores


def select(parts: dict[str, Part], config: Multitask) -> dict[str, Part]:
    """The tasks that are mixed, with their shares of rows.

    Raises ValueError for uneven lists, or a task to leave out that is not there.
    """
    shares = config.shares or (1.0,) * len(parts)
    if len(shares) != len(parts):
        raise ValueError(f"shares are of {len(parts)} tasks, got {len(shares)}")
    if config.without and config.without not in parts:
        raise ValueError(f"without must be one of {', '.join(parts)}, got '{config.without}'")
    return {
        name: part._replace(train=part.train[: max(1, round(share * len(part.train)))])
        for (name, part), share in zip(parts.items(), shares, strict=True)
        if name != config.without
    }


def together(pairs: list[Pair]) -> Pair:
    """Rows (I,) and (T,) of different lengths as one minibatch, padded at their ends."""
    inputs, targets = zip(*pairs, strict=True)
    return Pair(
        pad_sequence(list(inputs), batch_first=True), pad_sequence(list(targets), batch_first=True)
    )
