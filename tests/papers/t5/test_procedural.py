import random
from collections import Counter

import pytest

from quire.papers.t5.procedural import COLOURS, KINDS, LETTERS, Language, Words

LANGUAGE = Language()
TASKS = LANGUAGE.tasks()


def test_texts_follow_from_their_seed_and_need_no_other_word():
    texts = LANGUAGE.documents(50, seed=1)
    assert texts == Language().documents(50, seed=1)
    assert texts != LANGUAGE.documents(50, seed=2)
    assert Language(seed=1).documents(1, seed=1) != texts[:1]
    words = LANGUAGE.words
    rows = words.encode(texts)
    assert not any(words.ids.unk in row for row in rows)
    assert words.decode(rows) == texts
    assert max(max(row) for row in rows) < words.ids.first_sentinel


def test_verbs_agree_in_number_and_kind():
    generator = random.Random(0)
    of = {n.one: (n.kind, 0) for n in LANGUAGE.nouns} | {
        n.many: (n.kind, 1) for n in LANGUAGE.nouns
    }
    verbs = {v: (k, i) for k, pairs in enumerate(LANGUAGE.actions) for p in pairs
             for i, v in enumerate(p)}  # fmt: skip
    for fault in (None, "number", "kind"):
        for _ in range(200):
            words = LANGUAGE.clause(generator, fault=fault).split()
            (kind, number), (verb_kind, verb_number) = of[words[1]], verbs[words[-1]]
            assert (kind == verb_kind) == (fault != "kind")
            assert (number == verb_number) == (fault != "number")
            if len(words) > 3:
                assert of[words[4]][1] != number  # the nearest noun misleads


def test_every_fact_of_a_document_stands_there_in_both_orders():
    for text in LANGUAGE.documents(20, seed=3):
        said = [sentence.split() for sentence in text.removesuffix(" .").split(" . ")]
        for name in set(text.split()) & set(LANGUAGE.people):
            (one,) = [s[3] for s in said if s[:3] == [name, "lives", "in"]]
            (other,) = [s[1] for s in said if s[0] == "in" and s[2:] == ["lives", name]]
            assert one == other in LANGUAGE.towns
            (one,) = [s[2] for s in said if s[:2] == [name, "is"]]
            (other,) = [s[0] for s in said if s[1:] == ["is", name]]
            assert one == other in COLOURS


def test_repeated_documents_come_from_few():
    texts = LANGUAGE.documents(400, seed=0, distinct=3, share=0.5)
    counts = Counter(texts).most_common(4)
    assert counts[3][1] == 1
    assert sum(count for _, count in counts[:3]) == pytest.approx(200, abs=60)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_balanced_and_their_floors_low(name):
    task = TASKS[name]
    examples = LANGUAGE.examples(name, 400, seed=0)
    assert not any(
        LANGUAGE.words.ids.unk in row
        for e in examples
        for row in LANGUAGE.words.encode([e.inputs, e.targets])
    )
    right = task.evaluate([e.targets for e in examples], examples)
    assert all(value == pytest.approx(100) for key, value in right.items() if key != "invalid")
    assert right["invalid"] == 0
    if task.labels:
        assert Counter(e.targets for e in examples) == dict.fromkeys(task.labels, 200)
    floors = task.floors(examples)
    # Chance of a balanced choice, the last or first place of a context, words of a fact.
    most = {"accuracy": 50, "matthews": 0, "exact": 30, "pearson": 0, "f1": 70}
    assert all(value <= most[metric] for metric, value in floors.items()), floors
    assert examples != LANGUAGE.examples(name, 400, seed=1)


def test_answers_are_right():
    for e in LANGUAGE.examples("qa", 40, seed=0):
        asked = e.inputs.split(" context: ")[0].split()[-1]
        facts = [f.removesuffix(" .") for f in e.inputs.split(" context: ")[1].split(" . ")]
        assert sum(asked in f.split() and e.targets in f.split() for f in facts) == 1
    for e in LANGUAGE.examples("nli", 40, seed=0):
        noun = e.inputs.split()[3]
        (kind,) = {n.kind for n in LANGUAGE.nouns if n.many == noun}
        assert (KINDS[kind] in e.inputs.split("hypothesis")[1]) == bool(e.truth)
    for e in LANGUAGE.examples("similarity", 40, seed=0):
        one, two = (set(s.split()) & set(LETTERS) for s in e.inputs.split("sentence2"))
        assert len(one & two) == e.truth
    for e in LANGUAGE.examples("headline", 40, seed=0):
        colour, name, _, place = e.targets.split()
        assert colour in COLOURS
        assert name in LANGUAGE.people
        assert place in LANGUAGE.towns
        assert all(word in e.inputs.split() for word in (colour, name, place))


def test_labels_cannot_be_read_off_single_words():
    """A word is as frequent under one label as under the other: the pair decides."""
    for name in ("acceptability", "nli", "paraphrase"):
        counts = {0: Counter(), 1: Counter()}
        for e in LANGUAGE.examples(name, 6000, seed=5):
            counts[e.truth].update(set(e.inputs.split()))
        for word in counts[0] | counts[1]:
            a, b = counts[0][word], counts[1][word]
            assert abs(a - b) < 6 * (a + b) ** 0.5, (name, word, a, b)


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="no task 'chess'"):
        LANGUAGE.rows("chess", 1, seed=0)
    with pytest.raises(ValueError, match="'a' stands twice"):
        Words(["a", "b", "a"])
    with pytest.raises(ValueError, match="coined words"):
        _ = Language(names=5000).words
