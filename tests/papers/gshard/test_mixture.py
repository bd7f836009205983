import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from contract.operators import Operators
from quire.nn import Causal, Encoder, EncoderLayer, FeedForward, MultiHeadAttention, devices
from quire.papers.gshard import (
    Assigned,
    BiasBalance,
    Dropless,
    Einsum,
    ExpertChoice,
    MixtureOfExperts,
    Soft,
    Switch,
    Top2,
    hash_table,
    mixtures,
    side,
    tell,
)

CAPPED = [
    Top2(), Top2(factor=0.4), Top2(factor=8.0, second="none"), Switch(), Switch(prioritised=True),
    ExpertChoice(),
]  # fmt: skip


def call(mixture, x):
    """Outputs and all gradients, those of the balance loss included."""
    y = mixture(x)
    loss = y.sin().sum() + side(mixture)["balance"].sum()
    leaves = [x, *mixture.parameters()]
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [y.detach(), mixture.side["dropped"], mixture.side["load"], *found]


def make(router, *, experts=5, dim=8, hidden=12, **options):
    torch.manual_seed(0)
    mixture = MixtureOfExperts(dim, hidden, experts, router=router, **options).double()
    return mixture, torch.randn(3, 20, dim, dtype=torch.float64, requires_grad=True)


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, check_dtype=False)


@pytest.mark.parametrize("router", CAPPED, ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_einsums_and_indices_give_the_same_outputs_and_gradients(router, padded):
    mixture, x = make(router)
    mixture.eval()
    counted = torch.rand(3, 20) < 0.7 if padded else None
    with tell(mixture, counted=counted):
        ours = call(mixture, x)
        mixture.router = Einsum(router)
        same(ours, call(mixture, x))


@pytest.mark.parametrize("experts", [1, 3, 7])
def test_dropless_blocks_are_the_loop_over_experts(monkeypatch, experts):
    mixture, x = make(Dropless(choices=1), experts=experts)
    ours = call(mixture, x)
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    same(ours, call(mixture, x))


def test_dropless_is_top2_with_room_for_all():
    mixture, x = make(Top2(factor=10.0))
    mixture.eval()
    ours = call(mixture, x)
    mixture.router = Dropless()
    same(ours, call(mixture, x))


def test_room_for_all_is_the_weighted_sum_of_every_expert():
    mixture, x = make(Dropless(choices=5))
    gates = mixture.gate(x).softmax(-1)
    weights = zip(mixture.experts.inner, mixture.experts.outer, strict=True)
    each = torch.stack([(x @ w).relu() @ v for w, v in weights], -1)
    torch.testing.assert_close(mixture(x), (each * gates[:, :, None]).sum(-1))


@pytest.mark.parametrize("router", [Top2(factor=3.0), Dropless(), Switch(factor=9.0)], ids=str)
def test_experts_that_are_alike_are_one_feed_forward_part(router):
    mixture, x = make(router)
    with torch.no_grad():
        for weight in (mixture.experts.inner, mixture.experts.outer):
            weight.copy_(weight[:1].expand_as(weight).clone())
    mixture.eval()
    wanted = (x @ mixture.experts.inner[0]).relu() @ mixture.experts.outer[0]
    if isinstance(router, Switch):  # its gate is not normalised
        wanted = wanted * mixture.gate(x).softmax(-1).amax(-1, keepdim=True)
    torch.testing.assert_close(mixture(x), wanted, rtol=1e-8, atol=1e-10)  # epsilon of the gates


def test_all_tokens_to_one_expert():
    mixture, x = make(Top2(second="none"), experts=4)
    with torch.no_grad():
        mixture.gate.weight.zero_()  # equal gates: the first expert is everybody's first choice
    y = mixture(x)
    assert mixture.side["load"].tolist() == [30, 0, 0, 0]  # C = 10 of 20, three groups
    assert float(mixture.side["dropped"]) == 0.5
    assert not y[:, 10:].any()


def test_the_package_of_lucidrains_on_copied_weights():
    """Its capacity is factor S / E, 4 at the least, and its loss that of E^2."""
    package = pytest.importorskip("mixture_of_experts", reason="needs the extra peers")
    torch.manual_seed(0)
    peer = package.MoE(
        8, num_experts=4, hidden_dim=12, second_policy_eval="all", capacity_factor_eval=1.6
    ).double().eval()  # fmt: skip
    ours = MixtureOfExperts(8, 12, 4, router=Top2(factor=0.8, minimum=4)).double().eval()
    with torch.no_grad():
        ours.gate.weight.copy_(peer.gate.w_gating.T)
        ours.experts.inner.copy_(peer.experts.w1)
        ours.experts.outer.copy_(peer.experts.w2)
    x = torch.randn(3, 40, 8, dtype=torch.float64, requires_grad=True)
    theirs, loss = peer(x)
    mine = ours(x)
    assert 0 < float(ours.side["dropped"]) < 0.5
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(0.01 * ours.side["balance"], loss)
    wanted = torch.autograd.grad(
        theirs.sin().sum() + loss, [x, peer.gate.w_gating, peer.experts.w1]
    )
    found = torch.autograd.grad(
        mine.sin().sum() + 0.01 * ours.side["balance"],
        [x, ours.gate.weight, ours.experts.inner],
    )
    torch.testing.assert_close([found[0], found[1].T, found[2]], list(wanted))


def test_a_transformer_collects_what_its_layers_leave(monkeypatch):
    def layer(part):
        return EncoderLayer(8, MultiHeadAttention(8, 2), feed_forward=part)

    torch.manual_seed(0)
    parts = [FeedForward(8, 16), MixtureOfExperts(8, 16, 4), FeedForward(8, 16),
             MixtureOfExperts(8, 16, 4)]  # fmt: skip
    model = Encoder([layer(part) for part in parts])
    assert model(torch.randn(2, 6, 8), Causal()).shape == (2, 6, 8)
    found = side(model)
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "balance": (2,), "z": (2,), "dropped": (2,), "load": (2, 4),
    }  # fmt: skip
    found["balance"].sum().backward()
    assert all(m.gate.weight.grad.abs().sum() > 0 for m in mixtures(model))
    copy.deepcopy(model)


