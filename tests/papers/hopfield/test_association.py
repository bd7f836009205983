"""Association dense, streamed and sparse."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from quire.papers.hopfield import associate, association_weights, entmax15, sparsemax


def inputs(seed=0, patterns=23):
    rng = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, 5, 4), (2, 3, patterns, 4), (2, 3, patterns, 6))
    return [torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes]


def masks():
    rng = torch.Generator().manual_seed(9)
    some = torch.rand(2, 1, 5, 23, generator=rng) < 0.5
    some[0, 0, 2] = False  # a state that may see nothing
    padding = (torch.arange(23) < torch.tensor([[23], [4]]))[:, None, None]
    return {
        "none": None,
        "bool": some,
        "padding": padding,
        "added": torch.randn(5, 23, generator=rng, dtype=torch.float64),
    }


@pytest.mark.parametrize("kind", masks())
@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
def test_chunks_change_nothing(kind, chunk):
    mask, results = masks()[kind], []
    for size in (None, chunk):
        q, k, v = inputs()
        out = associate(q, k, v, beta=0.7, mask=mask, chunk=size)
        out.square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for dense, streamed in zip(*results, strict=True):
        torch.testing.assert_close(streamed, dense)
        assert streamed.isfinite().all()


@pytest.mark.parametrize("kind", masks())
def test_the_fused_form_is_the_weights_times_the_values(kind):
    q, k, v = inputs()
    weights = association_weights(q, k, beta=0.7, mask=masks()[kind])
    torch.testing.assert_close(associate(q, k, v, beta=0.7, mask=masks()[kind]), weights @ v)
    if kind == "bool":
        assert weights[0, :, 2].abs().max() == 0


def test_beta_is_scaled_per_head_and_may_be_learned():
    q, k, v = inputs()
    beta = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    out = associate(q, k, v, beta=beta[:, None, None])
    for head in range(3):
        one = associate(q[:, head], k[:, head], v[:, head], beta=float(beta[head].detach()))
        torch.testing.assert_close(out[:, head], one)
    out.square().sum().backward()
    assert beta.grad.abs().min() > 0


def test_large_scores_do_not_overflow():
    q, k, v = (x.detach().float() * 100 for x in inputs())
    for chunk in (None, 5):
        assert associate(q, k, v, beta=100.0, chunk=chunk).isfinite().all()


@pytest.mark.parametrize("weighting", [sparsemax, entmax15])
def test_sparse_weightings_are_projections(weighting):
    rng = torch.Generator().manual_seed(0)
    scores = (2 * torch.randn(6, 9, generator=rng, dtype=torch.float64)).requires_grad_()
    p = weighting(scores)
    torch.testing.assert_close(p.sum(-1), torch.ones(6, dtype=torch.float64))
    assert (p == 0).any()
    torch.testing.assert_close(weighting(scores + 3), p)
    assert gradcheck(weighting, scores)


@pytest.mark.parametrize("weighting", [sparsemax, entmax15])
@pytest.mark.parametrize("scores", [
    [1e8, 1.0], [1e7 + 0.5, 1e7, 0.0], [300.0, 1.0, 1.0], [-1e30, -1e30], [0.0] * 7,
    [5.0, -torch.inf, 4.9], [1e30, -1e30], [torch.finfo(torch.float32).min] * 9 + [0.0],
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_sparse_weights_of_any_size_of_score_sum_to_one(weighting, scores, dtype):
    scores = torch.tensor(scores, dtype=torch.float64)
    largest = torch.finfo(dtype).max
    scores = torch.where(scores.isinf(), scores, scores.clamp(-largest, largest))
    scores = scores.to(dtype).requires_grad_()
    p = weighting(scores)
    assert p.dtype == dtype
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=dtype), atol=0.01, rtol=0)
    torch.testing.assert_close(p.double(), bisect(scores.detach(), weighting), atol=0.01, rtol=0)
    (p * torch.arange(len(p))).sum().backward()
    assert scores.grad.isfinite().all()


def bisect(scores, weighting):
    """The slow twin: tau by halving an interval, in float64."""
    power, scale = (1, 1.0) if weighting is sparsemax else (2, 0.5)
    scores = (scores.double() - scores.double().max()) * scale
    low, high = torch.tensor(-1.0).double(), torch.tensor(0.0).double()
    for _ in range(60):
        tau = (low + high) / 2
        total = (scores - tau).clamp_min(0).pow(power).sum()
        low, high = (tau, high) if total > 1 else (low, tau)
    return (scores - tau).clamp_min(0).pow(power)


@pytest.mark.parametrize("weighting", [sparsemax, entmax15])
@pytest.mark.parametrize("count", [1, 2, 300, 5000])
def test_sparse_weights_against_bisection(weighting, count):
    scores = torch.randn(count, generator=torch.Generator().manual_seed(count))
    torch.testing.assert_close(weighting(scores).double(), bisect(scores, weighting),
                               atol=2e-5, rtol=1e-3)  # fmt: skip
    assert gradgradcheck(weighting, scores[:6].double().requires_grad_())


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("weighting", [None, sparsemax, entmax15])
def test_no_pattern_and_nothing_to_see_give_zeros(weighting, chunk):
    if chunk and weighting:
        return
    x, y = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    options = {"beta": 1.0, "weighting": weighting}
    assert associate(x, y[:, :0], chunk=chunk, **options).eq(0).all()
    assert association_weights(x, y[:, :0], **options).shape == (2, 3, 0)
    lowest = torch.finfo(torch.float32).min
    for hidden in (torch.zeros(5) > 0, torch.full((5,), lowest), torch.full((1,), -torch.inf)):
        out = associate(x, y, mask=hidden, chunk=chunk, **options)
        assert out.eq(0).all()
        out.sum().backward()
        assert x.grad.isfinite().all()
        assert y.grad.isfinite().all()
        assert association_weights(x, y, mask=hidden, **options).eq(0).all()
    same = association_weights(x, y, mask=torch.zeros(5, dtype=torch.float64), **options)
    assert same.dtype == torch.float32
    torch.testing.assert_close(same, association_weights(x, y, **options))


def test_entmax_is_the_maximiser_it_is_defined_by():
    """p = argmax p.z + H(p), so p.z + H(p) beats it nowhere; H is Tsallis' entropy."""
    rng = torch.Generator().manual_seed(1)
    scores = torch.randn(7, generator=rng, dtype=torch.float64)

    def objective(p, alpha):
        return p @ scores + (p - p**alpha).sum(-1) / (alpha * (alpha - 1))

    others = torch.distributions.Dirichlet(torch.full((7,), 0.3, dtype=torch.float64))
    torch.manual_seed(0)
    samples = others.sample((2000,))
    for weighting, alpha in ((sparsemax, 2.0), (entmax15, 1.5)):
        best = objective(weighting(scores), alpha)
        assert (objective(samples, alpha) <= best + 1e-9).all()


def test_a_sparse_memory_retrieves_exactly():
    stored = 3 * torch.eye(4)
    state = stored + 0.1
    found = associate(state, stored, beta=2.0, weighting=sparsemax)
    assert torch.equal(found, stored)


def test_bad_input_is_one_line():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="chunk is for softmax without dropout"):
        associate(x, x, beta=1.0, chunk=2, weighting=sparsemax)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        associate(x, x, beta=1.0, chunk=0)
    with pytest.raises(ValueError, match=r"mask must have 2 columns, one a pattern; got \(3,\)"):
        associate(x, x, beta=1.0, mask=torch.ones(3) > 0)
    for beta in (0.0, -1.0, float("nan"), torch.tensor([[-1.0]])):
        for call in (associate, association_weights):
            with pytest.raises(ValueError, match="beta must be positive and finite"):
                call(x, x, beta=beta)
