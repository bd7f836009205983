"""Datasets as arrays: named, checksummed, cached; and what turns arrays into batches.

`data.<name>(root)` gives numpy arrays. `root` is a folder laid out as `<name>/...`; None means the
folder that the environment variable QUIRE_DATA names, else the user's cache directory, which is
filled by a download. Names are loaded when first used: the table `DATASETS` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire.data.arrays import Images, Split
    from quire.data.bags import Bags, Receptor, Repertoire, immune_repertoire, mil, vdjdb
    from quire.data.batching import batches, random_crop_flip
    from quire.data.catalogue import DATASETS, Dataset, Source
    from quire.data.dna import genomics
    from quire.data.images import Characters, cifar10, digits, fashion_mnist, mnist, omniglot
    from quire.data.puzzles import arc
    from quire.data.question_answering import Babi, Stories, babi
    from quire.data.store import DataMissing, Status, check, get, status
    from quire.data.synthetic import babi_like
    from quire.data.tables import Table, uci
    from quire.data.text import text8, text_file, wiki_en, word_analogy, word_similarity

__all__ = [
    "DATASETS",
    "Babi",
    "Bags",
    "Characters",
    "DataMissing",
    "Dataset",
    "Images",
    "Receptor",
    "Repertoire",
    "Source",
    "Split",
    "Status",
    "Stories",
    "Table",
    "arc",
    "babi",
    "babi_like",
    "batches",
    "check",
    "cifar10",
    "digits",
    "fashion_mnist",
    "genomics",
    "get",
    "immune_repertoire",
    "mil",
    "mnist",
    "omniglot",
    "random_crop_flip",
    "status",
    "text8",
    "text_file",
    "uci",
    "vdjdb",
    "wiki_en",
    "word_analogy",
    "word_similarity",
]

_HOMES = {
    "quire.data.arrays": ("Images", "Split"),
    "quire.data.puzzles": ("arc",),
    "quire.data.question_answering": ("Babi", "Stories", "babi"),
    "quire.data.bags": ("Bags", "Receptor", "Repertoire", "immune_repertoire", "mil", "vdjdb"),
    "quire.data.dna": ("genomics",),
    "quire.data.synthetic": ("babi_like",),
    "quire.data.tables": ("Table", "uci"),
    "quire.data.text": ("text8", "text_file", "wiki_en", "word_analogy", "word_similarity"),
    "quire.data.batching": ("batches", "random_crop_flip"),
    "quire.data.catalogue": ("DATASETS", "Dataset", "Source"),
    "quire.data.images": (
        "Characters",
        "cifar10",
        "digits",
        "fashion_mnist",
        "mnist",
        "omniglot",
    ),
    "quire.data.store": ("DataMissing", "Status", "check", "get", "status"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"quire.data has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
