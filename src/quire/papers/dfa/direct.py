"""Direct feedback alignment around any module: forward as it is, backward without the chain.

R rows (examples, tokens, nodes), O numbers of a row's error, D those of a hidden output.

For layers a_i = W_i h_(i-1) + b_i, h_i = f(a_i) and the error e = dL/da_L of the output, back-
propagation has d_i = (W_(i+1)^T d_(i+1)) * f'(a_i). Direct feedback has d_i = (B_i e) * f'(a_i)
with a fixed random B_i (Nøkland 2016, eq. 6), so that no layer waits for another one.

The graph is cut behind every marked module. What such a module gave is a leaf to what follows, and
one node at the output hands its error, projected, to all of them: between two marks autograd works
as ever, and from mark to mark nothing flows. Gradients to the inputs of a cut are never computed.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from quire.papers.dfa.feedback import Feedback, SharedFeedback

Rule = Literal["direct", "backward", "shallow"]
"""What trains the hidden layers: fixed feedback, back-propagation, or nothing."""


class Tap(NamedTuple):
    """A hidden output that is to get a signal.

    Args:
        layer: Its number in `DirectFeedback.layers`.
        hidden: What the module gave, with the graph of its own segment.
    """

    layer: int
    hidden: Tensor


class Place(NamedTuple):
    """Where a signal goes: the layer's number, and shape and dtype of what it gave."""

    layer: int
    shape: torch.Size
    dtype: torch.dtype


class Recording:
    """What `DirectFeedback.recorded` sees of a forward pass.

    output: where the error is taken, None before the pass. taps: hidden outputs in order.
    """

    def __init__(self) -> None:
        self.output: Tensor | None = None
        self.taps: list[Tap] = []


