"""Pre-training on raw text: the runs that every fine-tuning stands on (sections 3.1 to 3.4)."""

import torch
from matplotlib.figure import Figure
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
from quire.papers.t5.experiments.sources import Source, Text, read_text
from quire.papers.t5.generation import generate
from quire.papers.t5.layers import Stack
from quire.papers.t5.model import T5
from quire.papers.t5.store import Chunks


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
        show_texts(model, source, config, run)
        run.figure("positions", draw_positions(model, config.schedule.length - 1))
    save_weights(run.directory, "model", model)
    inputs, targets = config.noise.lengths(config.schedule.length)
    work = count_products(config.net, inputs, targets, source.coder.ids.size)
    return metrics | {
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "repeats": seen / (tokens or len(source.stream)),
        "targets": targets,
        "products": work / raw / 1e3,
    }


def show_texts(model: T5, source: Source, config: Pretrain, run: Run, *, count: int = 3) -> None:
    """Note what the model is shown of held-out texts, what it writes, and what it should.

    Args:
        model: What writes, greedily.
        source: Its `held_out` text.
        config: Objective and length.
        run: Where it is noted.
        count: Texts.
    """
    objective = config.noise.objective(source.coder.ids, config.schedule.length)
    raw = Chunks(source.held_out, config.noise.raw(config.schedule.length), seed=0).batch(0, count)
    inputs, targets = objective(raw, generator=torch.Generator().manual_seed(0))
    written = generate(model, inputs.to(run.device), targets.shape[1])
    texts = [source.coder.decode(rows.tolist()) for rows in (inputs, written, targets)]
    for shown, found, true in zip(*texts, strict=True):
        run.note(f"shown:   {shown}\nwritten: {found}\ntrue:    {true}")


def draw_positions(model: T5, far: int) -> Figure:
    """What each head adds to the scores of keys up to `far` tokens away: a panel for each stack."""
    stacks: list[tuple[str, Stack]] = [("decoder", model.decoder)]
    if model.encoder is not None:
        stacks.insert(0, ("encoder", model.encoder))
    figure = Figure(figsize=(3.6 * len(stacks), 2.8), layout="constrained")
    for axes, (name, stack) in zip(figure.subplots(1, len(stacks), squeeze=False)[0], stacks,
                                   strict=True):  # fmt: skip
        ahead = far if stack.bias.bidirectional else 0
        distance = torch.arange(-far, ahead + 1, device=stack.bias.weight.device)
        with torch.no_grad():
            bias = stack.bias(torch.zeros_like(distance[:1]), distance)
        axes.plot(distance.cpu(), bias[:, 0].float().cpu().T)
        axes.set(title=name, xlabel="key's place - query's place, tokens", ylabel="added to scores")
    return figure
