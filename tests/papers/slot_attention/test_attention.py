"""The module against a line-by-line NumPy twin, the PyPI package, and its own symmetries."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from quire.lab.bench import load_alone
from quire.papers.slot_attention import (
    LearnedStart,
    QueryStart,
    Replace,
    SlotAttention,
    attend_alone,
    compete,
    compete_and_sum,
    from_package,
)


def randomised(module, seed=0):
    """Weights of which none is zero or one, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def normal(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def numpy_twin(module, inputs, slots, rounds):
    """Algorithm 1 for one image, N inputs and K slots, with loops; weights by name."""
    w = {name: value.detach().numpy() for name, value in module.state_dict().items()}

    def layer_norm(x, name):
        if f"{name}.weight" not in w:
            return x
        centred = x - x.mean()
        scaled = centred / np.sqrt((centred**2).mean() + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def gru(x, h):
        i = w["cell.weight_ih"] @ x + w["cell.bias_ih"]
        g = w["cell.weight_hh"] @ h + w["cell.bias_hh"]
        d = len(h)
        reset, update = sigmoid(i[:d] + g[:d]), sigmoid(i[d : 2 * d] + g[d : 2 * d])
        new = np.tanh(i[2 * d :] + reset * g[2 * d :])
        return (1 - update) * new + update * h

    normed = [layer_norm(x, "norm_inputs") for x in inputs]
    keys, values = ([linear(x, name) for x in normed] for name in ("key", "value"))
    slots = [slot.copy() for slot in slots]
    for _ in range(rounds):
        queries = [linear(layer_norm(s, "norm_slots"), "query") for s in slots]
        attention = np.zeros((len(slots), len(keys)))
        for n, key in enumerate(keys):
            logits = np.array([q @ key for q in queries]) / math.sqrt(len(slots[0]))
            attention[:, n] = np.exp(logits - logits.max())
            attention[:, n] /= attention[:, n].sum()
        for k in range(len(slots)):
            raised = attention[k] + 1e-8
            update = sum(a * v for a, v in zip(raised / raised.sum(), values, strict=True))
            slot = gru(update, slots[k])
            slots[k] = slot
            if "mlp.0.weight" in w:
                hidden = np.maximum(linear(layer_norm(slot, "norm_mlp"), "mlp.0"), 0)
                slots[k] = slot + linear(hidden, "mlp.2")
    return np.stack(slots), attention


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("inputs", [5, 30], ids=["as written", "folded"])
def test_the_module_is_its_numpy_twin(bias, inputs):
    module = randomised(SlotAttention(4, 8, input_dim=6, hidden=10, bias=bias))
    x, first = normal(2, inputs, 6), normal(2, 4, 8, seed=2)
    slots, attention = module(x, first)
    for row in range(2):
        expected = numpy_twin(module, x[row].numpy(), first[row].numpy(), 3)
        np.testing.assert_allclose(slots[row].detach().numpy(), expected[0], atol=1e-12)
        np.testing.assert_allclose(attention[row].detach().numpy(), expected[1], atol=1e-12)


@pytest.mark.parametrize("without", ["norm_inputs", "norm_slots", "mlp"])
@pytest.mark.parametrize("inputs", [5, 30])
def test_the_module_without_a_part_is_its_numpy_twin(without, inputs):
    hidden = None if without == "mlp" else 10
    module = randomised(SlotAttention(4, 8, input_dim=6, hidden=hidden))
    if hidden:
        setattr(module, without, nn.Identity())
    x, first = normal(2, inputs, 6), normal(2, 4, 8, seed=2)
    slots, _ = module(x, first)
    expected, _ = numpy_twin(module, x[1].numpy(), first[1].numpy(), 3)
    np.testing.assert_allclose(slots[1].detach().numpy(), expected, atol=1e-12)


def load_package():
    """The PyPI package's module by itself: its other modules need further packages."""
    try:
        return load_alone("slot-attention", "slot_attention.slot_attention")
    except ModuleNotFoundError:
        pytest.skip("slot-attention is not installed (extra peers)")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("inputs", [10, 60], ids=["as written", "folded"])
def test_the_module_is_the_package_on_copied_weights(dtype, inputs):
    peer = load_package().SlotAttention(4, 16, hidden_dim=32).to(dtype)
    ours = from_package(peer)
    x, gradients = normal(3, inputs, 16).to(dtype), []
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    outputs = []
    for module in (peer, ours):
        torch.manual_seed(0)
        leaf = x.clone().requires_grad_()
        output = module(leaf)
        output = output[0] if isinstance(output, tuple) else output
        output.sin().sum().backward()
        outputs.append(output)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*outputs, atol=tolerance, rtol=0)
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=0)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("competition", [compete, compete_and_sum, attend_alone])
def test_folding_changes_no_output_and_no_gradient(competition, heads):
    """12 of 13 inputs folded; the same through keys and values."""
    module = randomised(
        SlotAttention(4, 8, input_dim=6, heads=heads, bias=True, competition=competition)
    )
    found = []
    for folded in (True, False):
        x, first = normal(2, 13, 6).requires_grad_(), normal(2, 4, 8, seed=2).requires_grad_()
        prepare = type(module)._prepare
        mask = torch.arange(13) < torch.tensor([[13], [7]])
        source = prepare(module, x, folded=folded)
        state = first
        for _ in range(3):
            state, weighting = module._round(source, state, mask[:, None, None])
        leaves = [x, first, *(p for n, p in module.named_parameters() if "start" not in n)]
        loss = state.sin().sum() + weighting.attention.square().sum()
        found.append([state, *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def test_another_module_is_no_package():
    with pytest.raises(ValueError, match=r"a slot_attention\.SlotAttention is needed, got Linear"):
        from_package(nn.Linear(2, 2))


def test_gradients_are_right():
    module = randomised(SlotAttention(2, 4, hidden=5, iterations=2))
    x, first = normal(1, 6, 4).requires_grad_(), normal(1, 2, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, first: module(x, first), (x, first))


def test_symmetries():
    module = randomised(SlotAttention(4, 8))
    x, first = normal(2, 20, 8), normal(2, 4, 8, seed=2)
    slots, attention = module(x, first)
    order, turn = torch.randperm(20), torch.tensor([1, 3, 0, 2])
    shuffled, routed = module(x[:, order], first)
    torch.testing.assert_close(shuffled, slots, atol=1e-12, rtol=0)
    torch.testing.assert_close(routed, attention[:, :, order], atol=1e-12, rtol=0)
    turned, _ = module(x, first[:, turn])
    torch.testing.assert_close(turned, slots[:, turn], atol=1e-12, rtol=0)
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 20, dtype=torch.float64))


