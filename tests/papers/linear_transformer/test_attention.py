"""Linear attention: three forms against the one that weighs every pair; masks, states."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from papers.linear_transformer.twins import CLOSE, assert_twins, inputs
from quire.nn import (
    Causal,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    Memory,
    MultiHeadAttention,
    Padding,
    Rotary,
    Window,
    select,
)
from quire.papers.linear_transformer import (
    Favor,
    LinearAttention,
    LinearState,
    causal_attention,
    elu_plus_one,
    identity,
    linear_attention,
    naive_linear_attention,
    polynomial,
    recurrent_step,
    squared_relu,
    taylor,
)
from quire.papers.linear_transformer.causal import split_blocks

LENGTHS = [1, 7, 63, 130, 257]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("mask", [None, Causal()], ids=["all", "causal"])
@pytest.mark.parametrize("feature_map", [elu_plus_one, polynomial, taylor, squared_relu])
def test_equals_every_pair_weighed(length, mask, feature_map):
    q, k, v = inputs(length)
    fast = linear_attention(q, k, v, mask, feature_map=feature_map)
    assert_twins(fast, naive_linear_attention(q, k, v, mask, feature_map=feature_map), (q, k, v))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("chunk", [1, 3, 64, 1000])
def test_chunks_do_not_matter(length, chunk):
    q, k, v = inputs(length)
    fast = linear_attention(q, k, v, causal=True, chunk=chunk)
    assert_twins(fast, naive_linear_attention(q, k, v, Causal()), (q, k, v))


def test_many_blocks_equal_one(monkeypatch):
    q, k, v = inputs(257)
    rows = [x.flatten(0, 1) for x in (q, k, v)]
    assert len(split_blocks(rows[0], rows[2], 16)) == 1
    whole = linear_attention(q, k, v, causal=True, chunk=16)
    monkeypatch.setattr(
        "quire.papers.linear_transformer.causal.split_blocks",
        lambda q, v, chunk: [slice(s, min(s + 32, 257)) for s in range(0, 257, 32)],
    )
    assert_twins(linear_attention(q, k, v, causal=True, chunk=16), whole, (q, k, v))


@pytest.mark.parametrize(("queries", "keys"), [(5, 9), (9, 5), (1, 70), (70, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_lengths_may_differ(queries, keys, causal):
    q, k, v = inputs(queries, keys=keys)
    mask = Causal() if causal else None
    fast = linear_attention(q, k, v, causal=causal, chunk=4)
    assert_twins(fast, naive_linear_attention(q, k, v, mask), (q, k, v))


PADDINGS = {
    "lengths": Padding(torch.tensor([3, 11])),
    "some": Padding(torch.rand(2, 11, generator=torch.Generator().manual_seed(1)) > 0.4),
    "one row empty": Padding(torch.tensor([0, 5])),
}


@pytest.mark.parametrize("name", PADDINGS)
@pytest.mark.parametrize("order", ["padding", "causal & padding", "padding & causal"])
def test_masks_equal_the_dense_oracle(name, order):
    padding = PADDINGS[name]
    mask = {
        "padding": padding,
        "causal & padding": Causal() & padding,
        "padding & causal": padding & Causal(),
    }[order]
    q, k, v = inputs(11)
    fast = linear_attention(q, k, v, mask, chunk=4)
    assert_twins(fast, naive_linear_attention(q, k, v, mask), (q, k, v))


def test_a_row_of_padding_alone_gives_zeros():
    q, k, v = inputs(6)
    for mask in (Padding(torch.tensor([0, 6])), Causal() & Padding(torch.tensor([0, 6]))):
        out = linear_attention(q, k, v, mask)
        assert torch.equal(out[0], torch.zeros_like(out[0]))
        assert out[1].abs().min() > 0


def test_padded_batch_equals_separate_runs():
    lengths = [2, 9, 5]
    q, k, v = inputs(9, batch=3)
    for causal in (False, True):
        batched = linear_attention(q, k, v, Padding(torch.tensor(lengths)), causal=causal)
        for row, length in enumerate(lengths):
            alone = [x[row : row + 1, :, :length] for x in (q, k, v)]
            expected = linear_attention(*alone, causal=causal)
            torch.testing.assert_close(batched[row : row + 1, :, :length], expected, **CLOSE)


@pytest.mark.parametrize("length", [1, 4, 5, 8])
def test_gradcheck(length):
    q, k, v = inputs(length, batch=1, heads=2, width=3, values=2)
    rows = [x.detach().flatten(0, 1).abs().requires_grad_() for x in (q, k, v)]
    assert torch.autograd.gradcheck(lambda *x: causal_attention(*x, chunk=4), rows)


def test_gradcheck_of_the_feature_map():
    x = torch.tensor([-30.0, -1.0, -0.1, 0.2, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(elu_plus_one, x)
    assert torch.autograd.gradgradcheck(elu_plus_one, x)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 40),
    chunk=st.integers(1, 50),
    width=st.integers(1, 6),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_outputs_are_averages_of_values_so_far(length, chunk, width, seed, scale):
    q, k, v = inputs(length, width=width, seed=seed, scale=scale)
    with torch.no_grad():
        out = linear_attention(q, k, v, causal=True, chunk=chunk, eps=0.0)
        high, low = v.cummax(-2).values, v.cummin(-2).values
        assert (out <= high + 1e-9).all()
        assert (out >= low - 1e-9).all()
        torch.testing.assert_close(out[..., 0, :], v[..., 0, :], **CLOSE)
        ones = linear_attention(q, k, torch.ones_like(v), causal=True, chunk=chunk, eps=0.0)
        torch.testing.assert_close(ones, torch.ones_like(ones), **CLOSE)


def test_order_of_keys_is_forgotten():
    q, k, v = inputs(20)
    order = torch.randperm(20)
    torch.testing.assert_close(
        linear_attention(q, k, v), linear_attention(q, k[:, :, order], v[:, :, order]), **CLOSE
    )


def test_no_later_token_is_seen():
    q, k, v = (x.detach() for x in inputs(30))
    before = linear_attention(q, k, v, causal=True, chunk=8)
    for x in (q, k, v):
        x[:, :, 17:] = torch.randn_like(x[:, :, 17:])
    after = linear_attention(q, k, v, causal=True, chunk=8)
    assert torch.equal(before[:, :, :17], after[:, :, :17])
    assert not torch.equal(before[:, :, 17:], after[:, :, 17:])


def test_worked_numbers():
    q, k, v = (
        torch.tensor(x, dtype=torch.float64)[None, None, :, None]
        for x in ([2.0], [0.5, 1.0, 1.5], [10.0, 20.0, 30.0])
    )
    assert float(linear_attention(q, k, v, feature_map=identity, eps=0)) == pytest.approx(140 / 6)
    assert float(linear_attention(q, k, v, eps=0)) == pytest.approx(390 / 18)


def stepwise(q, k, v, **options):
    state, outputs = None, []
    for token in range(q.shape[-2]):
        out, state = recurrent_step(state, *(x[..., token, :] for x in (q, k, v)), **options)
        outputs.append(out)
    return torch.stack(outputs, -2), state


def test_recurrent_equals_chunked_with_gradients():
    q, k, v = inputs(33)
    assert_twins(stepwise(q, k, v)[0], linear_attention(q, k, v, causal=True, chunk=8), (q, k, v))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_ten_thousand_steps(dtype, bound):
    q, k, v = (x.detach().to(dtype) for x in inputs(10_000, batch=1, heads=2))
    stepped, state = stepwise(q, k, v)
    assert (stepped - linear_attention(q, k, v, causal=True)).abs().max() < bound
    assert state.S.shape == (1, 2, 5, 4)
    assert state.z.shape == (1, 2, 5)


def test_a_step_takes_a_token_axis_and_leaves_the_state():
    q, k, v = (x.detach() for x in inputs(2))
    _, state = recurrent_step(None, q[:, :, 0], k[:, :, 0], v[:, :, 0])
    kept = copy.deepcopy(state)
    flat, _ = recurrent_step(state, q[:, :, 1], k[:, :, 1], v[:, :, 1])
    axis, _ = recurrent_step(state, q[:, :, 1:], k[:, :, 1:], v[:, :, 1:])
    torch.testing.assert_close(axis[:, :, 0], flat, **CLOSE)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))


def test_the_state_is_saved_reordered_and_read_again():
    q, k, v = (x.detach().float() for x in inputs(6, batch=3))
    kernel = LinearAttention()
    assert isinstance(kernel, Memory)
    with torch.no_grad():
        state = kernel.write(None, k, v, Padding(torch.tensor([6, 2, 4])))
        file = io.BytesIO()
        torch.save(tuple(state), file)
        file.seek(0)
        state = LinearState(*torch.load(file, weights_only=True))
        rows = torch.tensor([2, 2, 0])
        expected = linear_attention(q, k, v, Padding(torch.tensor([6, 2, 4])))[rows]
        read = kernel.read(select(state, rows), q[rows])
    torch.testing.assert_close(read, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_sums_are_float32(dtype, causal):
    """The only error is that of rounding what goes in and out: 2^-8 for bfloat16."""
    q, k, v = (x.detach().to(dtype) for x in inputs(2000, scale=3.0))
    out = linear_attention(q, k, v, causal=causal)
    wide = linear_attention(q.double(), k.double(), v.double(), causal=causal)
    assert out.dtype == dtype
    assert (out.double() - wide).abs().max() <= torch.finfo(dtype).eps * wide.abs().max()
    kernel = LinearAttention()
    assert kernel.write(None, k, v).S.dtype == torch.float32


def test_autocast_leaves_sums_alone():
    q, k, v = (x.detach().float().requires_grad_() for x in inputs(300))
    expected = linear_attention(q, k, v, causal=True)
    wanted = torch.autograd.grad(expected.sum(), (q, k, v))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = linear_attention(q, k, v, causal=True)
        assert torch.equal(out, expected)
        gradients = torch.autograd.grad(out.sum(), (q, k, v))
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_small_queries_keep_their_precision():
    q, k, v = (x.detach().float() for x in inputs(50))
    out = linear_attention(q - 18, k, v, eps=0.0)
    wide = linear_attention(q.double() - 18, k.double(), v.double(), eps=0.0)
    torch.testing.assert_close(out.double(), wide, rtol=1e-4, atol=1e-5)


def encoder(feature_map=elu_plus_one, *, rotary=False):
    torch.manual_seed(0)
    positions = Rotary(4) if rotary else None
    layers = [
        EncoderLayer(
            8,
            MultiHeadAttention(8, 2, kernel=LinearAttention(feature_map, chunk=4), bias=True,
                               positions=positions),
            feed_forward=FeedForward(8, 16),
        )
        for _ in range(2)
    ]  # fmt: skip
    return Encoder(layers, final_norm=nn.LayerNorm(8)).double()


@pytest.mark.parametrize("prompt", [1, 4, 5, 8])
@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("favor", [False, True])
def test_prompt_then_steps_equals_the_whole(prompt, record, favor):
    model = encoder(Favor(4, 8) if favor else elu_plus_one)
    x = torch.randn(3, 9, 8, dtype=torch.float64)
    with torch.set_grad_enabled(record):
        expected = model(x, Causal())
        pieces, state = model.extend(x[:, :prompt])
        outputs = [pieces]
        for token in x[:, prompt:].split(1, 1):
            piece, state = model.extend(token, state)
            outputs.append(piece)
        torch.testing.assert_close(torch.cat(outputs, 1), expected, **CLOSE)
        if record:
            parameters = list(model.parameters())
            whole = torch.autograd.grad(expected.sin().sum(), parameters)
            parts = torch.autograd.grad(torch.cat(outputs, 1).sin().sum(), parameters)
            for a, b in zip(whole, parts, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_padded_prompts_equal_separate_runs():
    model, lengths = encoder(), torch.tensor([2, 5, 4])
    prompt = torch.randn(3, 5, 8, dtype=torch.float64)
    token = torch.randn(3, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.extend(prompt, mask=Padding(lengths))
        batched, _ = model.extend(token, state)
        for row, length in enumerate(lengths.tolist()):
            alone = torch.cat((prompt[row, :length], token[row]))[None]
            torch.testing.assert_close(batched[row], model(alone, Causal())[0, -1:], **CLOSE)


def test_beams_equal_independent_runs():
    model, rows = encoder(), torch.tensor([2, 0, 2])
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    after = torch.randn(3, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.extend(x)
        out, _ = model.extend(after, select(state, rows))
        expected = model(torch.cat((x[rows], after), 1), Causal())[:, -1:]
    torch.testing.assert_close(out, expected, **CLOSE)


@pytest.mark.parametrize("padded", [False, True])
def test_cross_attention_reads_the_memory_once(padded):
    torch.manual_seed(0)
    parts = [MultiHeadAttention(8, 2, kernel=LinearAttention()) for _ in range(2)]
    layer = DecoderLayer(8, parts[0], cross_attention=parts[1], feed_forward=FeedForward(8, 16))
    model = Decoder(layer, depth=2).double()
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    memory = torch.randn(3, 7, 8, dtype=torch.float64)
    mask = Padding(torch.tensor([7, 1, 3])) if padded else None
    with torch.no_grad():
        state, pieces = model.begin(memory, mask), []
        for token in x.split(1, 1):
            piece, state = model.extend(token, state)
            pieces.append(piece)
        torch.testing.assert_close(torch.cat(pieces, 1), model(x, memory, Causal(), mask), **CLOSE)


def test_memory_of_training_does_not_hold_a_state_a_token():
    """O(N max(C, M)) (section 3.3.1): nothing as large as N states is ever allocated."""
    from quire.lab.bench import peak_tensor_mb

    length, width = 2048, 64
    q, k, v = torch.randn(3, 1, 1, length, width).requires_grad_().unbind()
    peak = peak_tensor_mb(
        lambda: torch.autograd.grad(linear_attention(q, k, v, causal=True).sum(), (q, k, v))
    )
    states = length * width * width * 4 / 1e6
    assert peak < states / 2


@pytest.mark.filterwarnings("ignore")
def test_the_causal_gradient_compiles():
    torch._dynamo.reset()
    q, k, v = (x.detach().float().requires_grad_() for x in inputs(70))
    function = lambda *x: linear_attention(*x, causal=True)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    for a, b in zip(
        torch.autograd.grad(compiled(q, k, v).sin().sum(), (q, k, v)),
        torch.autograd.grad(function(q, k, v).sin().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_step_is_exported_and_runs():
    class Step(nn.Module):
        def forward(self, S, z, q, k, v):
            out, state = recurrent_step(LinearState(S, z), q, k, v)
            return out, state.S, state.z

    q, k, v = (x.detach().float() for x in inputs(5))
    _, state = recurrent_step(None, q[:, :, 0], k[:, :, 0], v[:, :, 0])
    token = [x[:, :, 0] for x in (q, k, v)]
    exported = torch.export.export(Step(), (*state, *token))
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    program = torch.export.load(file).module()
    for index in range(1, 5):
        token = [x[:, :, index] for x in (q, k, v)]
        expected, after = recurrent_step(state, *token)
        out, *sums = program(*state, *token)
        torch.testing.assert_close(out, expected)
        state = LinearState(*sums)
        torch.testing.assert_close(state.S, after.S)


def test_bad_input_is_named():
    q, k, v = inputs(4)
    with pytest.raises(ValueError, match="takes Causal, Padding or both, got Window"):
        linear_attention(q, k, v, Causal() & Window(1))
    for mask in (Padding(torch.tensor([4, 2, 3])), Causal() & Padding(torch.tensor([4]))):
        with pytest.raises(ValueError, match="rows does not fit a batch of 2"):
            linear_attention(q, k, v, mask)
    with pytest.raises(ValueError, match="Padding of 6 keys does not fit 4 keys"):
        linear_attention(q, k, v, Padding(torch.ones(2, 6, dtype=torch.bool)))
    with pytest.raises(ValueError, match="Padding of 3 rows does not fit a batch of 2"):
        LinearAttention().write(None, k, v, Padding(torch.tensor([4, 2, 3])))
    with pytest.raises(ValueError, match="with G a divisor of H"):
        linear_attention(q, k[:, :2], v[:, :2])
    with pytest.raises(ValueError, match=r"q, k, v must be .* got \(2, 3, 4, 5\)"):
        linear_attention(q, k[..., :4], v)
    with pytest.raises(ValueError, match="q, k, v must be"):
        linear_attention(q[0], k[0], v[0])
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        LinearAttention(chunk=0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        linear_attention(q, k, v, causal=True, chunk=0)
    with pytest.raises(ValueError, match=r"a step takes v .* got \(2, 3, 4, 4\)"):
        recurrent_step(None, q, k, v)
