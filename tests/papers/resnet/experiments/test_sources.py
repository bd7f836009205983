"""ImageNet's images: the user's files and what is drawn in their place."""

import numpy as np
import pytest
import torch

from quire.data import batches
from quire.papers.resnet.experiments.learner import Rows
from quire.papers.resnet.experiments.sources import (
    Drawn,
    Folder,
    centre_crop,
    find_colour_axes,
    list_images,
    random_view,
    shift_colours,
)


def test_colours_move_along_the_axes_alone():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 3, generator=generator)
    pixels = torch.einsum("cd,bdhw->bchw", mix, torch.randn(50, 3, 16, 16, generator=generator))
    axes = find_colour_axes(pixels)
    flat = pixels.movedim(1, 0).flatten(1)
    torch.testing.assert_close(axes @ axes.T, torch.cov(flat), atol=1e-4, rtol=1e-4)
    moved = shift_colours(pixels, axes, generator) - pixels
    assert moved.std((2, 3)).max() < 1e-5
    many = shift_colours(torch.zeros(5000, 3, 1, 1), axes, generator)[:, :, 0, 0]
    torch.testing.assert_close(torch.cov(many.T), 0.01 * axes @ axes.T, atol=0.005, rtol=0.2)


def test_centre_crop():
    image = torch.arange(30).reshape(1, 5, 6)
    assert torch.equal(centre_crop(image, 3), image[:, 1:4, 1:4])
    with pytest.raises(ValueError, match="size must be at most 5"):
        centre_crop(image, 6)


@pytest.fixture
def folder(tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs the extra `vision`")
    source = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name in ("ant", "bee"):
            place = tmp_path / part / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = source.integers(0, 255, (40 + index, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path


def test_folder_gives_augmented_minibatches_that_repeat(folder):
    def rows(count):
        at = batches(Rows(np.arange(count)), 4, seed=0)
        return lambda step: at(step).row

    images = Folder(folder, 24, sides=(32, 48), test_side=36, rows_of=rows, seed=3)
    assert images.classes == 2
    image, label = images.batch(5)
    assert image.shape == (4, 3, 24, 24)
    assert torch.equal(images.batch(5)[0], image)
    assert not torch.equal(images.batch(6)[0], image)
    assert torch.equal(label, (rows(12)(5) >= 6).long())
    tested = list(images.test())
    assert len(tested) == 4
    assert min(tested[0][0].shape[2:]) == 36


def test_random_views_vary_in_scale_place_and_mirroring(folder):
    path = list_images(folder, "train").files[0][0]
    views = [random_view(path, 20, (24, 40), (0, k)) for k in range(20)]
    assert all(view.shape == (3, 20, 20) for view in views)
    assert len({view.numpy().tobytes() for view in views}) > 15


@pytest.mark.parametrize("damage", ["short", "empty", "text"])
def test_a_file_that_is_no_whole_image_is_named(folder, damage):
    path = list_images(folder, "train").files[0][0]
    whole = path.read_bytes()
    path.write_bytes({"short": whole[: len(whole) // 2], "empty": b"", "text": b"no image"}[damage])
    with pytest.raises(ValueError, match=r"imagenet: .*0\.png is not a whole image") as caught:
        random_view(path, 20, (24, 40), (0, 0))
    assert "\n" not in str(caught.value)


def test_missing_and_unequal_folders_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*nowhere"):
        list_images(tmp_path, "nowhere")
    (folder / "val" / "bee").rename(folder / "val" / "wasp")
    with pytest.raises(ValueError, match="same class folders"):
        Folder(folder, 8, sides=(9, 9), test_side=9, rows_of=lambda n: None, seed=0)


def test_drawn_source_follows_from_its_streams():
    def stream(*names):
        return torch.Generator().manual_seed(hash(names) % 1000)

    images = Drawn(4, 16, test_side=24, stream=stream)
    image, label = images.batch(1)
    assert image.shape == (4, 3, 16, 16)
    assert torch.equal(images.batch(1)[0], image)
    assert label.max() < images.classes == 8
    assert len(list(images.test())) == 4
