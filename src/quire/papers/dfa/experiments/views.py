"""A scene from its pictures: radiance fields under each rule."""

from typing import NamedTuple

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import set_rate, update
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback, Rule
from quire.papers.dfa.scenes import (
    Field,
    Rays,
    Rendered,
    cast_rays,
    render,
    sample_again,
    sample_depths,
    to_decibels,
    to_device_coordinates,
)

AT_ONCE = 4096
"""Rays of a test picture that are rendered at once."""


class Views(Config):
    """A radiance field of one scene; Table 1. Defaults are the paper's, synthetic scenes."""

    scene: str = "lego"
    """Which scene; others than lego are put there by hand."""
    forward_facing: bool = False
    """Whether its cameras look forward and rays go in device coordinates."""
    rule: Rule = "direct"
    """What trains the hidden layers."""
    dim: PositiveInt = 256
    """Units of a layer."""
    layers: PositiveInt = 8
    """Layers over a point; the input comes again behind the half of them."""
    samples: PositiveInt = 64
    """Samples along a ray of the coarse field."""
    fine_samples: NonNegativeInt = 128
    """Further ones, for a fine field that sees both; 0 has no fine field."""
    rays: PositiveInt = 1024
    """Rays a step."""
    steps: PositiveInt = 500_000
    """Minibatches."""
    learning_rate: PositiveFloat = 1e-4
    """Adam's, which falls to a tenth over `decay` steps."""
    decay: PositiveInt = 500_000
    """Steps of a fall to a tenth."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of what is added to raw densities in training."""
    stride: PositiveInt = 1
    """Every so many rows and columns of a test picture are looked at."""


class Scene(NamedTuple):
    """Rays (V, P, 3) and colours (V, P, 3) in [0, 1] of training and test views."""

    train: Rays
    train_colour: Tensor
    thinned: Tensor
    """Training colours at the pixels of the test views that are looked at, (V, P', 3)."""
    test: Rays
    test_colour: Tensor
    near: float
    far: float
    size: tuple[int, int]
    """Rows and columns of a test picture."""


class Pair(nn.Module):
    """A coarse and a fine field, each with feedback of its own. fine: None where there is none."""

    def __init__(self, coarse: DirectFeedback, fine: DirectFeedback | None) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine


def views(config: Views, run: Run) -> Metrics:
    """The peak signal-to-noise ratio of held-out views, beside those that need no field."""
    scene = load_scene(config, run)
    pair = make_fields(config, run).to(run.device)
    prepare(pair, run)
    model = run.place(pair)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    colours, count = scene.train_colour, scene.train_colour.shape[0] * scene.train_colour.shape[1]
    for step in run.steps(config.steps, state=(model, optimizer)):
        set_rate(optimizer, config.learning_rate * 0.1 ** (step / config.decay))
        chosen = torch.randint(count, (config.rays,), generator=run.rng("rays", step))
        chosen = chosen.to(run.device)
        rays = Rays(*(part.flatten(0, 1)[chosen] for part in scene.train))
        wanted = colours.flatten(0, 1)[chosen]
        with run.precision():
            found = show(pair, rays, scene, config, run.rng("samples", step))
            loss = torch.stack([(each.colour - wanted).square().mean() for each in found]).sum()
        update(loss, model, optimizer)
        run.log(loss=loss)
    return report(pair, scene, config, run)


