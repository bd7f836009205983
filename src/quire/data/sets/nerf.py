"""Views of a synthetic scene with their cameras.

V views of H x W pixels.
"""

import re
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
    note="The training views alone: hold out every 8th. The published images have 800x800 pixels. "
    "Other scenes, and larger ones, are read from <scene>.npz in the same form, put there by hand.",
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
        test: (V,) bool, those to report; every 8th view where the file does not say.
        near: Where the scene begins along a ray.
        far: Where it ends.
    """

    image: NDArray[np.uint8]
    pose: NDArray[np.float32]
    focal: float
    test: NDArray[np.bool_]
    near: float = 2.0
    far: float = 6.0


def nerf(root: store.Root = None, scene: str = "lego") -> Views:
    """The views of a scene: "lego", 100 of 100x100 pixels, of which no split is official.

    scene: any other name is a file that was put there by hand, such as lego_800x800; it may also
    hold `test` (V bool), `near` and `far`. Raises DataMissing, and ValueError for a damaged file or
    a name with another character than letters, digits, _ and -.
    """
    if not re.fullmatch(r"[\w-]+", scene):
        raise ValueError(f"scene must be a name of letters, digits, _ and -, got {scene!r}")
    if scene == "lego":
        path = store.files("nerf", root)[0]
    else:
        path = store.by_hand("nerf", f"{scene}.npz", DATASET.by_hand, root)
    read = read_npz(path, ("images_rgba_premultiplied", "poses", "focal"))
    image, pose, focal = (read[k] for k in ("images_rgba_premultiplied", "poses", "focal"))
    test = read.get("test", np.arange(len(image)) % 8 == 0)
    right = image.ndim == 4 and image.shape[3] == 4 and image.dtype == np.uint8
    right = right and pose.shape == (len(image), 4, 4) and test.shape == (len(image),)
    if not right or focal.size != 1:
        raise ValueError(
            f"{path}: expected V uint8 images of 4 channels, V poses and a focal length"
        )
    bounds = (float(read[k]) if k in read else v for k, v in (("near", 2.0), ("far", 6.0)))
    return Views(image, pose.astype(np.float32), float(focal), test.astype(bool), *bounds)
