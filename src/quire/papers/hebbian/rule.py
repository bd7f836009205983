"""The rule: how a synapse changes with the activities at its two ends (section 3).

    dw_ij = eta_ij (A_ij o_i o_j + B_ij o_i + C_ij o_j + D_ij)

from neuron i before the synapse to neuron j after it. All five numbers are a synapse's own, and
neither reward nor error is in it.

I neurons before, J after, K coefficients of a synapse. Leading dimensions broadcast: a rule
(K, J, I) may govern many lives (B, J, I), and rules (P, 1, K, J, I) a population's (P, E, J, I).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Folded(NamedTuple):
    """A rule's coefficients with eta multiplied in, each (..., J, I), or None where there is none.

    dw = o_j (both o_i + post) + (pre o_i + alone): four multiplications and additions a synapse,
    where the equation has six.
    """

    both: Tensor | None
    pre: Tensor | None
    post: Tensor | None
    alone: Tensor | None


@dataclass(frozen=True)
class Form:
    """Which terms a rule has: the paper's (ABCD with eta), by default.

    The planes of its coefficients stand in the order A, B, C, D, eta, D outside the bracket; those
    that a form lacks are left out.

    Raises ValueError for terms other than some of A, B, C, D in this order, and for a place of D
    where there is no eta to be outside of.
    """

    terms: str = "ABCD"
    """Such as "A", "AD", "ABC"; "D" alone is a fixed slope, blind to activity; "" changes
    nothing."""
    rate: bool = True
    """Whether a synapse has its own eta, which may be negative."""
    constant: str = "inside"
    """Where D stands: inside the bracket that eta multiplies, outside, or both (two numbers)."""
    normalize: bool = True
    """Whether a layer is divided by its largest absolute weight after each update."""

    def __post_init__(self) -> None:
        if self.terms != "".join(term for term in "ABCD" if term in self.terms):
            raise ValueError(f"terms are some of ABCD in this order, got {self.terms!r}")
        if self.constant not in ("inside", "outside", "both"):
            raise ValueError(f"constant is inside, outside or both, got {self.constant!r}")
        if self.constant != "inside" and not (self.rate and "D" in self.terms):
            raise ValueError(f"D can be {self.constant} only where there are D and eta")

    @property
    def count(self) -> int:
        """K. A form without terms has no coefficients."""
        if not self.terms:
            return 0
        return len(self.terms) + self.rate + (self.constant == "both")

    def fold(self, coefficients: Tensor) -> Folded:
        """Coefficients (..., K, J, I) as they are applied: once a life, not once a step.

        Raises ValueError for another number of planes.
        """
        if coefficients.shape[-3] != self.count:
            raise ValueError(f"{self.name} has {self.count} coefficients a synapse, got "
                             f"{coefficients.shape[-3]}")  # fmt: skip
        planes = list(coefficients.unbind(-3))
        has = dict(zip(self.terms, planes, strict=False))
        eta = planes[len(self.terms)] if self.rate and self.terms else None
        outside = None
        if self.constant == "outside":
            outside = has.pop("D")
        elif self.constant == "both":
            outside = planes[-1]
        if eta is not None:
            has = {term: eta * plane for term, plane in has.items()}
        alone = has.get("D")
        if outside is not None:
            alone = outside if alone is None else alone + outside
        return Folded(has.get("A"), has.get("B"), has.get("C"), alone)

    def apply(self, folded: Folded, pre: Tensor, post: Tensor, weights: Tensor) -> Tensor:
        """Weights (..., J, I) after activities (..., I) and (..., J)."""
        if not self.terms:
            return weights
        grown = change(folded, pre, post, weights)
        if not self.normalize:
            return grown
        if torch.is_grad_enabled():
            return grown / find_scale(grown)
        return grown.div_(find_scale(grown))

    @property
    def name(self) -> str:
        """For messages, such as ABCD+eta."""
        return (self.terms or "nothing") + ("+eta" if self.rate and self.terms else "")


PAPER = Form()
"""ABCD with eta, D inside, weights normalised."""
FROZEN = Form(terms="")
"""No plasticity: weights stay what they were at birth."""


def change(folded: Folded, pre: Tensor, post: Tensor, weights: Tensor) -> Tensor:
    """Weights (..., J, I) plus what the rule adds, not normalised."""
    before, after = pre[..., None, :], post[..., :, None]
    grown = weights if folded.alone is None else weights + folded.alone
    if folded.pre is not None:
        grown = _add_product(grown, folded.pre, before, own=grown is not weights)
    if folded.both is not None:
        if folded.post is None:
            slope = folded.both * before
        else:
            slope = _add_product(folded.post, folded.both, before)
        return _add_product(grown, after, slope, own=grown is not weights)
    if folded.post is not None:
        return _add_product(grown, after, folded.post, own=grown is not weights)
    return grown


def _add_product(x: Tensor, a: Tensor, b: Tensor, *, own: bool = False) -> Tensor:
    """x + a b; where x is nobody else's and no gradient is asked for, in its own memory."""
    if own and not torch.is_grad_enabled():
        return x.addcmul_(a, b)
    return torch.addcmul(x, a, b)


