"""Omniglot: drawings of characters of many alphabets."""

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.catalogue import Dataset, Source, versions
from quire.data.images import Root

_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/images_"


DATASET = Dataset(
    summary="32,460 drawings of 1,623 characters of 50 alphabets, 105x105, 20 drawers each",
    licence="MIT",
    home="https://github.com/brendenlake/omniglot",
    sources=(
        Source((_OMNIGLOT + "background.zip",), "md5:68d2efa1b9178cc56df9314c21c6e718"),
        Source((_OMNIGLOT + "evaluation.zip",), "md5:6b91aef0f799c5bb55b94e3f2daec811"),
    ),
    layouts=(("omniglot.npz",),),
    known=versions(
        {
            "all drawings, packed": """
91abc5007e1a09698e9e668e9e3767f00161876ce63ccea8f51d125167f729c7  omniglot.npz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Two archives of pictures: <folder>/<alphabet>/character<NN>/<number>_<drawer>.png."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "unpacking omniglot needs pillow: pip install 'quire-papers[vision]'"
        ) from error
    arrays: dict[str, Any] = {}
    for split, path in zip(("background", "evaluation"), downloads, strict=True):
        with zipfile.ZipFile(path) as archive:
            names = [n.split("/") for n in archive.namelist() if re.search(r"_\d\d\.png$", n)]
            names.sort(key=lambda parts: (parts[-3], parts[-2], parts[-1][-6:]))
            pictures = []
            for parts in names:
                with Image.open(io.BytesIO(archive.read("/".join(parts)))) as picture:
                    pictures.append(np.packbits(~np.asarray(picture.convert("1"), bool)))
        kinds = sorted({(parts[-3], parts[-2]) for parts in names})
        alphabets = sorted({alphabet for alphabet, _ in kinds})
        arrays |= {
            f"{split}_images_packed": np.stack(pictures),
            f"{split}_class": np.array([kinds.index((p[-3], p[-2])) for p in names], np.uint16),
            f"{split}_alphabet": np.array([alphabets.index(p[-3]) for p in names], np.uint8),
            f"{split}_drawer": np.array([int(p[-1][-6:-4]) for p in names], np.uint8),
            f"{split}_alphabet_names": np.array(alphabets),
            f"{split}_class_names": np.array(["/".join(kind) for kind in kinds]),
        }
    np.savez_compressed(produced / "omniglot.npz", **arrays)


class Characters(NamedTuple):
    """Drawings of characters.

    Args:
        image: (N, 1, 105, 105) uint8, 1 is ink.
        label: (N,) int64, the character.
        alphabet: (N,) int64.
        drawer: (N,) int64, 1..20.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int64]
    alphabet: NDArray[np.int64]
    drawer: NDArray[np.int64]


def omniglot(root: Root = None, part: str = "background") -> Characters:
    """Omniglot: 20 drawings of each character, sorted by character, then drawer.

    part: "background" (964 characters of 30 alphabets) or "evaluation" (659 of 20). Raises
    DataMissing if it is not under root, ValueError for another part or a damaged file.
    """
    if part not in ("background", "evaluation"):
        raise ValueError(f"part must be 'background' or 'evaluation', got {part!r}")
    path = store.files("omniglot", root)[0]
    keys = [f"{part}_{key}" for key in ("images_packed", "class", "alphabet", "drawer")]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            packed, label, alphabet, drawer = (archive[key] for key in keys)
        image = np.unpackbits(packed, axis=1, count=105 * 105).reshape(-1, 1, 105, 105)
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"omniglot: {path} is not an npz file with {', '.join(keys)} ({error}); "
            "delete it and fetch it again"
        ) from error
    return Characters(image, *(x.astype(np.int64) for x in (label, alphabet, drawer)))
