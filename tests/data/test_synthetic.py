"""Made-up stories: a reader of their words must come to the same answers."""

import numpy as np
import pytest

from quire.data import Babi, babi_like
from quire.data.synthetic import DROP, GO, OBJECTS, PEOPLE, PLACES, TAKE


def words(babi: Babi, indices: np.ndarray) -> list[str]:
    return [babi.vocabulary[word] for word in indices if word]


def solve(facts: list[list[str]], question: list[str]) -> str:
    """The answer by reading: where each person is, who holds what, where things have been."""
    place: dict[str, str] = {}
    holder: dict[str, str] = {}
    visits: dict[str, list[str]] = {}
    for person, verb, *_, last in facts:
        assert person in PEOPLE
        if verb in GO:
            assert last in PLACES
            assert last != place.get(person)
            place[person] = last
        elif verb in TAKE:
            assert last in OBJECTS
            assert last not in holder
            assert visits.get(last, [place[person]])[-1] == place[person]
            holder[last] = person
        else:
            assert verb in DROP
            assert holder.pop(last) == person
        for thing, carrier in holder.items():
            seen = visits.setdefault(thing, [])
            if not seen or seen[-1] != place[carrier]:
                seen.append(place[carrier])
    match question:
        case ["where", "is", person]:
            return place[person]
        case ["where", "is", "the", thing]:
            return visits[thing][-1]
        case ["where", "was", "the", thing, "before", "the", there]:
            latest = max(step for step, here in enumerate(visits[thing]) if here == there)
            return visits[thing][latest - 1]
    raise AssertionError(question)


@pytest.mark.parametrize("seed", [0, 1])
def test_answers_follow_from_the_words(seed: int) -> None:
    babi = babi_like(300, seed=seed)
    for part in babi[:3]:
        for story, question, answer in zip(part.story, part.question, part.answer, strict=True):
            facts = [words(babi, fact) for fact in story if fact.any()]
            assert 4 <= len(facts) <= 16
            assert solve(facts, words(babi, question)) == babi.vocabulary[answer]


def test_tasks_take_turns_and_ask_their_question() -> None:
    babi = babi_like(30, seed=3)
    assert babi.train.task.tolist() == [1, 2, 3] * 10
    lengths = (babi.train.question > 0).sum(1)
    assert lengths.tolist() == [3, 4, 7] * 10
    assert babi_like(5, seed=3, tasks=[2]).train.task.tolist() == [2] * 5


def test_same_seed_same_stories_and_parts_differ() -> None:
    one, other = babi_like(40, seed=5), babi_like(40, seed=5)
    longer, third = babi_like(60, seed=5), babi_like(40, seed=6)
    for field in one.train._fields:
        np.testing.assert_array_equal(getattr(one.train, field), getattr(other.train, field))
        np.testing.assert_array_equal(getattr(one.test, field), getattr(other.test, field))
    assert one.train.story[:40].tolist() == longer.train.story[:40].tolist()
    assert one.train.story.tolist() != third.train.story.tolist()
    assert one.valid.story.tolist() != one.test.story.tolist()


def test_shapes_do_not_depend_on_the_draw() -> None:
    for seed in range(5):
        babi = babi_like(3, seed=seed, facts=(4, 6))
        assert len(babi.vocabulary) == 30
        assert babi.train.story.shape == (3, 6, 5)
        assert babi.train.question.shape == (3, 7)
        assert babi.valid.answer.shape == babi.test.answer.shape == (3,)
        assert all(array.dtype == np.int64 for array in babi.train)


def test_arguments() -> None:
    with pytest.raises(ValueError, match=r"numbers in 1\.\.3, got \[4\]"):
        babi_like(3, seed=0, tasks=[4])
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        babi_like(0, seed=0)
    with pytest.raises(ValueError, match=r"4 <= least <= most, got \(9, 5\)"):
        babi_like(3, seed=0, facts=(9, 5))
