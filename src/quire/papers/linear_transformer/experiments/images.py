"""Images pixel by pixel (section 4.2): bits a dimension, images a second, completions."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from quire.data import Split, batches
from quire.data.sets.cifar10 import cifar10
from quire.data.sets.digits import digits
from quire.data.sets.mnist import mnist
from quire.lab import Metrics, Run
from quire.lab.measure import now
from quire.papers.linear_transformer.experiments.learner import Learner, fit, kernel_of
from quire.papers.linear_transformer.experiments.mixture import (
    mixture_log_probability,
    sample_mixture,
)
from quire.papers.linear_transformer.experiments.tables import measure_histogram, measure_table
from quire.papers.linear_transformer.models import (
    Extend,
    SequenceModel,
    generate,
    recomputing_extend,
    recurrent_extend,
)


class Picturing(Learner):
    """A causal transformer over the pixels of images, row by row."""

    dataset: Literal["mnist", "cifar10", "digits"] = "mnist"
    """CIFAR-10 has the three channels of a pixel one after the other; digits 8x8 pixels of 17
    levels, and is not downloaded."""
    shrink: PositiveInt = 1
    """Side of the squares of pixels that are averaged into one."""
    norm: Literal["pre", "post"] = "pre"
    """Layer normalisation before each part, or after each sum as in the authors' code."""
    head: Literal["mixture", "categorical"] = "mixture"
    """Mixture of discretised logistics, or one logit a level."""
    components: PositiveInt = 10
    """Logistics in the mixture."""
    examples: PositiveInt = 60_000
    """Training images, the first ones."""
    test_examples: PositiveInt = 10_000
    """Test images, the first ones."""
    samples: PositiveInt = 16
    """Images to generate."""
    clock: bool = True
    """Whether images a second are reported, which no two runs agree on."""
    drop_after: NonNegativeInt = 0
    """Steps after which the rate is a tenth; 0 never drops it."""


class Pixels(NamedTuple):
    """Images as sequences of levels (N, T)."""

    level: NDArray[np.uint8]


class Pictures(NamedTuple):
    """What an experiment on images works on."""

    train: Pixels
    test: Pixels
    shape: tuple[int, int, int]
    """Height, width, channels."""
    levels: int


def images(config: Picturing, run: Run) -> Metrics:
    """Train, measure bits a dimension on the test images, complete some and draw new ones."""
    pictures = load_pictures(config, run)
    length, start = math.prod(pictures.shape), pictures.levels
    outputs = 3 * config.components if config.head == "mixture" else pictures.levels
    model = SequenceModel(
        pictures.levels + 1,
        outputs,
        length=length,
        dim=config.dim,
        heads=config.heads,
        layers=config.layers,
        kernel=kernel_of(config, run),
        norm=config.norm,
    )
    model = run.place(model)

    def bits(level: Tensor) -> Tensor:
        """Mean over the pixels of level (B, T)."""
        target = level.long()
        # Each pixel is predicted from those before it, the first from a level of its own.
        before = torch.nn.functional.pad(target[:, :-1], (1, 0), value=start)
        predicted = model(before).float()
        if config.head == "categorical":
            nats = cross_entropy(predicted.flatten(0, 1), target.flatten())
        else:
            nats = -mixture_log_probability(predicted, target, pictures.levels).mean()
        return nats / math.log(2)

    batch_at = batches(pictures.train, config.batch_size, seed=run.seed)
    fit(config, run, model, batch_at=batch_at, loss=lambda batch: math.log(2) * bits(batch.level))
    test = torch.from_numpy(pictures.test.level)
    with torch.no_grad():
        parts = test.split(config.batch_size)
        total = sum(float(bits(part.to(run.device))) * len(part) for part in parts)
    counted = pictures.train.level, pictures.test.level
    return {
        "bits_per_dim": total / len(test),
        "histogram_bits_per_dim": measure_histogram(*counted, pictures.levels),
        "table_bits_per_dim": measure_table(*counted, pictures.shape, pictures.levels),
    } | draw_pictures(config, run, model, pictures)


