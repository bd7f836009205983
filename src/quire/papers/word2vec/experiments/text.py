"""Vectors from real text: analogies (Table 1), similarity, a map (Figure 2)."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from quire.data import DataMissing
from quire.data.sets.word_analogy import word_analogy
from quire.data.sets.word_similarity import word_similarity
from quire.lab import Metrics, Run
from quire.papers.word2vec.corpus import scratch
from quire.papers.word2vec.experiments.corpora import Lines, Source
from quire.papers.word2vec.experiments.learner import Model, train
from quire.papers.word2vec.queries import Question, analogies, most_similar, similarity, unit
from quire.papers.word2vec.word2vec import Word2Vec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASKED = ("france", "king", "three", "green", "music", "computer", "war", "running")
"""Words whose neighbours the log shows, where they are known."""

SUMS = {
    ("czech", "currency"): {"koruna", "crown", "zolty", "ctk"},
    ("vietnam", "capital"): {"hanoi", "minh", "viet", "vietnamese"},
    ("german", "airlines"): {"lufthansa"},
    ("russian", "river"): {"moscow", "volga", "upriver", "russia"},
    ("french", "actress"): {"juliette", "binoche"},
}
"""Sums of Table 5 and the words among its answers that are no part of the sum."""

TOP = 30_000
"""Analogies are asked and searched among the most frequent words."""


class Text(Model):
    """Wikipedia, text8 or a file of the user's own."""

    corpus: Source = Source()
    """The text."""
    min_count: PositiveInt = 5
    """Words seen fewer times are ignored."""


def text(config: Text, run: Run) -> Metrics:
    """Train on a corpus; ask analogies and similarity, draw the map, log neighbours."""
    with scratch() as folder:
        lines = Lines(config.corpus, run.data)
        model, measured = train(config, run, lines, folder, min_count=config.min_count)
    return evaluate(config, run, model) | measured


def evaluate(config: Text, run: Run, model: Word2Vec) -> Metrics:
    """Metrics of a trained model; its neighbours go to the log, its map among the figures."""
    try:
        questions = word_analogy(run.data)
        rated = word_similarity(run.data)
    except DataMissing:
        # A text of the user's own gives vectors all the same.
        if config.corpus.file is None:
            raise
        run.note("word_analogy and word_similarity are not here: no accuracy is measured")
        questions, rated = {}, {}
    answers = analogies(model, questions, top=TOP)
    multiplied = analogies(model, questions, top=TOP, rule="mul")
    pairs = find_capitals(model, questions)
    run.figure("map", draw_map(model, pairs))
    for line in describe_neighbours(model, ASKED):
        run.note(line)
    metrics = {name: answers.accuracy[name] for name in ("semantic", "syntactic", "total")}
    offsets = offset_cosines(model, pairs)
    sums, parts = found_sums(model)
    return metrics | {
        "total_mul": multiplied.accuracy["total"],
        "total_of_all": answers.total_of_all,
        "coverage": 100 * answers.coverage,
        "wordsim": similarity(model, rated.get("WS-353-ALL", [])).correlation,
        "simlex": similarity(model, rated.get("SIMLEX-999", [])).correlation,
        "offset_cosine": offsets[0],
        "shuffled_cosine": offsets[1],
        "sums_found": sums,
        "parts_found": parts,
    }


def found_sums(model: Word2Vec) -> tuple[float, float]:
    """Percent of `SUMS` with a word of the paper among the nearest ten; of the better part alone.

    nan where none can be asked.
    """
    asked = [pair for pair in SUMS if all(word in model for word in pair)]
    if not asked:
        return math.nan, math.nan
    hits = np.array(
        [
            [bool(SUMS[pair] & dict(most_similar(model, words, n=10)).keys())
             for words in (pair, pair[:1], pair[1:])]
            for pair in asked
        ]
    )  # fmt: skip
    both, first, second = 100 * hits.mean(0)
    return float(both), float(max(first, second))


def describe_neighbours(model: Word2Vec, words: Iterable[str], n: int = 6) -> list[str]:
    """Lines `word: neighbour cosine, ...`; of frequent words where none of `words` is known."""
    known = [word for word in words if word in model]
    known = known or model.vocabulary.words[100:1000:100] or model.vocabulary.words[:10]
    return [
        f"{word:>12}: " + ", ".join(f"{w} {c:.2f}" for w, c in most_similar(model, word, n=n))
        for word in known
    ]


def find_capitals(model: Word2Vec, questions: dict[str, list[Question]]) -> list[tuple[str, str]]:
    """Pairs (country, capital) of the questions that the model knows."""
    asked = questions.get("capital-common-countries", [])
    pairs = dict.fromkeys((b.lower(), a.lower()) for a, b, _, _ in asked)
    return [pair for pair in pairs if all(word in model for word in pair)]


def offset_cosines(model: Word2Vec, pairs: list[tuple[str, str]]) -> tuple[float, float]:
    """Mean cosine between the offsets capital - country; the same with capitals moved on by one.

    nan with fewer than three pairs.
    """
    if len(pairs) < 3:
        return math.nan, math.nan
    country, capital = (
        unit(np.stack([model[w] for w in side])) for side in zip(*pairs, strict=True)
    )
    return mean_cosine(capital - country), mean_cosine(np.roll(capital, 1, axis=0) - country)


def mean_cosine(rows: NDArray[np.float32]) -> float:
    """Mean cosine of different rows."""
    table = unit(rows) @ unit(rows).T
    size = len(table)
    return float((table.sum() - np.trace(table)) / (size * (size - 1)))


def draw_map(model: Word2Vec, pairs: list[tuple[str, str]]) -> "Figure":
    """Two principal components: countries and their capitals (Figure 2), else frequent words."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    paired = len(pairs) >= 5
    words = [w for pair in pairs for w in pair] if paired else model.vocabulary.words[50:110]
    words = words or model.vocabulary.words[:50]
    table = np.stack([model[word] for word in words]).astype(np.float64)
    table -= table.mean(0)
    left, size, _ = np.linalg.svd(table, full_matrices=False)
    place = np.zeros((len(words), 2))
    place[:, : min(2, len(size))] = (left * size)[:, :2]
    if paired:
        for i in range(0, len(words), 2):
            axes.plot(*place[i : i + 2].T, color="0.8", linewidth=1, zorder=0)
    colours = ["C0", "C1"] * len(pairs) if paired else "C0"
    axes.scatter(place[:, 0], place[:, 1], s=8, c=colours)
    for word, (x, y) in zip(words, place, strict=True):
        axes.annotate(word, (x, y), textcoords="offset points", xytext=(3, 3), fontsize=7)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    return figure
