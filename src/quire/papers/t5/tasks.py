"""Tasks as text: what a model reads, what it writes, how that is read back and measured.

A task is a value (`Task`); `published.TASKS` holds the paper's and some more by name. Appendix D of
the paper shows the format: a prefix, then fields as "name: text".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from quire.data.lines import Row, read_json_lines
from quire.papers.t5 import metrics

Metric = Callable[[Sequence[Any], Sequence[Any]], float]
"""(predictions, truths) -> value in %."""


class Example(NamedTuple):
    """One example as text.

    Args:
        inputs: With the task's prefix.
        targets: What is learned; empty where an example is for evaluation alone.
        truth: What a prediction is compared with; None where an example is for training alone, or
            has no label.
    """

    inputs: str
    targets: str
    truth: Any


Floor = Callable[[Sequence[Example]], list[list[str]]]
"""examples -> for each predictor that has learned nothing, what it writes."""


@dataclass(frozen=True)
class Task:
    """A task in the text-to-text form.

    Example:
        >>> from quire.papers.t5.published import TASKS
        >>> row = {"sentence": "They drank the pub.", "label": 0}
        >>> TASKS["cola"].examples([row])[0].inputs
        'cola sentence: They drank the pub.'
        >>> TASKS["cola"].with_prefix("sandwiches are nice").examples([row])[0].inputs
        'sandwiches are nice sentence: They drank the pub.'

    Args:
        name: Its name in `published.TASKS`.
        prefix: Stands first in every input.
        render: (prefix, row) -> examples; none where the row is of no use.
        parse: Text that a model wrote -> prediction, None where it is no answer.
        metrics: By name; the first one is the task's own.
        load: (root) -> rows by part, of `quire.data`; None where the data are not here, and a file
            is read instead (`read`).
        labels: What may be written, where that is a choice.
        floor: examples -> texts of predictors that have learned nothing.
        trains: Whether there may be training on it.
        size: Examples that it counts as in the paper's mixtures; None where it is not in them.
    """

    name: str
    prefix: str
    render: Callable[[str, Row], list[Example]]
    parse: Callable[[str], Any]
    metrics: Mapping[str, Metric]
    load: Callable[[Any], dict[str, list[Row]]] | None = None
    labels: tuple[str, ...] = ()
    floor: Floor | None = None
    trains: bool = True
    size: int | None = None

    def with_prefix(self, prefix: str) -> "Task":
        """The same task after other words, or after none."""
        return replace(self, prefix=prefix)

    def examples(self, rows: Sequence[Row], *, training: bool = False) -> list[Example]:
        """Rows as text.

        training: leave out examples that nothing is learned from.

        Raises ValueError for training on a task that is for evaluation alone, or a row without a
        field.
        """
        if training and not self.trains:
            raise ValueError(f"{self.name} is for evaluation alone: its training part misleads")
        found = []
        for row in rows:
            try:
                found += self.render(self.prefix, row)
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(
                    f"{self.name}: a row lacks {error}, it has {', '.join(map(str, row))}"
                ) from None
        if training:
            return [example for example in found if example.targets]
        return [example for example in found if not example.targets or example.truth is not None]

    def parts(self, root: Any = None) -> dict[str, list[Example]]:
        """The examples of the shipped data by part: "train", "dev", "test" as far as there are.

        Raises DataMissing, and ValueError for a task whose data have to be read from files.
        """
        if self.load is None:
            raise ValueError(
                f"quire.data has no {self.name}: read JSON lines of its published fields with read"
            )
        return {
            part: self.examples(rows, training=part == "train")
            for part, rows in self.load(root).items()
        }

    def read(self, path: str | Path, *, training: bool = False) -> list[Example]:
        """Examples of a file of JSON lines with the published fields, plain, .gz or .xz.

        Raises ValueError for a bad file or row.
        """
        return self.examples(read_json_lines(Path(path), {}), training=training)

    def evaluate(self, texts: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Every metric, in %, of what a model wrote for the examples; `invalid` is the share of
        texts that are no answer.

        Raises ValueError where there are not as many texts as examples, or none.
        """
        predictions = [self.parse(text) for text in texts]
        truths = [example.truth for example in examples]
        values = {name: metric(predictions, truths) for name, metric in self.metrics.items()}
        return values | {"invalid": 100 * sum(p is None for p in predictions) / len(truths)}

    def floors(self, examples: Sequence[Example]) -> dict[str, float]:
        """Of each metric the most that a predictor without learning has on these examples.

        Of a choice that is the best label written always; one is known only afterwards, so that the
        floor is rather too high.
        """
        found = [self.evaluate(texts, examples) for texts in (self.floor or _silent)(examples)]
        return {name: max(scores[name] for scores in found) for name in self.metrics}


