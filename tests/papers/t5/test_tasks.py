"""Tasks as text: published formats, what is read back, metrics against libraries, floors."""

import random

import pytest

from quire.data import store
from quire.papers.t5 import metrics as m
from quire.papers.t5.published import GLUE, TASKS, average
from quire.papers.t5.tasks import mark_pronoun, parse_score, same_referent, score_text

PAIR = {"sentence1": "A b.", "sentence2": "C d."}
INFERENCE = {"premise": "P.", "hypothesis": "H."}
ROWS = {
    "cola": ({"sentence": "A.", "label": 0}, "cola sentence: A.", "unacceptable"),
    "sst2": ({"sentence": "A.", "label": 1}, "sst2 sentence: A.", "positive"),
    "mrpc": (PAIR | {"label": 1}, "mrpc sentence1: A b. sentence2: C d.", "equivalent"),
    "qqp": ({"question1": "A?", "question2": "B?", "label": 0},
            "qqp question1: A? question2: B?", "not_duplicate"),
    "stsb": (PAIR | {"score": 2.57}, "stsb sentence1: A b. sentence2: C d.", "2.6"),
    "mnli": (INFERENCE | {"label": 2}, "mnli hypothesis: H. premise: P.", "contradiction"),
    "qnli": ({"question": "A?", "sentence": "B.", "label": 0},
             "qnli question: A? sentence: B.", "entailment"),
    "rte": (INFERENCE | {"label": "not_entailment"}, "rte sentence1: P. sentence2: H.",
            "not_entailment"),
    "superglue_rte": (INFERENCE | {"label": "entailment"}, "rte hypothesis: H. premise: P.",
                      "entailment"),
    "boolq": ({"passage": "P.", "question": "q", "label": True}, "boolq passage: P. question: q",
              "True"),
    "cb": (INFERENCE | {"label": "neutral"}, "cb hypothesis: H. premise: P.", "neutral"),
    "copa": ({"premise": "P.", "choice1": "A.", "choice2": "B.", "question": "cause", "label": 1},
             "copa choice1: A. choice2: B. premise: P. question: cause", "choice2"),
    "wic": (PAIR | {"word": "b", "label": False}, "wic sentence1: A b. sentence2: C d. word: b",
            "False"),
    "wsc": ({"text": "Ann saw Bea and she waved.", "label": True, "target": {
        "span1_text": "Ann", "span2_text": "she", "span2_index": 4}},
        "wsc: Ann saw Bea and *she* waved.", "Ann"),
    "dpr": ({"sentence": "Items fell from it as it tilted.", "pronoun": "it", "label": 1,
             "candidates": ["Items", "the cart"]},
            "wsc: Items fell from *it* as it tilted.", "the cart"),
    "squad": ({"question": "Who?", "context": "It's me.", "answers": {"text": ["me", "I"]}},
              "question: Who ? context: It ' s me .", "me"),
    "cnn_dailymail": ({"article": "A. B.", "summary": "A."}, "summarize: A. B.", "A."),
    "wmt_en_ro": ({"en": "Yes.", "ro": "Da."}, "translate English to Romanian: Yes.", "Da."),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_published_formats(name):
    row, inputs, targets = ROWS[name]
    task = TASKS[name]
    (example,) = task.examples([row])
    assert example[:2] == (inputs, targets)
    if name.startswith("wmt"):
        pytest.importorskip("sacrebleu", reason="needs the extra text")
    scores = task.evaluate([targets], [example]) if name not in ("cnn_dailymail",) else {}
    if task.labels:
        assert scores["invalid"] == 0 and task.parse(targets) == example.truth
    if "accuracy" in scores:
        assert scores["accuracy"] == 100
        assert task.evaluate(["hamburger"], [example])["accuracy"] == 0
    other = task.with_prefix("sandwiches are nice").examples([row])[0]
    assert other.inputs.startswith("sandwiches are nice") and other.targets == targets
    bare = task.with_prefix("").examples([row])[0].inputs
    assert inputs.endswith(bare)


def test_one_passage_gives_many_examples():
    passage = {"idx": 3, "passage": {"text": "<b>Sent 1: </b>It is.<br>So.", "questions": [
        {"question": "A?", "answers": [{"text": "x", "label": 1}, {"text": "y", "label": 0}]},
        {"question": "B?", "answers": [{"text": "z", "label": 0}]}]}}  # fmt: skip
    task = TASKS["multirc"]
    found = task.examples([passage])
    assert found[1].inputs == "multirc question: A? answer: y paragraph: Sent 1: It is. So."
    assert [e.targets for e in found] == ["True", "False", "False"]
    scores = task.evaluate(["True", "True", "False"], found)
    assert scores["exact"] == 50.0 and scores["f1"] == pytest.approx(200 / 3)
    text = "Ann met Bo.\n@highlight\nBo left"
    row = {"passage": {"text": text, "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9},
                                                  {"start": 23, "end": 24}]},
           "qas": [{"query": "@placeholder left",
                    "answers": [{"text": "Bo"}, {"text": "Bo B"}]}]}  # fmt: skip
    task = TASKS["record"]
    learned = task.examples([row], training=True)
    assert [e.targets for e in learned] == ["Bo", "Bo B"], "one example an answer"
    (asked,) = task.examples([row])
    assert asked.truth == ("Bo", "Bo B")
    assert asked.inputs == (
        "record query: @placeholder left entities: Ann, Bo passage: Ann met Bo. Bo left"
    )


