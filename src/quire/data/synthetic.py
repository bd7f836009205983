"""Data made by a program, so that everything runs without a download."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from quire.data.question_answering import Babi, Example, SentenceTable

PEOPLE = ("daniel", "john", "mary", "sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")
GO = ("went", "moved", "travelled", "journeyed")
TAKE = ("took", "got", "grabbed")
DROP = ("dropped", "left", "discarded")
OTHER = ("to", "the", "where", "is", "was", "before")

Draw = Callable[[int], int]
"""A random number below its argument."""


def babi_like(
    count: int,
    *,
    seed: int,
    tasks: Iterable[int] = (1, 2, 3),
    facts: tuple[int, int] = (4, 16),
) -> Babi:
    """Made-up stories in the form of `babi`: people go to places and carry objects.

    Task 1 asks where a person is (one supporting fact), task 2 where an object is (two), task 3
    where an object was before it came to a place (three); the tasks take turns. The vocabulary does
    not depend on seed, count or tasks. Every part follows from (seed, part) alone; all stories are
    drawn independently.

    Args:
        count: Training questions; validation and test have a tenth each (at least one a task).
        seed: Decides every story.
        tasks: Numbers of 1, 2 and 3.
        facts: The least and the most facts of a story.

    Raises ValueError for unknown tasks, count < 1, or stories too short for their question.

    Example:
        >>> from quire.data import babi_like
        >>> train, valid, test, vocabulary = babi_like(30, seed=0)
        >>> train.story.shape[0], valid.answer.shape
        (30, (3,))
    """
    chosen = sorted(set(tasks))
    least, most = facts
    if not chosen or not set(chosen) <= {1, 2, 3}:
        raise ValueError(f"tasks must be numbers in 1..3, got {chosen}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not 4 <= least <= most:
        raise ValueError(f"facts must be (least, most) with 4 <= least <= most, got {facts}")
    table = SentenceTable()
    held_out = max(len(chosen), count // 10)
    parts: dict[str, list[Example]] = {}
    for part, (name, size) in enumerate(
        (("train", count), ("valid", held_out), ("test", held_out))
    ):
        draw = _drawer(np.random.default_rng((seed, part)))
        parts[name] = [
            _example(chosen[row % len(chosen)], table, draw, least, most) for row in range(size)
        ]
    words = (*PEOPLE, *PLACES, *OBJECTS, *GO, *TAKE, *DROP, *OTHER)
    return table.pack(parts, words=words, facts=most)


class World:
    """Who is where and what has been where, while a story is told."""

    def __init__(self) -> None:
        self.place: dict[str, str] = {}
        self.holder: dict[str, str] = {}
        self.trail: dict[str, list[str]] = {}

    def event(self, draw: Draw) -> str:
        """Lets something happen and says it: a person goes, takes or drops."""
        person = PEOPLE[draw(len(PEOPLE))]
        here = self.place.get(person)
        held = [thing for thing in self.holder if self.holder[thing] == person]
        free = [
            thing
            for thing in OBJECTS
            if thing not in self.holder and self.trail.get(thing, [here])[-1] == here
        ]
        kind = draw(8) if here is not None else 7
        if kind < 3 and free:
            thing = free[draw(len(free))]
            self.holder[thing] = person
            self.trail.setdefault(thing, [str(here)])
            return f"{person} {TAKE[draw(len(TAKE))]} the {thing}"
        if kind == 3 and held:
            thing = held[draw(len(held))]
            del self.holder[thing]
            return f"{person} {DROP[draw(len(DROP))]} the {thing}"
        others = [place for place in PLACES if place != here]
        there = others[draw(len(others))]
        self.place[person] = there
        for thing in held:
            self.trail[thing].append(there)
        return f"{person} {GO[draw(len(GO))]} to the {there}"

    def questions(self, task: int) -> list[tuple[str, str]]:
        """Every question of a task that the story so far answers, with its answer."""
        if task == 1:
            return [(f"where is {person}", place) for person, place in self.place.items()]
        if task == 2:
            return [(f"where is the {thing}", trail[-1]) for thing, trail in self.trail.items()]
        return [
            (f"where was the {thing} before the {trail[step]}", trail[step - 1])
            for thing, trail in self.trail.items()
            for step in range(1, len(trail))
            if trail[step] not in trail[step + 1 :]
        ]


def _example(task: int, table: SentenceTable, draw: Draw, least: int, most: int) -> Example:
    while True:  # a story that leaves nothing to ask is thrown away
        world = World()
        story = [world.event(draw) for _ in range(least + draw(most - least + 1))]
        questions = world.questions(task)
        if questions:
            question, answer = questions[draw(len(questions))]
            return task, [table.number(fact) for fact in story], table.number(question), answer


def _drawer(rng: np.random.Generator) -> Draw:
    """`rng.integers` one at a time is slow: draw uniforms in blocks."""
    block: Iterator[float] = iter(())

    def draw(below: int) -> int:
        nonlocal block
        uniform = next(block, None)
        if uniform is None:
            block = iter(rng.random(4096).tolist())
            uniform = next(block)
        return int(uniform * below)

    return draw
