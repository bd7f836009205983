"""Slot Attention: slots compete for inputs and are updated in rounds (section 2.1, algorithm 1).

B batch, N inputs, C width of an input, K slots, D width of a slot, H heads, E = D / H.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

EPS = 1e-8
"""Added to attention before a slot's weights are normalised (algorithm 1)."""


class Weighting(NamedTuple):
    """What a round weighs inputs with."""

    attention: Tensor
    """(B, H, K, N): how an input is divided among slots, for pictures and masks."""
    weights: Tensor
    """(B, H, K, N): what values are summed with."""


Competition = Callable[[Tensor, Tensor | None], Weighting]
"""Logits (B, H, K, N) in float32 or wider and which inputs count (B, 1, 1, N) -> `Weighting`."""


def compete(logits: Tensor, mask: Tensor | None = None) -> Weighting:
    """The paper's: softmax over slots, then a weighted mean over inputs."""
    attention, raised = _share_among_slots(logits, mask)
    total = raised.sum(-1, keepdim=True)
    return Weighting(attention, raised / total.clamp(min=EPS))


def compete_and_sum(logits: Tensor, mask: Tensor | None = None) -> Weighting:
    """Softmax over slots and a weighted sum: an ablation without the renormalisation."""
    attention, raised = _share_among_slots(logits, mask)
    return Weighting(attention, raised)


def attend_alone(logits: Tensor, mask: Tensor | None = None) -> Weighting:
    """Softmax over inputs, as in ordinary attention: an ablation in which no slot competes."""
    if mask is not None:
        # Not minus infinity: where no input counts, the softmax of a row would be no number.
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    weights = logits.softmax(-1)
    if mask is not None:
        weights = weights * mask
    return Weighting(weights, weights)


