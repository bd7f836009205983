"""Classical associative memories of binary patterns, to compare with.

N patterns and S states of K bits, each -1 or +1 (a state may also begin with 0, "unknown").
"""

from collections.abc import Callable

import torch
from torch import Tensor

Overlap = Callable[[Tensor, int], Tensor]
"""F of the energy -sum F(x.state): overlaps (in -K..K) and K to values, in float64."""


class HebbianMemory:
    """Hopfield's network of 1982: weights sum_i x_i x_i^T / K without the diagonal.

    Stores about 0.138 K random patterns. stored: (N, K) of -1 and +1.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import HebbianMemory
        >>> stored = torch.tensor([[1.0, 1, 1, 1, -1, -1], [1, -1, 1, -1, 1, -1]])
        >>> broken = torch.tensor([[1.0, 1, 1, 1, 1, -1]])
        >>> HebbianMemory(stored).retrieve(broken)
        tensor([[ 1.,  1.,  1.,  1., -1., -1.]])
    """

    def __init__(self, stored: Tensor) -> None:
        check_bits(stored)
        self.stored = stored
        # Sums over many patterns lose counts in half precision.
        exact = stored.to(torch.promote_types(stored.dtype, torch.float32))
        self.weight = exact.T @ exact / stored.shape[1]
        self.weight.fill_diagonal_(0)

    def energy(self, state: Tensor) -> Tensor:
        """-1/2 state W state: (S, K) -> (S,)."""
        return -0.5 * (self.field(state) * state).sum(-1)

    def field(self, state: Tensor) -> Tensor:
        """What each bit's sign becomes: (S, K) -> (S, K)."""
        return state.to(self.weight.dtype) @ self.weight

    def retrieve(self, state: Tensor, *, limit: int = 20) -> Tensor:
        """All bits at once, until nothing changes, at most `limit` times: (S, K)."""
        return settle(self.field, state, limit)

    def sweep(self, state: Tensor) -> Tensor:
        """Every bit once, one after the other: the energy never increases."""
        return update_bit_by_bit(self.field, state)


class DenseMemory:
    """Dense associative memory: energy -sum_i F(x_i.state), a bit at a time takes the lower one.

    stored: (N, K) of -1 and +1. function: F, `polynomial(n)` (Krotov & Hopfield 2016, O(K^(n-1))
    patterns) or `exponential` (Demircigil et al. 2017, 2^(K/2) patterns).

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import DenseMemory, exponential
        >>> stored = torch.tensor([[1.0, 1, 1, 1, -1, -1], [1, -1, 1, -1, 1, -1]])
        >>> DenseMemory(stored, exponential).retrieve(torch.tensor([[0.0, 0, 1, 1, -1, -1]]))
        tensor([[ 1.,  1.,  1.,  1., -1., -1.]])
    """

    def __init__(self, stored: Tensor, function: Overlap) -> None:
        check_bits(stored)
        if not callable(function):
            raise TypeError(
                "function must be one of overlaps and bits, such as polynomial(3) or exponential; "
                f"got {function!r}"
            )
        self.stored, self.function = stored, function
        self.plus, self.minus = (stored > 0).double(), (stored < 0).double()

    def energy(self, state: Tensor) -> Tensor:
        """(S, K) -> (S,), float64."""
        return -self._value(state.double() @ self.stored.double().T).sum(-1)

    def field(self, state: Tensor) -> Tensor:
        """Energy of each bit at -1 less that at +1, the others as they are: (S, K), float64."""
        overlap = state.double() @ self.stored.double().T
        field = torch.zeros_like(state, dtype=torch.float64)
        # Without the bit's own part the overlap is m - x s: for x = +1 and s = +1 the two energies
        # are F(m - 2) and F(m), and so on for the other signs.
        for sign in (-1, 0, 1):
            rises = self._value(overlap - sign + 1) - self._value(overlap - sign - 1)
            falls = self._value(overlap + sign + 1) - self._value(overlap + sign - 1)
            change = rises @ self.plus - falls @ self.minus
            field = torch.where(state == sign, change, field)
        return field

    def retrieve(self, state: Tensor, *, limit: int = 20) -> Tensor:
        """All bits at once, until nothing changes, at most `limit` times: (S, K)."""
        return settle(self.field, state, limit)

    def sweep(self, state: Tensor) -> Tensor:
        """Every bit once, one after the other: the energy never increases."""
        return update_bit_by_bit(self.field, state)

    def _value(self, overlap: Tensor) -> Tensor:
        return self.function(overlap, self.stored.shape[1])


def polynomial(degree: int) -> Overlap:
    """F(z) = max(0, z / K)^degree; degree 2 without the maximum would be Hopfield's network."""
    if degree < 2:
        raise ValueError(f"degree must be at least 2, got {degree}")
    return lambda overlap, bits: (overlap / bits).clamp_min(0) ** degree


def exponential(overlap: Tensor, bits: int) -> Tensor:
    """F(z) = exp(z), less its largest exponent, which no sign depends on."""
    return (overlap - bits).exp()


def settle(field: Callable[[Tensor], Tensor], state: Tensor, limit: int) -> Tensor:
    """Signs of the field, all at once, until they stay; a bit without a field stays as it is."""
    for _ in range(limit):
        force = field(state)
        new = torch.where(force == 0, state, force.sign().to(state.dtype))
        if torch.equal(new, state):
            break
        state = new
    return state


def update_bit_by_bit(field: Callable[[Tensor], Tensor], state: Tensor) -> Tensor:
    """Every bit once takes the sign of the field that the bits before it leave."""
    state = state.clone()
    for bit in range(state.shape[-1]):
        force = field(state)[:, bit]
        state[:, bit] = torch.where(force == 0, state[:, bit], force.sign().to(state.dtype))
    return state


def check_bits(stored: Tensor) -> None:
    """Raises ValueError unless stored is (N, K) of -1 and +1, TypeError if it is no tensor."""
    if not isinstance(stored, Tensor):
        raise TypeError(f"stored must be a tensor (patterns, bits), got {type(stored).__name__}")
    if stored.ndim != 2 or not len(stored) or not (stored.abs() == 1).all():
        raise ValueError(f"stored must be (patterns, bits) of -1 and +1, got {tuple(stored.shape)}")
