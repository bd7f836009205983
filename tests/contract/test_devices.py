"""How parts run on an accelerator, without one.

`meta` tensors take an accelerator's way and hold no numbers: to read one is an error. On a CPU that
is taken for an accelerator, that way gives what a CPU's own way gives.
"""

from functools import partial
from itertools import pairwise

import pytest
import torch

from contract.operators import Operators
from contract.parts import example, modules
from quire.nn import Causal, Padding, Window, devices, softmax_attention
from quire.papers.bigbird import BigBird, BigBirdPattern, ETCAttention, bigbird_attention
from quire.papers.hopfield import (
    Association,
    Hopfield,
    HopfieldLayer,
    HopfieldPooling,
    associate,
    retrieve,
)
from quire.papers.linear_transformer import (
    Favor,
    LinearAttention,
    SequenceModel,
    generate,
    linear_attention,
    taylor,
)
from quire.papers.pondernet import ACT, Ponder, argmax, expected, median

LENGTHS = (1024, 4096, 16384, 65536)


def on_meta(*shape):
    return torch.empty(*shape, device="meta", requires_grad=True)


def built(part, *args, **options):
    with torch.device("meta"):
        return part(*args, **options)


def qkv(length):
    return [on_meta(1, 2, length, 16) for _ in range(3)]


def extend(q, k, v):
    kernel = LinearAttention()
    state = kernel.write(None, k[:, :, :5], v[:, :, :5])
    return kernel.extend(state, q, k, v)[0]


def pooled(length, **options):
    pooling = HopfieldPooling(16, 2, association=Association(**options))
    return pooling.to("meta"), [on_meta(1, length, 16)]


def looked_up(length, **options):
    layer = HopfieldLayer(16, 2, quantity=length, association=Association(**options))
    return layer.to("meta"), [on_meta(1, 8, 16)]


def etc(length):
    part = built(ETCAttention, 16, 2, block=64)
    return (lambda x, tokens: sum(y.sum() for y in part(x, tokens))), [
        on_meta(1, length, 16),
        on_meta(1, 4, 16),
    ]


PARTS = {
    "linear": lambda n: (linear_attention, qkv(n)),
    "linear causal": lambda n: (partial(linear_attention, causal=True), qkv(n)),
    "linear causal and padding": lambda n: (
        partial(linear_attention, mask=Causal() & Padding(torch.tensor([n - 3]))),
        qkv(n),
    ),
    "linear taylor": lambda n: (
        partial(linear_attention, causal=True, feature_map=taylor), qkv(n),
    ),
    "linear extend": lambda n: (extend, qkv(n)),
    "bigbird": lambda n: (partial(bigbird_attention, pattern=BigBirdPattern()), qkv(n)),
    "bigbird causal": lambda n: (
        partial(bigbird_attention, pattern=BigBirdPattern(causal=True)), qkv(n),
    ),
    "bigbird and padding": lambda n: (
        partial(
            bigbird_attention, pattern=BigBirdPattern(), mask=Padding(torch.tensor([n - 3]))
        ),
        qkv(n),
    ),
    "bigbird encoder": lambda n: (
        built(BigBird, 20, dim=32, layers=2, heads=2, length=n),
        [torch.zeros(1, n, dtype=torch.int64, device="meta")],
    ),
    "etc": etc,
    "associate": lambda n: (
        partial(associate, beta=1.0), [on_meta(1, 8, 16), on_meta(1, n, 16)],
    ),
    "associate in pieces": lambda n: (
        partial(associate, beta=1.0, chunk=64), [on_meta(1, 8, 16), on_meta(1, n, 16)],
    ),
    "pooling": pooled,
    "pooling in pieces": partial(pooled, chunk=64),
    "pooling with updates": partial(pooled, chunk=64, steps=3),
    "pooling, normalised": partial(pooled, normalize=True, chunk=64),
    "lookup": looked_up,
    "lookup in pieces": partial(looked_up, chunk=64),
}  # fmt: skip


def watch(call, inputs):
    """Forwards and backwards on meta tensors, where nothing can be read back."""
    with Operators() as watched:
        call(*inputs).sum().backward()
    return watched


@pytest.mark.parametrize("name", PARTS)
def test_neither_operators_grow_with_the_length_nor_memory_faster_than_it(name):
    watched = [watch(*PARTS[name](length)) for length in LENGTHS]
    assert len({each.number for each in watched}) == 1
    for short, long in pairwise(watched):
        assert long.peak <= 4.5 * short.peak


def test_operators_of_random_features_grow_with_the_lengths_logarithm():
    """Their sums are kept relative to the largest exponent so far: a scan of ever larger steps."""
    phi = Favor(16, 32).to("meta")
    call = partial(linear_attention, causal=True, feature_map=phi)
    numbers = [watch(call, qkv(length)).number for length in LENGTHS]
    more = [b - a for a, b in pairwise(numbers)]
    assert len(set(more)) == 1
    assert more[0] < 60


def test_an_operator_that_reads_a_value_is_seen():
    with Operators() as watched:
        torch.ones(3).sum().item()
    assert watched.waits == 1
    with Operators() as watched, pytest.raises(RuntimeError, match="meta"):
        on_meta(3).sum().item()


def test_a_mask_of_all_pairs_is_seen():
    mask = Window(3)
    watched = [watch(partial(softmax_attention, mask=mask), qkv(length)) for length in (256, 1024)]
    assert watched[1].peak > 8 * watched[0].peak


# An accelerator's way, on a CPU


@pytest.mark.parametrize(("package", "part"), modules())
def test_no_module_waits_for_a_device(package, part, monkeypatch):
    """`ACT` stops when all have stopped: it looks, but not at every step."""
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    module, args, kwargs = example(part)
    for mode in (True, False):
        module.train(mode)
        with Operators() as watched:
            module(*args, **kwargs)
        assert watched.waits <= (1 if part is ACT else 0)


