"""What every public part can do: the list is found, nothing is registered."""

import copy
import inspect

import pytest
import torch

from contract.parts import PACKAGES, cast, example, expected_failure, modules, public, tensors

every_module = pytest.mark.parametrize(("package", "part"), modules())


def call(module, args, kwargs):
    torch.manual_seed(1)
    return list(tensors(module(*args, **kwargs)))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_says_what_it_is(package):
    parts = public(package)
    assert parts
    for name, part in parts:
        if not (inspect.isclass(part) or inspect.isfunction(part)):
            continue  # an alias or a constant is explained beside its definition
        text = (part.__doc__ or "").split("Example:")[0]
        assert len(text.strip()) > 20, f"{package}.{name} has no docstring"


@every_module
def test_weights_save_and_load(package, part, request):
    expected_failure(request, package, part, "state_dict")
    module, args, kwargs = example(part)
    module.eval()
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(module.state_dict())
    for a, b in zip(call(module, args, kwargs), call(other, args, kwargs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@every_module
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_precision(package, part, dtype, request):
    expected_failure(request, package, part, str(dtype).removeprefix("torch."))
    module, args, kwargs = example(part)
    outputs = call(module.to(dtype), cast(args, dtype), cast(kwargs, dtype))
    assert outputs
    assert any(output.dtype == dtype for output in outputs)
    assert all(output.isfinite().all() for output in outputs)


@every_module
def test_gradients_flow(package, part, request):
    expected_failure(request, package, part, "gradients")
    module, args, kwargs = example(part)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:  # then it must pass gradients on to what it was given
        parameters = [x.requires_grad_() for x in tensors((args, kwargs))]
    outputs = [output for output in call(module.train(), args, kwargs) if output.requires_grad]
    assert outputs
    sum(output.square().sum() for output in outputs).backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


@every_module
def test_evaluation_repeats(package, part, request):
    expected_failure(request, package, part, "eval")
    module, args, kwargs = example(part)
    module.eval()
    for a, b in zip(call(module, args, kwargs), call(module, args, kwargs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@every_module
@pytest.mark.filterwarnings("ignore")
def test_compiles(package, part, request):
    expected_failure(request, package, part, "compile")
    module, args, kwargs = example(part)
    module.eval()
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="eager")
    expected = call(module, args, kwargs)
    for a, b in zip(call(compiled, args, kwargs), expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)
