"""Building blocks (table 1) in small: which kind of keys which kind of dependency needs."""

import numpy as np
from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments.encoders import Tagger
from quire.papers.bigbird.experiments.figures import draw_pattern
from quire.papers.bigbird.experiments.learner import measure_answers, train_tagger
from quire.papers.bigbird.experiments.settings import Encoder, Pattern, Training
from quire.papers.bigbird.experiments.tasks import Dependencies, draw_test
from quire.papers.bigbird.theory import measure_graph


class Blocks(Training):
    """Local, global and distant dependencies in one text made by a program."""

    pattern: Pattern = Pattern(block=16, shared=True)
    """Which keys a query attends to (full: all of them)."""
    encoder: Encoder = Encoder(dim=64, layers=2, heads=4, rotary=True)
    """Size of the encoder."""
    length: PositiveInt = 512
    """Tokens of a sequence, N."""
    asked: PositiveInt = 16
    """Questions of each kind."""
    batch_size: PositiveInt = 16
    """Sequences a step."""
    test_examples: PositiveInt = 512
    """Test sequences."""


def blocks(config: Blocks, run: Run) -> Metrics:
    """Accuracy by kind of dependency, and measures of the first layer's graph of blocks."""
    pattern = config.pattern.build(run.seed)
    if config.attention == "sparse" and pattern.is_full(config.length):
        raise ValueError(
            f"{config.length} tokens in blocks of {pattern.block} are full attention with this "
            "pattern: the comparison needs a longer text"
        )
    task = Dependencies(config.length, asked=config.asked)
    model = run.place(Tagger(task.words, task.length, config, run.seed))
    train_tagger(
        config, run, model, lambda step: task.draw(config.batch_size, run.rng("train", step))
    )
    test = draw_test(task, config.test_examples, run)
    accuracy, _ = measure_answers(run, model, test, kinds=len(task.kinds))
    graph = np.ones((config.length // config.pattern.block,) * 2, bool)
    if config.attention == "sparse":
        graph = pattern.table(config.length)[0]
        run.figure("pattern", draw_pattern(pattern, config.length))
    measured = measure_graph(graph)
    names = [f"{kind}_accuracy" for kind in task.kinds]
    return dict(zip(names, accuracy, strict=True)) | {
        "accuracy": float(np.mean(accuracy)),
        "keys": float(graph.mean(1).mean() * config.length),
        "average_path": min(measured.average_path, 1e6),
        "diameter": min(measured.diameter, 1e6),
        "spectral_gap": measured.spectral_gap,
    }
