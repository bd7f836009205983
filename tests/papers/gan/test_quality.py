"""Coverage, precision, recall and distances against brute force and closed forms."""

import math

import pytest
import torch

from quire.papers.gan import cover_modes, frechet_distance, nearest_distances, precision_recall


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_coverage_counts_modes_and_what_is_near():
    modes = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    samples = torch.tensor([[0.1, 0.0], [0.0, -0.1], [9.95, 0.0], [5.0, 5.0]])
    found = cover_modes(samples, modes, 0.2)
    assert (found.modes, found.near) == (2, 0.75)
    alone = cover_modes(samples[:2], modes, 0.2)
    assert (alone.modes, alone.near) == (1, 1.0)
    # (1, 0) against (1/2, 1/2), in nats.
    expected = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert alone.divergence == pytest.approx(expected)
    even = cover_modes(modes, modes, 0.2)
    assert even.divergence == pytest.approx(0, abs=1e-12)
    nowhere = cover_modes(modes + 5, modes, 0.2)
    assert (nowhere.modes, nowhere.divergence) == (0, pytest.approx(math.log(2)))


def test_nearest_distances_by_brute_force():
    x, among = draw(7, 3), draw(9, 3, seed=1)
    apart = (x[:, None] - among).norm(dim=-1).sort(1).values
    torch.testing.assert_close(nearest_distances(x, among), apart[:, 0])
    torch.testing.assert_close(nearest_distances(x, among, rank=3), apart[:, 2])
    assert float(nearest_distances(x, x).max()) < 1e-6
    assert nearest_distances(x[:0], among).shape == (0,)


def test_precision_and_recall_by_brute_force():
    real, fake = draw(30, 2), 0.5 * draw(25, 2, seed=1)

    def share(points, centres):
        radii = torch.cdist(centres, centres).sort(1).values[:, 3]
        return float((torch.cdist(points, centres) <= radii).any(1).double().mean())

    assert precision_recall(real, fake) == pytest.approx((share(fake, real), share(real, fake)))


def test_precision_and_recall_tell_collapse_from_noise():
    real = draw(200, 2)
    collapsed = 0.01 * draw(200, 2, seed=1)
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.9
    assert recall < 0.1
    precision, recall = precision_recall(real, 20 * draw(200, 2, seed=2))
    assert precision < 0.2
    assert recall > 0.9


def test_frechet_distance_of_known_normals():
    x = draw(400, 3)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(x, x + 2) == pytest.approx(12, rel=1e-6)
    # For scaled data the roots commute: the trace of (3 - 1)^2 times the covariance.
    centred = x - x.mean(0)
    expected = 4 * float(torch.cov(x.T).trace())
    assert frechet_distance(centred, 3 * centred) == pytest.approx(expected)


def test_frechet_distance_against_the_root_of_a_product():
    from scipy.linalg import sqrtm

    a, b = draw(60, 4) @ draw(4, 4, seed=5), draw(50, 4, seed=1) + 1
    first, second = torch.cov(a.T), torch.cov(b.T)
    root = sqrtm((first @ second).numpy()).real.trace()
    mean = float((a.mean(0) - b.mean(0)).square().sum())
    expected = mean + float(first.trace() + second.trace()) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_what_does_not_fit_is_refused():
    x = draw(5, 2)
    for call, said in (
        (lambda: cover_modes(x[:0], x, 1.0), "N >= 1"),
        (lambda: nearest_distances(x, x, rank=6), "rank must be in 1..5"),
        (lambda: nearest_distances(x, draw(5, 3)), "rows of one shape"),
        (lambda: precision_recall(x[:3], x), "more than neighbours = 3"),
        (lambda: frechet_distance(x[:1], x), "two rows or more"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
