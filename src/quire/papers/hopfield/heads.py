"""What attention heads do: how many patterns they need, and heads without a query.

B batch, H heads, T tokens, N tokens that a row attends to.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quire.nn import Mask
from quire.nn.attention import repeat_heads
from quire.nn.masks import fit_mask


def patterns_needed(weights: Tensor, *, mass: float = 0.90) -> Tensor:
    """The fewest entries of each row that hold `mass` of it: (..., N) -> (...) int64.

    A uniform row of N needs ceil(0.9 N), a row with one entry 1 (section 4.1, appendix A.5.1). N
    where all entries together hold less, as in a row of zeros.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import patterns_needed
        >>> patterns_needed(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 0.95, 0.05, 0.0]]))
        tensor([4, 1])
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass must be in (0, 1], got {mass}")
    held = weights.float().sort(-1, descending=True).values.cumsum(-1)
    # Rounding must not ask for one more: 0.9 of ten equal entries are nine.
    return ((held < mass - 1e-5).sum(-1) + 1).clamp_max(weights.shape[-1])


def median_needed(weights: Sequence[Tensor], counts: Tensor, *, mass: float = 0.90) -> Tensor:
    """The median of `patterns_needed` over rows and sequences: (layers, H) float64.

    weights: one (B, H, T, T) a layer, such as transformers gives with `output_attentions`. counts:
    (B, T) bool, True where a token counts; other rows are left out. Raises ValueError for counts of
    another dtype, whose 0 and 1 would be taken for indices, or that are True nowhere.
    """
    if counts.dtype != torch.bool or not counts.any():
        raise ValueError(f"counts must be bool and True somewhere, got {counts.dtype} with "
                         f"{int(counts.sum())} tokens that count")  # fmt: skip
    rows = [patterns_needed(layer, mass=mass).transpose(1, 2)[counts] for layer in weights]
    return torch.stack([layer.double().quantile(0.5, 0) for layer in rows])


def head_class(needed: Tensor, patterns: int) -> Tensor:
    """1 above N / 2 (averaging), 2 above N / 8, 3 above N / 32, else 4 (few patterns).

    needed: medians. patterns: N, the tokens that a row attends to. Gives int64 of the same shape.
    """
    bounds = torch.tensor([patterns / 32, patterns / 8, patterns / 2], device=needed.device)
    return 4 - torch.bucketize(needed.to(bounds.dtype), bounds)


def softmax_jacobian_norm(weights: Tensor) -> Tensor:
    """Spectral norm of diag(p) - p p^T for each row: (..., N) -> (...).

    Near 0 where a head is committed to one pattern or averages many; at most 1 / 2.
    """
    jacobian = weights.diag_embed() - weights[..., :, None] * weights[..., None, :]
    return torch.linalg.matrix_norm(jacobian, 2)


class WatchedAttention(nn.Module):
    """Softmax attention that keeps its last weights: `last` is (B, H, Tq, Tk).

    A kernel of `quire.nn.MultiHeadAttention` for looking into a trained model.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import WatchedAttention
        >>> watched = WatchedAttention()
        >>> watched(*torch.randn(3, 1, 2, 5, 4)).shape, watched.last.shape
        (torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 5, 5]))
    """

    last: Tensor

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """As in `softmax_attention`; a query that may attend nowhere has weights of zeros."""
        mask = fit_mask(mask, q, k)
        k, v = repeat_heads(q, k, v)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask is None:
            weights = scores.softmax(-1)
        else:
            allowed = mask.dense(q.shape[-2], k.shape[-2], q.shape[0], q.shape[1], q.device)
            weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
            weights = weights * allowed
        self.last = weights.detach()
        return weights @ v


class GaussianAttention(nn.Module):
    """Heads whose weights are a Gaussian over positions, whatever the input (appendix A.5.4).

    A_ij ~ exp(-((s_j - mu_i) / sigma_i)^2 / 2), positions s from -1 to 1. 2 N parameters a head,
    against 2 d_k d_y of query and key projections. A kernel of `quire.nn.MultiHeadAttention`; it
    does not look at queries and keys.

    heads: H. length: N, the number of tokens. centred: mu_i begins at s_i, else uniform in [-1, 1];
    sigma is uniform in [0.75, 1.25]. Forward raises ValueError for another number of tokens.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import GaussianAttention
        >>> GaussianAttention(2, 5)(*torch.randn(3, 1, 2, 5, 4)).shape
        torch.Size([1, 2, 5, 4])
    """

    def __init__(self, heads: int, length: int, *, centred: bool = False) -> None:
        super().__init__()
        if length < 2 or heads < 1:
            raise ValueError(f"length must be at least 2 and heads 1, got {length} and {heads}")
        centre = torch.linspace(-1, 1, length).expand(heads, -1) if centred else None
        self.mu = nn.Parameter(2 * torch.rand(heads, length) - 1 if centre is None else centre * 1)
        self.sigma = nn.Parameter(0.75 + 0.5 * torch.rand(heads, length))

    def weights(self) -> Tensor:
        """(H, N, N), rows sum to 1."""
        return self._scores().softmax(-1)

    def _scores(self) -> Tensor:
        """The exponents of all weights: (H, N, N)."""
        position = torch.linspace(-1, 1, self.mu.shape[1], device=self.mu.device)
        distance = (position.to(self.mu.dtype) - self.mu[..., None]) / self.sigma[..., None]
        return -distance.square() / 2

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """q (B, H, N, ...), k, v (B, G, N, ...) -> (B, H, N, V); G divides H.

        A mask takes weights away, the rest is scaled; a query that may attend nowhere gives zeros.
        """
        mask = fit_mask(mask, q, k)
        k, v = repeat_heads(q, k, v)
        if q.shape[1] != self.mu.shape[0]:
            raise ValueError(f"there are {self.mu.shape[0]} heads here, got {q.shape[1]}")
        if v.shape[-2] != self.mu.shape[1] or q.shape[-2] != v.shape[-2]:
            raise ValueError(
                f"these heads attend over {self.mu.shape[1]} tokens, got {v.shape[-2]}"
            )
        weights = self.weights()[None]
        if mask is not None:
            # Before the softmax: weights that are left may be as small as 1e-40 and must sum to 1.
            allowed = mask.dense(q.shape[-2], k.shape[-2], len(q), q.shape[1], q.device)
            scores = self._scores()[None].masked_fill(~allowed, torch.finfo(self.mu.dtype).min)
            weights = scores.softmax(-1) * allowed
        return weights.to(v.dtype) @ v