def fields(prefix: str, pairs: Mapping[str, str]) -> str:
    """A prefix and the fields after it, as "name: text"."""
    return " ".join([*([prefix] if prefix else []), *(f"{k}: {v}" for k, v in pairs.items())])


def choose(
    names: Mapping[str, str], labels: Mapping[Any, str], key: str = "label"
) -> Callable[[str, Row], list[Example]]:
    """Rendering of a choice: fields of the row, in this order, and the label as a word.

    Args:
        names: Name in the text -> field of the row.
        labels: The row's label -> word; a word by itself is taken, too.
        key: The label's field.
    """
    order = tuple(dict.fromkeys(labels.values()))

    def render(prefix: str, row: Row) -> list[Example]:
        text = fields(prefix, {name: str(row[field]) for name, field in names.items()})
        given = row.get(key)
        if given is None:  # an unlabelled row
            return [Example(text, "", None)]
        word = given if given in order else labels[given]
        return [Example(text, word, order.index(word))]

    return render


def one_of(*labels: str) -> Callable[[str], int | None]:
    """Parsing of a choice: the label's number, None for any other text."""
    numbers = {label: number for number, label in enumerate(labels)}
    return lambda text: numbers.get(text.strip())


def score_text(score: float) -> str:
    """A score of STS-B as text: to the nearest 0.2, one decimal.

    Example:
        >>> score_text(2.57)
        '2.6'
    """
    return f"{round(score * 5) / 5:.1f}"


def parse_score(text: str) -> float | None:
    """A number between 0 and 5, None for any other text.

    Example:
        >>> parse_score("2.6"), parse_score("7.0"), parse_score("nan"), parse_score("two")
        (2.6, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 5.0 else None


def mark_pronoun(text: str, index: int | None, pronoun: str) -> str:
    """The text of a Winograd schema with asterisks around the pronoun, by its place among words.

    A published place may be off by one; None takes the pronoun's first place.

    Example:
        >>> mark_pronoun("Ann saw Bea and she waved.", 4, "she")
        'Ann saw Bea and *she* waved.'

    Raises ValueError where the pronoun does not stand there.
    """
    words = text.split()
    form = re.compile(rf"{re.escape(pronoun)}(?!\w)", re.IGNORECASE)
    for at in range(len(words)) if index is None else (index, index + 1, index - 1):
        if 0 <= at < len(words) and (found := form.match(words[at])):
            words[at] = f"*{found[0]}*{words[at][found.end() :]}"
            return " ".join(words)
    where = "a word" if index is None else f"word {index}"
    raise ValueError(f"{where} of {text[:40]!r}... should be {pronoun!r}")


DETERMINERS = frozenset(
    ["a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that",
     "the", "their", "these", "this", "those", "which", "whose", "your"]
)  # fmt: skip


def same_referent(prediction: str, referent: str) -> bool:
    """Whether two noun phrases can be of the same thing: the words of one are among the other's.

    Lower case, without determiners; an apostrophe in one of them alone decides against it.

    Example:
        >>> same_referent("fuzzy bunny", "The bunny"), same_referent("bunny's", "bunny")
        (True, False)
    """
    words = [
        [word for word in text.strip().lower().split(" ") if word and word not in DETERMINERS]
        for text in (prediction, referent)
    ]
    if not words[0]:
        return False
    if any("'" in word for word in words[0]) != any("'" in word for word in words[1]):
        return False
    first, second = map(set, words)
    return first <= second or second <= first


def referents(predictions: Sequence[str], truths: Sequence[tuple[str, bool]]) -> float:
    """Accuracy of a Winograd schema: whether the named referent is the asked one, against truth."""
    found = [
        same_referent(prediction, referent)
        for prediction, (referent, _) in zip(predictions, truths, strict=True)
    ]
    return metrics.accuracy(found, [label for _, label in truths])


def constants(*texts: str) -> Floor:
    """Predictors that always write one of these."""
    return lambda examples: [[text] * len(examples) for text in texts]


_silent = constants("")


def first_sentence(examples: Sequence[Example]) -> list[list[str]]:
    """The first sentence or line of each text, its prefix left out (lead-1)."""
    (bodies,) = copy_input(examples)
    return [[re.split(r"(?<=[.!?])\s|\n", body, maxsplit=1)[0] for body in bodies]]


def copy_input(examples: Sequence[Example]) -> list[list[str]]:
    """Each input without what stands before its first ": "."""
    return [[example.inputs.split(": ", 1)[-1] for example in examples]]
