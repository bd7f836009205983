"""The tasks: the paper's with their published prefixes, and those of the data that quire has.

The full names of fields stand in the order of the authors' code, which sorts them. Of MRPC's and
IMDB's training rows the last 408 and 500 are "dev" here; SuperGLUE's parts are few-shot ("train"
and "dev" have 32 rows, "test" is the whole validation part).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from quire.data.lines import Row
from quire.data.sets.ag_news import TOPICS, ag_news
from quire.data.sets.dialogsum import dialogsum
from quire.data.sets.glue import glue
from quire.data.sets.imdb import imdb
from quire.data.sets.multi30k import multi30k
from quire.data.sets.scitldr import scitldr
from quire.data.sets.superglue import superglue
from quire.papers.t5 import metrics as m
from quire.papers.t5 import tasks as t
from quire.papers.t5.tasks import Example, Metric, Task

Load = Callable[[Any], dict[str, list[Row]]]

ACCURACY: Mapping[str, Metric] = MappingProxyType({"accuracy": m.accuracy})
F1_ACCURACY: Mapping[str, Metric] = MappingProxyType({"f1": m.f1, "accuracy": m.accuracy})
ROUGE: Mapping[str, Metric] = MappingProxyType(
    {"rouge2": m.rouge2, "rouge1": m.rouge1, "rougeL": m.rouge_l}
)
ANSWERS: Mapping[str, Metric] = MappingProxyType({"f1": m.word_f1, "exact": m.exact_match})
YES_NO = MappingProxyType({False: "False", True: "True"})
ENTAILS = MappingProxyType({1: "not_entailment", 0: "entailment"})

GLUE = ("cola", "sst2", "mrpc", "stsb", "rte")
"""The tasks of GLUE whose data quire has; WNLI is never averaged, as in the paper."""


def average(scores: Mapping[str, Mapping[str, float]], names: Sequence[str] = GLUE) -> float:
    """The mean over tasks of the mean of each task's metrics, as GLUE's average is taken.

    Example:
        >>> average({"cola": {"matthews": 40.0}, "mrpc": {"f1": 90.0, "accuracy": 80.0,
        ...          "invalid": 3.0}}, ["cola", "mrpc"])
        62.5

    Args:
        scores: Task -> what `Task.evaluate` gave.
        names: The tasks that count.

    Raises ValueError where one of them has no score.
    """
    absent = [name for name in names if name not in scores]
    if absent or not names:
        raise ValueError(f"an average needs the scores of {', '.join(names)}; absent: {absent}")
    means = []
    for name in names:
        values = [scores[name][metric] for metric in TASKS[name].metrics]
        means.append(sum(values) / len(values))
    return sum(means) / len(means)


def _choice(
    name: str,
    names: Mapping[str, str],
    labels: Mapping[Any, str],
    load: Load | None = None,
    *,
    metrics: Mapping[str, Metric] = ACCURACY,
    size: int | None = None,
    prefix: str | None = None,
    trains: bool = True,
) -> Task:
    words = tuple(dict.fromkeys(labels.values()))
    return Task(
        name, name if prefix is None else prefix, t.choose(names, labels), t.one_of(*words),
        metrics, load, words, t.constants(*words), trains, size,
    )  # fmt: skip


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _glue(task: str) -> Load:
    def load(root: Any) -> dict[str, list[Row]]:
        parts = glue(root, task)
        parts.pop("test_unlabelled", None)
        if task == "mrpc":
            parts = {"train": parts["train"][:-408], "dev": parts["train"][-408:],
                     "test": parts["test"]}  # fmt: skip
        return parts if task != "wnli" else {"dev": parts["dev"]}

    return load


def _superglue(task: str) -> Load:
    def load(root: Any) -> dict[str, list[Row]]:
        parts = superglue(root, task)
        # RTE is GLUE's, whose training part is here in full.
        train = glue(root, "rte")["train"] if task == "rte" else parts["train32"]
        return {"train": train, "dev": parts["dev32"], "test": parts["val"]}

    return load


# Tasks with a rendering of their own.


def _stsb(prefix: str, row: Row) -> list[Example]:
    text = t.fields(prefix, {name: row[name] for name in ("sentence1", "sentence2")})
    score = row.get("score")
    return [Example(text, "", None) if score is None else Example(
        text, t.score_text(score), float(score))]  # fmt: skip


def _multirc(prefix: str, row: Row) -> list[Example]:
    """One example an answer of a passage's questions."""
    text = re.sub(r"</?b>", "", row["passage"]["text"]).replace("<br>", " ")
    found = []
    for number, question in enumerate(row["passage"]["questions"]):
        for answer in question["answers"]:
            shown = {"question": question["question"], "answer": answer["text"], "paragraph": text}
            label = answer.get("label")
            truth = None if label is None else ((row.get("idx", text), number), int(label))
            word = "" if label is None else YES_NO[bool(label)]
            found.append(Example(t.fields(prefix, shown), word, truth))
    return found


