"""Sums of vectors mean what both words mean (section 5, Table 5)."""

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from quire.lab import Metrics, Run
from quire.papers.word2vec.experiments.generators import (
    ENTITIES,
    ENTITY_WORDS,
    RELATION_WORDS,
    RELATIONS,
    factor_word,
)
from quire.papers.word2vec.experiments.learner import Model, Share, train_on_factors
from quire.papers.word2vec.queries import unit


class Composition(Model):
    """A relation's word + an entity's word of the factor corpus."""

    dim: PositiveInt = 32
    """D, dimensions."""
    mixing: Share = 0.4
    """Share of pool words that mislead: at 0 every rule answers everything."""
    epochs: PositiveInt = 3
    """Passes over the corpus."""
    sample: NonNegativeFloat = 1e-3
    """t of subsampling."""
    sentences: PositiveInt = 20_000
    """Sentences of 12 words."""
    sums: PositiveInt = 1000
    """Sums that are asked."""


def composition(config: Composition, run: Run) -> Metrics:
    """How often w_ab is the nearest of the words with two factors to a sum, and to either part.

    Of all words the nearest to a relation's word are the others of its pool, so that a part alone
    could find nothing among them.
    """
    model, _ = train_on_factors(config, run, config.sentences, mixing=config.mixing)
    names = [factor_word(a, b) for a in range(RELATIONS) for b in range(ENTITIES)]
    factors = [word for word in names if word in model]
    table = unit(np.stack([model[word] for word in factors]))
    generator = np.random.default_rng(run.seed)
    hits = {"both": 0, "relation": 0, "entity": 0}
    asked = 0
    for _ in range(config.sums):
        a, b = int(generator.integers(RELATIONS)), int(generator.integers(ENTITIES))
        r = f"r{a}.{generator.integers(RELATION_WORDS)}"
        e = f"e{b}.{generator.integers(ENTITY_WORDS)}"
        wanted = factor_word(a, b)
        # A small corpus may lack a word of a pool.
        if not {r, e, wanted} <= set(model.vocabulary.index):
            continue
        asked += 1
        for name, words in {"both": [r, e], "relation": [r], "entity": [e]}.items():
            target = unit(np.stack([model[word] for word in words])).sum(0)
            hits[name] += factors[int((table @ target).argmax())] == wanted
    return {f"{name}_hits": 100 * count / max(1, asked) for name, count in hits.items()}
