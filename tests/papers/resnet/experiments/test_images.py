"""Small images on the device, and what is cut from them."""

import numpy as np
import pytest
import torch

from quire.data import Images, Split
from quire.papers.resnet.experiments.images import hold_out, prepare, shorten


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


def test_images_that_are_all_the_same_have_no_deviation():
    train, test = split()
    same = Images(np.full_like(train.image, 7), train.label)
    with pytest.raises(ValueError, match="must not all be the same"):
        prepare(Split(same, test), torch.device("cpu"))


def test_hold_out_and_shorten_cut_where_they_say():
    train = split().train
    kept, tested = hold_out(train, 10)
    assert np.array_equal(np.concatenate([kept.label, tested.label]), train.label)
    assert len(tested.label) == 10
    assert np.array_equal(shorten(train, 7).image, train.image[:7])
    with pytest.raises(ValueError, match="holdout must leave images to train on; got 60 of 60"):
        hold_out(train, 60)
