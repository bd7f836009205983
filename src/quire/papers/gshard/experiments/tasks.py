"""Many tasks in one net: each permutes the symbols in its own way, as languages rename things.

A token is a task and a symbol, its target that task's image of the symbol. It stands in for the
paper's hundred languages where a minute must do: what decides is how many weights there are, and
whether tokens find theirs.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from quire.lab import Config, Metrics, Run
from quire.lab.measure import now
from quire.lab.training import Kept, update
from quire.papers.gshard.gate import Second
from quire.papers.gshard.load import spread
from quire.papers.gshard.mixture import MixtureOfExperts, side, tell
from quire.papers.gshard.published import count_products
from quire.papers.gshard.routers import Assigned, Router, Top2

COMMON = 10.0
"""Length of what all tokens of a collapsed start have in common."""
COMMONEST = 10
"""Tasks that count as the commonest ones."""


class Tasks(Config):
    """A block with a feed-forward part or a mixture, on tables of permutations."""

    method: Literal["mixture", "untrained", "fixed", "dense"] = "mixture"
    """A mixture; one whose gate stays as it was drawn; experts by the task's number; one net."""
    experts: PositiveInt = 16
    """E."""
    hidden: PositiveInt = 32
    """Hidden width of an expert, or of the dense net."""
    coefficient: NonNegativeFloat = 0.01
    """k of the balance loss, on the scale on which even gates give 1."""
    second: Second = "random"
    """Which second experts are kept in training."""
    task_weight: NonNegativeFloat = 1.0
    """What the task's own loss is multiplied with."""
    gap: NonNegativeFloat = 0.0
    """By how much the logits of two experts exceed all others' at the start; 0 is a fresh gate."""
    zipf: NonNegativeFloat = 0.0
    """Task n is drawn with a probability of 1 / n to this power; 0 draws all alike."""
    tasks: PositiveInt = 128
    """T."""
    symbols: PositiveInt = 32
    """V."""
    dim: PositiveInt = 32
    """M."""
    groups: PositiveInt = 4
    """G, in a minibatch."""
    length: PositiveInt = 128
    """S, tokens of a group."""
    steps: PositiveInt = 1200
    """Minibatches."""
    learning_rate: PositiveFloat = 3e-3
    """Adam's."""


