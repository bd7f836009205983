"""The verdict between two numbers: masses, calibration, ensembles, abstention, a jury.

Shapes: M members, C classes, n cells of calibration, K options. A witness is a panel of nets; its
answer is turned into the mass that it gives to each of two numbers and to anything else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHOICES = (4, 5)
"""What 2 + 2 is said to be."""
LEAST = 1e-6
"""The smallest standard deviation: one that is 0 would leave no density to compare."""


@dataclass(frozen=True)
class Mass:
    """Probability of each of two numbers, and of neither, all of one shape."""

    first: Tensor
    second: Tensor
    outside: Tensor

    @property
    def share(self) -> Tensor:
        """first / (first + second): a forced choice, so read it beside `outside`."""
        # Where both are 0 nothing speaks for either.
        total = self.first + self.second
        return torch.where(total > 0, self.first / total.clamp(min=1e-300), 0.5)


def weigh_classes(
    logits: Tensor, *, temperature: Tensor | float = 1.0, choices: tuple[int, int] = CHOICES
) -> Mass:
    """Mass of a classifier, after a temperature; logits (..., C) to masses (...).

    Example:
        >>> weigh_classes(torch.zeros(3, 10)).outside
        tensor([0.8000, 0.8000, 0.8000], dtype=torch.float64)
    """
    p = (logits.double() / temperature).softmax(-1)
    first, second = p[..., choices[0]], p[..., choices[1]]
    return Mass(first, second, (1 - first - second).clamp(min=0))


def weigh_numbers(
    mean: Tensor, deviation: Tensor | float, *, choices: tuple[int, int] = CHOICES
) -> Mass:
    """Mass of a regressor whose answer is normal: within half a unit of each number.

    mean (...), deviation (...) or one number, to masses (...).

    Example:
        >>> weigh_numbers(torch.tensor(4.5), 0.3).share.item()
        0.5
    """
    mean = mean.double()
    scale = torch.as_tensor(deviation, dtype=torch.float64, device=mean.device).clamp(min=LEAST)
    first, second = (_interval((c - mean) / scale, 0.5 / scale) for c in choices)
    return Mass(first, second, (1 - first - second).clamp(min=0))


def _interval(middle: Tensor, half: Tensor) -> Tensor:
    """Mass of a standard normal within `half` of `middle`."""
    # On the lower side, and from the logarithm, which keeps the tail's digits.
    high, low = (torch.special.log_ndtr(end - middle.abs()).exp() for end in (half, -half))
    return high - low


def mix(mean: Tensor, deviation: Tensor | float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of an even mixture of normals, over the first dimension.

    mu = mean of mu_i; sigma ** 2 = mean of (sigma_i ** 2 + mu_i ** 2) - mu ** 2.

    Example:
        >>> mix(torch.tensor([3.0, 5.0]), 0.0)[1].item()
        1.0
    """
    mean = mean.double()
    scale = torch.as_tensor(deviation, dtype=torch.float64, device=mean.device).expand(mean.shape)
    middle = mean.mean(0)
    # The same sum about mu, where nothing cancels.
    return middle, (scale.square() + (mean - middle).square()).mean(0).sqrt()


def pool(mass: Mass) -> Mass:
    """The mean of a panel's masses over the first dimension: the ensemble's own.

    Example:
        >>> pool(weigh_classes(torch.zeros(3, 10))).outside
        tensor(0.8000, dtype=torch.float64)
    """
    return Mass(mass.first.mean(0), mass.second.mean(0), mass.outside.mean(0))


@dataclass(frozen=True)
class Verdict:
    """What each voter says, all of one shape."""

    says: Tensor
    """The number that is chosen, 0 where the voter abstains."""
    share: Tensor
    """Probability of the first number against the second, as if there were no other."""
    outside: Tensor
    """Probability of neither."""


