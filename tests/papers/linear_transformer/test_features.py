"""Feature maps: closed forms, unbiased estimates, positivity; and cosFormer's positions."""

import pytest
import torch

from quire.nn import Causal, Encoder, EncoderLayer, FeedForward, MultiHeadAttention, Padding
from quire.papers.linear_transformer import (
    CosineReweighting,
    Favor,
    Hedgehog,
    LinearAttention,
    elu_plus_one,
    identity,
    linear_attention,
    naive_linear_attention,
    polynomial,
    squared_relu,
    taylor,
)


def random(*shape, seed=0):
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip


def test_elu_plus_one():
    x = torch.linspace(-30, 30, 101, dtype=torch.float64)
    torch.testing.assert_close(elu_plus_one(x), torch.nn.functional.elu(x) + 1, atol=1e-15, rtol=0)
    small = elu_plus_one(torch.tensor([-50.0, -20.0]))
    torch.testing.assert_close(small, torch.tensor([-50.0, -20.0]).exp())


def test_polynomial_and_taylor_are_exact():
    q, k = random(2, 7, 5), random(2, 7, 5, seed=1)
    s = q @ k.mT
    torch.testing.assert_close(polynomial(q) @ polynomial(k).mT, s.square())
    s = s / 5**0.5
    torch.testing.assert_close(taylor(q) @ taylor(k).mT, 1 + s + s.square() / 2)


def test_squared_polynomial_attention():
    q, k, v = random(3, 1, 2, 9, 4).unbind()
    weights = (q @ k.mT).square()
    expected = weights / weights.sum(-1, keepdim=True) @ v
    out = linear_attention(q, k, v, feature_map=polynomial, eps=0.0)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_favor_is_unbiased(orthogonal):
    q, k = 0.3 * random(6, 8), 0.3 * random(6, 8, seed=1)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(400):
        phi = Favor(8, 32, generator=generator, orthogonal=orthogonal).double()
        draws.append(phi(q) @ phi(k).mT)
    draws = torch.stack(draws)
    error = (draws.mean(0) - (q @ k.mT / 8**0.5).exp()) / (draws.std(0) / 400**0.5)
    assert error.abs().max() < 4.5


