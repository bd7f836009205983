"""Objectives against closed forms; the quick gradient against a stack; rules; controls."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract.operators import Operators
from quire.nn import devices
from quire.papers.supsup import (
    FrozenNet,
    MaskBank,
    NetBank,
    ResNet,
    TopFraction,
    binary,
    descend,
    entropy,
    exhaustive,
    find_slopes,
    make_mlp,
    naive_slopes,
    one_shot,
    rescore,
    superfluous,
)

RULES = [one_shot, binary, exhaustive, partial(descend, steps=3), partial(rescore, top=3)]


def make_bank(tasks: int = 6, *, dtype: torch.dtype = torch.float64) -> MaskBank:
    bank = MaskBank(make_mlp(7, 9, hidden=(11, 6)).to(dtype), seed=1)
    bank.add(bank.new(tasks=tasks, generator=torch.Generator().manual_seed(2)))
    return bank


def groups(count: int = 5, size: int = 3) -> Tensor:
    return torch.randn(count, size, 7, generator=torch.Generator().manual_seed(3)).double()


def test_lemma_1() -> None:
    z = torch.randn(4, 9, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(superfluous(3)(z), z)
    assert not slope[:, :3].any()
    for label in range(3):
        (wanted,) = torch.autograd.grad(F.cross_entropy(z, torch.full((4,), label)), z)
        torch.testing.assert_close(slope[:, 3:], wanted[:, 3:])


def test_entropy_by_hand() -> None:
    z = torch.tensor([[0.0, 0.0], [100.0, -100.0]])
    assert float(entropy(z)) == pytest.approx(0.5 * float(torch.tensor(2.0).log()), abs=1e-6)
    assert entropy(z.bfloat16()).dtype == torch.float32
    assert torch.isfinite(entropy(1e4 * torch.randn(3, 5)))


@pytest.mark.parametrize("objective", [entropy, superfluous(4)], ids=["H", "G"])
def test_one_gradient_is_that_of_a_stack(objective: object) -> None:
    bank, x = make_bank(), groups()
    vectors = bank.take(torch.arange(6))
    quick = find_slopes(bank, x, objective)  # type: ignore[arg-type]
    slow = naive_slopes(bank, x, objective, vectors)  # type: ignore[arg-type]
    torch.testing.assert_close(quick, slow)
    assert quick.abs().max() > 1e-3


def test_by_hand_it_is_the_inner_product_of_the_weights_gradient() -> None:
    bank, x = make_bank(), groups(1)
    mixed = bank.mix(None).requires_grad_()
    (slope,) = torch.autograd.grad(entropy(bank.call(mixed, x[0])), mixed)
    wanted = torch.stack([
        sum((slope_part * weight * bit).sum() for slope_part, weight, bit in zip(
            slope.split(bank.net.sizes), bank.net.weights.split(bank.net.sizes),
            [m.flatten() for m in bank.mask(task).values()], strict=True,
        ))
        for task in range(6)
    ])  # fmt: skip
    torch.testing.assert_close(find_slopes(bank, x, entropy)[0], wanted)


def test_a_net_with_statistics_is_inferred_by_its_weights() -> None:
    bank = MaskBank(ResNet(18, 3, width=2).double())
    for seed in range(3):
        mask = bank.new(generator=torch.Generator().manual_seed(seed)).train()
        mask(torch.randn(4, 3, 8, 8).double() + seed)
        bank.add(mask)
    x = torch.randn(2, 5, 3, 8, 8).double()
    vectors = bank.take(torch.arange(3))
    torch.testing.assert_close(bank.mix(None), vectors.mean(0))
    for objective in (entropy, superfluous(2)):
        slow = naive_slopes(bank, x, objective, vectors)
        torch.testing.assert_close(find_slopes(bank, x, objective), slow)
    for rule in RULES:
        assert rule(bank, x, entropy).shape == (2,)


def test_small_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, x = make_bank(), groups()
    alphas = torch.rand(5, 6).double()
    whole = find_slopes(bank, x, entropy), find_slopes(bank, x, entropy, alphas)
    monkeypatch.setattr("quire.papers.supsup.inference.ROOM", 2 * bank.length)
    monkeypatch.setattr("quire.papers.supsup.bank.ROOM", 2 * bank.length)
    bank = make_bank()
    pieces = find_slopes(bank, x, entropy), find_slopes(bank, x, entropy, alphas)
    torch.testing.assert_close(pieces, whole)


def test_ties_and_a_bank_of_one() -> None:
    twins = MaskBank(make_mlp(7, 9).double())
    for _ in range(2):
        twins.add(twins.new(generator=torch.Generator().manual_seed(0)))
    slopes = find_slopes(twins, groups(), entropy)
    assert torch.equal(slopes[:, 0], slopes[:, 1])
    for rule in RULES:
        assert rule(make_bank(1), groups(), entropy).tolist() == [0] * 5


def test_binary_of_two_is_one_shot() -> None:
    bank, x = make_bank(2), groups(40, 1)
    assert torch.equal(binary(bank, x, entropy), one_shot(bank, x, entropy))


@pytest.mark.parametrize("tasks", [3, 5, 8])
def test_binary_ends_with_one_also_among_ties(tasks: int) -> None:
    net = FrozenNet(make_mlp(7, 9))
    same = NetBank(net, net.weights.expand(tasks, -1).clone())
    found = binary(same, groups().float(), entropy)
    assert found.shape == (5,)
    assert (found < tasks).all()


def test_rules_name_what_a_mask_was_made_for() -> None:
    """Three masks that switch on one input each: the entropy falls towards the one that is on."""
    net = FrozenNet(nn.Linear(3, 4, bias=False), seed=None)
    with torch.no_grad():
        net.model.get_parameter("weight").copy_(torch.tensor([[9.0], [0], [0], [0]]).expand(4, 3))
    vectors = torch.stack([net.weights * torch.eye(3)[i].repeat(4) for i in range(3)])
    bank = NetBank(net, vectors)
    x = torch.eye(3)[:, None]
    for rule in RULES:
        assert rule(bank, x, entropy).tolist() == [0, 1, 2]


def test_exhaustive_is_a_loop_over_nets() -> None:
    bank, x = make_bank(), groups()
    wanted = [min(range(6), key=lambda t: float(entropy(bank(group, t)))) for group in x]
    assert exhaustive(bank, x, entropy).tolist() == wanted
    assert rescore(bank, x, entropy, top=6).tolist() == wanted


def test_nothing_is_left_behind() -> None:
    bank = make_bank()
    bank.train()
    with torch.inference_mode():
        inside = bank.infer(groups()[:, 0])
    assert bank.training
    assert torch.equal(inside, bank.infer(groups()[:, 0]))
    half = make_bank(dtype=torch.bfloat16)
    assert half.infer(groups()[:, 0].bfloat16()).shape == (5,)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bank.infer(groups()[:, 0]), inside)


def test_nobody_waits_and_nothing_grows_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, x = make_bank(64), groups(64, 1)
    plain = one_shot(bank, x, entropy)
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    numbers = []
    for tasks, rule in ((64, one_shot), (64, binary), (16, one_shot)):
        bank = make_bank(tasks)
        with Operators() as watched:
            found = rule(bank, x, entropy)
        assert watched.waits == 0
        numbers.append(watched.number)
    assert numbers[0] == numbers[2]
    assert torch.equal(one_shot(make_bank(64), x, entropy), plain)
    assert found.shape == (64,)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="the bank has no tasks yet"):
        MaskBank(make_mlp(7, 9)).infer(torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r"x must be \(groups, examples, \.\.\.\)"):
        make_bank().infer(torch.zeros(0, 7).double())
    with pytest.raises(ValueError, match="labels must be at least 1, got 0"):
        superfluous(0)
    with pytest.raises(ValueError, match="G needs superfluous outputs: 9 outputs for 9 labels"):
        make_bank().infer(groups()[:, 0], objective=superfluous(9))
    assert TopFraction(1.0).keep == 1
