"""Points whose modes are known, and the measures of their samples."""

import pytest
import torch

from quire.papers.gan.experiments.layouts import LAYOUTS


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25), ("line", 2)])
def test_data_cover_every_mode_and_are_near_themselves(name, modes):
    layout = LAYOUTS[name]
    found = layout.measure(layout.draw(5000, torch.Generator().manual_seed(0)))
    assert found["modes"] == modes
    assert found["near"] > 0.98
    assert found["divergence"] < 0.012


def test_one_point_is_a_collapse():
    ring = LAYOUTS["ring"]
    found = ring.measure(torch.tensor([[2.0, 0.0]]).expand(100, 2))
    assert (found["modes"], found["near"]) == (1, 1)
    assert found["divergence"] > 0.4
    line = LAYOUTS["line"].measure(torch.full((100, 1), 9.0))
    assert line["divergence"] == pytest.approx(0.693, abs=0.001)