def test_favor_rows_are_orthogonal_and_seeded():
    phi = Favor(8, 20)
    gram = phi.projection[:8] @ phi.projection[:8].T
    torch.testing.assert_close(gram, gram.diag().diag(), atol=1e-4, rtol=0)
    assert torch.equal(phi.projection, Favor(8, 20).projection)
    other = Favor(8, 20, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(phi.projection, other.projection)


def test_orthogonal_rows_estimate_better():
    q, k = 0.25 * random(20, 16), 0.25 * random(20, 16, seed=1)
    exact = (q @ k.mT / 4).exp()
    generator = torch.Generator().manual_seed(0)

    def error(orthogonal):
        maps = [Favor(16, 16, generator=generator, orthogonal=orthogonal) for _ in range(1000)]
        parts = [(phi.double()(q) @ phi(k).mT - exact).square().mean() for phi in maps]
        return torch.stack(parts).mean()

    assert error(True) < 0.95 * error(False)


def test_hedgehog_is_positive_and_its_matrices_learn():
    phi = Hedgehog(3, 4).double()
    q, k, v = random(3, 2, 3, 9, 4).unbind()
    assert (phi(q) > 0).all()
    torch.testing.assert_close(phi(q).sum(-1), torch.ones(2, 3, 9, dtype=torch.float64))
    out = linear_attention(q, k, v, causal=True, feature_map=phi, chunk=4)
    slow = naive_linear_attention(q, k, v, Causal(), feature_map=phi)
    (fast_gradient,) = torch.autograd.grad(out.sin().sum(), phi.weight)
    (gradient,) = torch.autograd.grad(slow.sin().sum(), phi.weight)
    torch.testing.assert_close(fast_gradient, gradient)
    assert gradient.abs().amin(dim=(1, 2)).shape == (3,)


@pytest.mark.parametrize(
    "feature_map", [elu_plus_one, squared_relu, polynomial, taylor, torch.relu]
)
def test_weights_are_not_negative(feature_map):
    q, k = random(50, 6), random(50, 6, seed=1)
    assert (feature_map(q) @ feature_map(k).mT >= 0).all()


MASKS = {
    "all": None,
    "causal": Causal(),
    "padded": Padding(torch.tensor([3, 40])),
    "both": Causal() & Padding(torch.tensor([3, 40])),
}


@pytest.mark.parametrize("scale", [0.3, 3.0, 12.0, 100.0])
@pytest.mark.parametrize("mask", MASKS)
def test_favor_averages_at_any_scale(scale, mask):
    """All features of long queries and keys round to 0; their averages of ones do not."""
    q, k = (scale * random(2, 2, 2, 40, 64)).float().requires_grad_().unbind()
    ones, kernel = torch.ones(2, 2, 40, 3), LinearAttention(Favor(64, 256))
    out = kernel(q, k, ones, MASKS[mask])
    torch.testing.assert_close(out, ones, atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(kernel(q, k, q, MASKS[mask]).sin().sum(), (q, k))
    assert all(x.isfinite().all() for x in gradients)
    with torch.no_grad():
        state = kernel.write(None, k[:, :, :20], ones[:, :, :20])
        out, state = kernel.extend(state, q[:, :, 20:], k[:, :, 20:], ones[:, :, 20:])
        for read in (out, kernel.read(state, q[:, :, -1:])):
            torch.testing.assert_close(read, torch.ones_like(read), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", MASKS)
def test_favor_equals_the_dense_form(mask):
    q, k, v = random(3, 2, 2, 40, 8).requires_grad_().unbind()
    phi = Favor(8, 16).double()
    fast = linear_attention(q, k, v, MASKS[mask], feature_map=phi, eps=0.0)
    slow = naive_linear_attention(q, k, v, MASKS[mask], feature_map=phi, eps=0.0)
    torch.testing.assert_close(fast, slow)
    pairs = (torch.autograd.grad(out.sin().sum(), (q, k, v)) for out in (fast, slow))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


def test_favor_sees_no_later_token():
    q, k, v = 5 * random(3, 1, 1, 40, 8)
    kernel = LinearAttention(Favor(8, 16).double())
    before = kernel(q, k, v, Causal())
    changed = k.clone()
    changed[:, :, 21:] *= 0.01  # far larger features
    torch.testing.assert_close(kernel(q, changed, v, Causal())[:, :, :21], before[:, :, :21])
    assert not torch.equal(kernel(q, changed, v, Causal())[:, :, 21:], before[:, :, 21:])


def test_rows_of_padding_alone_give_zeros_with_favor():
    q = random(2, 2, 5, 8).float()
    for mask in (Padding(torch.tensor([0, 5])), Causal() & Padding(torch.tensor([0, 5]))):
        out = LinearAttention(Favor(8, 16))(q, q, q, mask)
        assert torch.equal(out[0], torch.zeros_like(out[0]))
        assert out[1].abs().min() > 0


def test_a_learned_map_has_a_matrix_for_each_head():
    q, k, v = random(3, 1, 2, 5, 4).float()
    with pytest.raises(ValueError, match="a matrix for each of 2 heads, got 1"):
        linear_attention(q, k[:, :1], v[:, :1], feature_map=Hedgehog(2, 4))


def test_cosformer_equals_its_weights():
    q, k, v = random(3, 2, 3, 9, 4).unbind()
    i = torch.arange(9, dtype=torch.float64)
    weights = q.relu() @ k.relu().mT * torch.cos(torch.pi / 2 * (i[:, None] - i) / 20)
    weights = weights.tril()
    expected = weights @ v / (weights.sum(-1, keepdim=True) + 1e-6)
    turned = CosineReweighting(20)(q, k)
    out = linear_attention(*turned, v, causal=True, feature_map=identity)
    torch.testing.assert_close(out, expected)


def test_cosformer_decodes():
    torch.manual_seed(0)
    attention = MultiHeadAttention(
        8, 2, kernel=LinearAttention(identity), positions=CosineReweighting(12)
    )
    layer = EncoderLayer(8, attention, feed_forward=FeedForward(8, 16))
    model = Encoder(layer, depth=2).double()
    x = random(2, 6, 8)
    with torch.no_grad():
        pieces, state = model.extend(x[:, :3])
        outputs = [pieces]
        for token in x[:, 3:].split(1, 1):
            piece, state = model.extend(token, state)
            outputs.append(piece)
        torch.testing.assert_close(torch.cat(outputs, 1), model(x, Causal()))
    with pytest.raises(ValueError, match="at most 12 tokens have a weight, got 13"):
        CosineReweighting(12)(random(1, 1, 13, 4), random(1, 1, 13, 4))
