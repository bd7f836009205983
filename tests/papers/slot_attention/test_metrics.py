"""The adjusted Rand index and k-means against scikit-learn, overlaps by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.slot_attention import (
    adjusted_rand_index,
    cluster_pixels,
    compete,
    mean_best_overlap,
    mean_iou,
    stripes,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_the_index_is_scikit_learns(seed, background):
    cluster = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(seed)
    true = torch.randint(4, (5, 3, 4), generator=generator)
    predicted = torch.where(
        torch.rand(5, 3, 4, generator=generator) < 0.6,
        (true + 1) % 4,
        torch.randint(5, (5, 3, 4), generator=generator),
    )
    found = adjusted_rand_index(true, predicted, background=background)
    for row in range(5):
        kept = torch.ones_like(true[row], dtype=torch.bool) if background else true[row] > 0
        if kept.sum() > 1:
            expected = cluster.adjusted_rand_score(true[row][kept], predicted[row][kept])
            assert float(found[row]) == pytest.approx(expected, abs=1e-12)


def test_the_index_at_its_ends():
    true = torch.tensor([[0, 1, 1, 2, 2], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    torch.testing.assert_close(adjusted_rand_index(true, true + 3), torch.ones(4).double())
    one = torch.zeros_like(true)
    assert adjusted_rand_index(true, one).tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="one shape"):
        adjusted_rand_index(true, true[:, 1:])
    assert adjusted_rand_index(true[:0], true[:0]).shape == (0,)


def test_overlap_by_hand():
    true = torch.tensor([[0, 1, 1, 1, 2, 2]])
    predicted = torch.tensor([[0, 0, 1, 1, 1, 3]])
    # Object 1 against 1: 2 of 4; object 2 against 3: 1 of 2.
    for measure in (mean_best_overlap, mean_iou):
        assert measure(true, predicted).tolist() == [0.5]
        assert measure(true * 0, predicted).tolist() == [1]
        assert measure(true[:0], predicted[:0]).shape == (0,)
    # One slot for all six pixels: it overlaps the objects by 3 and by 2 of 6.
    one = torch.zeros_like(true)
    assert mean_best_overlap(true, one).tolist() == pytest.approx([(3 / 6 + 2 / 6) / 2])
    assert mean_iou(true, one).tolist() == pytest.approx([3 / 6 / 2])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_overlaps_are_the_brute_force_ones(seed, slots):
    generator = torch.Generator().manual_seed(seed)
    true = torch.randint(4, (3, 20), generator=generator)
    predicted = torch.randint(slots, (3, 20), generator=generator)
    best, matched = mean_best_overlap(true, predicted), mean_iou(true, predicted)
    for row in range(3):
        objects = [true[row] == o for o in true[row].unique().tolist() if o > 0]
        # More slots than there are, so that every object can have one of its own.
        found = [predicted[row] == k for k in range(slots)] + [true[row] < 0] * 3
        overlap = [[float((o & f).sum() / (o | f).sum()) for f in found] for o in objects]
        ways = itertools.permutations(range(len(found)), len(objects))
        most = max(sum(overlap[i][k] for i, k in enumerate(way)) for way in ways)
        assert float(best[row]) == pytest.approx(sum(map(max, overlap)) / len(objects), abs=1e-6)
        assert float(matched[row]) == pytest.approx(most / len(objects), abs=1e-6)


def test_k_means_ends_where_scikit_learns_does():
    cluster = pytest.importorskip("sklearn.cluster")
    image = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    found = cluster_pixels(image, 3, steps=100)[0].flatten().numpy()
    line = torch.linspace(0, 1, 6)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    x = torch.cat([image[0], grid]).flatten(1).T.numpy()
    centres = np.stack([x[found == k].mean(0) for k in range(3)])
    again = cluster.KMeans(3, init=centres, n_init=1, max_iter=5).fit(x)
    np.testing.assert_array_equal(again.labels_, found)


def test_k_means_of_some_pixels_ignores_the_others():
    foreground = torch.zeros(1, 6, 6, dtype=torch.bool)
    foreground[0, 0, :2] = foreground[0, 5, 4:] = True
    found = cluster_pixels(torch.zeros(1, 3, 6, 6), 2, among=foreground)[0]
    assert found[0, 0] == found[0, 1]
    assert found[5, 4] == found[5, 5]
    assert found[0, 0] != found[5, 5]


@pytest.mark.filterwarnings("ignore:.*converge.*")  # one step should not
def test_a_sharp_round_is_scikit_learns_lloyd_step():
    cluster = pytest.importorskip("sklearn.cluster")
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
    centres = x[:4]
    logits = 1e6 * (2 * centres @ x.T - centres.square().sum(1, keepdim=True))
    found = compete(logits[None, None]).weights[0, 0] @ x
    lloyd = cluster.KMeans(4, init=centres.numpy(), n_init=1, max_iter=1, tol=0, algorithm="lloyd")
    np.testing.assert_allclose(lloyd.fit(x.numpy()).cluster_centers_, found.numpy(), atol=1e-5)


def test_stripes_have_equal_width():
    assert stripes(6, 3)[0].tolist() == [0, 0, 1, 1, 2, 2]
