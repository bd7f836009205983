"""Association dense, streamed and sparse."""

import pytest
import torch
from torch.autograd import gradcheck

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
