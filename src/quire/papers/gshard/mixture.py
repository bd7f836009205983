"""The mixture of experts as a feed-forward part of a Transformer (section 2.2).

B batch, T tokens, M width, G groups, S tokens of a group, E experts, H hidden width, R rows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from quire.nn import devices
from quire.papers.gshard.routers import Router, Told, Top2
from quire.papers.gshard.routing import Sent, measure_z


class Experts(nn.Module):
    """E feed-forward networks side by side, without biases: wo_e activation(wi_e x).

    Args:
        dim: M.
        hidden: H of each.
        experts: E.
        activation: Makes the module between.
        dropout: Probability for each hidden element.

    Raises ValueError for a size that is not positive.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import Experts, Sent
        >>> Experts(8, 16, experts=4)(Sent(torch.randn(4, 5, 8))).shape
        torch.Size([4, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        experts: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("hidden", hidden), ("experts", experts)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.inner = nn.Parameter(torch.empty(experts, dim, hidden))
        self.outer = nn.Parameter(torch.empty(experts, hidden, dim))
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        for weight in (self.inner, self.outer):
            # As `nn.Linear` begins, from the width that a product sums over.
            bound = weight.shape[1] ** -0.5
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, sent: Sent) -> Tensor:
        """What each expert makes of its rows, in the shape in which they came."""
        if sent.counts is None:
            return self._compute(sent.rows, self.inner, self.outer)
        if devices.is_accelerator(sent.rows):
            return self._compute_in_blocks(sent.rows, sent.counts)
        # On a CPU reading the counts costs nothing, and no row is computed in vain.
        parts = sent.rows.split(sent.counts.tolist())
        made = [
            self._compute(x, w, v) for x, w, v in zip(parts, self.inner, self.outer, strict=True)
        ]
        return torch.cat(made)

    def _compute(self, x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        return self.dropout(self.activation(x @ inner)) @ outer

    def _compute_in_blocks(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Each expert's run of rows is filled up to whole blocks, whose number never changes.

        With blocks of R / E rows there are at most 2 E, whatever the counts: one batched product,
        and nobody waits for the counts.
        """
        number, experts = len(rows), len(counts)
        size = max(1, -(-number // experts))
        blocks = -(-number // size) + experts
        ends = counts.cumsum(0)
        place = torch.arange(number, device=rows.device)
        owner = torch.searchsorted(ends, place, right=True)
        used = (counts + size - 1) // size
        last = used.cumsum(0)
        place = place - (ends - counts)[owner] + (last - used)[owner] * size
        which = torch.arange(blocks, device=rows.device)
        which = torch.searchsorted(last, which, right=True).clamp(max=experts - 1)
        filled = rows.new_zeros(blocks * size, rows.shape[-1]).index_copy(0, place, rows)
        made = self._compute(
            filled.view(blocks, size, -1),
            self.inner.index_select(0, which),
            self.outer.index_select(0, which),
        )
        return made.flatten(0, 1).index_select(0, place)


class MixtureOfExperts(nn.Module):
    """A feed-forward part of many experts, of which each token asks two: (B, T, M) -> (B, T, M).

    y_s = sum_e G_{s,e} FFN_e(x_s), with the residual sum around it left to the layer. After each
    call `side` holds the balance loss ("balance", 1 where gates are even: l_aux times E^2), the
    router's z-loss ("z"), the share of dropped tokens ("dropped") and the experts' tokens ("load").
    Logits and the softmax are in single precision, inside autocast too.

    Args:
        dim: M.
        hidden: H of each expert.
        experts: E.
        router: From logits (G, S, E) to a route.
        group: S, tokens that share the experts' capacity; None is a row of the batch each. Groups
            go on from one row to the next.
        activation: Makes the module between an expert's layers.
        dropout: Probability for each hidden element.
        gate: From tokens (..., M) to logits (..., E); None is a linear layer without a bias.

    Raises ValueError for a size that is not positive.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import MixtureOfExperts
        >>> mixture = MixtureOfExperts(8, 16, 4)
        >>> mixture(torch.randn(2, 6, 8)).shape
        torch.Size([2, 6, 8])
        >>> sorted(mixture.side)
        ['balance', 'dropped', 'load', 'z']
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        experts: int,
        *,
        router: Router | None = None,
        group: int | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if group is not None and group < 1:
            raise ValueError(f"group must be at least 1, got {group}")
        self.experts: nn.Module = Experts(
            dim, hidden, experts=experts, activation=activation, dropout=dropout
        )
        self.gate = nn.Linear(dim, experts, bias=False) if gate is None else gate
        self.router: Router = Top2() if router is None else router
        self.dim = dim
        self.number = experts
        self.group = group
        self.told = Told()
        self.side: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, M) -> (B, T, M).

        Raises ValueError for another shape, or tokens that do not fill whole groups.
        """
        if x.ndim != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"x must be (batch, tokens, {self.dim}), got {tuple(x.shape)}")
        tokens = self._tokens(x)
        grouped = x.reshape(-1, tokens, self.dim)
        with devices.without_autocast(x):
            wide = grouped.float() if x.dtype in (torch.bfloat16, torch.float16) else grouped
            logits = self._logits(wide)
            told = self._regroup(tokens)
            route = self.router(logits, training=self.training, told=told)
        y = route.receive(self.experts(route.send(grouped)))
        self.side = {
            "balance": route.loss * self.number**2,
            "z": measure_z(logits, told.counted),
            "dropped": route.dropped,
            "load": route.load,
        }
        return y.to(x.dtype).view_as(x)

    def _logits(self, x: Tensor) -> Tensor:
        weight = getattr(self.gate, "weight", None)
        if isinstance(self.gate, nn.Linear) and isinstance(weight, Tensor):
            # A gate that was cast down with its model is read in the precision of the tokens.
            bias = None if self.gate.bias is None else self.gate.bias.to(x.dtype)
            return nn.functional.linear(x, weight.to(x.dtype), bias)
        logits: Tensor = self.gate(x)
        return logits

    def _tokens(self, x: Tensor) -> int:
        if self.group is None:
            return x.shape[1]
        if x.shape[0] * x.shape[1] % self.group:
            raise ValueError(
                f"{x.shape[0]} x {x.shape[1]} tokens do not fill groups of {self.group}: "
                "choose a divisor"
            )
        return self.group

    def _regroup(self, tokens: int) -> Told:
        counted, choice = self.told.counted, self.told.choice
        return Told(
            None if counted is None else counted.reshape(-1, tokens),
            None if choice is None else choice.reshape(-1, tokens, choice.shape[-1]),
            self.told.generator,
        )

    def __getstate__(self) -> dict[str, object]:
        # What the last call left behind belongs to its graph, and cannot be copied.
        return self.__dict__ | {"side": {}, "told": Told()}


def mixtures(model: nn.Module) -> list[MixtureOfExperts]:
    """The mixtures in a model, in its order."""
    return [part for part in model.modules() if isinstance(part, MixtureOfExperts)]


def side(model: nn.Module) -> dict[str, Tensor]:
    """What the mixtures of a model left behind, a layer a row: (L,), and (L, E) for "load",
    filled up with zeros where a layer has fewer experts.

    Each layer has a balance loss of its own: add them up, as in the example.
    Raises ValueError for a model without mixtures, or one that was not called yet.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.gshard import MixtureOfExperts, side
        >>> model = nn.Sequential(MixtureOfExperts(8, 16, 4), MixtureOfExperts(8, 16, 4))
        >>> loss = model(torch.randn(2, 6, 8)).square().mean()
        >>> loss = loss + 0.01 * side(model)["balance"].sum()
    """
    found = [mixture.side for mixture in mixtures(model)]
    if not found or not all(found):
        raise ValueError("the model has no mixture of experts, or was not called yet")
    widest = max(len(each["load"]) for each in found)
    kept = {
        name: torch.stack([each[name] for each in found]) for name in ("balance", "z", "dropped")
    }
    loads = [nn.functional.pad(each["load"], (0, widest - len(each["load"]))) for each in found]
    return kept | {"load": torch.stack(loads)}


@contextmanager
def tell(
    model: nn.Module,
    *,
    counted: Tensor | None = None,
    choice: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[None]:
    """Inside `with`, every mixture of `model` knows more than its tokens; a layer passes only them.

    Args:
        model: Any module.
        counted: Which tokens are no padding, bool (B, T).
        choice: For the router `Assigned`, int64 (B, T, K).
        generator: What random decisions are drawn from.
    """
    found = mixtures(model)
    before = [mixture.told for mixture in found]
    for mixture in found:
        mixture.told = Told(counted, choice, generator)
    try:
        yield
    finally:
        for mixture, told in zip(found, before, strict=True):
            mixture.told = told