def _record(prefix: str, row: Row) -> list[Example]:
    """One example an answer to train on; the first one of a query is evaluated."""
    raw = row["passage"]["text"]
    marks = row["passage"]["entities"]  # "end" is the last character
    names = dict.fromkeys(raw[mark["start"] : mark["end"] + 1] for mark in marks)
    text = re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", raw).replace("\n@highlight\n", ". ")
    found = []
    for query in row["qas"]:
        shown = {"query": query["query"], "entities": ", ".join(names), "passage": text}
        inputs = t.fields(prefix, shown)
        answers = tuple(dict.fromkeys(answer["text"] for answer in query.get("answers", ())))
        if not answers:
            found.append(Example(inputs, "", None))
        for number, answer in enumerate(answers):
            found.append(Example(inputs, answer, None if number else answers))
    return found


def _wsc(prefix: str, row: Row) -> list[Example]:
    """The referent is what is written, so that nothing is learned from a wrong one."""
    target = row["target"]
    text = t.mark_pronoun(row["text"], target["span2_index"], target["span2_text"])
    shown = f"{prefix}: {text}" if prefix else text
    label = row.get("label")
    if label is None:
        return [Example(shown, "", None)]
    referent = target["span1_text"]
    return [Example(shown, referent if label else "", (referent, bool(label)))]


def _dpr(prefix: str, row: Row) -> list[Example]:
    """Rahman and Ng's pronouns in the same form: the first one in the text, and who is meant."""
    text = t.mark_pronoun(row["sentence"], None, row["pronoun"])
    shown = f"{prefix}: {text}" if prefix else text
    label = row.get("label")
    if label is None:
        return [Example(shown, "", None)]
    referent = row["candidates"][label]
    return [Example(shown, referent, (referent, True))]


def _spaced(text: str) -> str:
    """Text with single spaces around all that is no letter or digit, as the authors read SQuAD."""
    return " ".join(re.sub(r"(\W)", r" \1 ", text).split())


def _squad(prefix: str, row: Row) -> list[Example]:
    shown = {"question": _spaced(row["question"]), "context": _spaced(row["context"])}
    answers = tuple(_spaced(answer) for answer in row["answers"]["text"])
    inputs = t.fields(prefix, shown)
    return [Example(inputs, answers[0], answers) if answers else Example(inputs, "", None)]


def _text_to_text(source: str, target: str) -> Callable[[str, Row], list[Example]]:
    """One text from another; the target's field holds a text or several correct ones."""

    def render(prefix: str, row: Row) -> list[Example]:
        text = f"{prefix}: {row[source]}" if prefix else str(row[source])
        given = row[target]
        texts = (given,) if isinstance(given, str) else tuple(given)
        return [Example(text, texts[0], texts)]

    return render


def _translation(name: str, language: str, to: str, load: Load | None) -> Task:
    return Task(
        name, f"translate English to {language}", _text_to_text("en", to), str.strip,
        {"bleu": m.bleu}, load, floor=t.copy_input,
    )  # fmt: skip


def _multi30k(to: str, most: int | None = None) -> Load:
    def load(root: Any) -> dict[str, list[Row]]:
        parts = multi30k(root, ("en", to))
        names = {"train": "train", "val": "dev", "test_2016_flickr": "test"}
        rows = {
            names.get(part, part): [{"en": a, to: b} for a, b in pairs]
            for part, pairs in parts.items()
        }
        return rows | {"train": rows["train"][:most]}

    return load


def _summary(name: str, source: str, load: Load | None) -> Task:
    return Task(
        name, "summarize", _text_to_text(source, "summary"), str.strip, ROUGE, load,
        floor=t.first_sentence,
    )  # fmt: skip


def _scitldr(root: Any) -> dict[str, list[Row]]:
    return {
        part: [{"text": " ".join(a.sentences), "summary": a.summaries} for a in abstracts]
        for part, abstracts in scitldr(root).items()
    }


def _dialogsum(root: Any) -> dict[str, list[Row]]:
    parts = {
        part: [{"text": c.text, "summary": c.summaries} for c in conversations]
        for part, conversations in dialogsum(root).items()
    }
    if "train" not in parts:
        parts["train"], parts["dev"] = parts["dev"][:400], parts["dev"][400:]
    return parts


def _imdb(root: Any) -> dict[str, list[Row]]:
    parts = {
        part: [{"text": r.text.replace("<br />", " "), "label": r.label} for r in reviews]
        for part, reviews in imdb(root).items()
    }
    parts["train"], parts["dev"] = parts["train"][:-500], parts["train"][-500:]
    return parts


def _ag_news(root: Any) -> dict[str, list[Row]]:
    parts = {part: [a._asdict() for a in articles] for part, articles in ag_news(root).items()}
    if "train" not in parts:  # the test part alone is cut
        rows = parts["test"]
        return {"train": rows[:6000], "dev": rows[6000:6800], "test": rows[6800:]}
    return parts | {"train": parts["train"][:-800], "dev": parts["train"][-800:]}


