"""Pictures that a run leaves: the first ones, as PNG files, and no silent nonsense."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from quire.lab.exhibits import MOST, paint, to_png
from quire.lab.testing import run_in


def read(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back(channels):
    images = torch.randint(256, (3, channels, 4, 5)) / 255
    found = np.stack([read(png) for png in to_png("x", images.requires_grad_())])
    expected = (255 * images.detach()).round().byte().permute(0, 2, 3, 1).squeeze(3).numpy()
    assert (found == expected).all()


def test_one_pixel_and_what_is_not_finite():
    images = torch.tensor([0.5, float("nan"), float("inf"), -float("inf")]).view(4, 1, 1, 1)
    assert [read(png).item() for png in to_png("x", images)] == [128, 0, 0, 0]


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (torch.zeros(8, 8), r"exhibit 'faces': images are \(N, 1 or 3, H, W\), got \(8, 8\)"),
        (torch.zeros(2, 2, 8, 8), r"got \(2, 2, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"got \(0, 1, 8, 8\)"),
        (torch.full((1, 1, 2, 2), -1.0), r"values are in \[0, 1\], got -1 to -1"),
        (torch.full((1, 1, 2, 2), 255), r"got 255 to 255"),
    ],
)
def test_what_is_no_picture_is_one_clear_line(images, fault):
    with pytest.raises(ValueError, match=fault):
        to_png("faces", images)


def test_a_run_keeps_the_first_ones(tmp_path):
    images = torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(-1, 3, 2, 2)
    run_in(tmp_path).exhibit("greys", images)
    files = sorted((tmp_path / "exhibits" / "greys").iterdir())
    assert [path.name for path in files] == [f"{k:02}.png" for k in range(MOST)]
    assert [path.read_bytes() for path in files] == to_png("greys", images)


def test_nothing_is_drawn_where_nothing_is_computed(tmp_path):
    run_in(tmp_path, device="meta").exhibit("greys", torch.empty(2, 1, 4, 4, device="meta"))
    assert not (tmp_path / "exhibits").exists()


def test_labels_have_colours_of_their_own():
    colours = paint(torch.arange(9).view(1, 3, 3))
    assert colours.shape == (1, 3, 3, 3)
    assert len({tuple(c.tolist()) for c in colours[0].flatten(1).T}) == 9
    assert 0 <= colours.min() <= colours.max() <= 1
    assert torch.equal(paint(torch.full((1, 1, 1), 9)), paint(torch.zeros(1, 1, 1)))
