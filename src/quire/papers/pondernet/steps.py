"""Recurrent steps to ponder with. B examples, H hidden units, T digit positions.

Each is a module `(context, state) -> (prediction, state, halt_logit)` with `prepare` (the part of
the work that depends on the input alone, done once) and `initial_state`. The input is seen at
every step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quire.papers.pondernet.ponder import Tree


class RNNStep(nn.Module):
    """The paper's parity step: h' = tanh(W x + U h + b), prediction and halt logit linear in h'.

    W x is computed once. U h' + b, the prediction and the halt logit come from one matrix product,
    and U h' + b, (B, H), is the state, so that each step costs one product.

    Args:
        inputs: Width of x.
        hidden: H.
        outputs: Width of a prediction.
        learned_start: Learn the first h; else it is zero, as for `nn.RNNCell`.

    Example:
        >>> import torch
        >>> step = RNNStep(6, 16, 1)
        >>> context = step.prepare(torch.randn(3, 6))
        >>> prediction, state, halt_logit = step(context, step.initial_state(context))
        >>> prediction.shape, halt_logit.shape
        (torch.Size([3, 1]), torch.Size([3]))
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, learned_start: bool = False
    ) -> None:
        super().__init__()
        self.parts = [hidden, outputs, 1]
        self.prepare = nn.Linear(inputs, hidden)
        self.mixed = nn.Linear(hidden, hidden + outputs + 1)
        self.start = nn.Parameter(torch.zeros(hidden)) if learned_start else None

    def initial_state(self, context: Tensor) -> Tensor:
        """U h + b for the first h, (B, H); for h = 0 it is the bias."""
        first = self.mixed.bias if self.start is None else self.mixed(self.start)
        return first[: self.parts[0]].to(context.dtype).expand(len(context), -1)

    def forward(self, context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: context (B, H), state U h + b (B, H) -> prediction, state, halt logit."""
        # One split is one node in the backward pass; three slices would be three that add zeros.
        recurrent, prediction, halt = self.mixed(torch.tanh(context + state)).split(self.parts, 1)
        return prediction, recurrent, halt.squeeze(1)


class GRUStep(nn.Module):
    """A GRU cell as the step: `nn.GRUCell` with linear prediction and halt logit on its state.

    The input's gates are computed once; the state's gates, the prediction and the halt logit come
    from one matrix product. The state is `(h, reset and update gates, new gate)` with the parts
    that h contributes, (B, H), (B, 2H) and (B, H).

    Args:
        inputs: Width of x.
        hidden: H.
        outputs: Width of a prediction.
        learned_start: Learn the first h; else it is zero, as for `nn.GRUCell`.

    Example:
        >>> import torch
        >>> step = GRUStep(6, 16, 1)
        >>> context = step.prepare(torch.randn(3, 6))
        >>> prediction, state, halt_logit = step(context, step.initial_state(context))
        >>> prediction.shape, halt_logit.shape
        (torch.Size([3, 1]), torch.Size([3]))
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, learned_start: bool = False
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.parts = [2 * hidden, hidden, outputs, 1]
        self.read = nn.Linear(inputs, 3 * hidden)
        self.mixed = nn.Linear(hidden, 3 * hidden + outputs + 1)
        self.start = nn.Parameter(torch.zeros(hidden)) if learned_start else None

    def prepare(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input's part of the gates, in PyTorch's order: (reset and update, new)."""
        return self.read(x).split(self.parts[:2], 1)

    def initial_state(self, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """The first h and what it contributes: for h = 0 that is the bias."""
        rows, dtype = len(context[0]), context[0].dtype
        if self.start is None:
            h, mixed = torch.zeros_like(context[1]), self.mixed.bias
        else:
            h, mixed = self.start.to(dtype).expand(rows, -1), self.mixed(self.start)
        gates, new, _, _ = mixed.to(dtype).split(self.parts)
        return h, gates.expand(rows, -1), new.expand(rows, -1)

    def forward(
        self, context: tuple[Tensor, ...], state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
        """One step of the cell."""
        h, gates, new = state
        reset, update = (context[0] + gates).sigmoid().chunk(2, 1)
        # PyTorch's cell: h' = (1 - update) * new + update * h.
        h = torch.lerp(torch.tanh(torch.addcmul(context[1], reset, new)), h, update)
        gates, new, prediction, halt = self.mixed(h).split(self.parts, 1)
        return prediction, (h, gates, new), halt.squeeze(1)


SHARPNESS = 10.0
"""Logit of the element that a given map leads to; the others have zero."""


class HopStep(nn.Module):
    """A step that multiplies a distribution over elements by one matrix, while it counts.

    The input (B, elements + hops) is a one-hot start and a one-hot count. A small recurrent counter
    reads the count and gives the halt logit.

    Args:
        elements: Elements of the map.
        hops: Largest count.
        counter: Units of the counter.
        leads_to: The map, (elements,) int64. With it the matrix is the map and is not trained: one
            step is one hop, and difficulty is exact. None learns the matrix, which may then hold
            two hops as well as one.

    Raises `ValueError` for a map of another size.

    Example:
        >>> import torch
        >>> step = HopStep(8, 4)
        >>> context = step.prepare(torch.rand(3, 12))
        >>> prediction, state, halt_logit = step(context, step.initial_state(context))
        >>> prediction.shape, halt_logit.shape
        (torch.Size([3, 8]), torch.Size([3]))
    """

    def __init__(
        self, elements: int, hops: int, *, counter: int = 32, leads_to: Tensor | None = None
    ) -> None:
        super().__init__()
        self.elements = elements
        self.hop = nn.Linear(elements, elements, bias=False)
        if leads_to is not None:
            if leads_to.shape != (elements,):
                raise ValueError(
                    f"leads_to must be ({elements},), got shape {tuple(leads_to.shape)}"
                )
            # Row i of the weight says from where element i is reached.
            weight = SHARPNESS * nn.functional.one_hot(leads_to, elements).T.float()
            self.hop.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.read_count = nn.Linear(hops, counter)
        self.count = nn.Linear(counter, counter)
        self.halt = nn.Linear(counter, 1)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The start as it is, (B, elements), and the projected count, (B, counter)."""
        return x[:, : self.elements], self.read_count(x[:, self.elements :])

    def initial_state(self, context: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The start and an empty counter. The start is not read again."""
        return context[0], torch.zeros_like(context[1])

    def forward(
        self, context: tuple[Tensor, Tensor], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """One hop and one tick."""
        position, counter = state
        prediction = self.hop(position)
        counter = torch.tanh(context[1] + self.count(counter))
        return prediction, (prediction.softmax(1), counter), self.halt(counter).squeeze(1)


class DigitStep(nn.Module):
    """A step for integer arithmetic: every digit position looks at itself and its two neighbours.

    The input is one-hot digits (B, channels, T), least significant first. A carry moves one
    position a step, so the steps needed grow with the longest carry chain, and the same weights
    work at any T.

    Args:
        channels: Input channels (10 for each operand row).
        hidden: Channels of the state.
        classes: Values of an answer digit.
        token_wise: One halt logit a position, (B, T), instead of one an example, (B,).

    Example:
        >>> import torch
        >>> step = DigitStep(20, 16)
        >>> context = step.prepare(torch.randn(3, 20, 5))
        >>> prediction, state, halt_logit = step(context, step.initial_state(context))
        >>> prediction.shape, halt_logit.shape
        (torch.Size([3, 5, 10]), torch.Size([3]))
    """

    def __init__(
        self, channels: int, hidden: int, *, classes: int = 10, token_wise: bool = False
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.token_wise = token_wise
        self.prepare = nn.Sequential(
            nn.Conv1d(channels, hidden, 1), nn.ReLU(), nn.Conv1d(hidden, hidden, 1)
        )
        self.neighbours = nn.Linear(3 * hidden, hidden)
        self.readout = nn.Linear(hidden, classes + 1)

    def initial_state(self, context: Tensor) -> Tensor:
        """Zeros, (B, T, hidden)."""
        return torch.zeros_like(context.transpose(1, 2))

    def forward(self, context: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Context (B, hidden, T), state (B, T, hidden) -> prediction (B, T, classes), ..."""
        padded = nn.functional.pad(state, (0, 0, 1, 1))
        window = torch.cat([padded[:, :-2], state, padded[:, 2:]], 2)
        state = torch.tanh(context.transpose(1, 2) + self.neighbours(window))
        read = self.readout(state)
        halt = read[..., -1]
        # The slowest position decides for an example: it may stop only when all of them may.
        return read[..., :-1], state, halt if self.token_wise else halt.amin(1)


class HaltingNetwork(nn.Module):
    """A halting network of its own, for `Ponder(halting=...)`: an MLP on the step's state.

    It has `hidden` units. `read` picks the tensor (B, dim) or (B, T, dim) that it sees from the
    state; None is the state itself.

    Example:
        >>> import torch
        >>> network = HaltingNetwork(16, 8)
        >>> network(None, torch.randn(3, 16)).shape
        torch.Size([3])
    """

    def __init__(
        self, dim: int, hidden: int, *, read: Callable[[Tree], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.read = read
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, context: Tree, state: Tree) -> Tensor:
        """Halt logit (B[, T]) of a state; the context is not used."""
        seen = state if self.read is None else self.read(state)
        return self.layers(seen).squeeze(-1)