def _glue_tasks() -> Iterator[Task]:
    pair = _same("sentence1", "sentence2")
    yield _choice("cola", _same("sentence"), {0: "unacceptable", 1: "acceptable"}, _glue("cola"),
                  metrics={"matthews": m.matthews}, size=8_551)  # fmt: skip
    yield _choice("sst2", _same("sentence"), {0: "negative", 1: "positive"}, _glue("sst2"),
                  size=67_349)  # fmt: skip
    yield _choice("mrpc", pair, {0: "not_equivalent", 1: "equivalent"}, _glue("mrpc"),
                  metrics=F1_ACCURACY, size=3_668)  # fmt: skip
    yield _choice("qqp", _same("question1", "question2"), {0: "not_duplicate", 1: "duplicate"},
                  metrics=F1_ACCURACY, size=363_849)  # fmt: skip
    yield Task("stsb", "stsb", _stsb, t.parse_score,
               {"pearson": m.pearson, "spearman": m.spearman}, _glue("stsb"),
               floor=t.constants("2.6"), size=5_749)  # fmt: skip
    yield _choice("mnli", _same("hypothesis", "premise"),
                  {0: "entailment", 1: "neutral", 2: "contradiction"}, size=392_702)  # fmt: skip
    yield _choice("qnli", _same("question", "sentence"), ENTAILS, size=104_743)
    yield _choice("rte", {"sentence1": "premise", "sentence2": "hypothesis"}, ENTAILS,
                  _glue("rte"), size=2_490)  # fmt: skip
    yield _choice("wnli", pair, {0: "not_entailment", 1: "entailment"}, _glue("wnli"),
                  trains=False)  # fmt: skip


def _superglue_tasks() -> Iterator[Task]:
    inference = _same("hypothesis", "premise")
    yield _choice("boolq", _same("passage", "question"), YES_NO, _superglue("boolq"), size=9_427)
    yield _choice("cb", inference, {0: "entailment", 1: "contradiction", 2: "neutral"},
                  _superglue("cb"), metrics={"f1": m.mean_f1, "accuracy": m.accuracy},
                  size=250)  # fmt: skip
    yield _choice("copa", _same("choice1", "choice2", "premise", "question"),
                  {0: "choice1", 1: "choice2"}, _superglue("copa"), size=400)  # fmt: skip
    yield Task("multirc", "multirc", _multirc, t.one_of("False", "True"),
               {"f1": m.grouped_f1, "exact": m.grouped_exact}, _superglue("multirc"),
               ("False", "True"), t.constants("False", "True"), size=27_243)  # fmt: skip
    yield Task("record", "record", _record, str.strip, ANSWERS, size=138_854)
    yield _choice("superglue_rte", inference, ENTAILS, _superglue("rte"), prefix="rte",
                  size=2_490)  # fmt: skip
    yield _choice("wic", _same("sentence1", "sentence2", "word"), YES_NO, _superglue("wic"),
                  size=5_428)  # fmt: skip
    yield Task("wsc", "wsc", _wsc, str.strip, {"accuracy": t.referents}, _superglue("wsc"),
               floor=t.constants(""), size=259)  # fmt: skip
    # Trained on with WSC, whose right referents are few.
    yield Task("dpr", "wsc", _dpr, str.strip, {"accuracy": t.referents}, size=1_322)


def _other_tasks() -> Iterator[Task]:
    yield Task("squad", "", _squad, str.strip, {"exact": m.exact_match, "f1": m.word_f1},
               size=87_599)  # fmt: skip
    yield _summary("cnn_dailymail", "article", None)
    yield _translation("wmt_en_de", "German", "de", None)
    yield _translation("wmt_en_fr", "French", "fr", None)
    yield _translation("wmt_en_ro", "Romanian", "ro", None)
    yield _translation("multi30k_en_de", "German", "de", _multi30k("de"))
    yield _translation("multi30k_en_fr", "French", "fr", _multi30k("fr"))
    # A small corpus, in the place that Romanian has in the paper.
    yield _translation("multi30k_en_cs", "Czech", "cs", _multi30k("cs", 2_900))
    yield _summary("scitldr", "text", _scitldr)
    yield _summary("dialogsum", "text", _dialogsum)
    yield _choice("imdb", {"review": "text"}, {0: "negative", 1: "positive"}, _imdb)
    yield _choice("ag_news", _same("title", "description"), dict(enumerate(TOPICS)), _ag_news)


class Tasks(Mapping[str, Task]):
    """Tasks by name; a name that is not there gets the nearest one in the error."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}

    def __getitem__(self, name: str) -> Task:
        import difflib

        if name not in self._tasks:
            near = difflib.get_close_matches(name, self._tasks, n=1)
            hint = f" did you mean '{near[0]}'?" if near else ""
            raise KeyError(f"unknown task '{name}':{hint} known: {', '.join(self._tasks)}")
        return self._tasks[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


TASKS: Mapping[str, Task] = Tasks([*_glue_tasks(), *_superglue_tasks(), *_other_tasks()])
"""Every task by name."""
