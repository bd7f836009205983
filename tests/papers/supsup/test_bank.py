"""The bank: nothing is forgotten, rows under masks of their own, bytes, files."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from quire.papers.supsup import (
    ErdosRenyi,
    MaskBank,
    ResNet,
    TopFraction,
    entropy,
    make_mlp,
    pack,
    superfluous,
)


def batches(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, 6, generator=generator)
    return [(x, torch.randint(3, (24,), generator=generator))] * 25


def test_forgetting_is_zero_to_the_bit() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)))
    x = batches(0)[0][0]
    bank.add(batches(0), learning_rate=1e-2)
    before, mask = bank(x, 0), bank.mask(0)
    for seed in range(1, 5):
        bank.add(batches(seed), learning_rate=1e-2)
    bank.add(bank.new(tasks=3))
    assert torch.equal(bank(x, 0), before)
    assert all(torch.equal(a, b) for a, b in zip(mask.values(), bank.mask(0).values(), strict=True))


def test_training_mode_changes_nothing_that_was_added() -> None:
    bank = MaskBank(ResNet(18, 3, width=2))
    bank.add(bank.new())
    kept = bank.statistics.clone()
    bank.train()
    bank(torch.randn(4, 3, 8, 8) + 2, 0)
    bank.predict(torch.randn(4, 3, 8, 8) + 2)
    assert torch.equal(bank.statistics, kept)


def test_numbers_of_tasks_and_what_they_keep() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)), sparsity=TopFraction(0.25))
    assert (bank.add(bank.new()), bank.add(bank.new(tasks=3)), bank.add(bank.new())) == (0, 1, 4)
    assert len(bank) == 5
    torch.testing.assert_close(bank.kept(), torch.full((5,), 0.25))
    assert [m.shape for m in bank.mask(2).values()] == [(12, 6), (8, 12)]
    assert bank.kept().shape == (5,)
    assert MaskBank(nn.Linear(2, 2)).kept().shape == (0,)


def test_a_trained_mask_is_the_one_that_is_kept() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)))
    mask = bank.new()
    x = torch.randn(5, 6)
    bank.add(mask)
    torch.testing.assert_close(bank(x, 0), mask(x))


def test_rows_have_masks_of_their_own() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)))
    bank.add(bank.new(tasks=4))
    x, task = torch.randn(7, 6), torch.tensor([3, 0, 1, 1, 2, 0, 3])
    wanted = torch.cat([bank(row[None], int(t)) for row, t in zip(x, task, strict=True)])
    torch.testing.assert_close(bank(x, task), wanted)
    assert bank(x[:0], task[:0]).shape == (0, 8)


def test_tasks_that_were_learned_are_named_and_predicted() -> None:
    """Permutations of clusters: three of 20 inputs, learned well, are told apart."""
    torch.manual_seed(0)
    centres = 3 * torch.randn(3, 20)
    orders = [torch.randperm(20) for _ in range(3)]

    def draw(count: int, order: Tensor) -> tuple[Tensor, Tensor]:
        label = torch.randint(3, (count,))
        return (centres[label] + 0.3 * torch.randn(count, 20))[:, order], label

    bank = MaskBank(make_mlp(20, 30, hidden=(64,)))
    for order in orders:
        bank.add((draw(64, order) for _ in range(100)), learning_rate=3e-3)
    named, right = [], []
    for task, order in enumerate(orders):
        x, label = draw(100, order)
        for objective in (entropy, superfluous(3)):
            found = bank.predict(x, objective=objective)
            named.append((found.task == task).float().mean())
            right.append((found.logits.argmax(1) == label).float().mean())
            assert int(bank.infer(x, objective=objective, together=True)) == task
    assert torch.stack(named).mean() > 0.7
    assert torch.stack(right).mean() > 0.7


@pytest.mark.parametrize("seed", [7, None])
def test_a_bank_comes_back_from_its_file(tmp_path: Path, seed: int | None) -> None:
    model = ResNet(18, 3, width=2)
    bank = MaskBank(model, sparsity=ErdosRenyi(2.0), seed=seed)
    mask = bank.new().train()
    mask(torch.randn(4, 3, 8, 8))  # moves the statistics
    bank.add(mask)
    bank.add(bank.new())
    path = bank.save(tmp_path / "bank.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["bank.safetensors"]
    back = MaskBank.load(path, model)
    x = torch.randn(2, 3, 8, 8)
    for task in (0, 1):
        assert torch.equal(back.eval()(x, task), bank.eval()(x, task))
    held = sum(t.numel() * t.element_size() for t in safetensors.torch.load_file(path).values())
    assert held == bank.bits.numel() + 4 * bank.statistics.numel()
    assert bank.bits.shape == (2, -(-bank.net.size // 8))
    back.add(back.new())
    assert len(back) == 3


def test_another_net_is_refused(tmp_path: Path) -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)), seed=None)
    bank.add(bank.new())
    path = bank.save(tmp_path / "bank.safetensors")
    with pytest.raises(ValueError, match="is of other weights than those of the model"):
        MaskBank.load(path, make_mlp(6, 8, hidden=(12,)))
    with pytest.raises(ValueError, match=r"is of weights \[\[12, 6\], \[8, 12\]\]"):
        MaskBank.load(path, make_mlp(6, 9, hidden=(12,)))
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="is no mask bank"):
        MaskBank.load(other, make_mlp(6, 8))


def test_a_checkpoint_of_another_number_of_tasks_is_loaded() -> None:
    bank, other = (MaskBank(make_mlp(6, 8, hidden=(12,))) for _ in range(2))
    bank.add(bank.new(tasks=3))
    other.add(other.new(tasks=5))
    x = torch.randn(2, 1, 6)
    other.infer(x[:, 0])  # what it counted is old after loading
    other.load_state_dict(bank.state_dict())
    assert len(other) == 3
    assert torch.equal(other.bits, bank.bits)
    torch.testing.assert_close(other.mix(None), bank.mix(None))


def test_bytes_by_hand() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)), sparsity=TopFraction(0.5))
    bank.add(bank.new(tasks=2))
    storage = bank.measure_storage()
    assert storage.packed == 2 * 21  # 168 weights
    assert storage.sparse == 2 * (2 * 84 + 2 * 20)
    assert storage.statistics == 0
    assert pack(torch.zeros(1, 275_200)).numel() == 34_400


def test_what_does_not_fit_is_said() -> None:
    bank = MaskBank(make_mlp(6, 8, hidden=(12,)))
    bank.add(bank.new())
    with pytest.raises(IndexError, match=r"task must be in 0\.\.0, got 1"):
        bank(torch.zeros(1, 6), 1)
    with pytest.raises(ValueError, match=r"task must be a number or \(2,\), got \(3,\)"):
        bank(torch.zeros(2, 6), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="the mask is of 7 weights, the bank's net has 168"):
        bank.add(MaskBank(nn.Linear(7, 1)).new())
