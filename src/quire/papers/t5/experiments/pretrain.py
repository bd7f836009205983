"""Pre-training on raw text: the runs that every fine-tuning stands on (sections 3.1 to 3.4)."""

from pydantic import NonNegativeInt

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into, save_weights
from quire.papers.t5.experiments.learner import (
    Net,
    Noise,
    Schedule,
    count_products,
    make_model,
    measure_loss,
    pretrain_model,
)
from quire.papers.t5.experiments.sources import Text, read_text


class Pretrain(Config):
    """One model on one text with one objective."""

    net: Net = Net()
    """The model."""
    noise: Noise = Noise()
    """The objective."""
    schedule: Schedule = Schedule()
    """Steps and rate."""
    text: Text = Text()
    """What is read."""
    repeats: NonNegativeInt = 0
    """How often the text is read: only so much of its beginning is; 0 takes all of it."""
    skip: bool = False
    """Train nothing: the weights stay as they were."""
    goes_on: bool = False
    """Begin from the weights of the run called `base`."""
    batches: NonNegativeInt = 4
    """Minibatches of held-out text."""


def pretrain(config: Pretrain, run: Run) -> Metrics:
    """Train and keep the weights; the loss at the end and on held-out text, the work it took."""
    source = read_text(config.text, run)
    model = make_model(config.net, source.coder, run)
    if config.goes_on:
        load_weights_into(run.before("base"), "model", model)
    raw = config.noise.raw(config.schedule.length)
    seen = config.schedule.steps * config.schedule.batch_size * raw
    tokens = max(seen // config.repeats, raw) if config.repeats else 0
    metrics = {}
    if not config.skip:
        metrics["train_loss"] = pretrain_model(
            model, source, config.noise, config.schedule, run, tokens=tokens
        )
        metrics["loss"] = measure_loss(model, source, config.noise, config.schedule, run,
                                       batches=config.batches)  # fmt: skip
    save_weights(run.directory, "model", model)
    inputs, targets = config.noise.lengths(config.schedule.length)
    work = count_products(config.net, inputs, targets, source.coder.ids.size)
    return metrics | {
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "repeats": seen / (tokens or len(source.stream)),
        "targets": targets,
        "products": work / raw / 1e3,
    }
