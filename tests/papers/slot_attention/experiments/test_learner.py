"""What the experiments share, and the floors that they print."""

import pytest
import torch

from quire.lab.errors import Diverged
from quire.lab.testing import run_in
from quire.papers.slot_attention import Tetrominoes, adjusted_rand_index, draw
from quire.papers.slot_attention.experiments.discovery import (
    Discovery,
    discovery,
    find_components,
    measure_floors,
)
from quire.papers.slot_attention.experiments.learner import (
    Attention,
    Net,
    Scene,
    lower_noise,
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


VARIANTS = {
    "competition": ("sum", "alone"), "cell": ("unbiased", "none"), "norms": ("inputs", "slots"),
    "start": ("learned", "queries"), "bias": (True,), "mlp": (False,), "rounds": (1,),
    "method": ("invariant",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in VARIANTS.items() for value in values]
)
def test_every_variant_learns_with_all_its_weights(field, value):
    net = Net(slots=3, dim=8, channels=8, layers=1, kernel=3, hidden=8, decoder_hidden=8)
    model = make_autoencoder(Attention(**{field: value}), net, 6)
    plain = make_autoencoder(Attention(), net, 6)
    assert str(model) != str(plain) or (field, value) in {
        ("competition", "sum"), ("competition", "alone"), ("rounds", 1),
    }  # fmt: skip
    model(torch.randn(2, 3, 6, 6)).image.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_frames_and_transposed_convolutions_do_not_fit():
    with pytest.raises(ValueError, match=r"net\.doublings must be 0"):
        make_autoencoder(Attention(method="invariant"), Net(doublings=1), 10)


def test_noise_on_queries_falls_to_none():
    model = make_autoencoder(Attention(start="queries"), Net(slots=3, dim=8, channels=8), 6)
    found = []
    for step in (0, 5, 10, 20):
        lower_noise(model, step, 10)
        found.append(float(model.slots.start.deviation))
    assert found == pytest.approx([1, 0.5, 0, 0], abs=1e-6)
    lower_noise(model, 0, 0)
    assert model.slots.start.deviation == 0
    lower_noise(make_autoencoder(Attention(), Net(), 6), 3, 10)  # there is none


@pytest.mark.parametrize("cell", ["none", "biased"])
def test_a_run_without_a_cell_says_how_far_it_came(cell, tmp_path):
    config = Discovery(
        scene=Scene(size=8, cell=2, fewest=1, most=1),
        attention=Attention(cell=cell),
        net=Net(slots=2, dim=8, channels=8, layers=1, kernel=3, hidden=8, decoder_hidden=8),
        steps=10, batch_size=2, learning_rate=1e30, warm_up=1, half_life=10,
    )  # fmt: skip
    if cell == "none":
        found = discovery(config, run_in(tmp_path, config))
        assert found.keys() == {"trained"}
        assert 0 < found["trained"] < 1
    else:
        with pytest.raises(Diverged, match="loss became"):
            discovery(config, run_in(tmp_path, config))


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
