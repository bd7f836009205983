"""BigBird inside torch.compile and torch.export, and what wrong types are told."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from quire.nn import Causal, MultiHeadAttention, Padding
from quire.papers.bigbird import (
    BigBird,
    BigBirdAttention,
    BigBirdMask,
    BigBirdPattern,
    BigBirdSeq2Seq,
    ETCAttention,
    WordHead,
    bigbird_attention,
    load_weights,
)
from quire.papers.bigbird import attention as implementation

PATTERN = BigBirdPattern(block=4, random=1, seed=3)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of the compiler's parts


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


def small_model(seed=0):
    pattern = BigBirdPattern(block=4, random=1, seed=seed)
    return BigBird(20, dim=16, layers=2, heads=2, length=64, pattern=pattern, dropout=0.0)


def assert_compiles(part, inputs, *rest):
    """One graph; output and gradients are those of the plain part, bit for bit."""
    compiled = torch.compile(part, fullgraph=True, backend="eager")
    leaves = [t for t in inputs if t.requires_grad]
    leaves += list(part.parameters()) if isinstance(part, nn.Module) else []
    out, expected = compiled(*inputs, *rest), part(*inputs, *rest)
    assert torch.equal(out, expected)
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, leaves, grad, allow_unused=True)
    plainly = torch.autograd.grad(expected, leaves, grad, allow_unused=True)
    for ours, plain in zip(found, plainly, strict=True):
        assert ours is plain or torch.equal(ours, plain)
    assert any(g is not None and g.abs().sum() > 0 for g in found)


@pytest.mark.parametrize(
    "mask",
    [None, Causal(), Causal() & Padding(torch.tensor([50, 0]))],
    ids=["none", "causal", "both"],
)
def test_the_kernel_compiles_whole(mask):
    q, k, v = (torch.randn(2, 2, 50, 4, requires_grad=True) for _ in range(3))
    kernel = BigBirdAttention(PATTERN)
    assert_compiles(kernel, (q, k, v), mask)
    heads = MultiHeadAttention(8, 2, kernel=kernel)
    assert_compiles(heads, (torch.randn(2, 50, 8, requires_grad=True),), None, mask)


def test_blocks_without_a_mask_compile_and_a_pattern_made_inside_too():
    q, k, v = (torch.randn(2, 2, 64, 4, requires_grad=True) for _ in range(3))
    assert_compiles(
        lambda q, k, v: bigbird_attention(q, k, v, BigBirdPattern(4, random=1)), (q, k, v)
    )


def test_the_model_compiles_whole():
    model = small_model()
    assert_compiles(model, (torch.randint(20, (3, 50)),))
    model.recompute = True
    assert_compiles(model, (torch.randint(20, (3, 50)),))


def test_one_compiled_part_takes_other_sizes():
    heads = MultiHeadAttention(8, 2, kernel=BigBirdAttention(PATTERN))
    compiled = torch.compile(heads, fullgraph=True, backend="eager")
    for batch, length in ((3, 50), (2, 50), (2, 60), (5, 64), (3, 23), (3, 50)):
        x = torch.randn(batch, length, 8)
        assert torch.equal(compiled(x), heads(x))


def test_many_slices_are_one_in_a_graph(monkeypatch):
    monkeypatch.setattr(implementation, "CHUNK", 500)
    q, k, v = (torch.randn(2, 2, 60, 4, requires_grad=True) for _ in range(3))
    assert_compiles(BigBirdAttention(PATTERN), (q, k, v))


def test_a_step_of_decoding_compiles_whole():
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, causal=True))
    heads = MultiHeadAttention(8, 2, kernel=kernel)
    x = torch.randn(2, 31, 8)
    _, state = heads.extend(x[:, :30])
    compiled = torch.compile(heads.extend, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x[:, 30:], state)[0], heads.extend(x[:, 30:], state)[0])


@pytest.mark.parametrize("strict", [False, True])
def test_it_exports_for_one_length_and_any_batch(strict):
    # A seed of its own: the first time that this pattern is drawn is while it is exported.
    model = small_model(seed=100 + strict)
    words = torch.randint(20, (3, 50))
    shapes = {"words": {0: Dim("batch")}}
    program = export(model, (words,), dynamic_shapes=shapes, strict=strict).module()
    for batch in (3, 2, 7):
        words = torch.randint(20, (batch, 50))
        torch.testing.assert_close(program(words), model(words), rtol=0, atol=1e-6)
    fixed = export(model, (words,), strict=strict).module()
    assert torch.equal(fixed(words), model(words))


def test_an_exported_mask_is_an_input():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = MultiHeadAttention(8, 2, kernel=BigBirdAttention(PATTERN))

        def forward(self, x, lengths):
            return self.heads(x, mask=Padding(lengths))

    part, x = Padded(), torch.randn(2, 50, 8)
    program = export(part, (x, torch.tensor([50, 20]))).module()
    for lengths in (torch.tensor([50, 20]), torch.tensor([7, 0])):
        assert torch.equal(program(x, lengths), part(x, lengths))


Q = torch.zeros(1, 1, 50, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BigBirdPattern(block="64"), "block must be a whole number, got '64'"),
        (lambda: BigBirdPattern(random=1.5), "random must be a whole number, got 1.5"),
        (lambda: BigBirdAttention("sparse"), "pattern must be a BigBirdPattern.* got 'sparse'"),
        (lambda: BigBirdMask(64, 50), "pattern must be a BigBirdPattern.* got 64"),
        (lambda: BigBird(20, pattern="full"), "pattern must be a BigBirdPattern.* got 'full'"),
        (lambda: bigbird_attention(Q, Q, Q, None), "pattern must be a BigBirdPattern.* got None"),
        (lambda: bigbird_attention(Q, Q, Q, PATTERN, Q > 0), "mask must be a .* got Tensor"),
        (lambda: ETCAttention(8, 2)(Q[0], Q[0], None, Q > 0), "mask must be a .* got Tensor"),
        (lambda: load_weights(small_model(), "x.pth"), "state must map names .* got 'x.pth'"),
        (lambda: BigBirdSeq2Seq(nn.Linear(2, 2)), "encoder must be a BigBird, got Linear"),
        (lambda: WordHead(20), "embedding must be an nn.Embedding.* got int"),
    ],
)
def test_a_wrong_type_gets_one_line(call, message):
    with pytest.raises(TypeError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
