"""Fine-tuning a part of the model: adapters, gradual unfreezing, low ranks (section 3.5.1).

Give an optimiser all parameters from the start: one that is frozen has no gradient, is passed over,
and finds its state when it is trained again.
"""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from quire.papers.t5.layers import Attention, Layer, RMSNorm, Stack
from quire.papers.t5.model import T5


class Adapter(nn.Module):
    """A bottleneck with a residual sum: x + outer(relu(inner(norm(x)))). At first it gives x.

    dim: D. hidden: Width of the bottleneck, the paper's d.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import Adapter
        >>> Adapter(8, 4)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"an adapter's width must be at least 1, got {hidden}")
        self.norm = RMSNorm(dim)
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        return x + self.outer(F.relu(self.inner(self.norm(x))))


def add_adapters(model: T5, hidden: int, *, norms: bool = True) -> list[nn.Parameter]:
    """Put an `Adapter` behind each feed-forward part and freeze all else; gives what is trained.

    The model stays the same function until it is trained. An optimiser is made afterwards.

    Args:
        model: Changed in place.
        hidden: Width of the bottlenecks: 32, 128, 512 and 2,048 in the paper.
        norms: Whether the model's norms are trained too, as the paper says; its published
            configuration trains the adapters alone, with the norms inside them.

    Raises ValueError where there are adapters already.
    """
    if any(layer.adapter is not None for layer in layers_of(model)):
        raise ValueError("the model has adapters already")
    trained: list[nn.Parameter] = []
    model.requires_grad_(False)
    weight = model.table.weight
    for layer in layers_of(model):
        layer.adapter = Adapter(model.size.dim, hidden).to(weight.device, weight.dtype)
        layer.adapter.train(layer.training)
        trained += layer.adapter.parameters()
    if norms:
        inside = {id(parameter) for parameter in trained}
        for part in model.modules():
            if isinstance(part, RMSNorm) and id(part.weight) not in inside:
                trained.append(part.weight)
    for parameter in trained:
        parameter.requires_grad_()
    return trained


def unfreeze(model: T5, layers: int) -> list[nn.Parameter]:
    """Train the top `layers` of every stack, and freeze those below; gives what is trained.

    Gradual unfreezing calls it at each of N episodes with 1, 2, …, N: both stacks thaw together
    from the top. Embeddings, the output's matrix and the norms at the end are always trained; the
    table of positions, which the authors keep in the first layer, goes with that one. A gradient
    that is there is dropped where a parameter is frozen.

    layers: 0 for none, up to the layers of a stack. Raises ValueError for another number.
    """
    depth = model.size.layers
    if not 0 <= layers <= depth:
        raise ValueError(f"layers must be between 0 and {depth}, got {layers}")
    model.requires_grad_(True)
    for stack in stacks_of(model):
        for layer in list(stack.layers)[: depth - layers]:
            layer.requires_grad_(False)
        stack.bias.requires_grad_(layers == depth)
    trained = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            trained.append(parameter)
        else:
            parameter.grad = None
    return trained


class LowRank(nn.Module):
    """A frozen linear map plus one of low rank: W x + (scale / rank) B A x (LoRA, section 4.1).

    Args:
        linear: The map without bias, whose weight is frozen.
        rank: Of B A. B begins with zeros.
        scale: The paper's alpha.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import LowRank
        >>> LowRank(torch.nn.Linear(8, 6, bias=False), rank=2)(torch.randn(3, 8)).shape
        torch.Size([3, 6])
    """

    def __init__(self, linear: nn.Linear, *, rank: int, scale: float = 16.0) -> None:
        super().__init__()
        if rank < 1 or linear.bias is not None:
            raise ValueError(f"LowRank takes a map without bias and a rank from 1 on, got {rank}")
        linear.requires_grad_(False)
        self.linear: nn.Linear = linear
        self.scale: float = scale / rank
        weight = linear.weight
        self.down: nn.Parameter = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up: nn.Parameter = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.normal_(self.down, std=weight.shape[1] ** -0.5)

    @property
    def weight(self) -> Tensor:
        """The weight of the sum, (out, in)."""
        return self.linear.weight + self.scale * (self.up @ self.down)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        low = F.linear(F.linear(x, self.down), self.up)
        y: Tensor = self.linear(x)
        return y + self.scale * low


def add_low_ranks(model: T5, rank: int, *, scale: float = 16.0) -> list[nn.Parameter]:
    """Put `LowRank` on the queries and values of all attentions; gives what is trained.

    Args:
        model: Changed in place, all else frozen.
        rank: Of each change.
        scale: As in `LowRank`.
    """
    model.requires_grad_(False)
    trained: list[nn.Parameter] = []
    for part in list(model.modules()):
        if isinstance(part, Attention):
            for name in ("query", "value"):
                changed = LowRank(getattr(part, name), rank=rank, scale=scale)
                setattr(part, name, changed)
                trained += [changed.down, changed.up]
    return trained


def stacks_of(model: T5) -> Iterator[Stack]:
    """The stacks of a model, the encoder first."""
    if model.encoder is not None:
        yield model.encoder
    yield model.decoder


def layers_of(model: T5) -> Iterator[Layer]:
    """The layers of all stacks."""
    for stack in stacks_of(model):
        yield from stack.layers  # type: ignore[misc]


def count_trained(model: nn.Module) -> int:
    """How many numbers a model trains at the moment."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
