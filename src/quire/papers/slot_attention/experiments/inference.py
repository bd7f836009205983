"""A trained net with other numbers of rounds and slots, and on more objects (section 4.1)."""

from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into
from quire.papers.slot_attention.experiments.discovery import decompose, measure_ari
from quire.papers.slot_attention.experiments.learner import (
    Attention,
    Net,
    Scene,
    draw_test_scenes,
    make_autoencoder,
)

ROUNDS = (1, 2, 3, 4, 5, 7)


class Inference(Config):
    """The autoencoder of `discovery`, its settings as there."""

    scene: Scene = Scene()
    """The images that it was trained on."""
    net: Net = Net()
    """Sizes."""
    more: PositiveInt = 1
    """Objects that are added in the harder test; as many slots are added."""
    test_images: PositiveInt = 320
    """Images of each test."""


def inference(config: Inference, run: Run) -> Metrics:
    """ARI by rounds; and with more objects, by rounds, with and without more slots."""
    net = run.place(make_autoencoder(Attention(), config.net, config.scene.size))
    load_weights_into(run.before("base"), "model", net)
    net.eval()
    scenes = draw_test_scenes(config.scene.maker(), config.test_images, run, "test")
    harder = config.scene.maker(more=config.more)
    crowded = draw_test_scenes(harder, config.test_images, run, "more")
    slots = config.net.slots + config.more
    by_rounds, more_by_rounds = [], []
    for rounds in ROUNDS:
        by_rounds.append(measure_ari(scenes, decompose(net, scenes.image, rounds=rounds)[0]))
        found, _ = decompose(net, crowded.image, slots, rounds=rounds)
        more_by_rounds.append(measure_ari(crowded, found))
    for name, values in (("rounds", by_rounds), ("more_rounds", more_by_rounds)):
        run.series(name, ROUNDS, values, x_label="rounds", y_label="foreground ARI, %")
    few, _ = decompose(net, crowded.image)
    at = dict(zip(ROUNDS, by_rounds, strict=True))
    more_at = dict(zip(ROUNDS, more_by_rounds, strict=True))
    return {f"ari_{rounds}": at[rounds] for rounds in (1, 2, 3, 5, 7)} | {
        "more_ari_3": more_at[3],
        "more_ari_5": more_at[5],
        "more_ari_few_slots": measure_ari(crowded, few),
        "better": max(by_rounds[ROUNDS.index(4) :]) - at[3],
    }