def verdict(
    mass: Mass,
    *,
    choices: tuple[int, int] = CHOICES,
    unsure: tuple[float, float] = (0.4, 0.6),
    most_outside: float = 0.5,
) -> Verdict:
    """Choose between two numbers, or abstain.

    Args:
        mass: What `weigh_classes`, `weigh_numbers` or `pool` gives.
        choices: The two numbers, neither of them 0.
        unsure: A share strictly between these is an abstention.
        most_outside: More mass on neither is an abstention: "neither".

    Raises ValueError for choices that are equal or 0, or for bounds that are no range.

    Example:
        >>> verdict(weigh_numbers(torch.tensor([4.03, 4.5, 2.0, 5.2]), 0.1)).says
        tensor([4, 0, 0, 5])
    """
    if choices[0] == choices[1] or 0 in choices:
        raise ValueError(f"choices must be two numbers other than 0, got {choices}")
    if not 0 <= unsure[0] <= unsure[1] <= 1:
        raise ValueError(f"unsure must be two ascending shares, got {unsure}")
    share = mass.share
    abstains = ((share > unsure[0]) & (share < unsure[1])) | (mass.outside > most_outside)
    says = torch.where(share >= 0.5, choices[0], choices[1])
    return Verdict(torch.where(abstains, 0, says), share, mass.outside)


@dataclass(frozen=True)
class Poll:
    """How a jury voted, and whom its majority is for."""

    says: int
    """The majority's number; 0 where abstentions or a tie have it."""
    votes: dict[int, int]
    """Votes by number, abstentions under 0."""


def poll(verdicts: Sequence[Verdict], *, choices: tuple[int, int] = CHOICES) -> Poll:
    """The majority over all voters of all verdicts: a number needs more votes than all else.

    Example:
        >>> poll([verdict(weigh_numbers(torch.tensor([4.0, 4.1, 2.0]), 0.1))])
        Poll(says=4, votes={0: 1, 4: 2, 5: 0})
    """
    votes = dict.fromkeys((0, *choices), 0)
    for found in torch.cat([v.says.flatten() for v in verdicts]).tolist() if verdicts else []:
        votes[found] += 1
    ahead = [number for number in choices if 2 * votes[number] > sum(votes.values())]
    return Poll(ahead[0] if ahead else 0, votes)


# Calibration, on cells that were held out but for the question


def fit_temperature(logits: Tensor, label: Tensor, *, halvings: int = 40) -> Tensor:
    """The temperature of least cross-entropy on cells that were not shown, ().

    The loss is convex in 1 / T, which is bisected between 1e-3 and 1e3 on its logarithm.

    Args:
        logits: (n, C).
        label: (n,).
        halvings: Of the range.

    Raises ValueError without cells.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
        >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])).item(), 4)  # 2 / log(3)
        1.8205
    """
    if not len(logits):
        raise ValueError("a temperature needs at least one cell")
    logits = logits.double()
    right = logits.gather(-1, label[:, None])[:, 0]
    low = logits.new_tensor(1e-3).log()
    high = -low
    for _ in range(halvings):
        middle = (low + high) / 2
        p = (middle.exp() * logits).softmax(-1)
        rises = ((p * logits).sum(-1) - right).mean() > 0
        low, high = torch.where(rises, low, middle), torch.where(rises, middle, high)
    return (-(low + high) / 2).exp()


def calibration_error(confidence: Tensor, right: Tensor, *, bins: int = 10) -> Tensor:
    """Expected calibration error over even bins of confidence, ().

    Args:
        confidence: (N,) in [0, 1].
        right: Whether each answer was right, (N,).
        bins: How many.

    Example:
        >>> calibration_error(torch.tensor([0.9, 0.9]), torch.tensor([True, False]))
        tensor(0.4000, dtype=torch.float64)
    """
    confidence, right = confidence.double(), right.double()
    place = (confidence * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=place.device)
    gap = gap.index_add(0, place, right - confidence)
    return gap.abs().sum() / max(1, len(confidence))


def conformal_set(scores: Tensor, options: Tensor, *, level: float = 0.9) -> Tensor:
    """The options that a split conformal set of coverage `level` contains, bool (..., K).

    Args:
        scores: How strange the true answer was at each cell of calibration, (n,).
        options: How strange each option is, (..., K).
        level: The set contains the truth this often, where cells are exchangeable.

    With too few cells for the level every option is in the set.

    Example:
        >>> conformal_set(torch.arange(10.0), torch.tensor([3.0, 20.0]), level=0.8)
        tensor([ True, False])
    """
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    if rank > len(scores):
        return torch.ones_like(options, dtype=torch.bool)
    return options <= scores.sort().values[rank - 1]
