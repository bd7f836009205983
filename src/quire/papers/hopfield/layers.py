"""The layer that associates two sets of patterns (section 3).

B batch, S state patterns, N stored patterns, D width, H heads, K width of association space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from quire.nn import Mask, Padding, devices
from quire.papers.hopfield.association import (
    Beta,
    associate,
    association_weights,
    check_beta,
    stream,
)
from quire.papers.hopfield.masks import add_zero, join_masks
from quire.papers.hopfield.weightings import SimplexMap, check_weighting


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
        chunk: Patterns at a time, for memory that does not grow with N; for softmax alone. As in
            `associate`.
        zero: Whether a pattern and value of zeros is added, to associate with nothing.

    Raises TypeError for a weighting that is no function or steps that are no whole number,
    ValueError for a number outside its range.
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
        for name, value, least in (
            ("steps", self.steps, 0), ("limit", self.limit, 1), ("chunk", self.chunk, 1)
        ):  # fmt: skip
            if value is not None and not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0, got {self.tolerance}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be in [0, 1], got {self.dropout}")
        for beta in self.betas(1):
            check_beta(beta)

    def betas(self, heads: int) -> list[float]:
        """beta as one number for each head; none where the layer's default is meant."""
        given: Any = self.beta
        if given is None:
            return []
        return (
            [float(given)] * heads if isinstance(given, Real) else [float(beta) for beta in given]
        )