def normalize(weights: Tensor) -> Tensor:
    """Weights (..., J, I), each layer divided by its largest absolute value; zeros stay zeros."""
    return weights / find_scale(weights)


def find_scale(weights: Tensor) -> Tensor:
    """The largest absolute weight of each layer, (..., 1, 1), or 1 where all are zero."""
    ends = weights.amax((-2, -1), keepdim=True), -weights.amin((-2, -1), keepdim=True)
    largest = torch.maximum(*ends)
    return torch.where(largest > 0, largest, 1)


class HebbianRule(nn.Module):
    """A plastic layer's rule: (pre, post, weights) -> weights.

    Its coefficients (K, J, I) are drawn from the standard normal distribution, as at generation 0.
    Evolution searches them; as everything is differentiable, a gradient can as well.

    Args:
        inputs: I.
        outputs: J.
        form: Which terms there are.
        shared: Whether all synapses of the layer have one rule, (K, 1, 1).

    Raises ValueError for a layer without neurons, and for activities or weights of another shape.

    Example:
        >>> rule = HebbianRule(4, 3)
        >>> rule(torch.randn(5, 4), torch.randn(5, 3), torch.zeros(5, 3, 4)).shape
        torch.Size([5, 3, 4])
    """

    def __init__(
        self, inputs: int, outputs: int, *, form: Form = PAPER, shared: bool = False
    ) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise ValueError(f"a layer has neurons on both sides, got {inputs} and {outputs}")
        self.inputs, self.outputs, self.form = inputs, outputs, form
        synapses = (1, 1) if shared else (outputs, inputs)
        self.coefficients = nn.Parameter(torch.randn(form.count, *synapses))

    def forward(self, pre: Tensor, post: Tensor, weights: Tensor) -> Tensor:
        """Activities (..., I) and (..., J), weights (..., J, I) -> weights."""
        wanted = (self.inputs,), (self.outputs,), (self.outputs, self.inputs)
        given = pre.shape[-1:], post.shape[-1:], weights.shape[-2:]
        if given != wanted:
            raise ValueError(f"activities and weights must end in {wanted}, got "
                             f"{tuple(map(tuple, given))}")  # fmt: skip
        return self.form.apply(self.form.fold(self.coefficients), pre, post, weights)

    def extra_repr(self) -> str:
        """Sizes and form."""
        return f"{self.inputs}, {self.outputs}, {self.form.name}"


def read_authors(table: Tensor, inputs: int, outputs: int) -> Tensor:
    """Coefficients (5, J, I) of a layer from rows (I * J, 5) of the authors' files.

    A row is a synapse, all of one neuron before it together, and its columns are A, B, C, eta, D.
    Their files hold one layer after the other. Raises ValueError for another shape.
    """
    if table.shape != (inputs * outputs, 5):
        raise ValueError(f"{inputs} x {outputs} synapses are rows ({inputs * outputs}, 5), got "
                         f"{tuple(table.shape)}")  # fmt: skip
    planes = table.reshape(inputs, outputs, 5).permute(2, 1, 0)
    return planes[[0, 1, 2, 4, 3]].contiguous()
