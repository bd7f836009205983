"""A language that a grammar makes, with tasks of its own: everything is known of it.

Its documents tell facts of named people twice, in two orders, and say what creatures do. To fill a
gap one copies from the other order, or knows which creatures do what, in which number, and what
kind they are. No word shows this: number, kind and class are learned from the text or not at all.
The tasks ask for just that. Labels are balanced; `Task.floors` says what has been learned nowhere.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from quire.data.lines import Row
from quire.papers.t5 import metrics as m
from quire.papers.t5.objectives import Ids
from quire.papers.t5.tasks import (
    Example,
    Metric,
    Task,
    choose,
    constants,
    copy_input,
    fields,
    first_sentence,
    one_of,
    parse_score,
    score_text,
)

KINDS = ("fish", "birds", "trees", "tools", "stars", "songs", "games", "rocks")
"""Words for the kinds of creatures; each kind does what its own verbs say."""
COLOURS = ("red", "blue", "green", "black", "white", "brown", "pink", "grey")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
LETTERS = tuple("bcdefghijklmnopq")
"""Without the article, which SQuAD's normalisation drops."""
FIXED_WORDS = tuple(
    """the near is are all some lives in has and of . : question context sentence sentence1
    sentence2 premise hypothesis where what colour acceptability paraphrase nli qa similarity
    reverse headline sandwiches nice text equivalent different entailment not_entailment
    acceptable unacceptable""".split()  # noqa: SIM905
)
SCORES = tuple(score_text(number / 5) for number in range(26))


@dataclass(frozen=True)
class Creature:
    """A noun in both numbers, and its kind."""

    one: str
    many: str
    kind: int


@dataclass(frozen=True)
class Person:
    """A name and what is said of it: a colour and a place; in headlines a number of creatures."""

    name: str
    colour: str
    place: str
    number: str
    thing: str


