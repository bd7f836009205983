"""A dense net whose gradients are written down: five rules in closed form, without autograd.

R rows, D_0 inputs, D_i hidden units, D_L outputs; h_0 = x, a_i = h_(i-1) W_i^T + b_i,
h_i = f(a_i), and the error e = dL/da_L. A rule gives d_i = dL/da_i, or what stands for it, to
every hidden layer; the last one always has d_L = e. Then dW_i = d_i^T h_(i-1).

It is the oracle of `DirectFeedback`, and where nets are small or deep it is also faster: direct
feedback to all layers is one product, and so are the gradients between layers of one width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.dfa.feedback import Draw, Feedback, IndependentFeedback, uniform


@dataclass(frozen=True)
class Activation:
    """A non-linearity f and its slope f'(a), as a function of h = f(a)."""

    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


TANH = Activation(torch.tanh, lambda h: 1 - h.square())
RELU = Activation(torch.relu, lambda h: (h > 0).to(h.dtype))
SIGMOID = Activation(torch.sigmoid, lambda h: h * (1 - h))
LINEAR = Activation(lambda a: a, torch.ones_like)

Rule = Callable[["Perceptron", Tensor, Sequence[Tensor]], "Sequence[Tensor | None]"]
"""(net, e (R, D_L), hidden h_1 ... h_(L-1)) -> d_i (R, D_i) of each, None where it is not trained.
"""
ErrorOf = Callable[[Tensor], Tensor]
"""From logits (R, D_L) to the error dL/da_L (R, D_L)."""


def lecun(weight: Tensor) -> None:
    """Normal entries of variance 1 / inputs."""
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


