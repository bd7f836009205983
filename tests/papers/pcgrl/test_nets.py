import pytest
import torch

from quire.papers.pcgrl import CropNet, MapNet, Narrow, Turtle, Wide, World, build_net, find_problem
from quire.papers.pcgrl.nets import count_parameters, sample_actions

PUBLISHED = {
    ("binary", "narrow"): 15_918,
    ("binary", "turtle"): 15_918,
    ("binary", "wide"): 246,
    ("zelda", "narrow"): 8_451,
    ("zelda", "turtle"): 8_451,
    ("zelda", "wide"): 256,
    ("sokoban", "narrow"): 585,
    ("sokoban", "turtle"): 585,
    ("sokoban", "wide"): 214,
}
"""Table 1, in thousands."""
COUNTED = {
    "narrow": (15_918_020, 8_452_010, 585_287),
    "turtle": (15_919_559, 8_453_549, 586_826),
    "wide": (247_171, 255_977, 214_854),
}


@pytest.mark.parametrize("representation", [Narrow(), Turtle(), Wide()])
def test_sizes_are_those_of_table_one(representation):
    kind = type(representation).__name__.lower()
    for name, expected in zip(("binary", "zelda", "sokoban"), COUNTED[kind], strict=True):
        with torch.device("meta"):
            net = build_net(World(find_problem(name), representation))
        assert count_parameters(net) == expected
        assert abs(expected / 1000 - PUBLISHED[name, kind]) < 2.6


def test_the_released_strides_give_other_sizes():
    sizes = []
    for channels, side, actions in ((1, 28, 3), (8, 22, 9)):
        with torch.device("meta"):
            net = CropNet(channels, side, actions=actions, strides=(2, 2, 1))
        sizes.append(count_parameters(net))
    assert sizes == [582_596, 194_474]


def test_wide_logits_are_places_and_tiles():
    net = MapNet(3, (4, 5), tiles=3, widths=(4,)).eval()
    x = torch.rand(2, 3, 4, 5)
    logits, value = net(x)
    maps = net.policy(x)
    assert logits.shape == (2, 60)
    assert value.shape == (2,)
    assert logits[1, (2 * 5 + 3) * 3 + 1] == maps[1, 1, 2, 3]
    assert (logits >= 0).all()
    assert (MapNet(3, (4, 5), tiles=3, widths=(4,), rectify=False)(x)[0] < 0).any()


def test_the_first_policy_of_narrow_is_nearly_uniform():
    torch.manual_seed(0)
    logits, _ = CropNet(8, 12, actions=9, hidden=32)(torch.rand(20, 8, 12, 12))
    assert logits.abs().max() < 0.1


def test_small_maps_are_refused():
    with pytest.raises(ValueError, match="6 x 6 tiles is too small for convolutions"):
        CropNet(1, 6, actions=3)
    with pytest.raises(ValueError, match="5 x 2 tiles is too small: 3 a side"):
        MapNet(1, (2, 5), tiles=2)


def test_actions_are_drawn_as_the_logits_say():
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([0.0, 1.0, -1.0, 2.0]))

        def forward(self, x):
            return self.logits.expand(len(x), -1), x[:, 0]

    net, generator = Fixed(), torch.Generator().manual_seed(0)
    actions = sample_actions(net, torch.zeros(20_000, 1, dtype=torch.uint8), generator)
    shares = torch.bincount(actions, minlength=4) / 20_000
    torch.testing.assert_close(shares, net.logits.detach().softmax(0), atol=0.01, rtol=0)
