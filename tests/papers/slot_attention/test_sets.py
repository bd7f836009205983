"""Set prediction: the loss, and average precision against a brute-force count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.slot_attention import (
    Properties,
    average_precision,
    pair_costs,
    set_loss,
)

LAYOUT = Properties(places=2, kinds=(2, 3))


def test_the_loss_of_a_permuted_set_is_the_same():
    generator = torch.Generator().manual_seed(0)
    predicted, target = (torch.rand(3, 4, 8, generator=generator) for _ in range(2))
    loss = set_loss(predicted, target)
    torch.testing.assert_close(set_loss(predicted[:, [2, 0, 3, 1]], target), loss)
    assert set_loss(target[:, [2, 0, 3, 1]], target) == 0
    # Fewer objects than predictions: the rest must be zeros.
    filled = torch.cat([target[:, :2], torch.zeros(3, 2, 8)], 1)
    torch.testing.assert_close(set_loss(predicted, target[:, :2]), set_loss(predicted, filled))


def test_costs_are_huber_of_every_pair():
    predicted, target = torch.tensor([[[0.0, 3.0]]]), torch.tensor([[[0.5, 0.0]]])
    torch.testing.assert_close(pair_costs(predicted, target), torch.tensor([[[(0.125 + 2.5) / 2]]]))


def counted(predicted, target, distance, scale):
    """The metric with loops, one prediction after the other."""
    rows = [(image, slot) for image in range(len(predicted)) for slot in range(predicted.shape[1])]
    rows.sort(key=lambda row: -float(predicted[row][-1]))
    real = int((target[..., -1] > 0.5).sum())
    taken, hits, points = set(), 0, []
    for seen, (image, slot) in enumerate(rows, 1):
        row, best = predicted[image, slot], None
        for index, other in enumerate(target[image]):
            same = row[2:4].argmax() == other[2:4].argmax() and (
                row[4:7].argmax() == other[4:7].argmax()
            )
            apart = scale * float((row[:2] - other[:2]).norm())
            if other[-1] > 0.5 and same and apart < distance and (best is None or apart < best[0]):
                best = (apart, index)
        if best is not None and (image, best[1]) not in taken:
            taken.add((image, best[1]))
            hits += 1
        points.append((hits / real, hits / seen))
    area, before = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[index:])
        before = recall
    return area


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([float("inf"), 3.0, 1.0]))
def test_average_precision_is_the_count(seed, distance):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(5, 4, LAYOUT.features, generator=generator).double()
    kinds = torch.stack([torch.randint(n, (5, 3), generator=generator) for n in LAYOUT.kinds], -1)
    real = torch.rand(5, 3, generator=generator) < 0.7
    real[0, 0] = True
    place = torch.rand(5, 3, 2, generator=generator)
    target = LAYOUT.encode(place, kinds, real).double()
    (found,) = average_precision(predicted, target, LAYOUT, distances=[distance])
    assert found == pytest.approx(counted(predicted, target, distance, 6.0), abs=1e-12)


def test_average_precision_at_its_ends():
    kinds = torch.zeros(2, 3, 2, dtype=torch.int64)
    target = LAYOUT.encode(torch.rand(2, 3, 2), kinds, torch.ones(2, 3, dtype=torch.bool))
    assert average_precision(target, target, LAYOUT, distances=[1e-3]) == [1.0]
    assert average_precision(target, target * 0, LAYOUT, distances=[1.0]) == [0.0]


def test_a_layout_is_read_back():
    kinds = torch.tensor([[[1, 2], [0, 1]]])
    place, real = torch.rand(1, 2, 2), torch.tensor([[True, False]])
    target = LAYOUT.encode(place, kinds, real)
    where, found, flag = LAYOUT.split(target)
    torch.testing.assert_close(where[0, 0], place[0, 0])
    assert found[0, 0].tolist() == [1, 2]
    assert flag.tolist() == [[1, 0]]
    assert not target[0, 1].any()
    with pytest.raises(ValueError, match="2 places and 2 kinds"):
        LAYOUT.encode(place, kinds[..., :1], real)
