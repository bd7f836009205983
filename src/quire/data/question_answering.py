"""The bAbI tasks: short stories, a question about each, an answer of one word.

N questions, F facts a story, W words a sentence. Word 0 is padding.
"""

import logging
import lzma
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.data import store

PADDING = "<pad>"


class Stories(NamedTuple):
    """Questions about stories, as indices into a vocabulary; 0 is padding.

    story: (N, F, W) int64, the facts before the question, oldest first, then padding.
    question: (N, W') int64. answer: (N,) int64. task: (N,) int64, 1..20.
    """

    story: NDArray[np.int64]
    question: NDArray[np.int64]
    answer: NDArray[np.int64]
    task: NDArray[np.int64]


class Babi(NamedTuple):
    """Three parts with the same F, W and W', and the words that the indices stand for."""

    train: Stories
    valid: Stories
    test: Stories
    vocabulary: tuple[str, ...]


def babi(
    root: str | os.PathLike[str] | None = None,
    *,
    tasks: Iterable[int] = range(1, 21),
    max_facts: int = 70,
) -> Babi:
    """The bAbI question-answering tasks v1.2, 10k version with validation part.

    tasks: numbers 1..20. max_facts: the most recent facts kept of a story. Text is lower-cased,
    full stops and question marks are dropped, an answer is one word even with commas ("n,w");
    supporting facts are not used. About 9,000 training, 1,000 validation and 1,000 test questions
    a task. Where the 10k training part of task 3 is missing, its 1k version (about 900) is used: do
    not report a 10k result then.

    Raises DataMissing if a file is not under root, ValueError for an unknown task or a bad line.
    """
    chosen = sorted(set(tasks))
    if not chosen or not set(chosen) <= set(range(1, 21)):
        raise ValueError(f"tasks must be numbers in 1..20, got {chosen}")
    if max_facts < 1:
        raise ValueError(f"max_facts must be at least 1, got {max_facts}")
    paths = {path.name.removesuffix(".xz"): path for path in store.files("babi", root)}
    if 3 in chosen and paths["qa3_train.txt"].parent.name == "en-valid":
        logging.getLogger(__name__).warning(
            "babi: task 3 is trained on its 1k version, en-valid-10k/qa3_train.txt is absent"
        )
    table = SentenceTable()
    parts = {
        part: [
            (task, *example)
            for task in chosen
            for example in _examples(paths[f"qa{task}_{part}.txt"], table, max_facts)
        ]
        for part in ("train", "valid", "test")
    }
    return table.pack(parts)


Example = tuple[int, list[int], int, str]
"""Task, sentence numbers of the facts, sentence number of the question, answer."""


class SentenceTable:
    """Each distinct sentence once, so that a story is a list of numbers until the very end."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, sentence: str) -> int:
        return self.numbers.setdefault(sentence, len(self.numbers) + 1)

    def pack(
        self, parts: dict[str, list[Example]], *, words: Iterable[str] = (), facts: int = 1
    ) -> Babi:
        """The parts "train", "valid" and "test" as arrays with one vocabulary.

        The vocabulary is in alphabetical order and holds at least `words`; a story has room for at
        least `facts` facts.
        """
        sentences = [_words(sentence) for sentence in self.numbers]
        answers = {example[3] for part in parts.values() for example in part}
        vocabulary = (PADDING, *sorted(answers.union(words, *sentences)))
        index = {word: position for position, word in enumerate(vocabulary)}
        width = max(map(len, sentences))
        lookup = np.zeros((len(sentences) + 1, width), np.int64)
        for row, sentence in enumerate(sentences, start=1):
            lookup[row, : len(sentence)] = [index[word] for word in sentence]
        facts = max(facts, max(len(example[1]) for part in parts.values() for example in part))
        asked = {example[2] for part in parts.values() for example in part}
        told = {fact for part in parts.values() for example in part for fact in example[1]}
        question_width = max(len(sentences[number - 1]) for number in asked)
        fact_width = max((len(sentences[number - 1]) for number in told), default=1)

        def stories(examples: list[Example]) -> Stories:
            numbers = np.zeros((len(examples), facts), np.int64)
            for row, example in enumerate(examples):
                numbers[row, : len(example[1])] = example[1]
            return Stories(
                story=np.take(lookup[:, :fact_width].copy(), numbers, axis=0),
                question=lookup[[example[2] for example in examples], :question_width],
                answer=np.array([index[example[3]] for example in examples], np.int64),
                task=np.array([example[0] for example in examples], np.int64),
            )

        return Babi(
            stories(parts["train"]), stories(parts["valid"]), stories(parts["test"]), vocabulary
        )


def _words(sentence: str) -> list[str]:
    return re.sub(r"[.?]", " ", sentence.lower()).split()


def _examples(
    path: Path, table: SentenceTable, max_facts: int
) -> Iterator[tuple[list[int], int, str]]:
    """The questions of one file, each with the facts that stand before it in its story."""
    facts: list[int] = []
    try:
        content = path.read_bytes()
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"babi: {path} is not a whole text file ({error})") from error
    if "\t" not in text:
        raise ValueError(f"babi: {path} holds no question")
    for position, line in enumerate(text.splitlines(), start=1):
        identifier, _, rest = line.partition(" ")
        sentence, *columns = rest.split("\t")
        answer = columns[0].strip().lower() if columns else ""
        if not identifier.isdigit() or not sentence.strip() or bool(columns) != bool(answer):
            raise ValueError(
                f"babi: {path}, line {position}: expected a number, a sentence and, after a "
                f"question, a tab and an answer, got {line!r}"
            )
        if identifier == "1":
            facts = []
        if answer:
            yield facts[-max_facts:], table.number(sentence), answer
        else:
            facts.append(table.number(sentence))
