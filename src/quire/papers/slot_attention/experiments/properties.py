"""Set prediction: the properties of all objects of an image, in any order (section 4.2)."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import set_rate, update
from quire.papers.slot_attention.dspn import DSPN, SetEncoder
from quire.papers.slot_attention.experiments.figures import draw_properties
from quire.papers.slot_attention.experiments.learner import (
    CHUNK,
    Attention,
    Net,
    Scene,
    draw_test_scenes,
    make_encoder,
    make_slots,
    scheduled,
)
from quire.papers.slot_attention.scenes import Scenes, draw
from quire.papers.slot_attention.sets import (
    Properties,
    SetPredictor,
    average_precision,
    set_loss,
)

LAYOUT = Properties(places=2, kinds=(2, 2, 3, 8))
"""Places are in the plane: two coordinates where CLEVR has three."""
DISTANCES = {"inf": float("inf"), "1": 1.0, "05": 0.5, "025": 0.25, "0125": 0.125}
SHOWN = 6
"""Images of the figure."""
GAP = 0.1
"""Weight of the distance between an image's vector and that of its set, in DSPN's loss."""


class PropertyPrediction(Config):
    """A net that predicts a set. Steps are minibatches."""

    scene: Scene = Scene(kind="solids", size=128, fewest=3, most=10)
    """The images."""
    predictor: Literal["slots", "dspn"] = "slots"
    """A head on each slot; or a set that is found by gradient descent (DSPN)."""
    attention: Attention = Attention()
    """How places are divided among slots."""
    net: Net = Net(slots=10, channels=64, strided=2)
    """Sizes."""
    steps: PositiveInt = 150_000
    """Minibatches."""
    batch_size: PositiveInt = 512
    """Images a minibatch."""
    learning_rate: PositiveFloat = 4e-4
    """Adam's, before the schedule."""
    warm_up: PositiveInt = 1000
    """Minibatches over which the rate rises."""
    half_life: PositiveInt = 50_000
    """Minibatches in which it falls by half."""
    test_images: PositiveInt = 1000
    """Images of the test."""


def properties(config: PropertyPrediction, run: Run) -> Metrics:
    """Train with the matching loss; test by average precision at five distances."""
    maker = config.scene.maker()
    net = make_predictor(config)
    model = run.place(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    def draws_at(step: int) -> Tensor:
        return draw(config.batch_size, maker.most, run.rng("train", step))

    for draws in run.steps(config.steps, draws_at, state=(model, optimizer)):
        rate = scheduled(run.step, config.warm_up, config.half_life)
        set_rate(optimizer, config.learning_rate * rate)
        scenes = maker.render(draws)
        with run.precision():
            loss = measure_loss(model, net, scenes.image, encode(scenes))
        update(loss, model, optimizer)
        run.log(loss=loss)
    net.eval()
    scenes = draw_test_scenes(maker, config.test_images, run, "test")
    target = encode(scenes)
    predicted = predict(net, scenes.image)
    place, _, flag = LAYOUT.split(predicted[:SHOWN])
    true = torch.where(scenes.pixels[..., None] > 0, scenes.position, torch.nan)
    run.figure("properties", draw_properties(scenes.image[:SHOWN], place, flag, true))
    found = score(predicted, target)
    metrics = {f"ap_{name}": value for name, value in zip(DISTANCES, found, strict=True)}
    metrics["loss"] = float(set_loss(predicted, target))
    metrics["constant_loss"] = measure_constant(target)
    more = None
    if isinstance(net, DSPN):
        more = 3 * net.iterations  # as its authors test it
    elif config.attention.method == "slots":
        more = config.attention.rounds + 2
    if more is not None:
        metrics["ap_inf_longer"] = score(predict(net, scenes.image, rounds=more), target)[0]
    return metrics


def make_predictor(config: PropertyPrediction) -> SetPredictor | DSPN:
    """The net that predicts a set."""
    encoder, size = make_encoder(config.net), config.scene.size
    if config.predictor == "slots":
        return SetPredictor(
            encoder,
            make_slots(config.attention, config.net, size),
            dim=config.net.dim,
            features=LAYOUT.features,
        )
    sets = SetEncoder(LAYOUT.features)
    # One slot of the baseline is the image's vector.
    one = config.net.model_copy(update={"slots": 1, "dim": sets.latent})
    vector = make_slots(Attention(method="mlp"), one, size)
    return DSPN(encoder, vector, sets, slots=config.net.slots, features=LAYOUT.features)


def measure_loss(
    model: nn.Module, net: SetPredictor | DSPN, image: Tensor, target: Tensor
) -> Tensor:
    """The matching loss; for DSPN with the gap between its two vectors. model: the placed net."""
    if isinstance(net, DSPN):
        rows, goal = model(image)
        # Its authors' loss is a mean over the set, to which the weight of the gap belongs.
        matched = set_loss(rows.float(), target) / rows.shape[1]
        return matched + GAP * net.measure_gap(goal.float(), target)
    return set_loss(model(image).float(), target)


def encode(scenes: Scenes) -> Tensor:
    """Targets (B, O, F): what is hidden altogether is not asked for."""
    return LAYOUT.encode(scenes.position, scenes.kinds, scenes.pixels > 0)


def predict(net: SetPredictor | DSPN, image: Tensor, **options: int) -> Tensor:
    """(B, K, F), in chunks."""
    rows = []
    with torch.no_grad():
        for part in image.split(CHUNK):
            found = net(part, **options)
            # A copy: what a compiled net gave is written over by its next call.
            rows.append((found.rows if isinstance(net, DSPN) else found).clone())
    return torch.cat(rows)


def score(predicted: Tensor, target: Tensor) -> list[float]:
    """Average precision at each distance, %."""
    found = average_precision(predicted, target, LAYOUT, distances=list(DISTANCES.values()))
    return [100 * value for value in found]


def measure_constant(target: Tensor) -> float:
    """The loss of the same rows for every image, the mean of the targets at each place in order."""
    mean = target.mean(0, keepdim=True).expand_as(target)
    return float(set_loss(mean, target))
