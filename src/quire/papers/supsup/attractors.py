"""HopSupSup: masks of neurons as attractors of a Hopfield network (section 3.5).

Legend: B examples, d neurons of a layer, k stored masks, T steps of recovery.

A mask z = 2 m - 1 in {-1, 1}^d of a layer's neurons is written into one matrix Psi, (d, d), whose
size does not grow with the tasks. It comes back by gradient descent on real m: at first on the
entropy of the net's outputs, which says which task it is, then on the energy of Psi, which pulls m
onto the nearest stored mask.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.supsup.masks import draw_constants, pass_through
from quire.papers.supsup.objectives import entropy

WritingRule = Literal["storkey", "hebb"]


class MaskMemory:
    """Masks of d neurons in one matrix, whose attractors they become.

    hebb: Psi += z z^T / d (the paper's text). storkey: Psi += (z z^T - I - z h^T - h z^T) / d with
    h = Psi z (the published code), which stores more and disturbs what is there less.

    Args:
        neurons: d.
        rule: How a mask is written.

    Raises ValueError for another rule or less than one neuron.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import MaskMemory
        >>> memory = MaskMemory(6)
        >>> memory.write(torch.tensor([1.0, 1, 1, -1, -1, -1]))
        >>> memory.settle(torch.tensor([1.0, 1, -1, -1, -1, -1]))
        tensor([ 1.,  1.,  1., -1., -1., -1.])
    """

    def __init__(self, neurons: int, *, rule: WritingRule = "storkey") -> None:
        if neurons < 1:
            raise ValueError(f"neurons must be at least 1, got {neurons}")
        if rule not in ("storkey", "hebb"):
            raise ValueError(f"rule must be 'storkey' or 'hebb', got {rule!r}")
        self.rule = rule
        self.matrix = torch.zeros(neurons, neurons)

    def write(self, mask: Tensor) -> None:
        """Store z, (d,) of -1 and 1. Raises ValueError for other shapes and numbers."""
        neurons = len(self.matrix)
        if mask.shape != (neurons,) or not (mask.abs() == 1).all():
            raise ValueError(f"a mask must be ({neurons},) of -1 and 1, got {tuple(mask.shape)}")
        z = mask.float()
        psi = self.matrix.to(z.device)
        change = torch.outer(z, z)
        if self.rule == "storkey":
            field = torch.outer(z, psi @ z)
            change = change - torch.eye(neurons, device=z.device) - field - field.T
        self.matrix = psi + change / neurons

    def measure_energy(self, state: Tensor) -> Tensor:
        """E = -1/2 s^T Psi s: (..., d) -> (...,)."""
        return -0.5 * ((state @ self.matrix) * state).sum(-1)

    def settle(self, state: Tensor, *, sweeps: int = 10) -> Tensor:
        """One neuron after the other takes the sign of its field: (d,) -> (d,).

        The energy never rises: a neuron's own weight, which Storkey's rule makes, is left out.
        """
        psi = self.matrix - torch.diag(self.matrix.diagonal())
        state = state.clone()
        for _ in range(sweeps):
            for neuron in range(len(state)):
                field = psi[neuron] @ state
                state[neuron] = torch.where(field == 0, state[neuron], field.sign())
        return state


class NeuronMaskNet(nn.Module):
    """A frozen random net whose neurons are masked: linear, normalised, masked, swish; linear.

    The mask is the gain of a normalisation over the batch without running statistics, as in the
    published code's `BNNet`, so that a batch of one has no spread and is refused.

    Args:
        inputs: Numbers of an example; x may have any shape of that size.
        hidden: Widths of the masked layers.
        outputs: Logits.
        seed: Decides the weights, signed constants.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import NeuronMaskNet
        >>> net = NeuronMaskNet(12, hidden=(16, 16), outputs=4)
        >>> net(torch.randn(5, 12)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self, inputs: int, *, hidden: Sequence[int] = (2048, 2048), outputs: int = 10, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = tuple(hidden)
        self.layers = nn.ParameterList(
            nn.Parameter(draw_constants(torch.Size((b, a)), generator), requires_grad=False)
            for a, b in pairwise((inputs, *hidden, outputs))
        )

    def forward(self, x: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """x (B, ...) -> logits (B, outputs). masks: one (d,) a hidden layer; None keeps all.

        Raises ValueError for less than two examples.
        """
        if len(x) < 2:
            raise ValueError(f"a batch is normalised over its examples: two at least, got {len(x)}")
        h = x.flatten(1)
        for number, weight in enumerate(self.layers[:-1]):
            h = F.linear(h, weight)
            gain = torch.ones_like(weight[:, 0]) if masks is None else masks[number].to(h.dtype)
            h = F.silu(F.batch_norm(h, None, None, gain, None, training=True))
        return F.linear(h, self.layers[-1])


class NeuronMask(nn.Module):
    """The scores of one task's neuron masks: [s >= 0], from 0 on, so that all are kept at first.

    net: the frozen net.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import NeuronMask, NeuronMaskNet
        >>> mask = NeuronMask(NeuronMaskNet(12, hidden=(16, 16), outputs=4))
        >>> mask(torch.randn(5, 12)).shape
        torch.Size([5, 4])
    """

    def __init__(self, net: NeuronMaskNet) -> None:
        super().__init__()
        self.net = net
        weight = net.layers[0]
        self.scores = nn.ParameterList(
            nn.Parameter(weight.new_zeros(width)) for width in net.hidden
        )

    def masks(self) -> list[Tensor]:
        """One (d,) of 0 and 1 a layer, whose gradient goes to the scores."""
        return [pass_through(s, (s >= 0).to(s.dtype)) for s in self.scores]

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) -> logits (B, outputs)."""
        return self.net(x, self.masks())


class Recovered(NamedTuple):
    """What `recover` gives."""

    masks: list[Tensor]
    """One (d,) of -1 and 1 a layer."""
    path: list[Tensor]
    """After each step, before which the first row stands: (T + 1, d) a layer."""


def recover(
    net: NeuronMaskNet,
    memories: Sequence[MaskMemory],
    batches: Iterable[Tensor],
    start: Sequence[Tensor],
    *,
    steps: int,
    learning_rate: float = 500.0,
    strength: float = 1.5e-3,
    objective: Callable[[Tensor], Tensor] = entropy,
) -> Recovered:
    """Find the stored mask of unlabelled data: from the outputs' entropy over to the energy.

    The loss of step t is (1 - t / T) H(x_t) + strength (t / T) E, by SGD with momentum 0.9 and
    weight decay 1e-4 on real m, of which the net and the energy see the sign (straight-through).

    Args:
        net: The frozen net.
        memories: One a hidden layer.
        batches: Unlabelled x (B, ...), one a step.
        start: Where m begins, (d,) a layer: the mean of the stored masks.
        steps: T, steps at most; fewer where there are fewer batches.
        learning_rate: SGD's.
        strength: gamma, the weight of the energy.
        objective: H, of the logits.
    """
    real = [nn.Parameter(row.clone().float()) for row in start]
    optimizer = torch.optim.SGD(real, lr=learning_rate, momentum=0.9, weight_decay=1e-4)

    def see() -> list[Tensor]:
        return [2 * pass_through(m, (m >= 0).to(m.dtype)) - 1 for m in real]

    seen = [[z.detach()] for z in see()]
    for step, x in zip(range(1, steps + 1), batches, strict=False):
        share = step / steps
        with torch.enable_grad():
            signs = see()
            energies = [m.measure_energy(z) for m, z in zip(memories, signs, strict=True)]
            logits = net(x, [(z + 1) / 2 for z in signs])
            loss = (1 - share) * objective(logits) + strength * share * torch.stack(energies).sum()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        for path, z in zip(seen, see(), strict=True):
            path.append(z.detach())
    return Recovered([path[-1] for path in seen], [torch.stack(path) for path in seen])
