"""What falls fastest towards the right task: entropy, and the training gradient without a label.

Legend: B examples, S outputs, of which the first L are labels and the other S - L superfluous.

Superfluous outputs are no trick but what makes inference work: cross-entropy pushes their logits
down for the right mask on the right data alone. For such an output j, dG/dz_j = softmax(z)_j, which
is dCE/dz_j whatever the label is (lemma 1). So -dG/dalpha_i says how much moving towards mask i
would lower the loss that mask i was trained with, and needs no label. For a label's own output the
gradient of cross-entropy is softmax(z)_j - [j = label], which does; G stops it there.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]
"""From logits (B, S) to (): `entropy`, `superfluous(labels)`, or your own."""


def entropy(logits: Tensor) -> Tensor:
    """H: mean entropy of the softmax outputs in nats, (B, S) -> (). Section 3.3.

    >>> bool((entropy(torch.zeros(2, 8)) - torch.tensor(8.0).log()).abs() < 1e-6)
    True
    """
    wide = _in_single(logits)
    return -(wide.softmax(-1) * wide.log_softmax(-1)).sum(-1).mean()


def superfluous(labels: int) -> Objective:
    """G: mean logsumexp of the logits, whose gradient stops at the first `labels` outputs.

    Raises ValueError for labels below 1; what it gives raises where no output is superfluous, since
    the gradient would be zero for every mask.

    >>> z = torch.zeros(1, 4, requires_grad=True)
    >>> superfluous(2)(z).backward()
    >>> z.grad
    tensor([[0.0000, 0.0000, 0.2500, 0.2500]])
    """
    if labels < 1:
        raise ValueError(f"labels must be at least 1, got {labels}")

    def objective(logits: Tensor) -> Tensor:
        if logits.shape[-1] <= labels:
            raise ValueError(
                f"G needs superfluous outputs: {logits.shape[-1]} outputs for {labels} labels"
            )
        wide = _in_single(logits)
        stopped = torch.cat([wide[..., :labels].detach(), wide[..., labels:]], -1)
        return stopped.logsumexp(-1).mean()

    return objective


def _in_single(logits: Tensor) -> Tensor:
    """In single precision at least: a task is chosen by the smallest of many close numbers."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
