"""word2vec's experiments on made-up corpora: identities, factors, composition, phrases.

Those on real text stand in `experiments_text.py`.
"""

import math

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import stats

from quire.lab import Config, Metrics, Run
from quire.papers.word2vec.corpus import scratch
from quire.papers.word2vec.experiments_common import Model, train
from quire.papers.word2vec.experiments_text import PhraseText, Text, phrase_text, text
from quire.papers.word2vec.generators import (
    ENTITIES,
    ENTITY_WORDS,
    RELATION_WORDS,
    RELATIONS,
    factor_corpus,
    factor_questions,
    factor_word,
    phrase_corpus,
)
from quire.papers.word2vec.huffman import huffman
from quire.papers.word2vec.losses import HierarchicalSoftmax, NegativeSampling
from quire.papers.word2vec.phrases import Phrases
from quire.papers.word2vec.queries import analogies, most_similar
from quire.papers.word2vec.vocabulary import keep_probability, noise_distribution
from quire.papers.word2vec.word2vec import Word2Vec


class Identities(Config):
    """What holds exactly, or up to chance that is known."""

    words: PositiveInt = 500
    """Words of a vocabulary by Zipf's law."""
    draws: PositiveInt = 1_000_000
    """Noise words drawn."""
    corpus_words: int = Field(20, ge=3)
    """Words of the corpus on which the optimum of negative sampling is computed."""


