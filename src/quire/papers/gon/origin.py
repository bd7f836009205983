"""The origin gradient: one step down a reconstruction loss from zero is the latent.

Legend: B examples, K latent dimensions.

Empirical Bayes: let z0 = z + noise with noise from N(0, I). The best guess of z from z0 is
E[z | z0, x] = z0 + grad_z0 log p(z0, x) (Miyasawa 1961; Robbins 1956). At z0 = 0, where a standard
normal p(z0) has slope zero, that is grad_z0 log p(x | z0): minus the gradient of the loss.

A reduction is part of the encoder. Losses here are one number an example, and they are summed over
the batch before they are differentiated, so that a latent depends on its own example alone. What a
mean over a batch and pixels would divide by is `scale`, in the open.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.nn.devices import without_autocast

Decoder = Callable[[Tensor], Any]
"""From latents (B, K) to whatever the loss reads; mostly a reconstruction (B, ...)."""
Loss = Callable[[Any, Tensor], Tensor]
"""From what a decoder gives and the data (B, ...) to one loss an example, (B,)."""


def sum_squares(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Squared differences summed over everything but the batch: (B, ...), (B, ...) -> (B,)."""
    return _per_example((_fitting(reconstruction, x) - x).square())


def sum_cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy in nats, summed over everything but the batch -> (B,).

    x holds bits, or numbers in [0, 1], for which it is no negative log-likelihood.
    """
    return _per_example(
        F.binary_cross_entropy_with_logits(_fitting(logits, x), x, reduction="none")
    )


def find_mean_scale(batch_size: int, *reduced: int) -> float:
    """The `scale` with which a per-example sum gives the latents of a loss that is a mean.

    batch_size: examples over which the mean went. reduced: sizes of the other dimensions over which
    it went. The published convolutional code takes the mean over batch and pixels, 1 / (64 * 32 *
    32); the implicit one over batch and channels, 1 / 64; the variational one over the batch, 1/64.

    >>> find_mean_scale(64, 32, 32) == 1 / 65_536
    True
    """
    count = batch_size
    for size in reduced:
        count *= size
    if count < 1:
        raise ValueError(f"sizes must be at least 1, got {(batch_size, *reduced)}")
    return 1 / count


def origin(
    decoder: Decoder,
    x: Tensor,
    loss: Loss = sum_squares,
    *,
    latent: int | None = None,
    start: Tensor | None = None,
    steps: int = 1,
    scale: float | Tensor = 1.0,
    second_order: bool = True,
    alike: bool | None = None,
) -> Tensor:
    """The latents (B, K) of x (B, ...): from `start`, `steps` steps down the loss (section 3).

    Works under `no_grad` and in inference mode, where the latents come without a graph. Under
    autocast the gradient is taken in the precision of x and of the weights, because a small one
    vanishes in half precision. What calls it may be compiled (torch.compile); a decoder that is
    compiled by itself cannot be differentiated twice.

    Args:
        decoder: Gives what `loss` reads from latents (B, K).
        x: The data, one example a row.
        loss: One number an example; summed over the batch before it is differentiated.
        latent: K; None asks `decoder.latent`, where no `start` is given.
        start: z0, (K,) or (B, K); None is the origin, zero.
        steps: Gradient steps; the paper's is one.
        scale: Length of a step, a number or one for each dimension, (K,). With one step it is what
            divides the latents where a published loss is a mean (`find_mean_scale`).
        second_order: Whether the outer loss trains the decoder through this gradient. Without it
            latents are constants to the outer loss.
        alike: Whether the decoder treats every row alike and alone, without drawing anything. From
            one start for all, F(z0) and what its derivative needs are then computed for one row in
            place of B, which saves about a third of a training step of a convolutional or implicit
            net and costs a fraction of a millisecond. None asks `decoder.alike`.

    Raises ValueError for an empty batch, a loss that is not (B,), a start that does not fit, and
    for steps below 1; RuntimeError where the second order is wanted and lost.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if x.dim() < 1 or len(x) == 0:
        raise ValueError(f"x must hold at least one example, got shape {tuple(x.shape)}")

    def score(drawn: Any) -> Tensor:
        each = loss(drawn, x)
        if each.shape != (len(x),):
            raise ValueError(
                f"loss must give one number an example, ({len(x)},), got shape {tuple(each.shape)}"
            )
        return each.sum()

    if torch.compiler.is_compiling():
        # What autograd.grad gives cannot be differentiated again in a compiled graph; this can.
        with without_autocast(x):
            z = begin(decoder, x, latent, start)
            for _ in range(steps):
                z = z - scale * torch.func.grad(lambda z: score(decoder(z)))(z)
                z = z if second_order else z.detach()
        return z
    through = second_order and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_autocast(x),
    ):
        if x.is_inference():
            x = x.clone()  # an inference tensor takes part in no graph
        z = begin(decoder, x, latent, start)
        if not z.requires_grad:
            z.requires_grad_()
        alike = getattr(decoder, "alike", False) if alike is None else alike
        one_start = alike and len(x) > 1 and (start is None or start.dim() == 1)
        for step in range(steps):
            if one_start and step == 0:
                slope = _slope_from_one_row(decoder, score, z[:1], len(x), through)
            else:
                (slope,) = torch.autograd.grad(score(decoder(z)), z, create_graph=through)
            if through and not slope.requires_grad:
                _check_second_order(decoder)
            z = z - scale * slope
            if not through:
                z = z.detach().requires_grad_()
    return z if through else z.detach()


