"""Fixed random feedback: what carries the error of the output to the hidden layers.

R rows (examples, tokens, nodes), O numbers of a row's error, D those of a hidden output.

A feedback B is drawn once, from a seed, and is never trained: it is a buffer, so that it is saved
with the weights and moved with them, and no optimizer sees it. One product with the error serves
all layers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Draw = Callable[[int, int, torch.Generator], Tensor]
"""(rows, columns, generator) -> a random matrix (rows, columns)."""


def uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Entries from U[-1, 1), as in the published code: (rows, columns)."""
    return 2 * torch.rand(rows, columns, generator=generator) - 1


def normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Entries from N(0, 1): (rows, columns)."""
    return torch.randn(rows, columns, generator=generator)


class Feedback(nn.Module, ABC):
    """What the kinds of feedback share: drawn at first use, saved from then on.

    `fit` says how wide the hidden outputs are and draws what is not there yet: matrices that were
    loaded stay as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.widths: tuple[int, ...] | None = None
        self.error_width = 0

    def fit(
        self, widths: Sequence[int], error_width: int, *, seed: int = 0, like: Tensor | None = None
    ) -> None:
        """Draw what is not there yet.

        Args:
            widths: D of every hidden output, at least one.
            error_width: O.
            seed: What the numbers follow from, the same on every device.
            like: A tensor whose device and dtype the buffers get.

        Raises ValueError for no width, one below 1, or where loaded buffers do not fit.
        """
        if not widths or min(*widths, error_width) < 1:
            raise ValueError(
                f"feedback needs widths of at least 1, got {list(widths)} for errors of width "
                f"{error_width}"
            )
        fresh = torch.Generator().manual_seed(seed)
        for name, drawn in self.draw(widths, error_width, fresh).items():
            held = getattr(self, name)
            if held is not None and held.shape != drawn.shape:
                raise ValueError(
                    f"the loaded feedback {tuple(held.shape)} does not fit hidden outputs of "
                    f"widths {list(widths)} and errors of width {error_width}"
                )
            if held is None:
                to = like if drawn.is_floating_point() or like is None else like.device
                setattr(self, name, drawn if to is None else drawn.to(to))
        self.widths, self.error_width = tuple(widths), error_width

    @abstractmethod
    def draw(
        self, widths: Sequence[int], error_width: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The buffers by name. widths: D of every hidden output. error_width: O."""

    @abstractmethod
    def forward(self, error: Tensor) -> list[Tensor]:
        """Errors (R, O) -> what each hidden output gets, (R, D)."""

    def _check(self, error: Tensor) -> tuple[int, ...]:
        if self.widths is None:
            raise ValueError("the feedback was not drawn yet: call fit(widths, error_width) first")
        if error.dim() != 2 or error.shape[1] != self.error_width:
            raise ValueError(
                f"errors must be (R, {self.error_width}), got shape {tuple(error.shape)}"
            )
        return self.widths

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Buffers of a run that goes on: they were drawn before, here they are not there yet.
        for name, held in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if held is None and saved is not None:
                self._buffers[name] = torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class SharedFeedback(Feedback):
    """One matrix (O, D_max) for all layers: layer i gets the first D_i columns (2020, code).

    Normalised, it is divided by sqrt(D_max), also for narrower layers, whose updates are then
    small: Adam does not see that, SGD does.

    Args:
        draw: Makes the entries: `uniform` or `normal`.
        normalize: Whether to divide.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import SharedFeedback
        >>> feedback = SharedFeedback()
        >>> feedback.fit([256, 64], error_width=10, seed=0)
        >>> [signal.shape for signal in feedback(torch.randn(5, 10))]
        [torch.Size([5, 256]), torch.Size([5, 64])]
    """

    matrix: Tensor | None

    def __init__(self, draw: Draw = uniform, *, normalize: bool = True) -> None:
        super().__init__()
        self.entries, self.normalize = draw, normalize
        self.register_buffer("matrix", None)

    def draw(
        self, widths: Sequence[int], error_width: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The matrix."""
        widest = max(widths)
        drawn = self.entries(error_width, widest, generator)
        return {"matrix": drawn / math.sqrt(widest) if self.normalize else drawn}

    def forward(self, error: Tensor) -> list[Tensor]:
        """Errors (R, O) -> (R, D) for each hidden output, views of one product."""
        widths = self._check(error)
        assert self.matrix is not None
        signal = error @ self.matrix.to(error.dtype)
        return [signal[:, :width] for width in widths]


class IndependentFeedback(Feedback):
    """A matrix (O, D_i) of its own for every layer, side by side (Nøkland 2016).

    Normalised, it is divided by sqrt(O), so that a signal is about as large as the error.

    Args:
        draw: Makes the entries: `uniform` or `normal`.
        normalize: Whether to divide.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import IndependentFeedback, normal
        >>> feedback = IndependentFeedback(normal)
        >>> feedback.fit([256, 64], error_width=10, seed=0)
        >>> [signal.shape for signal in feedback(torch.randn(5, 10))]
        [torch.Size([5, 256]), torch.Size([5, 64])]
    """

    matrix: Tensor | None

    def __init__(self, draw: Draw = uniform, *, normalize: bool = True) -> None:
        super().__init__()
        self.entries, self.normalize = draw, normalize
        self.register_buffer("matrix", None)

    def draw(
        self, widths: Sequence[int], error_width: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The matrices side by side, (O, sum of D)."""
        drawn = self.entries(error_width, sum(widths), generator)
        return {"matrix": drawn / math.sqrt(error_width) if self.normalize else drawn}

    def forward(self, error: Tensor) -> list[Tensor]:
        """Errors (R, O) -> (R, D) for each hidden output, views of one product."""
        widths = self._check(error)
        assert self.matrix is not None
        signal = error @ self.matrix.to(error.dtype)
        return list(signal.split(list(widths), dim=1))


class HadamardFeedback(Feedback):
    """A structured matrix that is never stored: signs, a Walsh-Hadamard transform, signs.

    Errors are put at random places of N = 2^k >= max(O, D_max) numbers with random signs, then
    transformed in N log N steps. The columns of B, one for each output, are orthogonal where
    D = N. Shared by all layers as in `SharedFeedback`, with entries of the same variance.

    Args:
        normalize: Whether to divide by sqrt(D_max).

    Example:
        >>> import torch
        >>> from quire.papers.dfa import HadamardFeedback
        >>> feedback = HadamardFeedback()
        >>> feedback.fit([256, 64], error_width=10, seed=0)
        >>> [signal.shape for signal in feedback(torch.randn(5, 10))]
        [torch.Size([5, 256]), torch.Size([5, 64])]
    """

    places: Tensor | None
    before: Tensor | None
    after: Tensor | None

    def __init__(self, *, normalize: bool = True) -> None:
        super().__init__()
        self.normalize, self.scale = normalize, 1.0
        for name in ("places", "before", "after"):
            self.register_buffer(name, None)

    def draw(
        self, widths: Sequence[int], error_width: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Places (O,) of the errors, their signs (O,), and those of the N results."""
        size = 1 << (max(error_width, *widths) - 1).bit_length()
        signs = 2.0 * torch.randint(2, (error_width + size,), generator=generator) - 1
        # That U[-1, 1) has a third of the variance of signs.
        self.scale = (3 * (max(widths) if self.normalize else 1)) ** -0.5
        return {
            "places": torch.randperm(size, generator=generator)[:error_width],
            "before": signs[:error_width],
            "after": signs[error_width:],
        }

    def forward(self, error: Tensor) -> list[Tensor]:
        """Errors (R, O) -> (R, D) for each hidden output, views of one transform."""
        widths = self._check(error)
        assert self.places is not None
        assert self.before is not None
        assert self.after is not None
        spread = error.new_zeros(len(error), len(self.after))
        spread = spread.index_copy(1, self.places, error * self.before.to(error.dtype))
        signal = transform(spread) * (self.scale * self.after.to(error.dtype))
        return [signal[:, :width] for width in widths]


def transform(x: Tensor) -> Tensor:
    """The Walsh-Hadamard transform of rows, (R, N) -> (R, N), in Sylvester's order, not normalised.

    Raises ValueError where N is no power of two.
    """
    rows, size = x.shape
    if size < 1 or size & (size - 1):
        raise ValueError(f"a Walsh-Hadamard transform needs a power of two of numbers, got {size}")
    half = 1
    while half < size:
        pairs = x.reshape(rows, size // (2 * half), 2, half)
        left, right = pairs.unbind(2)
        x = torch.stack([left + right, left - right], 2)
        half *= 2
    return x.reshape(rows, size)
