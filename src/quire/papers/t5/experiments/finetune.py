"""Fine-tuning a pre-trained model on each task by itself (sections 2.4 and 3.5.1)."""

import copy
from collections.abc import Callable
from typing import Literal

from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into
from quire.papers.t5.experiments.learner import (
    Net,
    Rows,
    Tuning,
    learn_task,
    make_model,
    write,
)
from quire.papers.t5.experiments.sources import Coder, Labelled, read_tasks, stored_vocabulary
from quire.papers.t5.model import T5
from quire.papers.t5.procedural import Language
from quire.papers.t5.tuning import add_adapters, count_trained, unfreeze

Method = Literal["all", "adapters", "gradual", "embeddings", "decoder"]


class Finetune(Config):
    """Each task from the same weights, its best checkpoint tested."""

    net: Net = Net()
    """The model, as it was pre-trained."""
    labelled: Labelled = Labelled()
    """The tasks and how many examples of each."""
    tuning: Tuning = Tuning()
    """Steps and rate."""
    method: Method = "all"
    """What is trained: all, adapters and norms, more and more layers, the embedding alone, or a
    decoder that is born anew, which reads what the encoder has learned before."""
    adapter: PositiveInt = 32
    """Width of the adapters."""
    vocabulary: Literal["procedural", "stored"] = "procedural"
    """Words of the grammar, or the pieces of the run called `text`."""


def finetune(config: Finetune, run: Run) -> Metrics:
    """Each task's own metric, their mean, the share of texts that are no answer."""
    coder: Coder = Language().words if config.vocabulary == "procedural" else stored_vocabulary(run)
    scores: Metrics = {}
    invalid = []
    trained = 0.0
    for name, part in read_tasks(config.labelled, run).items():
        model = make_model(config.net, coder, run)
        newborn = copy.deepcopy(model.decoder.state_dict())
        load_weights_into(run.before("base"), "model", model)
        if config.method == "decoder":
            model.decoder.load_state_dict(newborn)  # the old one may know the task by itself
        before_step = prepare(model, config.method, config.tuning, adapter=config.adapter)
        trained = count_trained(model) / 1e6
        found = learn_task(model, part, coder, config.tuning, run, name=name,
                           before_step=before_step)  # fmt: skip
        scores[name] = sum(found[key] for key in part.task.metrics) / len(part.task.metrics)
        invalid.append(found["invalid"])
        run.note(f"{name}: {found}, floors {part.task.floors(part.test)}")
        texts = write(model, Rows(part.test[:3], coder, config.tuning), coder, run)
        for example, text in zip(part.test, texts, strict=False):
            run.note(f"read:    {example.inputs}\nwritten: {text}\ntrue:    {example.targets}")
    return scores | {
        "mean": sum(scores.values()) / len(scores),
        "invalid": sum(invalid) / len(invalid),
        "trained": trained,
    }


def prepare(
    model: T5, method: Method, tuning: Tuning, *, adapter: int
) -> Callable[[int], None] | None:
    """Freeze what the method does not train; gives what is called before each step, if it thaws.

    Args:
        model: Changed in place.
        method: What is trained.
        tuning: Its steps are the episodes of gradual unfreezing together.
        adapter: Width of adapters.
    """
    if method == "adapters":
        add_adapters(model, adapter)
    if method == "embeddings":
        model.requires_grad_(False).table.requires_grad_(True)
    if method == "decoder":
        if model.encoder is None:
            raise ValueError("the decoder alone is trained where there is an encoder, "
                             f"not in a model that is {model.architecture}")  # fmt: skip
        model.requires_grad_(False).decoder.requires_grad_(True)
    if method != "gradual":
        return None
    depth = model.size.layers

    def thaw(step: int) -> None:
        unfreeze(model, min(depth, 1 + step * depth // tuning.steps))

    return thaw
