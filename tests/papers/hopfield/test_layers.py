"""The layers against torch's attention, an explicit loop, and the reference on copied weights."""

import os
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from quire.nn import Causal, Encoder, EncoderLayer, FeedForward, MultiHeadAttention, Padding
from quire.papers.hopfield import (
    Association,
    Hopfield,
    HopfieldAttention,
    HopfieldLayer,
    HopfieldPooling,
    Input,
    associate,
    entmax15,
    sparsemax,
)

PLAIN = Input(norm=False)
STATIC = Input(norm=False, static=True)


def shaken(module, seed=0):
    """The module in float64, with parameters that are not near zero."""
    rng = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return module


def draw(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def test_without_normalisation_it_is_torchs_attention():
    ours = shaken(Hopfield(12, 3, state=PLAIN, stored=PLAIN, projection=PLAIN))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, y = draw(2, 5, 12), draw(2, 7, 12, seed=1)
    counts = torch.arange(7) < torch.tensor([[7], [3]])
    expected, weights = theirs(x, y, y, key_padding_mask=~counts, average_attn_weights=False)
    torch.testing.assert_close(ours(x, y, counts=counts), expected)
    torch.testing.assert_close(ours.weights(x, y, counts=counts), weights)


@pytest.mark.parametrize("chunk", [None, 3])
def test_steps_iterate_in_association_space(chunk):
    rule = Association(beta=[0.3, 1.1], steps=3, tolerance=0.0, chunk=chunk)
    layer = shaken(Hopfield(6, 2, association=rule, state=PLAIN, stored=PLAIN, projection=PLAIN))
    x, y = draw(2, 4, 6), draw(2, 7, 6, seed=1)
    q, k, v = (
        part(z).unflatten(-1, (2, 3)).transpose(1, 2)
        for part, z in ((layer.query, x), (layer.key, y), (layer.value, y))
    )
    beta = torch.tensor([0.3, 1.1], dtype=torch.float64)[:, None, None]
    for _ in range(3):
        q = (beta * q @ k.mT).softmax(-1) @ k
    expected = layer.output(((beta * q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, y), expected)


def test_a_head_stops_when_its_state_stands_still():
    """The head with high beta settles at once; the other one goes on; None goes on to the end."""
    x, y = draw(1, 2, 4), 3 * draw(1, 5, 4, seed=1)
    results = {}
    for name, rule in {
        "free": Association(beta=[50.0, 0.5], steps=40, tolerance=0.0),
        "stops": Association(beta=[50.0, 0.5], steps=40, tolerance=1e-9),
        "none": Association(beta=[50.0, 0.5], steps=None, tolerance=1e-9),
        "coarse": Association(beta=[50.0, 0.5], steps=40, tolerance=100.0),
        "one": Association(beta=[50.0, 0.5], steps=1, tolerance=0.0),
    }.items():
        layer = Hopfield(
            4, 2, head_dim=4, output_dim=0, association=rule,
            state=STATIC, stored=STATIC, projection=STATIC,
        ).double()  # fmt: skip
        results[name] = layer(x, y)
    torch.testing.assert_close(results["stops"], results["free"])
    torch.testing.assert_close(results["none"], results["free"])
    torch.testing.assert_close(results["coarse"], results["one"])


def test_a_stopped_head_does_not_move_on_while_another_does():
    """beta |D|^2 = 1.05: the second head is slow. The first one must stay where it stopped."""
    y = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    x = torch.tensor([[[0.5, 0.0]]], dtype=torch.float64)
    rule = Association(beta=[0.1, 1.05], steps=None, tolerance=0.02, limit=500)
    layer = Hopfield(
        2, 2, head_dim=2, output_dim=0, association=rule,
        state=STATIC, stored=STATIC, projection=STATIC,
    ).double()  # fmt: skip
    out = layer(x, y)[0, 0]
    t, before = 0.5, 1.0
    while abs(t - before) >= 0.02:
        t, before = float(torch.tanh(torch.tensor(0.1 * t, dtype=torch.float64))), t
    assert float(out[0]) == pytest.approx(float(torch.tanh(torch.tensor(0.1 * t))), rel=1e-5)


def test_everything_off_is_raw_retrieval():
    stored = torch.nn.functional.normalize(draw(1, 10, 8), dim=-1)
    layer = Hopfield(
        8, output_dim=0, association=Association(beta=80.0),
        state=STATIC, stored=STATIC, projection=STATIC,
    )  # fmt: skip
    assert not list(layer.parameters())
    found = layer(stored + 0.05, stored)
    torch.testing.assert_close(found, stored, atol=1e-3, rtol=0)


def test_a_layer_that_stores_a_training_set_is_a_nearest_neighbour_or_the_mean():
    train, label, query = draw(30, 5), draw(30, 5, seed=1), draw(9, 5, seed=2)
    for beta, expected in ((1e6, label[(query @ train.T).argmax(-1)]), (1e-9, label.mean(0))):
        layer = HopfieldLayer(
            5, quantity=30, output_dim=0, association=Association(beta=beta), state=STATIC
        ).double()
        layer.store(train, label)
        torch.testing.assert_close(layer(query), expected.expand(9, 5), atol=1e-6, rtol=0)


def test_pooling_looks_at_no_padding_and_at_no_order():
    pool = shaken(HopfieldPooling(6, 2, quantity=3, association=Association(steps=2)))
    x = draw(2, 7, 6)
    counts = torch.arange(7) < torch.tensor([[7], [4]])
    out = pool(x, counts=counts)
    torch.testing.assert_close(out[1:], pool(x[1:, :4]))
    torch.testing.assert_close(pool(x.flip(1)), pool(x))
    other = x.clone()
    other[1, 4:] = torch.nan_to_num(other[1, 4:] + 1e6)
    torch.testing.assert_close(pool(other, counts=counts), out)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"connected": True},
        {"association": Association(normalize=True, learn_beta=True)},
        {"association": Association(weighting=entmax15, zero=True)},
        {"value_dim": 5, "output_dim": 7},
        {"stored": Input(dim=10), "projection": Input(dim=11, affine=False)},
        {"state": Input(static=True, norm=False), "head_dim": 6},
    ],
    ids=["connected", "normalised", "sparse", "widths", "inputs", "static"],
)
def test_chunks_and_dense_agree_in_every_mode(heads, options):
    x, y, z = draw(2, 4, 6), draw(2, 9, 6, seed=1), draw(2, 9, 6, seed=2)
    if "stored" in options:
        y, z = draw(2, 9, 10, seed=1), draw(2, 9, 11, seed=2)
    layer = shaken(Hopfield(6, heads, **options))
    out = layer(x, y, z)
    out.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters() if p.requires_grad)
    assert out.shape == (2, 4, options.get("output_dim", 6))
    torch.testing.assert_close(layer.weights(x, y).sum(-1) <= 1 + 1e-9, torch.ones(2, heads, 4) > 0)
    rule = options.get("association", Association())
    if not rule.weighting:
        chunked = Hopfield(6, heads, **options | {"association": replace(rule, chunk=4)}).double()
        chunked.load_state_dict(layer.state_dict())
        torch.testing.assert_close(chunked(x, y, z), out)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_few_states_are_projected_in_place_of_the_patterns(chunk, steps, bias, monkeypatch):
    """The fast path against the slow one: outputs and gradients."""
    rule = Association(beta=[0.5, 2.0], steps=steps, chunk=chunk)
    inputs = Input(bias=bias)
    layer = shaken(Hopfield(6, 2, association=rule, stored=inputs, projection=inputs))
    counts = torch.arange(9) < torch.tensor([[9], [5]])
    results = []
    for fast in (True, False):
        x, y = draw(2, 3, 6).requires_grad_(), draw(2, 9, 6, seed=1).requires_grad_()
        assert layer._is_narrow(x, None) == fast
        layer.zero_grad()
        out = layer(x, y, counts=counts)
        out.square().sum().backward()
        results.append([out, x.grad, y.grad, *(p.grad for p in layer.parameters())])
        monkeypatch.setattr(Hopfield, "_is_narrow", lambda self, state, mask: False)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def test_a_zero_pattern_takes_weight_away():
    rule = Association(beta=1e-9, zero=True)
    layer = Hopfield(
        3, output_dim=0, association=rule, state=STATIC, stored=STATIC, projection=STATIC
    )
    y = draw(1, 4, 3)
    torch.testing.assert_close(layer(draw(1, 1, 3), y)[0, 0], y[0].sum(0) / 5)


