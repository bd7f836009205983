"""Whole nets and adapters as banks: mixtures by hand, gradients against a stack, routing."""

import pytest
import torch
from torch import nn

from quire.papers.supsup import (
    FrozenNet,
    LoraBank,
    NetBank,
    entropy,
    find_slopes,
    make_mlp,
    naive_slopes,
    one_shot,
    superfluous,
)


def make_lora(tasks: int = 4) -> LoraBank:
    torch.manual_seed(0)
    bank = LoraBank(make_mlp(6, 5, hidden=(8,)), tasks=tasks, rank=2).double()
    for parameter in bank.up:
        nn.init.normal_(parameter)
    return bank


def test_adapters_begin_as_the_net_itself() -> None:
    torch.manual_seed(0)
    model = make_mlp(6, 5, hidden=(8,))
    bank, x = LoraBank(model, tasks=3), torch.randn(3, 4, 6)
    torch.testing.assert_close(bank(x), torch.stack([model(row) for row in x]))
    trained = {name.split(".")[0] for name, p in bank.named_parameters() if p.requires_grad}
    assert trained == {"up", "down"}


def test_an_adapter_is_a_low_rank_change() -> None:
    bank = make_lora()
    for task, vector in enumerate(bank.take(torch.arange(4))):
        change = (vector - bank.net.weights)[:48].view(8, 6)
        assert torch.linalg.matrix_rank(change) == 2
        torch.testing.assert_close(change, bank.up[0][task] @ bank.down[0][task] / 2**0.5)


def test_mixtures_and_gradients_are_those_of_a_stack() -> None:
    bank = make_lora()
    vectors = bank.take(torch.arange(4)).detach()
    alphas = torch.rand(3, 4).double()
    base = bank.net.weights
    torch.testing.assert_close(bank.mix(alphas), base + alphas @ (vectors - base))
    torch.testing.assert_close(bank.mix(None), vectors.mean(0))
    x = torch.randn(5, 2, 6).double()
    changes = NetBank(bank.net, vectors - base)

    def slow(alpha: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        return entropy(bank.call(base + alpha @ changes.vectors, group))

    wanted = torch.stack([
        torch.func.grad(slow)(torch.full((4,), 0.25).double(), group) for group in x
    ])  # fmt: skip
    torch.testing.assert_close(find_slopes(bank, x, entropy).detach(), wanted)
    out = bank(x.transpose(0, 1)[:1].expand(4, -1, -1))
    torch.testing.assert_close(out[2], bank.call(vectors[2], x[:, 0]))


def test_whole_nets_are_mixed_as_they_are() -> None:
    net = FrozenNet(make_mlp(6, 5, hidden=(8,))).double()
    bank = NetBank(net, torch.randn(3, net.size).double())
    x = torch.randn(5, 2, 6).double()
    torch.testing.assert_close(bank.mix(None), bank.vectors.mean(0))
    torch.testing.assert_close(
        find_slopes(bank, x, entropy), naive_slopes(bank, x, entropy, bank.vectors)
    )


def test_trained_adapters_are_routed_by_one_gradient() -> None:
    torch.manual_seed(0)
    centres = 3 * torch.randn(3, 16)
    orders = torch.stack([torch.randperm(16) for _ in range(3)])

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        label = torch.randint(3, (3, count))
        x = centres[label] + 0.3 * torch.randn(3, count, 16)
        return x.gather(2, orders[:, None].expand_as(x)), label

    bank = LoraBank(make_mlp(16, 12, hidden=(32,)), tasks=3, rank=8)
    optimizer = torch.optim.Adam([p for p in bank.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(100):
        x, label = draw(32)
        optimizer.zero_grad()
        nn.functional.cross_entropy(bank(x).flatten(0, 1), label.flatten()).backward()
        optimizer.step()
    x, _ = draw(100)
    for objective in (entropy, superfluous(3)):
        assert one_shot(bank, x, objective).tolist() == [0, 1, 2]


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="tasks and rank must be at least 1, got 0 and 4"):
        LoraBank(nn.Linear(2, 2), tasks=0)
    with pytest.raises(ValueError, match=r"x must be \(4, examples, \.\.\.\), got \(2, 3, 6\)"):
        make_lora()(torch.zeros(2, 3, 6).double())
    with pytest.raises(ValueError, match=r"vectors must be \(tasks, 12\), got \(2, 5\)"):
        NetBank(FrozenNet(nn.Linear(4, 3, bias=False)), torch.zeros(2, 5))
