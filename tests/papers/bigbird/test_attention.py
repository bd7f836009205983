"""Gathered blocks against the dense formula, and against transformers' BigBird."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.lab.measure import peak_tensor_mb
from quire.nn import (
    Causal,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    Padding,
    Window,
    naive_softmax_attention,
    select,
    softmax_attention,
)
from quire.papers.bigbird import (
    BigBird,
    BigBirdAttention,
    BigBirdMask,
    BigBirdPattern,
    bigbird_attention,
    load_weights,
)
from quire.papers.bigbird import attention as implementation


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
    length=st.integers(8, 120),
    block=st.integers(1, 9),
    window=st.sampled_from([0, 1, 3, 5]),
    random=st.integers(0, 3),
    ends=st.integers(0, 4),
    seed=st.integers(0, 5),
    causal=st.booleans(),
    padded=st.booleans(),
)
def test_it_is_the_dense_formula(length, block, window, random, ends, seed, causal, padded):
    if window + random + ends == 0 or block > length or random > -(-length // block):
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
@pytest.mark.parametrize("causal", [False, True])
def test_flex_attention_gives_the_same(causal):
    pattern = BigBirdPattern(8, random=2, causal=causal)
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


@pytest.mark.parametrize("lengths", [None, (3, 1), (45, 30)])
def test_decoding_in_pieces_is_one_causal_pass(lengths):
    torch.manual_seed(0)
    layers = [
        EncoderLayer(
            16,
            MultiHeadAttention(
                16, 2, kernel=BigBirdAttention(BigBirdPattern(4, random=2, seed=seed))
            ),
            feed_forward=FeedForward(16, 32),
        )
        for seed in range(2)
    ]
    encoder = Encoder(layers).double()
    x = torch.randn(2, 70, 16, dtype=torch.float64)
    prompt = 40 if lengths is None else max(lengths)
    counts = torch.ones(2, 70, dtype=torch.bool)
    mask = None
    if lengths is not None:
        counts[:, :prompt] = torch.arange(prompt) < torch.tensor(lengths)[:, None]
        mask = Padding(counts[:, :prompt])
    with torch.no_grad():
        whole = encoder(x, Causal() & Padding(counts))
        out, state = encoder.extend(x[:, :prompt], mask=mask)
        pieces = [out]
        for t in range(prompt, 70):
            out, state = encoder.extend(x[:, t : t + 1], state)
            pieces.append(out)
    found = torch.cat(pieces, 1)
    torch.testing.assert_close(found[counts], whole[counts], rtol=0, atol=1e-10)


def test_a_decoder_may_not_read_its_memory_along_the_pattern():
    """A state to which no token was added holds another sequence: it has no row for a query."""
    torch.manual_seed(0)
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, causal=True))
    own, cross = (MultiHeadAttention(16, 2, kernel=kernel) for _ in range(2))
    layer = DecoderLayer(16, own, cross_attention=cross, feed_forward=FeedForward(16, 32))
    decoder = Decoder(layer)
    memory, x = torch.randn(2, 50, 16), torch.randn(2, 3, 16)
    with pytest.raises(ValueError, match="a query to 50 remembered keys") as error:
        decoder.extend(x[:, :1], decoder.begin(memory))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="between two sequences use quire"):
        decoder(x, memory, Causal())
    cross.kernel = softmax_attention
    state, pieces = decoder.begin(memory), []
    for t in range(3):
        out, state = decoder.extend(x[:, t : t + 1], state)
        pieces.append(out)
    whole = decoder(x, memory, Causal())
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)


def test_states_of_decoding_are_selected_for_beams():
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, causal=True))
    k, v, q = (torch.randn(3, 2, 21, 8, dtype=torch.float64) for _ in range(3))
    rows = torch.tensor([2, 2, 0])
    state = kernel.write(None, k[:, :, :20], v[:, :, :20], Padding(torch.tensor([20, 7, 3])))
    state = kernel.write(select(state, rows), k[rows][:, :, 20:], v[rows][:, :, 20:], None)
    counts = torch.arange(21) < torch.tensor([20, 7, 3])[:, None]
    counts[:, 20] = True
    expected = kernel(q[rows], k[rows], v[rows], Padding(counts[rows]))[:, :, 20:]
    found = kernel.read(state, q[rows][:, :, 20:])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_bad_input_gets_one_line():
    q, k, v = inputs(50)
    for pattern, mask, message in [
        (BigBirdPattern(64), None, "block must be at most the length, got 64 for 50"),
        (BigBirdPattern(8, random=8), None, "random must be at most the number of blocks, got 8"),
        (BigBirdPattern(4), Padding(torch.tensor([50])), r"Padding must be \(2,\) lengths"),
        (BigBirdPattern(4), Padding(torch.ones(2, 49) > 0), r"got \(2, 49\)"),
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
    ]:
        with pytest.raises(ValueError, match=message):
            BigBirdPattern(**wrong)


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def peer(transformers, kind):
    torch.manual_seed(0)
    model = transformers.BigBirdModel(
        transformers.BigBirdConfig(
            vocab_size=60,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=1024,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            block_size=8,
            num_random_blocks=2,
            attention_type=kind,
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double()


def ours(theirs, patterns):
    model = BigBird(60, 32, layers=2, heads=4, hidden=48, length=1024, pattern=None).double()
    load_weights(model, theirs.state_dict())
    for layer, pattern in zip(model.layers, patterns, strict=True):
        layer.attention.kernel = BigBirdAttention(pattern) if pattern else softmax_attention
    return model


def gradients(model, out, weight):
    (out * weight).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_full_attention_is_transformers_original_full(transformers):
    theirs = peer(transformers, "original_full").eval()
    words = torch.randint(60, (2, 45))
    counts = torch.arange(45) < torch.tensor([45, 20])[:, None]
    expected = theirs(words, attention_mask=counts.long()).last_hidden_state
    found = ours(theirs, [None, None])(words, Padding(counts))
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=1e-10)


def drawn_by(theirs, length):
    """The patterns that transformers' layers draw in training."""
    found = []
    for layer in theirs.encoder.layer:
        attention = layer.attention.self
        state = np.random.get_state()
        np.random.seed(attention.seed)
        if length in (1024, 3072, 4096):
            plans = [
                attention._bigbird_block_rand_mask(1024, 1024, 8, 8, 2, last_idx=1024)
                for _ in range(4)
            ]
        else:
            plan = attention._get_rand_attn_plan(length, 8, 2)
            plans = attention._bigbird_block_rand_mask_with_head(length, length, 8, 8, 4, *plan)
        np.random.set_state(state)
        rows = tuple(((), *(tuple(map(int, row)) for row in plan), ()) for plan in plans)
        found.append(BigBirdPattern(8, random=2, drawn=rows))
    return found


