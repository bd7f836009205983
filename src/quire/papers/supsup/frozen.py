"""A net whose weights never change: it is called with masks of them (section 3.1).

Legend: B examples, n masked weights, m running statistics of normalisation, T tasks.

A task of the net is one flat vector (n + m,): its weights, 0 where masked out, then its statistics.
Vectors can be mixed, and a net of mixed weights can be called: that is all that inference needs.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quire.papers.supsup.masks import THRESHOLD, Sparsity, draw_constants, draw_scores


class FrozenNet(nn.Module):
    """A copy of `model` with frozen weights, which is called with a mask of them.

    Masked are the parameters of two or more dimensions: the weights of linear, convolution and
    embedding layers. With a `seed` they are signed constants (`draw_constants`) that follow from
    it, and all biases are 0, so that the seed is all there is to store. Without one they stay what
    they are: masks over a pretrained net (Piggyback). Nothing is trainable.

    Running statistics of batch normalisation belong to a task and not to the net.

    Args:
        model: Any module; it stays as it is.
        seed: Decides the weights; None keeps those of the model.
        names: The parameters that are masked; None takes all of two or more dimensions.

    Raises ValueError where there is nothing to mask, for unknown names, and for parameters of one
    dimension.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import FrozenNet
        >>> net = FrozenNet(nn.Linear(4, 3, bias=False))
        >>> net(torch.randn(5, 4)).shape, net.size
        (torch.Size([5, 3]), 12)
    """

    def __init__(
        self, model: nn.Module, *, seed: int | None = 0, names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.seed = seed
        known = dict(self.model.named_parameters())
        wanted = [name for name, p in known.items() if p.dim() > 1] if names is None else names
        for name in wanted:
            if name not in known or known[name].dim() < 2:
                raise ValueError(
                    f"'{name}' is no parameter of two or more dimensions; the model has "
                    f"{', '.join(n for n, p in known.items() if p.dim() > 1)}"
                )
        if not wanted:
            raise ValueError(f"{type(model).__name__} has no weights to mask")
        self.names = tuple(wanted)
        self.shapes = tuple(known[name].shape for name in self.names)
        self.sizes = [shape.numel() for shape in self.shapes]
        self.size = sum(self.sizes)
        self.statistic_names = tuple(
            name
            for name, _ in self.model.named_buffers()
            if name.rpartition(".")[2] in ("running_mean", "running_var")
        )
        self.statistic_shapes = tuple(
            self.model.get_buffer(name).shape for name in self.statistic_names
        )
        if seed is not None:
            self._draw(seed)

    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, shape in zip(self.names, self.shapes, strict=True):
                self.model.get_parameter(name).copy_(draw_constants(shape, generator))
            for name, parameter in self.model.named_parameters():
                if name.rpartition(".")[2] == "bias":
                    parameter.zero_()

    @property
    def weights(self) -> Tensor:
        """W, all masked weights side by side, (n,)."""
        return torch.cat([self.model.get_parameter(name).flatten() for name in self.names])

    @property
    def statistics(self) -> Tensor:
        """The running statistics that a task begins with, (m,); m may be 0."""
        buffers = [self.model.get_buffer(name).flatten() for name in self.statistic_names]
        return torch.cat(buffers) if buffers else self.weights.new_zeros(0)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, statistics: Tensor | None = None
    ) -> Tensor:
        """x (B, ...) -> what the model gives with weights W * mask.

        mask: (n,), any numbers; None keeps all. statistics: (m,), which training updates in place;
        None takes those that a task begins with.
        """
        weights: dict[str, Tensor] = {name: self.model.get_parameter(name) for name in self.names}
        if mask is not None:
            parts = self._split(mask, self.names, self.shapes)
            weights = {name: weights[name] * parts[name] for name in self.names}
        return self._call(weights, self.statistics if statistics is None else statistics, x)

    def call(self, vector: Tensor, x: Tensor) -> Tensor:
        """x (B, ...) -> what the model gives with weights and statistics of `vector`, (n + m,).

        The gradient is of the weights alone: PyTorch has none of running statistics.
        """
        weights = self._split(vector[: self.size], self.names, self.shapes)
        return self._call(weights, vector[self.size :].detach(), x)

    def _call(self, weights: dict[str, Tensor], statistics: Tensor, x: Tensor) -> Tensor:
        own = self._split(statistics, self.statistic_names, self.statistic_shapes)
        out: Tensor = functional_call(self.model, {**weights, **own}, (x,))
        return out

    @staticmethod
    def _split(
        flat: Tensor, names: Sequence[str], shapes: Sequence[torch.Size]
    ) -> dict[str, Tensor]:
        if flat.shape != (sum(shape.numel() for shape in shapes),):
            raise ValueError(
                f"expected {sum(shape.numel() for shape in shapes)} numbers for "
                f"{', '.join(names)}, got shape {tuple(flat.shape)}"
            )
        parts = flat.split([shape.numel() for shape in shapes])
        return {name: p.view(s) for name, p, s in zip(names, parts, shapes, strict=True)}


class Supermask(nn.Module):
    """The mask of one task while it is trained, or those of T tasks together (by vmap; one after
    the other where the net has running statistics).

    Train `scores` with any optimizer: they are the only parameters that want a gradient. Give each
    task an optimizer of its own, or its moments leak from one to the next.

    Args:
        net: The frozen net.
        sparsity: From scores to masks: `Threshold`, `TopFraction`, `ErdosRenyi` or your own.
        tasks: T; None for a single task, whose tensors have no dimension of tasks.
        generator: What the scores are drawn from, on the CPU; None is seed 0.

    Raises ValueError for less than one task.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.supsup import FrozenNet, Supermask
        >>> mask = Supermask(FrozenNet(nn.Linear(4, 3, bias=False)))
        >>> mask(torch.randn(5, 4)).shape
        torch.Size([5, 3])
    """

    statistics: Tensor

    def __init__(
        self,
        net: FrozenNet,
        sparsity: Sparsity = THRESHOLD,
        *,
        tasks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if tasks is not None and tasks < 1:
            raise ValueError(f"tasks must be at least 1, got {tasks}")
        self.net = net
        self.sparsity = sparsity
        self.tasks = tasks
        weights = net.weights
        shape = (net.size,) if tasks is None else (tasks, net.size)
        self.scores = nn.Parameter(weights.new_empty(shape))
        self.register_buffer("statistics", weights.new_empty(0))
        self.reset(torch.Generator().manual_seed(0) if generator is None else generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator, *, scores: Tensor | None = None) -> None:
        """Begin anew: with drawn scores, or with `scores` (n,) or (T, n), as in transfer."""
        if scores is None:
            scores = draw_scores(self.net.shapes, generator, tasks=self.tasks)
        self.scores.copy_(scores)
        begun = self.net.statistics
        self.statistics = begun.clone() if self.tasks is None else begun.repeat(self.tasks, 1)

    def mask(self) -> Tensor:
        """(n,) or (T, n) of 0 and 1, whose gradient goes to the scores."""
        return self.sparsity(self.scores, self.net.shapes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) -> outputs (B, ...); of T tasks (T, B, ...) -> (T, B, ...)."""
        if self.tasks is None:
            return self.net(x, self.mask(), self.statistics)
        if self.statistics.shape[1]:
            # Under vmap batch normalisation would not update running statistics, without a word.
            rows = zip(x, self.mask(), self.statistics, strict=True)
            return torch.stack([self.net(*row) for row in rows])
        each = torch.func.vmap(self.net, randomness="different")
        out: Tensor = each(x, self.mask(), self.statistics)
        return out


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode inside `with`, and afterwards in the mode that each part had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
