"""Object discovery by reconstruction (section 4.1), on made or on published scenes."""

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import mse_loss

from quire.lab import Config, Metrics, Run
from quire.lab.errors import Diverged
from quire.lab.exhibits import paint
from quire.lab.training import save_weights, set_rate, update
from quire.papers.slot_attention.attention import SlotAttention
from quire.papers.slot_attention.autoencoder import SlotAutoencoder
from quire.papers.slot_attention.experiments.figures import draw_rounds
from quire.papers.slot_attention.experiments.learner import (
    CHUNK,
    Attention,
    Net,
    Scene,
    divide,
    draw_test_scenes,
    find_scenes,
    lower_noise,
    make_autoencoder,
    scheduled,
)
from quire.papers.slot_attention.metrics import (
    adjusted_rand_index,
    cluster_pixels,
    mean_best_overlap,
    mean_iou,
    stripes,
)
from quire.papers.slot_attention.scenes import SceneMaker, Scenes, draw

BOUND = 55.0
"""ARI above which slots count as bound to objects: stripes reach 37 to 40."""
SHOWN, LONGEST = 4, 5
"""Scenes of the figure, and the rounds that it shows."""


class Discovery(Config):
    """An autoencoder whose slots are to become objects. Steps are minibatches."""

    scene: Scene = Scene()
    """The images."""
    attention: Attention = Attention()
    """How places are divided among slots."""
    net: Net = Net()
    """Sizes."""
    implicit: bool = False
    """Send the gradient through the last round only."""
    noise: NonNegativeInt = 0
    """Minibatches in which the noise on learned queries falls to none."""
    steps: PositiveInt = 500_000
    """Minibatches."""
    batch_size: PositiveInt = 64
    """Images a minibatch."""
    learning_rate: PositiveFloat = 4e-4
    """Adam's, before the schedule."""
    warm_up: PositiveInt = 10_000
    """Minibatches over which the rate rises."""
    half_life: PositiveInt = 100_000
    """Minibatches in which it falls by half."""
    clip: PositiveFloat | None = None
    """Largest norm of the gradient; the paper has none."""
    test_images: PositiveInt = 320
    """Images of the test."""


def discovery(config: Discovery, run: Run) -> Metrics:
    """Train on reconstruction; test how slots' masks agree with true objects."""
    maker, scenes = find_scenes(config.scene, config.test_images, run)
    net = make_autoencoder(config.attention, config.net, config.scene.size)
    try:
        train(config, run, net, maker)
    except Diverged:
        if config.attention.cell != "none":
            raise
        # It is known to blow up: how far it comes is what this arm is asked for.
        return {"trained": run.step / config.steps}
    net.eval()
    save_weights(run.directory, "model", net)
    metrics = evaluate(config, run, net, scenes) | {"trained": 1.0}
    if run.device.type == "cuda":
        metrics["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return metrics


def train(config: Discovery, run: Run, net: SlotAutoencoder, maker: SceneMaker) -> None:
    """All minibatches."""
    model = run.place(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    options = {"implicit": True} if config.implicit else {}

    def draws_at(step: int) -> Tensor:
        return draw(config.batch_size, maker.most, run.rng("train", step))

    for draws in run.steps(config.steps, draws_at, state=(model, optimizer)):
        rate = scheduled(run.step, config.warm_up, config.half_life)
        set_rate(optimizer, config.learning_rate * rate)
        lower_noise(net, run.step, config.noise)
        image = maker.render(draws).image
        with run.precision():
            loss = mse_loss(model(image, **options).image.float(), image)
        update(loss, model, optimizer, clip=config.clip)
        run.log(loss=loss)


def evaluate(config: Discovery, run: Run, net: SlotAutoencoder, scenes: Scenes) -> Metrics:
    """Agreement on the test's scenes, and on made ones of one colour; and what learns nothing."""
    found, error = decompose(net, scenes.image)
    ari = measure_ari(scenes, found)
    run.exhibit("divisions", torch.cat([scenes.image / 2 + 0.5, paint(found)], -1))
    if isinstance(net.slots, SlotAttention):
        pictures = show_rounds(net, scenes.image[:SHOWN])
        run.figure("rounds", draw_rounds(scenes.image[:SHOWN], scenes.objects[:SHOWN], pictures))
    metrics = {
        "ari": ari,
        "bound": float(ari > BOUND),
        "mbo": 100 * float(mean_best_overlap(scenes.objects, found).mean()),
        "miou": 100 * float(mean_iou(scenes.objects, found).mean()),
        "error": error,
        **measure_floors(scenes, config.net.slots),
    }
    if config.scene.data == "made":
        same = config.scene.model_copy(update={"colouring": "same"})
        alike = draw_test_scenes(same.maker(), config.test_images, run, "same")
        metrics["same_ari"] = measure_ari(alike, decompose(net, alike.image)[0])
    return metrics


def decompose(
    net: SlotAutoencoder,
    image: Tensor,
    slots: int | None = None,
    **options: int,
) -> tuple[Tensor, float]:
    """Each pixel's slot (B, S, S), and the mean squared error of the images."""
    found, error = [], 0.0
    with torch.no_grad():
        for part in image.split(CHUNK):
            result = net(part, slots, **options)
            found.append(divide(result.masks))
            error += float((result.image - part).square().mean()) * len(part) / len(image)
    return torch.cat(found), error


def measure_ari(scenes: Scenes, found: Tensor) -> float:
    """The mean adjusted Rand index of the foreground, %."""
    return 100 * float(adjusted_rand_index(scenes.objects, found).mean())


def measure_floors(scenes: Scenes, slots: int) -> Metrics:
    """What is reached without learning, %.

    Stripes see nothing. K-means of colours and places has as many clusters as there are slots;
    that of places alone is told which pixels are objects, and how many there can be. Components
    are connected pixels of one colour.
    """
    true, image = scenes.objects, scenes.image
    most = scenes.pixels.shape[1]
    divisions = {
        "stripes": stripes(image.shape[-1], slots).to(true.device).expand_as(true),
        "colours": cluster_pixels(image, slots),
        "places": cluster_pixels(torch.zeros_like(image), most, among=true > 0),
        "components": find_components(image, true > 0),
    }
    return {f"{name}_ari": measure_ari(scenes, found) for name, found in divisions.items()}


def find_components(image: Tensor, foreground: Tensor) -> Tensor:
    """Connected foreground pixels of nearly one colour, numbered, (B, S, S)."""
    coarse = (3 * (image + 1)).round().long()  # seven values a channel
    colour = (coarse * torch.tensor([1, 7, 49], device=image.device)[:, None, None]).sum(1)
    colour = torch.where(foreground, colour, -1).cpu()
    found = torch.zeros_like(colour)
    for row in range(len(colour)):
        number = 0
        for value in colour[row].unique().tolist():
            if value >= 0:
                part, count = label((colour[row] == value).numpy())
                piece = torch.from_numpy(part).long()
                found[row] += torch.where(piece > 0, piece + number, 0)
                number += count
    return found.to(image.device)


def show_rounds(net: SlotAutoencoder, image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """After each round from the same first slots: attention (B, K, N) and masks (B, K, S, S)."""
    attention = net.slots
    assert isinstance(attention, SlotAttention)
    pictures = []
    with torch.no_grad():
        inputs = net.encoder(image)
        first = attention.start(len(image), attention.slots)
        for rounds in range(1, LONGEST + 1):
            slots, routed = attention(inputs, first, rounds=rounds)
            pictures.append((routed, net.decode(slots, routed).masks))
    return pictures