@pytest.fixture
def both_ways(monkeypatch):
    """Calls a function as on a CPU and as on an accelerator; gives both results and the waits."""

    tolist, listed = torch.Tensor.tolist, []

    def call(function):
        results, waits = [], []
        for accelerated in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(devices, "is_accelerator", lambda x, here=accelerated: here)
                listed.clear()
                patch.setattr(torch.Tensor, "tolist", lambda x: listed.append(x) or tolist(x))
                torch.manual_seed(0)
                with Operators() as watched:
                    results.append(function())
            waits.append(watched.waits + len(listed))
        return *results, waits

    return call


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def with_gradients(function, *inputs):
    def call():
        out = function(*inputs)
        return out.detach(), *torch.autograd.grad(out.sin().sum(), inputs)

    return call


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [1, 64, 65, 200, 333])
def test_causal_sums_are_those_of_a_cpu(both_ways, length):
    inputs = [drawn(2, 3, length, width, seed=width) for width in (5, 5, 4)]
    inputs[1] = inputs[0].detach().clone().requires_grad_()
    cpu, other, _ = both_ways(with_gradients(partial(linear_attention, causal=True), *inputs))
    assert_same(cpu, other)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [120, 131])
def test_gathered_blocks_are_those_of_a_cpu(both_ways, monkeypatch, causal, length):
    monkeypatch.setattr("quire.papers.bigbird.attention.CHUNK", 1 << 10)
    pattern = BigBirdPattern(block=8, random=1, causal=causal)
    hidden = Padding(torch.tensor([length, 0, 17]))
    inputs = [drawn(3, 2, length, 4, seed=seed) for seed in range(3)]
    call = partial(bigbird_attention, pattern=pattern, mask=hidden)
    cpu, other, waits = both_ways(with_gradients(call, *inputs))
    assert_same(cpu, other)
    assert waits[1] == 0 < waits[0]


@pytest.mark.parametrize("options", [{}, {"chunk": 3}, {"chunk": 3, "steps": 5}, {"steps": None}])
def test_association_is_that_of_a_cpu(both_ways, options):
    torch.manual_seed(0)
    layer = Hopfield(6, 2, association=Association(**options)).double()
    state, stored = drawn(2, 3, 6), drawn(2, 50, 6, seed=1)
    counts = torch.rand(2, 50, generator=torch.Generator().manual_seed(2)) < 0.7
    call = with_gradients(lambda a, b: layer(a, b, counts=counts), state, stored)
    cpu, other, waits = both_ways(call)
    assert_same(cpu, other)
    if options.get("steps", 0) is not None:
        assert waits[1] == 0


def test_a_state_stands_still_after_the_same_updates(both_ways):
    stored, state = drawn(30, 8).detach(), drawn(5, 8, seed=1).detach()
    cpu, other, waits = both_ways(lambda: retrieve(state, stored, beta=1.5))
    assert_same(cpu, other)
    assert waits[1] < waits[0] / 2


def step(context, state):
    """A state (B, 4) and a count of the steps; who has a larger context stops earlier."""
    walk, count = state
    walk = torch.tanh(context + 0.9 * walk)
    return 2 * walk, (walk, count + 1), 0.4 * walk.sum(-1)


def begun(x):
    return torch.zeros_like(x), torch.zeros(len(x), dtype=torch.int64)


@pytest.mark.parametrize("max_steps", [30, 15, 14, 13])
@pytest.mark.parametrize("check_every", [1, 2, 3])
def test_an_unroll_is_cut_at_the_same_step(both_ways, check_every, max_steps):
    ponder = Ponder(step, max_steps=max_steps, eps=0.1, check_every=check_every).train()
    x = drawn(7, 4)

    def unroll():
        out = ponder(x, begun(x))
        gradient = torch.autograd.grad(out.predictions.sum() + out.halt_logits.sum(), x)
        return *out[:2], *out.state, *gradient

    cpu, other, waits = both_ways(unroll)
    assert 1 < len(cpu[0]) < max_steps
    assert_same(cpu, other)
    assert waits[1] < waits[0]


@pytest.mark.parametrize("rule", [median, argmax, partial(expected, 0.05)])
@pytest.mark.parametrize("compact", [False, True])
def test_answers_are_those_of_a_cpu(both_ways, rule, compact):
    ponder = Ponder(step, max_steps=21).eval()
    x = drawn(50, 4).detach()
    cpu, other, waits = both_ways(lambda: ponder.infer(x, begun(x), rule=rule(), compact=compact))
    assert cpu.steps.unique().numel() > 2
    assert_same(cpu, other)
    assert waits[1] < waits[0]


def test_act_counts_the_same_steps(both_ways):
    act = ACT(step, max_steps=30)
    x = drawn(7, 4).detach()

    def run():
        prediction, state, *counts = act(x, begun(x))
        return prediction, *state, *counts

    cpu, other, waits = both_ways(run)
    assert_same(cpu, other)
    assert waits[1] < waits[0]


def test_text_ends_at_the_same_token(both_ways):
    torch.manual_seed(1)
    model = SequenceModel(5, 5, length=80, dim=16, heads=2, layers=1).eval()
    prompt = torch.randint(5, (3, 2))

    def write():
        generator = torch.Generator().manual_seed(3)

        def choose(outputs):
            return torch.multinomial(outputs.softmax(-1), 1, generator=generator)[:, 0]

        return (generate(model.extend, prompt, 70, choose, stop=2),)

    cpu, other, waits = both_ways(write)
    assert cpu[0].shape[1] < 72
    assert_same(cpu, other)
    assert waits[1] < waits[0]