def make_fields(config: Views, run: Run) -> Pair:
    """The coarse field and, where it has samples, the fine one."""
    fields: list[DirectFeedback | None] = []
    for number, samples in enumerate((config.samples, config.fine_samples)):
        field = Field(config.dim, layers=config.layers, skip=config.layers // 2)
        marks = [f"activations.{place}" for place in range(len(field.activations))]
        made = DirectFeedback(field, marks, seed=2 * run.seed + number, rule=config.rule)
        fields.append(made if samples else None)
    assert fields[0] is not None
    return Pair(fields[0], fields[1])


def prepare(pair: Pair, run: Run) -> None:
    """Draw the feedback before anything is compiled or replicated."""
    point = torch.zeros(1, 1, 3, device=run.device)
    for field in (pair.coarse, pair.fine):
        if field is not None:
            field.prepare(point, point)


def show(
    pair: Pair, rays: Rays, scene: Scene, config: Views, generator: torch.Generator | None
) -> list[Rendered]:
    """What the fields show of rays, the coarse one first; without a generator nothing is random."""
    white = not config.forward_facing
    noise = config.noise if generator is not None else 0.0
    depth = sample_depths(rays, scene.near, scene.far, config.samples, generator=generator)
    found = [render(pair.coarse, rays, depth, white=white, noise=noise, generator=generator)]
    if pair.fine is not None:
        depth = sample_again(depth, found[0].share, config.fine_samples, generator=generator)
        found.append(render(pair.fine, rays, depth, white=white, noise=noise, generator=generator))
    return found


def report(pair: Pair, scene: Scene, config: Views, run: Run) -> Metrics:
    """Held-out views, their trivial predictions, alignment; pictures for people to judge."""
    pair.eval()
    pictures = []
    with torch.no_grad():
        for view in range(len(scene.test_colour)):
            rays = [Rays(*parts) for parts in zip(
                *(part[view].split(AT_ONCE) for part in scene.test), strict=True)]  # fmt: skip
            found = [show(pair, part, scene, config, None)[-1].colour for part in rays]
            pictures.append(torch.cat(found).clamp(0, 1))
    drawn, wanted = torch.stack(pictures), scene.test_colour
    as_pictures = drawn.view(len(drawn), *scene.size, 3).permute(0, 3, 1, 2)
    run.exhibit("views", as_pictures.float())
    field = pair.coarse if pair.fine is None else pair.fine
    # Spread over the view: its first rows are background, where no signal is.
    pixels = scene.train_colour.shape[1]
    count = min(config.rays, pixels)
    some = torch.arange(count, device=run.device) * pixels // count
    ray = Rays(*(part[0, some] for part in scene.train))
    depth = sample_depths(ray, scene.near, scene.far, config.samples)
    colour = scene.train_colour[0, some]
    cosines = alignment(field, lambda: (render(field, ray, depth).colour - colour).square().mean())
    found_cosines = torch.stack(list(cosines.values())).nan_to_num(0.0)
    return {
        "psnr": mean_decibels(drawn, wanted),
        "mean_psnr": mean_decibels(scene.thinned.mean(0, keepdim=True), wanted),
        "nearest_psnr": nearest_decibels(scene),
        "alignment": float(found_cosines.min()),
    }


def mean_decibels(drawn: Tensor, wanted: Tensor) -> float:
    """The mean over views (V, P, 3) of their peak signal-to-noise ratios, dB."""
    return float(to_decibels((drawn - wanted).square().mean((1, 2))).mean())


def nearest_decibels(scene: Scene) -> float:
    """That of taking, for each test view, the training view of the nearest camera."""
    where = torch.cdist(scene.test.origin[:, 0], scene.train.origin[:, 0])
    return mean_decibels(scene.thinned[where.argmin(1)], scene.test_colour)


def load_scene(config: Views, run: Run) -> Scene:
    """Rays and colours of all views; test views are thinned."""
    views = data.nerf(run.data, config.scene)
    pixels = torch.from_numpy(views.image).float() / 255
    colour = pixels[..., :3] + (0 if config.forward_facing else 1 - pixels[..., 3:])
    height, width = pixels.shape[1:3]
    rays = [cast_rays(pose, height, width, views.focal) for pose in torch.from_numpy(views.pose)]
    near, far = views.near, views.far
    if config.forward_facing:
        rays = [to_device_coordinates(each, height, width, views.focal) for each in rays]
        near, far = 0.0, 1.0
    parts = {
        "origin": torch.stack([each.origin for each in rays]),
        "direction": torch.stack([each.direction for each in rays]),
        "colour": colour.flatten(1, 2),
    }
    test = torch.from_numpy(views.test)
    kept = torch.arange(height * width).view(height, width)[:: config.stride, :: config.stride]
    seen = {name: part[~test].to(run.device) for name, part in parts.items()}
    held = {name: part[test][:, kept.flatten()].to(run.device) for name, part in parts.items()}
    return Scene(
        Rays(seen["origin"], seen["direction"]), seen["colour"],
        seen["colour"][:, kept.flatten().to(run.device)],
        Rays(held["origin"], held["direction"]), held["colour"],
        near, far, (kept.shape[0], kept.shape[1]),
    )  # fmt: skip
