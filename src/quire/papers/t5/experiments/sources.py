"""Where texts and examples come from: the grammar, quire's data, or the user's files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator

from quire.data import DataMissing
from quire.lab import Run
from quire.lab.config import Group
from quire.lab.errors import unknown
from quire.papers.t5.objectives import Ids
from quire.papers.t5.procedural import Language, Words
from quire.papers.t5.published import TASKS
from quire.papers.t5.store import TokenStore
from quire.papers.t5.tasks import Example, Task
from quire.papers.t5.vocabulary import Vocabulary

TEST = 1_000_003
"""Seed of what is held out; rows to train on have the run's own."""
NONSENSE = "sandwiches are nice"

Prefix = Literal["own", "nonsense", "none", "swapped"]


class Coder(Protocol):
    """A vocabulary: `Words` of the language or pieces of real text."""

    ids: Ids

    def encode(self, texts: Sequence[str], /) -> list[list[int]]: ...

    def decode(self, rows: Iterable[Sequence[int]], /) -> list[str]: ...


class Text(Group):
    """Raw text to pre-train on."""

    kind: Literal["procedural", "stored"] = "procedural"
    """Sentences of the grammar, or what the run called `text` has stored."""
    documents: PositiveInt = 30_000
    """Documents that the grammar makes."""
    distinct: NonNegativeInt = 0
    """Documents that are repeated again and again among the others; 0 repeats none."""
    share: NonNegativeFloat = 0.5
    """Share of documents that are one of those."""


class Source(NamedTuple):
    """A vocabulary, and tokens to train on and to hold out."""

    coder: Coder
    stream: NDArray[np.integer[Any]]
    held_out: NDArray[np.integer[Any]]


def read_text(text: Text, run: Run) -> Source:
    """The text of a pre-training."""
    if text.kind == "stored":
        return read_store(run.before("text") / "kept")
    language = Language()
    documents = language.documents(
        text.documents, seed=run.seed, distinct=text.distinct or None, share=text.share
    )
    held_out = language.documents(max(100, text.documents // 50), seed=TEST)
    return Source(language.words, _stream(language.words, documents),
                  _stream(language.words, held_out))  # fmt: skip


def read_store(folder: Path) -> Source:
    """What t5/corpus keeps in a folder; the last 5 % of its documents are held out."""
    train, rest = TokenStore(folder / "tokens").split(0.95, 0.05)
    return Source(Vocabulary.load(folder / "vocabulary.json"), train.stream, rest.stream)


def stored_vocabulary(run: Run) -> Vocabulary:
    """The pieces that the run called `text` has learned."""
    return Vocabulary.load(run.before("text") / "kept" / "vocabulary.json")


def _stream(words: Words, documents: Sequence[str]) -> NDArray[np.int32]:
    return np.array([i for row in words.encode(documents) for i in row], np.int32)


class Part(NamedTuple):
    """Examples of one task: to train on, to choose a checkpoint with, to test."""

    task: Task
    train: list[Example]
    dev: list[Example]
    test: list[Example]


class Labelled(Group):
    """Examples of the tasks."""

    tasks: tuple[str, ...] = ("acceptability", "paraphrase", "nli", "qa")
    """Names: of the procedural language or of `published.TASKS`."""
    rows: PositiveInt = 256
    """Examples to train on, of each task; fewer where there are not as many."""
    dev: PositiveInt = 200
    """Examples that choose the checkpoint."""
    test: PositiveInt = 1000
    """Examples of the score."""
    prefix: Prefix = "own"
    """What stands before each input: the task's own words, nonsense, nothing, or another task's."""
    files: Path | None = None
    """Folder with <task>/train.jsonl and dev.jsonl of the published fields, for what quire has not;
    the dev part is the test, as in the paper."""

    @field_validator("tasks")
    @classmethod
    def _are_known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        known = {*Language().tasks(), *TASKS}
        for name in tasks:
            if name not in known:
                raise ValueError(str(unknown("task", name, known)))
        return tasks


def read_tasks(labelled: Labelled, run: Run) -> dict[str, Part]:
    """The parts of each task, prefixes put as asked. Raises DataMissing for files not here."""
    known = Language().tasks()
    found = {}
    for name in labelled.tasks:
        task = known[name] if name in known else TASKS[name]
        other = "qa" if name == "nli" else "nli"
        prefixes = {"own": task.prefix, "nonsense": NONSENSE, "none": "", "swapped": other}
        task = task.with_prefix(prefixes[labelled.prefix])
        read: Callable[..., Part] = _procedural if name in known else _real
        found[name] = read(task, labelled, run)
    return found


def _procedural(task: Task, labelled: Labelled, run: Run) -> Part:
    language = Language()
    seeds = (run.seed, TEST - 1, TEST)
    counts = (labelled.rows, labelled.dev, labelled.test)
    parts = [
        task.examples(language.rows(task.name, count, seed=seed))
        for count, seed in zip(counts, seeds, strict=True)
    ]
    return Part(task, *parts)


def _real(task: Task, labelled: Labelled, run: Run) -> Part:
    """Training rows in a random order; the last of them choose where there is no dev part."""
    if task.load is None:
        parts = _from_files(task, labelled.files)
    else:
        parts = {name: list(examples) for name, examples in task.parts(run.data).items()}
    train, order = parts["train"], np.random.default_rng([run.seed, 7])
    train = [train[i] for i in order.permutation(len(train))]
    rest = train[labelled.rows :] or train
    if "test" in parts and "dev" in parts:
        dev, test = parts["dev"], parts["test"]
    else:
        dev, test = [e for e in rest if e.truth is not None], parts.get("test") or parts["dev"]
    return Part(task, train[: labelled.rows], dev[: labelled.dev], test[: labelled.test])


def _from_files(task: Task, folder: Path | None) -> dict[str, list[Example]]:
    root = Path(folder or ".") / task.name
    paths = {part: root / f"{part}.jsonl" for part in ("train", "dev")}
    for path in paths.values():
        if folder is None or not path.is_file():
            raise DataMissing(f"{task.name} is not part of quire's data: {path} is put there by "
                              "hand, JSON lines with the published fields")  # fmt: skip
    return {part: task.read(path, training=part == "train") for part, path in paths.items()}
