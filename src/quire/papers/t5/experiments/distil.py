"""What a small model of any architecture learns from the texts that a large one writes."""

from typing import Literal

from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into
from quire.papers.t5.experiments.learner import (
    Net,
    Rows,
    Tuning,
    count_products,
    learn_task,
    make_model,
    write,
)
from quire.papers.t5.experiments.sources import Labelled, Part, read_tasks
from quire.papers.t5.procedural import Language


class Distil(Config):
    """A teacher is fine-tuned on few examples; a student without pre-training learns from it."""

    net: Net = Net()
    """The teacher, as it was pre-trained."""
    student: Net = Net()
    """What learns from it."""
    learns_from: Literal["rows", "teacher", "truth"] = "teacher"
    """The teacher's few examples, or many with the teacher's answers, or with the true ones."""
    labelled: Labelled = Labelled()
    """The task, the first of its list, and the examples of the teacher."""
    many: PositiveInt = 20_000
    """Examples of which the student sees the teacher's answers."""
    tuning: Tuning = Tuning()
    """The teacher's steps and rate."""
    student_tuning: Tuning = Tuning()
    """The student's."""


def distil(config: Distil, run: Run) -> Metrics:
    """The teacher's score, the student's, and how much work each is.

    Sequence-level distillation: the student sees texts alone, so that its architecture is free.
    """
    coder = Language().words
    (part,) = list(read_tasks(config.labelled, run).values())[:1]
    many = config.labelled.model_copy(update={"rows": config.many})
    wide = read_tasks(many, run)[part.task.name].train
    teacher = make_model(config.net, coder, run)
    load_weights_into(run.before("base"), "model", teacher)
    found = learn_task(teacher, part, coder, config.tuning, run, name="teacher")
    shown = part.train if config.learns_from == "rows" else wide
    if config.learns_from == "teacher":
        answers = write(teacher, Rows(wide, coder, config.tuning), coder, run)
        shown = [e._replace(targets=text) for e, text in zip(wide, answers, strict=True)]
    student = make_model(config.student, coder, run)
    learned = learn_task(student, Part(part.task, shown, part.dev, part.test), coder,
                         config.student_tuning, run, name="student")  # fmt: skip
    main = next(iter(part.task.metrics))
    rows = Rows(part.test, coder, config.tuning)
    sizes = (rows.inputs.shape[1], rows.targets.shape[1], coder.ids.size)
    return {
        "teacher": found[main],
        "student": learned[main],
        "work": 100 * count_products(config.student, *sizes) / count_products(config.net, *sizes),
    }
