"""The way to flash-linear-attention's kernels: a plain function in their place, theirs on a GPU."""

import sys
from types import ModuleType

import pytest
import torch

from quire.nn import Causal, Padding
from quire.papers.linear_transformer import (
    LinearAttention,
    elu_plus_one,
    fused,
    linear_attention,
    naive_linear_attention,
    taylor,
)


def chunk_linear_attn(q, k, v, *, scale, normalize):
    """Products in the order (B, N, H, C); even widths alone, and half precision comes back so."""
    assert not normalize
    assert not any(x.shape[-1] % 2 for x in (q, k, v))
    weights = torch.einsum("bihc,bjhc->bhij", q.float(), k.float()).tril() * scale
    return torch.einsum("bhij,bjhm->bihm", weights, v.float()).to(v.dtype), None


IS_GPU_HERE = torch.cuda.is_available() and fused.is_installed()


@pytest.fixture(params=["cpu", "cuda"] if IS_GPU_HERE else ["cpu"])
def device(request, monkeypatch):
    if request.param == "cuda":
        return "cuda"
    module = ModuleType("fla.ops.linear_attn")
    module.chunk_linear_attn = chunk_linear_attn
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "fla.ops.linear_attn", module)
    monkeypatch.setattr(fused, "serves", lambda *xs: all(x.dtype == torch.bfloat16 for x in xs))
    return "cpu"


def half(device, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device, torch.bfloat16).requires_grad_()


@pytest.mark.parametrize("feature_map", [elu_plus_one, taylor])
@pytest.mark.parametrize("length", [20, 64, 150])
def test_kernels_give_the_formula(device, feature_map, length):
    mask = Causal() & Padding(torch.tensor([length, length // 2], device=device))
    inputs = [half(device, 2, heads, length, 16, seed=heads) for heads in (4, 2, 2)]
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    ours = linear_attention(*inputs, mask, feature_map=feature_map)
    theirs = naive_linear_attention(*doubles, mask, feature_map=feature_map)
    torch.testing.assert_close(ours.double(), theirs, rtol=0.03, atol=0.03)
    grad = half(device, *ours.shape, seed=7).detach()
    found = torch.autograd.grad(ours, inputs, grad)
    for a, b in zip(found, torch.autograd.grad(theirs, doubles, grad.double()), strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.double() - b).norm() <= 0.03 * b.norm() + 0.02


def test_a_second_derivative_is_right(device):
    inputs = [half(device, 1, 2, 90, 8, seed=seed) for seed in range(3)]
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    seconds = []
    for attend, variables in ((linear_attention, inputs), (naive_linear_attention, doubles)):
        out = attend(*variables, Causal()).double()
        (first,) = torch.autograd.grad(out.square().sum(), variables[0], create_graph=True)
        seconds.append(torch.autograd.grad(first.double().square().sum(), variables[1])[0].double())
    assert (seconds[0] - seconds[1]).norm() <= 0.05 * seconds[1].norm()


def test_no_gradient_keeps_no_graph_and_twice_backwards_is_the_same(device):
    q, k, v = (half(device, 1, 2, 90, 8, seed=seed) for seed in range(3))
    with torch.no_grad():
        assert linear_attention(q, k, v, Causal()).grad_fn is None
    out = linear_attention(q, k.detach(), v, Causal())
    grads = [torch.autograd.grad(out.sum(), (q, v), retain_graph=True) for _ in range(2)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_decoding_goes_on_where_the_kernels_stop(device):
    kernel = LinearAttention()
    q, k, v = (half(device, 1, 2, 70, 8, seed=seed).detach() for seed in range(3))
    whole = kernel(q, k, v, Causal())
    state = kernel.write(None, k[:, :, :69], v[:, :, :69])
    last, _ = kernel.extend(state, *(x[:, :, 69:] for x in (q, k, v)))
    torch.testing.assert_close(last[:, :, 0], whole[:, :, 69], rtol=0.03, atol=0.03)


def test_kernels_are_for_bfloat16_on_a_gpu():
    x = torch.zeros(1, 1, 4, 2, dtype=torch.bfloat16)
    assert not fused.serves(x, x, x)
