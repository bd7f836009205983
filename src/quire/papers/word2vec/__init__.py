"""word2vec: vectors of words from running text, by predicting words from their neighbours."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quire.papers.word2vec.corpus import Corpus, Tokens, read_corpus
from quire.papers.word2vec.formats import load_vectors, save_vectors
from quire.papers.word2vec.huffman import HuffmanTree, huffman
from quire.papers.word2vec.phrases import Phrases, Rewritten, find_phrases
from quire.papers.word2vec.queries import (
    Analogies,
    Embedding,
    Similarity,
    UnitVectors,
    analogies,
    most_similar,
    similarity,
)
from quire.papers.word2vec.training.session import Progress, Session, Training
from quire.papers.word2vec.vocabulary import (
    Vocabulary,
    alias_table,
    keep_probability,
    noise_distribution,
    noise_table,
)
from quire.papers.word2vec.word2vec import Word2Vec

if TYPE_CHECKING:
    from quire.papers.word2vec.losses import (
        FullSoftmax,
        HierarchicalSoftmax,
        NegativeSampling,
        NoiseContrastive,
    )
    from quire.papers.word2vec.training.batched import Batched

__all__ = [
    "Analogies",
    "Batched",
    "Corpus",
    "Embedding",
    "FullSoftmax",
    "HierarchicalSoftmax",
    "HuffmanTree",
    "NegativeSampling",
    "NoiseContrastive",
    "Phrases",
    "Progress",
    "Rewritten",
    "Session",
    "Similarity",
    "Tokens",
    "Training",
    "UnitVectors",
    "Vocabulary",
    "Word2Vec",
    "alias_table",
    "analogies",
    "find_phrases",
    "huffman",
    "keep_probability",
    "load_vectors",
    "most_similar",
    "noise_distribution",
    "noise_table",
    "read_corpus",
    "save_vectors",
    "similarity",
]

_NEED_TORCH = {
    "Batched": "training.batched",
    "FullSoftmax": "losses",
    "HierarchicalSoftmax": "losses",
    "NegativeSampling": "losses",
    "NoiseContrastive": "losses",
}


def __getattr__(name: str) -> Any:
    # Training on the CPU does without torch, so what needs it is imported when asked for.
    if name in _NEED_TORCH:
        return getattr(import_module(f"quire.papers.word2vec.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"quire.papers.word2vec has no {name!r}")


def __dir__() -> list[str]:
    return __all__
