"""Scenes of several objects with true masks, made on the device: tetrominoes, sprites, solids.

A scene follows from uniform numbers (`draw`) alone, and `render` works on their device, with no
loop over scenes or pixels. B scenes, O objects at most, S pixels a side.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, one_hot, pad

Colouring = Literal["any", "same", "white"]
"""Each object its own colour (two may have the same one), one colour a scene, or white for all."""

COLUMNS = 8
"""Uniform numbers an object: shape, colour, size, material, x, y, turn; and of the first object the
number of objects."""
KIND, COLOUR, SIZE, MATERIAL, ACROSS, DOWN, TURN, NUMBER = range(COLUMNS)


class Scenes(NamedTuple):
    """Images with what is on them."""

    image: Tensor
    """In [-1, 1], (B, 3, S, S)."""
    objects: Tensor
    """0 is the background, i the i-th object: (B, S, S) int64."""
    position: Tensor
    """(B, O, 2): y and x of an object's middle, as a share of the side."""
    kinds: Tensor
    """(B, O, 4) int64: size, material, shape, colour."""
    pixels: Tensor
    """(B, O): how many pixels of an object are seen; 0 where there is no such object."""


class SceneMaker(Protocol):
    """What makes scenes out of uniform numbers; such as `Tetrominoes`."""

    @property
    def most(self) -> int:
        """O, the most objects."""

    def render(self, draws: Tensor) -> Scenes:
        """The scenes of uniform numbers (B, O, COLUMNS)."""


def draw(batch: int, most: int, generator: torch.Generator) -> Tensor:
    """The randomness of `batch` scenes of `most` objects: uniform numbers (B, O, COLUMNS)."""
    return torch.rand(batch, most, COLUMNS, generator=generator)


PURE = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
"""The six colours of tetrominoes."""

PALETTE = torch.tensor(
    [
        [0.42, 0.42, 0.42], [0.68, 0.14, 0.14], [0.16, 0.29, 0.84], [0.11, 0.41, 0.08],
        [0.51, 0.29, 0.10], [0.50, 0.15, 0.75], [0.16, 0.82, 0.82], [1.00, 0.93, 0.20],
    ]
)  # fmt: skip
"""The eight colours of sprites and solids: grey, red, blue, green, brown, purple, cyan, yellow."""

_SHAPES = ("1111", "11 11", "111 010", "111 100", "111 001", "110 011", "011 110")


@functools.cache
def _fixed_tetrominoes() -> Tensor:
    """The cells (19, 4, 2) as y and x of all tetrominoes that differ when they are turned."""
    found = {}
    for shape in _SHAPES:
        cells = [[int(cell) for cell in row] for row in shape.split()]
        rows = torch.tensor(cells, device="cpu")
        for turns in range(4):
            places = torch.rot90(rows, turns).nonzero()
            found[str(places.tolist())] = places
    return torch.stack(list(found.values()))


