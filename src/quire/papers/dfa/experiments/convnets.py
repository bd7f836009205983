"""Convolutional nets: where direct feedback is known to fall behind."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback
from quire.papers.dfa.experiments.pictures import PictureName, load_pictures
from quire.papers.dfa.fixed import FeedbackAlignment
from quire.papers.dfa.placements import after_activations

KERNEL, DENSE = 5, 128
"""Pixels of a filter's side, and units of the dense layer."""
AT_ONCE, MEASURED = 1000, 200
"""Pictures classified at once, and those of which alignment is measured."""


class Convnets(Config):
    """Tanh convolutions and a dense layer on small pictures; Table 2 of Nøkland 2016."""

    dataset: PictureName = "fashion_mnist"
    """The pictures."""
    rule: Literal["direct", "backward", "chain", "shallow"] = "direct"
    """What trains the hidden layers: direct feedback, back-propagation, feedback from layer to
    layer, or nothing."""
    widths: tuple[PositiveInt, ...] = (16, 32)
    """Channels of each convolution, behind which a pooling halves the side."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step."""
    steps: PositiveInt = 600
    """Minibatches."""
    train_examples: PositiveInt = 60_000
    """Pictures to train on, a tenth of which is kept for validation."""
    test_examples: PositiveInt = 10_000
    """Pictures to test on."""


def convnets(config: Convnets, run: Run) -> Metrics:
    """Test error, and alignment of convolutions and of the dense layer."""
    pictures = load_pictures(
        run, config.dataset, train=config.train_examples, test=config.test_examples, flat=False
    )
    net = make_net(pictures.train.shape[1:], config.widths)
    marks = after_activations(net)
    direct = DirectFeedback(net, marks, seed=run.seed)
    model: nn.Module = direct
    if config.rule == "chain":
        model = FeedbackAlignment(net, seed=run.seed)
        direct.passthrough()
    else:
        direct.set_rule(config.rule)
    model = run.place(model)
    direct.to(run.device).prepare(pictures.train[:2])
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    for step in run.steps(config.steps, state=(model, optimizer)):
        chosen = torch.randint(
            len(pictures.train), (config.batch_size,), generator=run.rng("batch", step)
        ).to(run.device)
        with run.precision():
            loss = F.cross_entropy(model(pictures.train[chosen]), pictures.train_label[chosen])
        update(loss, model, optimizer)
        run.log(loss=loss)
    x, label = pictures.train[:MEASURED], pictures.train_label[:MEASURED]
    cosines = alignment(direct, lambda: F.cross_entropy(direct(x), label))
    return {
        "validation_error": measure_error(net, pictures.val, pictures.val_label),
        "test_error": measure_error(net, pictures.test, pictures.test_label),
        "dense_alignment": float(cosines[marks[-1]]),
        "convolution_alignment": float(torch.stack([cosines[m] for m in marks[:-1]]).mean()),
    }


def make_net(shape: torch.Size, widths: tuple[int, ...]) -> nn.Sequential:
    """(B, C, H, W) -> logits (B, 10). shape: (C, H, W). widths: channels of each convolution."""
    channels, height, width = shape
    parts: list[nn.Module] = []
    for wider in widths:
        parts += [nn.Conv2d(channels, wider, KERNEL, padding=KERNEL // 2), nn.Tanh()]
        parts.append(nn.MaxPool2d(2))
        channels, height, width = wider, height // 2, width // 2
    flat = channels * height * width
    return nn.Sequential(
        *parts, nn.Flatten(), nn.Linear(flat, DENSE), nn.Tanh(), nn.Linear(DENSE, 10)
    )


def measure_error(net: nn.Module, x: Tensor, label: Tensor) -> float:
    """Wrong answers, %."""
    net.eval()
    with torch.no_grad():
        answers: list[Tensor] = [net(part).argmax(1) for part in x.split(AT_ONCE)]
    return 100 * float((torch.cat(answers) != label).double().mean())