@dataclass(frozen=True)
class Input:
    """How one of the three inputs comes into association space.

    Args:
        dim: Its width, by default the layer's.
        norm: Whether the input gets layer normalisation.
        affine: Whether that has parameters.
        static: No projection: the input, of width K, is what every head sees.
        bias: Whether the projection has one.

    Raises ValueError for a dim below 1.
    """

    dim: int | None = None
    norm: bool = True
    affine: bool = True
    static: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")


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
        for name, value in (
            ("dim", dim), ("heads", heads), ("head_dim", head_dim), ("value_dim", value_dim)
        ):  # fmt: skip
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if head_dim is None and dim % heads:
            raise ValueError(f"dim must be a multiple of heads unless head_dim is given, got {dim} "
                             f"and {heads}")  # fmt: skip
        self.heads, self.dim = heads, dim
        self.head_dim = dim // heads if head_dim is None else head_dim
        self.value_dim = self.head_dim if value_dim is None else value_dim
        if (connected or projection.static) and self.value_dim != self.head_dim:
            raise ValueError("values that are connected or static have the width of keys, got "
                             f"{self.value_dim} and {self.head_dim}")  # fmt: skip
        self.association, self.connected = association, connected
        # Said, and not read off a width: projected values can be as wide as one head's keys.
        self.is_static = {"state": state.static, "stored": stored.static,
                          "projection": projection.static and not connected}  # fmt: skip
        inner, values = heads * self.head_dim, heads * self.value_dim
        own, theirs = state.dim or dim, stored.dim or dim
        self.state_norm, self.query = _make_entrance(state, own, inner, self.head_dim)
        self.stored_norm, self.key = _make_entrance(stored, theirs, inner, self.head_dim)
        # Connected values come from the keys: they have no normalisation of their own.
        source = Input(norm=False, bias=projection.bias) if connected else projection
        width = inner if connected else projection.dim or theirs
        self.value_norm, self.value = _make_entrance(source, width, values, self.head_dim)
        self.output: nn.Module = nn.Identity()
        if output_dim != 0:
            self.output = nn.Linear(values, dim if output_dim is None else output_dim)
            nn.init.normal_(self.output.weight, std=0.02)
            nn.init.zeros_(self.output.bias)
        self.given_beta = association.betas(heads) or [self.head_dim**-0.5] * heads
        if len(self.given_beta) != heads:
            raise ValueError(f"beta must be one number or {heads} of them, got {association.beta}")
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
        counts: Tensor | Padding | None = None,
        mask: Tensor | Mask | None = None,
    ) -> Tensor:
        """The states associate, and read: (B, S, output width).

        A state that may see nothing, in an empty bag for one, reads zeros.

        Args:
            state: (B, S, D).
            stored: (B, N, Ds), by default the states.
            projection: (B, N, Dp), by default the stored patterns.
            counts: (B, N) bool, True where a pattern counts, or `Padding`.
            mask: A mask of `quire.nn`, as of S queries and N keys; or (S, N), (B, S, N) or
                (B, H, S, N), bool, True where a state may see a pattern, or numbers to add to the
                scores, of which -inf and the lowest one of their dtype hide a pattern.

        Raises ValueError for inputs or masks whose sizes do not fit and for masks of integers,
        TypeError for what is no mask.
        """
        stored = state if stored is None else stored
        projection = stored if projection is None else projection
        stored, projection, allowed = self._prepare(state, stored, projection, counts, mask)
        q = self._enter("state", self.state_norm, self.query, state)
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
        counts: Tensor | Padding | None = None,
        mask: Tensor | Mask | None = None,
    ) -> Tensor:
        """The association of each head after all updates, without dropout: (B, H, S, N).

        Rows sum to 1, with `zero` to 1 less the weight of the pattern of zeros.

        Args:
            state: (B, S, D).
            stored: (B, N, Ds), by default the states.
            counts: As in `forward`.
            mask: As in `forward`.
        """
        given = state if stored is None else stored
        stored, _, allowed = self._prepare(state, given, given, counts, mask)
        q = self._enter("state", self.state_norm, self.query, state)
        k = self._keys(stored)
        if self.association.zero:
            k, _, allowed = add_zero(k, k, allowed)
        options: dict[str, Any] = {"beta": self.beta(q), "mask": allowed}
        options["weighting"] = self.association.weighting
        q = self._settle(q, lambda q: associate(q, k, **options))
        return association_weights(q, k, **options)[..., : given.shape[1]]

    def _prepare(
        self,
        state: Tensor,
        stored: Tensor,
        projection: Tensor,
        counts: Tensor | Padding | None,
        mask: Tensor | Mask | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Patterns and projections, at least one of them, and the mask; arguments of `forward`."""
        for name, x in (("state", state), ("stored", stored), ("projection", projection)):
            if x.ndim != 3:
                raise ValueError(f"{name} must be (batch, patterns, width), got {tuple(x.shape)}")
        if projection.shape[1] != stored.shape[1]:
            raise ValueError(f"there must be a projection for each of {stored.shape[1]} stored "
                             f"patterns, got {projection.shape[1]}")  # fmt: skip
        allowed = join_masks(counts, mask, state, stored, self.heads)
        if stored.shape[1]:
            return stored, projection, allowed
        # One pattern that no state may see stands for none.
        stored, projection = (x.new_zeros(x.shape[0], 1, x.shape[2]) for x in (stored, projection))
        return stored, projection, stored.new_zeros((1, 1, 1, 1), dtype=torch.bool)

    def _is_narrow(self, state: Tensor, mask: Tensor | Mask | None) -> bool:
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
                chunk = self._piece_size(q, stored)
                masks = [None] if mask is None else list(mask.split(chunk, -1))
                parts = (x.split(chunk, 1) for x in (stored, projection))
                pieces = list(zip(*parts, strict=True))
                mixed = stream(wide, pieces, read, beta=1.0, masks=masks)
            mixed = mixed[:, 0].unflatten(1, (self.heads, -1))  # (B, H, S, Ds or Dp)
            part = value if values else key
            # S mixtures are projected in place of N patterns. Weights sum to 1, so that the bias
            # is added once; or to 0, where a bag has no pattern that counts.
            out = mixed @ part.weight.unflatten(0, (self.heads, -1)).mT
            if part.bias is None:
                return out
            out = out + part.bias.view(self.heads, 1, -1)
            return out if mask is None else out.masked_fill(~mask.any(-1, keepdim=True), 0.0)

        return mix(self._settle(q, lambda q: mix(q, False)), True)

    def _piece_size(self, q: Tensor, stored: Tensor) -> int:
        """Patterns of stored (B, N, Ds) at a time for states q (B, H, S, K)."""
        if self.association.weighting or self.association.dropout or self.association.zero:
            raise ValueError("chunk is for softmax without dropout and without a zero pattern")
        chunk = self.association.chunk or 1
        return devices.piece_size(stored, chunk, stored.shape[1], q[..., 0].numel())

    def _associate_in_chunks(
        self, q: Tensor, stored: Tensor, projection: Tensor, mask: Tensor | None, beta: Beta
    ) -> Tensor:
        """The association over chunks of patterns, arguments as before: (B, H, S, V)."""
        chunk = self._piece_size(q, stored)
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
        steps = rule.limit if rule.steps is None else rule.steps
        # A traced graph cannot stop early, and a device would have to be waited for: there the
        # updates that are left change nothing.
        patient = devices.is_accelerator(q)
        for step in range(steps):
            new = update(q)
            if rule.tolerance > 0:
                # Whether a state of the batch moves, (H,), without gradient: it decides when to
                # stop and is no part of the result. Of no states none moves.
                moves = (new - q).detach().norm(dim=-1) >= rule.tolerance
                new = torch.where(active[:, None, None], new, q)
                active = active & moves.any(2).any(0)
            q = new
            look = not patient or (rule.steps is None and step % devices.STRIDE == 0)
            if look and not torch.compiler.is_compiling() and not active.any():
                break
        return q

    def _enter(self, name: str, norm: nn.Module, project: nn.Module, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, K), normalised there if so asked."""
        x = self._split(name, project(norm(x)))
        return layer_norm(x, x.shape[-1:]) if self.association.normalize else x

    def _keys(self, stored: Tensor) -> Tensor:
        return self._enter("stored", self.stored_norm, self.key, stored)

    def _read(self, stored: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, N, K) and values (B, H, N, V)."""
        k = self._keys(stored)
        if not self.connected:
            return k, self._split("projection", self.value(self.value_norm(projection)))
        # Connected values are K W_V of the keys of all heads (equation 10), before normalisation.
        linear = self.key(self.stored_norm(stored))
        if self.is_static["stored"]:  # every head sees the same
            linear = linear.repeat(1, 1, self.heads)
        return k, self._split("projection", self.value(linear))

    def _split(self, name: str, x: Tensor) -> Tensor:
        """(B, T, H * width) or, static, (B, T, K) -> (B, H, T, width)."""
        if self.is_static[name]:
            if x.shape[-1] != self.head_dim:
                raise ValueError(f"{name} is static and must be {self.head_dim} wide, got "
                                 f"{x.shape[-1]}")  # fmt: skip
            return x[:, None].expand(-1, self.heads, -1, -1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _make_entrance(
    source: Input, width: int, inner: int, head_dim: int
) -> tuple[nn.Module, nn.Module]:
    """Normalisation and projection of an input, `width` -> `inner` (all heads), static K wide."""
    if source.static:
        if source.dim not in (None, head_dim):
            raise ValueError(
                f"a static input is {head_dim} wide, as a head's keys, got {source.dim}"
            )
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
