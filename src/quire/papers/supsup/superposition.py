"""Superposition without masks: whole nets, and low-rank adapters, named by the same one gradient.

Legend: B examples, G mixtures, k tasks, n numbers of a net's weights, R rank.

Both are banks as `quire.papers.supsup.inference` asks for. `NetBank` mixes trained nets whole:
sum_i alpha_i W^i. Where masks of one frozen net only reweigh the same random features, nets that
were trained apart share no features, and their mean is no net: the control. `LoraBank` mixes
low-rank changes of one net (Hu et al. 2021): W + sum_i alpha_i B^i A^i, the form of the idea for
pretrained models. One gradient names few of many adapters, since the pretrained net is sure of
foreign data; a forward pass for each (`exhaustive`) names most.
"""

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from quire.papers.supsup.frozen import FrozenNet, evaluating


class NetBank:
    """k nets of one architecture, each a vector of all its weights and statistics.

    Args:
        net: The architecture; its own weights are not looked at.
        vectors: (k, n): weights, then running statistics.

    Raises ValueError for vectors of another length.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import FrozenNet, NetBank, entropy, one_shot
        >>> net = FrozenNet(nn.Linear(4, 3, bias=False))
        >>> bank = NetBank(net, torch.randn(2, 12))
        >>> one_shot(bank, torch.randn(5, 1, 4), entropy).shape
        torch.Size([5])
    """

    def __init__(self, net: FrozenNet, vectors: Tensor) -> None:
        wanted = net.size + len(net.statistics)
        if vectors.dim() != 2 or vectors.shape[1] != wanted:
            raise ValueError(f"vectors must be (tasks, {wanted}), got {tuple(vectors.shape)}")
        self.net = net
        self.vectors = vectors

    @property
    def length(self) -> int:
        """n."""
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.vectors)

    def mix(self, alphas: Tensor | None) -> Tensor:
        """(G, k) -> (G, n); None -> the mean of all, (n,)."""
        return self.vectors.mean(0) if alphas is None else alphas.to(self.vectors) @ self.vectors

    def take(self, tasks: Tensor) -> Tensor:
        """(T,) -> (T, n)."""
        return self.vectors[tasks]

    def project(self, gradient: Tensor) -> Tensor:
        """(G, n) -> (G, k)."""
        return gradient @ self.vectors.T

    def call(self, vector: Tensor, x: Tensor) -> Tensor:
        """x (B, ...) -> logits (B, S)."""
        return self.net.call(vector, x)

    def calm(self) -> AbstractContextManager[None]:
        """In evaluation mode inside `with`."""
        return evaluating(self.net)


class LoraBank(nn.Module):
    """Low-rank adapters of one pretrained net, all trained together; a bank for `one_shot`.

    A task changes every masked weight, (outputs, inputs, ...) as a matrix, by B A / sqrt(R) with
    A (R, inputs) drawn and B (outputs, R) zero, so that it begins as the net itself.

    Args:
        model: The pretrained net; a frozen copy is kept.
        tasks: k.
        rank: R.
        generator: What A is drawn from, on the CPU; None is seed 0.

    Raises ValueError for tasks or rank below 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import LoraBank
        >>> bank = LoraBank(nn.Linear(4, 3), tasks=2, rank=1)
        >>> bank(torch.randn(2, 5, 4)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tasks: int,
        rank: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(tasks, rank) < 1:
            raise ValueError(f"tasks and rank must be at least 1, got {tasks} and {rank}")
        self.net = FrozenNet(model, seed=None)
        self.tasks = tasks
        self.rank = rank
        source = torch.Generator().manual_seed(0) if generator is None else generator
        like = self.net.weights
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for shape in self.net.shapes:
            inputs = shape[1:].numel()
            drawn = torch.randn(tasks, rank, inputs, generator=source) / math.sqrt(inputs)
            self.down.append(nn.Parameter(drawn.to(like)))
            self.up.append(nn.Parameter(like.new_zeros(tasks, shape[0], rank)))

    @property
    def length(self) -> int:
        """n."""
        return self.net.size + len(self.net.statistics)

    def __len__(self) -> int:
        return self.tasks

    def forward(self, x: Tensor) -> Tensor:
        """A minibatch of every task, (k, B, ...) -> (k, B, S): how adapters are trained.

        Raises ValueError for another number of tasks.
        """
        if len(x) != self.tasks:
            raise ValueError(f"x must be ({self.tasks}, examples, ...), got {tuple(x.shape)}")
        changes = [(up @ down).flatten(1) for up, down in self._factors()]
        vectors = self._around(torch.cat(changes, 1) * self._scale)
        out: Tensor = torch.func.vmap(self.net.call, randomness="different")(vectors, x)
        return out

    def mix(self, alphas: Tensor | None) -> Tensor:
        """(G, k) -> (G, n); None -> the mean of all adapters, (n,)."""
        if alphas is None:
            return self.mix(self.up[0].new_full((1, self.tasks), 1 / self.tasks))[0]
        parts = []
        for up, down in self._factors():
            # Side by side, the ranks of all tasks are one product of matrices.
            weighted = torch.einsum("gk,kor->gokr", alphas.to(up), up).flatten(2)
            parts.append((weighted @ down.flatten(0, 1)).flatten(1))
        return self._around(torch.cat(parts, 1) * self._scale)

    def take(self, tasks: Tensor) -> Tensor:
        """(T,) -> (T, n)."""
        parts = [(up[tasks] @ down[tasks]).flatten(1) for up, down in self._factors()]
        return self._around(torch.cat(parts, 1) * self._scale)

    def project(self, gradient: Tensor) -> Tensor:
        """(G, n) -> (G, k), through the factors: no change is written out."""
        found = gradient.new_zeros(len(gradient), self.tasks)
        parts = gradient[:, : self.net.size].split(self.net.sizes, 1)
        for part, (up, down) in zip(parts, self._factors(), strict=True):
            matrix = part.unflatten(1, (up.shape[1], -1))
            moved = torch.einsum("goi,kri->gkor", matrix, down)
            found = found + torch.einsum("gkor,kor->gk", moved, up)
        return found * self._scale

    def call(self, vector: Tensor, x: Tensor) -> Tensor:
        """x (B, ...) -> logits (B, S)."""
        return self.net.call(vector, x)

    def calm(self) -> AbstractContextManager[None]:
        """In evaluation mode inside `with`."""
        return evaluating(self)

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.rank)

    def _factors(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.up, self.down, strict=True))

    def _around(self, changes: Tensor) -> Tensor:
        """The net's own vector and changes (..., n) of its weights."""
        statistics = self.net.statistics.expand(*changes.shape[:-1], -1)
        return torch.cat([self.net.weights + changes, statistics], -1)