RULES = {
    "plain": Association(),
    "steps": Association(steps=2),
    "chunks": Association(chunk=1, steps=1),
    "sparse": Association(weighting=entmax15),
    "zero": Association(zero=True, steps=1),
    "normalised": Association(normalize=True),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_bag_reads_zeros_and_changes_no_other(rule):
    """By counts, by a `Padding`, by a mask of any kind, and a bag of no patterns at all."""
    pool = shaken(HopfieldPooling(6, 2, association=RULES[rule]))
    nothing, x = pool.hopfield.output.bias, draw(2, 3, 6)
    counts = torch.tensor([[True, True, False], [False, False, False]])
    expected = torch.stack((pool(x[:1], counts=counts[:1])[0], nothing))
    added = torch.zeros(2, 1, 3, dtype=torch.float64)
    for masks in (
        {"counts": counts},
        {"counts": Padding(torch.tensor([2, 0]))},
        {"mask": counts[:, None]},
        {"mask": Padding(counts)},
        {"mask": added.masked_fill(~counts[:, None], -torch.inf)},
        {"mask": added.masked_fill(~counts[:, None], torch.finfo(torch.float64).min)},
        {"counts": counts[:1].expand(2, 3), "mask": Padding(torch.tensor([3, 0]))},
    ):
        leaf = x.clone().requires_grad_()
        pool.zero_grad()
        out = pool(leaf, **masks)
        torch.testing.assert_close(out, expected)
        out.square().sum().backward()
        assert leaf.grad.isfinite().all()
        assert not leaf.grad[1].any()
        assert all(p.grad is None or p.grad.isfinite().all() for p in pool.parameters())
        assert pool.weights(x, **masks)[1].eq(0).all()
    torch.testing.assert_close(pool(x[:, :0]), nothing.expand(2, -1))
    assert pool.weights(x[:, :0]).shape == (2, 2, 1, 0)
    pool.train()
    with pytest.raises(ValueError, match=r"counts must be bool \(2, 3\), got torch.int64"):
        pool(x, counts=counts.long())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("weighting", [None, sparsemax, entmax15])
def test_a_state_that_sees_nothing_reads_zeros_in_training_too(weighting, dropout):
    rule = Association(weighting=weighting, dropout=dropout)
    layer = shaken(Hopfield(4, 2, association=rule, output_dim=0)).train()
    x = draw(2, 3, 4)
    mask = torch.zeros(3, 3, dtype=torch.float64)
    mask[1] = -torch.inf
    for hidden in (mask, mask == 0):
        assert layer(x, mask=hidden)[:, 1].eq(0).all()
        assert layer.eval()(x, mask=hidden)[:, 1].eq(0).all()
        layer.train()


@pytest.mark.parametrize("weighting", [None, sparsemax, entmax15])
def test_gradients_are_finite_behind_any_mask(weighting):
    """Very many hidden patterns: sums over hidden scores must not become infinite."""
    rule = Association(weighting=weighting, steps=1)
    pool = HopfieldPooling(8, 2, association=rule)
    x = torch.randn(2, 60, 8, generator=torch.Generator().manual_seed(0))
    counts = torch.arange(60) < torch.tensor([[60], [5]])
    hidden = torch.zeros(2, 1, 60).masked_fill(~counts[:, None], torch.finfo(torch.float32).min)
    results = []
    for masks in ({"counts": counts}, {"mask": hidden}, {"mask": Padding(counts)}):
        leaf = x.clone().requires_grad_()
        pool.zero_grad()
        out = pool(leaf, **masks)
        out.square().sum().backward()
        results.append([out, leaf.grad, pool.states.grad.clone()])
        assert all(value.isfinite().all() for value in results[-1])
        torch.testing.assert_close(out[1:], pool(x[1:, :5]), rtol=1e-4, atol=1e-7)
        for a, b in zip(results[0], results[-1], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_masks_of_quire_nn_are_taken_as_tensors_are():
    x = draw(2, 5, 8)
    mask = Causal() & Padding(torch.tensor([5, 3]))
    dense = mask.dense(5, 5, 2)
    for rule in (Association(steps=2), Association(chunk=2), Association(zero=True)):
        layer = shaken(Hopfield(8, 2, association=rule))
        torch.testing.assert_close(layer(x, mask=mask), layer(x, mask=dense))
        torch.testing.assert_close(layer.weights(x, mask=mask), layer.weights(x, mask=dense))
        alone = layer(x[1:, :3], mask=Causal())
        torch.testing.assert_close(layer(x, mask=mask)[1:, :3], alone)
    memory = shaken(HopfieldLayer(8, 2, quantity=5))
    torch.testing.assert_close(memory(x, mask=Causal()), memory(x, mask=Causal().dense(5, 5)[0, 0]))
    rows = torch.stack([memory(x[b], mask=Causal()) for b in (0, 1)])
    torch.testing.assert_close(memory(x, mask=Causal()), rows)
    kept = memory(x, counts=Padding(torch.tensor([2])))
    torch.testing.assert_close(kept, memory(x, counts=torch.arange(5) < 2))
    for bad in (Padding(torch.tensor([5, 3, 2])), Padding(torch.ones(2, 4, dtype=torch.bool))):
        with pytest.raises(ValueError, match="does not fit"):
            layer(x, mask=bad)
        with pytest.raises(ValueError, match="does not fit"):
            layer(x, counts=bad)


@pytest.mark.parametrize(
    "mask", [torch.ones(3, 5).long(), torch.ones(5).to(torch.uint8), torch.ones(1, 3, 5).int()]
)
def test_masks_of_integers_could_mean_either_kind(mask):
    x, y = draw(1, 3, 8), draw(1, 5, 8)
    layer = Hopfield(8, 2).double()
    for call in (layer, layer.weights):
        with pytest.raises(ValueError, match=r"mask must be bool.*got torch"):
            call(x, y, mask=mask)
    with pytest.raises(ValueError, match=r"mask must be bool.*got torch"):
        associate(x, y, beta=1.0, mask=mask)


@pytest.mark.parametrize("states", [3, 9, 20])
@pytest.mark.parametrize("output_dim", [None, 0])
def test_projected_values_as_wide_as_one_heads_keys_are_not_taken_for_static(states, output_dim):
    layer = shaken(Hopfield(8, 2, head_dim=8, value_dim=4, output_dim=output_dim))
    x, y = draw(1, states, 8), draw(1, 5, 8, seed=1)
    out = layer(x, y)
    assert out.shape == (1, states, 8)
    torch.testing.assert_close(out[:, :1], layer(x[:, :1], y))
    one = shaken(Hopfield(8, 4, head_dim=4, value_dim=1, output_dim=0))
    assert one(x, y, mask=torch.ones(states, 5) > 0).shape == (1, states, 4)


@pytest.mark.parametrize("mask", ["number", "bool", "counts", "both"])
def test_a_zero_pattern_beside_hidden_ones(mask):
    """A layer's own weights are those that it reads with; hidden patterns make no NaN."""
    rule = Association(zero=True, steps=1)
    layer = shaken(Hopfield(4, association=rule, output_dim=0, projection=STATIC))
    x, y, v = draw(2, 2, 4), draw(2, 3, 4, seed=1), draw(2, 3, 4, seed=2)
    inside = torch.tensor([[False, True, True]] * 2)
    added = torch.tensor([[-torch.inf, 0.0, 0.0]] * 2, dtype=torch.float64)
    options = {
        "number": {"mask": added},
        "bool": {"mask": inside},
        "counts": {"counts": inside},
        "both": {"counts": inside, "mask": torch.zeros_like(added)},
    }[mask]
    weights = layer.weights(x, y, **options)
    assert weights.shape == (2, 1, 2, 3)
    assert weights.sum(-1).max() < 1
    torch.testing.assert_close(layer(x, y, v, **options), (weights @ v[:, None])[:, 0])


@pytest.mark.parametrize("steps", [None, 0, 2])
def test_no_states_no_bags_and_no_rows(steps):
    for rule in (Association(steps=steps), Association(steps=steps, chunk=2)):
        layer, pool = Hopfield(6, 2, association=rule), HopfieldPooling(6, 2, association=rule)
        x = torch.randn(2, 5, 6)
        assert layer(x[:, :0], x).shape == (2, 0, 6)
        assert layer(x[:0]).shape == (0, 5, 6)
        assert pool(x[:0]).shape == (0, 6)
    memory = HopfieldLayer(6, 2, quantity=3, association=Association(steps=steps))
    assert memory(x[:0]).shape == (0, 5, 6)
    assert memory(x[0, :0]).shape == (0, 6)
    assert memory(x[0, 0]).shape == (6,)


def test_bad_sizes_are_one_line():
    with pytest.raises(ValueError, match="dim must be a multiple of heads"):
        Hopfield(5, 2)
    with pytest.raises(ValueError, match=r"beta must be one number or 2 of them, got \[1.0\]"):
        Hopfield(4, 2, association=Association(beta=[1.0]))
    with pytest.raises(ValueError, match="connected or static have the width of keys, got 3 and 2"):
        Hopfield(4, 2, value_dim=3, connected=True)
    sparse = Hopfield(4, association=Association(chunk=2, weighting=entmax15))
    with pytest.raises(ValueError, match="chunk is for softmax without dropout"):
        sparse(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match=r"patterns must be \(3, 4\), got \(2, 4\)"):
        HopfieldLayer(4, quantity=3).store(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="projection is static and must be 4 wide, got 8"):
        Hopfield(8, 2, projection=STATIC)(draw(1, 3, 8).float())
    with pytest.raises(ValueError, match="a static input is 4 wide, as a head's keys, got 6"):
        Hopfield(8, 2, state=Input(dim=6, static=True))
    with pytest.raises(ValueError, match="a projection for each of 5 stored patterns, got 4"):
        Hopfield(8)(torch.zeros(1, 3, 8), torch.zeros(1, 5, 8), torch.zeros(1, 4, 8))
    with pytest.raises(ValueError, match=r"mask must broadcast with .*\(1, 1, 3, 3\), got"):
        Hopfield(8)(torch.zeros(1, 3, 8), mask=torch.ones(2, 3) > 0)
    for make in (HopfieldPooling, HopfieldLayer):
        with pytest.raises(ValueError, match="quantity must be at least 1, got 0"):
            make(4, quantity=0)
    for name in ("heads", "head_dim", "value_dim"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Hopfield(4, **{name: 0})


@pytest.mark.filterwarnings("ignore")
def test_autocast_and_compile():
    for options in ({}, {"association": Association(chunk=3, steps=2)}):
        pool = HopfieldPooling(8, 2, **options)
        x, counts = torch.randn(2, 7, 8), torch.arange(7) < torch.tensor([[7], [4]])
        with torch.autocast("cpu", torch.bfloat16):
            out = pool(x, counts=counts)
        assert out.isfinite().all()
        torch.testing.assert_close(out.float(), pool(x, counts=counts), atol=0.02, rtol=0.1)
        torch._dynamo.reset()
        compiled = torch.compile(pool, backend="eager")
        torch.testing.assert_close(compiled(x, counts=counts), pool(x, counts=counts))


def reference():
    """The authors' package, installed or as a checkout that QUIRE_HFLAYERS names."""
    folder = os.environ.get("QUIRE_HFLAYERS")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    return pytest.importorskip("hflayers", reason="ml-jku/hopfield-layers is not here")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("scaling", [None, 0.25])
def test_the_reference_on_copied_weights(steps, scaling):
    """Fixed numbers of steps: the stopping rules differ on purpose."""
    theirs = reference().Hopfield(
        input_size=12, hidden_size=5, num_heads=3, scaling=scaling, update_steps_max=steps,
        update_steps_eps=1e-12, pattern_size=5, stored_pattern_size=10,
        pattern_projection_size=11, output_size=7,
    )  # fmt: skip
    ours = Hopfield(
        12, 3, head_dim=5, output_dim=7, stored=Input(dim=10), projection=Input(dim=11),
        association=Association(beta=scaling, steps=steps, tolerance=0.0),
    )  # fmt: skip
    shaken(theirs), ours.double()
    core = theirs.association_core
    bias = core.in_proj_bias.split(15)
    with torch.no_grad():
        for part, weight, shift in zip(
            (ours.query, ours.key, ours.value),
            (core.q_proj_weight, core.k_proj_weight, core.v_proj_weight),
            bias,
            strict=True,
        ):
            part.weight.copy_(weight), part.bias.copy_(shift)
        ours.output.load_state_dict(core.out_proj.state_dict())
        for mine, other in (
            (ours.state_norm, theirs.norm_state_pattern),
            (ours.stored_norm, theirs.norm_stored_pattern),
            (ours.value_norm, theirs.norm_pattern_projection),
        ):
            mine.load_state_dict(other.state_dict())
    x, y, z = draw(2, 4, 12), draw(2, 6, 10, seed=1), draw(2, 6, 11, seed=2)
    counts = torch.arange(6) < torch.tensor([[6], [2]])
    expected = theirs((y, x, z), stored_pattern_padding_mask=~counts)
    torch.testing.assert_close(ours(x, y, z, counts=counts), expected)


def test_the_kernel_in_attention_masks_and_decoding():
    attention = shaken(MultiHeadAttention(8, 2, kernel=HopfieldAttention(3, 0.7, heads=2)))
    model = Encoder(EncoderLayer(8, attention, feed_forward=FeedForward(8, 16)), depth=2).double()
    x = draw(2, 6, 8)
    whole = model(x, Causal())
    later = x.clone()
    later[:, 4:] += 1
    torch.testing.assert_close(model(later, Causal())[:, :4], whole[:, :4])
    out, state = model.extend(x[:, :3])
    parts = [out]
    for t in range(3, 6):
        out, state = model.extend(x[:, t : t + 1], state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    padded = model(x, Causal() & Padding(torch.tensor([6, 4])))
    torch.testing.assert_close(padded[1, :4], model(x[1:, :4], Causal())[0])


def test_the_kernel_without_steps_is_softmax_attention():
    heads = MultiHeadAttention(8, 2).double()
    x = draw(2, 5, 8)
    expected = heads(x)
    heads.kernel = HopfieldAttention()
    torch.testing.assert_close(heads(x), expected)
    q, k, v = draw(3, 1, 2, 5, 4)
    state = q
    for _ in range(2):
        state = (0.9 * state @ k.mT).softmax(-1) @ k
    expected = (0.9 * state @ k.mT).softmax(-1) @ v
    torch.testing.assert_close(HopfieldAttention(2, 0.9)(q, k, v), expected)
    with pytest.raises(ValueError, match="steps must be >= 0 and beta positive, got -1 and None"):
        HopfieldAttention(-1)


def test_the_kernel_keeps_the_precision_of_its_queries_and_shares_heads_of_keys():
    q, k, v = (draw(1, heads, 5, 4, seed=heads) for heads in (4, 2, 2))
    kernel = HopfieldAttention(2, 0.9, heads=4)
    full = (x.repeat_interleave(2, 1) for x in (k, v))
    expected = kernel(q, *full)
    torch.testing.assert_close(kernel(q, k, v), expected)
    half = kernel(*(x.to(torch.bfloat16) for x in (q, k, v)))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, atol=0.05, rtol=0.1)
