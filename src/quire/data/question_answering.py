"""Short stories, a question about each, an answer of one word: the form of the bAbI tasks.

N questions, F facts a story, W words a sentence. Word 0 is padding.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PADDING = "<pad>"


class Stories(NamedTuple):
    """Questions about stories, as indices into a vocabulary; 0 is padding.

    Args:
        story: (N, F, W) int64, the facts before the question, oldest first, then padding.
        question: (N, W') int64.
        answer: (N,) int64.
        task: (N,) int64, 1..20.
    """

    story: NDArray[np.int64]
    question: NDArray[np.int64]
    answer: NDArray[np.int64]
    task: NDArray[np.int64]


class Babi(NamedTuple):
    """Three parts with the same F, W and W', and the words that the indices stand for.

    Args:
        train: To train on.
        valid: To choose settings by.
        test: To report.
        vocabulary: The word of each index; 0 is padding.
    """

    train: Stories
    valid: Stories
    test: Stories
    vocabulary: tuple[str, ...]


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