class Perceptron(nn.Module):
    """Dense layers with one activation between them.

    Args:
        widths: D_0, ..., D_L; at least one hidden layer.
        activation: f; `TANH`, `RELU`, `SIGMOID`, `LINEAR`.
        initialize: Fills a weight in place: `lecun`, `nn.init.orthogonal_`, `nn.init.zeros_` (from
            which feedback starts and back-propagation does not). Biases begin at zero.
        bias: Whether layers have one.

    Raises ValueError for less than three widths or one below 1.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import Perceptron
        >>> Perceptron([8, 16, 16, 4])(torch.randn(5, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: Activation = TANH,
        initialize: Callable[[Tensor], object] = lecun,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(f"widths need inputs, hidden layers and outputs, got {list(widths)}")
        self.widths = tuple(widths)
        self.activation = activation
        self.layers = nn.ModuleList(
            nn.Linear(wide, narrow, bias=bias) for wide, narrow in pairwise(widths)
        )
        for weight, layer_bias in self.pairs():
            initialize(weight)
            if layer_bias is not None:
                nn.init.zeros_(layer_bias)

    def pairs(self) -> list[tuple[Tensor, Tensor | None]]:
        """Weight (D_i, D_(i-1)) and bias (D_i,) or None of every layer."""
        return [(layer.weight, layer.bias) for layer in self.layers]  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        """x (R, D_0) -> logits (R, D_L), with autograd's graph."""
        return self.pass_through(x)[-1]

    def pass_through(self, x: Tensor) -> list[Tensor]:
        """x (R, D_0) -> h_1, ..., h_(L-1) and the logits a_L."""
        kept = []
        for weight, bias in self.pairs()[:-1]:
            x = self.activation.apply(F.linear(x, weight, bias))
            kept.append(x)
        weight, bias = self.pairs()[-1]
        return [*kept, F.linear(x, weight, bias)]

    @torch.no_grad()
    def write_gradients(self, x: Tensor, error_of: ErrorOf, rule: Rule) -> Tensor:
        """Set `.grad` of all parameters by a rule; gives the logits (R, D_L).

        A layer that the rule does not train gets None. What stood in `.grad` is replaced.

        Args:
            x: Inputs (R, D_0).
            error_of: Gives e from the logits; `cross_entropy_error` makes one.
            rule: `backpropagate`, `freeze`, or one of the rules with feedback.
        """
        *hidden, logits = self.pass_through(x)
        error = error_of(logits)
        signals = [*rule(self, error, hidden), error]
        products = self._multiply(signals, [x, *hidden])
        for (weight, bias), product, signal in zip(self.pairs(), products, signals, strict=True):
            weight.grad = product
            if bias is not None:
                bias.grad = None if signal is None else signal.sum(0)
        return logits

    def _multiply(
        self, signals: Sequence[Tensor | None], before: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """d_i^T h_(i-1) of every layer; those between hidden layers of one width all at once."""
        inner = [signal for signal in signals[1:-1] if signal is not None]
        together = len(set(self.widths[1:-1])) == 1 and 1 < len(inner) == len(signals) - 2
        if not together:
            return [
                None if signal is None else signal.T @ h
                for signal, h in zip(signals, before, strict=True)
            ]
        first, last = signals[0], signals[-1]
        assert first is not None
        assert last is not None
        # Nothing is waited for between layers, so a batch of products does for all of them.
        middle = torch.bmm(torch.stack(inner).transpose(1, 2), torch.stack(list(before[1:-1])))
        return [first.T @ before[0], *middle.unbind(0), last.T @ before[-1]]


def cross_entropy_error(label: Tensor) -> ErrorOf:
    """The error of the mean cross-entropy over rows, (softmax(a) - onehot) / R. label: (R,)."""

    def error_of(logits: Tensor) -> Tensor:
        error = logits.softmax(1)
        error[torch.arange(len(label), device=label.device), label] -= 1
        return error / len(label)

    return error_of


# Rules


def backpropagate(net: Perceptron, error: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
    """d_i = (W_(i+1)^T d_(i+1)) * f'(a_i): the gradient itself."""
    return _chain(net, error, hidden, [weight for weight, _ in net.pairs()[1:]])


def freeze(net: Perceptron, error: Tensor, hidden: Sequence[Tensor]) -> list[None]:
    """Nothing for hidden layers: the shallow baseline."""
    return [None] * len(hidden)


class FixedChain:
    """Feedback alignment (Lillicrap et al. 2016): d_i = (B_(i+1)^T d_(i+1)) * f'(a_i).

    Back-propagation with fixed random matrices of the weights' shapes, divided by the square root
    of their rows.

    net: whose shapes, device and dtype they get. draw: makes the entries. seed: what they follow
    from.
    """

    def __init__(self, net: Perceptron, *, draw: Draw = uniform, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.matrices = [
            draw(weight.shape[0], weight.shape[1], generator).to(weight) / weight.shape[0] ** 0.5
            for weight, _ in net.pairs()[1:]
        ]

    def __call__(self, net: Perceptron, error: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
        """The signals, from the last hidden layer down."""
        return _chain(net, error, hidden, self.matrices)


class DirectSignals:
    """Direct feedback alignment (Nøkland 2016): d_i = (B_i e) * f'(a_i).

    net: whose widths, device and dtype the feedback gets. feedback: its kind, by default a matrix
    for each layer. seed: what it follows from.
    """

    def __init__(self, net: Perceptron, *, feedback: Feedback | None = None, seed: int = 0) -> None:
        self.feedback = IndependentFeedback() if feedback is None else feedback
        weight = net.pairs()[0][0]
        self.feedback.fit(net.widths[1:-1], net.widths[-1], seed=seed, like=weight.detach())

    def __call__(self, net: Perceptron, error: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
        """The signals, none of which waits for another."""
        sent = self.feedback(error)
        return [s * net.activation.slope(h) for s, h in zip(sent, hidden, strict=True)]


class IndirectSignals:
    """Indirect feedback alignment (Nøkland 2016): the first hidden layer gets B_1 e, and a later
    one what the layer before it got, through the forward weights: d_i = (W_i d_(i-1)) * f'(a_i).

    net: whose widths, device and dtype the feedback gets. draw: makes the entries, divided by the
    square root of the outputs' number. seed: what they follow from.
    """

    def __init__(self, net: Perceptron, *, draw: Draw = uniform, seed: int = 0) -> None:
        self.feedback = IndependentFeedback(draw)
        weight = net.pairs()[0][0]
        self.feedback.fit(net.widths[1:2], net.widths[-1], seed=seed, like=weight.detach())

    def __call__(self, net: Perceptron, error: Tensor, hidden: Sequence[Tensor]) -> list[Tensor]:
        """The signals, from the first hidden layer up."""
        (signal,) = self.feedback(error)
        signals = [signal * net.activation.slope(hidden[0])]
        for (weight, _), h in zip(net.pairs()[1:-1], hidden[1:], strict=True):
            signals.append((signals[-1] @ weight.T) * net.activation.slope(h))
        return signals


def _chain(
    net: Perceptron, error: Tensor, hidden: Sequence[Tensor], backward: Sequence[Tensor]
) -> list[Tensor]:
    """Signals from layer to layer. backward: (D_(i+1), D_i) behind every hidden layer."""
    signals, signal = [], error
    for matrix, h in zip(reversed(backward), reversed(hidden), strict=True):
        signal = (signal @ matrix) * net.activation.slope(h)
        signals.append(signal)
    return signals[::-1]
