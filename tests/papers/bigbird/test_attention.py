"""Gathered blocks against the dense formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quire.lab.measure import peak_tensor_mb
from quire.nn import (
    Causal,
    Padding,
    Window,
    naive_softmax_attention,
    softmax_attention,
)
from quire.papers.bigbird import BigBirdMask, BigBirdPattern, bigbird_attention
from quire.papers.bigbird import attention as implementation
from quire.papers.bigbird.flex import TILE, block_mask

DRAWN = (((), (0,)),)


def inputs(length, *, batch=2, heads=3, dim=6, value_dim=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, heads, length, width, generator=generator, dtype=dtype).requires_grad_()
        for width in (dim, dim, value_dim)
    ]


def dense(pattern, length, heads, mask=None):
    whole = BigBirdMask(pattern, length, heads)
    return whole if mask is None else whole & mask


def assert_equal(pattern, length, mask=None, *, dense_mask=None, batch=2):
    """Outputs and gradients of `bigbird_attention` and of the dense formula."""
    q, k, v = inputs(length, batch=batch)
    whole = dense_mask or dense(pattern, length, 3, mask)
    out = bigbird_attention(q, k, v, pattern, mask)
    expected = naive_softmax_attention(q, k, v, whole)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(out, (q, k, v), grad)
    theirs = torch.autograd.grad(expected, (q, k, v), grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 120),
    block=st.integers(1, 9),
    window=st.sampled_from([0, 1, 3, 5]),
    random=st.integers(0, 3),
    ends=st.integers(0, 4),
    seed=st.integers(0, 5),
    causal=st.booleans(),
    padded=st.booleans(),
)
@example(length=1, block=1, window=0, random=1, ends=0, seed=0, causal=True, padded=False)
def test_it_is_the_dense_formula(length, block, window, random, ends, seed, causal, padded):
    if window + random + ends == 0 or length == 0:
        return
    pattern = BigBirdPattern(block, window, random, ends, seed)
    lengths = Padding(torch.tensor([length, length // 2])) if padded else None
    given_mask = lengths
    if causal:
        given_mask = Causal() if lengths is None else lengths & Causal()
    whole = dense(replace(pattern, causal=causal), length, 3, lengths)
    assert_equal(pattern, length, given_mask, dense_mask=whole)


@pytest.mark.parametrize("random", [0, 1, 8])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_it_does_not_depend_on_the_chunks(random, chunk, monkeypatch):
    monkeypatch.setattr(implementation, "CHUNK", chunk)
    assert_equal(BigBirdPattern(4, random=random), 101, Padding(torch.tensor([101, 60])))


def test_any_mask_can_hide_keys():
    keys = torch.rand(2, 53, generator=torch.Generator().manual_seed(0)) < 0.5
    for mask in (Padding(keys), Window(9), Padding(keys) & Window(20), Window(2) | Padding(keys)):
        assert_equal(BigBirdPattern(4, random=1), 53, mask)


def test_the_last_block_may_be_all_padding_and_a_row_may_be_empty():
    assert_equal(BigBirdPattern(8, random=2), 160, Padding(torch.tensor([160, 100])))
    pattern = BigBirdPattern(4, random=1, global_blocks=0)
    q, k, v = inputs(64)
    out = bigbird_attention(q, k, v, pattern, Padding(torch.tensor([64, 0])))
    assert (out[1] == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), (q, k, v)))
    assert_equal(pattern, 64, Padding(torch.tensor([64, 5])))


def test_short_texts_and_many_random_blocks_are_full_attention():
    q, k, v = inputs(88)
    for pattern in (BigBirdPattern(8), BigBirdPattern(8, random=11), BigBirdPattern(22)):
        assert pattern.is_full(88)
        torch.testing.assert_close(bigbird_attention(q, k, v, pattern), softmax_attention(q, k, v))
    assert not BigBirdPattern(8).is_full(89)
    assert not BigBirdPattern().is_full(705)
    assert BigBirdPattern().is_full(704)


def test_gradcheck():
    q, k, v = inputs(26, batch=1, heads=2, dim=3, value_dim=2)
    pattern = BigBirdPattern(2, window=1, random=1)
    assert torch.autograd.gradcheck(lambda *t: bigbird_attention(*t, pattern), (q, k, v))


@pytest.mark.filterwarnings("ignore")  # torch: it is not compiled, as is meant here
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_flex_attention_gives_the_same(causal, shared):
    pattern = BigBirdPattern(8, random=2, causal=causal, shared=shared)
    q, k, v = (t.detach().float()[..., :5] for t in inputs(150))
    for mask in (None, Padding(torch.tensor([150, 70]))):
        expected = implementation.gathered_bigbird(q, k, v, pattern, mask)
        out = implementation.flex_bigbird(q, k, v, pattern, mask)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    pattern = BigBirdPattern(8, random=2)
    q, k, v = inputs(150, dtype=torch.float32)
    exact = bigbird_attention(q, k, v, pattern)
    halves = [t.detach().to(dtype).requires_grad_() for t in (q, k, v)]
    out = bigbird_attention(*halves, pattern)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    out.float().square().sum().backward()
    exact.square().sum().backward()
    torch.testing.assert_close(halves[1].grad.float(), k.grad, rtol=0.1, atol=0.15)


def test_memory_is_linear():
    """Twice the length takes at most 2.3 times the memory, forwards and backwards."""
    pattern = BigBirdPattern(16, random=3)

    def megabytes(length):
        q, k, v = inputs(length, batch=1, heads=1, dim=16, value_dim=16, dtype=torch.float32)
        return peak_tensor_mb(lambda: bigbird_attention(q, k, v, pattern).sum().backward())

    small, large = megabytes(4096), megabytes(8192)
    assert large < 2.3 * small
    assert large < 0.15 * 8192**2 * 4 / 1e6


def test_global_random_state_is_neither_read_nor_moved():
    q, k, v = inputs(150)
    torch.manual_seed(1), np.random.seed(1)
    first = bigbird_attention(q, k, v, BigBirdPattern(8, random=2, seed=77))
    a = torch.rand(1), np.random.rand()
    torch.manual_seed(1), np.random.seed(1)
    assert (torch.rand(1), np.random.rand()) == a
    torch.testing.assert_close(
        first, bigbird_attention(q, k, v, BigBirdPattern(8, random=2, seed=77)), rtol=0, atol=0
    )


@pytest.mark.parametrize("length", [0, 1, 50, 100, 128, 129, 704])
def test_texts_shorter_than_the_pattern_are_full_attention(length):
    """The paper's sizes: up to 704 tokens, those below one block or three among them."""
    q, k, v = inputs(length, batch=1, heads=1)
    mask = Padding(torch.tensor([length // 2]))
    for given_mask in (None, mask):
        out = bigbird_attention(q, k, v, BigBirdPattern(), given_mask)
        expected = naive_softmax_attention(q, k, v, given_mask)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("batch", "length"), [(0, 50), (2, 0), (0, 0), (0, 3)])
def test_nothing_gives_nothing(batch, length, causal):
    q, k, v = inputs(length, batch=batch)
    mask = Causal() & Padding(torch.zeros(batch, dtype=torch.long)) if causal else None
    out = bigbird_attention(q, k, v, BigBirdPattern(4, random=1), mask)
    assert out.shape == (batch, 3, length, 5)
    grads = torch.autograd.grad(out.sum(), (q, k, v))
    assert [g.shape for g in grads] == [q.shape, k.shape, v.shape]


@pytest.mark.parametrize("length", [63, 64])
def test_a_second_derivative_is_an_error_and_not_a_wrong_number(length):
    pattern = BigBirdPattern(4, random=1)
    q, k, v = inputs(length, batch=1, heads=1)
    for total in (lambda out: out.sum(), lambda out: out.square().sum()):
        out = bigbird_attention(q, k, v, pattern)
        grads = torch.autograd.grad(total(out), (q, k, v), create_graph=True)
        for grad in grads:
            for leaf in (q, k, v):
                with pytest.raises(RuntimeError, match="no second derivative"):
                    torch.autograd.grad(grad.square().sum(), leaf, retain_graph=True)
        plain = torch.autograd.grad(total(bigbird_attention(q, k, v, pattern)), (q, k, v))
        assert all(torch.equal(a, b) for a, b in zip(grads, plain, strict=True))


def test_heads_may_share_keys():
    pattern, mask = BigBirdPattern(4, random=1), Padding(torch.tensor([50, 20]))
    q, _, _ = inputs(50, heads=6)
    _, k, v = inputs(50, heads=2, seed=1)
    out = bigbird_attention(q, k, v, pattern, mask)
    expected = naive_softmax_attention(q, k, v, BigBirdMask(pattern, 50, 6) & mask)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="6 heads of queries do not fit"):
        bigbird_attention(q, *(torch.cat((t, t), 1) for t in (k, v)), pattern)


@pytest.mark.parametrize("block", [1, 48, 64, 200])
@pytest.mark.parametrize("causal", [False, True])
def test_flexs_blocks_are_those_of_the_table(block, causal):
    """Tiles that flex_attention reads, whole or pair by pair, against the dense mask."""
    pattern = BigBirdPattern(block, random=1, causal=causal, seed=5)
    for length in (block * 9 + 7, 1280):
        found = block_mask(pattern, length, 2, "cpu")
        dense = BigBirdMask(pattern, length, 2).dense(length, length, 1, 2)
        assert torch.equal(found.to_dense()[0] > 0, _tiles(dense, torch.any)), length
        numbers = found.full_kv_num_blocks[0]
        order = found.full_kv_indices[0]
        whole = torch.zeros(order.shape, dtype=torch.bool)
        for at in np.ndindex(tuple(numbers.shape)):
            whole[(*at, order[at][: numbers[at]].long())] = True
        assert not (whole & ~_tiles(dense, torch.all)).any()
        assert not (found.to_dense()[0] > 0)[whole].logical_not().any()


def _tiles(dense, join):
    """(1, H, N, N) -> (H, tiles, tiles); what lies outside of the text counts as not allowed."""
    short = -dense.shape[-1] % TILE
    padded = torch.nn.functional.pad(dense[0], (0, short, 0, short))
    return join(join(padded.unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE)), 2), 3)


