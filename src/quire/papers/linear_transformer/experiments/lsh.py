"""Attention within hash buckets (Reformer), the paper's baseline of subquadratic cost.

B batch, H heads, T tokens, K head width, M value width, R rounds, G chunks, L tokens a chunk.
"""

from typing import Any

import torch
from torch import Tensor, nn

from quire.nn import Mask, fit_mask


class LSHAttention(nn.Module):
    """Each query attends to the keys of its own and the previous chunk of tokens sorted by bucket.

    "Reformer: the efficient transformer", section 2, as a kernel: queries and keys are shared, so
    the keys passed in are not used but for their shape; keys are the queries divided by their norm.
    The bucket of x is the largest of [x R, -x R] with R random; tokens are sorted by bucket, then
    by position, and cut into chunks. A token attends to itself only where it may attend to nothing
    else. Rounds with other R are joined with the weight of each round's normaliser.

    In training every call draws new rotations from torch's global generator, which activation
    checkpointing sets back, so that what it computes again has the same ones; in evaluation the
    last ones are used again. `mask` may be any mask; the first chunk has none before it.

    Args:
        dim: K.
        rounds: R.
        buckets: An even number.
        chunk: L.
        seed: Of the rotations until it trains.

    Buffer: rotations (R, K, buckets / 2).

    Raises ValueError if buckets is odd, or rounds or chunk below 1; forward if there are not as
    many queries as keys.

    Example:
        >>> kernel = LSHAttention(8, rounds=2, buckets=4, chunk=16)
        >>> kernel(*torch.randn(3, 2, 4, 100, 8)).shape
        torch.Size([2, 4, 100, 8])
    """

    rotations: Tensor

    def __init__(
        self, dim: int, *, rounds: int = 1, buckets: int = 64, chunk: int = 32, seed: int = 0
    ) -> None:
        super().__init__()
        if buckets < 2 or buckets % 2:
            raise ValueError(f"buckets must be even and positive, got {buckets}")
        if rounds < 1 or chunk < 1:
            raise ValueError(f"rounds and chunk must be at least 1, got {rounds} and {chunk}")
        self.chunk = chunk
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(rounds, dim, buckets // 2, generator=generator)
        self.register_buffer("rotations", drawn)

    def buckets(self, q: Tensor) -> Tensor:
        """The bucket of every query (B, H, T, K) in every round: (R, B, H, T)."""
        turned = torch.einsum("bhtk,rkn->rbhtn", q, self.rotations.to(q.dtype))
        return torch.cat((turned, -turned), -1).argmax(-1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """q (B, H, T, K), k of the same shape, v (B, H, T, M) -> (B, H, T, M)."""
        if q.shape != k.shape:
            raise ValueError(
                "LSH attention shares queries and keys: their shapes must be the same, "
                f"got {tuple(q.shape)} and {tuple(k.shape)}"
            )
        mask = fit_mask(mask, q, k)
        if self.training:
            # Not a generator of its own: it would go on where the first pass through
            # `torch.utils.checkpoint` left it, and the second would sort other buckets.
            self.rotations.normal_()
        with torch.no_grad():
            order = self.buckets(q).sort(dim=-1, stable=True).indices
        rounds = [self._round(q, v, one, mask) for one in order]
        # A round counts by how much it found: the softmax over rounds of their normalisers.
        weight = torch.stack([total for _, total in rounds]).softmax(0)
        attended = torch.stack([out for out, _ in rounds]) * weight[..., None]
        return attended.sum(0).to(v.dtype)

    def _round(
        self, q: Tensor, v: Tensor, order: Tensor, mask: Mask | None
    ) -> tuple[Tensor, Tensor]:
        """One round in the order given: attended values and their log-normaliser (B, H, T)."""
        batch, heads, length, _ = q.shape
        # A last chunk that is not full takes tokens of number T, which are nowhere allowed.
        filled = torch.nn.functional.pad(order, (0, -length % self.chunk), value=length)
        rows = filled.clamp(max=length - 1)
        queries = _rows(q, rows).unflatten(2, (-1, self.chunk))
        # Shared queries and keys: a token would be its own best match, so keys have length 1
        # and (below) a token sees itself only where it sees nothing else.
        keys = queries / queries.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        values = _rows(v, rows).unflatten(2, (-1, self.chunk))
        query = filled.unflatten(2, (-1, self.chunk))  # (B, H, G, L), numbers of tokens
        key = _with_previous(query[..., None], fill=length)[..., 0]
        i, j = query[..., :, None], key[..., None, :]
        # Numbers of tokens say what a mask allows, wherever sorting has put them.
        allowed = (j < length) & (i < length)
        if mask is not None:
            number = torch.arange(max(batch, heads), device=q.device)
            row, head = number[:batch, None, None, None, None], number[:heads, None, None, None]
            last = length - 1
            allowed = allowed & mask.allows(row, head, i.clamp(max=last), j.clamp(max=last))
        scores = queries @ _with_previous(keys).mT / q.shape[-1] ** 0.5
        scores = scores.to(torch.promote_types(q.dtype, torch.float32))
        # -1e5 loses against any other key but wins against -1e30, which is nowhere allowed.
        scores = scores.masked_fill(i == j, -1e5).masked_fill(~allowed, -1e30)
        total = scores.logsumexp(-1)
        weights = (scores - total[..., None]).exp().masked_fill(~allowed, 0.0)
        attended = weights.to(v.dtype) @ _with_previous(values)
        # From the order of the buckets back to the order of the sequence.
        back = order.argsort(-1)
        return _rows(attended.flatten(2, 3), back), total.flatten(2).gather(-1, back)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x (B, H, T, K) at index (B, H, N): (B, H, N, K)."""
    return x.gather(2, index[..., None].expand(-1, -1, -1, x.shape[-1]))


def _with_previous(x: Tensor, fill: Any = 0.0) -> Tensor:
    """Chunks (B, H, G, L, K), each after the one before it: (B, H, G, 2 L, K)."""
    before = torch.cat((torch.full_like(x[:, :, :1], fill), x[:, :, :-1]), 2)
    return torch.cat((before, x), 3)
