"""Derivatives of any order, transforms, empty inputs, shared heads, pieces and states as values."""

import copy

import pytest
import torch
from torch import nn

from papers.linear_transformer.twins import CLOSE, assert_twins, inputs
from quire.nn import Causal, MultiHeadAttention, Padding
from quire.papers.linear_transformer import (
    Favor,
    LinearAttention,
    causal_attention,
    elu_plus_one,
    linear_attention,
    naive_linear_attention,
    polynomial,
)


@pytest.mark.parametrize("length", [5, 10])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_second_derivatives_equal_the_dense_form(length, first):
    """Also beyond one chunk, where the first derivative is a rule of its own."""
    variables = inputs(length, batch=1, heads=1)
    seconds = []
    for out in (
        linear_attention(*variables, causal=True, chunk=4),
        naive_linear_attention(*variables, Causal()),
    ):
        (gradient,) = torch.autograd.grad(out.sum(), variables[first], create_graph=True)
        seconds.append(
            torch.autograd.grad(gradient.square().sum(), variables, materialize_grads=True)
        )
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_gradgradcheck_and_forward_mode():
    q, k, v = inputs(6, batch=1, heads=1, width=2, values=2)
    rows = [x.detach().flatten(0, 1).abs().requires_grad_() for x in (q, k, v)]
    attend = lambda *x: causal_attention(*x, chunk=4)
    assert torch.autograd.gradgradcheck(attend, rows)
    assert torch.autograd.gradcheck(attend, rows, check_forward_ad=True)


@pytest.mark.parametrize("causal", [False, True])
def test_function_transforms_equal_the_dense_form(causal):
    q, k, v = (x.detach() for x in inputs(9, batch=1, heads=1, width=2, values=2))
    more = torch.randn(3, *q.shape, dtype=torch.float64)
    fast = lambda q: linear_attention(q, k, v, causal=causal, chunk=4).sin().sum()
    slow = lambda q: naive_linear_attention(q, k, v, Causal() if causal else None).sin().sum()
    wanted = torch.func.hessian(slow)(q)
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(outer(fast)(q), torch.func.grad(slow)(q), **CLOSE)
        for inner in (torch.func.jacfwd, torch.func.jacrev):
            torch.testing.assert_close(outer(inner(fast))(q), wanted, **CLOSE)
    for apply in (torch.func.vmap, lambda f: torch.func.vmap(torch.func.grad(f))):
        torch.testing.assert_close(apply(fast)(more), apply(slow)(more), **CLOSE)


@pytest.mark.parametrize("shape", [(0, 2, 9, 4), (2, 2, 0, 4), (0, 2, 0, 4), (2, 2, 1, 4)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "feature_map", [elu_plus_one, polynomial, Favor(4, 8)], ids=["elu", "polynomial", "favor"]
)
def test_nothing_and_one_token(shape, causal, feature_map):
    q = torch.randn(shape, requires_grad=True)
    out = linear_attention(q, q, q, causal=causal, feature_map=feature_map, chunk=4)
    assert out.shape == shape
    out.sum().backward()
    assert q.grad.isfinite().all()
    kernel = LinearAttention(feature_map, chunk=4)
    _, state = kernel.extend(kernel.write(None, q, q), q, q, q)
    assert kernel.read(state, q).shape == shape


def test_the_causal_product_itself_keeps_wide_sums():
    rows = torch.rand(3, 2, 300, 4, generator=torch.Generator().manual_seed(0))
    expected = causal_attention(*rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(causal_attention(*rows), expected)
        assert torch.equal(causal_attention(*rows, chunk=300), causal_attention(*rows, chunk=300))
        naive = naive_linear_attention(*rows[:, None], Causal())
        torch.testing.assert_close(naive, linear_attention(*rows[:, None], causal=True))
    for chunk in (64, 300):
        half = causal_attention(*rows.bfloat16(), chunk=chunk)
        wide = causal_attention(*rows.bfloat16().float(), chunk=chunk)
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, wide.bfloat16())


def test_the_causal_product_is_exported_under_autocast():
    class Causally(nn.Module):
        def forward(self, *rows):
            return causal_attention(*rows)

    rows = tuple(torch.rand(3, 2, 100, 4, generator=torch.Generator().manual_seed(0)))
    expected = causal_attention(*rows)
    program = torch.export.export(Causally(), rows).module()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = torch.export.export(Causally(), rows).module()
        torch.testing.assert_close(program(*rows), expected)
        torch.testing.assert_close(within(*rows), expected)


@pytest.mark.parametrize(
    "mask", [None, Causal(), Causal() & Padding(torch.tensor([9, 4]))], ids=str
)
@pytest.mark.parametrize("feature_map", [elu_plus_one, Favor(5, 8).double()], ids=["elu", "favor"])
def test_shared_heads_equal_repeated_ones(mask, feature_map):
    q, k, v = inputs(9, heads=4)
    kernel = LinearAttention(feature_map, chunk=4)
    repeated = [x[:, :2].repeat_interleave(2, 1) for x in (k, v)]
    shared = kernel(q, k[:, :2], v[:, :2], mask)
    assert_twins(shared, kernel(q, *repeated, mask), (q, k, v))
    naive = naive_linear_attention(q, k[:, :2], v[:, :2], mask, feature_map=feature_map)
    torch.testing.assert_close(shared, naive, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("favor", [False, True])
@pytest.mark.parametrize("key_heads", [1, 2])
def test_pieces_of_any_length_equal_the_whole(favor, key_heads):
    torch.manual_seed(0)
    feature_map = Favor(4, 8) if favor else elu_plus_one
    attention = MultiHeadAttention(
        8, 2, kernel=LinearAttention(feature_map, chunk=4), key_heads=key_heads
    ).double()
    x = torch.randn(3, 21, 8, dtype=torch.float64)
    whole = attention(x, mask=Causal())
    state, outputs = None, []
    for piece in x.split([5, 1, 9, 6], 1):
        out, state = attention.extend(piece, state)
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, **CLOSE)
    # Padding at the end of a piece leaves nothing in the state.
    _, state = attention.extend(x[:, :5])
    padded = torch.cat((x[:, 5:9], torch.randn(3, 3, 8, dtype=torch.float64)), 1)
    out, state = attention.extend(padded, state, mask=Padding(torch.tensor([4, 4, 4])))
    torch.testing.assert_close(out[:, :4], whole[:, 5:9], **CLOSE)
    torch.testing.assert_close(attention.extend(x[:, 9:], state)[0], whole[:, 9:], **CLOSE)


@pytest.mark.parametrize("favor", [False, True])
def test_a_state_is_continued_twice(favor):
    q, k, v = (x.detach() for x in inputs(8))
    kernel = LinearAttention(Favor(5, 8).double() if favor else elu_plus_one, chunk=4)
    with torch.no_grad():
        state = kernel.write(None, k[:, :, :3], v[:, :, :3])
        kept = copy.deepcopy(state)
        first = [kernel.write(state, k[:, :, 3:6], v[:, :, 3:6]) for _ in range(2)]
        kernel.extend(state, q[:, :, 3:], k[:, :, 3:], v[:, :, 3:])
    for a, b in (first, (state, kept)):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
