"""Attention against its slow twin, in outputs and gradients."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from nn.parity import copy_attention
from quire.nn import (
    Causal,
    Global,
    Mask,
    MultiHeadAttention,
    Padding,
    Rotary,
    Window,
    naive_softmax_attention,
    softmax_attention,
)
from quire.nn import attention as attention_module

SIZES = [(1, 1), (7, 7), (13, 13), (1, 7), (7, 13), (13, 1)]
MASKS = {
    "none": None,
    "causal": Causal(),
    "window": Window(2),
    "global": Causal() & Window(1) | Global(1),
    "lengths": Padding(torch.tensor([1, 0])),  # the second sequence is all padding
    "both": Causal() & Padding(torch.tensor([7, 3])),
    "keys": Padding(torch.tensor([[False] + [True] * 12, [True] * 13])) & Causal(),
}


def inputs(queries: int, keys: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    shapes = [(2, 3, queries, 5), (2, 3, keys, 5), (2, 3, keys, 4)]
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    ]


def loop_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
    """One query at a time, over the keys that it may attend to."""
    batch, heads, queries, _ = q.shape
    result = torch.zeros(batch, heads, queries, v.shape[-1], dtype=v.dtype)
    for b, h, i in itertools.product(range(batch), range(heads), range(queries)):
        index = [torch.tensor(n) for n in (b, h, i)]
        chosen = [
            j for j in range(k.shape[2]) if mask is None or mask.allows(*index, torch.tensor(j))
        ]
        if chosen:
            scores = k[b, h, chosen] @ q[b, h, i] / q.shape[-1] ** 0.5
            weight = (scores - scores.max()).exp()
            result[b, h, i] = weight / weight.sum() @ v[b, h, chosen]
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MASKS)
def test_kernel_and_twin_agree_with_the_loop(name: str, size: tuple[int, int]) -> None:
    mask = MASKS[name]
    if name == "keys" and size[1] != 13:
        mask = Padding(mask.left.keys[:, : size[1]]) & Causal()
    given = inputs(*size)
    expected = loop_attention(*given, mask)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    slow = torch.autograd.grad((expected * weights).sum(), given, materialize_grads=True)
    for kernel in (softmax_attention, naive_softmax_attention):
        output = kernel(*given, mask)
        torch.testing.assert_close(output, expected)
        gradients = torch.autograd.grad((output * weights).sum(), given)
        for mine, theirs in zip(gradients, slow, strict=True):
            assert torch.isfinite(mine).all()
            torch.testing.assert_close(mine, theirs)


def test_a_query_that_may_attend_nowhere_gives_zeros() -> None:
    given = inputs(7, 7)
    for kernel in (softmax_attention, naive_softmax_attention):
        output = kernel(*given, Padding(torch.tensor([0, 7])))
        assert (output[0] == 0).all()
        assert (output[1] != 0).all()


@pytest.mark.parametrize("kernel", [softmax_attention, naive_softmax_attention])
def test_huge_scores_stay_finite(kernel: attention_module.AttentionKernel) -> None:
    q, k, v = (1e4 * tensor for tensor in inputs(7, 7, torch.float32))
    for mask in (None, Causal(), Window(0)):
        assert torch.isfinite(kernel(q, k, v, mask)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["none", "causal", "window", "lengths"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    given = inputs(13, 13, torch.float32)
    exact = naive_softmax_attention(*given, MASKS[name])
    half = softmax_attention(*(tensor.to(dtype) for tensor in given), MASKS[name])
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), exact, atol=2e-2, rtol=2e-2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What softmax_attention passes to torch."""
    seen: list[dict] = []
    fused = attention_module.scaled_dot_product_attention

    def spy(*arguments: Tensor, **keywords: object) -> Tensor:
        seen.append(keywords)
        return fused(*arguments, **keywords)

    monkeypatch.setattr(attention_module, "scaled_dot_product_attention", spy)
    return seen


def test_causal_alone_takes_the_fast_path(calls: list[dict]) -> None:
    given = inputs(7, 7)
    for mask in (None, Causal(), Causal() & Window(3)):
        softmax_attention(*given, mask)
    assert calls[0] == {"is_causal": False, "enable_gqa": False}
    assert calls[1] == {"is_causal": True, "enable_gqa": False}
    assert calls[2].keys() == {"attn_mask", "enable_gqa"}


def test_heads_against_torch() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    mine = MultiHeadAttention(12, 3, bias=True).double()
    copy_attention(mine, theirs)
    x, context = torch.randn(2, 7, 12).double(), torch.randn(2, 13, 12).double()
    expected, _ = theirs(x, context, context)
    torch.testing.assert_close(mine(x, context), expected)
    hidden = torch.arange(13) >= torch.tensor([[4], [13]])
    expected, _ = theirs(x, context, context, key_padding_mask=hidden)
    torch.testing.assert_close(mine(x, context, Padding(torch.tensor([4, 13]))), expected)