@pytest.mark.parametrize("competition", [compete, compete_and_sum, attend_alone])
def test_masked_inputs_do_not_exist(competition):
    module = randomised(SlotAttention(3, 8, competition=competition))
    x, first = normal(2, 20, 8), normal(2, 3, 8, seed=2)
    mask = torch.arange(20).expand(2, -1) < 14
    spoiled = x.clone()
    spoiled[:, 14:] = torch.nan
    slots, attention = module(spoiled, first, mask=mask)
    expected, rest = module(x[:, :14], first)
    torch.testing.assert_close(slots, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(attention[:, :, :14], rest, atol=1e-12, rtol=0)
    assert not attention[:, :, 14:].any()
    nothing, _ = module(x, first, mask=torch.zeros_like(mask))
    assert nothing.isfinite().all()


def test_the_number_of_slots_and_rounds_changes_at_call_time():
    module = SlotAttention(3, 8)
    x = torch.randn(2, 20, 8)
    assert module(x, 6)[0].shape == (2, 6, 8)
    first = torch.randn(2, 3, 8)
    once, _ = module(x, first, rounds=1)
    twice, _ = module(x, once, rounds=1)
    torch.testing.assert_close(module(x, first, rounds=2)[0], twice)
    torch.testing.assert_close(module(x, first, rounds=0)[0], first)


def test_slots_are_drawn_anew_in_evaluation():
    module = SlotAttention(3, 8).eval()
    x = torch.randn(2, 20, 8)
    assert not torch.allclose(module(x)[0], module(x)[0])


def test_the_implicit_gradient_is_that_of_the_last_round():
    module = randomised(SlotAttention(3, 8))
    x, first = normal(2, 20, 8), normal(2, 3, 8, seed=2)
    weight = module.cell.weight_ih
    slots, _ = module(x, first, implicit=True)
    torch.testing.assert_close(slots, module(x, first)[0])
    (found,) = torch.autograd.grad(slots.sum(), weight)
    before = module(x, first, rounds=2)[0].detach()
    (expected,) = torch.autograd.grad(module(x, before, rounds=1)[0].sum(), weight)
    torch.testing.assert_close(found, expected)
    start = module.start.mean
    (reached,) = torch.autograd.grad(module(x, implicit=True)[0].sum(), start)
    assert reached.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    module = randomised(SlotAttention(3, 16)).float()
    x, first = normal(2, 200, 16).float(), normal(2, 3, 16, seed=2).float()
    expected, _ = module(x, first)
    slots, attention = module.to(dtype)(x.to(dtype), first.to(dtype))
    assert slots.dtype == attention.dtype == dtype
    assert slots.isfinite().all()
    torch.testing.assert_close(slots.float(), expected, atol=0.3, rtol=0.1)


def test_a_slot_without_attention_in_half_precision_is_finite():
    """1e-8 is zero in half precision: the normalisation is in single precision."""
    logits = torch.tensor([[50.0], [-50.0]]).expand(1, 1, 2, 7)
    weights = compete(logits).weights
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SlotAttention(0), "at least 1"),
        (lambda: SlotAttention(3, 8, iterations=-1), "iterations 0"),
        (lambda: SlotAttention(3, 8, heads=3), "heads must divide dim"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 5, 7)), r"inputs must be \(B, N, 8\)"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 0, 8)), "N at least 1"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 5, 8), 0), "slots must be at least 1"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 5, 8), rounds=-1), "rounds must be 0"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 5, 8), torch.zeros(1, 3, 8)), "first slots"),
        (lambda: SlotAttention(3, 8)(torch.zeros(2, 5, 8), mask=torch.ones(2, 5)), "mask must be"),
        (lambda: LearnedStart(3, 8)(2, 4), "there are 3 learned slots"),
        (lambda: QueryStart(3, 8)(2, 4), "there are 3 learned slots"),
    ],
)
def test_bad_input_gets_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_noise_on_queries_is_a_share_of_them_and_has_no_gradient():
    start = QueryStart(5, 16)
    torch.manual_seed(0)
    slots = start(3, 4)
    torch.manual_seed(0)
    noise = torch.randn(3, 4, 16)
    torch.testing.assert_close(slots, start.slots[:4] * (1 + noise))
    (gradient,) = torch.autograd.grad(slots.sum(), start.slots)
    assert torch.equal(gradient, torch.tensor([3.0, 3, 3, 3, 0])[:, None].expand(5, 16))
    start.deviation.fill_(0)
    assert torch.equal(start(2, 5), start.slots.expand(2, -1, -1))


