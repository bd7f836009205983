"""Every memory recalls few masks, and says what it keeps."""

import pytest
import torch

from quire.recipes.mask_memories import memories


@pytest.mark.parametrize("name", ["hebb", "storkey", "dense", "modern"])
def test_few_masks_come_back_from_a_tenth_turned(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = 2.0 * torch.randint(2, (4, 100), generator=generator) - 1
    stored = getattr(memories, name)(masks)
    for mask in masks:
        broken = mask.clone()
        broken[:10] *= -1
        assert torch.equal(stored.recall(broken), mask)
    assert stored.bytes == (40_000 if name in ("hebb", "storkey") else 4 * 13)


def test_an_exponential_memory_holds_more_than_a_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = 2.0 * torch.randint(2, (60, 100), generator=generator) - 1
    wrong = {}
    for name in ("hebb", "dense", "modern"):
        stored = getattr(memories, name)(masks)
        broken = masks.clone()
        broken[:, :10] *= -1
        back = torch.stack([stored.recall(row) for row in broken])
        wrong[name] = int((back != masks).sum())
    assert wrong["dense"] == wrong["modern"] == 0 < wrong["hebb"]
