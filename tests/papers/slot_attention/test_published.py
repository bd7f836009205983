"""Published scenes, out of small files of their format."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from data.samples import example, multi_object_example, tfrecords
from quire.data import DataMissing
from quire.data.sets.multi_object import PARTS
from quire.lab.testing import run_in
from quire.papers.slot_attention import Published, draw, published, read_published
from quire.papers.slot_attention.experiments.learner import Scene, find_scenes

CPU = torch.device("cpu")


def put(root, part, objects):
    """A file with an image for each number of objects; gives their features."""
    features = [multi_object_example(part, seed, n) for seed, n in enumerate(objects)]
    (root / "multi_object").mkdir(exist_ok=True)
    (root / "multi_object" / PARTS[part].file).write_bytes(tfrecords(*map(example, features)))
    return features


@pytest.fixture
def shorter(monkeypatch):
    """Four images for training."""
    sources = {kind: source._replace(train=4) for kind, source in published.SOURCES.items()}
    monkeypatch.setattr(published, "SOURCES", sources)


def test_the_test_begins_after_the_images_for_training(tmp_path, shorter):
    features = put(tmp_path, "tetrominoes", [3, 2, 3, 3, 1, 3, 3, 3])
    train, test = read_published(
        tmp_path, "tetrominoes", fewest=3, most=3, test=2, device=CPU
    )  # fmt: skip
    expected = [torch.from_numpy(f["image"]).permute(2, 0, 1) / 127.5 - 1 for f in features]
    assert len(train.image) == 3
    torch.testing.assert_close(test.image, torch.stack(expected)[[5, 6]])
    assert torch.equal(
        test.pixels, (test.objects.flatten(1)[..., None] == torch.arange(1, 4)).sum(1)
    )
    assert test.position.isnan().all()
    assert (test.kinds == -1).all()
    draws = draw(50, 3, torch.Generator().manual_seed(0))
    drawn = train.render(draws)
    which = (draws[:, 0, 0] * 3).long()
    torch.testing.assert_close(drawn.image, torch.stack(expected)[[0, 2, 3]][which])
    assert len(which.unique()) == 3
    with pytest.raises(ValueError, match="4 images and 4 after them; found 3 and 3"):
        read_published(tmp_path, "tetrominoes", fewest=3, most=3, test=4, device=CPU)


def test_clevr_is_cut_and_made_smaller(tmp_path, shorter):
    features = put(tmp_path, "clevr_with_masks", [3, 7, 4, 6, 5, 7, 6])
    train, test = read_published(tmp_path, "solids", fewest=3, most=6, test=2, device=CPU)
    assert len(train.image) == 3
    assert test.image.shape == (2, 3, 128, 128)
    cut = torch.from_numpy(features[6]["image"][29:221, 64:256]).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(test.image[1:], interpolate(cut, (128, 128), mode="bilinear"))
    # The nearest of 192 rows and columns: the middles of 1.5 pixels.
    near = np.floor((np.arange(128) + 0.5) * 1.5).astype(int)
    owner = (np.arange(320) * 7 // 320)[64:256][near]
    assert torch.equal(test.objects[1], torch.from_numpy(owner).expand(128, -1))
    assert test.pixels[1].sum() == (owner > 0).sum() * 128


def test_a_uniform_number_of_one_stays_inside():
    scenes = Published(torch.zeros(3, 3, 2, 2).byte(), torch.zeros(3, 2, 2).byte(), 1, 2)
    draws = torch.ones(1, 1, 8)  # rounding may give 1
    assert scenes.render(draws).image.shape == (1, 3, 2, 2)


def test_experiments_find_them(tmp_path, shorter):
    scene = Scene(data="published")
    run = run_in(tmp_path / "run", data=tmp_path)
    with pytest.raises(DataMissing, match=r"tetrominoes_train\.tfrecords not found"):
        find_scenes(scene, 2, run)
    put(tmp_path, "tetrominoes", [3] * 8)
    maker, test = find_scenes(scene, 2, run)
    assert maker.render(torch.rand(5, 3, 8)).image.shape == (5, 3, 35, 35)
    assert len(test.image) == 2
    for changes, message in (
        ({"size": 20}, "35 pixels a side and colouring 'any', got 20"),
        ({"colouring": "white"}, "got 35 and 'white'"),
    ):
        with pytest.raises(ValueError, match=message):
            find_scenes(scene.model_copy(update=changes), 2, run)
    with pytest.raises(ValueError, match="must be 'made' here"):
        scene.maker()
