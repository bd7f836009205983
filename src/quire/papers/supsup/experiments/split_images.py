"""Tasks of a few classes each with a convolutional net, the task given in training and at test."""

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.checkpoint import Stateful
from quire.lab.training import Kept, cosine_decay, set_rate, update, warm_up
from quire.papers.supsup.bank import MaskBank
from quire.papers.supsup.baselines import BatchEnsemble
from quire.papers.supsup.experiments.images import Source, open_source
from quire.papers.supsup.experiments.learner import Vectors
from quire.papers.supsup.frozen import evaluating
from quire.papers.supsup.masks import ErdosRenyi
from quire.papers.supsup.networks import ResNet, count_weights

Method = Literal["supsup", "separate", "sequential", "heads", "batche"]
Transfer = Literal["none", "masks", "scores"]


class SplitImages(Config):
    """Classes dealt out to tasks; scenario GG."""

    source: Literal["digits", "cifar10", "cifar100", "imagenet"] = "cifar100"
    """Whose images; digits are scikit-learn's, enlarged; imagenet reads <data>/imagenet/."""
    ways: PositiveInt = 5
    """Classes of a task."""
    tasks: PositiveInt | None = None
    """How many tasks are learned; all where none."""
    method: Method = "supsup"
    """Masks; a net a task, each from the last; one net; a head a task; factors of one net."""
    random_trunk: bool = False
    """Whether heads and factors are over random weights, not those of the first task."""
    transfer: Transfer = "none"
    """Where scores begin: drawn, at the mean of earlier masks, or of earlier scores."""
    multiplier: PositiveFloat = 4.0
    """Of the Erdos-Renyi budget: bigger is denser."""
    depth: Literal[18, 50] = 18
    """Of the ResNet."""
    width: PositiveInt = 20
    """Channels of its first stage."""
    steps: PositiveInt = 4882
    """Minibatches a task; 4,882 of 128 are 250 epochs of 2,500 images."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's, falling along half a cosine in each task."""
    warm_up: NonNegativeFloat = 0.0
    """Share of a task's steps in which the rate rises."""


class Way(Protocol):
    """One way to learn task after task: what is trained, before and after each."""

    module: nn.Module

    def begin(self, task: int, *, fresh: bool) -> None:
        """Before each step of a task; `fresh` before its first one."""
        ...

    def answer(self, x: Tensor, task: int) -> Tensor:
        """Logits (B, ways) of x (B, C, H, W)."""
        ...

    def finish(self, task: int) -> None:
        """After a task."""
        ...

    def extra(self) -> list[nn.Module]:
        """What a checkpoint holds besides the module."""
        ...


class ByMasks:
    """Supermasks by edge-popup, drawn anew or begun at the mean of earlier ones."""

    def __init__(self, config: SplitImages, net: nn.Module, run: Run) -> None:
        self.bank = MaskBank(net, sparsity=ErdosRenyi(config.multiplier), seed=run.seed)
        self.bank.to(run.device)
        self.mask = self.bank.new(generator=run.rng("scores", 0))
        self.module: nn.Module = self.mask
        self.transfer, self.run = config.transfer, run
        self.means = Vectors(2, self.bank.net.size).to(run.device)
        shapes = self.bank.net.shapes
        bounds = [torch.full((s.numel(),), s[1:].numel() ** -0.5) for s in shapes]
        self.bound = torch.cat(bounds).to(run.device)

    def begin(self, task: int, *, fresh: bool) -> None:
        if not fresh:
            return
        scores = None
        if task and self.transfer != "none":
            # Masks are 0 and 1: in the units of drawn scores, so that one rate serves both.
            masks, earlier = self.means.rows
            scores = masks * self.bound if self.transfer == "masks" else earlier
        self.mask.reset(self.run.rng("scores", task), scores=scores)

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.mask(x)
        return logits

    @torch.no_grad()
    def finish(self, task: int) -> None:
        self.bank.add(self.mask)
        now = torch.stack([self.mask.mask(), self.mask.scores])
        self.means.rows += (now - self.means.rows) / (task + 1)

    def extra(self) -> list[nn.Module]:
        return [self.bank, self.means]


class ByNets:
    """Trained nets: one that goes from task to task, with a new head each time or with the same."""

    def __init__(self, config: SplitImages, net: ResNet, run: Run) -> None:
        self.net = net.to(run.device)
        self.module: nn.Module = self.net
        self.method, self.random, self.run = config.method, config.random_trunk, run

    def begin(self, task: int, *, fresh: bool) -> None:
        if self.method == "sequential":
            return
        if task and fresh:
            weight = self.net.head.weight
            drawn = torch.randn(weight.shape, generator=self.run.rng("head", task))
            with torch.no_grad():
                weight.copy_(drawn / weight.shape[1] ** 0.5)
        if self.method == "heads":
            trunk_learns = task == 0 and not self.random
            self.net.requires_grad_(trunk_learns)
            self.net.head.requires_grad_(True)

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def finish(self, task: int) -> None:
        pass

    def extra(self) -> list[nn.Module]:
        return []


