"""Batches as a pure function of the step; crops and flips against a loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.data import Images, batches, random_crop_flip


def numbered(count: int) -> Images:
    """Images whose pixels and labels are their own number."""
    label = np.arange(count)
    image = np.broadcast_to(label.astype(np.uint8)[:, None, None, None], (count, 1, 2, 2))
    return Images(image.copy(), label)


def test_batches_keep_the_tuple_and_its_dtypes() -> None:
    batch = batches(numbered(10), 4, seed=0)(0)
    assert isinstance(batch, Images)
    assert batch.image.dtype == torch.uint8
    assert batch.label.dtype == torch.int64
    assert batch.image.shape == (4, 1, 2, 2)
    assert batch.image[:, 0, 0, 0].tolist() == batch.label.tolist()


@given(
    total=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**40), epoch=st.integers(0, 99)
)
@settings(max_examples=50, deadline=None)
def test_an_epoch_visits_no_example_twice(
    total: int, data: st.DataObject, seed: int, epoch: int
) -> None:
    size = data.draw(st.integers(1, total))
    batch_at = batches(numbered(total), size, seed=seed)
    steps = total // size
    seen = [
        label
        for step in range(epoch * steps, (epoch + 1) * steps)
        for label in batch_at(step).label.tolist()
    ]
    assert len(seen) == len(set(seen)) == steps * size
    if total % size == 0:
        assert sorted(seen) == list(range(total))


def test_batches_are_a_pure_function_of_the_step() -> None:
    one, other = batches(numbered(11), 3, seed=7), batches(numbered(11), 3, seed=7)
    in_order = {step: one(step).label.tolist() for step in range(20)}
    for step in np.random.default_rng(0).permutation(20).tolist():
        assert other(step).label.tolist() == in_order[step]


def test_epochs_and_seeds_differ() -> None:
    batch_at = batches(numbered(50), 50, seed=0)
    orders = [tuple(batch_at(epoch).label.tolist()) for epoch in range(3)]
    orders.append(tuple(batches(numbered(50), 50, seed=1)(0).label.tolist()))
    assert len(set(orders)) == 4


def test_batches_leave_the_global_generators_alone() -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    batches(numbered(9), 2, seed=0)(5)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])


def test_batch_arguments() -> None:
    for size in (0, 11):
        with pytest.raises(ValueError, match=rf"size must be in 1\.\.10, .* got {size}"):
            batches(numbered(10), size, seed=0)
    with pytest.raises(ValueError, match="same length, got"):
        batches(Images(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(4, np.int64)), 1, seed=0)
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        batches(numbered(10), 2, seed=0)(-1)


def naive_crop_flip(images: torch.Tensor, generator: torch.Generator, padding: int) -> torch.Tensor:
    """One image at a time by slices, with the same random numbers."""
    count, channels, height, width = images.shape
    offsets = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    flips = torch.randint(2, (count, 1), generator=generator)
    result = torch.empty_like(images)
    for n in range(count):
        room = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=images.dtype)
        room[:, padding : padding + height, padding : padding + width] = images[n]
        top, left = int(offsets[0, n]), int(offsets[1, n])
        crop = room[:, top : top + height, left : left + width]
        result[n] = crop.flip(-1) if flips[n] else crop
    return result


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "padding"), [((7, 3, 13, 9), 4), ((1, 1, 1, 1), 2), ((5, 2, 8, 8), 0)]
)
def test_crop_flip_equals_the_loop(
    shape: tuple[int, ...], padding: int, dtype: torch.dtype
) -> None:
    images = torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    given, same = (torch.Generator().manual_seed(2) for _ in range(2))
    fast = random_crop_flip(images, given, padding=padding)
    assert fast.dtype == dtype
    assert torch.equal(fast, naive_crop_flip(images, same, padding))
    assert torch.equal(given.get_state(), same.get_state())


def test_crop_flip_uses_every_offset_and_both_sides() -> None:
    images = torch.arange(1, 10, dtype=torch.float32).reshape(1, 1, 3, 3).repeat(500, 1, 1, 1)
    seen = random_crop_flip(images, torch.Generator().manual_seed(0), padding=1)
    assert len(torch.unique(seen, dim=0)) == 9 * 2


def test_crop_flip_arguments() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"got shape \(3, 8, 8\)"):
        random_crop_flip(torch.zeros(3, 8, 8), generator)
    with pytest.raises(ValueError, match="padding -1"):
        random_crop_flip(torch.zeros(1, 3, 8, 8), generator, padding=-1)