def test_evaluation_is_deterministic_and_training_is_not():
    mixture, x = make(Top2())
    assert not torch.equal(mixture(x), mixture(x))
    with tell(mixture, generator=torch.Generator().manual_seed(1)):
        first = mixture(x)
    with tell(mixture, generator=torch.Generator().manual_seed(1)):
        assert torch.equal(mixture(x), first)
    mixture.eval()
    assert torch.equal(mixture(x), mixture(x))


def test_what_does_not_count_is_left_alone():
    mixture, x = make(Top2())
    mixture.eval()
    counted = torch.ones(3, 20, dtype=torch.bool)
    counted[:, 15:] = False
    with tell(mixture, counted=counted):
        y = mixture(x)
    assert not y[:, 15:].any()
    # C is that of 20 tokens.
    mixture.router = Top2(factor=20 / 15)
    torch.testing.assert_close(y[:, :15], mixture(x[:, :15]))
    assert mixture.told.counted is None


def test_groups_may_go_on_from_row_to_row():
    mixture, x = make(Top2(), group=30)
    mixture.eval()
    y = mixture(x)
    mixture.group = None
    torch.testing.assert_close(mixture(x.view(2, 30, 8)).view_as(x), y)
    mixture.group = 7
    with pytest.raises(ValueError, match="3 x 20 tokens do not fill groups of 7"):
        mixture(x)


def test_experts_that_choose_are_loaded_alike():
    mixture, x = make(ExpertChoice(), experts=4)
    mixture(x)
    assert mixture.side["load"].tolist() == [30, 30, 30, 30]


