"""What the experiments share: preparing images, evaluating, and the ImageNet pipeline."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quire.data import Images, Split, batches
from quire.papers.resnet import CifarResNet
from quire.papers.resnet.imagenet import (
    Drawn,
    Folder,
    centre_crop,
    colour_axes,
    listing,
    random_view,
    shift_colours,
)
from quire.papers.resnet.training import Part, Rows, evaluate, hold_out, prepare, shorten


def split(train=60, test=20):
    source = np.random.default_rng(0)

    def part(count):
        image = source.integers(0, 255, (count, 3, 8, 8), dtype=np.uint8)
        return Images(image, source.integers(0, 10, count))

    return Split(part(train), part(test))


def test_prepared_images_have_mean_zero_at_each_pixel_and_deviation_one():
    images = prepare(split(), torch.device("cpu"))
    centred = images.centre(images.train.image)
    torch.testing.assert_close(centred.mean(0), torch.zeros(3, 8, 8), atol=1e-5, rtol=0)
    assert centred.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_evaluate_is_loss_and_error_over_all_images():
    net = CifarResNet(8, width=0.25).train()
    image, label = torch.randn(1203, 3, 8, 8), torch.randint(10, (1203,))
    loss, error = evaluate(net, Part(image, label), lambda x: x)
    assert net.training
    net.eval()
    with torch.no_grad():
        score = net(image)
    assert loss == pytest.approx(F.cross_entropy(score, label).item(), rel=1e-4)
    assert error == pytest.approx(100 * (score.argmax(1) != label).float().mean().item(), abs=0.1)
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(net, Part(image[:0], label[:0]), lambda x: x)


def test_hold_out_and_shorten_cut_where_they_say():
    train = split().train
    kept, tested = hold_out(train, 10)
    assert np.array_equal(np.concatenate([kept.label, tested.label]), train.label)
    assert len(tested.label) == 10
    assert np.array_equal(shorten(train, 7).image, train.image[:7])
    with pytest.raises(ValueError, match="holdout must leave images to train on; got 60 of 60"):
        hold_out(train, 60)


def test_colours_move_along_the_axes_alone():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 3, generator=generator)
    pixels = torch.einsum("cd,bdhw->bchw", mix, torch.randn(50, 3, 16, 16, generator=generator))
    axes = colour_axes(pixels)
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

    images = Folder(folder, 24, sides=(32, 48), test_side=36, batches=rows, seed=3)
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
    path = listing(folder, "train").jobs[0][0]
    views = [random_view(path, 20, (24, 40), (0, k)) for k in range(20)]
    assert all(view.shape == (3, 20, 20) for view in views)
    assert len({view.numpy().tobytes() for view in views}) > 15


def test_missing_and_unequal_folders_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*nowhere"):
        listing(tmp_path, "nowhere")
    (folder / "val" / "bee").rename(folder / "val" / "wasp")
    with pytest.raises(ValueError, match="same class folders"):
        Folder(folder, 8, sides=(9, 9), test_side=9, batches=lambda n: None, seed=0)


def test_drawn_source_follows_from_its_streams():
    def stream(*names):
        return torch.Generator().manual_seed(hash(names) % 1000)

    images = Drawn(4, 16, test_side=24, stream=stream)
    image, label = images.batch(1)
    assert image.shape == (4, 3, 16, 16)
    assert torch.equal(images.batch(1)[0], image)
    assert label.max() < images.classes == 8
    assert len(list(images.test())) == 4
