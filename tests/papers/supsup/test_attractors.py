"""Memories of masks against closed forms, and recovery of a mask from unlabelled data."""

import pytest
import torch
from torch import Tensor

from quire.papers.supsup import MaskMemory, NeuronMask, NeuronMaskNet, entropy, recover


def signs(*shape: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)) - 1


def test_hebb_is_a_sum_of_outer_products() -> None:
    z = signs(4, 20)
    memory = MaskMemory(20, rule="hebb")
    for row in z:
        memory.write(row)
    torch.testing.assert_close(memory.matrix, z.T @ z / 20)
    torch.testing.assert_close(memory.measure_energy(z), -0.5 * ((z @ z.T) ** 2).sum(1) / 20)


def test_storkey_by_hand() -> None:
    z = signs(2, 6)
    memory = MaskMemory(6)
    for row in z:
        memory.write(row)
    first = (torch.outer(z[0], z[0]) - torch.eye(6)) / 6
    h = first @ z[1]
    change = torch.outer(z[1], z[1]) - torch.eye(6) - torch.outer(z[1], h) - torch.outer(h, z[1])
    torch.testing.assert_close(memory.matrix, first + change / 6)


@pytest.mark.parametrize("rule", ["hebb", "storkey"])
def test_few_masks_are_fixed_points_that_attract(rule: str) -> None:
    z = signs(3, 64)
    memory = MaskMemory(64, rule=rule)  # type: ignore[arg-type]
    for row in z:
        memory.write(row)
    assert torch.equal((z @ memory.matrix).sign(), z)
    for row in z:
        broken = row.clone()
        broken[:6] *= -1
        assert torch.equal(memory.settle(broken), row)


def test_storkey_stores_more_than_hebb() -> None:
    wrong = {}
    for rule in ("hebb", "storkey"):
        z, memory = signs(16, 96, seed=3), MaskMemory(96, rule=rule)  # type: ignore[arg-type]
        for row in z:
            memory.write(row)
        back = torch.stack([memory.settle(row) for row in z])
        wrong[rule] = int((back != z).sum())
    assert wrong["storkey"] < wrong["hebb"]


def test_the_energy_never_rises_one_neuron_at_a_time() -> None:
    memory = MaskMemory(40)
    for row in signs(5, 40):
        memory.write(row)
    memory.matrix -= torch.diag(memory.matrix.diagonal())
    state = signs(40, seed=9)
    energies = [memory.measure_energy(state)]
    for _ in range(6):
        state = memory.settle(state, sweeps=1)
        energies.append(memory.measure_energy(state))
    assert (torch.stack(energies).diff() <= 1e-5).all()


def test_a_mask_is_recovered_from_the_energy_alone() -> None:
    """Where the outputs say nothing, the nearest stored mask comes back."""
    net = NeuronMaskNet(8, hidden=(48, 48), outputs=4)
    z = [[signs(48, seed=10 * task + layer) for layer in range(2)] for task in range(3)]
    memories = [MaskMemory(48), MaskMemory(48)]
    for own in z:
        for memory, row in zip(memories, own, strict=True):
            memory.write(row)
    start = [0.6 * a + 0.2 * b + 0.2 * c for a, b, c in zip(*z, strict=True)]
    back = recover(
        net, memories, (torch.randn(16, 8) for _ in range(100)), start,
        steps=20, learning_rate=5.0, objective=lambda logits: 0 * logits.sum(), strength=1.0,
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(back.masks, z[0], strict=True))
    assert back.path[0].shape == (21, 48)
    assert torch.equal(back.path[0][0], (start[0] >= 0) * 2.0 - 1)


def test_entropy_descends_towards_less_of_it() -> None:
    torch.manual_seed(0)
    net = NeuronMaskNet(8, hidden=(32,), outputs=4)
    x = torch.randn(64, 8)
    start = [torch.zeros(32)]
    back = recover(net, [MaskMemory(32)], [x] * 12, start, steps=100, learning_rate=20.0)
    first = entropy(net(x, [(back.path[0][0] + 1) / 2]))
    assert entropy(net(x, [(back.masks[0] + 1) / 2])) < first
    assert len(back.path[0]) == 13  # as many steps as there were batches


def test_neurons_that_are_masked_are_silent_and_all_are_on_at_first() -> None:
    net = NeuronMaskNet(8, hidden=(16, 16), outputs=4)
    x = torch.randn(5, 8)
    mask = NeuronMask(net)
    torch.testing.assert_close(mask(x), net(x))
    assert all((m == 1).all() for m in mask.masks())
    off = [torch.ones(16), torch.zeros(16)]
    assert not net(x, off).any()
    mask(x).square().sum().backward()
    assert all(s.grad is not None and s.grad.any() for s in mask.scores)
    assert not any(weight.requires_grad for weight in net.layers)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="rule must be 'storkey' or 'hebb', got 'x'"):
        MaskMemory(3, rule="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neurons must be at least 1"):
        MaskMemory(0)
    with pytest.raises(ValueError, match=r"a mask must be \(3,\) of -1 and 1"):
        MaskMemory(3).write(torch.zeros(3))
    with pytest.raises(ValueError, match="two at least, got 1"):
        NeuronMaskNet(2, hidden=(2,), outputs=2)(torch.zeros(1, 2))
