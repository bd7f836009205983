"""Datasets as arrays: named, checksummed, cached; and what turns arrays into batches.

`data.<name>(root)` gives numpy arrays. `root` is a folder laid out as `<name>/...`; None means the
folder that the environment variable QUIRE_DATA names, else the user's cache directory, which is
filled by a download.

Each dataset is one file of `quire.data.sets`, found by folder and imported when it is first asked
for. Type checkers see a loader where it stands: `from quire.data.sets.mnist import mnist`; the same
function as `data.mnist` is `Any` to them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire.data.arrays import Images as Images
    from quire.data.arrays import Split as Split
    from quire.data.bags import Bags as Bags
    from quire.data.batching import batches as batches
    from quire.data.batching import random_crop_flip as random_crop_flip
    from quire.data.catalogue import DATASETS as DATASETS
    from quire.data.catalogue import Dataset as Dataset
    from quire.data.catalogue import Source as Source
    from quire.data.question_answering import Babi as Babi
    from quire.data.question_answering import Stories as Stories
    from quire.data.sets.immune_repertoire import vdjdb as vdjdb
    from quire.data.store import DataMissing as DataMissing
    from quire.data.store import Status as Status
    from quire.data.store import check as check
    from quire.data.store import get as get
    from quire.data.store import status as status
    from quire.data.synthetic import babi_like as babi_like
    from quire.data.tables import Table as Table
    from quire.data.text import text_file as text_file

PARTS = {
    "Babi": "question_answering",
    "Bags": "bags",
    "DATASETS": "catalogue",
    "DataMissing": "store",
    "Dataset": "catalogue",
    "Images": "arrays",
    "Source": "catalogue",
    "Split": "arrays",
    "Status": "store",
    "Stories": "question_answering",
    "Table": "tables",
    "babi_like": "synthetic",
    "batches": "batching",
    "check": "store",
    "get": "store",
    "random_crop_flip": "batching",
    "status": "store",
    "text_file": "text",
    "vdjdb": "sets.immune_repertoire",
}
"""What datasets share, by module. The datasets are not listed: they are found by folder."""


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"quire.data has no {name!r}")
    if name in PARTS:
        return getattr(import_module(f"quire.data.{PARTS[name]}"), name)
    if name in ("catalogue", "sets"):  # the import system asks here before it looks for a module
        raise AttributeError(name)
    catalogue = import_module("quire.data.catalogue")
    known = catalogue.names()
    if name in known:
        return getattr(import_module(f"quire.data.sets.{name}"), name)
    near = catalogue.nearest(name, [*known, *PARTS])
    raise AttributeError(f"quire.data has no '{name}':{near} Datasets: {', '.join(known)}")


def __dir__() -> list[str]:
    return sorted([*import_module("quire.data.catalogue").names(), *PARTS])
