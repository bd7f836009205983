"""BigBird-ETC: tokens of their own are global, positions are relative, and no block is random.

B batch, H heads, N long tokens, G global ones, D width, K head width, b tokens a block.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from quire.nn.masks import Padding, check_mask
from quire.nn.transformer import FeedForward, Residual


class ETCAttention(nn.Module):
    """Attention of N long tokens and G global ones (section 2, "BigBird-ETC"; ETC, section 3).

    Global tokens attend to everything; a long token attends to all global ones and to the blocks
    around its own; one softmax each. Scores are (q_i . k_j + q_i . a(i, j)) / sqrt(K) with learned
    labels a of the pair (Shaw et al.): the distance j - i, cut at `reach`, between tokens of one
    kind; between a long and a global token whether the one belongs to the other.

    Long and global tokens have projections of their own.

    Args:
        dim: width D.
        heads: H.
        block: tokens of a block, b (the paper's 84; 169 at large size).
        window: blocks, odd.
        reach: largest distance with a label of its own.

    Raises ValueError if window is even, or dim not a multiple of heads.

    Example:
        >>> from quire.papers.bigbird import ETCAttention
        >>> attention = ETCAttention(8, 2, block=4)
        >>> long, tokens = attention(torch.randn(3, 50, 8), torch.randn(3, 2, 8))
        >>> long.shape, tokens.shape
        (torch.Size([3, 50, 8]), torch.Size([3, 2, 8]))
    """

    def __init__(
        self, dim: int, heads: int, *, block: int = 84, window: int = 3, reach: int = 12
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0 or dim % heads:
            raise ValueError(
                "window must be odd and dim a multiple of heads, "
                f"got window {window}, dim {dim}, heads {heads}"
            )
        self.heads, self.block, self.window, self.reach = heads, block, window, reach
        self.long = nn.Linear(dim, 3 * dim)
        self.tokens = nn.Linear(dim, 3 * dim)
        self.long_output = nn.Linear(dim, dim)
        self.tokens_output = nn.Linear(dim, dim)
        self.labels = nn.Parameter(0.02 * torch.randn(heads, 2 * reach + 3, dim // heads))

    def forward(
        self,
        long: Tensor,
        tokens: Tensor,
        owner: Tensor | None = None,
        mask: Padding | None = None,
    ) -> tuple[Tensor, Tensor]:
        """long (B, N, D) and tokens (B, G, D), both attended.

        Args:
            long: the text.
            tokens: the global ones.
            owner: (B, N) int64, the global token (e.g. of its sentence) that a long token belongs
                to, -1 for none, the default.
            mask: of the long tokens.

        Raises TypeError for a mask that is none, ValueError for one that is not `Padding` or does
        not fit.
        """
        check_mask(mask)
        if mask is not None and not isinstance(mask, Padding):
            raise ValueError(f"ETC takes no mask but Padding, got {type(mask).__name__}")
        batch, length, _ = long.shape
        few = tokens.shape[1]
        if owner is None:
            owner = torch.full((batch, length), -1, device=long.device)
        counts = torch.ones(batch, length, dtype=torch.bool, device=long.device)
        if mask is not None:
            counts = mask.counted(batch, length, long.device)
        q, k, v = self._split(self.long(long))
        gq, gk, gv = self._split(self.tokens(tokens))
        belongs = owner[..., None] == torch.arange(few, device=long.device)  # (B, N, G)
        # A label of its own for a pair of kinds: 2 reach + 1 belongs, 2 reach + 2 does not.
        label = 2 * self.reach + 2 - belongs.long()
        attended = self._long(q, (k, v), (gk, gv), label, counts)
        scores = torch.cat((self._near(gq, gk), self._score(gq, k, label.mT[:, None])), -1)
        seen = pad(counts, (few, 0), value=True)[:, None, None]
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        tokens = self.tokens_output(_join(weights @ torch.cat((gv, v), 2)))
        return self.long_output(_join(attended)), tokens

    def _long(
        self,
        q: Tensor,
        local: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        label: Tensor,
        counts: Tensor,
    ) -> Tensor:
        """Long queries over the global keys and those of the window: (B, H, N, K).

        Args:
            q: (B, H, N, K).
            local: keys and values of the long tokens, (B, H, N, K) each.
            tokens: those of the global ones, (B, H, G, K) each.
            label: (B, N, G) int64, the label of each pair of a long and a global token.
            counts: (B, N) bool, which long tokens are none of padding.
        """
        length, b, gk, gv = q.shape[2], self.block, *tokens
        if length == 0:
            return q
        # Half a window of padding at both ends: the windows of the first and the last block are as
        # wide as all others, and what stands outside the text is not seen.
        short, side = -length % b, self.window // 2 * b
        k, v = (_windows(pad(t, (0, 0, side, short + side)), b, self.window) for t in local)
        seen = pad(counts, (side, short + side)).unfold(1, self.window * b, b)  # (B, blocks, w b)
        blocks = pad(q, (0, 0, 0, short)).unflatten(2, (-1, b))
        # Within a window the distance of key and query does not depend on the block.
        i = torch.arange(b, device=q.device)[:, None] + side
        distance = torch.arange(self.window * b, device=q.device) - i
        near = self._score(blocks, k, (distance.clamp(-self.reach, self.reach) + self.reach))
        near = near.masked_fill(~seen[:, None, :, None], -torch.inf).flatten(2, 3)[:, :, :length]
        # One softmax over global and near keys, so both stand in one row; then they part again,
        # because near values are those of the query's own window.
        scores = torch.cat((self._score(q, gk, label[:, None]), near), -1)
        if gk.shape[2] == 0:  # then padding may have nothing to attend to
            scores = scores.clamp(min=torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        few, rest = weights.split((gk.shape[2], self.window * b), -1)
        rest = pad(rest, (0, 0, 0, short)).unflatten(2, (-1, b))
        return few @ gv + (rest @ v).flatten(2, 3)[:, :, :length]

    def _near(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores within the global tokens, whose labels are distances."""
        place = torch.arange(q.shape[2], device=q.device)
        distance = (place - place[:, None]).clamp(-self.reach, self.reach)
        return self._score(q, k, distance + self.reach)

    def _score(self, q: Tensor, k: Tensor, label: Tensor) -> Tensor:
        """q (B, H, ..., Tq, K), k (B, H, ..., Tk, K), label: int64 that broadcasts to (Tq, Tk)."""
        # q . a for each label once, O(Tq reach), then gathered for each pair: no vector a pair.
        labels = self.labels[:, None] if q.ndim == 5 else self.labels
        own = q @ labels.mT
        shape = (*q.shape[:-1], k.shape[-2])
        return (q @ k.mT + own.gather(-1, label.expand(shape))) * q.shape[-1] ** -0.5

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 3 D) -> three of (B, H, T, K)."""
        q, k, v = x.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _windows(x: Tensor, block: int, window: int) -> Tensor:
    """x (B, H, T, K) -> (B, H, blocks, window * block, K), overlapping."""
    return x.unfold(2, window * block, block).mT


class ETCLayer(nn.Module):
    """`ETCAttention` and a feed-forward part for both kinds of tokens, post-norm.

    Args:
        dim: width D.
        heads: H.
        hidden: width between the two linear layers.
        block: tokens of a block, b.
        window: blocks, odd.
        reach: largest distance with a label of its own.

    Example:
        >>> from quire.papers.bigbird import ETCLayer
        >>> long, tokens = ETCLayer(8, 2, hidden=16, block=4)(
        ...     torch.randn(3, 50, 8), torch.randn(3, 2, 8))
        >>> long.shape, tokens.shape
        (torch.Size([3, 50, 8]), torch.Size([3, 2, 8]))
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        hidden: int,
        block: int = 84,
        window: int = 3,
        reach: int = 12,
    ) -> None:
        super().__init__()
        self.attention = ETCAttention(dim, heads, block=block, window=window, reach=reach)
        self.feed_forward = FeedForward(dim, hidden, activation=nn.GELU)
        self.norms = nn.ModuleList(Residual(dim, norm="post") for _ in range(3))

    def forward(
        self,
        long: Tensor,
        tokens: Tensor,
        owner: Tensor | None = None,
        mask: Padding | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `ETCAttention.forward`."""
        more = self.attention(long, tokens, owner, mask)
        long = self.norms[0](long, lambda _: more[0])
        tokens = self.norms[1](tokens, lambda _: more[1])
        both = self.norms[2](torch.cat((tokens, long), 1), self.feed_forward)
        return both[:, tokens.shape[1] :], both[:, : tokens.shape[1]]


def cpc_loss(context: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Contrastive predictive coding on global tokens (ETC, section 3): a scalar, nats.

    context: (S, D), the states of the global tokens of S hidden segments. target: (S, D), the
    states of the same segments encoded by themselves. Each context must tell its own target from
    the others by the inner product. At least two segments, else the loss is 0.

    Example:
        >>> from quire.papers.bigbird import cpc_loss
        >>> float(cpc_loss(torch.zeros(4, 8), torch.zeros(4, 8)))
        1.386...
    """
    scores = context @ target.mT / temperature
    if len(context) == 0:
        return scores.sum()  # the mean over nothing would be NaN
    return cross_entropy(scores, torch.arange(len(context), device=context.device))
