"""Published scenes with true masks, in place of those that `scenes` makes (section 4.1).

B scenes, O objects at most, S pixels a side.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from quire.data.sets.multi_object import multi_object
from quire.data.store import Root
from quire.papers.slot_attention.scenes import KIND, Scenes


class Source(NamedTuple):
    """Where the scenes of a kind come from."""

    part: str
    """Of `quire.data.multi_object`."""
    train: int
    """Images for training, from the first on (section 4.1)."""
    side: int
    """Pixels a side."""
    window: tuple[int, int, int, int] | None = None
    """Rows and columns that are kept."""


SOURCES = {
    "tetrominoes": Source("tetrominoes", 60_000, 35),
    "sprites": Source("multi_dsprites_colored_on_grayscale", 60_000, 64),
    # The middle, resized from 192 to 128 pixels, as in the reference code.
    "solids": Source("clevr_with_masks", 70_000, 128, (29, 221, 64, 256)),
}
SPARE = 2000
"""Images after those for training that are looked through for the test."""


@dataclass(frozen=True)
class Published:
    """Published images in place of made ones: a `SceneMaker` that draws with replacement.

    image: (N, 3, H, H) uint8. objects: (N, H, H) uint8, 0 is the background. most: O. size: S, to
    which images are resized bilinearly and numbers of objects to the nearest pixel's.
    """

    image: Tensor
    objects: Tensor
    most: int
    size: int

    def render(self, draws: Tensor) -> Scenes:
        """The scenes that uniform numbers (B, O, COLUMNS) fall upon."""
        number = len(self.image)
        return self.show((draws[:, 0, KIND] * number).long().clamp(max=number - 1))

    def show(self, index: Tensor) -> Scenes:
        """The scenes of these numbers, int64 (B,).

        An object's place and kinds are not known here: not a number, and -1.
        """
        image = 2 * (self.image[index].float() / 255) - 1
        objects = self.objects[index]
        if image.shape[-1] != self.size:
            image = interpolate(image, self.size, mode="bilinear").clamp(-1, 1)
            wide = interpolate(objects[:, None].float(), self.size, mode="nearest-exact")
            objects = wide[:, 0]
        objects = objects.long()
        every = torch.arange(1, self.most + 1, device=objects.device)
        pixels = (objects.flatten(1)[..., None] == every).sum(1)
        place = image.new_full((len(index), self.most, 2), torch.nan)
        kinds = objects.new_full((len(index), self.most, 4), -1)
        return Scenes(image, objects, place, kinds, pixels)


def read_published(
    root: Root, kind: str, *, fewest: int, most: int, test: int, device: torch.device
) -> tuple[Published, Scenes]:
    """Images for training and the scenes of the test, which come right after them in the file.

    Args:
        root: The folder of all datasets.
        kind: "tetrominoes", "sprites" (Multi-dSprites, coloured on greys) or "solids" (CLEVR).
        fewest: Fewest objects of a scene.
        most: Most objects.
        test: Scenes of the test.
        device: Where they are to be.

    Raises DataMissing, and ValueError where there are too few such scenes.
    """
    source = SOURCES[kind]
    read = multi_object(
        root, source.part, count=source.train + SPARE,
        fewest=fewest, most=most, window=source.window,
    )  # fmt: skip
    first = int(np.searchsorted(read.record, source.train))
    after = len(read.record) - first
    if first == 0 or after < test:
        raise ValueError(
            f"{source.part}: scenes of {fewest} to {most} objects are needed, one among the first "
            f"{source.train} images and {test} after them; found {first} and {after}"
        )
    image, objects = (torch.from_numpy(x).to(device) for x in (read.image, read.objects))
    held_back = Published(image[first:], objects[first:], most, source.side)
    chosen = torch.arange(test, device=device).split(64)
    parts = [held_back.show(index) for index in chosen]
    scenes = Scenes(*(torch.cat(column) for column in zip(*parts, strict=True)))
    return Published(image[:first], objects[:first], most, source.side), scenes
