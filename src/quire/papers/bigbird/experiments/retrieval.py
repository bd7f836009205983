"""Recall over long distances: one item to retrieve, or a passage of items to copy."""

from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments.encoders import Tagger
from quire.papers.bigbird.experiments.figures import draw_attention
from quire.papers.bigbird.experiments.learner import measure_answers, train_tagger
from quire.papers.bigbird.experiments.settings import Encoder, Pattern, Training
from quire.papers.bigbird.experiments.tasks import Recall, draw_test
from quire.papers.bigbird.model import BigBird


class Retrieval(Training):
    """Items somewhere in a long text, asked for far away."""

    pattern: Pattern = Pattern(block=16, shared=True)
    """Which keys a query attends to (full: all of them)."""
    encoder: Encoder = Encoder(dim=64, layers=2, heads=4, rotary=True)
    """Size of the encoder."""
    length: PositiveInt = 512
    """Tokens of a sequence, N."""
    items: PositiveInt = 1
    """Items that are asked for."""
    asked: PositiveInt = 16
    """Questions of each item."""
    front: bool = True
    """The questions are the first tokens, which are global (as in the paper's question answering);
    else they stand anywhere and a global block must relay the item."""
    batch_size: PositiveInt = 16
    """Sequences a step."""
    test_examples: PositiveInt = 512
    """Test sequences."""


def retrieval(config: Retrieval, run: Run) -> Metrics:
    """Share of right answers; one item is a needle, many side by side are a passage to copy."""
    task = Recall(config.length, items=config.items, asked=config.asked, front=config.front)
    check_reach(config, task)
    model = run.place(Tagger(task.words, task.length, config, run.seed))
    train_tagger(
        config, run, model, lambda step: task.draw(config.batch_size, run.rng("train", step))
    )
    test = draw_test(task, config.test_examples, run)
    accuracy, _ = measure_answers(run, model, test)
    encoder = getattr(model, "module", model).encoder  # under torchrun it is wrapped
    if isinstance(encoder, BigBird):
        example = task.draw(1, run.rng("figure"))
        run.figure("attention", draw_attention(encoder, example, run.device))
    return {"accuracy": accuracy[0]}


def check_reach(config: Retrieval, task: Recall) -> None:
    """Raises ValueError where questions in front are not global, or a window alone reaches the
    item: each layer takes a token's information window // 2 blocks further, and no more."""
    pattern = config.pattern
    questions = config.items * config.asked
    most = pattern.global_blocks if config.attention == "etc" else pattern.block
    if config.front and config.attention != "full" and questions > most:
        raise ValueError(f"at most {most} questions in front are global here, got {questions}")
    layers = config.encoder.layers
    reach, apart = layers * (pattern.window // 2), (task.far + 1) // pattern.block
    local = config.attention == "sparse" and pattern.random + pattern.global_blocks == 0
    if local and reach >= apart:
        raise ValueError(
            f"{layers} layers of a window of {pattern.window} reach {reach} blocks, and items "
            f"may be {apart} away: the comparison needs a longer text"
        )
