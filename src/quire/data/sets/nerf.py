"""Views of a synthetic scene with their cameras.

V views of H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset, versions

DATASET = Dataset(
    summary="Lego, a synthetic scene of NeRF: 100 views of 100x100 pixels with their cameras",
    licence="MIT (the repository); the model CC BY-NC, as commonly stated",
    home="https://github.com/shouxieai/nerf",
    layouts=(("lego_100x100.npz",),),
    by_hand="an npz file with images_rgba_premultiplied (V x 100 x 100 x 4 uint8), poses (V x 4 x "
    "4, camera to world) and focal (pixels), from nerf_synthetic/lego/train reduced 8 times",
    note="The training views alone: hold out every 8th. The published images have 800x800 pixels.",
    known=versions(
        {
            "the 100 training views, reduced 8 times": """
38cf3206938f1717ebe5495e7d9d78898eb37f2f0285d80f4886cc69a7bd4eda  lego_100x100.npz
""",
        }
    ),
)


@dataclass(frozen=True)
class Views:
    """Pictures of one scene.

    Args:
        image: (V, H, W, 4) uint8, red, green, blue, alpha, 0..255; colours are multiplied by alpha,
            so `rgb + 255 - alpha` stands on white.
        pose: (V, 4, 4) float32, camera to world; x is right, y up, the camera looks along -z.
        focal: Focal length in pixels.
        near: Where the scene begins along a ray.
        far: Where it ends.
    """

    image: NDArray[np.uint8]
    pose: NDArray[np.float32]
    focal: float
    near: float = 2.0
    far: float = 6.0


def nerf(root: store.Root = None) -> Views:
    """Lego, 100 views of 100x100 pixels. There is no official split of these.

    Raises DataMissing, and ValueError for a damaged file.
    """
    path = store.files("nerf", root)[0]
    read = read_npz(path, ("images_rgba_premultiplied", "poses", "focal"))
    image, pose, focal = (read[k] for k in ("images_rgba_premultiplied", "poses", "focal"))
    right = image.ndim == 4 and image.shape[3] == 4 and image.dtype == np.uint8
    if not right or pose.shape != (len(image), 4, 4) or focal.size != 1:
        raise ValueError(
            f"{path}: expected V uint8 images of 4 channels, V poses and a focal length"
        )
    return Views(image, pose.astype(np.float32), float(focal))
