"""Levels as pictures, text and Tiled maps. The pictures of tiles are drawn here and are anybody's.

A picture is (height, width, 3) uint8; a tile has 8 x 8 dots, each `scale` pixels wide.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.problem import Maps, Problem

Picture = NDArray[np.uint8]
DOTS, GAP = 8, 4
COLOURS = {
    ".": "efe6d2", ",": "e2d6bb", "#": "4a4e69", "+": "3a3d55", "k": "22223b", "g": "5a8f4d",
    "y": "e9b44c", "r": "b5423c", "o": "a9714b", "d": "7f5539", "p": "6d597a", "w": "ffffff",
}  # fmt: skip
PICTURES = {
    "floor": "........ ........ ..,..... ........ ........ .....,.. ........ ........",
    "wall": "######## #+####+# ######## ++++++++ ######## ##+####+ ######## ++++++++",
    "player": "..kkkk.. ..kwwk.. ...kk... .gggggg. .g.gg.g. ...gg... ..g..g.. .kk..kk.",
    "key": "........ .yyy.... y...y... y...yyyy y...y.y. .yyy..y. ........ ........",
    "door": "dddddddd dooooood dooooood dooooood dooooyod dooooood dooooood dddddddd",
    "bat": "........ p......p pp.pp.pp pppppppp .prpprp. ..pppp.. ...pp... ........",
    "scorpion": "....rr.. ......r. .r....r. r.r..rr. r..rrrr. .rrrrr.. r.r.r.r. ........",
    "spider": "........ k..kk..k .k.kk.k. ..krrk.. kkkkkkkk ..kkkk.. .k.kk.k. k......k",
    "crate": "dddddddd dooooood dodoodod dooddood dooddood dodoodod dooooood dddddddd",
    "target": "........ .r....r. ..r..r.. ...rr... ...rr... ..r..r.. .r....r. ........",
}
"""Rows of dots, each a letter of `COLOURS`."""


def draw_tile(look: str) -> Picture:
    """One tile (8, 8, 3) uint8. Raises ValueError for a look that is not in `PICTURES`."""
    if look not in PICTURES:
        raise ValueError(f"no picture of '{look}': known are {', '.join(PICTURES)}")
    rows = [[bytes.fromhex(COLOURS[dot]) for dot in row] for row in PICTURES[look].split()]
    return np.array([[list(dot) for dot in row] for row in rows], np.uint8)


def draw_tiles(problem: Problem) -> Picture:
    """All tiles of a problem (T, 8, 8, 3); grey of its own for each where it gives no looks."""
    if problem.looks:
        return np.stack([draw_tile(look) for look in problem.looks])
    greys = np.linspace(235, 60, len(problem.tiles)).astype(np.uint8)
    return np.tile(greys[:, None, None, None], (1, DOTS, DOTS, 3))


def draw_level(problem: Problem, tiles: NDArray[np.uint8], *, scale: int = 2) -> Picture:
    """A map (h, w) with the border tile around it.

    Args:
        problem: Knows the tiles' looks.
        tiles: The map.
        scale: Pixels a dot.
    """
    padded = np.pad(tiles, 1, constant_values=problem.tiles.index(problem.border))
    dots = draw_tiles(problem)[padded]
    whole = dots.swapaxes(1, 2).reshape(padded.shape[0] * DOTS, padded.shape[1] * DOTS, 3)
    return whole.repeat(scale, 0).repeat(scale, 1)


def draw_sheet(problem: Problem, maps: Maps, *, columns: int = 10, scale: int = 2) -> Picture:
    """Maps (N, h, w) as one picture, `columns` in a row.

    Args:
        problem: Knows the tiles' looks.
        maps: At least one.
        columns: Maps in a row.
        scale: Pixels a dot.
    """
    if not len(maps):
        raise ValueError("a sheet takes a map at least")
    pictures = [
        np.pad(draw_level(problem, tiles, scale=scale), ((0, GAP), (0, GAP), (0, 0)),
               constant_values=255)
        for tiles in maps
    ]  # fmt: skip
    blank = np.full_like(pictures[0], 255)
    columns = min(columns, len(pictures))
    pictures += [blank] * (-len(pictures) % columns)
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return np.concatenate(rows, 0)


def save_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG."""
    from matplotlib.image import imsave

    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, picture)


