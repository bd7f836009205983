"""What the experiments share, and the floors that they print."""

import pytest
import torch

from quire.papers.slot_attention import Tetrominoes, adjusted_rand_index, draw
from quire.papers.slot_attention.experiments.discovery import find_components, measure_floors
from quire.papers.slot_attention.experiments.learner import (
    Attention,
    Net,
    Scene,
    make_autoencoder,
    scheduled,
)


def test_the_schedule_is_the_papers():
    assert scheduled(0, 10, 100) == 0
    assert scheduled(5, 10, 100) == pytest.approx(0.5 * 0.5**0.05)
    assert scheduled(200, 10, 100) == pytest.approx(0.25)


@pytest.mark.parametrize("method", ["slots", "mlp"])
@pytest.mark.parametrize("doublings", [0, 1])
def test_nets_fit_their_images(method, doublings):
    net = Net(slots=3, dim=8, channels=8, layers=2, kernel=3, strided=1, doublings=doublings)
    model = make_autoencoder(Attention(method=method), net, 10)
    assert model(torch.zeros(2, 3, 10, 10)).masks.shape == (2, 3, 10, 10)


def test_components_find_objects_of_different_colours():
    maker = Tetrominoes(16, 2, 3, 3)
    draws = draw(20, 3, torch.Generator().manual_seed(0))
    draws[:, :, 1] = torch.tensor([0.1, 0.4, 0.7])
    found = maker.render(draws)
    components = find_components(found.image, found.objects > 0)
    assert torch.equal(
        adjusted_rand_index(found.objects, components), torch.ones(20, dtype=torch.float64)
    )


def test_floors_are_between_chance_and_one():
    scene = Scene(size=12, cell=2, fewest=2, most=2)
    found = scene.maker().render(draw(40, 2, torch.Generator().manual_seed(0)))
    floors = measure_floors(found, 3)
    assert 25 < floors["stripes_ari"] < 50
    assert floors["places_ari"] > floors["stripes_ari"]
    assert floors["components_ari"] > 80
    assert scene.maker(more=1).most == 3