def test_bad_input_gets_one_line():
    q, k, v = inputs(50)
    for pattern, mask, message in [
        (BigBirdPattern(4), Padding(torch.tensor([50])), "Padding of 1 rows does not fit"),
        (BigBirdPattern(4), Padding(torch.ones(2, 49) > 0), "49 keys does not fit 50 keys"),
        (BigBirdPattern(64), Padding(torch.tensor([50])), "Padding of 1 rows does not fit"),
        (BigBirdPattern(4, drawn=DRAWN), None, "drawn has random blocks for 1 heads and 2 blocks"),
        (BigBirdPattern(4, random=1), BigBirdMask(BigBirdPattern(4), 60), "60 tokens does not fit"),
        (BigBirdPattern(4, rule="original"), Causal(), "without causal"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            bigbird_attention(q, k, v, pattern, mask)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="between two sequences use quire"):
        bigbird_attention(q, k[:, :, :40], v[:, :, :40], BigBirdPattern(4))
    for wrong, message in [
        ({"block": 0}, "block must be at least 1"),
        ({"window": 2}, "window must be odd or 0"),
        ({"window": 0, "random": 0, "global_blocks": 0}, "needs a window"),
        ({"random_tokens": 9}, "random_tokens must be at least a block of 64, got 9"),
        ({"random": 1, "drawn": (((1, 2),),)}, "at most 1 .random. different blocks.* got"),
        ({"drawn": (((-1,),),)}, "at least 0 each"),
        ({"drawn": (((), ()), ((),))}, "as many rows for every head, got 2 and 1"),
        ({"rule": "google"}, "rule must be one of even, original, transformers, .* got 'google'"),
        ({"rule": "original", "window": 5}, "needs window 3 and global_blocks 2, got 5 and 2"),
        ({"rule": "transformers", "shared": True}, "draws by itself"),
    ]:
        with pytest.raises(ValueError, match=message):
            BigBirdPattern(**wrong)