def test_a_kernel_may_be_a_module_with_parameters() -> None:
    class Temperature(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
            return softmax_attention(q * self.scale, k, v, mask)

    attention = MultiHeadAttention(8, 2, kernel=Temperature())
    assert "kernel.scale" in attention.state_dict()
    attention(torch.randn(2, 5, 8), mask=Causal()).sum().backward()
    assert attention.kernel.scale.grad is not None


def test_a_kernel_gives_way_to_another() -> None:
    class Twice(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
            return 2 * softmax_attention(q, k, v, mask)

    attention, x = MultiHeadAttention(8, 2, kernel=Twice()), torch.randn(2, 5, 8)
    twice = attention(x)
    attention.kernel = softmax_attention
    torch.testing.assert_close(attention(x), twice / 2)
    attention.kernel = Twice()
    torch.testing.assert_close(attention(x), twice)


def test_a_linear_kernel_plugs_in() -> None:
    def linear_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
        q, k = q.softmax(-1), k.softmax(-2)
        return q @ (k.transpose(-1, -2) @ v)

    attention = MultiHeadAttention(8, 2, kernel=linear_attention)
    assert attention(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_head_width_and_errors() -> None:
    attention = MultiHeadAttention(10, 3, head_dim=4)
    assert attention.query.weight.shape == (12, 10)
    assert attention(torch.randn(1, 7, 10)).shape == (1, 7, 10)
    with pytest.raises(ValueError, match=r"dim must be a multiple of heads .* got 10 and 3"):
        MultiHeadAttention(10, 3)


def test_dropout_only_while_training() -> None:
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(2, 7, 8)
    assert (attention(x) == 0).any()
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize("name", ["none", "causal", "window", "lengths", "both"])
def test_compiles_whole(name: str) -> None:
    attention = MultiHeadAttention(12, 3, positions=Rotary(4))
    compiled = torch.compile(attention, backend="eager", fullgraph=True)
    x = torch.randn(2, 7, 12)
    expected = attention(x, mask=MASKS[name])
    torch.testing.assert_close(compiled(x, mask=MASKS[name]), expected)


@pytest.mark.parametrize("mask", [torch.ones(2, 2, dtype=torch.bool), "causal", 3])
def test_what_is_no_mask_is_one_clear_line(mask):
    x = torch.randn(1, 2, 4)
    q = torch.randn(1, 1, 2, 4)
    for call in (
        lambda: MultiHeadAttention(4, 1)(x, mask=mask),
        lambda: softmax_attention(q, q, q, mask),
        lambda: naive_softmax_attention(q, q, q, mask),
    ):
        with pytest.raises(TypeError, match=r"mask must be a quire\.nn\.Mask"):
            call()


def test_what_is_no_kernel_is_one_clear_line():
    with pytest.raises(TypeError, match=r"kernel must be a function of .* got 'linear'"):
        MultiHeadAttention(4, 1, kernel="linear")


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("name", ["none", "causal", "lengths"])
def test_heads_share_keys_in_groups(name: str, groups: int) -> None:
    q = torch.randn(2, 6, 7, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, groups, 7, 4, dtype=torch.float64)
    # By definition: query head h reads head h // (H / G).
    heads = torch.arange(6) // (6 // groups)
    expected = loop_attention(q, k[:, heads], v[:, heads], MASKS[name])
    for kernel in (softmax_attention, naive_softmax_attention):
        torch.testing.assert_close(kernel(q, k, v, MASKS[name]), expected)


def test_grouped_projections_are_those_of_repeated_heads() -> None:
    grouped = MultiHeadAttention(12, 6, key_heads=2, positions=Rotary(2)).double()
    whole = MultiHeadAttention(12, 6, positions=Rotary(2)).double()
    assert grouped.key.weight.shape == (4, 12)
    state = grouped.state_dict()
    for name in ("key.weight", "value.weight"):
        rows = state[name].unflatten(0, (2, 2)).repeat_interleave(3, 0)
        state[name] = rows.flatten(0, 1)
    whole.load_state_dict(state)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(grouped(x, mask=Causal()), whole(x, mask=Causal()))


def test_heads_that_do_not_fit_are_named() -> None:
    q, k = torch.randn(1, 3, 2, 4), torch.randn(1, 2, 2, 4)
    for kernel in (softmax_attention, naive_softmax_attention):
        with pytest.raises(ValueError, match="3 heads of queries do not fit 2 of keys and 2 of"):
            kernel(q, k, k)
        with pytest.raises(ValueError, match="3 heads of queries do not fit 3 of keys and 2 of"):
            kernel(q, q, k)
    for key_heads in (0, 2, 4):
        with pytest.raises(ValueError, match="heads must be a multiple of key_heads, got 3 and"):
            MultiHeadAttention(12, 3, key_heads=key_heads)


@pytest.mark.parametrize("shape", [(0, 2, 5, 4), (2, 2, 0, 4)])
@pytest.mark.parametrize("mask", [None, Causal(), Window(1)])
def test_nothing_gives_nothing(shape: tuple[int, ...], mask: Mask | None) -> None:
    q = torch.zeros(shape, requires_grad=True)
    for kernel in (softmax_attention, naive_softmax_attention):
        output = kernel(q, q, q, mask)
        assert output.shape == shape
        output.sum().backward()


def test_no_keys_give_zeros() -> None:
    q, k = torch.randn(1, 2, 3, 4), torch.zeros(1, 2, 0, 4)
    for kernel in (softmax_attention, naive_softmax_attention):
        for mask in (None, Padding(torch.tensor([0]))):
            assert torch.equal(kernel(q, k, k, mask), torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize("name", ["none", "causal", "lengths"])
def test_second_derivatives_are_right_or_refused(name: str) -> None:
    given = inputs(7, 7)

    def second(kernel: attention_module.AttentionKernel) -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(
            kernel(*given, MASKS[name]).sin().sum(), given[:1], create_graph=True
        )
        return torch.autograd.grad(first.square().sum(), given, materialize_grads=True)

    expected = second(naive_softmax_attention)
    try:
        got = second(softmax_attention)
    except RuntimeError:
        return
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_row_does_not_know_its_partners() -> None:
    q, k, v = inputs(7, 7)
    for kernel in (softmax_attention, naive_softmax_attention):
        both = kernel(q, k, v, Padding(torch.tensor([7, 3])))
        alone = kernel(q[1:], k[1:], v[1:], Padding(torch.tensor([3])))
        torch.testing.assert_close(both[1:], alone)
        torch.testing.assert_close(alone, kernel(q[1:], k[1:, :, :3], v[1:, :, :3]))
