"""Which prediction is which object: the assignment of least total cost (section 2.3).

B batch, K predictions, O objects.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from quire.nn import devices

LARGEST = 12
"""Most predictions of `match_by_subsets` in `match`: an example has 2**K K numbers there."""


def match(costs: Tensor) -> Tensor:
    """The assignment of least total cost (B, K, O): for each object its prediction, (B, O).

    On a CPU by scipy's `linear_sum_assignment`; on an accelerator by `match_by_subsets`, for which
    nobody waits. There, above 12 predictions, costs go to the CPU in one transfer. Raises
    ValueError for more objects than predictions, and, where scipy is asked, for costs that are not
    finite.
    """
    if costs.ndim != 3 or costs.shape[1] < costs.shape[2]:
        raise ValueError(f"costs must be (B, K, O) with K at least O, got {tuple(costs.shape)}")
    if devices.is_accelerator(costs) and costs.shape[1] <= LARGEST:
        return match_by_subsets(costs)
    table = costs.detach().float().cpu().numpy()
    if not np.isfinite(table).all():
        raise ValueError("costs must be finite, some are not")
    chosen = np.zeros((table.shape[0], table.shape[2]), dtype=np.int64)
    for row, matrix in enumerate(table):
        prediction, target = linear_sum_assignment(matrix)
        chosen[row, target] = prediction
    return torch.from_numpy(chosen).to(costs.device)


def match_by_subsets(costs: Tensor) -> Tensor:
    """What `match` gives, exact for any costs, by dynamic programming over sets of predictions.

    What the first j objects cost at least is kept for every set of j predictions; the next object
    takes one of a larger set. That is O steps over 2**K K numbers an example, whose shapes follow
    from K and O alone, and no value is read. Costs that are not finite give some assignment.

    >>> match_by_subsets(torch.tensor([[[1.0, 0.0], [2.0, 5.0], [3.0, 3.0]]])).tolist()
    [[1, 0]]
    """
    batch, slots, objects = costs.shape
    if objects == 0:
        return costs.new_zeros(batch, 0, dtype=torch.int64)
    costs = costs.detach().float()
    sets = torch.arange(2**slots, device=costs.device)
    bits = 2 ** torch.arange(slots, device=costs.device)
    holds = (sets[:, None] & bits) > 0  # (2**K, K): whether prediction k is in the set
    without = sets[:, None] & ~bits  # (2**K, K): the set without it
    least = torch.where(sets == 0, 0.0, torch.inf).expand(batch, -1)
    last = []
    for index in range(objects):
        total = least[:, without] + costs[:, None, :, index]
        least, prediction = torch.where(holds, total, torch.inf).min(2)
        last.append(prediction)
    current, chosen = least.argmin(1), []
    for prediction in reversed(last):
        chosen.append(prediction.gather(1, current[:, None])[:, 0])
        current = without[current, chosen[-1]]
    return torch.stack(chosen[::-1], 1)
