"""A model of several tasks after another's prefix: do the prefix or the fields tell the task?"""

from matplotlib.figure import Figure

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into
from quire.papers.t5.experiments.learner import Net, Rows, Tuning, make_model, write
from quire.papers.t5.experiments.sources import NONSENSE, TEST, Labelled
from quire.papers.t5.procedural import Language
from quire.papers.t5.tasks import Task


class Leakage(Config):
    """Every task's inputs after every task's prefix; nothing is trained."""

    net: Net = Net()
    """The model, as it was trained."""
    labelled: Labelled = Labelled(tasks=("acceptability", "paraphrase", "nli"))
    """Choices of the procedural language, and how many examples are asked."""
    tuning: Tuning = Tuning()
    """Its lengths."""


def leakage(config: Leakage, run: Run) -> Metrics:
    """Scores and whose words are written, as means over pairs of a task and a prefix.

    Raises ValueError for fewer than two tasks, or one that is not such a choice.
    """
    language = Language()
    tasks = choices(config.labelled.tasks, language)
    model = make_model(config.net, language.words, run)
    load_weights_into(run.before("base"), "model", model)
    rows = {
        name: language.rows(name, config.labelled.test, seed=TEST) for name in config.labelled.tasks
    }
    prefixes = {name: task.prefix for name, task in tasks.items()} | {
        "nonsense": NONSENSE,
        "none": "",
    }
    scores: dict[str, dict[str, float]] = {name: {} for name in tasks}
    ours: list[float] = []
    theirs: list[float] = []
    for name, task in tasks.items():
        for other, prefix in prefixes.items():
            examples = task.with_prefix(prefix).examples(rows[name])
            asked = Rows(examples, language.words, config.tuning)
            texts = write(model, asked, language.words, run)
            scores[name][other] = task.evaluate(texts, examples)[next(iter(task.metrics))]
            run.note(f"{name} after '{prefix}': {scores[name][other]:.1f}, such as "
                     f"'{examples[0].inputs}' -> '{texts[0]}'")  # fmt: skip
            if other in tasks and other != name:
                ours.append(share(texts, task))
                theirs.append(share(texts, tasks[other]))
    run.figure("prefixes", draw_scores(scores))
    return {
        "own": mean([scores[name][name] for name in tasks]),
        "foreign": mean([scores[a][b] for a in tasks for b in tasks if a != b]),
        "nonsense": mean([scores[name]["nonsense"] for name in tasks]),
        "bare": mean([scores[name]["none"] for name in tasks]),
        "field_words": mean(ours),
        "prefix_words": mean(theirs),
    }


def choices(names: tuple[str, ...], language: Language) -> dict[str, Task]:
    """Tasks of the language that are a choice between words of their own.

    Raises ValueError for fewer than two, or another task.
    """
    known = {name: task for name, task in language.tasks().items() if task.labels}
    for name in names:
        if name not in known:
            raise ValueError(f"tasks must be some of {', '.join(known)}, got '{name}'")
    if len(set(names)) < 2:
        raise ValueError(f"tasks must be at least two, got {len(set(names))}")
    return {name: known[name] for name in names}


def share(texts: list[str], task: Task) -> float:
    """How many of the texts are answers of this task, %."""
    return 100 * mean([float(task.parse(text) is not None) for text in texts])


def mean(values: list[float]) -> float:
    """Of one number or more."""
    return sum(values) / len(values)


def draw_scores(scores: dict[str, dict[str, float]]) -> Figure:
    """A row for each task's inputs, a column for each prefix."""
    columns = list(next(iter(scores.values())))
    table = [[scores[name][column] for column in columns] for name in scores]
    figure = Figure(figsize=(1.2 * len(columns) + 1.6, 0.6 * len(table) + 1.6),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots()
    shown = axes.imshow(table, cmap="RdBu", vmin=-100, vmax=100, aspect="auto")
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            colour = "white" if abs(value) > 60 else "black"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(columns)), columns, rotation=20)
    axes.set_yticks(range(len(table)), list(scores))
    axes.set(xlabel="prefix", ylabel="inputs of")
    figure.colorbar(shown, label="task's metric, %")
    return figure
