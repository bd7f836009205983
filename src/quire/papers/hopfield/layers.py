"""The three layers: `Hopfield`, `HopfieldPooling`, `HopfieldLayer` (section 3).

B batch, S state patterns, N stored patterns, D width, H heads, K width of association space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from quire.papers.hopfield.association import (
    Beta,
    SimplexMap,
    add_zero,
    associate,
    association_weights,
    check_tensor,
    check_weighting,
    join_masks,
    stream,
)


@dataclass(frozen=True)
class Association:
    """What happens in association space.

    Args:
        beta: Inverse temperature, a number or one for each head, by default 1 / sqrt(K).
        learn_beta: Whether it is trained, one for each head.
        steps: Updates of the states before values are read; None goes on until they stand still.
        limit: Updates at most where `steps` is None.
        tolerance: A head stops when no state of the batch moves by as much; 0 never stops early.
        normalize: Whether states and patterns get layer normalisation there, without parameters.
        weighting: What makes weights of the scores in place of softmax, e.g. `sparsemax`.
        dropout: Probability for each weight, in training, when values are read.
        chunk: Patterns at a time, for memory that does not grow with N; for softmax alone.
        zero: Whether a pattern and value of zeros is added, to associate with nothing.

    Raises TypeError for a weighting that is no function, ValueError for steps below 0 or a chunk
    below 1.
    """

    beta: float | Sequence[float] | None = None
    learn_beta: bool = False
    steps: int | None = 0
    limit: int = 100
    tolerance: float = 1e-4
    normalize: bool = False
    weighting: SimplexMap | None = None
    dropout: float = 0.0
    chunk: int | None = None
    zero: bool = False

    def __post_init__(self) -> None:
        check_weighting(self.weighting)
        for name, value, least in (("steps", self.steps, 0), ("chunk", self.chunk, 1)):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class Input:
    """How one of the three inputs comes into association space.

    Args:
        dim: Its width, by default the layer's.
        norm: Whether the input gets layer normalisation.
        affine: Whether that has parameters.
        static: No projection: the input, of width K, is what every head sees.
        bias: Whether the projection has one.
    """

    dim: int | None = None
    norm: bool = True
    affine: bool = True
    static: bool = False
    bias: bool = True


class Hopfield(nn.Module):
    """States associate with stored patterns and read their projections (equation 10).

    Gradients flow through every update that is made.

    Args:
        dim: Width D of the states.
        heads: H.
        head_dim: K, by default D / H.
        value_dim: Width of a head's values, by default K.
        output_dim: Width of the output, by default D; 0 leaves the output projection out.
        association: What happens in association space.
        state: How the states get there.
        stored: How the stored patterns get there.
        projection: How what is read, the patterns' projections, gets there.
        connected: Values are projections of the keys, K W_V with W_V as large as all heads,
            instead of projections of an input.

    Raises ValueError for sizes that do not fit, TypeError for options of another type.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import Association, Hopfield
        >>> layer = Hopfield(8, 2, association=Association(steps=3))
        >>> layer(torch.randn(2, 3, 8), torch.randn(2, 5, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int = 1,
        *,
        head_dim: int | None = None,
        value_dim: int | None = None,
        output_dim: int | None = None,
        association: Association = Association(),
        state: Input = Input(),
        stored: Input = Input(),
        projection: Input = Input(),
        connected: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(association, Association):
            raise TypeError(f"association must be an Association(...), got {association!r}")
        for name, group in (("state", state), ("stored", stored), ("projection", projection)):
            if not isinstance(group, Input):
                raise TypeError(f"{name} must be an Input(...), got {group!r}")
        if head_dim is None and dim % heads:
            raise ValueError(f"dim must be a multiple of heads unless head_dim is given, got {dim} "
                             f"and {heads}")  # fmt: skip
        self.heads, self.dim = heads, dim
        self.head_dim = head_dim or dim // heads
        self.value_dim = value_dim or self.head_dim
        if (connected or projection.static) and self.value_dim != self.head_dim:
            raise ValueError("values that are connected or static have the width of keys, got "
                             f"{self.value_dim} and {self.head_dim}")  # fmt: skip
        self.association, self.connected = association, connected
        inner, values = heads * self.head_dim, heads * self.value_dim
        self.state_norm, self.query = _make_entrance(state, state.dim or dim, inner, self.head_dim)
        self.stored_norm, self.key = _make_entrance(stored, stored.dim or dim, inner, self.head_dim)
        # Connected values come from the keys: they have no normalisation of their own.
        source = Input(norm=False, bias=projection.bias) if connected else projection
        width = inner if connected else projection.dim or stored.dim or dim
        self.value_norm, self.value = _make_entrance(source, width, values, self.head_dim)
        self.output: nn.Module = nn.Identity()
        if output_dim != 0:
            self.output = nn.Linear(values, output_dim or dim)
            nn.init.normal_(self.output.weight, std=0.02)
            nn.init.zeros_(self.output.bias)
        beta = association.beta or self.head_dim**-0.5
        self.given_beta = [beta] * heads if isinstance(beta, float | int) else list(beta)
        if len(self.given_beta) != heads or min(self.given_beta) <= 0:
            raise ValueError(f"beta must be positive, one or {heads} of them, got {beta}")
        self.log_beta = None
        if association.learn_beta:
            self.log_beta = nn.Parameter(torch.tensor(self.given_beta).log())

    def beta(self, like: Tensor) -> Beta:
        """Inverse temperature: one number, or (H, 1, 1) where heads differ or learn."""
        if self.log_beta is not None:
            return self.log_beta.exp()[:, None, None].to(like.dtype)
        if len(set(self.given_beta)) == 1:
            return self.given_beta[0]
        return like.new_tensor(self.given_beta)[:, None, None]

    def forward(
        self,
        state: Tensor,
        stored: Tensor | None = None,
        projection: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The states associate, and read: (B, S, output width).

        Args:
            state: (B, S, D).
            stored: (B, N, Ds), by default the states.
            projection: (B, N, Dp), by default the stored patterns.
            counts: (B, N) bool, True where a pattern counts.
            mask: (S, N), (B, S, N) or (B, H, S, N); bool, True where a state may see a pattern, or
                numbers to add to the scores.

        Raises ValueError if a bag has no pattern that counts (where it runs, RuntimeError, in a
        graph of torch.compile or torch.export), TypeError for masks that are no tensors.
        """
        stored = state if stored is None else stored
        projection = stored if projection is None else projection
        allowed = join_masks(counts, mask, stored)
        q = self._enter(self.state_norm, self.query, state)
        beta = self.beta(q)
        if self._is_narrow(state, mask):
            mixed = self._associate_narrow(q, stored, projection, allowed, beta)
        elif self.association.chunk is not None:
            mixed = self._associate_in_chunks(q, stored, projection, allowed, beta)
        else:
            k, v = self._read(stored, projection)
            options: dict[str, Any] = {"beta": beta, "mask": allowed}
            options["weighting"] = self.association.weighting
            if self.association.zero:
                k, v, options["mask"] = add_zero(k, v, allowed)
            # While a state moves it reads keys: it must stay in the space that it is compared in.
            q = self._settle(q, lambda q: associate(q, k, **options))
            dropped = self.association.dropout if self.training else 0.0
            mixed = associate(q, k, v, dropout=dropped, **options)
        joined: Tensor = self.output(mixed.transpose(1, 2).flatten(2))  # (B, S, H V) -> output
        return joined

    @torch.no_grad()
    def weights(
        self,
        state: Tensor,
        stored: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The association of each head after all updates: (B, H, S, N).

        Args:
            state: (B, S, D).
            stored: (B, N, Ds), by default the states.
            counts: As in `forward`.
            mask: As in `forward`.
        """
        stored = state if stored is None else stored
        q = self._enter(self.state_norm, self.query, state)
        k = self._keys(stored)
        options: dict[str, Any] = {"beta": self.beta(q), "mask": join_masks(counts, mask, stored)}
        options["weighting"] = self.association.weighting
        q = self._settle(q, lambda q: associate(q, k, **options))
        return association_weights(q, k, **options)

    def _is_narrow(self, state: Tensor, mask: Tensor | None) -> bool:
        """Whether there are so few states that they, not the patterns, are projected."""
        rule, linear = self.association, (self.key, self.value)
        # These need the keys themselves, or heads and states apart.
        fixed = rule.normalize or rule.zero or self.connected or mask is not None
        dropped = rule.dropout > 0 and self.training
        # The scores of a pattern then cost S D a head, where its projection alone would cost K D.
        # A graph that is exported for any number of states must not depend on this one.
        few = not isinstance(state.shape[1], torch.SymInt) and state.shape[1] <= self.head_dim
        return few and not fixed and not dropped and all(isinstance(x, nn.Linear) for x in linear)

    def _associate_narrow(
        self, q: Tensor, stored: Tensor, projection: Tensor, mask: Tensor | None, beta: Beta
    ) -> Tensor:
        """The association in the space of the patterns, which are not projected: (B, H, S, V).

        q (B, H, S, K) is in association space; stored (B, N, Ds) and projection (B, N, Dp) are the
        inputs. q . (W x + b) is (q W) . x and a number that all patterns share, which no weight
        follows; the mixture of W x + b is W times the mixture of x, and b. So N patterns need no N
        projections.
        """
        rule = self.association
        key: Any = self.key
        value: Any = self.value
        weight = key.weight.unflatten(0, (self.heads, -1))  # (H, K, Ds)

        def mix(q: Tensor, values: bool) -> Tensor:
            # One association, of keys while the states move and of values at the end. Heads may
            # differ in beta but will share one product, so that beta goes into the states.
            scaled = q * beta
            if key.bias is not None:
                # It shifts all scores of a state alike: its gradient is zero, but must be there,
                # as data-parallel training waits for it.
                scaled = scaled + 0.0 * key.bias.sum()
            # The states go to the patterns' space. There all heads see the same patterns, so that
            # H heads of S states are H S states of one head: (B, H, S, Ds) -> (B, 1, H S, Ds).
            wide = (scaled @ weight).flatten(1, 2)[:, None]

            def read(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
                # Called for each chunk, and again backward: no normalised copy of a bag is kept.
                x = self.stored_norm(x)[:, None]
                return x, self.value_norm(y)[:, None] if values else x

            if rule.chunk is None:
                x, y = read(stored, projection)
                options: dict[str, Any] = {"mask": mask, "weighting": rule.weighting}
                mixed = associate(wide, x, y, beta=1.0, **options)
            else:
                self._check_chunk()
                masks = [None] if mask is None else list(mask.split(rule.chunk, -1))
                parts = (x.split(rule.chunk, 1) for x in (stored, projection))
                pieces = list(zip(*parts, strict=True))
                mixed = stream(wide, pieces, read, beta=1.0, masks=masks)
            mixed = mixed[:, 0].unflatten(1, (self.heads, -1))  # (B, H, S, Ds or Dp)
            part = value if values else key
            # S mixtures are projected in place of N patterns. Weights sum to 1, so that the bias
            # is added once.
            out = mixed @ part.weight.unflatten(0, (self.heads, -1)).mT
            return out if part.bias is None else out + part.bias.view(self.heads, 1, -1)

        return mix(self._settle(q, lambda q: mix(q, False)), True)

    def _check_chunk(self) -> None:
        if self.association.weighting or self.association.dropout or self.association.zero:
            raise ValueError("chunk is for softmax without dropout and without a zero pattern")

    def _associate_in_chunks(
        self, q: Tensor, stored: Tensor, projection: Tensor, mask: Tensor | None, beta: Beta
    ) -> Tensor:
        """The association over chunks of patterns, arguments as before: (B, H, S, V)."""
        chunk = self.association.chunk or 1
        self._check_chunk()
        masks = [None] if mask is None else list(mask.split(chunk, -1))
        # Chunks of the inputs, not of keys and values: these are made of one chunk at a time, so
        # that a bag's projections are never in memory together.
        keys = list(zip(stored.split(chunk, 1), strict=True))
        both = list(zip(stored.split(chunk, 1), projection.split(chunk, 1), strict=True))

        def key(piece: Tensor) -> tuple[Tensor, Tensor]:
            # An update reads keys, so that values need not be made until the states stand still.
            k = self._keys(piece)
            return k, k

        q = self._settle(q, lambda q: stream(q, keys, key, beta=beta, masks=masks))
        return stream(q, both, self._read, beta=beta, masks=masks)

    def _settle(self, q: Tensor, update: Any) -> Tensor:
        """The states after all updates; each head stops by itself."""
        rule = self.association
        # Heads differ in beta and so in speed; one that stands still must not drift on while
        # another one moves, or its result would depend on its neighbours.
        active = torch.ones(self.heads, dtype=torch.bool, device=q.device)
        steps = range(rule.limit if rule.steps is None else rule.steps)
        for _ in steps:
            new = update(q)
            if rule.tolerance > 0:
                # The largest move of any state in the batch, (H,), without gradient: it decides
                # when to stop and is no part of the result.
                moved = (new - q).detach().norm(dim=-1).amax((0, 2))
                new = torch.where(active[:, None, None], new, q)
                active = active & (moved >= rule.tolerance)
            q = new
            # A traced graph cannot stop early: there the updates that are left change nothing.
            if not torch.compiler.is_compiling() and not active.any():
                break
        return q

    def _enter(self, norm: nn.Module, project: nn.Module, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, K), normalised there if so asked."""
        x = self._split(project(norm(x)))
        return layer_norm(x, x.shape[-1:]) if self.association.normalize else x

    def _keys(self, stored: Tensor) -> Tensor:
        return self._enter(self.stored_norm, self.key, stored)

    def _read(self, stored: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, N, K) and values (B, H, N, V)."""
        k = self._keys(stored)
        if not self.connected:
            return k, self._split(self.value(self.value_norm(projection)))
        # Connected values are K W_V of the keys of all heads (equation 10), before normalisation.
        linear = self.key(self.stored_norm(stored))
        if linear.shape[-1] == self.head_dim:  # static: every head sees the same
            linear = linear.repeat(1, 1, self.heads)
        return k, self._split(self.value(linear))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, H * width) or, static, (B, T, K) -> (B, H, T, width)."""
        if x.shape[-1] == self.head_dim and self.heads > 1:
            return x[:, None].expand(-1, self.heads, -1, -1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class HopfieldPooling(nn.Module):
    """Learned states pool a set of patterns of any size into one vector (section 3).

    Args:
        dim: Width D of the patterns.
        heads: H.
        quantity: Learned states; their outputs are put side by side.
        options: As in `Hopfield`; `state` is for the learned states, by default static (K wide).

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import HopfieldPooling
        >>> HopfieldPooling(8, 2, quantity=3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 24])
    """

    def __init__(self, dim: int, heads: int = 1, *, quantity: int = 1, **options: Any) -> None:
        super().__init__()
        state = options.pop("state", Input(norm=False, static=True))
        self.hopfield = Hopfield(dim, heads, state=state, **options)
        width = self.hopfield.head_dim if state.static else state.dim or dim
        self.states = nn.Parameter(0.02 * torch.randn(1, quantity, width))

    def forward(
        self,
        patterns: Tensor,
        projection: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The pooled patterns: (B, quantity * output width).

        Args:
            patterns: (B, N, D).
            projection: (B, N, Dp), by default the patterns.
            counts: As in `Hopfield`.
            mask: As in `Hopfield`.
        """
        states = self.states.expand(patterns.shape[0], -1, -1)
        return self.hopfield(states, patterns, projection, counts=counts, mask=mask).flatten(1)

    def weights(self, patterns: Tensor, *, counts: Tensor | None = None) -> Tensor:
        """The association of each learned state: (B, H, quantity, N)."""
        states = self.states.expand(patterns.shape[0], -1, -1)
        return self.hopfield.weights(states, patterns, counts=counts)


class HopfieldLayer(nn.Module):
    """Inputs associate with learned stored patterns and read learned projections (section 3).

    `store` puts given patterns in, e.g. a training set.

    Args:
        dim: Width D of the inputs.
        heads: H.
        quantity: Stored patterns.
        separate: Whether the projections are parameters of their own, else they are the patterns.
        options: As in `Hopfield`; `stored` and `projection` are static by default (K wide).

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import HopfieldLayer
        >>> HopfieldLayer(8, 2, quantity=50)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self, dim: int, heads: int = 1, *, quantity: int = 1, separate: bool = True, **options: Any
    ) -> None:
        super().__init__()
        fixed = Input(norm=False, static=True)
        stored, projection = (options.pop(key, fixed) for key in ("stored", "projection"))
        self.hopfield = Hopfield(dim, heads, stored=stored, projection=projection, **options)
        widths = [
            self.hopfield.head_dim if part.static else part.dim or dim
            for part in (stored, projection)
        ]
        self.stored = nn.Parameter(0.02 * torch.randn(quantity, widths[0]))
        self.projection = (
            nn.Parameter(0.02 * torch.randn(quantity, widths[1])) if separate else None
        )

    def forward(
        self, state: Tensor, *, counts: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """state (B, S, D) or (B, D) -> the same with the output width.

        counts: (quantity,) bool, True where a stored pattern counts. mask: (S, N), bool or numbers.
        """
        check_tensor("counts", counts, "of bool, (quantity,)")
        check_tensor("mask", mask, "(states, quantity)")
        if mask is not None:
            mask = mask.repeat(math.prod(state.shape[:-2]), 1)
        projection = None if self.projection is None else self.projection[None]
        # All inputs see the same patterns, so they are the states of one bag.
        flat = state.reshape(1, -1, state.shape[-1])
        counts = None if counts is None else counts[None]
        out = self.hopfield(flat, self.stored[None], projection, counts=counts, mask=mask)
        return out.view(*state.shape[:-1], -1)

    @torch.no_grad()
    def store(self, patterns: Tensor, projection: Tensor | None = None) -> None:
        """Put patterns (quantity, width) and their projections in place of the learned ones."""
        for parameter, value in ((self.stored, patterns), (self.projection, projection)):
            if parameter is not None and value is not None:
                if parameter.shape != value.shape:
                    raise ValueError(f"patterns must be {tuple(parameter.shape)}, got "
                                     f"{tuple(value.shape)}")  # fmt: skip
                parameter.copy_(value)


def _make_entrance(
    source: Input, width: int, inner: int, head_dim: int
) -> tuple[nn.Module, nn.Module]:
    """Normalisation and projection of an input, `width` -> `inner` (all heads), static K wide."""
    if source.static and width != head_dim:
        width = head_dim
    norm: nn.Module = nn.Identity()
    if source.norm:
        norm = nn.LayerNorm(width, elementwise_affine=source.affine)
    if source.static:
        return norm, nn.Identity()
    project = nn.Linear(width, inner, bias=source.bias)
    nn.init.normal_(project.weight, std=0.02)
    if source.bias:
        nn.init.zeros_(project.bias)
    return norm, project
