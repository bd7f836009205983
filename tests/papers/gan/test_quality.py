"""Coverage, precision, recall and distances against brute force and closed forms."""

import math

import pytest
import torch

from quire.papers.gan import (
    cover_modes,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    precision_recall,
    two_sample_test,
)


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


def test_kernel_distance_pair_by_pair(monkeypatch):
    a, b = draw(7, 3), draw(5, 3, seed=1) + 0.5

    def kernel(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    def mean(x, y, same):
        pairs = [kernel(p, q) for i, p in enumerate(x) for j, q in enumerate(y)
                 if not (same and i == j)]  # fmt: skip
        return sum(pairs) / len(pairs)

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr("quire.papers.gan.quality.BLOCK", 2)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_has_no_bias_where_the_other_has():
    """Between halves of one distribution it is 0 on average, at any number of rows."""
    found = [kernel_distance(draw(20, 4, seed=k), draw(20, 4, seed=1000 + k)) for k in range(300)]
    error = torch.tensor(found).std() / math.sqrt(300)
    assert abs(sum(found) / 300) < 3 * float(error)
    assert min(found) < 0
    assert frechet_distance(draw(20, 4), draw(20, 4, seed=1)) > 0.2
    assert kernel_distance(draw(500, 4), draw(500, 4, seed=1) + 1) > 1


def test_two_samples_are_told_apart_neighbour_by_neighbour():
    real, fake = draw(20, 2), draw(20, 2, seed=1) + 0.7
    found = two_sample_test(real, fake, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    known, asked = [], []
    for kind, rows in enumerate((real, fake)):
        order = torch.randperm(20, generator=generator).tolist()
        known += [(rows[i], kind) for i in order[:10]]
        asked += [(rows[i], kind) for i in order[10:]]
    right = 0
    for row, kind in asked:
        near = sorted(known, key=lambda pair: float((pair[0] - row).norm()))[:4]  # root of 20
        votes = sum(1 for _, other in near if other == 0)
        right += (votes > 2) == (kind == 0)
    assert found.accuracy == pytest.approx(right / 20)
    normal = torch.distributions.Normal(0.5, 0.5 / math.sqrt(20))
    tail = 1 - float(normal.cdf(torch.tensor(found.accuracy)))
    assert found.p_value == pytest.approx(tail, rel=1e-4)


def test_one_distribution_is_not_told_apart_and_two_are():
    chances = [
        two_sample_test(draw(80, 3, seed=k), draw(80, 3, seed=500 + k), torch.Generator())
        for k in range(100)
    ]
    # The same halves for every pair of sets, which are new.
    assert sum(found.accuracy for found in chances) / 100 == pytest.approx(0.5, abs=0.02)
    assert 0 <= sum(found.p_value < 0.05 for found in chances) <= 14
    apart = two_sample_test(draw(80, 3), draw(80, 3, seed=1) + 5, torch.Generator())
    assert apart.accuracy == 1
    assert apart.p_value < 1e-9


def test_what_does_not_fit_is_refused():
    x = draw(5, 2)
    for call, said in (
        (lambda: cover_modes(x[:0], x, 1.0), "N >= 1"),
        (lambda: nearest_distances(x, x, rank=6), "rank must be in 1..5"),
        (lambda: nearest_distances(x, draw(5, 3)), "rows of one shape"),
        (lambda: precision_recall(x[:3], x), "more than neighbours = 3"),
        (lambda: frechet_distance(x[:1], x), "two rows or more"),
        (lambda: kernel_distance(x[:1], x), "two rows or more"),
        (lambda: kernel_distance(x, x, degree=0), "degree of at least 1"),
        (lambda: two_sample_test(x, x[:4], torch.Generator()), "as many samples as data"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
