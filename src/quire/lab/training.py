"""What loops write alike: an update, its schedule, numbers that are kept, weights on disk.

There is no trainer here. A paper writes its own loop and calls these:

    for batch in run.steps(config.steps, batch_at, state=(model, optimizer, kept)):
        set_rate(optimizer, config.learning_rate * warm_up(run.step, config.warm_up))
        with run.precision():
            loss = cross_entropy(model(batch.image), batch.label)
        update(loss, model, optimizer, clip=1.0)
        run.log(loss=loss)

Schedules are functions of the step, which counts from 0, so that a resumed run needs no state for
them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from quire.lab import distributed
from quire.lab.checkpoint import replaced_when_whole
from quire.lab.errors import RunError

Parameters = nn.Module | Iterable[Tensor]


# One update


def update(
    loss: Tensor, parameters: Parameters, optimizer: Optimizer, *, clip: float | None = None
) -> Tensor | None:
    """One step down the gradient of `loss`.

    The gradients are set to zero just before the backward pass. Gives the norm of all gradients
    before it was clipped, a scalar, or None where `clip` is None.

    Args:
        loss: A scalar.
        parameters: A module, or what `module.parameters()` gives; looked at only to clip.
        optimizer: What takes the step.
        clip: Largest norm of all gradients together; None leaves them as they are.
    """
    optimizer.zero_grad()
    loss.backward()
    return _step(parameters, optimizer, clip)


def update_in_parts(
    losses: Iterable[Tensor],
    parameters: Parameters,
    optimizer: Optimizer,
    *,
    clip: float | None = None,
) -> Tensor:
    """One step down the gradient of a minibatch that is computed in parts; gives its loss, ().

    Args:
        losses: The losses of the parts, one after the other, as in `backward_in_parts`.
        parameters: A module, or what `module.parameters()` gives; looked at only to clip.
        optimizer: What takes the step.
        clip: Largest norm of all gradients together; None leaves them as they are.
    """
    optimizer.zero_grad()
    loss = backward_in_parts(losses)
    _step(parameters, optimizer, clip)
    return loss


def backward_in_parts(losses: Iterable[Tensor]) -> Tensor:
    """Add up the gradients of the parts of a minibatch; gives the sum of their losses, ().

    Each loss is differentiated before the next one is asked for, so that a generator holds the
    graph of one part in memory. The losses must add up to that of the whole minibatch, whatever
    the sizes of the parts: a mean over rows times ``len(part) / len(batch)``, or a sum over what
    a part asks for divided by how much the whole minibatch asks for. Gradients are not set to zero.
    """
    found = []
    for loss in losses:
        loss.backward()
        found.append(loss.detach())
    return torch.stack(found).sum()


def split_rows(*batch: Tensor, rows: int | None = None) -> Iterator[tuple[Tensor, ...]]:
    """The parts of a minibatch of tensors (B, ...), `rows` rows at a time; None is all of them.

    >>> [part.tolist() for (part,) in split_rows(torch.arange(5), rows=2)]
    [[0, 1], [2, 3], [4]]
    """
    count = len(batch[0]) if rows is None else rows
    yield from zip(*(part.split(count) for part in batch), strict=True)


def rows_at_once(tokens: int | None, length: int) -> int | None:
    """How many whole sequences of `length` tokens fit in `tokens`, at least one; None is all."""
    return None if tokens is None else max(1, tokens // length)


def _step(parameters: Parameters, optimizer: Optimizer, clip: float | None) -> Tensor | None:
    norm = None
    if clip is not None:
        # The norm's last digit follows from the order of the parameters: the module's, not that
        # of the optimizer's groups.
        own = parameters.parameters() if isinstance(parameters, nn.Module) else parameters
        norm = nn.utils.clip_grad_norm_(own, clip)
    optimizer.step()
    return norm


# Schedules: what the learning rate is multiplied with at a step


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def warm_up(step: int, steps: int) -> float:
    """A rise along a line, from 1 / steps at step 0 to 1 at step `steps` - 1, where it stays.

    With a decay, take the smaller one: ``min(warm_up(step, 100), linear_decay(step, 9000,
    begin=100))`` rises and falls along two lines.
    """
    return min(1.0, (step + 1) / steps)


def linear_decay(step: int, steps: int, *, begin: int = 0) -> float:
    """A fall along a line from 1 at step `begin` (above 1 before it) to 0 at step `steps`."""
    return max(0.0, (steps - step) / max(1, steps - begin))


def cosine_decay(step: int, steps: int, *, floor: float = 0.0) -> float:
    """A fall along half a cosine, from 1 at step 0 to `floor` at step `steps`."""
    return floor + (1 - floor) / 2 * (1 + float(np.cos(np.pi * step / steps)))


def inverse_square_root(step: int, constant: int) -> float:
    """1 for the first `constant` steps, then a fall with 1 / sqrt(step), step counted from 1.

    Times ``constant**-0.5`` this is T5's rate 1 / sqrt(max(step, constant)); times `warm_up` of as
    many steps it is the Transformer's.
    """
    return float((constant / max(step + 1, constant)) ** 0.5)


def divided_at(step: int, milestones: Sequence[float], *, by: float = 0.1) -> float:
    """`by` to the power of how many `milestones` (steps) have come at `step`.

    ``rate * divided_at(step, [32_000, 48_000])`` falls to a tenth at each. The last digit of
    ``rate / divided_at(step, [32_000], by=10)`` is that of a division.

    >>> [divided_at(step, [10, 20]) for step in (9, 10)]
    [1.0, 0.1]
    """
    return float(by ** sum(step >= milestone for milestone in milestones))


# Numbers

UNREAD = 500
"""Values of a running mean that may wait on an accelerator to be read together."""


class Kept:
    """Numbers and series by name that are saved with the run: give it to `run.steps(state=...)`.

    `numbers` holds single numbers; `series` lists of numbers or of nested lists, and both may be
    read and changed freely.

    Example:
        >>> kept = Kept(best=0.0)
        >>> kept.numbers["best"] = 0.5
        >>> kept.add("auc", 0.9)
        >>> kept.average("loss", 3.0)
        >>> kept.average("loss", 1.0)
        >>> kept.series, kept.numbers
        ({'auc': [0.9]}, {'best': 0.5, 'loss': 2.0})
    """

    def __init__(self, **numbers: float) -> None:
        self._numbers: dict[str, float] = dict(numbers)
        self.series: dict[str, list[Any]] = {}
        self._counts: dict[str, int] = {}
        self._unread: dict[str, list[Tensor]] = {}

    @property
    def numbers(self) -> dict[str, float]:
        """Single numbers and running means, by name."""
        for name in list(self._unread):
            self._read(name)
        return self._numbers

    def add(self, name: str, value: Any) -> None:
        """Put a number, a list, or a tensor or array as nested lists, at the end of a series."""
        self.series.setdefault(name, []).append(_plain(value))

    def average(self, name: str, value: float | Tensor) -> None:
        """Take one more value into the running mean `numbers[name]`.

        A tensor on an accelerator is read with many others later, so that nobody waits for it now.
        """
        if isinstance(value, Tensor):
            unread = self._unread.setdefault(name, [])
            unread.append(value.detach())
            if value.device.type != "cpu" and len(unread) < UNREAD:
                return
        self._read(name)
        if not isinstance(value, Tensor):
            self._take(name, float(value))

    def _read(self, name: str) -> None:
        values = self._unread.pop(name, [])
        for number in torch.stack(values).tolist() if values else []:
            self._take(name, number)

    def _take(self, name: str, number: float) -> None:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        before = self._numbers.get(name, 0.0) if count > 1 else 0.0
        self._numbers[name] = before + (number - before) / count

    def state_dict(self) -> dict[str, Any]:
        """All of it, as plain numbers, lists and dicts."""
        return {
            "numbers": {name: _plain(value) for name, value in self.numbers.items()},
            "series": {name: [_plain(v) for v in values] for name, values in self.series.items()},
            "counts": dict(self._counts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back. Raises KeyError where `state` is not what `state_dict` gave."""
        self._unread = {}
        self._numbers = dict(state["numbers"])
        self.series = {name: list(values) for name, values in state["series"].items()}
        self._counts = dict(state["counts"])


