import json

import numpy as np
import pytest

from quire.papers.pcgrl import (
    as_tiled,
    draw_level,
    draw_sheet,
    find_problem,
    read_levels,
    save_film,
    write_levels,
)
from quire.papers.pcgrl.render import PICTURES, as_text, draw_tile, from_text

ZELDA = find_problem("zelda")


def test_every_tile_of_the_papers_problems_has_a_picture():
    for look in PICTURES:
        assert draw_tile(look).shape == (8, 8, 3)
    for name in ("binary", "zelda", "sokoban"):
        assert set(find_problem(name).looks) <= PICTURES.keys()
    with pytest.raises(ValueError, match="no picture of 'dragon'"):
        draw_tile("dragon")


def test_a_picture_is_its_tiles_with_a_border():
    tiles = ZELDA.draw(1, np.random.default_rng(0))[0]
    picture = draw_level(ZELDA, tiles, scale=1)
    assert picture.shape == (9 * 8, 13 * 8, 3)
    assert (picture[:8, :8] == draw_tile("wall")).all()
    assert (picture[8:16, 16:24] == draw_tile(ZELDA.looks[tiles[0, 1]])).all()
    assert draw_level(ZELDA, tiles, scale=3).shape == (9 * 24, 13 * 24, 3)


def test_a_sheet_has_all_maps():
    maps = ZELDA.draw(7, np.random.default_rng(0))
    sheet = draw_sheet(ZELDA, maps, columns=3, scale=1)
    assert sheet.shape == (3 * (72 + 4), 3 * (104 + 4), 3)
    assert (sheet[76:148, 108:212] == draw_level(ZELDA, maps[4], scale=1)).all()
    assert draw_sheet(ZELDA, maps[:1]).shape[1] == 13 * 16 + 4
    with pytest.raises(ValueError, match="a map at least"):
        draw_sheet(ZELDA, maps[:0])


def test_levels_go_to_files_and_back(tmp_path):
    for name in ("binary", "zelda", "sokoban"):
        problem = find_problem(name)
        maps = problem.draw(5, np.random.default_rng(0))
        paths = write_levels(tmp_path / name, problem, maps)
        assert len(paths) == 5
        assert (read_levels(problem, paths) == maps).all()
        assert (tmp_path / name / "sheet.png").stat().st_size > 500
        tiled = json.loads(paths[0].with_suffix(".tmj").read_text())
        assert (tmp_path / name / tiled["tilesets"][0]["image"]).is_file()
        data = np.array(tiled["layers"][0]["data"]).reshape(maps.shape[1:])
        assert (data - tiled["tilesets"][0]["firstgid"] == maps[0]).all()


def test_what_is_not_a_level_is_said():
    with pytest.raises(ValueError, match=r"levels are written in .* got 'X'"):
        from_text(ZELDA, "X")
    with pytest.raises(ValueError, match="line by line"):
        from_text(ZELDA, "....\n...")
    with pytest.raises(ValueError, match="maps must be"):
        from_text(ZELDA, "....\n....")


def test_letters_are_gvgais_and_sokobans():
    tiles = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [0, 0, 0, 0]], np.uint8)
    assert as_text(ZELDA, tiles) == ".wA+\ng123\n...."
    assert as_tiled(ZELDA, tiles, image="t.png")["width"] == 4


def test_a_film_plays(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    maps = ZELDA.draw(3, np.random.default_rng(0))
    save_film(tmp_path / "film.gif", [draw_level(ZELDA, tiles) for tiles in maps])
    with pillow.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3