def test_winograd_schemas():
    wrong = ROWS["wsc"][0] | {"label": False}
    task = TASKS["wsc"]
    assert task.examples([wrong], training=True) == [], "learned from right referents alone"
    examples = task.examples([ROWS["wsc"][0], wrong])
    assert task.evaluate(["ann", "Bea"], examples)["accuracy"] == 100
    assert task.evaluate(["Bea", "Ann"], examples)["accuracy"] == 0
    assert same_referent("The old dog", "dog") and same_referent("dog", "his dog")
    assert not same_referent("dog's", "dog") and not same_referent("the", "dog")
    dpr = TASKS["dpr"].examples([ROWS["dpr"][0]])
    assert TASKS["dpr"].evaluate(["Items"], dpr)["accuracy"] == 0
    with pytest.raises(ValueError, match="should be 'she'"):
        TASKS["dpr"].examples([ROWS["dpr"][0] | {"pronoun": "she"}])
    assert not same_referent("", "dog") and not same_referent("old cat", "old dog")
    assert mark_pronoun("To him, no.", 1, "him") == "To *him*, no."
    assert mark_pronoun("a b it", 1, "it") == "a b *it*", "a published place is off by one"
    with pytest.raises(ValueError, match="should be 'he'"):
        mark_pronoun("Ann saw her", 2, "he")


def test_scores_as_text():
    texts = {score_text(n / 100) for n in range(501)}
    assert len(texts) == 26 and all(parse_score(text) is not None for text in texts)
    assert [score_text(s) for s in (2.57, 2.7, 5, 0)] == ["2.6", "2.8", "5.0", "0.0"]
    for text in ("", "five", "inf", "nan", "-0.2", "5.2"):
        assert parse_score(text) is None
    task = TASKS["stsb"]
    examples = task.examples([PAIR | {"score": s} for s in (1.0, 3.0, 5.0)])
    assert task.evaluate(["1.0", "3.0", "5.0"], examples)["pearson"] == pytest.approx(100)
    scores = task.evaluate(["1.0", "3.0", "lots"], examples)
    assert scores["pearson"] < 0 and scores["invalid"] == pytest.approx(100 / 3)


def test_tasks_without_training_or_data():
    with pytest.raises(ValueError, match="evaluation alone"):
        TASKS["wnli"].examples([PAIR | {"label": 1}], training=True)
    with pytest.raises(ValueError, match="read JSON lines"):
        TASKS["mnli"].parts()
    with pytest.raises(ValueError, match="cola: a row lacks 'sentence'"):
        TASKS["cola"].examples([{"text": "A.", "label": 0}])
    with pytest.raises(ValueError, match="cola: a row lacks 7"):
        TASKS["cola"].examples([{"sentence": "A.", "label": 7}])
    with pytest.raises(KeyError, match="did you mean 'cola'"):
        TASKS["colla"]
    with pytest.raises(ValueError, match="as many predictions"):
        TASKS["cola"].evaluate([], [])


def test_own_rows_from_a_file(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"sentence": "A.", "label": 1}\n{"sentence": "B."}\n')
    first, second = TASKS["sst2"].read(path)
    assert first.targets == "positive" and second == ("sst2 sentence: B.", "", None)
    assert len(TASKS["sst2"].read(path, training=True)) == 1


def test_averages():
    scores = {"cola": {"matthews": 50.0}, "sst2": {"accuracy": 90.0},
              "mrpc": {"f1": 90.0, "accuracy": 86.0}, "stsb": {"pearson": 88.0, "spearman": 86.0},
              "rte": {"accuracy": 70.0}, "wnli": {"accuracy": 1.0}}  # fmt: skip
    assert average(scores) == pytest.approx((50 + 90 + 88 + 87 + 70) / 5)
    assert "wnli" not in GLUE
    with pytest.raises(ValueError, match=r"absent: \['rte'\]"):
        average({name: s for name, s in scores.items() if name != "rte"})


# Metrics


def drawn(labels, count=200, invalid=0.0, seed=0):
    draw = random.Random(seed)
    truths = [draw.choice(labels) for _ in range(count)]
    predictions = [t if draw.random() < 0.6 else draw.choice(labels) for t in truths]
    return [None if draw.random() < invalid else p for p in predictions], truths


