"""What the tasks are measured by: predictions against truths, in %.

A prediction of None is text that is no answer of the task; it counts as wrong.
"""

import math
import re
import string
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

Sentences = tuple[str, ...]
"""One or more correct texts."""


def accuracy(predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """Share of predictions that are the truth."""
    return 100 * sum(p == t for p, t in _pairs(predictions, truths)) / len(truths)


def matthews(predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """Matthews correlation of two classes, 0 and 1; 0 where a side has one class alone."""
    tp, tn, fp, fn = _confusion(predictions, truths)
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return 100 * (tp * tn - fp * fn) / below if below else 0.0


def f1(predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """F1 of class 1 of two classes, 0 and 1."""
    tp, _, fp, fn = _confusion(predictions, truths)
    return 100 * 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def mean_f1(predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """F1 of each class that the truths have, averaged (CommitmentBank)."""
    scores = []
    pairs = _pairs(predictions, truths)
    for label in sorted(set(truths)):
        hits = sum(p == t == label for p, t in pairs)
        claimed, there = (sum(pair[side] == label for pair in pairs) for side in (0, 1))
        scores.append(2 * hits / (claimed + there))
    return 100 * sum(scores) / len(scores)


def pearson(predictions: Sequence[float | None], truths: Sequence[float]) -> float:
    """Correlation of numbers; what is no number counts as -1. 0 where all are equal."""
    found = [-1.0 if p is None else p for p, _ in _pairs(predictions, truths)]
    return _correlation(np.array(found), np.array(truths, float))


def spearman(predictions: Sequence[float | None], truths: Sequence[float]) -> float:
    """Correlation of ranks, ties at their mean rank; otherwise as `pearson`."""
    found = [-1.0 if p is None else p for p, _ in _pairs(predictions, truths)]
    return _correlation(_ranks(np.array(found)), _ranks(np.array(truths, float)))


Grouped = tuple[Hashable, int]
"""A question and whether an answer to it is right, 0 or 1 (MultiRC)."""


def grouped_f1(predictions: Sequence[Any], truths: Sequence[Grouped]) -> float:
    """F1 of class 1 over all answers (MultiRC's F1a)."""
    return f1(predictions, [label for _, label in truths])


def grouped_exact(predictions: Sequence[Any], truths: Sequence[Grouped]) -> float:
    """Share of questions all of whose answers are judged rightly (MultiRC's EM)."""
    right: dict[Hashable, bool] = defaultdict(lambda: True)
    for prediction, (question, label) in _pairs(predictions, truths):
        right[question] &= prediction == label
    return 100 * sum(right.values()) / len(right)


def exact_match(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """Share of answers that are one of the correct ones, after SQuAD's normalisation."""
    return 100 * sum(
        any(normal(p) == normal(t) for t in texts) for p, texts in _pairs(predictions, truths)
    ) / len(truths)  # fmt: skip


def word_f1(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """F1 of the words of an answer and the nearest correct one, averaged (SQuAD)."""
    return 100 * sum(
        max(_overlap(normal(p).split(), normal(t).split()) for t in texts)
        for p, texts in _pairs(predictions, truths)
    ) / len(truths)  # fmt: skip


def bleu(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """Corpus BLEU of sacrebleu: "exp" smoothing, "intl" tokenisation, as the paper has it.

    Raises ImportError naming the extra where sacrebleu is missing.
    """
    try:
        from sacrebleu import corpus_bleu
    except ImportError as error:
        raise ImportError("BLEU needs sacrebleu: pip install 'quire-papers[text]'") from error
    _pairs(predictions, truths)
    most = max(len(texts) for texts in truths)
    # One list a reference; a sentence with fewer repeats its first one, which changes nothing.
    lists = [[texts[n] if n < len(texts) else texts[0] for texts in truths] for n in range(most)]
    return float(corpus_bleu(list(predictions), lists, smooth_method="exp", tokenize="intl").score)


def rouge1(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """ROUGE-1 F of the nearest correct text, averaged. Raises ImportError as `rouge2`."""
    return _rouge("rouge1", predictions, truths)


def rouge2(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """ROUGE-2 F of the nearest correct text, averaged.

    Raises ImportError naming the extra where rouge-score is missing.
    """
    return _rouge("rouge2", predictions, truths)


def rouge_l(predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    """ROUGE-L of sentences a line, averaged. Raises ImportError as `rouge2`."""
    return _rouge("rougeLsum", predictions, truths)


def normal(answer: str) -> str:
    """An answer as SQuAD compares it: lower case, no punctuation, no articles, single spaces."""
    bare = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _rouge(kind: str, predictions: Sequence[str], truths: Sequence[Sentences]) -> float:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError("ROUGE needs rouge-score: pip install 'quire-papers[text]'") from error
    scorer = RougeScorer([kind])
    pairs = _pairs(predictions, truths)
    best = [max(scorer.score(t, p)[kind].fmeasure for t in texts) for p, texts in pairs]
    return float(100 * sum(best) / len(best))


def _pairs(predictions: Sequence[Any], truths: Sequence[Any]) -> list[tuple[Any, Any]]:
    if len(predictions) != len(truths) or not truths:
        raise ValueError(
            f"a metric needs as many predictions as truths and at least one, "
            f"got {len(predictions)} and {len(truths)}"
        )
    return list(zip(predictions, truths, strict=True))


def _confusion(predictions: Sequence[Any], truths: Sequence[Any]) -> tuple[int, int, int, int]:
    """True positives, true negatives, false positives, false negatives."""
    counts = Counter((bool(t), p is not None and p == t) for p, t in _pairs(predictions, truths))
    return (
        counts[True, True], counts[False, True], counts[False, False], counts[True, False],
    )  # fmt: skip


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    below = float(np.sqrt((x @ x) * (y @ y)))
    return 100 * float(x @ y) / below if below > 0 else 0.0


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = ((2 * ends - counts - 1) / 2)[inverse]
    return ranks


def _overlap(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))
