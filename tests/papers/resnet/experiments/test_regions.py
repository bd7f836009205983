"""Drawn scenes, and the regions that stand in for a proposer."""

import pytest
import torch

from quire.papers.resnet.detection import decode, overlap
from quire.papers.resnet.experiments.regions import propose_regions
from quire.papers.resnet.experiments.scenes import draw


def test_regions_are_labelled_by_overlap():
    scenes = draw(3, 32, torch.Generator().manual_seed(0), objects=2)
    regions = propose_regions(scenes, torch.Generator().manual_seed(1))
    for box, image, label, target in zip(*regions, strict=True):
        best, which = overlap(box[None], scenes.box[image])[0].max(0)
        assert label == (scenes.label[image][which] + 1 if best >= 0.5 else 0)
        torch.testing.assert_close(decode(box[None], target[None])[0], scenes.box[image][which])
    assert (regions.label > 0).any()


def test_drawn_objects_fill_their_boxes():
    scenes = draw(40, 32, torch.Generator().manual_seed(0))
    assert scenes.image.shape == (40, 3, 32, 32)
    assert set(scenes.label.flatten().tolist()) <= set(range(8))
    assert (scenes.box[..., :2] >= 0).all()
    assert (scenes.box[..., 2:] <= 32).all()
    with pytest.raises(ValueError, match=r"objects must be in 1\.\.4"):
        draw(1, 32, torch.Generator(), objects=5)