class DirectFeedback(nn.Module):
    """A model whose hidden layers learn from a fixed random projection of the output's error.

    Called like the model, with the same result. A backward pass from any loss then gives every
    parameter its gradient: those of the part behind the last mark the true one, those of a marked
    segment the one that follows from its signal. Several passes before a backward one, autocast,
    accumulated gradients, DDP (B follows from the seed) and torch.compile work as ever; call
    `prepare` before compiling with `fullgraph=True`. There is no second derivative.

    A residual stream that goes around a mark leaks the true gradient: mark the sum, not the branch.

    Args:
        model: Any module; it is not changed, and called by itself it is as before.
        layers: Modules whose output is a feedback point, as names or themselves: activations,
            blocks, embeddings; each gives one tensor.
        seed: What the feedback follows from, whatever the global generators.
        feedback: The kind of feedback; by default one uniform matrix that all layers share.
        source: The module at whose output the error is taken, behind all layers (the last of them
            at most); by default the model. What follows it is trained by back-propagation.
        cuts: Modules whose output is cut off and gets no signal at all.
        batch_dims: Leading dimensions that count rows; by default all but the source's last one.
            The others of a hidden output are flattened: (B, C, H, W) is B rows.
        repeat_dims: Further leading dimensions of hidden outputs: a row's signal is sent to each of
            them, divided by the square root of their number (a loss per text, marks per token).
        rule: Which rule trains the hidden layers; `direct`, `backward` (the plain model) or
            `shallow` (hidden layers stay as they are). May be set later.

    Raises ValueError for unknown, repeated or no layers, and in a forward pass where the source
    gives no tensor, shapes do not fit, or a layer runs behind the source.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.dfa import DirectFeedback
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        >>> model = DirectFeedback(net, layers=["1"], seed=0)
        >>> model(torch.randn(5, 8)).square().sum().backward()
        >>> net[0].weight.grad.shape
        torch.Size([16, 8])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        *,
        seed: int = 0,
        feedback: Feedback | None = None,
        source: str | nn.Module | None = None,
        cuts: Sequence[str | nn.Module] = (),
        batch_dims: int | None = None,
        repeat_dims: int = 0,
        rule: Rule = "direct",
    ) -> None:
        super().__init__()
        self.layers = tuple(_name_of(model, layer) for layer in layers)
        self.cuts = tuple(_name_of(model, cut) for cut in cuts)
        marked = (*self.layers, *self.cuts)
        if not self.layers or len(set(marked)) < len(marked):
            raise ValueError(f"mark at least one layer, each once, got {list(marked)}")
        if (batch_dims is not None and batch_dims < 1) or repeat_dims < 0:
            raise ValueError(
                f"batch_dims must be at least 1 and repeat_dims at least 0, got {batch_dims} and "
                f"{repeat_dims}"
            )
        self.model = model
        self.seed = seed
        self.feedback = SharedFeedback() if feedback is None else feedback
        self.source = None if source is None else _name_of(model, source)
        self.batch_dims, self.repeat_dims = batch_dims, repeat_dims
        self.set_rule(rule)
        self._taps: list[Tap] | None = None  # a list while a cut pass runs
        self._recording: Recording | None = None
        for number, name in enumerate(self.layers):
            model.get_submodule(name).register_forward_hook(partial(self._mark, number))
        for name in self.cuts:
            model.get_submodule(name).register_forward_hook(self._cut)
        if self.source is not None:
            model.get_submodule(self.source).register_forward_hook(self._end)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives."""
        if self._recording is not None:
            if self._recording.output is not None:
                raise ValueError("the model was called twice: a recorded pass is one call")
            out = self.model(*args, **kwargs)
            if self.source is None:
                self._recording.output = _tensor(out, "the model")
            return out
        if self.rule == "backward" or not torch.is_grad_enabled():
            return self.model(*args, **kwargs)
        self._taps = []
        try:
            out = self.model(*args, **kwargs)
            if self.source is None:
                out = self._end(self.model, args, out)
            if self._taps:
                name = self.layers[self._taps[0].layer]
                raise ValueError(f"the layer '{name}' runs behind the source '{self.source}'")
        finally:
            self._taps = None
        return out

    # Rules

    def set_rule(self, rule: Rule) -> "DirectFeedback":
        """Train by `direct`, `backward` or `shallow` from now on; gives the model itself."""
        if rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}")
        self.rule: Rule = rule
        return self

    def passthrough(self) -> "DirectFeedback":
        """Train by back-propagation, as if nothing were marked; gives the model itself."""
        return self.set_rule("backward")

    def shallow(self) -> "DirectFeedback":
        """Train what is behind the last mark alone, the baseline; gives the model itself."""
        return self.set_rule("shallow")

    def prepare(self, *args: Any, **kwargs: Any) -> "DirectFeedback":
        """Draw the feedback from the sizes of one evaluation pass; gives the model itself.

        Otherwise the first training pass does. Modes and generators stay as they are.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad(), self.recorded() as seen:
                self(*args, **kwargs)
            assert seen.output is not None
            self.fit(seen.output, seen.taps)
        finally:
            for module, mode in modes:
                module.training = mode
        return self

    # Signals

    @contextmanager
    def recorded(self) -> Iterator[Recording]:
        """Passes inside are plain ones, whose output and hidden outputs are seen."""
        self._recording = Recording()
        try:
            yield self._recording
        finally:
            self._recording = None

    def project(self, error: Tensor, places: Sequence[Place]) -> list[Tensor]:
        """What the places get from the error of the source's output, each in its own shape."""
        rows = self.rows_of(error)
        found = self.feedback(error.reshape(error.shape[:rows].numel(), self.feedback.error_width))
        signals = []
        for layer, shape, dtype in places:
            signal = found[layer]
            if self.repeat_dims:
                repeats = shape[rows : rows + self.repeat_dims].numel()
                signal = signal[:, None].expand(-1, repeats, -1) / repeats**0.5
            signals.append(signal.reshape(shape).to(dtype))
        return signals

    def _mark(self, number: int, module: nn.Module, args: Any, out: Any) -> Tensor | None:
        """The hook of a layer: remember what it gave, and cut it off."""
        if self._recording is not None:
            tensor = _tensor(out, f"the layer '{self.layers[number]}'")
            self._recording.taps.append(Tap(number, tensor))
            return None
        if self._taps is None:
            return None
        hidden = _tensor(out, f"the layer '{self.layers[number]}'")
        if self.rule == "direct":
            self._taps.append(Tap(number, hidden))
        return hidden.detach()

    def _cut(self, module: nn.Module, args: Any, out: Any) -> Tensor | None:
        return None if self._taps is None else _tensor(out, "a cut").detach()

    def _end(self, module: nn.Module, args: Any, out: Any) -> Tensor | None:
        """The hook of the source: one node that sends its error to all taps so far."""
        if self._recording is not None:
            self._recording.output = _tensor(out, f"the source '{self.source}'")
            return None
        if self._taps is None:
            return None
        where = "the model" if self.source is None else f"the source '{self.source}'"
        out = _tensor(out, where)
        taps, self._taps = self._taps, []
        if not taps:
            return out
        self.fit(out, taps)
        # A layer whose weights are fixed needs no signal.
        taps = [tap for tap in taps if tap.hidden.requires_grad]
        if not taps:
            return out
        sent: Tensor = Broadcast.apply(out, self, places_of(taps), *(tap.hidden for tap in taps))
        return sent

    def fit(self, output: Tensor, taps: Sequence[Tap]) -> None:
        """Draw the feedback for this output and these hidden outputs, or see that it fits them."""
        rows, widths = self.rows_of(output), {}
        for layer, hidden in taps:
            widths[layer] = self._width(layer, hidden, output, rows)
        found = tuple(widths.get(layer, 1) for layer in range(len(self.layers)))
        known = self.feedback.widths
        if known is None:
            if missing := set(range(len(self.layers))) - widths.keys():
                name = self.layers[min(missing)]
                raise ValueError(f"the layer '{name}' did not run in front of the source")
            self._draw(found, output.shape[rows:].numel(), output)
        elif any(known[layer] != width for layer, width in widths.items()):
            raise ValueError(f"hidden outputs are {list(found)} wide, the feedback was drawn for "
                             f"{list(known)}")  # fmt: skip

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _draw(self, widths: tuple[int, ...], error_width: int, like: Tensor) -> None:
        self.feedback.fit(widths, error_width, seed=self.seed, like=like)

    def rows_of(self, output: Tensor) -> int:
        """How many leading dimensions of the source's output count rows."""
        if output.dim() < 1:
            raise ValueError("the source gives one number: take the output and not the loss")
        rows = max(1, output.dim() - 1) if self.batch_dims is None else self.batch_dims
        if rows > output.dim():
            raise ValueError(f"batch_dims is {rows}, the source gives {tuple(output.shape)}")
        return rows

    def _width(self, layer: int, hidden: Tensor, output: Tensor, rows: int) -> int:
        if hidden.shape[:rows] != output.shape[:rows] or hidden.dim() <= rows + self.repeat_dims:
            raise ValueError(
                f"the layer '{self.layers[layer]}' gives {tuple(hidden.shape)}, which does not "
                f"begin with the rows {tuple(output.shape[:rows])} of the source's output "
                f"{tuple(output.shape)} and go on: set batch_dims (and repeat_dims)"
            )
        return hidden.shape[rows + self.repeat_dims :].numel()


