"""Scenes: what is said of them is what is on them."""

import pytest
import torch
from scipy.ndimage import label

from quire.papers.slot_attention import Solids, Sprites, Tetrominoes, draw
from quire.papers.slot_attention.scenes import PURE

MAKERS = {
    "tetrominoes": Tetrominoes(16, 2, 1, 3),
    "sprites": Sprites(16, 1, 3),
    "solids": Solids(16, 1, 3),
}


def scenes(maker, number=40, seed=0):
    return maker.render(draw(number, maker.most, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("name", MAKERS)
def test_counts_colours_and_range(name):
    found = scenes(MAKERS[name])
    assert found.image.shape == (40, 3, 16, 16)
    assert float(found.image.min()) >= -1
    assert float(found.image.max()) <= 1
    for index in range(3):
        pixels = (found.objects == index + 1).sum((1, 2))
        assert torch.equal(pixels, found.pixels[:, index])
    number = (found.pixels > 0).sum(1)
    assert number.min() >= 1
    assert number.max() == 3
    assert float(found.position.min()) >= 0
    assert float(found.position.max()) <= 1


@pytest.mark.parametrize("name", MAKERS)
def test_a_scene_follows_from_its_own_numbers(name):
    maker = MAKERS[name]
    draws = draw(6, 3, torch.Generator().manual_seed(1))
    together = maker.render(draws)
    alone = maker.render(draws[2:3])
    for whole, one in zip(together, alone, strict=True):
        assert torch.equal(whole[2:3], one)
    assert maker.render(draws[:0]).image.shape == (0, 3, 16, 16)


def test_tetrominoes_are_four_whole_cells_that_do_not_overlap():
    found = scenes(Tetrominoes(16, 2, 3, 3), 60)
    assert torch.equal(found.pixels, torch.full((60, 3), 16))
    for row in range(60):
        for index in range(3):
            mask = found.objects[row] == index + 1
            assert label(mask.numpy())[1] == 1
            middle = (mask.nonzero().double().mean(0) + 0.5) / 16
            torch.testing.assert_close(middle.float(), found.position[row, index])
            colour = found.image[row][:, mask].unique(dim=1)
            assert torch.equal(colour[:, 0], 2 * PURE[found.kinds[row, index, 3]] - 1)


def test_an_object_without_room_is_left_out():
    found = scenes(Tetrominoes(8, 2, 6, 6), 30)
    assert (found.pixels == 0).any()
    assert set(found.pixels.unique().tolist()) == {0, 16}


def test_every_tetromino_and_place_comes_up():
    found = scenes(Tetrominoes(8, 2, 1, 1), 4000)
    assert len(found.kinds[:, 0, 2].unique()) == 19
    # Places of two bars, a square, and sixteen others that are three cells by two.
    assert len(found.objects.flatten(1).unique(dim=0)) == 2 * 7 + 5 * 5 + 16 * 3 * 5


def test_one_colour_a_scene_or_white():
    same = scenes(Tetrominoes(16, 2, 3, 3, "same"))
    assert (same.kinds[..., 3] == same.kinds[:, :1, 3]).all()
    assert len(same.kinds[:, 0, 3].unique()) > 1
    white = scenes(Tetrominoes(16, 2, 3, 3, "white"))
    assert torch.equal(white.image[:, 0] > 0, white.objects > 0)
    assert set(white.image.unique().tolist()) == {-1, 1}


def test_later_sprites_lie_above():
    draws = draw(50, 2, torch.Generator().manual_seed(0))
    draws[..., 4:6] = 0.5  # both in the middle
    draws[:, 0, 2], draws[:, 1, 2] = 0.9, 0.1  # a large one below a small one
    found = Sprites(32, 2, 2).render(draws)
    top = scenes(Sprites(32, 2, 2)).objects
    assert (found.objects[:, 16, 16] == 2).float().mean() > 0.9
    assert top.max() == 2


def test_refusals():
    with pytest.raises(ValueError, match="fewest <= most"):
        Sprites(16, 0, 2)
    with pytest.raises(ValueError, match="4 cells or more"):
        Tetrominoes(7, 2)
    with pytest.raises(ValueError, match="draws must be"):
        Solids(16, 1, 3).render(torch.zeros(2, 4, 8))
