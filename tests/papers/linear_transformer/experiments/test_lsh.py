"""LSH attention against a dense oracle of the same buckets."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from quire.nn import Causal, Encoder, EncoderLayer, FeedForward, MultiHeadAttention, Padding, Window
from quire.papers.linear_transformer.experiments.lsh import LSHAttention


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def dense(kernel, q, v, mask=None):
    """Every weight in memory: rank tokens by bucket, compare the chunks of every pair."""
    batch, heads, length, width = q.shape
    keys = q / q.norm(dim=-1, keepdim=True)
    scores = q @ keys.mT / width**0.5
    scores = scores.masked_fill(torch.eye(length, dtype=torch.bool), -1e5)
    allowed = torch.ones(batch, heads, length, length, dtype=torch.bool)
    if mask is not None:
        allowed = mask.dense(length, length, batch, heads).expand_as(allowed)
    outs, totals = [], []
    for bucket in kernel.buckets(q):
        place = (bucket * length + torch.arange(length)).argsort(-1).argsort(-1)
        chunk = place // kernel.chunk
        behind = chunk[..., :, None] - chunk[..., None, :]
        seen = allowed & ((behind == 0) | (behind == 1))
        total = scores.masked_fill(~seen, -1e30).logsumexp(-1, keepdim=True)
        outs.append((scores - total).masked_fill(~seen, -torch.inf).exp() @ v)
        totals.append(total)
    return (torch.stack(outs) * torch.stack(totals).softmax(0)).sum(0)


MASKS = {
    "none": lambda length: None,
    "causal": lambda length: Causal(),
    "padding": lambda length: Padding(torch.tensor([5, 23]).clamp(max=length)),
    "window": lambda length: Causal() & Window(4),
}


@pytest.mark.parametrize("length", [1, 4, 23, 24])
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("mask", MASKS)
def test_equals_the_dense_oracle(length, rounds, mask):
    allowed = MASKS[mask](length)
    kernel = LSHAttention(6, rounds=rounds, buckets=4, chunk=4).double().eval()
    q = random(2, 3, length, 6).requires_grad_()
    v = random(2, 3, length, 5).requires_grad_()
    fast, slow = kernel(q, q, v, allowed), dense(kernel, q, v, allowed)
    torch.testing.assert_close(fast, slow)
    pairs = (torch.autograd.grad(out.sin().sum(), (q, v)) for out in (fast, slow))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


def test_one_chunk_is_attention_to_all_others():
    kernel = LSHAttention(6, buckets=4, chunk=20).double().eval()
    q, v = random(1, 2, 9, 6), random(1, 2, 9, 5)
    scores = q @ (q / q.norm(dim=-1, keepdim=True)).mT / 6**0.5
    scores = scores.masked_fill(torch.eye(9, dtype=torch.bool), -torch.inf)
    torch.testing.assert_close(kernel(q, q, v), scores.softmax(-1) @ v)


def test_no_later_token_is_seen():
    kernel = LSHAttention(6, rounds=2, buckets=4, chunk=4).double().eval()
    q, v = random(1, 2, 21, 6), random(1, 2, 21, 5)
    q = q.requires_grad_()
    (gradient,) = torch.autograd.grad(kernel(q, q, v, Causal())[:, :, 7].sum(), q)
    assert gradient[:, :, :8].abs().sum() > 0
    assert (gradient[:, :, 8:] == 0).all()


def test_the_first_token_attends_to_itself():
    kernel = LSHAttention(6, buckets=4, chunk=4).double().eval()
    q, v = random(1, 2, 9, 6), random(1, 2, 9, 5)
    torch.testing.assert_close(kernel(q, q, v, Causal())[:, :, 0], v[:, :, 0])


def test_near_queries_share_buckets():
    kernel = LSHAttention(16, rounds=64, buckets=16, chunk=4).double()
    q = random(1, 1, 50, 16)
    near = (kernel.buckets(q) == kernel.buckets(q + 0.05 * random(1, 1, 50, 16))).double().mean()
    far = (kernel.buckets(q) == kernel.buckets(q.flip(2))).double().mean()
    assert near > 0.8
    assert far < 0.2


def test_rotations_are_drawn_in_training_and_kept_in_evaluation():
    def trained(calls, seed=0):
        torch.manual_seed(7)
        kernel = LSHAttention(6, buckets=4, chunk=4, seed=seed)
        for _ in range(calls):
            kernel(*torch.zeros(3, 1, 1, 4, 6))
        return kernel

    one = trained(3)
    assert torch.equal(one.rotations, trained(3).rotations)
    assert not torch.equal(one.rotations, trained(2).rotations)
    assert torch.equal(trained(0).rotations, LSHAttention(6, buckets=4, chunk=4).rotations)
    assert not torch.equal(trained(0).rotations, trained(0, seed=1).rotations)
    other = trained(0)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.rotations, one.rotations)
    kept = one.eval().rotations.clone()
    one(*torch.zeros(3, 1, 1, 4, 6))
    assert torch.equal(one.rotations, kept)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_sorts_the_same_buckets(reentrant):
    attention = MultiHeadAttention(16, 2, kernel=LSHAttention(8, buckets=8, chunk=8))
    x = torch.randn(2, 30, 16, requires_grad=True)

    def gradient(forward):
        torch.manual_seed(5)
        return torch.autograd.grad(forward(x).sin().sum(), (x, attention.query.weight))

    def backward(forward):
        torch.manual_seed(5)
        x.grad = attention.query.weight.grad = None
        forward(x).sin().sum().backward()
        return x.grad, attention.query.weight.grad

    again = backward(lambda x: checkpoint(attention, x, use_reentrant=reentrant))
    for a, b in zip(gradient(attention), again, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(0, 2, 9, 6), (2, 2, 0, 6), (2, 2, 1, 6)])
@pytest.mark.parametrize("mask", [None, Causal()], ids=["all", "causal"])
def test_nothing_and_one_token(shape, mask):
    q = torch.randn(shape, requires_grad=True)
    out = LSHAttention(6, buckets=4, chunk=4)(q, q, q, mask)
    assert out.shape == shape
    out.sum().backward()
    assert q.grad.isfinite().all()


def test_it_is_a_kernel_of_the_transformer():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2, kernel=LSHAttention(4, buckets=4, chunk=4))
    model = Encoder(EncoderLayer(8, attention, feed_forward=FeedForward(8, 16)), depth=2)
    out = model(torch.randn(2, 11, 8), Causal() & Padding(torch.tensor([11, 3])))
    out.sum().backward()
    assert out.isfinite().all()
    assert attention.query.weight.grad.isfinite().all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="buckets must be even and positive, got 3"):
        LSHAttention(6, buckets=3)
    with pytest.raises(ValueError, match="rounds and chunk must be at least 1, got 0 and 32"):
        LSHAttention(6, rounds=0)
    with pytest.raises(ValueError, match="Padding of 3 rows does not fit a batch of 2"):
        LSHAttention(6)(*random(3, 2, 1, 5, 6), Padding(torch.tensor([5, 2, 3])))
    with pytest.raises(ValueError, match="their shapes must be the same"):
        LSHAttention(6)(random(1, 1, 1, 6), random(1, 1, 5, 6), random(1, 1, 5, 6))