def save_film(path: Path, pictures: Sequence[Picture], *, seconds: float = 0.1) -> None:
    """Write pictures as a GIF that plays for ever.

    Args:
        path: The file.
        pictures: At least one, all of one size.
        seconds: For each.
    """
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=int(1000 * seconds), loop=0
    )


# Files


def as_text(problem: Problem, tiles: NDArray[np.uint8]) -> str:
    """A map (h, w) in the problem's letters, a line a row."""
    return "\n".join("".join(problem.letters[t] for t in row) for row in tiles)


def from_text(problem: Problem, text: str) -> Maps:
    """Maps (N, h, w) in the problem's letters, an empty line between two of them.

    Raises ValueError for other letters and for maps that are not of the problem's size.
    """
    levels = [block.splitlines() for block in text.strip("\n").split("\n\n")]
    numbers = {letter: t for t, letter in enumerate(problem.letters)}
    stray = set(text) - numbers.keys() - {"\n"}
    if stray:
        raise ValueError(f"{problem.name}: levels are written in {problem.letters!r}, got "
                         f"{min(stray)!r}")  # fmt: skip
    heights, widths = {len(level) for level in levels}, {len(row) for lv in levels for row in lv}
    if len(heights) != 1 or len(widths) != 1:
        raise ValueError(f"{problem.name}: levels must all be of one size, line by line")
    return problem.as_maps([[[numbers[letter] for letter in row] for row in lv] for lv in levels])


def as_tiled(problem: Problem, tiles: NDArray[np.uint8], *, image: str) -> dict[str, Any]:
    """A map as the JSON of the editor Tiled, which Godot and others import as well.

    Args:
        problem: Knows the tiles.
        tiles: The map (h, w).
        image: Name of the picture with all tiles in a row, as `write_levels` writes it.
    """
    height, width = tiles.shape
    count, size = len(problem.tiles), 2 * DOTS
    layer = {
        "id": 1, "name": problem.name, "type": "tilelayer", "x": 0, "y": 0, "opacity": 1,
        "visible": True, "width": width, "height": height,
        "data": (tiles.astype(int) + 1).ravel().tolist(),
    }  # fmt: skip
    named = [
        {"id": t, "properties": [{"name": "tile", "type": "string", "value": tile}]}
        for t, tile in enumerate(problem.tiles)
    ]
    tileset = {
        "firstgid": 1, "name": problem.name, "image": image, "imagewidth": count * size,
        "imageheight": size, "tilewidth": size, "tileheight": size, "tilecount": count,
        "columns": count, "margin": 0, "spacing": 0, "tiles": named,
    }  # fmt: skip
    return {
        "type": "map", "version": "1.10", "orientation": "orthogonal", "infinite": False,
        "renderorder": "right-down", "width": width, "height": height, "tilewidth": size,
        "tileheight": size, "nextlayerid": 2, "nextobjectid": 1, "layers": [layer],
        "tilesets": [tileset],
    }  # fmt: skip


def write_levels(folder: Path, problem: Problem, maps: Maps, *, columns: int = 10) -> list[Path]:
    """Write each map as text and for Tiled, the tiles, and a sheet of all; gives the text files.

    Args:
        folder: Is made where it is not there.
        problem: Knows letters and looks.
        maps: (N, h, w), at least one.
        columns: Maps in a row of the sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for i, tiles in enumerate(maps):
        path = folder / f"{problem.name}-{i:04d}.txt"
        path.write_text(as_text(problem, tiles) + "\n", encoding="utf-8")
        tiled = as_tiled(problem, tiles, image="tiles.png")
        path.with_suffix(".tmj").write_text(json.dumps(tiled), encoding="utf-8")
        written.append(path)
    strip = np.concatenate(list(draw_tiles(problem)), 1).repeat(2, 0).repeat(2, 1)
    save_picture(folder / "tiles.png", strip)
    save_picture(folder / "sheet.png", draw_sheet(problem, maps, columns=columns))
    return written


def read_levels(problem: Problem, paths: Iterable[Path]) -> Maps:
    """Maps (N, h, w) from text files as `write_levels` writes them."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return from_text(problem, "\n\n".join(text.strip("\n") for text in texts))
