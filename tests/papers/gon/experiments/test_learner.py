"""The apparatus: the linear floor against scikit-learn, shapes at two sizes, figures, measures."""

import math

import pytest
import torch

from quire.papers.gon.experiments.learner import (
    LinearFloor,
    draw_rows,
    measure_psnr,
    measure_separation,
)
from quire.papers.gon.experiments.pictures import average, render_shapes


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
