"""The loop of section 4.2, what it is tested with, and what decays."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.lab.testing import logged, run_in
from quire.papers.resnet import CifarResNet
from quire.papers.resnet.experiments.images import Part, Prepared
from quire.papers.resnet.experiments.learner import (
    CifarTraining,
    evaluate,
    group_parameters,
    measure_errors,
    train,
)


def test_evaluate_is_loss_and_error_over_all_images():
    net = CifarResNet(8, width=0.25).train()
    net.stem.eval()
    image, label = torch.randn(1203, 3, 8, 8), torch.randint(10, (1203,))
    loss, error = evaluate(net, Part(image, label), lambda x: x)
    assert net.training
    assert not net.stem.training
    net.eval()
    with torch.no_grad():
        score = net(image)
    assert loss == pytest.approx(F.cross_entropy(score, label).item(), rel=1e-4)
    assert error == pytest.approx(100 * (score.argmax(1) != label).float().mean().item(), abs=0.1)
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(net, Part(image[:0], label[:0]), lambda x: x)


def test_groups_decay_all_or_weights_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    (everything,) = group_parameters(net, 0.1)
    assert len(everything["params"]) == 4
    weights, rest = group_parameters(net, 0.1, decay_norm=False)
    assert [len(weights["params"]), len(rest["params"])] == [1, 3]
    assert [weights["weight_decay"], rest["weight_decay"]] == [0.1, 0.0]


def test_a_net_learns_which_images_are_bright(tmp_path):
    """With the warm-up: its rate is a tenth until the error has fallen."""
    torch.manual_seed(0)
    label = torch.arange(100) % 2
    image = torch.randint(128, (100, 3, 8, 8)) + 128 * label[:, None, None, None]
    part = Part(image.to(torch.uint8), label)
    images = Prepared(part, part, image.float().mean(0), 64.0)
    config = CifarTraining(depth=8, width=0.25, steps=100, batch_size=20, warm_up=True)
    run = run_in(tmp_path, config)
    net = train(config, run, images, augment=lambda image, generator: image.flip(-1))
    assert measure_errors(net, images, run)["test_error"] == 0
    losses = logged(run, "loss")
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
