"""Pictures that a run leaves for people to judge."""

import io

import torch
from torch import Tensor

MOST = 16
"""Pictures of an exhibit that a run keeps: the first ones, so that nobody picks them."""
_COLOURS = (
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
    (213, 94, 0), (204, 121, 167), (255, 255, 255),
)  # fmt: skip
"""Okabe and Ito's, which most eyes can tell apart, and white."""


def to_png(name: str, images: Tensor) -> list[bytes]:
    """The first `MOST` of `images` (N, 1 or 3, H, W), in [0, 1], each as a PNG file.

    Values that are not finite are black. Raises `ValueError`, naming the exhibit, for another
    shape or range.
    """
    from PIL import Image  # matplotlib brings it

    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(f"exhibit '{name}': images are (N, 1 or 3, H, W), "
                         f"got {tuple(images.shape)}")  # fmt: skip
    shown = images[:MOST].detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
    low, high = (float(value) for value in shown.aminmax())
    if low < -0.01 or high > 1.01:
        raise ValueError(f"exhibit '{name}': values are in [0, 1], got {low:.3g} to {high:.3g}")
    pixels = (255 * shown.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).squeeze(3).numpy()
    files = []
    for picture in pixels:
        with io.BytesIO() as file:
            Image.fromarray(picture).save(file, "PNG")
            files.append(file.getvalue())
    return files


def paint(labels: Tensor) -> Tensor:
    """A colour for each label: (N, H, W) whole numbers to (N, 3, H, W) in [0, 1].

    The first nine labels look different, a tenth like the first.
    """
    colours = torch.tensor(_COLOURS, device=labels.device) / 255
    return colours[labels.long() % len(colours)].permute(0, 3, 1, 2)