def _plain(value: Any) -> Any:
    # A NumPy number would be pickled, and checkpoints load without pickles of objects.
    if isinstance(value, Tensor):
        return value.detach().tolist()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


# Weights


def save_weights(folder: Path, name: str, module: nn.Module) -> Path:
    """Write the parameters and buffers of `module` as ``<folder>/kept/<name>.safetensors``.

    A run keeps so what later runs stand on (`folder` is its directory). Tied weights are written
    once. The file is whole or not there; under torchrun the first process writes it. Raises
    ValueError for a name that is no plain file name and RunError when the disk refuses.
    """
    path = _weights_path(folder, name)
    if distributed.rank() == 0:
        with replaced_when_whole(path) as temporary:
            safetensors.torch.save_model(distributed.bare(module), str(temporary))
    distributed.barrier()
    return path


def load_weights_into(folder: Path, name: str, module: nn.Module) -> None:
    """Put back into `module`, on its device, what `save_weights` wrote.

    Raises RunError with one line where the file is missing, damaged, or does not fit the module.
    """
    path = _weights_path(folder, name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise RunError(f"no weights '{name}' in {path.parent}. Known: {known}")
    try:
        safetensors.torch.load_model(distributed.bare(module), path)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged ({error})") from error
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1:2]).strip() or str(error)
        raise RunError(f"{path} does not fit {type(module).__name__}: {reason}") from error


def _weights_path(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"weights need a plain file name (letters, digits, _ . -), got '{name}'")
    return folder / "kept" / f"{name}.safetensors"