@pytest.mark.parametrize("length", [160, 1024])
def test_block_sparse_is_transformers_with_the_pattern_that_it_drew(transformers, length):
    theirs = peer(transformers, "block_sparse").train()
    state = np.random.get_state()
    words = torch.randint(60, (2, length))
    counts = torch.arange(length) < torch.tensor([length, length // 2 + 3])[:, None]
    expected = theirs(words, attention_mask=counts.long()).last_hidden_state
    model = ours(theirs, drawn_by(theirs, length))
    found = model(words, Padding(counts))
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=1e-10)
    weight = torch.randn(found.shape, dtype=found.dtype) * counts[..., None]
    mine = gradients(model, found, weight)
    other = gradients(theirs, expected, weight)
    np.random.set_state(state)  # theirs has seeded NumPy's global generator
    pairs = [
        ("layers.0.attention.key.weight", "encoder.layer.0.attention.self.key.weight"),
        ("layers.1.feed_forward.3.bias", "encoder.layer.1.output.dense.bias"),
        ("word.weight", "embeddings.word_embeddings.weight"),
    ]
    for name, theirs_name in pairs:
        given = mine[name].clone()
        if name == "word.weight":  # theirs has no gradient for its padding word
            given[0] = 0
        torch.testing.assert_close(given, other[theirs_name], rtol=1e-8, atol=1e-8)
