"""Made-up corpora whose right answers are known: factors, and planted phrases."""

from typing import NamedTuple

import numpy as np

from quire.papers.word2vec.queries import Question

RELATIONS, ENTITIES = 4, 40
RELATION_WORDS, ENTITY_WORDS, FUNCTION_WORDS = 30, 15, 20


def factor_word(relation: int, entity: int) -> str:
    """The word that stands for an entity in a relation ("Paris": capital, France)."""
    return f"w{relation}.{entity}"


def factor_corpus(sentences: int, seed: int, *, mixing: float = 0.0) -> list[list[str]]:
    """Sentences of 12 words, each around one of 160 words with two factors.

    Each has one factor word of a random relation (of 4) and entity (of 40), three words from the
    relation's pool of 30, three from the entity's pool of 15, and five function words (of 20, by
    Zipf's law), shuffled: 900 words in all. Of the pool words a share `mixing` is of a relation or
    an entity drawn anew, so that sentences mislead.

    Example:
        >>> from quire.papers.word2vec.experiments.generators import factor_corpus
        >>> [len(sentence) for sentence in factor_corpus(2, seed=0)]
        [12, 12]
    """
    generator = np.random.default_rng(seed)
    zipf = 1 / np.arange(1, FUNCTION_WORDS + 1)
    function = generator.choice(FUNCTION_WORDS, (sentences, 5), p=zipf / zipf.sum())
    relation = generator.integers(RELATIONS, size=sentences)
    entity = generator.integers(ENTITIES, size=sentences)
    from_relation = generator.integers(RELATION_WORDS, size=(sentences, 3))
    from_entity = generator.integers(ENTITY_WORDS, size=(sentences, 3))
    order = generator.permuted(np.tile(np.arange(12), (sentences, 1)), axis=1)
    pools = [np.repeat(factor[:, None], 3, axis=1) for factor in (relation, entity)]
    if mixing:
        for pool, size in zip(pools, (RELATIONS, ENTITIES), strict=True):
            stray = generator.random(pool.shape) < mixing
            pool[stray] = generator.integers(size, size=int(stray.sum()))
    corpus = []
    for s in range(sentences):
        words = [
            factor_word(relation[s], entity[s]),
            *(f"r{a}.{i}" for a, i in zip(pools[0][s], from_relation[s], strict=True)),
            *(f"e{b}.{i}" for b, i in zip(pools[1][s], from_entity[s], strict=True)),
            *(f"f{i}" for i in function[s]),
        ]
        corpus.append([words[i] for i in order[s]])
    return corpus


def factor_questions(count: int, seed: int) -> list[Question]:
    """w_ab : w_cb :: w_ad : w_cd with a != c, b != d, drawn at random."""
    generator = np.random.default_rng(seed)
    questions: list[Question] = []
    for _ in range(count):
        a, c = generator.choice(RELATIONS, 2, replace=False)
        b, d = generator.choice(ENTITIES, 2, replace=False)
        questions.append(
            (factor_word(a, b), factor_word(c, b), factor_word(a, d), factor_word(c, d))
        )
    return questions


class Planted(NamedTuple):
    """A corpus with phrases in it."""

    corpus: list[list[str]]
    phrases: list[tuple[str, ...]]


def phrase_corpus(sentences: int, seed: int) -> Planted:
    """Sentences of about 20 words by Zipf's law over 2,000 words, with 200 planted phrases.

    150 phrases are of two words and 50 of three; their words also appear alone, as all words do.
    A sentence has each place taken by a phrase with probability 0.1.

    Example:
        >>> from quire.papers.word2vec.experiments.generators import phrase_corpus
        >>> len(phrase_corpus(2, seed=0).phrases)
        200
    """
    generator = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(2000)])
    zipf = 1 / np.arange(10, 2010)
    zipf /= zipf.sum()
    # Phrases are made of words from the middle of the ranks, no word twice.
    parts = generator.permutation(np.arange(200, 1400))[: 150 * 2 + 50 * 3].tolist()
    phrases = [tuple(words[parts[2 * i : 2 * i + 2]].tolist()) for i in range(150)]
    phrases += [tuple(words[parts[300 + 3 * i : 303 + 3 * i]].tolist()) for i in range(50)]
    corpus = []
    for _ in range(sentences):
        drawn = words[generator.choice(2000, 18, p=zipf)].tolist()
        planted = generator.random(18) < 0.1
        sentence: list[str] = []
        for word, instead in zip(drawn, planted, strict=True):
            sentence += phrases[generator.integers(200)] if instead else [word]
        corpus.append(sentence)
    return Planted(corpus, phrases)
