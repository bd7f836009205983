"""Mixtures of discretised logistics: distributions over L ordered levels (PixelCNN++, 2.1).

P numbers describe a distribution: P = 3 n for n components, which are their logits, means and
logarithms of scales. Levels 0..L-1 stand for intensities from -1 to 1.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LOG_SCALES = (-7.0, 50.0)


def mixture_log_probability(parameters: Tensor, level: Tensor, levels: int) -> Tensor:
    """ln of the probability of each level: (...,) in nats.

    parameters: (..., 3 n). level: (...,) int64 in 0..levels-1. A component's mass of a level is its
    mass in the bin around it; the outermost bins go on to infinity, so the masses sum to 1. The
    difference of two sigmoids is computed as a product, which is exact in the tails too.

    Raises ValueError if the last dimension is not a multiple of 3.

    Example:
        >>> mixture_log_probability(torch.zeros(2, 6), torch.tensor([0, 255]), 256).exp()
        tensor([0.2697, 0.2697])
    """
    logits, mean, log_scale = _split(parameters)
    level = level[..., None].to(mean.dtype)
    half = 1 / (levels - 1)
    centre = level * (2 * half) - 1 - mean
    upper, lower = (centre + half) / log_scale.exp(), (centre - half) / log_scale.exp()
    # sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - exp(l - u))
    inside = torch.log(-torch.expm1(-2 * half * (-log_scale).exp()))
    left, right = logsigmoid(upper), logsigmoid(-lower)
    mass = torch.where(
        level == 0, left, torch.where(level == levels - 1, right, left + right + inside)
    )
    return (logits.log_softmax(-1) + mass).logsumexp(-1)


def sample_mixture(
    parameters: Tensor, levels: int, generator: torch.Generator | None = None
) -> Tensor:
    """A level drawn from each distribution: (...,) int64.

    parameters: (..., 3 n). generator: on any device; None takes the default one of the CPU.

    Example:
        >>> sample_mixture(torch.zeros(5, 6), 256, torch.Generator().manual_seed(0)).shape
        torch.Size([5])
    """
    logits, mean, log_scale = _split(parameters)
    home = generator.device if generator is not None else torch.device("cpu")
    uniform = torch.rand((2, *logits.shape), generator=generator, device=home).to(logits)
    uniform = uniform.clamp(1e-6, 1 - 1e-6)
    chosen = (logits - (-uniform[0].log()).log()).argmax(-1, keepdim=True)
    mean, log_scale, noise = (x.gather(-1, chosen)[..., 0] for x in (mean, log_scale, uniform[1]))
    intensity = mean + log_scale.exp() * torch.logit(noise)
    return ((intensity + 1) / 2 * (levels - 1)).round().clamp(0, levels - 1).long()


def _split(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and log-scales (..., n), in float32 at least."""
    if parameters.shape[-1] % 3:
        raise ValueError(
            f"a mixture takes 3 numbers a component, got {parameters.shape[-1]} in all"
        )
    wide = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    logits, mean, log_scale = wide.unflatten(-1, (3, -1)).unbind(-2)
    return logits, mean, log_scale.clamp(*LOG_SCALES)