class Tables(NamedTuple):
    """What is to be learned: images int64 (T, V), and how likely each task is (T,)."""

    image: Tensor
    likely: Tensor

    def draw(self, shape: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Tasks, symbols and targets of a minibatch, int64 (G, S) each."""
        number = shape[0] * shape[1]
        task = torch.multinomial(self.likely, number, replacement=True, generator=generator)
        symbol = torch.randint(self.image.shape[1], shape, generator=generator)
        task = task.view(shape)
        return task, symbol, self.image[task, symbol]


class Block(nn.Module):
    """Embeddings of task and symbol, one residual feed-forward part, and a linear head."""

    common: Tensor

    def __init__(self, config: Tasks) -> None:
        super().__init__()
        self.method, self.experts = config.method, config.experts
        self.task = nn.Embedding(config.tasks, config.dim)
        self.symbol = nn.Embedding(config.symbols, config.dim)
        self.part = make_part(config)
        self.head = nn.Linear(config.dim, config.symbols)
        self.register_buffer("common", torch.zeros(config.dim))
        if config.gap:
            self.collapse(config.gap)

    @torch.no_grad()
    def collapse(self, gap: float) -> None:
        """Give all tokens a part in common, along which two experts' logits are higher by `gap`."""
        assert isinstance(self.part, MixtureOfExperts)
        weight = self.part.gate.weight
        assert isinstance(weight, Tensor)
        self.common[0] = COMMON
        weight *= 0.1
        weight[:, 0] = 0
        weight[:2, 0] = gap / COMMON

    def forward(self, task: Tensor, symbol: Tensor) -> Tensor:
        """int64 (G, S) each -> logits (G, S, V)."""
        x = self.task(task) + self.symbol(symbol) + self.common
        choice = None
        if self.method == "fixed":
            first = task % self.experts
            choice = torch.stack((first, (first + self.experts // 2) % self.experts), -1)
        with tell(self, choice=choice):
            logits: Tensor = self.head(x + self.part(x))
        return logits


def make_part(config: Tasks) -> nn.Module:
    """The part that is compared; all without biases."""
    if config.method == "dense":
        return nn.Sequential(
            nn.Linear(config.dim, config.hidden, bias=False),
            nn.ReLU(),
            nn.Linear(config.hidden, config.dim, bias=False),
        )
    routers: dict[str, Router] = {"fixed": Assigned()}
    # C is 4 at the least: with one slot what is dropped depends on who is in the group.
    router = routers.get(config.method, Top2(minimum=4, second=config.second))
    part = MixtureOfExperts(config.dim, config.hidden, config.experts, router=router)
    part.gate.requires_grad_(config.method == "mixture")
    return part


def tasks(config: Tasks, run: Run) -> Metrics:
    """Accuracy over all tables, and how the experts were used in the last tenth of training."""
    generator = run.rng("tables")
    image = torch.stack(
        [torch.randperm(config.symbols, generator=generator) for _ in range(config.tasks)]
    )
    likely = torch.arange(1, config.tasks + 1).double() ** -config.zipf
    tables = Tables(image, likely / likely.sum())
    model = run.place(Block(config))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad],
                                 lr=config.learning_rate)  # fmt: skip
    kept = Kept(reached=0.0)

    def batch(step: int) -> tuple[Tensor, ...]:
        return tables.draw((config.groups, config.length), run.rng("batch", step))

    late, spent = config.steps - max(1, config.steps // 10), []
    for task, symbol, target in run.steps(config.steps, batch, state=(model, optimizer, kept)):
        began = now(run.device) if run.step >= late else 0.0
        loss = F.cross_entropy(model(task, symbol).flatten(0, 1), target.flatten())
        whole = config.task_weight * loss
        if config.method != "dense":
            whole = whole + config.coefficient * side(model)["balance"].sum()
        update(whole, model, optimizer)
        run.log(loss=loss)
        if run.step >= late:
            spent.append(now(run.device) - began)
            watch(model, config, kept)
    found = measure(model, tables, config, run)
    return found | {
        name: kept.numbers[name]
        for name in ("dropped", "balance", "imbalance", "entropy")
        if name in kept.numbers
    } | {
        "step_ms": 1000 * sorted(spent)[len(spent) // 2] if spent else 0.0,
        "weights": float(sum(p.numel() for p in model.part.parameters())),
        "products": float(count_work(config)),
    }  # fmt: skip


def watch(model: nn.Module, config: Tasks, kept: Kept) -> None:
    """Keep the means of what the mixture left behind."""
    if config.method == "dense":
        return
    left = side(model)
    imbalance, entropy = spread(left["load"][0])
    values = {"dropped": 100 * left["dropped"][0], "balance": left["balance"][0],
              "imbalance": imbalance, "entropy": entropy}  # fmt: skip
    for name, value in values.items():
        kept.average(name, value.detach())


def count_work(config: Tasks) -> int:
    """Multiplications of a token in the part that is compared, its gate included."""
    if config.method == "dense":
        return count_products(config.dim, config.hidden)
    gate = 0 if config.method == "fixed" else config.experts
    return count_products(config.dim, config.hidden, experts=gate, choices=2)


@torch.no_grad()
def measure(model: nn.Module, tables: Tables, config: Tasks, run: Run) -> Metrics:
    """Every entry of every table once, in groups of all tasks: accuracy by how common tasks are."""
    order = torch.randperm(tables.image.numel(), generator=run.rng("test"))
    model.eval()
    right, lost = [], []
    for index in order.split(config.length):
        task, symbol = (index // config.symbols)[None], (index % config.symbols)[None]
        task, symbol = task.to(run.device), symbol.to(run.device)
        logits = model(task, symbol)
        target = tables.image.to(run.device)[task, symbol]
        right.append((logits.argmax(-1) == target)[0])
        lost.append(F.cross_entropy(logits[0], target[0], reduction="none"))
    hit = torch.empty(len(order)).index_copy(0, order, torch.cat(right).float().cpu())
    loss = torch.cat(lost).mean()
    by_task = 100 * hit.view(config.tasks, config.symbols).mean(1)
    run.series("accuracy", range(1, config.tasks + 1), by_task,
               x_label="task, the commonest first", y_label="accuracy, %")  # fmt: skip
    return {
        "accuracy": float(by_task.mean()),
        "test_loss": float(loss),
        "common": float(by_task[:COMMONEST].mean()),
        "rare": float(by_task[config.tasks // 2 :].mean()),
    }
