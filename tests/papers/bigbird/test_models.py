"""The models: sizes, weights in, recomputation, decoding; ETC against its dense form."""

import pytest
import torch

from quire.nn import Causal, Padding
from quire.papers.bigbird import (
    BigBird,
    BigBirdPattern,
    BigBirdSeq2Seq,
    ETCAttention,
    Pooler,
    cpc_loss,
)

SMALL = BigBirdPattern(4, random=1)


def small(**options):
    torch.manual_seed(0)
    options = {"dropout": 0.0} | options
    return BigBird(20, 16, layers=2, heads=2, length=64, pattern=SMALL, **options)


def test_the_base_size():
    with torch.device("meta"):
        parts = BigBird(), Pooler(768)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 127_468_800


def test_layers_draw_their_own_blocks():
    seeds = [layer.attention.kernel.pattern.seed for layer in small().layers]
    assert seeds == [0, 1]


def test_recomputing_layers_changes_no_gradient():
    words = torch.randint(20, (2, 50))
    gradients = []
    for recompute in (False, True):
        model = small(recompute=recompute)
        model(words).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_training_and_evaluation_attend_alike():
    model, words = small().train(), torch.randint(20, (2, 50))
    expected = model(words)
    torch.testing.assert_close(model.eval()(words), expected, rtol=0, atol=0)


def test_padding_does_not_change_the_rest():
    model = small().eval().double()
    words = torch.randint(20, (2, 50))
    counts = torch.arange(50) < torch.tensor([50, 30])[:, None]
    other = words.masked_fill(~counts, 3)
    a, b = model(words, Padding(counts)), model(other, Padding(counts))
    torch.testing.assert_close(a[counts], b[counts], rtol=0, atol=1e-12)


def test_greedy_decoding_is_the_argmax_of_the_whole_pass():
    for shared in (True, False):
        model = BigBirdSeq2Seq(small(), length=12, shared=shared).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        source = torch.randint(20, (3, 50))
        mask = Padding(torch.tensor([50, 31, 12]))
        words = model.greedy(source, 1, steps=9, mask=mask)
        target = torch.cat((torch.ones(3, 1, dtype=torch.long), words[:, :-1]), 1)
        assert (model(source, target, mask).argmax(-1) == words).all()


def test_shared_layers_are_the_encoders():
    encoder = small()
    model = BigBirdSeq2Seq(encoder, shared=True)
    own, layer = model.decoder.layers[1], encoder.layers[1]
    assert own.attention.query is layer.attention.query
    assert own.feed_forward is layer.feed_forward
    assert own.cross_attention.query is not layer.attention.query
    assert BigBirdSeq2Seq(small(), shared=False).decoder.layers[0].attention.query is not (
        encoder.layers[0].attention.query
    )


def test_rotary_positions_need_no_length():
    model = BigBird(20, 16, layers=1, heads=2, length=4, pattern=SMALL, rotary=True)
    assert model(torch.randint(20, (1, 50))).shape == (1, 50, 16)


def dense_etc(module, long, tokens, owner, counts):
    """ETC's attention with all (G + N)^2 scores and labels in memory."""
    few, length, reach = tokens.shape[1], long.shape[1], module.reach
    parts = [
        torch.cat((g, x), 2)
        for g, x in zip(
            module._split(module.tokens(tokens)), module._split(module.long(long)), strict=True
        )
    ]
    q, k, v = parts
    place = torch.cat((torch.arange(few), torch.arange(length)))
    label = (place - place[:, None]).clamp(-reach, reach) + reach
    label = label.expand(len(long), -1, -1).clone()
    belongs = owner[..., None] == torch.arange(few)
    kinds = 2 * reach + 2 - belongs.long()
    label[:, few:, :few] = kinds
    label[:, :few, few:] = kinds.mT
    biased = torch.einsum("bhik,hlk->bhil", q, module.labels)
    scores = q @ k.mT + biased.gather(-1, label[:, None].expand(-1, q.shape[1], -1, -1))
    block = torch.arange(length) // module.block
    near = (block - block[:, None]).abs() <= module.window // 2
    allowed = torch.ones(few + length, few + length, dtype=torch.bool)
    allowed[few:, few:] = near
    allowed = allowed & torch.cat((torch.ones(len(long), few) > 0, counts), 1)[:, None]
    weights = (scores / q.shape[-1] ** 0.5).masked_fill(~allowed[:, None], -torch.inf).softmax(-1)
    out = (weights @ v).transpose(1, 2).flatten(2)
    return module.long_output(out[:, few:]), module.tokens_output(out[:, :few])


