"""`MaskBank`: one frozen net and a packed mask a task; add, infer, save (sections 3.1 to 3.4).

Legend: B examples, k tasks, n masked weights, m running statistics, S outputs.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Self

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.nn.devices import piece_size
from quire.papers.supsup.frozen import FrozenNet, Supermask, evaluating
from quire.papers.supsup.inference import ROOM, Rule, one_shot, split_groups
from quire.papers.supsup.masks import THRESHOLD, Sparsity, make_table, pack, unpack
from quire.papers.supsup.objectives import Objective, entropy

Batches = Iterable[tuple[Tensor, Tensor]]
"""Minibatches of a task: x (B, ...) and labels (B,)."""
FORMAT = "quire supsup 1"
"""What a saved bank says it is."""


class Prediction(NamedTuple):
    """What `MaskBank.predict` gives."""

    task: Tensor
    """(B,) int64."""
    logits: Tensor
    """(B, S)."""


class Storage(NamedTuple):
    """Bytes of a bank, whose weights cost a seed."""

    packed: int
    """Eight weights a byte, as `save` writes them."""
    sparse: int
    """The paper's accounting: a 16-bit index for each kept weight and one 16-bit row end for each
    output, as compressed sparse rows have."""
    statistics: int
    """Of normalisation, in single precision."""


class MaskBank(nn.Module):
    """A frozen random net and a mask of its weights for every task.

    Tasks are added one after the other or many at once, and what was added never changes: nothing
    can be forgotten. `infer` names the task of new data by one gradient. The net's weights follow
    from `seed`, so that a task costs one bit a weight.

    Args:
        model: Any module with weights; a copy is frozen (`FrozenNet`).
        sparsity: How scores become masks: `Threshold`, `TopFraction`, `ErdosRenyi` or your own.
        seed: Decides the weights; None keeps those of the model (a pretrained one).
        names: The parameters that are masked; None takes all of two or more dimensions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import MaskBank
        >>> bank = MaskBank(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)))
        >>> x, label = torch.randn(6, 4), torch.randint(2, (6,))
        >>> bank.add([(x, label)]), bank.add([(-x, label)])
        (0, 1)
        >>> bank(x, 0).shape, bank.infer(x).shape
        (torch.Size([6, 5]), torch.Size([6]))
    """

    bits: Tensor
    statistics: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        sparsity: Sparsity = THRESHOLD,
        seed: int | None = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.net = FrozenNet(model, seed=seed, names=names)
        self.sparsity = sparsity
        device = self.net.weights.device
        width = -(-self.net.size // 8)
        self.register_buffer("bits", torch.zeros(0, width, dtype=torch.uint8, device=device))
        self.register_buffer("statistics", self.net.statistics.new_zeros(0, self._normalised))
        self._counts: Tensor | None = None

    @property
    def _normalised(self) -> int:
        return len(self.net.statistics)

    @property
    def length(self) -> int:
        """Numbers of a task's vector: masked weights and running statistics."""
        return self.net.size + self._normalised

    def __len__(self) -> int:
        """k, the tasks so far."""
        return len(self.bits)

    # Tasks

    def new(
        self,
        *,
        tasks: int | None = None,
        generator: torch.Generator | None = None,
        scores: Tensor | None = None,
    ) -> Supermask:
        """A mask to train, or those of several tasks together, on the bank's device; then `add` it.

        Args:
            tasks: How many together; None is one, without a dimension of tasks.
            generator: What scores are drawn from, on the CPU; None is seeded with the tasks so far.
            scores: Where they begin instead, (n,) or (tasks, n): transfer from earlier ones.
        """
        source = torch.Generator().manual_seed(len(self)) if generator is None else generator
        made = Supermask(self.net, self.sparsity, tasks=tasks, generator=source)
        if scores is not None:
            made.reset(source, scores=scores)
        return made

    @torch.no_grad()
    def add(self, task: Supermask | Batches, *, learning_rate: float = 1e-4) -> int:
        """Keep the mask of a task for good; gives its number, the first one of several.

        task: a trained `Supermask` of this bank (`new`), or minibatches (x, label), on which one is
        trained with `learn`. learning_rate: for minibatches.

        Raises ValueError for a mask of another net.
        """
        if not isinstance(task, Supermask):
            with torch.enable_grad():
                task = learn(self.new(), task, learning_rate=learning_rate)
        if task.net.size != self.net.size:
            raise ValueError(
                f"the mask is of {task.net.size} weights, the bank's net has {self.net.size}"
            )
        masks = task.mask().view(-1, self.net.size)
        self.bits = torch.cat([self.bits, pack(masks > 0).to(self.bits.device)])
        statistics = task.statistics.view(len(masks), self._normalised)
        self.statistics = torch.cat([self.statistics, statistics.to(self.statistics)])
        self._counts = None
        return len(self) - len(masks)

    def mask(self, task: int) -> dict[str, Tensor]:
        """The mask of a task by parameter, bool. Raises IndexError for an unknown task."""
        flat = self._masks(torch.tensor([self._known(task)], device=self.bits.device))[0] > 0
        parts = flat.split(self.net.sizes)
        return {
            name: part.view(shape)
            for name, part, shape in zip(self.net.names, parts, self.net.shapes, strict=True)
        }

    def kept(self) -> Tensor:
        """Share of the weights that each task keeps, (k,): measured, not asked for."""
        rows = [masks.mean(1, dtype=torch.float32) for _, masks in self._pieces()]
        return torch.cat(rows) if rows else torch.zeros(0, device=self.bits.device)

    # Use

    def forward(self, x: Tensor, task: int | Tensor) -> Tensor:
        """x (B, ...) -> logits (B, S) under the mask of `task`: a number, or one a row, (B,)."""
        if isinstance(task, int):
            mask = self._masks(torch.tensor([self._known(task)], device=self.bits.device))[0]
            # A copy: in training mode normalisation writes into what it is given.
            return self.net(x, mask, self.statistics[task].clone())
        if task.shape != (len(x),):
            raise ValueError(f"task must be a number or ({len(x)},), got {tuple(task.shape)}")
        each = torch.func.vmap(self.call, randomness="different")
        rows = [
            each(self.take(task[part]), x[part][:, None])[:, 0]
            for part in split_groups(self, x)
        ]  # fmt: skip
        return torch.cat(rows) if rows else self.net(x)

    def infer(
        self,
        x: Tensor,
        *,
        objective: Objective = entropy,
        rule: Rule = one_shot,
        together: bool = False,
    ) -> Tensor:
        """The task of each row of x (B, ...), (B,); or of all of them together, ().

        Args:
            x: New data, without a label.
            objective: `entropy` (H), or `superfluous(labels)` (G), which is better where the net
                has more outputs than labels.
            rule: `one_shot`, `binary`, `exhaustive`, or `descend` and `rescore` with their options.
            together: Whether x is known to be of one task.

        Raises ValueError for a bank without tasks or an empty batch.
        """
        groups = x[None] if together else x[:, None]
        found = rule(self, groups, objective)
        return found[0] if together else found

    @torch.no_grad()
    def predict(
        self, x: Tensor, *, objective: Objective = entropy, rule: Rule = one_shot
    ) -> Prediction:
        """Name the task of every row of x (B, ...), and give its logits under that task's mask."""
        task = self.infer(x, objective=objective, rule=rule)
        with evaluating(self):
            return Prediction(task, self(x, task))

    # What inference asks of a bank

    @torch.no_grad()
    def mix(self, alphas: Tensor | None) -> Tensor:
        """Mixtures (G, n + m) of alphas (G, k); of None the uniform one, (n + m,)."""
        weights = self.net.weights
        if alphas is None:
            if self._counts is None or self._counts.device != weights.device:
                self._counts = self._sum_masks()
            share = self._counts.to(weights.dtype) / len(self)
            return torch.cat([weights * share, self.statistics.sum(0) / len(self)])
        mixed = weights.new_zeros(len(alphas), self.net.size)
        for some, masks in self._pieces():
            mixed += alphas[:, some].to(masks) @ masks
        return torch.cat([weights * mixed, alphas.to(weights) @ self.statistics], 1)

    def take(self, tasks: Tensor) -> Tensor:
        """The vectors (T, n + m) of tasks (T,)."""
        return torch.cat([self.net.weights * self._masks(tasks), self.statistics[tasks]], 1)

    @torch.no_grad()
    def project(self, gradient: Tensor) -> Tensor:
        """<gradient, weights of each task>: (G, n + m) -> (G, k)."""
        towards = gradient[:, : self.net.size] * self.net.weights
        return torch.cat([towards @ masks.T for _, masks in self._pieces()], 1)

    def call(self, vector: Tensor, x: Tensor) -> Tensor:
        """x (B, ...) -> logits (B, S) of the net with that vector, (n + m,)."""
        return self.net.call(vector, x)

    def calm(self) -> AbstractContextManager[None]:
        """In evaluation mode inside `with`."""
        return evaluating(self)

    def _masks(self, tasks: Tensor) -> Tensor:
        weights = self.net.weights
        table = make_table(weights.dtype, weights.device)
        return unpack(self.bits[tasks], self.net.size, table)

    def _pieces(self) -> Iterable[tuple[slice, Tensor]]:
        """The masks (T, n) of some tasks after the other, as many as fit in memory."""
        weights = self.net.weights
        table = make_table(weights.dtype, weights.device)
        size = piece_size(self.bits, max(1, ROOM // self.net.size), len(self), self.net.size)
        for begin in range(0, len(self), size):
            some = slice(begin, begin + size)
            yield some, unpack(self.bits[some], self.net.size, table)

    def _sum_masks(self) -> Tensor:
        """How many tasks keep each weight, (n,), exact up to 2^24 tasks."""
        counts = torch.zeros(self.net.size, device=self.bits.device)
        for _, masks in self._pieces():
            counts += masks.sum(0, dtype=torch.float32)
        return counts

    def _known(self, task: int) -> int:
        if not 0 <= task < len(self):
            raise IndexError(f"task must be in 0..{len(self) - 1}, got {task}")
        return task

    # On disk

    def measure_storage(self) -> Storage:
        """Bytes of all tasks, three ways."""
        rows = sum(shape[0] for shape in self.net.shapes)
        kept = int(self._sum_masks().double().sum())
        return Storage(
            packed=self.bits.numel(),
            sparse=2 * (kept + rows * len(self)),
            statistics=4 * self.statistics.numel(),
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the packed masks and the seed, as safetensors; gives the path.

        Of the weights only a digest is written: `load` makes them again from the seed, or takes
        those of the model that it is given.
        """
        header = {
            "seed": self.net.seed,
            "names": list(self.net.names),
            "shapes": [list(shape) for shape in self.net.shapes],
            "weights": self._digest(),
        }
        path = Path(path)
        tensors = {"bits": self.bits.cpu(), "statistics": self.statistics.float().cpu()}
        metadata = {"format": FORMAT, "net": json.dumps(header)}
        partial = path.with_name(path.name + ".part")
        safetensors.torch.save_file(tensors, partial, metadata=metadata)
        os.replace(partial, path)  # whole or not there
        return path

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model: nn.Module, *, sparsity: Sparsity = THRESHOLD
    ) -> Self:
        """The bank that `save` wrote, around a model of the same form.

        Args:
            path: What was written.
            model: As it was given to the bank; without a seed, with the same weights.
            sparsity: For tasks that are yet to come.

        Raises ValueError for another file, another net, or weights that are not those of the masks.
        """
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{path} is no mask bank: it says {metadata.get('format')!r}")
            bits, statistics = file.get_tensor("bits"), file.get_tensor("statistics")
        header = json.loads(metadata["net"])
        bank = cls(model, sparsity=sparsity, seed=header["seed"], names=header["names"])
        if [list(shape) for shape in bank.net.shapes] != header["shapes"]:
            raise ValueError(f"{path} is of weights {header['shapes']}, the model has "
                             f"{[list(shape) for shape in bank.net.shapes]}")  # fmt: skip
        if bank._digest() != header["weights"]:
            raise ValueError(f"{path} is of other weights than {_origin(header['seed'])}")
        bank.bits = bits.to(bank.bits.device)
        bank.statistics = statistics.to(bank.statistics)
        return bank

    def _digest(self) -> str:
        """Of the frozen weights in single precision, and of what else the model holds."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.net.model.named_parameters()):
            digest.update(name.encode())
            digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Another number of tasks is no mistake: the buffers take the size of what is loaded.
        for name in ("bits", "statistics"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(saved, Tensor) and saved.shape[1:] == own.shape[1:]:
                setattr(self, name, own.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._counts = None


def learn(mask: Supermask, batches: Batches, *, learning_rate: float = 1e-4) -> Supermask:
    """Train the scores by RMSProp on cross-entropy, one step a minibatch; gives the same mask.

    Args:
        mask: Of one task, or of T with minibatches x (T, B, ...) and labels (T, B).
        batches: Minibatches; the paper takes 1,000 of 128 for MNIST.
        learning_rate: RMSProp's, whose moments begin anew with each call.
    """
    optimizer = torch.optim.RMSprop([mask.scores], lr=learning_rate)
    for x, label in batches:
        optimizer.zero_grad()
        measure_loss(mask(x), label).backward()
        optimizer.step()
    return mask


def measure_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy in nats, the mean of each task and the sum over tasks: (..., B, S) -> ()."""
    losses = F.cross_entropy(logits.flatten(0, -2), label.flatten(), reduction="none")
    return losses.view(label.shape).mean(-1).sum()


def _origin(seed: int | None) -> str:
    return "those of the model" if seed is None else f"seed {seed} makes here"
