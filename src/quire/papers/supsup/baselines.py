"""Baselines that share one trained net between tasks: BatchE, PSP and HAT (section 4).

Legend: B examples, k tasks, S outputs; a layer has O outputs and I inputs.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.supsup.frozen import FrozenNet

ContextKind = Literal["binary", "complex", "orthogonal"]


class BatchEnsemble(nn.Module):
    """BatchE (Wen et al. 2020): one shared W, and for each task a rank-one factor of it.

    The weights of a task are W * (r c^T), with r (O,) and c (I,) for each layer, which for a
    convolution are the same at all places of the kernel. W is trained on the first task and frozen
    afterwards (`shared`), or random from the beginning.

    Args:
        model: Any module; a copy is kept.
        tasks: k.
        seed: Decides random weights, signed constants; None keeps those of the model.

    Raises ValueError for less than one task.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import BatchEnsemble
        >>> net = BatchEnsemble(nn.Linear(4, 3, bias=False), tasks=2)
        >>> net(torch.randn(5, 4), 1).shape
        torch.Size([5, 3])
    """

    statistics: Tensor

    def __init__(self, model: nn.Module, *, tasks: int, seed: int | None = None) -> None:
        super().__init__()
        if tasks < 1:
            raise ValueError(f"tasks must be at least 1, got {tasks}")
        self.net = FrozenNet(model, seed=seed)
        self.tasks = tasks
        like = self.net.weights
        shapes = self.net.shapes
        self.rows = nn.ParameterList(nn.Parameter(like.new_ones(tasks, s[0])) for s in shapes)
        self.columns = nn.ParameterList(nn.Parameter(like.new_ones(tasks, s[1])) for s in shapes)
        self.register_buffer("statistics", self.net.statistics.repeat(tasks, 1))

    def shared(self) -> list[nn.Parameter]:
        """The weights that all tasks share, made trainable; `freeze` ends it."""
        found = [self.net.model.get_parameter(name) for name in self.net.names]
        for parameter in found:
            parameter.requires_grad_()
        return found

    def freeze(self) -> None:
        """Freeze the shared weights: after the first task."""
        self.net.requires_grad_(False)

    def own(self) -> list[nn.Parameter]:
        """The factors of all tasks."""
        return [*self.rows, *self.columns]

    def find_factors(self, task: int) -> Tensor:
        """r c^T of every layer side by side, (n,)."""
        parts = []
        for rows, columns, shape in zip(self.rows, self.columns, self.net.shapes, strict=True):
            outer = torch.outer(rows[task], columns[task])
            wide = outer.view(*outer.shape, *[1] * (len(shape) - 2))
            parts.append(wide.expand(shape).flatten())
        return torch.cat(parts)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """x (B, ...) -> logits (B, S)."""
        return self.net(x, self.find_factors(task), self.statistics[task])


class ParameterSuperposition(nn.Module):
    """PSP (Cheung et al. 2019): one trained net, whose layers' inputs each task turns its own way.

    Contexts: "binary" flips signs, "complex" turns pairs of inputs by random angles (a complex
    number of unit length each), "orthogonal" takes a random rotation of all inputs (I^2 numbers a
    task and layer). Inputs turned by another task's context are nearly at right angles to one's
    own, so that what is learned for one barely moves what another computes.

    Args:
        inputs: Numbers of an example.
        outputs: S.
        tasks: k.
        hidden: Widths.
        kind: The contexts.
        generator: What they are drawn from, on the CPU; None is seed 0.

    Raises ValueError for another kind.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import ParameterSuperposition
        >>> net = ParameterSuperposition(6, 3, tasks=2, hidden=(8,))
        >>> net(torch.randn(5, 6), 1).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        tasks: int,
        hidden: Sequence[int] = (300, 100),
        kind: ContextKind = "binary",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if kind not in ("binary", "complex", "orthogonal"):
            raise ValueError(f"kind must be 'binary', 'complex' or 'orthogonal', got {kind!r}")
        source = torch.Generator().manual_seed(0) if generator is None else generator
        self.kind = kind
        widths = (inputs, *hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.contexts = nn.ParameterList(
            nn.Parameter(_draw_contexts(kind, tasks, width, source), requires_grad=False)
            for width in widths[:-1]
        )

    def forward(self, x: Tensor, task: int) -> Tensor:
        """x (B, ...) -> logits (B, S)."""
        h = x.flatten(1)
        for number, (layer, context) in enumerate(zip(self.layers, self.contexts, strict=True)):
            h = layer(self._turn(h if number == 0 else F.relu(h), context[task]))
        return h

    def _turn(self, h: Tensor, context: Tensor) -> Tensor:
        if self.kind == "binary":
            return h * context
        if self.kind == "orthogonal":
            return h @ context
        width = h.shape[1]
        pairs = F.pad(h, (0, width % 2)).unflatten(1, (-1, 2))
        real, imaginary = pairs.unbind(-1)
        cosine, sine = context.unbind(0)
        turned = torch.stack(
            [real * cosine - imaginary * sine, real * sine + imaginary * cosine], -1
        )
        return turned.flatten(1)[:, :width]


def _draw_contexts(kind: str, tasks: int, width: int, generator: torch.Generator) -> Tensor:
    if kind == "binary":
        return 2.0 * torch.randint(2, (tasks, width), generator=generator) - 1
    if kind == "complex":
        angle = 2 * math.pi * torch.rand(tasks, (width + 1) // 2, generator=generator)
        return torch.stack([angle.cos(), angle.sin()], 1)
    factors, triangle = torch.linalg.qr(torch.randn(tasks, width, width, generator=generator))
    # With the signs of the diagonal taken out, rotations are drawn evenly.
    return factors * triangle.diagonal(dim1=-2, dim2=-1).sign()[:, None]


class HardAttention(nn.Module):
    """HAT (Serra et al. 2018): gates of hidden units, and gradients that spare used units.

    The gate of a task is sigmoid(s e). In training s rises from 1 / s_max to s_max over an epoch.
    After a task its gates join `used`; weights between used units then get no gradient.

    Args:
        inputs: Numbers of an example.
        outputs: S.
        tasks: k.
        hidden: Widths.
        largest: s_max.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import HardAttention
        >>> net = HardAttention(6, 3, tasks=2, hidden=(8,))
        >>> net(torch.randn(5, 6), 0).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        tasks: int,
        hidden: Sequence[int] = (300, 100),
        largest: float = 400.0,
    ) -> None:
        super().__init__()
        self.largest = largest
        widths = (inputs, *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        # A head a task: HAT gates hidden units alone, and a shared head would forget.
        self.heads = nn.Parameter(torch.randn(tasks, outputs, widths[-1]) / math.sqrt(widths[-1]))
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(tasks, width)) for width in hidden
        )
        for number, width in enumerate(hidden):
            self.register_buffer(f"used_{number}", torch.zeros(width))

    def find_gates(self, task: int, scale: float | None = None) -> list[Tensor]:
        """One (width,) a hidden layer. scale: s; None is s_max."""
        s = self.largest if scale is None else scale
        return [torch.sigmoid(s * e[task]) for e in self.embeddings]

    def forward(self, x: Tensor, task: int, scale: float | None = None) -> Tensor:
        """x (B, ...) -> logits (B, S). scale: s; None is s_max, as at test."""
        h = x.flatten(1)
        for layer, gate in zip(self.layers, self.find_gates(task, scale), strict=True):
            h = F.relu(layer(h)) * gate
        return F.linear(h, self.heads[task])

    def find_scale(self, position: float) -> float:
        """s at a share of an epoch in 0..1: from 1 / s_max to s_max along a line."""
        return 1 / self.largest + (self.largest - 1 / self.largest) * position

    def measure_use(self, task: int, scale: float) -> Tensor:
        """Share of the free units that the task takes, (): what HAT's penalty is of."""
        taken = free = torch.zeros((), device=self.heads.device)
        for number, gate in enumerate(self.find_gates(task, scale)):
            room = 1 - self.used(number)
            taken, free = taken + (gate * room).sum(), free + room.sum()
        return taken / free.clamp(min=1e-6)

    def used(self, number: int) -> Tensor:
        """How far earlier tasks use the units of a hidden layer, (width,)."""
        return self.get_buffer(f"used_{number}")

    @torch.no_grad()
    def spare(self, scale: float) -> None:
        """Take from the gradients what earlier tasks use, and undo the gates' slope (eq. 2 to 4).

        Call it between the backward pass and the update. scale: s of this step.
        """
        before: Tensor | None = None
        for number, layer in enumerate(self.layers):
            after = self.used(number)[:, None]
            kept = after if before is None else torch.minimum(after, before[None])
            slope = layer.get_parameter("weight").grad
            if slope is not None:
                slope.mul_(1 - kept)
            before = self.used(number)
        for e in self.embeddings:
            if e.grad is not None:
                # exp(50) is the bound of the published code.
                steep = torch.cosh((scale * e).clamp(-50, 50)) + 1
                even = torch.cosh(e.clamp(-50, 50)) + 1
                e.grad.mul_(self.largest / scale * steep / even)

    @torch.no_grad()
    def finish(self, task: int) -> None:
        """The task is learned: its units are used from now on."""
        for number, gate in enumerate(self.find_gates(task)):
            used = self.used(number)
            used.copy_(torch.maximum(used, gate))