class Broadcast(torch.autograd.Function):
    """The output as it is; backward, its error goes on and, projected, to all hidden outputs."""

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, owner: DirectFeedback, places: tuple[Place, ...], *hidden: Tensor
    ) -> Tensor:
        ctx.owner, ctx.places = owner, places
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        return (error, None, None, *ctx.owner.project(error, ctx.places))


def refuse_second_derivative() -> None:
    """Raise RuntimeError in a backward pass that is to be differentiated itself.

    What fixed feedback gives is the gradient of nothing. torch's `once_differentiable` does not
    see that where gradients of chosen tensors are asked for.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError("fixed feedback has no second derivative: leave create_graph off")


def places_of(taps: Sequence[Tap]) -> tuple[Place, ...]:
    """Where the signals of these hidden outputs go."""
    return tuple(Place(layer, hidden.shape, hidden.dtype) for layer, hidden in taps)


def _tensor(out: Any, what: str) -> Tensor:
    if not isinstance(out, Tensor):
        raise ValueError(f"{what} gives {type(out).__name__}: mark a module that gives one tensor")
    return out


def _name_of(model: nn.Module, layer: str | nn.Module) -> str:
    """The name of a module of the model. Raises ValueError with the nearest one."""
    known = dict(model.named_modules())
    if isinstance(layer, nn.Module):
        for name, module in known.items():
            if module is layer:
                return name
        raise ValueError(f"{type(layer).__name__} is no module of {type(model).__name__}")
    if layer not in known or layer == "":
        near = difflib.get_close_matches(layer, list(known), n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"{type(model).__name__} has no module '{layer}'{hint}")
    return layer
