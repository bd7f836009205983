"""What the experiments share: nets, pre-training, fine-tuning, scores, counted work."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Run
from quire.lab.config import Group
from quire.lab.training import Kept, inverse_square_root, set_rate, update
from quire.papers.t5.adafactor import AdaFactor
from quire.papers.t5.experiments.sources import Coder, Part, Source
from quire.papers.t5.generation import generate
from quire.papers.t5.lengths import DROP_TOKENS_CAP, TARGET_CAPS, raw_length
from quire.papers.t5.model import T5, Architecture, Size
from quire.papers.t5.objectives import (
    Follows,
    Ids,
    Objective,
    Pair,
    Verdicts,
    bert_style,
    deshuffling,
    drop_tokens,
    mass_style,
    next_sentence,
    prefix_lm,
    random_spans,
    replace_spans,
    replaced_tokens,
)
from quire.papers.t5.packing import Batch, pad
from quire.papers.t5.store import Chunks
from quire.papers.t5.tasks import Example, Task

Name = Literal[
    "spans",
    "replace_spans",
    "drop",
    "bert",
    "mass",
    "prefix_lm",
    "deshuffling",
    "replaced",
    "next_sentence",
]
"""Objectives: random spans, the seven of the paper, replaced tokens and next sentence."""


class Net(Group):
    """Sizes of the model."""

    dim: PositiveInt = 768
    """D."""
    hidden: PositiveInt = 3072
    """Width within the feed-forward parts."""
    heads: PositiveInt = 12
    """H."""
    layers: PositiveInt = 12
    """Of each stack."""
    head_dim: PositiveInt = 64
    """Width of a head."""
    architecture: Architecture = "encoder-decoder"
    """Two stacks, shared ones, or one that is a language model."""
    dropout: NonNegativeFloat = 0.1
    """Probability."""

    @property
    def size(self) -> Size:
        """As the model takes it."""
        return Size(self.dim, self.hidden, self.heads, self.layers, self.head_dim)


class Noise(Group):
    """The objective of a pre-training."""

    name: Name = "spans"
    """Which one."""
    rate: PositiveFloat = 0.15
    """Share of tokens that are noise, where the objective has one."""
    mean: PositiveFloat = 3.0
    """Average length of a random span, in tokens."""

    def objective(self, ids: Ids, inputs: int) -> Objective:
        """The objective with the ids of a vocabulary, for inputs of so many tokens.

        Where independent noise makes targets of uneven lengths they are cut as in the paper, in
        proportion to the inputs.
        """
        cap = TARGET_CAPS.get(self.rate, 512) * inputs // 512
        drop_cap = DROP_TOKENS_CAP * inputs // 512
        makers: dict[Name, Callable[[], Objective]] = {
            "spans": lambda: random_spans(self.rate, self.mean, ids=ids),
            "replace_spans": lambda: replace_spans(self.rate, targets=cap, ids=ids),
            "drop": lambda: drop_tokens(self.rate, targets=drop_cap, ids=ids),
            "bert": lambda: bert_style(self.rate, ids=ids),
            "mass": lambda: mass_style(self.rate, ids=ids),
            "prefix_lm": lambda: prefix_lm(ids=ids),
            "deshuffling": lambda: deshuffling(ids=ids),
            "replaced": lambda: replaced_tokens(Verdicts(3, 4), self.rate, ids=ids),
            "next_sentence": lambda: next_sentence(Follows(3, 4), ids=ids),
        }
        return makers[self.name]()

    def raw(self, inputs: int) -> int:
        """Raw tokens that fill `inputs` places: the spans' own number, else one less (the end)."""
        return raw_length(inputs, self.rate, self.mean).raw if self.name == "spans" else inputs - 1

    def lengths(self, inputs: int) -> tuple[int, int]:
        """Places of inputs and targets of an example, ends and padding included."""
        raw = self.raw(inputs)
        widths = self.objective(Ids(), inputs).lengths
        return widths(raw) if widths else (raw + 1, raw + 1)


class Schedule(Group):
    """How long and how fast."""

    steps: PositiveInt = 2**19
    """Minibatches."""
    batch_size: PositiveInt = 128
    """Rows of a minibatch."""
    length: PositiveInt = 512
    """Tokens of the inputs, the end included."""
    learning_rate: PositiveFloat = 0.01
    """AdaFactor's, relative to each weight matrix's size, before it falls."""
    constant: PositiveInt = 10_000
    """Minibatches before the rate falls with the inverse square root."""