@pytest.mark.parametrize(("length", "window"), [(50, 3), (48, 1), (13, 5)])
def test_etc_is_its_dense_form(length, window):
    torch.manual_seed(0)
    module = ETCAttention(16, 2, block=4, window=window, reach=3).double()
    torch.nn.init.normal_(module.labels)
    long = torch.randn(2, length, 16, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, 3, 16, dtype=torch.float64, requires_grad=True)
    owner = torch.randint(-1, 3, (2, length))
    lengths = torch.tensor([length, length // 2])
    counts = torch.arange(length) < lengths[:, None]
    found = module(long, tokens, owner, Padding(lengths))
    expected = dense_etc(module, long, tokens, owner, counts)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    inputs = (long, tokens, module.labels)
    ours = torch.autograd.grad(sum(t.square().sum() for t in found), inputs)
    theirs = torch.autograd.grad(sum(t.square().sum() for t in expected), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_etc_without_global_tokens_is_finite():
    module = ETCAttention(8, 2, block=4)
    long, _ = module(torch.randn(1, 40, 8), torch.randn(1, 0, 8), None, Padding(torch.tensor([5])))
    assert long.isfinite().all()


def test_contrast_prefers_its_own():
    states = torch.eye(4, 8) * 50
    assert float(cpc_loss(states, states)) < 1e-6
    assert float(cpc_loss(states, states.roll(1, 0))) > 10


def test_a_causal_encoder_does_not_look_ahead():
    model = small().double()
    words = torch.randint(20, (1, 50))
    changed = words.clone()
    changed[:, 30:] = (changed[:, 30:] + 1) % 20
    a, b = model(words, Causal()), model(changed, Causal())
    torch.testing.assert_close(a[:, :30], b[:, :30], rtol=0, atol=1e-12)
    assert (a[:, 30:] != b[:, 30:]).any()


@pytest.mark.parametrize("shape", [(0, 50), (2, 0), (0, 0), (2, 1), (2, 3)])
def test_empty_batches_and_texts_and_single_tokens(shape):
    model, words = small(), torch.randint(20, shape)
    for mask in (None, Causal(), Padding(torch.ones(shape[0], dtype=torch.long))):
        assert model(words, mask).shape == (*shape, 16)
    assert BigBird(20, 16, layers=1, heads=2, length=64)(words).shape == (*shape, 16)
    long, tokens = ETCAttention(8, 2, block=4)(torch.randn(*shape, 8), torch.randn(shape[0], 2, 8))
    assert long.shape == (*shape, 8) and tokens.shape == (shape[0], 2, 8)
    assert long.isfinite().all() and tokens.isfinite().all()
    assert float(cpc_loss(torch.zeros(0, 8), torch.zeros(0, 8))) == 0


def test_bad_etc_gets_one_line():
    with pytest.raises(ValueError, match="ETC takes no mask but Padding, got Causal"):
        ETCAttention(8, 2)(torch.randn(1, 9, 8), torch.randn(1, 2, 8), None, Causal())
    padding = Padding(torch.tensor([9, 9]))
    with pytest.raises(ValueError, match="Padding of 2 rows does not fit a batch of 1"):
        ETCAttention(8, 2)(torch.randn(1, 9, 8), torch.randn(1, 2, 8), None, padding)
    with pytest.raises(ValueError, match="window must be odd and dim a multiple of heads"):
        ETCAttention(8, 3)
