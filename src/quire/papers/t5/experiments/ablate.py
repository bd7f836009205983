"""One factor of the study: all its rows in turn, as the paper's table, beside the paper's numbers.

`quire run t5/ablate --factor objective`. Rows share what they can: one pre-training serves every
row that fine-tunes it otherwise. From a baseline that is not the paper's its sizes follow in
proportion, so that "half the layers" is half of yours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from pydantic import PositiveFloat

from quire.data import DataMissing
from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into, save_weights
from quire.papers.t5.experiments.finetune import prepare
from quire.papers.t5.experiments.learner import (
    Net,
    Noise,
    Rows,
    Schedule,
    Tuning,
    learn_task,
    make_model,
    pretrain_model,
    write,
)
from quire.papers.t5.experiments.multitask import Mix, Multitask, select, train_mixture
from quire.papers.t5.experiments.rows import COLUMNS, ROWS, TASKS, Row
from quire.papers.t5.experiments.sources import (
    Labelled,
    Part,
    Source,
    Text,
    read_store,
    read_tasks,
    read_text,
)
from quire.papers.t5.model import T5

Factor = Literal[
    "baseline", "architecture", "objective", "rate", "span", "corpus", "repetition", "tuning",
    "mixing", "multitask", "scaling", "final",
]  # fmt: skip


class Ablate(Config):
    """A factor of the study. Without `row` all its rows are carried out."""

    factor: Factor = "objective"
    """Which table: 1, 2, 4 and 5, 6, 7, 8, 9, 10, 11, 12, 13, or 14 and 15."""
    row: str = ""
    """Only this row of it; its columns are then the metrics."""
    net: Net = Net()
    """The baseline's model."""
    schedule: Schedule = Schedule()
    """Its pre-training."""
    tuning: Tuning = Tuning()
    """Its fine-tuning."""
    text: Text = Text()
    """Raw text where there is no folder."""
    labelled: Labelled = Labelled()
    """The tasks; those of the paper's columns where `published`."""
    shares: tuple[PositiveFloat, ...] = ()
    """Rows of each task over `rows` where the factor is mixing; none gives each as many."""
    published: bool = False
    """Whether the columns are the paper's seven; else each task is one."""
    folder: Path | None = None
    """With <corpus>/vocabulary.json and <corpus>/tokens, as t5/corpus keeps them."""


def ablate(config: Ablate, run: Run) -> Metrics:
    """The mean of each row, or the columns of one; the table is kept as text and as a figure."""
    rows = ROWS[config.factor]
    if config.row:
        if config.row not in rows:
            raise ValueError(f"row must be one of {', '.join(rows)}, got '{config.row}'")
        rows = {config.row: rows[config.row]}
    if config.factor == "corpus" and not config.published:
        raise ValueError("corpus compares texts of the user's own: it takes --published --folder")
    rows = {name: in_proportion(row, config) for name, row in rows.items()}
    done: set[str] = set()
    scores = {name: carry_out(name, row, config, run, done) for name, row in rows.items()}
    show_table(scores, rows, config, run)
    if config.row:
        return scores[config.row]
    return {name: sum(found.values()) / len(found) for name, found in scores.items()}


# One row


def in_proportion(row: Row, config: Ablate) -> Row:
    """The row with the paper's sizes, adapters and K in proportion to another baseline.

    Sizes follow the baseline's, adapters its width; K is to the largest task as to 2^21 examples.
    """
    paper = Net()
    net = {
        key: value if key == "architecture" else
        max(1, round(getattr(config.net, key) * value / getattr(paper, key)))
        for key, value in row.net.items()
    }  # fmt: skip
    mix = dict(row.mix)
    if "limit" in mix and not config.published:
        mix["limit"] = max(1, round(mix["limit"] * config.labelled.rows / 2**21))
    adapter = max(1, round(row.adapter * config.net.dim / paper.dim))
    return row._replace(net=net, mix=mix, adapter=adapter)


def carry_out(name: str, row: Row, config: Ablate, run: Run, done: set[str]) -> Metrics:
    """The columns of a row.

    Args:
        name: Its name.
        row: What it changes.
        config: The baseline.
        run: The run.
        done: Pre-trainings that are there to share.
    """
    columns = TASKS if config.published else {task: (task,) for task in config.labelled.tasks}
    wanted = tuple(task for tasks in columns.values() for task in tasks)
    labelled = config.labelled.model_copy(update={"tasks": wanted})
    parts = read_tasks(labelled, run)
    if config.factor == "mixing":
        parts = select(parts, Multitask(shares=config.shares))
    source = read_source(row, config, run)
    if row.method == "without_then_all":
        scores: Metrics = {}
        for column, tasks in columns.items():
            rest = {task: part for task, part in parts.items() if task not in tasks}
            asked = {task: parts[task] for task in tasks}
            scores |= learn(
                f"{name}-{column}", row, config, run, source, asked, first=rest, done=done
            )
    else:
        scores = learn(name, row, config, run, source, parts, first=parts, done=done)
    return {
        column: sum(scores[task] for task in tasks) / len(tasks)
        for column, tasks in columns.items()
    }


