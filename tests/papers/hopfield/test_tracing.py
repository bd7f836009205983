"""The Hopfield layers inside torch.compile and torch.export, and what wrong types are told."""

import pytest
import torch
from torch.export import Dim, export

from quire.nn import Causal, MultiHeadAttention
from quire.papers.hopfield import (
    Association,
    DeepRC,
    DenseMemory,
    GaussianAttention,
    HebbianMemory,
    Hopfield,
    HopfieldAttention,
    HopfieldLayer,
    HopfieldPooling,
    WatchedAttention,
    associate,
    association_weights,
    encode,
    hopfield_update,
    retrieve,
    sparsemax,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of the compiler's parts

RULES = {
    "plain": Association(),
    "steps": Association(steps=3),
    "stops": Association(steps=3, tolerance=100.0),
    "chunks": Association(chunk=2, steps=1),
    "sparse": Association(weighting=sparsemax),
    "zero": Association(zero=True),
    "learned": Association(learn_beta=True, normalize=True),
}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


def assert_exports(layer, *shape, **options):
    """Exported with two rows, it serves one, four and seven."""
    shapes = {0: Dim("batch")}
    named = {name: shapes if len(value) == 2 else None for name, value in options.items()}
    first = "patterns" if isinstance(layer, HopfieldPooling) else "state"
    program = export(
        layer, (torch.randn(2, *shape),), options, dynamic_shapes={first: shapes} | named
    ).module()
    for batch in (1, 4, 7):
        x = torch.randn(batch, *shape)
        given = {
            name: value[torch.arange(batch) % 2] if len(value) == 2 else value
            for name, value in options.items()
        }
        torch.testing.assert_close(program(x, **given), layer(x, **given), rtol=1e-5, atol=1e-6)


COUNTS = torch.tensor([[True, True, True, False, False], [True, True, False, True, False]])


@pytest.mark.parametrize("rule", RULES)
def test_the_layers_export_for_any_batch(rule):
    rule = RULES[rule]
    assert_exports(HopfieldPooling(8, 2, association=rule), 5, 8)
    assert_exports(Hopfield(8, 2, association=rule), 5, 8, counts=COUNTS)
    assert_exports(HopfieldLayer(8, 2, quantity=3, association=rule), 8)


def test_masks_are_inputs_of_an_exported_layer():
    assert_exports(HopfieldPooling(8, 2, quantity=9), 5, 8, counts=COUNTS)
    assert_exports(HopfieldPooling(8, 2), 5, 8, mask=COUNTS[:, None])
    assert_exports(HopfieldLayer(8, 2, quantity=3), 5, 8, mask=torch.rand(5, 3) > 0.3)


@pytest.mark.parametrize("rule", RULES)
def test_the_layers_compile_whole(rule):
    rule, x = RULES[rule], torch.randn(2, 5, 8)
    for layer, options in (
        (HopfieldPooling(8, 2, association=rule), {"counts": COUNTS}),
        (Hopfield(8, 2, association=rule), {}),
        (HopfieldLayer(8, 2, quantity=3, association=rule), {}),
    ):
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        out, expected = compiled(x, **options), layer(x, **options)
        assert torch.equal(out, expected)
        leaves = list(layer.parameters())
        ours = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
        plain = torch.autograd.grad(expected.square().sum(), leaves, allow_unused=True)
        for a, b in zip(ours, plain, strict=True):
            assert a is b or torch.equal(a, b)


def test_an_empty_bag_reads_zeros_in_a_graph_too():
    pool, x = HopfieldPooling(8, 2), torch.randn(2, 5, 8)
    none = COUNTS & torch.tensor([[True], [False]])
    expected = pool(x, counts=none)
    compiled = torch.compile(pool, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, counts=none), expected)
    program = export(pool, (x,), {"counts": COUNTS}).module()
    torch.testing.assert_close(program(x, counts=none), expected)


def test_the_kernel_compiles_whole():
    heads = MultiHeadAttention(8, 2, kernel=HopfieldAttention(2, heads=2))
    x = torch.randn(2, 5, 8)
    compiled = torch.compile(heads, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, None, Causal()), heads(x, None, Causal()))


X = torch.ones(1, 3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Association(weighting="sparsemax"), "weighting must be .* got 'sparsemax'"),
        (lambda: Hopfield(4, association="sparse"), "association must be an Association.*'sparse'"),
        (lambda: Hopfield(4, stored=7), r"stored must be an Input\(...\), got 7"),
        (lambda: HopfieldPooling(4, state="static"), "state must be an Input.*'static'"),
        (lambda: Hopfield(4)(X, mask="causal"), "mask must be a tensor .* Mask of quire.nn.*str"),
        (lambda: Hopfield(4)(X, counts=Causal()), "counts must .* Padding of .* got Causal"),
        (lambda: HopfieldPooling(4)(X, counts=[True]), "counts must be a tensor .* got list"),
        (lambda: HopfieldLayer(4)(X, mask=[True]), "mask must be a tensor .* got list"),
        (lambda: Association(steps=2.5), "steps must be a whole number, got 2.5"),
        (lambda: associate(X, X, beta=1.0, mask=Causal()), "mask must be a tensor .* got Causal"),
        (lambda: association_weights(X, X, beta=1.0, weighting="max"), "weighting must be .*'max'"),
        (lambda: HopfieldAttention("3"), "steps must be a whole number, got '3'"),
        (lambda: HopfieldAttention()(X, X, X, X > 0), "mask must be a quire.nn.Mask.* got Tensor"),
        (lambda: WatchedAttention()(X, X, X, X > 0), "mask must be a quire.nn.Mask.* got Tensor"),
        (lambda: GaussianAttention(1, 3)(X, X, X, "causal"), "mask must be .* got str"),
        (lambda: DenseMemory(X[0], "exponential"), "function must be .* got 'exponential'"),
        (lambda: HebbianMemory([[1, -1]]), "stored must be a tensor .* got list"),
        (lambda: hopfield_update([1.0], X, beta=1.0), "state must be a tensor, got list"),
        (lambda: retrieve(X, [1.0], beta=1.0), "stored must be a tensor, got list"),
        (lambda: encode("CASSLG"), "a list of strings, got the string 'CASSLG'"),
        (lambda: DeepRC("cnn", 8), "embedding must be a module.* got 'cnn'"),
    ],
)
def test_a_wrong_type_gets_one_line(call, message):
    with pytest.raises(TypeError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_numbers_outside_their_range_get_one_line():
    for options, message in (({"steps": -1}, "steps must be at least 0, got -1"),
                             ({"steps": -3}, "steps must be at least 0, got -3"),
                             ({"limit": 0}, "limit must be at least 1, got 0"),
                             ({"chunk": 0}, "chunk must be at least 1, got 0"),
                             ({"tolerance": float("nan")}, "tolerance must be at least 0, got nan"),
                             ({"dropout": 1.5}, r"dropout must be in \[0, 1\], got 1.5"),
                             *(({"beta": beta}, "beta must be positive and finite, got")
                               for beta in (0, 0.0, -1.0, float("nan"), float("inf"), [1.0, 0.0]))
                             ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Association(**options)


def test_an_unknown_pooling_is_not_taken_for_the_maximum():
    estimators = pytest.importorskip("quire.papers.hopfield.estimators", exc_type=ImportError)
    with pytest.raises(ValueError, match="pooling must be 'hopfield', 'mean' or 'max', got 'sum'"):
        estimators.BagClassifier(pooling="sum", epochs=1).fit([X[0].numpy()] * 2, [0, 1])
