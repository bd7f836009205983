"""Public modules with a call of each, taken from the example in its docstring."""

import copy
import dataclasses
import doctest
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quire.lab.papers import find_paper, module_of, paper_names
from quire.nn import Mask

PACKAGES = ["quire.nn", *(module_of(name) for name in paper_names())]


def lacks_extra(error: BaseException) -> bool:
    """Whether `error` says which extra is missing here."""
    return isinstance(error, ImportError) and "quire-papers[" in str(error)


def skip_without_extra(error: BaseException) -> None:
    """Skip the test where an extra is missing; raise any other error."""
    if lacks_extra(error):
        pytest.skip(str(error))
    raise error


def public(package: str) -> list[tuple[str, Any]]:
    """Names and objects in the package's `__all__`, without those whose extra is not here."""
    module, found = importlib.import_module(package), []
    for name in module.__all__:
        try:
            found.append((name, getattr(module, name)))
        except ImportError as error:
            if not lacks_extra(error):
                raise
    return found


def modules() -> list[Any]:
    """Every public nn.Module class as a pytest parameter."""
    return [
        pytest.param(package, part, id=f"{package.removeprefix('quire.')}.{name}")
        for package in PACKAGES
        for name, part in public(package)
        if isinstance(part, type) and issubclass(part, nn.Module)
    ]


def example(part: type[nn.Module]) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """An instance of `part` and the arguments of the first call in its docstring's example."""
    examples = doctest.DocTestParser().get_examples(part.__doc__ or "")
    if not examples:
        pytest.fail(f"{part.__name__} has no example in its docstring")
    calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
    original = nn.Module.__call__

    def watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if type(self) is part and not calls:
            calls.append((self, args, kwargs))
        return original(self, *args, **kwargs)

    scope = vars(sys.modules[part.__module__]) | {"torch": torch}
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", watched)
        for step in examples:
            exec(compile(step.source, part.__name__, "single"), scope)
    if not calls:
        pytest.fail(f"the example of {part.__name__} never calls it")
    return calls[0]


def tensors(value: Any) -> Iterator[Tensor]:
    """Floating-point tensors in whatever a module returns."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors(getattr(value, field.name))


def cast(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its floating-point tensors (in tuples, lists, dicts) as `dtype`."""
    return apply(value, lambda x: x.detach().to(dtype) if x.is_floating_point() else x)


def apply(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`value` with `function` of each tensor in tuples, lists, dicts and masks."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: apply(item, function) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [apply(item, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mask):
        mask = copy.copy(value)
        for name, part in vars(value).items():
            object.__setattr__(mask, name, apply(part, function))
        return mask
    return value


def batch_of(args: tuple[Any, ...]) -> int | None:
    """The first dimension of the first argument, where that is a tensor with two or more."""
    first = args[0] if args else None
    return len(first) if isinstance(first, Tensor) and first.ndim > 1 else None


def take(value: Any, rows: slice, batch: int) -> Any:
    """The arguments for some rows of a batch: of each tensor whose first dimension is the batch."""
    return apply(value, lambda x: x[rows] if x.ndim and len(x) == batch else x)


def expected_failure(request: pytest.FixtureRequest, package: str, part: type, check: str) -> None:
    """Mark a check that the paper says its part cannot pass; it must then really fail."""
    if not package.startswith("quire.papers."):
        return
    paper = find_paper(package.rpartition(".")[2])
    reason = paper.expected_failures.get(f"{part.__name__}.{check}")
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