def learn(
    name: str, row: Row, config: Ablate, run: Run, source: Source, parts: dict[str, Part], *,
    first: dict[str, Part],
    done: set[str],
) -> Metrics:  # fmt: skip
    """Each task's score on its test part.

    Args:
        name: Of the loops.
        row: What is changed.
        config: The baseline.
        run: The run.
        source: Vocabulary and text.
        parts: The tasks that are scored.
        first: Those of the mixture, where there is one.
        done: Pre-trainings that are there to share.
    """
    net = config.net.model_copy(update=row.net)
    models = []
    for member in range(row.members):
        model = make_model(net, source.coder, run)
        if not row.skip:
            begin(model, row, config, run, source, member if row.separate else 0, done)
        models.append(model)
    if row.method.startswith(("mixture", "without")):
        tuning = config.tuning
        if row.skip:  # the mixture is the pre-training
            tuning = tuning.model_copy(update={"steps": config.schedule.steps})
        found = train_mixture(models[0], first, source, Mix(**row.mix), tuning, run,
                              name=f"{name}-mixture", noise=Noise(**row.noise))  # fmt: skip
        if row.method == "mixture":
            return found
    starts = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    scores = {}
    for task, part in parts.items():
        for number, (model, start) in enumerate(zip(models, starts, strict=True)):
            model.load_state_dict(start)
            models[number] = tune(model, row, part, source, config, run,
                                  name=f"{name}-{task}-{number}")  # fmt: skip
        scores[task] = vote(models, part, source, config, run)
        if row.method == "adapters":  # they were put into this one
            models = [make_model(net, source.coder, run) for _ in models]
    return scores


def begin(
    model: T5,
    row: Row,
    config: Ablate,
    run: Run,
    source: Source,
    member: int,
    done: set[str],
) -> None:
    """Pre-train, or take the weights of the row before that was pre-trained alike.

    Args:
        model: Gets the weights.
        row: Its net, objective, text and schedule decide.
        config: The baseline.
        run: Keeps the weights.
        source: Vocabulary and text.
        member: Number of the model in its ensemble.
        done: Keys of those that are there.
    """
    unlike = (row.net, row.noise, row.schedule, row.repeats, row.corpus, member)
    key = "-".join(str(part) for part in flat(unlike))
    if key not in done:
        schedule = config.schedule.model_copy(update={
            "steps": config.schedule.steps * row.schedule[0],
            "batch_size": config.schedule.batch_size * row.schedule[1],
        })  # fmt: skip
        noise = Noise(**row.noise)
        seen = schedule.steps * schedule.batch_size * noise.raw(schedule.length)
        tokens = max(seen // row.repeats, noise.raw(schedule.length)) if row.repeats else 0
        pretrain_model(model, source, noise, schedule, run, tokens=tokens, name=f"pre-{key}")
        save_weights(run.directory, key, model)
        done.add(key)
    load_weights_into(run.directory, key, model)


def flat(value: Any) -> list[str]:
    """What stands in tuples and dicts, one after the other."""
    if isinstance(value, Mapping):
        return [text for key in value for text in (key, *flat(value[key]))]
    if isinstance(value, tuple):
        return [text for part in value for text in flat(part)]
    return [str(value)]


def tune(
    model: T5, row: Row, part: Part, source: Source, config: Ablate, run: Run, *, name: str
) -> T5:
    """The model fine-tuned on one task by the row's method."""
    method: Any = row.method if row.method in ("adapters", "gradual") else "all"
    thaw = prepare(model, method, config.tuning, adapter=row.adapter)
    learn_task(model, part, source.coder, config.tuning, run, name=name, before_step=thaw)
    return model


def vote(models: list[T5], part: Part, source: Source, config: Ablate, run: Run) -> float:
    """The score of all models together; the first metric for SQuAD and summaries, else the mean."""
    rows = Rows(part.test, source.coder, config.tuning)
    texts = write(models, rows, source.coder, run)
    found = part.task.evaluate(texts, part.test)
    names = list(part.task.metrics)
    names = names[:1] if part.task.name in ("squad", "cnn_dailymail") else names
    return sum(found[name] for name in names) / len(names)


def read_source(row: Row, config: Ablate, run: Run) -> Source:
    """Vocabulary and text of a row. Raises DataMissing where the user's folder lacks its corpus."""
    if not config.published:
        return read_text(config.text, run)
    folder = (config.folder or Path()).expanduser() / row.corpus
    if config.folder is None or not (folder / "vocabulary.json").is_file():
        raise DataMissing(f"no data: {folder} is put there by hand, vocabulary.json and tokens as "
                          "a run of t5/corpus on the user's own shards keeps them; name the folder "
                          "with --folder")  # fmt: skip
    return read_store(folder)


# The table


def show_table(
    scores: Mapping[str, Metrics], rows: Mapping[str, Row], config: Ablate, run: Run
) -> None:
    """Write table.md, the log and a figure: what was found, then the paper's columns.

    Args:
        scores: Row -> columns.
        rows: The paper's numbers.
        config: The baseline.
        run: Where it is kept.
    """
    own = list(next(iter(scores.values())))
    head = [config.factor, *own, "mean", *(f"paper {name}" for name in COLUMNS)]
    body = [
        [name, *(f"{v:.1f}" for v in found.values()),
         f"{sum(found.values()) / len(found):.1f}",
         *("" if v is None else f"{v:.2f}" for v in rows[name].paper)]
        for name, found in scores.items()
    ]  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    (run.directory / "table.md").write_text("\n".join(lines) + "\n")
    for line in lines:
        run.note(line)
    run.figure("table", draw_table(head, body))


def draw_table(head: list[str], body: list[list[str]]) -> Figure:
    """The table as a picture."""
    figure = Figure(figsize=(1.05 * len(head), 0.4 * (len(body) + 2)), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    labels = [text.replace("paper ", "paper\n") for text in head]
    table = axes.table(cellText=body, colLabels=labels, loc="center", cellLoc="right")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (line, _), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        cell.set_height(cell.get_height() * (2.0 if line == 0 else 1.2))
    return figure
