"""One model for all tasks at once: examples are mixed by rates (sections 3.5.2 and 3.5.3)."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

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
from quire.papers.t5.experiments.sources import Labelled, Part, Text, read_tasks, read_text
from quire.papers.t5.mixing import Mixture, mixing_rates
from quire.papers.t5.model import T5
from quire.papers.t5.objectives import Pair
from quire.papers.t5.store import Chunks


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
    unsupervised: NonNegativeFloat = 0.0
    """Share of each minibatch that is raw text."""
    text: Text = Text()
    """That text."""
    noise: Noise = Noise()
    """Its objective."""


def multitask(config: Multitask, run: Run) -> Metrics:
    """Each task's metric at its best checkpoint, their mean; the last weights are kept."""
    source = read_text(config.text, run)
    coder, tuning = source.coder, config.tuning
    parts = select(read_tasks(config.labelled, run), config)
    rows = {name: Rows(part.train, coder, tuning) for name, part in parts.items()}
    model = make_model(config.net, coder, run)
    load_weights_into(run.before("base"), "model", model)
    sizes = {name: len(each) for name, each in rows.items()}
    limit = 1 if config.mixing == "equal" else config.limit or None
    rates = mixing_rates(sizes, limit=limit, temperature=config.temperature)
    mixture = Mixture(sizes, rates, seed=run.seed)
    free = round(config.unsupervised * tuning.batch_size)
    chunks = Chunks(source.stream, config.noise.raw(tuning.inputs), seed=run.seed)
    objective = config.noise.objective(coder.ids, tuning.inputs)

    def batches(step: int) -> Pair:
        places = mixture.batch(step, tuning.batch_size - free)
        pairs = [Pair(rows[name].inputs[i], rows[name].targets[i]) for name, i in places]
        if free:
            noisy = objective(chunks.batch(step, free), generator=run.rng("noise", step))
            pairs += [Pair(*pair) for pair in zip(*noisy, strict=True)]
        return together(pairs)

    best = {name: Best(model) for name in parts}

    def judge(tried: T5) -> float:
        found = [score(tried, part.task, part.dev, coder, tuning, run) for part in parts.values()]
        for name, value in zip(parts, found, strict=True):
            best[name].offer(value, tried)
        return sum(found) / len(found)

    finetune_model(model, batches, judge, tuning, run, name="mixture", state=best.values())
    save_weights(run.directory, "model", model)
    scores: Metrics = {}
    for name, part in parts.items():
        model.load_state_dict(best[name].weights)
        scores[name] = score(model, part.task, part.test, coder, tuning, run)
    return scores | {"mean": sum(scores.values()) / len(scores),
                     "largest_rate": 100 * max(rates.values())}  # fmt: skip


def select(parts: dict[str, Part], config: Multitask) -> dict[str, Part]:
    """The tasks that are mixed, with their shares of rows. Raises ValueError for uneven lists."""
    shares = config.shares or (1.0,) * len(parts)
    if len(shares) != len(parts):
        raise ValueError(f"shares are of {len(parts)} tasks, got {len(shares)}")
    return {
        name: part._replace(train=part.train[: max(1, round(share * len(part.train)))])
        for (name, part), share in zip(parts.items(), shares, strict=True)
        if name != config.without
    }


def together(pairs: list[Pair]) -> Pair:
    """Rows (I,) and (T,) of different lengths as one minibatch, padded at their ends."""
    return Pair(_stack([p.inputs for p in pairs]), _stack([p.targets for p in pairs]))


def _stack(rows: list[Tensor]) -> Tensor:
    wide = max(len(row) for row in rows)
    return torch.stack([F.pad(row, (0, wide - len(row))) for row in rows])
