"""Causal linear attention by flash-linear-attention's Triton kernels, where it is installed.

In bfloat16 on a GPU: half the memory of `causal`, which sums in float32, and fewer passes over it.
R rows (batch times heads), N tokens, C features of queries and keys, M width of the values.
"""

import importlib.util
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from quire.nn.devices import without_autocast
from quire.papers.linear_transformer.causal import derive_gradients, widen

NORMALISER = 16
"""Columns of ones that stand for the normaliser: the fewest that a kernel takes at no more cost."""


def serves(*inputs: Tensor) -> bool:
    """Whether these inputs are for the kernels: bfloat16 on a GPU, outside compiled graphs.

    Not float16, whose sums over many keys would be infinite.
    """
    plain = not torch.compiler.is_compiling() and forward_ad._current_level < 0
    here = all(x.is_cuda and x.dtype == torch.bfloat16 for x in inputs)
    return here and plain and not torch._C._functorch.peek_interpreter_stack() and is_installed()


@lru_cache(maxsize=1)
def is_installed() -> bool:
    """Whether flash-linear-attention is here (the extra `gpu`)."""
    return importlib.util.find_spec("fla") is not None


def fused_causal_attention(q: Tensor, k: Tensor, v: Tensor, *, eps: float, chunk: int) -> Tensor:
    """As `causal_attention`: (R, N, M), derivatives of any order in reverse.

    Args:
        q: (R, N, C), the feature map applied.
        k: (R, N, C), the feature map applied.
        v: (R, N, M).
        eps: Added to the normaliser.
        chunk: As in `causal_attention`, for a second derivative.
    """
    attended: Tensor = _Fused.apply(q, k, v, eps, chunk)
    return attended


class _Fused(torch.autograd.Function):
    """The kernels with their own gradient, which torch cannot differentiate again."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, eps: float, chunk: int) -> Tensor:
        """The kernels' graph is kept, unless no gradient is asked for."""
        inputs = tuple(
            x.detach().requires_grad_(needed)
            for x, needed in zip((q, k, v), ctx.needs_input_grad, strict=False)
        )
        with torch.enable_grad():
            out = _attend(inputs[0], inputs[1], inputs[2], eps)
        ctx.save_for_backward(q, k, v)
        ctx.inputs, ctx.out, ctx.eps, ctx.chunk = inputs, out, eps, chunk
        return out.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By the kernels; in operations that torch differentiates where that is asked for."""
        if not torch.is_grad_enabled():
            asked = [x for x in ctx.inputs if x.requires_grad]
            found = iter(torch.autograd.grad(ctx.out, asked, grad, retain_graph=True))
            return *(next(found) if x.requires_grad else None for x in ctx.inputs), None, None
        with without_autocast(grad):
            q, k, v = (widen(x) for x in ctx.saved_tensors)
            grads = derive_gradients(widen(grad), ctx.chunk, q, k, v, eps=ctx.eps)
        return *(g.to(grad.dtype) for g in grads), None, None


def _attend(q: Tensor, k: Tensor, v: Tensor, eps: float) -> Tensor:
    from fla.ops.linear_attn import chunk_linear_attn

    width = v.shape[-1]
    # The kernels want (B, N, H, ...), where one head a row costs no copy, and even widths.
    q, k, v = (pad(x, (0, x.shape[-1] % 2))[:, :, None] for x in (q, k, v))
    ones = v.new_ones(*v.shape[:3], NORMALISER)
    numerator, scale = (
        chunk_linear_attn(q, k, x, scale=1.0, normalize=False)[0][:, :, 0] for x in (v, ones)
    )
    out: Tensor = numerator[..., :width] / (scale[..., :1] + eps)
    return out
