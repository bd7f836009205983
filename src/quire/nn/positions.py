"""Positions: added to the input of a stack, or mixed into queries and keys.

B batch, T tokens, D width, H heads, K head width. Modules that are added take (x, step) and return
x with positions; a stack calls them before every layer, `step` being the number of layers before
it, so that a Universal Transformer marks the depth too. `start` is the position of the first token,
one number or one a row (B,): decoding goes on where the prompt ended.
"""

import torch
from torch import Tensor, nn

from quire.nn import devices


def sinusoidal(length: int, dim: int) -> Tensor:
    """Sines and cosines of the positions 0..length-1: (length, dim) float32.

    Column 2i is sin(t / 10000^(2i / dim)), column 2i + 1 its cosine ("Attention is all you need",
    section 3.5). Raises ValueError if dim is odd.
    """
    return _waves(torch.arange(length, dtype=torch.float32), dim)


class SinusoidalPositions(nn.Module):
    """Adds `sinusoidal` positions before the first layer. dim: width D, even.

    Example:
        >>> import torch
        >>> from quire.nn import SinusoidalPositions
        >>> SinusoidalPositions(8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        _require_even(dim)
        self.dim = dim

    def forward(self, x: Tensor, step: int = 0, start: int | Tensor = 0) -> Tensor:
        """x (B, T, D) -> (B, T, D); unchanged where step > 0."""
        if step > 0:
            return x
        # Computed in at least single precision, added in that of x, which keeps its type.
        return x + _waves(_count(x, start), self.dim).to(x.dtype)


class LearnedPositions(nn.Module):
    """Adds a learned vector for each position before the first layer.

    length: the most tokens. dim: width D. Forward raises ValueError if there are more tokens.

    Example:
        >>> import torch
        >>> from quire.nn import LearnedPositions
        >>> LearnedPositions(16, 8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        # BERT's standard deviation: small beside what is normalised to 1.
        self.weight = nn.Parameter(0.02 * torch.randn(length, dim))

    def forward(self, x: Tensor, step: int = 0, start: int | Tensor = 0) -> Tensor:
        """x (B, T, D) -> (B, T, D); unchanged where step > 0."""
        if step > 0:
            return x
        # Asked for: a slice that is cut to one row would broadcast without a word.
        check_room(len(self.weight), x.shape[-2], start, "positions")
        if isinstance(start, Tensor):
            # (B, T) positions, each row from a start of its own -> (B, T, D).
            return x + self.weight[start[..., None] + torch.arange(x.shape[-2], device=x.device)]
        return x + self.weight[start : start + x.shape[-2]]


class CoordinatePositions(nn.Module):
    """Adds two-dimensional coordinates, position and depth, before every layer.

    "Universal Transformers", eqs. 6 and 7: the waves of the position i plus those of the step t,
    both counted from 1. Any step is possible: nothing is stored. dim: width D, even.

    Example:
        >>> import torch
        >>> from quire.nn import CoordinatePositions
        >>> CoordinatePositions(8)(torch.randn(2, 5, 8), 3).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        _require_even(dim)
        self.dim = dim

    def forward(self, x: Tensor, step: int | Tensor = 0, start: int | Tensor = 0) -> Tensor:
        """x (B, T, D) before layer `step`, counted from 0 (a number or 0-d tensor) -> (B, T, D)."""
        position = _count(x, start) + 1
        # (1,) or (B, 1), one time for all tokens. Added to a tensor and never read as a number: a
        # 0-d `step` stays on its device.
        time = torch.zeros_like(position[..., :1]) + step + 1
        return x + (_waves(position, self.dim) + _waves(time, self.dim)).to(x.dtype)


class Rotary(nn.Module):
    """Turns pairs of query and key columns by an angle that grows with the position.

    "RoFormer", eq. 34: q_m . k_n then depends on positions by m - n only. Columns 2i and 2i + 1 of
    position t turn by t / base^(2i / dim). dim: head width K, even.

    Example:
        >>> import torch
        >>> from quire.nn import Rotary
        >>> q, k = Rotary(4)(torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4))
        >>> q.shape, k.shape
        (torch.Size([2, 3, 5, 4]), torch.Size([2, 3, 7, 4]))
    """

    def __init__(self, dim: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        _require_even(dim)
        self.dim = dim
        self.base = base

    def forward(self, q: Tensor, k: Tensor, start: int | Tensor = 0) -> tuple[Tensor, Tensor]:
        """q (B, H, Tq, K) and k (B, H, Tk, K), both turned."""
        return self._turn(q, start), self._turn(k, start)

    def _turn(self, x: Tensor, start: int | Tensor) -> Tensor:
        angle = _angles(_count(x, start), self.dim, self.base)
        if angle.ndim == 3:  # (B, T, K / 2), the same for every head
            angle = angle[:, None]
        # Neighbours are a pair, as in the paper. Many other codes pair column i with i + K / 2:
        # their weights fit after a permutation of each head's columns. (B, H, T, K / 2) each.
        even, odd = x.to(angle.dtype).unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        # Each pair is a complex number times e^(i angle), and goes back to where it was.
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2).to(x)


def _require_even(dim: int) -> None:
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and positive, got {dim}")


def _count(x: Tensor, start: int | Tensor = 0) -> Tensor:
    """Positions of x (..., T, D): (T,), or (B, T) where start is (B,).

    In at least single precision: half precision cannot count far.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    count = torch.arange(x.shape[-2], device=x.device, dtype=dtype)
    return count + (start[..., None] if isinstance(start, Tensor) else start)


def _angles(position: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """position (..., T) -> (..., T, dim / 2): position / base^(2i / dim)."""
    exponent = torch.arange(0, dim, 2, device=position.device, dtype=position.dtype) / dim
    # Radians a position: 1 for the first pair, nearly 1 / base for the last.
    return position[..., None] * base**-exponent


def _waves(position: Tensor, dim: int) -> Tensor:
    """position (..., T) -> (..., T, dim), sines and cosines in turn."""
    _require_even(dim)
    angle = _angles(position, dim)
    # (..., T, dim / 2, 2) -> (..., T, dim): sine and cosine of one frequency are neighbours.
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)


def check_room(length: int, tokens: int, start: int | Tensor, what: str) -> None:
    """Raises ValueError, in one line, where tokens stand beyond the last place.

    On an accelerator, where nobody waits for the answer, a tensor is asked there: a place beyond
    the last one is then an error of the device, at the latest when it is next waited for.

    Args:
        length: How many places there are.
        tokens: How many tokens.
        start: Place of the first one, a number or (B,).
        what: What tokens up to there have.
    """
    if isinstance(start, Tensor) and devices.is_accelerator(start):
        torch._assert_async((start + tokens <= length).all())
        return
    if isinstance(start, Tensor):
        start = int(start.max()) if len(start) else 0
    last = tokens + start
    if last > length:
        raise ValueError(f"at most {length} tokens have {what}, got {last}")