def identities(config: Identities, run: Run) -> Metrics:
    """Trees, noise, subsampling and the optimum of negative sampling against closed forms."""
    counts = np.maximum(1, (1e6 / np.arange(1, config.words + 1)).astype(np.int64))
    share = counts / counts.sum()
    tree = huffman(counts)
    entropy = -float((share * np.log2(share)).sum())
    loss = HierarchicalSoftmax(counts, 16).double()
    with torch.no_grad():
        loss.input.normal_(generator=run.rng("input"))
        loss.output.normal_(generator=run.rng("output"))
        every = torch.arange(config.words)
        sums = [(-loss(torch.full_like(every, word), every)).exp().sum() for word in range(20)]
    sampler = NegativeSampling(counts, 2)
    drawn = sampler.draw(config.draws // 100, 100, run.rng("noise")).flatten()
    seen = torch.bincount(drawn, minlength=config.words).numpy()
    expected = noise_distribution(counts) * seen.sum()
    chi = float(stats.chisquare(seen, expected).pvalue)
    paper, code = (keep_probability(counts, 1e-3, variant) for variant in ("paper", "code"))
    return {
        "sum_error": max(abs(float(s) - 1) for s in sums),
        "code_excess": float((share * tree.lengths).sum()) - entropy,
        "noise_p": chi,
        "keep_error": float(
            np.abs(paper - np.minimum(1, np.sqrt(1e-3 / share))).max()
            + np.abs(code - np.minimum(1, np.sqrt(1e-3 / share) + 1e-3 / share)).max()
        ),
        "optimum_error": optimum_error(config.corpus_words, run),
    }


def optimum_error(words: int, run: Run, negatives: int = 5) -> float:
    """Largest distance of the optimum of negative sampling from shifted PMI (Levy and Goldberg).

    With as many dimensions as words, the expected loss over all pairs has its minimum where
    v'_o.v_i = log(P(i, o) / (P(i) P_n(o))) - log k.
    """
    counts = torch.randint(1, 50, (words, words), generator=run.rng("pairs")).double()
    joint = (counts + counts.T) / (counts + counts.T).sum()
    unigram = joint.sum(1)
    noise = torch.from_numpy(noise_distribution(unigram.numpy()))
    wanted = (joint / (unigram[:, None] * noise)).log() - math.log(negatives)
    v, o = (
        torch.randn(words, words, generator=run.rng(side)).double().requires_grad_()
        for side in ("v", "o")
    )
    search = torch.optim.LBFGS(
        [v, o], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> torch.Tensor:
        search.zero_grad()
        x = v @ o.T
        positive = joint * torch.nn.functional.logsigmoid(x)
        negative = unigram[:, None] * noise * torch.nn.functional.logsigmoid(-x)
        total = -(positive + negatives * negative).sum() * 1000
        total.backward()
        return total.detach()

    for _ in range(5):
        search.step(loss)
    return float((v @ o.T - wanted).detach().abs().max())


class Factor(Model):
    """Words with two factors in a made-up corpus; analogies between them (section 4, Table 3)."""

    sentences: PositiveInt = 6000
    """Sentences of 12 words."""
    questions: PositiveInt = 600
    """Analogy questions."""
    dim: PositiveInt = 32
    """D, dimensions."""
    epochs: PositiveInt = 3
    """Passes over the corpus."""
    min_count: PositiveInt = 1
    """Words seen fewer times are ignored."""


def factor(config: Factor, run: Run) -> Metrics:
    """Top-1 accuracy of w_ab : w_cb :: w_ad : w_cd."""
    model, measured = train_factor(config, run, config.sentences, "train")
    asked = factor_questions(config.questions, run.seed)
    answers = analogies(model, {"factors": asked}, top=None, fold_case=False)
    return {"accuracy": answers.accuracy["total"], **measured}


def train_factor(config: Factor, run: Run, sentences: int, name: str) -> tuple[Word2Vec, Metrics]:
    """A model of a factor corpus, with what its training took."""
    corpus = factor_corpus(sentences, run.seed)
    with scratch() as folder:
        return train(config, run, corpus, folder, name)


class Growth(Factor):
    """The factor corpus at several sizes: where negative sampling catches up (section 4)."""

    sizes: tuple[PositiveInt, ...] = (1500, 6000, 12000, 24000, 48000)
    """Numbers of sentences."""
    epochs: PositiveInt = 5
    """Passes over the corpus."""


def growth(config: Growth, run: Run) -> Metrics:
    """Accuracy against the number of sentences."""
    accuracy = []
    asked = {"factors": factor_questions(config.questions, run.seed)}
    for size in config.sizes:
        model, _ = train_factor(config, run, size, f"size{size}")
        answers = analogies(model, asked, top=None, fold_case=False)
        accuracy.append(answers.accuracy["total"])
    run.series("accuracy", list(config.sizes), accuracy, x_label="sentences", y_label="accuracy, %")
    return {"smallest": accuracy[0], "largest": accuracy[-1]}


class Composition(Factor):
    """Sums of vectors mean what both words mean (section 5, Table 5)."""

    sums: PositiveInt = 1000
    """Sums that are asked."""
    sentences: PositiveInt = 20_000
    """Sentences of 12 words."""
    sample: NonNegativeFloat = 1e-3
    """t of subsampling."""


def composition(config: Composition, run: Run) -> Metrics:
    """How often w_ab is among the five words nearest to a relation's word + an entity's word."""
    model, _ = train_factor(config, run, config.sentences, "train")
    rng = np.random.default_rng(run.seed)
    hits = {"both": 0, "relation": 0, "entity": 0}
    asked = 0
    for _ in range(config.sums):
        a, b = int(rng.integers(RELATIONS)), int(rng.integers(ENTITIES))
        r, e = f"r{a}.{rng.integers(RELATION_WORDS)}", f"e{b}.{rng.integers(ENTITY_WORDS)}"
        wanted = factor_word(a, b)
        if not {r, e, wanted} <= set(model.vocabulary.index):
            continue
        asked += 1
        for name, words in {"both": [r, e], "relation": [r], "entity": [e]}.items():
            hits[name] += wanted in dict(most_similar(model, words, n=5))
    rates = {f"{name}_hits": 100 * count / max(1, asked) for name, count in hits.items()}
    return {**rates, "chance": 100 * 5 / len(model.vocabulary)}


class FindPhrases(Config):
    """Phrases planted in a made-up corpus, found by equation 6."""

    sentences: PositiveInt = 10_000
    """Sentences of 18 words or phrases."""
    threshold: PositiveFloat = 50.0
    """Of the first pass; the second takes half of it."""
    delta: NonNegativeFloat = 5.0
    """Discount of the count of a pair."""
    min_count: PositiveInt = 1
    """Words and pairs seen fewer times never join."""


def phrases(config: FindPhrases, run: Run) -> Metrics:
    """Precision and recall of planted phrases after one and two passes."""
    planted = phrase_corpus(config.sentences, run.seed)
    passes: list[Phrases] = []
    corpus = planted.corpus
    metrics = {}
    whole = {"_".join(phrase) for phrase in planted.phrases}
    parts = whole | {"_".join(p[i : i + 2]) for p in planted.phrases for i in range(len(p) - 1)}
    for number in (1, 2):
        finder = Phrases(config.delta, config.threshold / number, min_count=config.min_count).fit(
            corpus
        )
        passes.append(finder)
        corpus = [finder.join(sentence) for sentence in corpus]
        found = {word for sentence in corpus for word in sentence if "_" in word}
        metrics[f"recall_{number}"] = 100 * len(whole & found) / len(whole)
        metrics[f"precision_{number}"] = 100 * len(parts & found) / max(1, len(found))
    return metrics


__all__ = [
    "Composition",
    "Factor",
    "FindPhrases",
    "Growth",
    "Identities",
    "PhraseText",
    "Text",
    "composition",
    "factor",
    "growth",
    "identities",
    "phrase_text",
    "phrases",
    "text",
]