class Tuning(Group):
    """Fine-tuning of one task, or of several at once."""

    steps: PositiveInt = 2**18
    """Minibatches."""
    batch_size: PositiveInt = 128
    """Rows of a minibatch."""
    learning_rate: PositiveFloat = 1e-3
    """AdaFactor's, relative to each weight matrix's size; it stays."""
    inputs: PositiveInt = 512
    """Tokens of the inputs at most."""
    targets: PositiveInt = 84
    """Tokens of the targets at most."""
    checks: PositiveInt = 10
    """How often a checkpoint is compared with the best one."""


def make_model(net: Net, coder: Coder, run: Run) -> T5:
    """The model, on the run's device."""
    model = T5(net.size, net.architecture, vocabulary=coder.ids.size, dropout=net.dropout)
    return run.place(model)


# Pre-training


def pretrain_model(
    model: T5, source: Source, noise: Noise, schedule: Schedule, run: Run, *,
    tokens: int = 0, name: str = "train",
) -> float:  # fmt: skip
    """Train on raw text; gives the mean loss of the last tenth of the steps, nats a token.

    Args:
        model: What learns.
        source: Text and vocabulary.
        noise: The objective.
        schedule: Steps and rate.
        run: The run.
        tokens: Only so many from the beginning, repeated; 0 takes all.
        name: Of the loop.
    """
    objective = noise.objective(source.coder.ids, schedule.length)
    chunks = Chunks(source.stream, noise.raw(schedule.length), tokens=tokens or None, seed=run.seed)
    optimizer = AdaFactor(model.parameters(), lr=schedule.learning_rate)
    late = Kept()
    model.train()

    def batch(step: int) -> Pair:
        raw = chunks.batch(step, schedule.batch_size)
        return objective(raw, generator=run.rng(name, "noise", step))

    for pair in run.steps(schedule.steps, batch, state=(model, optimizer, late), name=name):
        set_rate(optimizer, schedule.learning_rate
                 * inverse_square_root(run.step, schedule.constant))  # fmt: skip
        with run.precision():
            loss = ask(model, pair)
        update(loss, model, optimizer)
        run.log(loss=loss)
        if run.step >= schedule.steps - max(1, schedule.steps // 10):
            late.average("loss", loss)
    return late.numbers["loss"]


def ask(model: T5, pair: Pair | Batch) -> Tensor:
    """The loss of targets given inputs. A causal language model learns the whole text (table 2)."""
    whole = model.architecture == "causal"
    return model.loss(pair.inputs, pair.targets, whole=whole)


@torch.no_grad()
def measure_loss(
    model: T5, source: Source, noise: Noise, schedule: Schedule, run: Run, *, batches: int = 4
) -> float:
    """Loss of the targets of held-out text, nats a token, without dropout.

    Args:
        model: What is measured.
        source: Its `held_out` text.
        noise: The objective.
        schedule: Its sizes.
        run: The run.
        batches: Minibatches.
    """
    objective = noise.objective(source.coder.ids, schedule.length)
    chunks = Chunks(source.held_out, noise.raw(schedule.length), seed=0)
    model.eval()
    found = []
    for step in range(batches):
        raw = chunks.batch(step, schedule.batch_size)
        pair = objective(raw, generator=torch.Generator().manual_seed(step))
        found.append(model.loss(pair.inputs.to(run.device), pair.targets.to(run.device)))
    return float(torch.stack(found).mean())


# Fine-tuning


class Rows:
    """Examples as tokens, padded: inputs (N, I), targets (N, T)."""

    def __init__(self, examples: Sequence[Example], coder: Coder, tuning: Tuning) -> None:
        inputs = coder.encode([e.inputs for e in examples])
        targets = coder.encode([e.targets for e in examples])
        pairs = list(zip(inputs, targets, strict=True))
        batch = pad(pairs, tuning.inputs, tuning.targets)
        # Columns that no row needs are work for nothing.
        wide = (batch.inputs != 0).any(0).sum(), (batch.targets != 0).any(0).sum()
        self.inputs, self.targets = (
            batch.inputs[:, : int(wide[0])],
            batch.targets[:, : int(wide[1])],
        )

    def __len__(self) -> int:
        return len(self.inputs)


class Best:
    """The best checkpoint so far; saved with the run."""

    def __init__(self, model: nn.Module) -> None:
        self.score = float("-inf")
        self.weights = copy.deepcopy(model.state_dict())

    def offer(self, score: float, model: nn.Module) -> None:
        """Keep the weights where the score is higher than before."""
        if score > self.score:
            self.score, self.weights = score, copy.deepcopy(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Score and weights."""
        return {"score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.score, self.weights = state["score"], state["weights"]


Batches = Callable[[int], Pair]


def finetune_model(
    model: T5, batches: Batches, judge: Callable[[T5], float], tuning: Tuning, run: Run, *,
    name: str, before_step: Callable[[int], None] | None = None, state: Iterable[Any] = (),
) -> float:  # fmt: skip
    """Train at a constant rate, then put back the checkpoint that `judge` likes best; its score.

    Args:
        model: What learns; what must not change has `requires_grad` off.
        batches: step -> minibatch.
        judge: model -> score on the dev part.
        tuning: Steps and rate.
        run: The run.
        name: Of the loop.
        before_step: Called with each step, as gradual unfreezing needs.
        state: What else is saved with the run.
    """
    optimizer = AdaFactor(model.parameters(), lr=tuning.learning_rate)
    best, every = Best(model), max(1, tuning.steps // tuning.checks)
    saved = (model, optimizer, best, *state)
    for pair in run.steps(tuning.steps, batches, state=saved, name=name):
        model.train()
        if before_step is not None:
            before_step(run.step)
        with run.precision():
            loss = model.loss(pair.inputs, pair.targets)
        update(loss, model, optimizer)
        run.log(loss=loss)
        if (run.step + 1) % every == 0:
            best.offer(judge(model), model)
    model.load_state_dict(best.weights)
    return best.score


def draw(rows: Rows, size: int, run: Run, *stream: int | str) -> Pair:
    """A minibatch of rows, drawn with replacement by the run's seed and the names in `stream`."""
    index = torch.randint(len(rows), (size,), generator=run.rng(*stream))
    return Pair(rows.inputs[index], rows.targets[index])


@torch.no_grad()
def write(
    model: T5 | Sequence[T5], rows: Rows, coder: Coder, run: Run, *, at_once: int = 256
) -> list[str]:
    """What a model, or several that vote, writes for each row, greedily.

    Args:
        model: What writes.
        rows: The inputs; the longest target is how much is written at most.
        coder: The vocabulary.
        run: The run.
        at_once: Rows of a batch.
    """
    found: list[str] = []
    for inputs in rows.inputs.split(at_once):
        tokens = generate(model, inputs.to(run.device), rows.targets.shape[1])
        found += coder.decode(tokens.tolist())
    return found


def score(model: T5, task: Task, examples: Sequence[Example], coder: Coder, tuning: Tuning,
          run: Run) -> float:  # fmt: skip
    """The task's own metric, %, a mean over them where the paper reports several."""
    values = measure(model, task, examples, coder, tuning, run)
    return sum(values[name] for name in task.metrics) / len(task.metrics)


def measure(
    model: T5, task: Task, examples: Sequence[Example], coder: Coder, tuning: Tuning, run: Run
) -> dict[str, float]:
    """All metrics of a task, %, and the share of texts that are no answer.

    Args:
        model: What writes.
        task: What is asked.
        examples: On which.
        coder: The vocabulary.
        tuning: Its lengths.
        run: The run.
    """
    rows = Rows(examples, coder, tuning)
    return task.evaluate(write(model, rows, coder, run), examples)


def learn_task(
    model: T5, part: Part, coder: Coder, tuning: Tuning, run: Run, *, name: str,
    before_step: Callable[[int], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Fine-tune on one task and test the best checkpoint.

    Args:
        model: It is changed.
        part: The task with its examples.
        coder: The vocabulary.
        tuning: Steps and rate.
        run: The run.
        name: Of the loop.
        before_step: As in `finetune_model`.
    """
    rows = Rows(part.train, coder, tuning)

    def batches(step: int) -> Pair:
        return draw(rows, tuning.batch_size, run, name, step)

    def judge(tried: T5) -> float:
        return score(tried, part.task, part.dev, coder, tuning, run)

    finetune_model(model, batches, judge, tuning, run, name=name, before_step=before_step)
    return measure(model, part.task, part.test, coder, tuning, run)


# Counted work


def count_products(net: Net, inputs: int, targets: int, vocabulary: int) -> int:
    """Multiplications of one example going forward; a training step is three times that.

    Args:
        net: Sizes and architecture; sharing weights costs nothing less.
        inputs: I.
        targets: T.
        vocabulary: V.
    """
    inner, d = net.heads * net.head_dim, net.dim
    forward = 2 * d * net.hidden

    def own(length: int, *, causal: bool) -> int:
        seen = length * length // (2 if causal else 1)
        return length * (4 * d * inner + forward) + 2 * seen * inner

    if net.architecture in ("encoder-decoder", "shared"):
        cross = 2 * targets * d * inner + 2 * inputs * d * inner + 2 * inputs * targets * inner
        layer = own(inputs, causal=False) + own(targets, causal=True) + cross
        return net.layers * layer + targets * d * vocabulary
    length = inputs + targets
    # A causal language model also predicts its inputs.
    asked = length if net.architecture == "causal" else targets
    layer = own(length, causal=net.architecture == "causal")
    return net.layers * layer + asked * d * vocabulary