@dataclass(frozen=True)
class Tetrominoes:
    """Tetrominoes on black that do not overlap but may touch (section 4.1).

    size: S. cell: pixels of a cell's side. fewest and most: objects of a scene. An object for which
    there is no room left is left out. Raises ValueError where no tetromino fits, or no object is
    asked for.
    """

    size: int = 35
    cell: int = 5
    fewest: int = 3
    most: int = 3
    colouring: Colouring = "any"

    def __post_init__(self) -> None:
        _check_number(self.fewest, self.most)
        if self.size < 4 * self.cell or self.cell < 1:
            raise ValueError(f"size must be 4 cells or more, got {self.size} and {self.cell}")

    def render(self, draws: Tensor) -> Scenes:
        """The scenes of uniform numbers (B, O, COLUMNS)."""
        _check_draws(draws, self.most)
        batch, size, device = len(draws), self.size, draws.device
        bank = _fixed_tetrominoes().to(device)
        shape = _choose(draws[..., KIND], len(bank))
        cells = bank[shape] * self.cell  # (B, O, 4, 2)
        there = _count_objects(draws, self.fewest, self.most)
        objects = torch.zeros(batch, size, size, dtype=torch.int64, device=device)
        position = torch.zeros(batch, self.most, 2, device=device)
        for index in range(self.most):
            corner, fits = self._place(objects > 0, cells[:, index], draws[:, index, ACROSS])
            at = corner[:, None] + cells[:, index]  # (B, 4, 2)
            inside = self._fill(at) & (fits & there[:, index])[:, None, None]
            objects = torch.where(inside, index + 1, objects)
            position[:, index] = (at.double().mean(1) + self.cell / 2).float() / size
        colour = _choose(draws[..., COLOUR], len(PURE))
        if self.colouring == "same":
            colour = colour[:, :1].expand_as(colour)
        paint = PURE.to(device)[colour]
        if self.colouring == "white":
            colour, paint = torch.zeros_like(colour), torch.ones_like(paint)
        picture = _paint(objects, paint)
        none = torch.zeros_like(shape)
        kinds = torch.stack([none, none, shape, colour], -1)
        return Scenes(2 * picture - 1, objects, position, kinds, _count(objects, self.most))

    def _place(self, taken: Tensor, cells: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """A corner (B, 2), alike among those where cells (B, 4, 2) are free; whether one is."""
        size, room = self.size, 4 * self.cell
        # Beyond the edge everything is taken; a cell is where none of its pixels is.
        edged = pad(taken[:, None].float(), (0, room, 0, room), value=1.0)
        blocked = max_pool2d(edged, self.cell, 1)[:, 0]  # (B, R, R)
        width = blocked.shape[-1]
        line = torch.arange(size, device=taken.device)
        corners = (line[:, None] * width + line).flatten()
        shift = cells[..., 0] * width + cells[..., 1]  # (B, 4)
        index = (shift[..., None] + corners).flatten(1)
        free = blocked.flatten(1).gather(1, index).unflatten(1, (4, -1)).amax(1) < 0.5
        count = free.cumsum(1)
        wanted = (uniform[:, None] * count[:, -1:]).long() + 1
        best = (count >= wanted).int().argmax(1)
        return torch.stack([best // size, best % size], 1), count[:, -1] > 0

    def _fill(self, corners: Tensor) -> Tensor:
        """The pixels (B, S, S) of cells with these corners (B, 4, 2)."""
        line = torch.arange(self.size, device=corners.device)
        offset = line - corners[..., None]  # (B, 4, 2, S)
        inside = (offset >= 0) & (offset < self.cell)
        return (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).any(1)


@dataclass(frozen=True)
class Sprites:
    """Squares, ellipses and hearts of any turn that occlude one another, on a grey (section 4.1).

    size: S. fewest and most: objects of a scene. Later objects lie above earlier ones. Raises
    ValueError where no object is asked for.
    """

    size: int = 64
    fewest: int = 2
    most: int = 5
    colouring: Colouring = "any"

    def __post_init__(self) -> None:
        _check_number(self.fewest, self.most)

    def render(self, draws: Tensor) -> Scenes:
        """The scenes of uniform numbers (B, O, COLUMNS)."""
        _check_draws(draws, self.most)
        shape, colour, position, large = _look_up(draws, self.colouring)
        radius = 0.12 + 0.06 * large
        y, x = _around(position, 2 * self.size)
        turn = 2 * math.pi * draws[..., TURN, None, None]
        radius = radius[..., None, None]
        u = (x * turn.cos() - y * turn.sin()) / radius
        v = (x * turn.sin() + y * turn.cos()) / radius
        square = torch.maximum(u.abs(), v.abs()) <= 0.85
        ellipse = u.square() + (1.8 * v).square() <= 1.2
        # The sextic heart, its tip below.
        p, q = 1.15 * u, -1.15 * v + 0.1
        heart = (p.square() + q.square() - 1).pow(3) <= p.square() * q.pow(3)
        inside = _pick(shape[..., None, None], square, ellipse, heart)
        there = _count_objects(draws, self.fewest, self.most)
        top = _find_top(inside & there[..., None, None])
        picture = _paint(top, _colours(colour, self.colouring))
        grey = 0.6 * draws[:, 0, MATERIAL, None, None, None]
        kinds = torch.stack([large, torch.zeros_like(large), shape, colour], -1)
        return _shrink(torch.where(top[:, None] > 0, picture, grey), top, position, kinds)


@dataclass(frozen=True)
class Solids:
    """Shaded spheres, cubes and cylinders on a floor, near before far: CLEVR in the plane.

    size: S. fewest and most: objects of a scene. An object's size, material, shape and colour are
    its kinds. Raises ValueError where no object is asked for.
    """

    size: int = 128
    fewest: int = 3
    most: int = 6
    colouring: Colouring = "any"

    def __post_init__(self) -> None:
        _check_number(self.fewest, self.most)

    def render(self, draws: Tensor) -> Scenes:
        """The scenes of uniform numbers (B, O, COLUMNS)."""
        _check_draws(draws, self.most)
        # From far to near, so that later objects lie above earlier ones.
        number = draws[:, :1, NUMBER].expand(-1, self.most)
        order = draws[..., DOWN].argsort(1)
        draws = draws.gather(1, order[..., None].expand_as(draws))
        there = _count_objects(draws, self.fewest, self.most, number).gather(1, order)
        shape, colour, position, large = _look_up(draws, self.colouring)
        metal = _choose(draws[..., MATERIAL], 2)
        # What is far, above, is smaller.
        radius = (0.09 + 0.05 * large) * (0.75 + 0.5 * position[..., 0])
        y, x = (part / radius[..., None, None] for part in _around(position, 2 * self.size))
        sphere = x.square() + y.square() <= 1
        cube = torch.maximum(x.abs(), y.abs()) <= 0.85
        cap, foot = (x.square() + ((y + s) / 0.35).square() <= 0.64 for s in (0.75, -0.75))
        cylinder = cap | foot | ((x.abs() <= 0.8) & (y.abs() <= 0.75))
        inside = _pick(shape[..., None, None], sphere, cube, cylinder)
        top = _find_top(inside & there[..., None, None])
        # Light is worked out once a pixel, for the object that is seen there.
        nearest = (top - 1).clamp(min=0)
        y, x = (part.gather(1, nearest[:, None])[:, 0] for part in (y, x))
        shape_seen, metal_seen = (
            part.gather(1, nearest.flatten(1)).view(nearest.shape) for part in (shape, metal)
        )
        light, shine = _shade(y, x, shape_seen)
        picture = _paint(top, _colours(colour, self.colouring)) * light[:, None]
        picture = (picture + 0.7 * (metal_seen * shine)[:, None]).clamp(0, 1)
        floor = torch.linspace(0.35, 0.6, 2 * self.size, device=draws.device)[:, None]
        kinds = torch.stack([large, metal, shape, colour], -1)
        return _shrink(torch.where(top[:, None] > 0, picture, floor), top, position, kinds)


def _shade(y: Tensor, x: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Light from above on the left, and its reflection in metal, for a solid's own coordinates."""
    ball = 0.75 - 0.3 * x - 0.3 * y
    # Faces of a cube and a cylinder's cap are flat.
    cube = torch.where(y < -0.4, 1.0, torch.where(x < 0.25, 0.8, 0.55))
    cap = x.square() + ((y + 0.75) / 0.35).square() <= 0.64
    cylinder = torch.where(cap, 1.0, 0.75 - 0.35 * x)
    shine = torch.exp(-6 * ((x + 0.35).square() + (y + 0.35).square()))
    return _pick(shape, ball, cube, cylinder).clamp(0.2, 1.1), shine


def _check_number(fewest: int, most: int) -> None:
    if not 1 <= fewest <= most:
        raise ValueError(f"1 <= fewest <= most is needed, got {fewest} and {most}")


def _check_draws(draws: Tensor, most: int) -> None:
    if draws.ndim != 3 or draws.shape[1:] != (most, COLUMNS):
        raise ValueError(f"draws must be (B, {most}, {COLUMNS}), got {tuple(draws.shape)}")


def _choose(uniform: Tensor, among: int) -> Tensor:
    return (uniform * among).long().clamp(max=among - 1)


def _count_objects(draws: Tensor, fewest: int, most: int, number: Tensor | None = None) -> Tensor:
    """Which objects (B, O) there are."""
    uniform = draws[:, :1, NUMBER] if number is None else number[:, :1]
    count = fewest + _choose(uniform, most - fewest + 1)
    return torch.arange(most, device=draws.device) < count


def _look_up(draws: Tensor, colouring: Colouring) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, colour (B, O), position (B, O, 2), and whether an object is large (B, O)."""
    colour = _choose(draws[..., COLOUR], len(PALETTE))
    if colouring == "same":
        colour = colour[:, :1].expand_as(colour)
    elif colouring == "white":
        colour = torch.zeros_like(colour)
    position = 0.15 + 0.7 * draws[..., [DOWN, ACROSS]]
    return _choose(draws[..., KIND], 3), colour, position, _choose(draws[..., SIZE], 2)


def _colours(colour: Tensor, colouring: Colouring) -> Tensor:
    paint = PALETTE.to(colour.device)[colour]
    return torch.ones_like(paint) if colouring == "white" else paint


def _around(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How far pixels are below and beside each object's middle, (B, O, size, size), in sides."""
    middle = (torch.arange(size, device=position.device) + 0.5) / size
    y = middle[:, None] - position[..., 0, None, None]
    x = middle - position[..., 1, None, None]
    return torch.broadcast_tensors(y, x)  # type: ignore[return-value]


def _pick(shape: Tensor, *options: Tensor) -> Tensor:
    """The option that a shape (0, 1 or 2) names."""
    first, second, third = options
    return torch.where(shape == 0, first, torch.where(shape == 1, second, third))


def _paint(objects: Tensor, paint: Tensor) -> Tensor:
    """Colours (B, O, 3) where objects (B, S, S) are, black elsewhere: (B, 3, S, S)."""
    black = paint.new_zeros(len(paint), 1, 3)
    index = objects.flatten(1)[..., None].expand(-1, -1, 3)
    flat = torch.cat([black, paint], 1).gather(1, index)
    return flat.transpose(1, 2).unflatten(2, objects.shape[1:]).contiguous()


def _find_top(inside: Tensor) -> Tensor:
    """The last object (B, H, W) that covers a pixel, from (B, O, H, W); 0 where there is none."""
    rank = torch.arange(1, inside.shape[1] + 1, device=inside.device)[:, None, None]
    return (inside * rank).amax(1)


def _shrink(picture: Tensor, top: Tensor, position: Tensor, kinds: Tensor) -> Scenes:
    """Scenes of half the side: the mean of four pixels, and what covers most of them.

    Args:
        picture: (B, 3, 2 S, 2 S) in [0, 1].
        top: The object at each pixel, (B, 2 S, 2 S).
        position: (B, O, 2).
        kinds: (B, O, 4).
    """
    most = kinds.shape[1]
    share = avg_pool2d(one_hot(top, most + 1).permute(0, 3, 1, 2).float(), 2)
    objects = share.argmax(1)
    return Scenes(2 * avg_pool2d(picture, 2) - 1, objects, position, kinds, _count(objects, most))


def _count(objects: Tensor, most: int) -> Tensor:
    """Pixels of each object, (B, O)."""
    return one_hot(objects, most + 1).sum((1, 2))[:, 1:]