def test_the_last_rounds_gradient_goes_straight_to_queries():
    """BO-QSA: as if the state before the last round were the queries themselves."""
    module = randomised(SlotAttention(3, 8, start=QueryStart(3, 8)))
    module.start.deviation.fill_(0)
    x = normal(2, 20, 8)
    (found,) = torch.autograd.grad(module(x, implicit=True)[0].sin().sum(), module.start.slots)
    before = module(x, rounds=2)[0].detach().requires_grad_()
    (each,) = torch.autograd.grad(module(x, before, rounds=1)[0].sin().sum(), before)
    torch.testing.assert_close(found, each.sum(0))


def test_updates_in_place_of_the_gru():
    module = randomised(SlotAttention(3, 8, cell=Replace()))
    x, first = normal(2, 20, 8), normal(2, 3, 8, seed=2)
    assert not isinstance(module.cell, nn.GRUCell)
    # One round from other slots that attend alike gives the same slots: no state is kept.
    module.query.weight.data.zero_()
    torch.testing.assert_close(module(x, first, rounds=1)[0], module(x, first + 1, rounds=1)[0])


def test_the_module_begins_as_the_reference_code_does():
    """Keras' limits: Glorot's of the gates' matrix (D, 3 D), and of (1, D) at the start."""
    torch.manual_seed(0)
    module = SlotAttention(7, 64, bias=True)
    columns = module.cell.weight_hh.T @ module.cell.weight_hh
    torch.testing.assert_close(columns, torch.eye(64), atol=1e-5, rtol=0)
    for weight, limit in (
        (module.cell.weight_ih, math.sqrt(6 / 256)),
        (module.query.weight, math.sqrt(6 / 128)),
        (module.start.mean, math.sqrt(6 / 65)),
    ):
        assert 0.8 * limit < float(weight.detach().abs().max()) <= limit
    biases = [p for name, p in module.named_parameters() if "bias" in name]
    assert not any(bias.any() for bias in biases)
    given = nn.GRUCell(8, 8)
    before = given.weight_ih.detach().clone()
    assert torch.equal(SlotAttention(3, 8, cell=given).cell.weight_ih, before)
