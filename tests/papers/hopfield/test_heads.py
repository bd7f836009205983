"""Head analysis: worked numbers, and transformers' BERT."""

import math

import pytest
import torch

from quire.nn import Causal, MultiHeadAttention, Padding
from quire.papers.hopfield import (
    GaussianAttention,
    WatchedAttention,
    head_class,
    median_needed,
    patterns_needed,
    softmax_jacobian_norm,
)


@pytest.mark.parametrize("n", [1, 2, 7, 10, 128, 512])
def test_a_uniform_row_needs_nine_tenths_and_one_hot_one(n):
    assert int(patterns_needed(torch.full((n,), 1 / n))) == math.ceil(0.9 * n - 1e-9)
    assert patterns_needed(torch.eye(n)).eq(1).all()


def test_needed_by_brute_force():
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 9, generator=rng).mul(2).softmax(-1)
    for row, needed in zip(rows, patterns_needed(rows), strict=True):
        held, k = 0.0, 0
        for value in sorted(row.tolist(), reverse=True):
            held, k = held + value, k + 1
            if held >= 0.9:
                break
        assert int(needed) == k
    with pytest.raises(ValueError, match=r"mass must be in \(0, 1\], got 2"):
        patterns_needed(rows, mass=2)


def test_classes_scale_with_the_tokens():
    needed = torch.tensor([257.0, 256.0, 65.0, 64.0, 17.0, 16.0, 1.0])
    assert head_class(needed, 512).tolist() == [1, 2, 2, 3, 3, 4, 4]
    assert head_class(needed / 4, 128).tolist() == [1, 2, 2, 3, 3, 4, 4]


def test_transformers_bert_in_the_tool():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    counts = torch.arange(12) < torch.tensor([[12], [8]])
    tokens = torch.randint(30, (2, 12))
    with torch.no_grad():
        out = model(tokens, attention_mask=counts.long(), output_attentions=True)
    needed = median_needed(out.attentions, counts)
    assert needed.shape == (3, 2)
    rows = torch.cat([patterns_needed(out.attentions[1][b])[:, counts[b]] for b in (0, 1)], 1)
    torch.testing.assert_close(needed[1], rows.double().quantile(0.5, 1))
    # Random weights are small: every head averages, and that says nothing of a trained model.
    assert head_class(needed, 12).max() <= 2


def test_the_jacobians_norm_is_that_of_softmax():
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    exact = [torch.func.jacrev(lambda s: s.softmax(-1))(row) for row in scores]
    norms = torch.stack([torch.linalg.matrix_norm(j, 2) for j in exact])
    torch.testing.assert_close(softmax_jacobian_norm(scores.softmax(-1)), norms)


def test_watched_attention_is_softmax_attention():
    heads = MultiHeadAttention(8, 2)
    x, mask = torch.randn(2, 5, 8), Causal() & Padding(torch.tensor([5, 3]))
    expected = heads(x, None, mask)
    heads.kernel = WatchedAttention()
    torch.testing.assert_close(heads(x, None, mask), expected)
    torch.testing.assert_close(heads.kernel.last.sum(-1), torch.ones(2, 2, 5))


def test_gaussian_heads_by_the_formula_and_their_parameters():
    heads = GaussianAttention(2, 5, centred=True).double()
    s = torch.linspace(-1, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(heads.mu.detach(), s.expand(2, 5))
    for h, i in ((0, 0), (1, 3)):
        row = torch.exp(-(((s - heads.mu[h, i]) / heads.sigma[h, i]) ** 2) / 2)
        torch.testing.assert_close(heads.weights()[h, i], row / row.sum())
    big = GaussianAttention(1, 512)
    assert sum(p.numel() for p in big.parameters()) * 96 == 2 * 768 * 64
    assert 0.75 <= float(big.sigma.detach().min()) <= float(big.sigma.detach().max()) <= 1.25
    assert -1 <= float(big.mu.detach().min()) <= float(big.mu.detach().max()) <= 1


def test_gaussian_heads_under_a_mask_and_of_another_length():
    heads, v = GaussianAttention(2, 5), torch.randn(3, 2, 5, 4)
    out = heads(v, v, v, Causal())
    torch.testing.assert_close(out[:, :, 0], v[:, :, 0])
    with pytest.raises(ValueError, match="attend over 5 tokens, got 6"):
        heads(*torch.randn(3, 1, 2, 6, 4))


def test_a_row_that_sees_nothing_weighs_nothing_and_heads_of_keys_are_shared():
    mask = Padding(torch.tensor([5, 0]))
    q, v = torch.randn(2, 4, 5, 3), torch.randn(2, 2, 5, 3)
    for kernel in (WatchedAttention(), GaussianAttention(4, 5)):
        out = kernel(q, v, v, mask)
        assert out[1].eq(0).all()
        torch.testing.assert_close(out[:1], kernel(q[:1], v[:1], v[:1]))
        twice = v.repeat_interleave(2, 1)
        torch.testing.assert_close(out, kernel(q, twice, twice, mask))
        with pytest.raises(ValueError, match="does not fit"):
            kernel(q, v, v, Padding(torch.tensor([5])))
    assert kernel(q[:0], v[:0], v[:0]).shape == (0, 4, 5, 3)


def test_gaussian_weights_far_from_the_centre_still_sum_to_one():
    heads = GaussianAttention(1, 5).double()
    with torch.no_grad():
        heads.mu.fill_(1.0)
        heads.sigma.fill_(0.15)  # the first token has exp(-89) of the last one's weight
    v = torch.randn(1, 1, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(heads(v, v, v, Causal())[:, :, 0], v[:, :, 0])
    with pytest.raises(ValueError, match="there are 1 heads here, got 2"):
        heads(*torch.randn(3, 1, 2, 5, 2))


@pytest.mark.parametrize("counts", [torch.ones(1, 3).long(), torch.zeros(1, 3) > 0])
def test_counts_of_tokens_are_bool_and_some(counts):
    with pytest.raises(ValueError, match="counts must be bool and True somewhere"):
        median_needed([torch.full((1, 2, 3, 3), 1 / 3)], counts)
