"""Deep Set Prediction Networks: the set's vector by hand, the descent in closed form."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import huber_loss

from quire.papers.slot_attention import DSPN, ImageEncoder, SetEncoder, SlotMLP


def rows(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encoder_of_sets(features=5):
    torch.manual_seed(0)
    return SetEncoder(features, latent=6, hidden=7).double()


def test_a_sets_vector_is_that_of_loops_over_pairs_and_ranks():
    sets, x = encoder_of_sets(), rows(2, 3, 5)
    for row, found in zip(x, sets(x), strict=True):
        pairs = [
            sets.last(sets.pair(torch.cat([one, other])).relu()) / 9 for one in row for other in row
        ]
        table = torch.stack(pairs).detach().numpy()
        weights = sets.weight.detach().numpy()
        for feature in range(6):
            ranked = np.sort(table[:, feature])[::-1]
            at = np.interp(np.linspace(0, 20, 9), np.arange(21), weights[:, feature])
            assert float(found[feature].detach()) == pytest.approx(float(ranked @ at), abs=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_the_order_of_rows_is_nothing(size):
    sets, x = encoder_of_sets(), rows(2, size, 5)
    torch.testing.assert_close(sets(x.flip(1)), sets(x))


class Sum(nn.Module):
    """A vector that is the sum of the rows: the distance is a parabola."""

    def forward(self, rows):
        return rows.sum(1)


class Given(nn.Module):
    """The image itself as the vector."""

    def forward(self, image):
        return image[:, None], None


def test_a_step_is_that_of_the_parabola():
    net = DSPN(nn.Identity(), Given(), Sum(), slots=3, features=4, rate=0.2).double()
    goal = net.first.sum(0) + torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
    found = net(goal.detach().expand(2, -1), rounds=1)
    # The mean over 4 numbers of Huber's loss below 1 has the slope (vector - goal) / 4 in each row.
    expected = net.first + 0.2 / 4 * (goal - net.first.sum(0))
    torch.testing.assert_close(found.rows, expected.expand(2, -1, -1))
    torch.testing.assert_close(net(goal[None], rounds=0).rows[0], net.first)
    far = net(goal[None] + 5, rounds=4)
    assert float(far.rows.detach()[..., -1].max()) <= 1


def small_net():
    torch.manual_seed(0)
    encoder, vector = ImageEncoder(4, layers=1, kernel=3), SlotMLP(16, 4, slots=1, dim=6, hidden=5)
    return DSPN(encoder, vector, SetEncoder(5, latent=6, hidden=7), slots=3, features=5, rate=1.0)


def test_steps_lower_the_distance_and_need_no_graph():
    net, image = small_net(), torch.randn(2, 3, 4, 4)
    distances = []
    for rounds in (0, 1, 10):
        found = net(image, rounds=rounds)
        distances.append(float(huber_loss(net.sets(found.rows), found.goal).detach()))
    assert distances[2] < distances[1] < distances[0]
    with torch.no_grad():
        without = net(image, rounds=10)
    assert not without.rows.requires_grad
    torch.testing.assert_close(without.rows, found.rows)
    with torch.inference_mode():
        torch.testing.assert_close(net(image, rounds=10).rows, found.rows)


def test_the_gradient_goes_through_the_descent():
    net = small_net().double()
    image = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    for parameter in (net.first, net.sets.last.weight, net.vector.mlp[2].weight):
        (found,) = torch.autograd.grad(net(image, rounds=3).rows.sin().sum(), parameter)
        along, ends = torch.randn_like(parameter), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6 * along
                ends.append(float(net(image, rounds=3).rows.sin().sum()))
                parameter -= sign * 1e-6 * along
        slope = (ends[0] - ends[1]) / 2e-6
        assert float((found * along).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_gap_is_that_of_the_filled_set():
    net, goal = small_net(), torch.randn(2, 6)
    true = torch.rand(2, 2, 5)
    filled = torch.cat([true, torch.zeros(2, 1, 5)], 1)
    expected = huber_loss(net.sets(filled), goal)
    torch.testing.assert_close(net.measure_gap(goal, true), expected)


def test_refusals():
    with pytest.raises(ValueError, match="must be at least 1, got 3, 5 and 0"):
        DSPN(nn.Identity(), Given(), Sum(), slots=3, features=5, iterations=0)
    with pytest.raises(ValueError, match="rounds must be 0 or more, got -1"):
        small_net()(torch.zeros(1, 3, 4, 4), rounds=-1)