def test_metrics_against_scikit_learn():
    library = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    predictions, truths = drawn([0, 1, 1])
    assert m.accuracy(predictions, truths) == pytest.approx(
        100 * library.accuracy_score(truths, predictions))  # fmt: skip
    assert m.f1(predictions, truths) == pytest.approx(100 * library.f1_score(truths, predictions))
    assert m.matthews(predictions, truths) == pytest.approx(
        100 * library.matthews_corrcoef(truths, predictions))  # fmt: skip
    predictions, truths = drawn([0, 1, 2, 2])
    assert m.mean_f1(predictions, truths) == pytest.approx(
        100 * library.f1_score(truths, predictions, average="macro"))  # fmt: skip
    # No answer is a wrong one: of two classes, the other.
    predictions, truths = drawn([0, 1, 1], invalid=0.2)
    wrong = [1 - t if p is None else p for p, t in zip(predictions, truths, strict=True)]
    assert m.f1(predictions, truths) == m.f1(wrong, truths)
    assert m.matthews(predictions, truths) == m.matthews(wrong, truths)


def test_correlations_against_scipy():
    from scipy import stats

    draw = random.Random(0)
    truths = [round(draw.uniform(0, 5), 1) for _ in range(60)]
    found = [round(min(5.0, max(0.0, t + draw.gauss(0, 1)))) for t in truths]
    assert m.pearson(found, truths) == pytest.approx(100 * stats.pearsonr(found, truths)[0])
    assert m.spearman(found, truths) == pytest.approx(100 * stats.spearmanr(found, truths)[0])
    assert m.pearson([2.0] * 60, truths) == 0.0 and m.matthews([1, 1], [0, 1]) == 0.0


def test_answers_of_squad():
    truths = [("the Norman king", "a king"), ("1066",)]
    assert m.exact_match(["King!", "in 1066"], truths) == 50.0
    assert m.word_f1(["King!", "in 1066"], truths) == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert m.word_f1(["", "1066"], truths) == 50.0


def test_bleu_is_that_of_sacrebleu():
    library = pytest.importorskip("sacrebleu", reason="needs the extra text")
    given = ["A dog runs in the park today.", "Two men eat."]
    truths = [("A dog runs in the big park today.", "The dog runs here today."), ("Two men eat.",)]
    wanted = library.corpus_bleu(given, [[t[0] for t in truths], [t[-1] for t in truths]],
                                 smooth_method="exp", tokenize="intl").score  # fmt: skip
    assert m.bleu(given, truths) == pytest.approx(wanted)
    assert TASKS["multi30k_en_de"].metrics["bleu"](["A b c d e."], [("A b c d e.",)]) > 99.9


def test_rouge_is_that_of_rouge_score():
    library = pytest.importorskip("rouge_score.rouge_scorer", reason="needs the extra text")
    truths = [("the cat sat on the mat", "a dog"), ("one two three",)]
    given = ["the cat on the mat", "three two one"]
    scorer = library.RougeScorer(["rouge2", "rougeLsum"])
    for metric, name in ((m.rouge2, "rouge2"), (m.rouge_l, "rougeLsum")):
        best = [
            max(scorer.score(t, p)[name].fmeasure for t in texts)
            for p, texts in zip(given, truths, strict=True)
        ]
        assert metric(given, truths) == pytest.approx(50 * sum(best))


# The shipped data


@pytest.mark.parametrize(
    ("name", "sizes", "floor"),
    [("cola", {"train": 8551, "dev": 1043}, 0.0), ("mrpc", {"train": 3668, "dev": 408}, 79.9),
     ("rte", {"train": 2490, "dev": 277}, 52.7), ("wnli", {"dev": 71}, 56.3),
     ("boolq", {"train": 32, "dev": 32, "test": 3270}, 62.2), ("cb", {"test": 56}, 22.2),
     ("copa", {"test": 100}, 55.0), ("wic", {"test": 638}, 50.0), ("wsc", {"test": 104}, 63.5),
     ("multirc", {"test": 4848}, 59.9), ("superglue_rte", {"train": 2490, "test": 277}, 52.7),
     ("stsb", {"train": 5749, "dev": 1500}, 0.0), ("dialogsum", {"train": 400, "dev": 100}, None),
     ("multi30k_en_cs", {"train": 2900, "dev": 1014}, None)],
)  # fmt: skip
def test_tasks_of_the_shipped_data(name, sizes, floor):
    task = TASKS[name]
    try:
        parts = task.parts()
    except store.DataMissing as error:
        pytest.skip(str(error))
    assert {part: len(parts[part]) for part in sizes} == sizes
    assert all(example.targets for example in parts.get("train", []))
    if task.labels:
        kinds = {example.targets for part in parts.values() for example in part}
        assert kinds == set(task.labels)
    if floor is not None:
        last = parts["test" if "test" in parts and name != "mrpc" else "dev"]
        first = next(iter(task.metrics))
        value = task.floors(parts["test"] if name == "mrpc" else last)[first]
        assert value == pytest.approx(floor, abs=0.06)