def _share_among_slots(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    attention = logits.softmax(-2)
    raised = attention + EPS
    return (attention, raised) if mask is None else (attention * mask, raised * mask)


class Start(Protocol):
    """What gives the first slots."""

    def __call__(self, batch: int, slots: int) -> Tensor:
        """`batch` rows of `slots` slots, (B, K, D)."""


class GaussianStart(nn.Module):
    """All slots are drawn anew, at evaluation too, from one learned normal distribution of width D.

    So slots can be exchanged for one another, and their number may change from call to call.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import GaussianStart
        >>> GaussianStart(16)(2, 5).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.empty(1, 1, dim))
        self.log_deviation = nn.Parameter(torch.empty(1, 1, dim))
        limit = math.sqrt(6 / (1 + dim))  # Glorot's, of a matrix (1, D)
        for parameter in (self.mean, self.log_deviation):
            nn.init.uniform_(parameter, -limit, limit)

    def forward(self, batch: int, slots: int) -> Tensor:
        """`batch` rows of `slots` slots, (B, K, D)."""
        noise = torch.randn(
            batch, slots, self.mean.shape[-1], device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + self.log_deviation.exp() * noise


class LearnedStart(nn.Module):
    """A learned vector for each of `slots` slots of width `dim`: slots are no longer alike.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import LearnedStart
        >>> LearnedStart(5, 16)(2, 4).shape
        torch.Size([2, 4, 16])
    """

    def __init__(self, slots: int, dim: int) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(slots, dim))

    def forward(self, batch: int, slots: int) -> Tensor:
        """`batch` times the first `slots` slots, (B, K, D). Raises ValueError for more of them."""
        return _first_of(self.slots, batch, slots)


class QueryStart(nn.Module):
    """Learned queries, with noise that training lowers to none (BO-QSA, Jia, Liu and Huang 2023).

    A slot begins at its query q plus `deviation` times normal noise times q, the last without a
    gradient. `deviation` is a buffer, 1 at first, that the training loop sets; at 0 the queries
    themselves are given. Call `SlotAttention` with `implicit=True`: then the gradient of the last
    round goes straight through to the queries.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import QueryStart
        >>> QueryStart(5, 16)(2, 4).shape
        torch.Size([2, 4, 16])
    """

    def __init__(self, slots: int, dim: int) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.empty(slots, dim))
        nn.init.xavier_uniform_(self.slots)
        self.deviation: Tensor
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, batch: int, slots: int) -> Tensor:
        """`batch` times the first `slots` slots, (B, K, D). Raises ValueError for more of them."""
        queries = _first_of(self.slots, batch, slots)
        noise = torch.randn(queries.shape, device=queries.device, dtype=queries.dtype)
        return queries + self.deviation * noise * queries.detach()


def _first_of(learned: Tensor, batch: int, slots: int) -> Tensor:
    if slots > len(learned):
        raise ValueError(f"there are {len(learned)} learned slots, asked for {slots}")
    return learned[:slots].expand(batch, -1, -1)


class Replace(nn.Module):
    """In place of the GRU: the update is the new slot. An ablation that is known to blow up.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import Replace
        >>> Replace()(torch.ones(3, 16, requires_grad=True), torch.zeros(3, 16)).shape
        torch.Size([3, 16])
    """

    def forward(self, update: Tensor, state: Tensor) -> Tensor:
        """The update (R, D), whatever the state (R, D)."""
        return update


class SlotAttention(nn.Module):
    """Inputs (B, N, C) -> slots (B, K, D) and the last round's attention (B, K, N).

    The attention of an input sums to one over the slots. Where rounds times slots are fewer than
    inputs, queries are carried through the key's matrix to the inputs, and sums of inputs through
    the value's: the same function, without N keys and values.

    `norm_inputs` and `norm_slots` may be replaced, by `nn.Identity()` to leave them out.

    Args:
        slots: K, unless a call says otherwise.
        dim: D, the width of a slot.
        iterations: T, the rounds, unless a call says otherwise.
        input_dim: C, the width of an input; None is D.
        hidden: Hidden units of the network after the cell; None is no such network.
        heads: H, which must divide D.
        bias: Whether queries, keys and values have biases (not in the paper, as users found).
        cell: (update (R, D), state (R, D)) -> state (R, D); None is a GRU with biases.
        start: What gives the first slots; None is `GaussianStart`.
        competition: What divides inputs among slots: `compete`, or an ablation.

    Raises ValueError for sizes below one (rounds: below zero) and heads that do not divide D.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import SlotAttention
        >>> slots, attention = SlotAttention(slots=5, dim=16, iterations=3)(torch.randn(2, 40, 16))
        >>> slots.shape, attention.shape
        (torch.Size([2, 5, 16]), torch.Size([2, 5, 40]))
    """

    def __init__(
        self,
        slots: int = 7,
        dim: int = 64,
        *,
        iterations: int = 3,
        input_dim: int | None = None,
        hidden: int | None = 128,
        heads: int = 1,
        bias: bool = False,
        cell: nn.Module | None = None,
        start: nn.Module | None = None,
        competition: Competition = compete,
    ) -> None:
        super().__init__()
        input_dim = dim if input_dim is None else input_dim
        units = 1 if hidden is None else hidden
        if min(slots, dim, input_dim, units, heads) < 1 or iterations < 0:
            raise ValueError(
                "slots, dim, input_dim, hidden and heads must be at least 1 and iterations 0, got "
                f"{slots}, {dim}, {input_dim}, {hidden}, {heads} and {iterations}"
            )
        if dim % heads:
            raise ValueError(f"heads must divide dim, got {heads} heads and dim {dim}")
        self.slots, self.dim, self.iterations, self.heads = slots, dim, iterations, heads
        self.competition = competition
        self.norm_inputs: nn.Module = nn.LayerNorm(input_dim)
        self.norm_slots: nn.Module = nn.LayerNorm(dim)
        self.norm_mlp = None if hidden is None else nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(input_dim, dim, bias=bias)
        self.value = nn.Linear(input_dim, dim, bias=bias)
        self.merge = nn.Linear(dim, dim, bias=bias) if heads > 1 else nn.Identity()
        self.cell = nn.GRUCell(dim, dim) if cell is None else cell
        self.mlp = None
        if hidden is not None:
            self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.start = GaussianStart(dim) if start is None else start
        for part in (self.query, self.key, self.value, self.merge, self.mlp):
            if part is not None:
                initialise_as_reference(part)
        if cell is None:  # one that is given keeps its weights
            initialise_as_reference(self.cell)

    def forward(
        self,
        inputs: Tensor,
        slots: int | Tensor | None = None,
        *,
        rounds: int | None = None,
        mask: Tensor | None = None,
        implicit: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Slots (B, K, D) after the last round, and its attention (B, K, N), averaged over heads.

        Args:
            inputs: (B, N, C), N at least 1.
            slots: Another K, or the first slots (B, K, D) themselves; None draws the usual number.
            rounds: Another T. Without rounds the first slots are given back, with their attention.
            mask: Which inputs count, bool (B, N); the others get no weight and no attention.
            implicit: Send the gradient through the last round only, as at a fixed point (Chang
                2022), and straight through to the first slots, which would not be learned else
                (Jia 2023); memory no longer grows with the rounds.

        Raises ValueError for inputs, slots or a mask of other shapes, or fewer rounds than none.
        """
        rounds = self.iterations if rounds is None else rounds
        self._check(inputs, rounds, mask)
        state = self._first(inputs, slots)
        if mask is not None:
            # Whatever stands in padding, infinities included, must not reach a sum.
            inputs = inputs.masked_fill(~mask[..., None], 0)
        fewer = max(1, rounds) * state.shape[1] < inputs.shape[1]
        folded = fewer and isinstance(self.norm_inputs, nn.LayerNorm)
        source = self._prepare(inputs, folded=folded)
        wide = None if mask is None else mask[:, None, None]
        if implicit and rounds > 1:
            first = state
            with torch.no_grad():
                for _ in range(rounds - 1):
                    state, _ = self._round(source, state, wide)
            # The first slots keep a gradient, as if the fixed point moved with them.
            state, rounds = state + (first - first.detach()), 1
        for _ in range(rounds):
            state, weighting = self._round(source, state, wide)
        if rounds == 0:
            weighting = self._weigh(source, state, wide)
        return state, weighting.attention.mean(1).to(state.dtype)

    def _round(
        self, source: "_Source", state: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Weighting]:
        weighting = self._weigh(source, state, mask)
        update = self._sum(source, weighting.weights.to(source.inputs.dtype))
        return self.renew(update, state), weighting

    def renew(self, update: Tensor, state: Tensor) -> Tensor:
        """The rest of a round, cell and network: sums (B, K, D), slots (B, K, D) -> slots."""
        # (B, K, D) -> (B K, D): a cell knows rows only.
        rows = self.cell(update.flatten(0, 1), state.flatten(0, 1))
        state = rows.view(state.shape)
        if self.norm_mlp is None or self.mlp is None:
            return state
        return state + self.mlp(self.norm_mlp(state))

    def _prepare(self, inputs: Tensor, *, folded: bool) -> "_Source":
        if folded:
            assert isinstance(self.norm_inputs, nn.LayerNorm)
            plain = layer_norm(inputs, inputs.shape[-1:], eps=self.norm_inputs.eps)
            return _Source(plain, None, None)
        x = self.norm_inputs(inputs)
        key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.key, self.value)
        )
        return _Source(x, key, value)

    def _weigh(self, source: "_Source", state: Tensor, mask: Tensor | None) -> Weighting:
        query = self.query(self.norm_slots(state)) * (self.dim // self.heads) ** -0.5
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, K, E)
        if source.key is None:
            matrix, offset = self._fold(self.key)
            # (B, H, K, E) (H, E, C) -> (B, H, K, C), then all heads' slots at once against inputs.
            carried = query @ matrix
            logits = carried.flatten(1, 2) @ source.inputs.transpose(1, 2)
            logits = logits.unflatten(1, (self.heads, -1)) + query @ offset[..., None]
        else:
            logits = query @ source.key.transpose(-1, -2)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()  # EPS is zero in half precision
        return self.competition(logits, mask)

    def _sum(self, source: "_Source", weights: Tensor) -> Tensor:
        """Values (B, N, .) summed with weights (B, H, K, N): (B, K, D)."""
        if source.value is None:
            matrix, offset = self._fold(self.value)
            total = (weights.flatten(1, 2) @ source.inputs).unflatten(1, (self.heads, -1))
            # Weights need not sum to one (`compete_and_sum`): the offset counts as often as they.
            summed = (
                total @ matrix.transpose(1, 2) + weights.sum(-1, keepdim=True) * offset[:, None]
            )
        else:
            summed = weights @ source.value
        merged: Tensor = self.merge(summed.transpose(1, 2).flatten(2))
        return merged

    def _fold(self, projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """A projection after the inputs' LayerNorm as matrix (H, E, C) and offset (H, E)."""
        norm = self.norm_inputs
        assert isinstance(norm, nn.LayerNorm)
        matrix = (projection.weight * norm.weight).unflatten(0, (self.heads, -1))
        offset = nn.functional.linear(norm.bias, projection.weight, projection.bias)
        return matrix, offset.unflatten(0, (self.heads, -1))

    def _first(self, inputs: Tensor, slots: int | Tensor | None) -> Tensor:
        if isinstance(slots, Tensor):
            if slots.ndim != 3 or slots.shape[0] != len(inputs) or slots.shape[2] != self.dim:
                raise ValueError(
                    f"first slots must be ({len(inputs)}, K, {self.dim}), got {tuple(slots.shape)}"
                )
            return slots
        number = self.slots if slots is None else slots
        if number < 1:
            raise ValueError(f"slots must be at least 1, got {number}")
        first: Tensor = self.start(len(inputs), number)
        return first

    def _check(self, inputs: Tensor, rounds: int, mask: Tensor | None) -> None:
        width = self.key.in_features
        if inputs.ndim != 3 or inputs.shape[1] < 1 or inputs.shape[2] != width:
            raise ValueError(
                f"inputs must be (B, N, {width}) with N at least 1, got {tuple(inputs.shape)}"
            )
        if rounds < 0:
            raise ValueError(f"rounds must be 0 or more, got {rounds}")
        if mask is not None and (mask.shape != inputs.shape[:2] or mask.dtype != torch.bool):
            raise ValueError(
                f"mask must be bool {tuple(inputs.shape[:2])}, got {mask.dtype} {tuple(mask.shape)}"
            )


class _Source(NamedTuple):
    """Inputs after the LayerNorm; without keys and values where projections are folded."""

    inputs: Tensor
    key: Tensor | None
    value: Tensor | None


def initialise_as_reference(module: nn.Module) -> None:
    """Draw the weights of linear layers and GRU cells in `module` as the reference code does.

    Glorot's uniform for matrices, an orthogonal matrix within the GRU, zeros for biases.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.GRUCell):
            # Of all three gates together, (3 D, D), as Keras has it.
            nn.init.xavier_uniform_(part.weight_ih)
            nn.init.orthogonal_(part.weight_hh)
            if part.bias:
                nn.init.zeros_(part.bias_ih)
                nn.init.zeros_(part.bias_hh)