@dataclass(frozen=True)
class Language:
    """The grammar and its words; the same seed gives the same language.

    Example:
        >>> language = Language()
        >>> text = language.documents(1, seed=0)[0]
        >>> language.words.decode(language.words.encode([text])) == [text]
        True

    Args:
        seed: Which words stand for what.
        creatures: Of each kind, each with a word for one and a word for many.
        verbs: Of each kind, likewise; those of one kind mean the same.
        names: Of people.
        places: Where people live.
        attractor: Share of sentences with a second creature between subject and verb.
    """

    seed: int = 0
    creatures: int = 6
    verbs: int = 3
    names: int = 16
    places: int = 8
    attractor: float = 0.3

    @cached_property
    def _coined(self) -> list[str]:
        """Made-up words, all different, in random order."""
        generator = random.Random(f"words {self.seed}")
        parts = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
        words = [a + b for a in parts for b in parts]
        generator.shuffle(words)
        wanted = 2 * len(KINDS) * (self.creatures + self.verbs) + self.names + self.places
        if not 1 <= wanted <= len(words):
            raise ValueError(f"a language has up to {len(words)} coined words, got {wanted}")
        return words[:wanted]

    @cached_property
    def nouns(self) -> list[Creature]:
        """All creatures, kind by kind."""
        count = self.creatures
        words = self._coined[: 2 * len(KINDS) * count]
        pairs = list(zip(words[::2], words[1::2], strict=True))
        return [Creature(*pair, number // count) for number, pair in enumerate(pairs)]

    @cached_property
    def actions(self) -> list[list[tuple[str, str]]]:
        """For each kind its verbs: (of one, of many)."""
        begin = 2 * len(KINDS) * self.creatures
        words = self._coined[begin : begin + 2 * len(KINDS) * self.verbs]
        pairs = list(zip(words[::2], words[1::2], strict=True))
        return [pairs[k * self.verbs : (k + 1) * self.verbs] for k in range(len(KINDS))]

    @cached_property
    def people(self) -> list[str]:
        """Names."""
        return self._coined[-self.names - self.places : -self.places]

    @cached_property
    def towns(self) -> list[str]:
        """Places."""
        return self._coined[-self.places :]

    @cached_property
    def words(self) -> "Words":
        """The vocabulary: all words of the texts and of the tasks."""
        fixed = (*FIXED_WORDS, *KINDS, *COLOURS, *NUMBERS, *LETTERS, *SCORES)
        return Words((*fixed, *self._coined))

    # Text

    def clause(self, generator: random.Random, *, fault: str | None = None) -> str:
        """What a creature does: "the <noun> [near the <noun>] <verb>".

        fault: "number" gives the verb the wrong number, "kind" a verb of another kind.
        """
        noun = generator.choice(self.nouns)
        plural = generator.random() < 0.5
        kind = noun.kind
        if fault == "kind":
            kind = (kind + generator.randrange(1, len(KINDS))) % len(KINDS)
        verb = generator.choice(self.actions[kind])[plural ^ (fault == "number")]
        between = ""
        if generator.random() < self.attractor:
            other = generator.choice(self.nouns)
            # It is of the other number, so that the nearest noun is no guide.
            between = f"near the {other.one if plural else other.many} "
        return f"the {noun.many if plural else noun.one} {between}{verb}"

    def fact(self, generator: random.Random) -> str:
        """Of what kind a creature is: "all <nouns> are <kind>"."""
        noun = generator.choice(self.nouns)
        return f"all {noun.many} are {KINDS[noun.kind]}"

    def person(self, generator: random.Random, name: str) -> Person:
        """Someone with random properties."""
        number = generator.randrange(len(NUMBERS))
        noun = generator.choice(self.nouns)
        thing = noun.many if number else noun.one
        place = generator.choice(self.towns)
        return Person(name, generator.choice(COLOURS), place, NUMBERS[number], thing)

    def document(self, generator: random.Random) -> str:
        """Two people, each fact of theirs once in each order, among clauses and facts of kinds."""
        people = [self.person(generator, name) for name in generator.sample(self.people, 2)]
        orders = [(says, p, generator.randrange(2)) for p in people for says in SAYINGS]
        first = [says[order](p) for says, p, order in orders]
        second = [says[1 - order](p) for says, p, order in orders]
        generator.shuffle(first)
        generator.shuffle(second)
        others = [
            self.clause(generator) if generator.random() < 0.5 else self.fact(generator)
            for _ in range(4)
        ]
        sentences = [*first, *others[:2], *second, *others[2:]]
        return " . ".join(sentences) + " ."

    def documents(
        self, count: int, *, seed: int, distinct: int | None = None, share: float = 1.0
    ) -> list[str]:
        """Texts that follow from language and seed.

        Args:
            count: How many.
            seed: Of the texts.
            distinct: With it, a `share` of the texts are one of so many, again and again.
            share: Of texts that are repeated.
        """
        generator = random.Random(f"documents {self.seed} {seed}")
        few = [self.document(generator) for _ in range(distinct or 0)]
        return [
            generator.choice(few)
            if few and generator.random() < share
            else self.document(generator)
            for _ in range(count)
        ]

    # Tasks

    def tasks(self) -> dict[str, Task]:
        """The seven tasks by name. `rows` makes their examples."""
        verdict = {0: "unacceptable", 1: "acceptable"}
        same = {0: "different", 1: "equivalent"}
        entails = {0: "not_entailment", 1: "entailment"}
        pair = {"sentence1": "sentence1", "sentence2": "sentence2"}
        found = [
            _choice("acceptability", {"sentence": "sentence"}, verdict, {"matthews": m.matthews}),
            _choice("paraphrase", pair, same, {"accuracy": m.accuracy}),
            _choice("nli", {"premise": "premise", "hypothesis": "hypothesis"}, entails,
                    {"accuracy": m.accuracy}),
            Task("qa", "qa", _answer("question", "context"), str.strip,
                 {"exact": m.exact_match}, floor=_last_place),
            Task("similarity", "similarity", _score, parse_score, {"pearson": m.pearson},
                 floor=constants("2.6")),
            Task("reverse", "reverse", _answer("text"), str.strip, {"exact": m.exact_match},
                 floor=copy_input),
            Task("headline", "headline", _answer("text"), str.strip,
                 {"f1": m.word_f1, "exact": m.exact_match}, floor=first_sentence),
        ]  # fmt: skip
        return {task.name: task for task in found}

    def rows(self, task: str, count: int, *, seed: int) -> list[Row]:
        """Rows of a task, every other one of the other label. Raises ValueError for no task of it.

        Args:
            task: Its name.
            count: How many.
            seed: Of the rows; training and test take different ones.
        """
        makers: dict[str, Callable[[random.Random, int], Row]] = {
            "acceptability": self._acceptability, "paraphrase": self._paraphrase,
            "nli": self._nli, "qa": self._qa, "similarity": self._similarity,
            "reverse": self._reverse, "headline": self._headline,
        }  # fmt: skip
        if task not in makers:
            raise ValueError(f"the language has no task '{task}', only {', '.join(makers)}")
        generator = random.Random(f"{task} {self.seed} {seed}")
        rows = [makers[task](generator, number % 2) for number in range(count)]
        generator.shuffle(rows)
        return rows

    def examples(self, task: str, count: int, *, seed: int) -> list[Example]:
        """The same as text, with the task's own prefix."""
        rows = self.rows(task, count, seed=seed)
        return self.tasks()[task].examples(rows) if count else []

    def _acceptability(self, generator: random.Random, label: int) -> Row:
        fault = None if label else generator.choice(("number", "kind"))
        return {"sentence": self.clause(generator, fault=fault), "label": label}

    def _paraphrase(self, generator: random.Random, label: int) -> Row:
        """What a creature does, with another verb: of the same kind or not."""
        noun, plural = generator.choice(self.nouns), generator.random() < 0.5
        subject = f"the {noun.many if plural else noun.one}"
        verb, other = generator.sample(self.actions[noun.kind], 2)
        if not label:
            kind = (noun.kind + generator.randrange(1, len(KINDS))) % len(KINDS)
            other = generator.choice(self.actions[kind])
        pair = [f"{subject} {each[plural]}" for each in (verb, other)]
        generator.shuffle(pair)
        return {"sentence1": pair[0], "sentence2": pair[1], "label": label}

    def _nli(self, generator: random.Random, label: int) -> Row:
        """Whether what some creatures are is what some of a kind are."""
        noun, colour = generator.choice(self.nouns), generator.choice(COLOURS)
        kind = noun.kind if label else (noun.kind + generator.randrange(1, len(KINDS))) % len(KINDS)
        return {
            "premise": f"the {noun.many} are {colour}",
            "hypothesis": f"some {KINDS[kind]} are {colour}",
            "label": label,
        }

    def _qa(self, generator: random.Random, number: int) -> Row:
        """One of two people's places or colours, from four facts in random order."""
        people = [self.person(generator, name) for name in generator.sample(self.people, 2)]
        asked = generator.choice(people)
        facts = [generator.choice(says)(p) for p in people for says in SAYINGS]
        generator.shuffle(facts)
        question = (f"where lives {asked.name}", f"what colour is {asked.name}")[number]
        answer = (asked.place, asked.colour)[number]
        return {"question": question, "context": " . ".join(facts) + " .", "answer": answer}

    def _similarity(self, generator: random.Random, number: int) -> Row:
        """Two lists of five letters; the score is how many stand in both."""
        score = generator.randrange(6)
        letters = generator.sample(LETTERS, 10 - score)
        one, two = letters[:5], letters[:score] + letters[5:]
        generator.shuffle(two)
        return {"sentence1": " ".join(one), "sentence2": " ".join(two), "score": float(score)}

    def _reverse(self, generator: random.Random, number: int) -> Row:
        letters = generator.sample(LETTERS, generator.randrange(3, 7))
        return {"text": " ".join(letters), "answer": " ".join(reversed(letters))}

    def _headline(self, generator: random.Random, number: int) -> Row:
        """Who is spoken of, of what colour, from where; another person's facts stand between."""
        main, other = (self.person(generator, name) for name in generator.sample(self.people, 2))
        facts = [COLOUR_SAYINGS[0](main), PLACES[number](main), THINGS[0](main),
                 generator.choice(THINGS)(other)]  # fmt: skip
        generator.shuffle(facts)
        answer = f"{main.colour} {main.name} of {main.place}"
        return {"text": " . ".join(facts) + " .", "answer": answer}


Saying = Callable[[Person], str]
PLACES: tuple[Saying, ...] = (
    lambda p: f"{p.name} lives in {p.place}", lambda p: f"in {p.place} lives {p.name}"
)  # fmt: skip
COLOUR_SAYINGS: tuple[Saying, ...] = (
    lambda p: f"{p.name} is {p.colour}", lambda p: f"{p.colour} is {p.name}"
)  # fmt: skip
THINGS: tuple[Saying, ...] = (
    lambda p: f"{p.name} has {p.number} {p.thing}", lambda p: f"{p.number} {p.thing} has {p.name}"
)  # fmt: skip
SAYINGS = (PLACES, COLOUR_SAYINGS)
"""What documents say of people, each in two orders."""


class Words:
    """A vocabulary of whole words, with the ids of `objectives.Ids`.

    Example:
        >>> words = Words(["a", "b"], sentinels=2)
        >>> words.encode(["b a c"]), words.decode([[4, 3, 1, 4]])
        ([[4, 3, 2]], ['b a'])

    Args:
        words: All that are known; each once.
        sentinels: Ids after them.

    Raises ValueError for a word that stands twice.
    """

    def __init__(self, words: Sequence[str], *, sentinels: int = 32) -> None:
        if len(set(words)) < len(words):
            twice = next(word for word in words if list(words).count(word) > 1)
            raise ValueError(f"the words of a vocabulary differ, '{twice}' stands twice")
        names = [f"<extra_id_{number}>" for number in reversed(range(sentinels))]
        self._words = ["<pad>", "</s>", "<unk>", *words, *names]
        self._numbers = {word: number for number, word in enumerate(self._words)}
        self.ids = Ids(len(self._words), sentinels)

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text's words, a colon a word by itself, without end of sequence."""
        known, unk = self._numbers, self.ids.unk
        return [
            [known.get(word, unk) for word in text.replace(":", " : ").split()] for text in texts
        ]

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Text of each row up to its end of sequence, padding left out."""
        found = []
        for row in rows:
            ids = [int(i) for i in row]
            ids = ids[: ids.index(self.ids.eos)] if self.ids.eos in ids else ids
            found.append(" ".join(self._words[i] for i in ids if 0 < i < len(self._words)))
        return found


def _choice(
    name: str, names: dict[str, str], labels: dict[int, str], scores: Mapping[str, Metric]
) -> Task:
    words = tuple(labels.values())
    return Task(
        name, name, choose(names, labels), one_of(*words), scores, labels=words,
        floor=constants(*words),
    )  # fmt: skip


def _answer(*names: str) -> Callable[[str, Row], list[Example]]:
    """Rendering of rows whose answer is a text."""

    def render(prefix: str, row: Row) -> list[Example]:
        shown = fields(prefix, {name: row[name] for name in names})
        return [Example(shown, row["answer"], (row["answer"],))]

    return render


def _score(prefix: str, row: Row) -> list[Example]:
    shown = fields(prefix, {name: row[name] for name in ("sentence1", "sentence2")})
    return [Example(shown, score_text(row["score"]), row["score"])]


def _last_place(examples: Sequence[Example]) -> list[list[str]]:
    """The last word and the first: an answer often ends or begins the context."""
    contexts = [example.inputs.split("context: ")[1].split() for example in examples]
    return [[words[-2] for words in contexts], [words[0] for words in contexts]]
