"""Boxoban: levels of Sokoban."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset, pinned, versions

LEGEND = (" ", "#", "$", ".", "@", "*", "+")
"""What the codes stand for: floor, wall, box, goal, player, box on goal, player on goal."""

_SETS = ("unfiltered_train", "unfiltered_valid", "unfiltered_test", "medium_train", "medium_valid",
         "hard")  # fmt: skip
_HOME = (
    "https://raw.githubusercontent.com/deepmind/boxoban-levels/"
    "d5ca5614a803b604740ed9095ded127e8e3d5255/"
)
_SOURCES = """
674dda499261deface252c90077ae67181b5c7704c235baf0dd0bd2d16bf072e  unfiltered/train/000.txt
5da3fe47340a1ea2683af09e99b31b3d2c3454c29c9d746c3b72d9d78375a869  unfiltered/train/001.txt
52cd811af721d69eef71a4e3cfc40cd4f635269a8e26d42ec017aa43af02b8a9  unfiltered/valid/000.txt
272928a4e7c185fdf84daa523b298750b6ff08703cb0c20d3be7eff93acc5256  unfiltered/test/000.txt
b44e6dac95d03c0f29158252eafe7b1d97a3f3b447743a23617efa66e735167b  medium/train/000.txt
b30ccde2aeb8192a0b49e53a016fe744ae4a67eb01560b1d0bec251695e03e5b  medium/valid/000.txt
c320e8b1f5a26be7a85dff18147a7decae3c5e765c38ff56e30ebf8551d331f4  hard/000.txt
"""
DATASET = Dataset(
    summary="7,000 levels of Sokoban of 10x10 tiles with four boxes (Boxoban)",
    licence="Apache-2.0",
    home="https://github.com/deepmind/boxoban-levels",
    sources=tuple(
        pinned(_HOME + file, sha256)
        for sha256, file in (line.split() for line in _SOURCES.strip().splitlines())
    ),
    layouts=(("boxoban.npz",),),
    note="The first files of each set; the unfiltered test set is complete.",
    known=versions(
        {
            "7,000 of the repository's levels": """
0c66a31a4cacdc76f08d9e0d29a204eb6c8f471ed9a626ae58b1e83de996dfb4  boxoban.npz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Text files: "; number", then ten lines of ten tiles, then an empty line."""
    levels = [_levels(path.read_text(encoding="ascii")) for path in downloads]
    levels = [np.concatenate(levels[:2]), *levels[2:]]
    np.savez_compressed(
        produced / "boxoban.npz",
        **dict(zip(_SETS, levels, strict=True)),  # type: ignore[arg-type]
        legend=np.array(LEGEND),
    )


def _levels(text: str) -> NDArray[np.uint8]:
    rows = [line for line in text.split("\n") if line and not line.startswith(";")]
    codes = [[LEGEND.index(tile) for tile in row] for row in rows]
    return np.array(codes, np.uint8).reshape(-1, 10, 10)


def sokoban(root: store.Root = None) -> dict[str, NDArray[np.uint8]]:
    """Levels (N, 10, 10) uint8 by set; tiles are indices of `LEGEND`.

    Sets: "unfiltered_train" (2,000), "unfiltered_valid", "unfiltered_test", "medium_train",
    "medium_valid" and "hard" (1,000 each). A level has four boxes, four goals and a player. Raises
    DataMissing, and ValueError for a damaged file.
    """
    path = store.files("sokoban", root)[0]
    read = read_npz(path, (*_SETS, "legend"))
    if tuple(read["legend"].tolist()) != LEGEND:
        raise ValueError(f"{path}: the legend must be {LEGEND}, got {read['legend'].tolist()}")
    for name in _SETS:
        levels = read[name]
        form = levels.dtype == np.uint8 and levels.ndim == 3 and levels.shape[1:] == (10, 10)
        if not form or (levels.size and levels.max() >= len(LEGEND)):
            raise ValueError(f"{path}: {name} must be uint8 levels (N, 10, 10) of codes 0..6")
    return {name: read[name] for name in _SETS}
