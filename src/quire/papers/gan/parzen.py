"""The Parzen window log-likelihood of section 5, with its choice of sigma and its error.

N samples, M points to score, D numbers in each. Logarithms are natural, values are in nats.

It is a poor measure (arXiv 1511.01844): the score rises with the number of samples, k-means
centroids and the training images themselves reach that of a good model, and it hangs on sigma.
Compare with such baselines, at the same number of samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quire.nn import devices

SIGMAS = tuple(10 ** (-1 + k / 9) for k in range(10))
"""The authors' grid: ten values from 0.1 to 1, evenly spaced in the logarithm."""
ROOM = 2**24
"""Numbers in a block of distances."""


def parzen_log_likelihood(samples: Tensor, test: Tensor, sigma: float | Tensor) -> Tensor:
    """log of the mean of N(x; s, sigma^2 I) over the samples s, for each x of the test set, (M,).

    Rows of any shape are laid out flat. Squared distances are computed once and serve every sigma,
    in float64: at a sigma of 0.1 float32 loses the digits.

    Args:
        samples: What the generator drew, (N, ...).
        test: What is scored, (M, ...).
        sigma: Width of the windows: one, or several (S,), which give (S, M).

    Raises ValueError for other shapes, no samples, or a sigma that is not positive; where sigma is
    a tensor on an accelerator, that is an error of the device, for which nobody waits.

    >>> one = parzen_log_likelihood(torch.zeros(1, 2), torch.zeros(1, 2), 1.0)
    >>> round(float(one), 4), round(-math.log(2 * math.pi), 4)
    (-1.8379, -1.8379)
    """
    samples, test = check_rows(samples, test)
    widths = torch.as_tensor(sigma, dtype=torch.float64)
    fine, far = (widths > 0).all(), devices.is_accelerator(widths)
    if widths.ndim > 1 or not (far or fine):
        raise ValueError(f"sigma must be positive, a number or (S,), got {sigma}")
    if far:
        torch._assert_async(fine)
    widths = widths.to(samples.device)
    dim = samples.shape[1]
    # Half the inverse variance of each window, and the logarithm of what a window is divided by.
    scale = widths.reshape(-1, 1).square().reciprocal() / 2
    norm = dim * (widths.reshape(-1, 1).log() + math.log(2 * math.pi) / 2) + math.log(len(samples))
    scores = []
    for part in test.split(max(1, ROOM // len(samples))):
        squared = squared_distances(part, samples)
        scores.append(torch.stack([torch.logsumexp(-squared * s, 1) for s in scale.unbind()]))
    found = torch.cat(scores, 1) - norm if scores else scale.new_empty(len(scale), 0)
    return found if widths.ndim else found[0]


@dataclass(frozen=True)
class ParzenScore:
    """What the paper's Table 1 reports, and what it hangs on."""

    mean: float
    """Mean log-likelihood of the test set, nats."""
    error: float
    """Its standard error over the test set: it says nothing of other runs."""
    sigma: float
    """The width with the best mean on the validation set."""
    on_edge: bool
    """Whether that is the smallest or largest one tried: then the grid must be wider."""
    validation: tuple[float, ...]
    """Mean log-likelihood of the validation set at each sigma tried."""


def score_by_parzen(
    samples: Tensor, validation: Tensor, test: Tensor, sigmas: Sequence[float] = SIGMAS
) -> ParzenScore:
    """The paper's protocol: sigma by the validation set, then the mean over the test set.

    Args:
        samples: What the generator drew, (N, ...); the paper takes 10,000.
        validation: (V, ...), no part of the test set.
        test: (M, ...).
        sigmas: Widths to choose from, ascending.

    Raises ValueError for an empty set, or no sigma.
    """
    if not len(sigmas) or not len(validation) or not len(test):
        raise ValueError(
            "the protocol takes at least one sigma, one validation and one test example, "
            f"got {len(sigmas)}, {len(validation)} and {len(test)}"
        )
    on_validation = parzen_log_likelihood(samples, validation, torch.tensor(sigmas)).mean(1)
    best = int(on_validation.argmax())
    scores = parzen_log_likelihood(samples, test, sigmas[best])
    deviation = float(scores.std()) if len(scores) > 1 else 0.0
    return ParzenScore(
        mean=float(scores.mean()),
        error=deviation / math.sqrt(len(scores)),
        sigma=sigmas[best],
        on_edge=best in (0, len(sigmas) - 1),
        validation=tuple(on_validation.tolist()),
    )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2 of all pairs, (M, D) and (N, D) to (M, N), never below 0; one matrix product."""
    # Both moved by the same point, so that the three terms are small and little cancels.
    centre = y.mean(0, keepdim=True)
    x, y = x - centre, y - centre
    squared = torch.addmm(x.square().sum(1, keepdim=True), x, y.T, alpha=-2)
    return squared.add_(y.square().sum(1)).clamp_min_(0)


def check_rows(samples: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (…, D) in float64. Raises ValueError where rows differ or there are no samples."""
    if samples.ndim < 2 or samples.shape[1:] != test.shape[1:] or not len(samples):
        raise ValueError(
            "samples (N, ...) and examples (M, ...) need rows of one shape and N >= 1, "
            f"got {tuple(samples.shape)} and {tuple(test.shape)}"
        )
    return samples.flatten(1).double(), test.flatten(1).double()
