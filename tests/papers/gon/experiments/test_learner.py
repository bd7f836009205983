"""The apparatus: the linear floor against scikit-learn, shapes at two sizes, figures, measures."""

import gc
import math

import pytest
import torch
import torch.distributed as dist

from quire.lab.distributed import Replica
from quire.papers.gon import GON, DenseDecoder
from quire.papers.gon.experiments.learner import (
    LinearFloor,
    Objective,
    draw_rows,
    measure_psnr,
    measure_separation,
)
from quire.papers.gon.experiments.pictures import average, render_shapes
from quire.papers.gon.experiments.variational import measure_marginal_bits


def test_the_linear_floor_is_scikit_learns() -> None:
    decomposition = pytest.importorskip(
        "sklearn.decomposition", reason="scikit-learn is not installed"
    )
    torch.manual_seed(0)
    train, test = torch.rand(50, 1, 3, 4), torch.rand(20, 1, 3, 4)
    model = decomposition.PCA(5).fit(train.flatten(1).numpy())
    flat = test.flatten(1).numpy()
    rest = flat - model.inverse_transform(model.transform(flat))
    floor = LinearFloor(train, 5)
    assert floor.measure_error(test) == pytest.approx(float((rest**2).sum(1).mean()), rel=1e-4)
    assert floor.sample(7, torch.Generator().manual_seed(0)).shape == (7, 1, 3, 4)


def test_shapes_are_the_same_at_both_sizes() -> None:
    drawn = render_shapes(30, 32, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(average(average(drawn, 16), 8), average(drawn, 8))
    filled = drawn.mean((1, 2, 3))
    assert filled.min() > 0.005
    assert filled.max() < 0.4
    with pytest.raises(ValueError, match="size must divide 32, got 5"):
        average(drawn, 5)


def test_separation_is_half_for_one_distribution_and_whole_for_two() -> None:
    torch.manual_seed(0)
    one, same, far = torch.randn(300, 2), torch.randn(300, 2), torch.randn(300, 2) + 20
    assert 42 < measure_separation(one, same) < 58
    assert measure_separation(one, far) == 100
    assert measure_separation(one, one + 1e-6) == 0


def test_signal_to_noise_and_rows() -> None:
    assert measure_psnr(torch.full((3,), 0.01)) == pytest.approx(20)
    assert math.isfinite(measure_psnr(torch.zeros(3)))
    figure = draw_rows({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(2, 3, 8, 8)})
    assert len(figure.axes) == 6


def test_a_replica_of_an_objective_averages_every_gradient() -> None:
    """What bypasses a replica's own forward is not averaged, and says nothing."""
    torch.manual_seed(0)
    x = torch.rand(6, 1, 4, 4)
    net = GON(DenseDecoder(3, (1, 4, 4), hidden=(8,)))
    net.measure_loss(x).mean().backward()
    wanted = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    averaged = []

    def hook(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        averaged.extend(bucket.parameters())
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = Replica(Objective(net, net.measure_loss))
        model.register_comm_hook(None, hook)
        model(x).backward()
        # Before the group: else the replica is its last owner and may wait for its threads forever.
        del model
        gc.collect()
    finally:
        dist.destroy_process_group()
    assert len(averaged) == len(wanted)
    for a, parameter in zip(wanted, net.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, a)


def test_independent_pixels_are_counted() -> None:
    train, test = torch.tensor([0.0, 0, 1]).view(3, 1, 1, 1), torch.tensor([[[[0.0]]], [[[1.0]]]])
    wanted = -(math.log2(3 / 5) + math.log2(2 / 5)) / 2
    assert measure_marginal_bits(train, test, 2) == pytest.approx(wanted)