class ByFactors:
    """BatchE: shared weights of the first task, or random ones, and rank-one factors a task."""

    def __init__(self, config: SplitImages, net: nn.Module, count: int, run: Run) -> None:
        seed = run.seed if config.random_trunk else None
        self.net = BatchEnsemble(net, tasks=count, seed=seed).to(run.device)
        self.module: nn.Module = self.net
        self.random = config.random_trunk

    def begin(self, task: int, *, fresh: bool) -> None:
        self.net.freeze()
        if task == 0 and not self.random:
            self.net.shared()

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.net(x, task)
        return logits

    def finish(self, task: int) -> None:
        pass

    def extra(self) -> list[nn.Module]:
        return []


def split_images(config: SplitImages, run: Run) -> Metrics:
    """Accuracy over all tasks, over those after the first, and the megabytes of all of them."""
    source = open_source(config.source, config.ways, run)
    count = source.count if config.tasks is None else config.tasks
    stem: Literal["small", "large"] = "large" if config.source == "imagenet" else "small"
    net = ResNet(config.depth, config.ways, width=config.width, stem=stem)
    weights, statistics = count_weights(net), sum(b.numel() for b in net.buffers())
    way: Way
    if config.method == "supsup":
        way = ByMasks(config, net, run)
    elif config.method == "batche":
        way = ByFactors(config, net, count, run)
    else:
        way = ByNets(config, net, run)
    accuracy = learn_all(config, run, way, source, count)
    return {
        "accuracy": sum(accuracy) / count,
        "later_accuracy": sum(accuracy[1:]) / max(1, count - 1),
        "megabytes": measure_megabytes(way, config, weights, statistics, count),
    }


def learn_all(config: SplitImages, run: Run, way: Way, source: Source, count: int) -> list[float]:
    """Task after task; gives the accuracy (%) of each, at the end where one net is all there is.

    Args:
        config: Steps, batch, rate.
        run: The run.
        way: How.
        source: The tasks.
        count: How many of them.
    """
    # All that any task trains, so that a resumed run finds the same parameters.
    optimizer = torch.optim.Adam(way.module.parameters(), lr=config.learning_rate)
    kept = Kept()
    state: list[Stateful] = [way.module, optimizer, kept, *way.extra()]
    risen = max(1, round(config.warm_up * config.steps))
    way.module.train()
    for step in run.steps(count * config.steps, state=state):
        task, place = divmod(step, config.steps)
        if place == 0:
            optimizer.state.clear()
        way.begin(task, fresh=place == 0)
        rate = min(warm_up(place, risen), cosine_decay(place, config.steps))
        set_rate(optimizer, config.learning_rate * rate)
        x, label = source.batch(task, config.batch_size, run.rng("batch", step))
        with run.precision():
            loss = F.cross_entropy(way.answer(x, task), label)
        update(loss, way.module, optimizer)
        run.log(loss=loss)
        if place == config.steps - 1:
            way.finish(task)
            if config.method != "sequential":
                kept.add("accuracy", test(way, source, task))
    if config.method == "sequential":
        return [test(way, source, task) for task in range(count)]
    return [float(value) for value in kept.series["accuracy"]]


@torch.no_grad()
def test(way: Way, source: Source, task: int) -> float:
    """Accuracy (%) on the test images of a task."""
    hits = []
    with evaluating(way.module):
        for x, label in source.test(task):
            hits.append((way.answer(x, task).argmax(1) == label).float())
    return 100 * float(torch.cat(hits).mean())


def measure_megabytes(
    way: Way, config: SplitImages, weights: int, statistics: int, count: int
) -> float:
    """MB of all that must be kept for the tasks, 4 bytes a number, sparse bits for masks.

    Args:
        way: How they were learned.
        config: Names the method.
        weights: Of one net.
        statistics: Of normalisation in one net.
        count: Tasks.
    """
    if isinstance(way, ByMasks):
        storage = way.bank.measure_storage()
        return (storage.sparse + storage.statistics) / 1e6
    shared = 0 if config.random_trunk else weights
    if isinstance(way, ByFactors):
        own = sum(p[0].numel() for p in way.net.own())
        return 4e-6 * (shared + count * (own + statistics))
    if config.method == "heads":
        assert isinstance(way, ByNets)
        return 4e-6 * (shared + count * (way.net.head.weight.numel() + statistics))
    return 4e-6 * (weights + statistics) * (count if config.method == "separate" else 1)