def load_pictures(config: Picturing, run: Run) -> Pictures:
    """The dataset's images as sequences."""
    if config.dataset == "digits":
        return to_sequences(config, digits(), 17)
    split = mnist(run.data) if config.dataset == "mnist" else cifar10(run.data)
    return to_sequences(config, split, 256)


def to_sequences(config: Picturing, split: Split, levels: int) -> Pictures:
    """Images, averaged over squares, as sequences: row by row, channels innermost."""
    parts = []
    for part, count in ((split.train, config.examples), (split.test, config.test_examples)):
        image = torch.from_numpy(part.image[:count]).float()
        if image.shape[-1] % config.shrink:
            raise ValueError(f"shrink must divide {image.shape[-1]}, got {config.shrink}")
        small = torch.nn.functional.avg_pool2d(image, config.shrink).round().byte()
        parts.append(small.permute(0, 2, 3, 1))
    height, width, channels = parts[0].shape[1:]
    train, test = (Pixels(part.flatten(1).numpy()) for part in parts)
    return Pictures(train, test, (height, width, channels), levels)


def draw_pictures(config: Picturing, run: Run, model: SequenceModel, pictures: Pictures) -> Metrics:
    """The figure `pictures`: test images, their lower halves completed, and images from nothing.

    Args:
        config: How many, and what generates.
        run: Its seed decides what is drawn.
        model: A trained one.
        pictures: Whose test images are completed.
    """
    bare = getattr(model, "module", model)  # under torchrun it is wrapped
    extend = choose_extend(config, bare)
    generator = run.rng("samples")

    def choose(outputs: Tensor) -> Tensor:
        if config.head == "mixture":
            level = sample_mixture(outputs, pictures.levels, generator)
            return level.clamp(max=pictures.levels - 1)
        chance = outputs.float().softmax(-1).cpu()
        return torch.multinomial(chance, 1, generator=generator)[:, 0].to(outputs.device)

    length, count = math.prod(pictures.shape), config.samples
    true = torch.from_numpy(pictures.test.level[:count].astype(np.int64)).to(run.device)
    begin = torch.full((count, 1), pictures.levels, device=run.device)
    began = now(run.device)
    drawn = generate(extend, begin, length, choose)[:, 1:].cpu()
    spent = now(run.device) - began
    half = length // 2
    prompt = torch.cat((begin[: len(true)], true[:, :half]), 1)
    completed = generate(extend, prompt, length - half, choose)[:, 1:].cpu()
    masked = true.cpu().clone()
    masked[:, half:] = 0
    plot_rows(run, [true.cpu(), masked, completed, drawn], pictures)
    return {"images_per_second": count / spent} if config.clock else {}


def choose_extend(config: Picturing, model: SequenceModel) -> Extend:
    """The quickest way to generate that the attention has."""
    if config.attention == "lsh":
        return recomputing_extend(model)
    return model.extend if config.attention == "softmax" else recurrent_extend(model)


def plot_rows(run: Run, rows: list[Tensor], pictures: Pictures) -> None:
    """One row of images for each list of sequences."""
    from matplotlib.figure import Figure

    names = ("test image", "its upper half", "completed", "from nothing")
    height, width, channels = pictures.shape
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(0.55 * columns + 1, 2.6), layout="constrained")
    for axis, name, row in zip(figure.subplots(len(rows), 1), names, rows, strict=True):
        canvas = row.view(len(row), height, width, channels).float() / (pictures.levels - 1)
        canvas = torch.nn.functional.pad(canvas, (0, 0, 1, 1, 1, 1), value=0.5)
        strip = torch.cat(list(canvas), 1).numpy()
        axis.imshow(strip if channels == 3 else strip[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    run.figure("pictures", figure)