def test_biases_balance_what_was_uneven():
    torch.manual_seed(0)
    router = BiasBalance(4, rate=5e-3)
    logits = torch.randn(8, 64, 4) + torch.tensor([1.5, 0, 0, -1.5])
    before = router(logits, training=True).load
    for _ in range(200):
        router(logits, training=True)
        router.rebalance()
    after = router(logits).load
    assert before.max() > 1.6 * before.mean()
    assert after.max() < 1.15 * after.mean()
    assert torch.equal(router(logits).load, after)


def test_a_table_routes_by_token():
    table = hash_table(16, 4, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(table.flatten(), minlength=4).tolist() == [8, 8, 8, 8]
    assert (table[:, 0] != table[:, 1]).all()
    mixture, x = make(Assigned(), experts=4)
    ids = torch.randint(16, (3, 20))
    with tell(mixture, choice=table[ids]):
        y = mixture(x)
    inner, outer = (w[table[ids]] for w in (mixture.experts.inner, mixture.experts.outer))
    each = torch.einsum("btm,btkmh->btkh", x, inner).relu()
    torch.testing.assert_close(y, torch.einsum("btkh,btkhm->btm", each, outer) / 2)
    with pytest.raises(ValueError, match=r"choice must be \(3, 20\) and K, got None"):
        mixture(x)


def test_a_soft_mixture_is_softmaxes_of_both_ways():
    mixture, x = make(Soft())
    logits = mixture.gate(x)
    sent = torch.einsum("gse,gsm->egm", logits.softmax(1), x)
    made = (sent @ mixture.experts.inner).relu() @ mixture.experts.outer
    torch.testing.assert_close(mixture(x), torch.einsum("gse,egm->gsm", logits.softmax(-1), made))


def test_the_z_loss_is_the_mean_square_of_logsumexp():
    mixture, x = make(Top2())
    mixture(x)
    wanted = mixture.gate(x).float().logsumexp(-1).square().mean()
    torch.testing.assert_close(mixture.side["z"], wanted)


@pytest.mark.parametrize("router", [Top2(), Switch(), ExpertChoice(), Dropless()], ids=str)
def test_operators_grow_neither_with_experts_nor_tokens_and_none_waits(router):
    numbers = set()
    for experts, tokens in ((4, 64), (16, 64), (64, 512), (64, 4096)):
        with torch.device("meta"):
            mixture = MixtureOfExperts(16, 32, experts, router=router)
            x = torch.empty(2, tokens, 16, requires_grad=True)
        with Operators() as watched:
            y = mixture(x)
            (y.sum() + mixture.side["balance"]).backward()
        assert watched.waits == 0
        numbers.add(watched.number)
    assert len(numbers) == 1


def test_under_autocast_gates_stay_in_single_precision():
    mixture = MixtureOfExperts(8, 12, 5).eval()
    x = torch.randn(3, 20, 8)
    exact = mixture(x)
    load = mixture.side["load"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixture(x)
    assert torch.equal(mixture.side["load"], load)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, exact, rtol=0.05, atol=0.05)


def test_half_precision_routes_as_single_precision_does():
    mixture = MixtureOfExperts(8, 12, 5).to(torch.bfloat16).eval()
    x = torch.randn(3, 20, 8, dtype=torch.bfloat16)
    assert mixture(x).dtype == torch.bfloat16
    logits = F.linear(x.float(), mixture.gate.weight.float())
    assert torch.equal(mixture.side["load"], Top2()(logits).load)


def test_bad_input():
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        MixtureOfExperts(8, 0, 4)
    mixture = MixtureOfExperts(8, 12, 4)
    with pytest.raises(ValueError, match=r"x must be \(batch, tokens, 8\), got \(3, 8\)"):
        mixture(torch.zeros(3, 8))
    with pytest.raises(ValueError, match="no mixture of experts, or was not called"):
        side(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no mixture of experts, or was not called"):
        side(mixture)
    with pytest.raises(ValueError, match="choices must be from 1 to 4, got 5"):
        MixtureOfExperts(8, 12, 4, router=Dropless(choices=5))(torch.zeros(1, 2, 8))
    with pytest.raises(ValueError, match="choices must be from 1 to 2"):
        hash_table(4, 2, choices=3)
