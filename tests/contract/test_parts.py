"""What every public part can do: the list is found, nothing is registered."""

import copy
import inspect

import pytest
import torch

from contract.parts import (
    PACKAGES,
    batch_of,
    cast,
    example,
    expected_failure,
    modules,
    public,
    take,
    tensors,
)

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


@every_module
def test_a_row_does_not_know_its_partners(package, part, request):
    expected_failure(request, package, part, "rows")
    module, args, kwargs = example(part)
    module.eval()
    batch = batch_of(args)
    if batch is None:
        return  # a vector has no rows
    args, kwargs = cast(args, torch.float64), cast(kwargs, torch.float64)
    one = slice(0, 1)
    whole = call(module.double(), args, kwargs)
    alone = call(module, take(args, one, batch), take(kwargs, one, batch))
    for a, b in zip(whole, alone, strict=True):
        if a.ndim and len(a) == batch:  # what a row gave, and no mean over the batch
            torch.testing.assert_close(a[one], b, equal_nan=True)


@every_module
def test_an_empty_batch(package, part, request):
    expected_failure(request, package, part, "empty")
    module, args, kwargs = example(part)
    batch = batch_of(args)
    if batch is None:
        return
    args, kwargs = cast(args, torch.float32), cast(kwargs, torch.float32)
    none = slice(0, 0)
    for training in (False, True):
        try:
            outputs = call(
                module.train(training), take(args, none, batch), take(kwargs, none, batch)
            )
        except ValueError:
            continue  # refused
        assert all(output.isfinite().all() for output in outputs)
        recorded = [output.sum() for output in outputs if output.requires_grad]
        if recorded:
            sum(recorded).backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_module
def test_second_derivatives_are_right_or_refused(package, part, request):
    expected_failure(request, package, part, "second derivatives")
    module, args, kwargs = example(part)
    module.double().eval()
    args, kwargs = cast(args, torch.float64), cast(kwargs, torch.float64)
    leaves = [p for p in module.parameters() if p.requires_grad] + list(tensors((args, kwargs)))
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def gradients():
        loss = sum(x.sin().sum() for x in call(module, args, kwargs) if x.requires_grad)
        found = torch.autograd.grad(
            loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return sum((x * along).sum() for x, along in zip(found, first, strict=True))

    first, second = ([torch.randn_like(leaf) for leaf in leaves] for _ in range(2))
    if not any(x.requires_grad for x in call(module, args, kwargs)):
        return
    try:
        found = torch.autograd.grad(gradients(), leaves, allow_unused=True, materialize_grads=True)
    except RuntimeError:
        return  # refused
    slope = sum((x * along).sum() for x, along in zip(found, second, strict=True))
    differences = []
    for step in (1e-4, 1e-6, 1e-8):  # a kink between the ends spoils one, rounding another
        ends = []
        for sign in (1, -2, 1):  # up, down, and back to where it was
            with torch.no_grad():
                for leaf, along in zip(leaves, second, strict=True):
                    leaf += sign * step * along
            ends.append(gradients().detach())
        differences.append((ends[0] - ends[1]) / (2 * step))
    assert any(torch.allclose(slope, x, rtol=1e-3, atol=1e-6) for x in differences), (
        f"{slope:.6g}, by differences {[round(float(x), 6) for x in differences]}"
    )