def _slope_from_one_row(
    decoder: Decoder, score: Callable[[Any], Tensor], start: Tensor, count: int, through: bool
) -> Tensor:
    """The gradient (B, K) of the score where all B = `count` examples start from the row (1, K).

    One pass of the decoder serves all: examples differ in the loss's gradient alone, and the
    decoder's transposed Jacobian, which they share, is applied to all of those at once.
    """
    with torch.set_grad_enabled(through):
        drawn, pull_back = torch.func.vjp(decoder, start)[:2]
        rows = drawn.expand(count, *drawn.shape[1:])
    if not rows.requires_grad:
        rows = rows.detach().requires_grad_()
    (steepest,) = torch.autograd.grad(score(rows), rows, create_graph=through)
    with torch.set_grad_enabled(through):
        slope: Tensor = torch.func.vmap(lambda row: pull_back(row[None])[0][0])(steepest)
    return slope


def _check_second_order(decoder: Decoder) -> None:
    """Raise RuntimeError where weights are to be trained through a gradient without a graph.

    Versions of PyTorch up to 2.11 give one for a decoder that is compiled by itself, without a word
    (pytorch #181581); later ones refuse.
    """
    owner = getattr(decoder, "__self__", decoder)  # of a method, its module
    if isinstance(owner, nn.Module) and any(p.requires_grad for p in owner.parameters()):
        raise RuntimeError(
            "the decoder's gradient cannot be differentiated again (is it compiled by itself?): "
            "compile what calls it, or ask for second_order=False"
        )


def begin(decoder: Decoder, x: Tensor, latent: int | None, start: Tensor | None) -> Tensor:
    """z0, (B, K): zeros, or `start` for every example. Raises ValueError for what does not fit.

    Args:
        decoder: Asked for its `latent` where neither is given.
        x: (B, ...), whose device and floating dtype the latents get.
        latent: K or None.
        start: (K,), (B, K) or None.
    """
    if start is not None:
        # Without a graph to its own past, unless it is learned.
        given = start.clone() if start.is_inference() else start
        width = latent if latent is not None else given.shape[-1] if given.dim() else 0
        if tuple(given.shape) not in ((width,), (len(x), width)):
            raise ValueError(
                f"start must be ({width},) or ({len(x)}, {width}), got {tuple(given.shape)}"
            )
        z = given.expand(len(x), width)
        return z if z.requires_grad else z.clone()
    if latent is None:
        latent = getattr(decoder, "latent", None)
    if not isinstance(latent, int):
        raise ValueError("say how many latent dimensions there are: latent=, start=, or a decoder "
                         "with an attribute `latent`")  # fmt: skip
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return torch.zeros(len(x), latent, dtype=dtype, device=x.device)


def _per_example(losses: Tensor) -> Tensor:
    """(B, ...) -> (B,), the sum over all but the first."""
    return losses.flatten(1).sum(1) if losses.dim() > 1 else losses


def _fitting(reconstruction: Tensor, x: Tensor) -> Tensor:
    """The reconstruction, which must have the shape of x: broadcasting would hide a mistake."""
    if reconstruction.shape != x.shape:
        raise ValueError(
            f"reconstruction and data must have one shape, got {tuple(reconstruction.shape)} "
            f"and {tuple(x.shape)}"
        )
    return reconstruction
