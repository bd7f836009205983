"""What a dataset's file says of it, and the datasets, which are found by folder.

A dataset is one file, `quire/data/sets/<name>.py`. It holds `DATASET = Dataset(...)`, a loader with
the dataset's name and, where the entry has sources, `unpack(downloads, produced)`. No list names
it: `names` looks into the folder.
"""

import difflib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType, ModuleType

import quire.data.sets

Versions = Mapping[str, Mapping[str, str]]
"""File of a dataset -> sha256 of a known version of it -> what that version is."""


@dataclass(frozen=True)
class Source:
    """One file of a dataset's official home.

    urls: the home first, then mirrors of the same bytes. checksum: "sha256:..." or "md5:..." of the
    download as its publisher or a well-known library states it; None where nobody states one. The
    sha256 of every unpacked file is recorded at the first download in any case.
    """

    urls: tuple[str, ...]
    checksum: str | None


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Args:
        summary: What it is, in a line.
        licence: Its licence, as the publisher states it.
        home: Address of its official home.
        sources: What is downloaded; empty where nothing can be.
        layouts: The sets of files under `<root>/<name>/`, any one of which is enough (a file may
            also stand there compressed, with `.xz` after its name); none if a package holds them.
        by_hand: Without sources, what to put into those files.
        package: The distribution that holds the data.
        extras: Extras of quire that loading needs.
        note: What a reader of results must know.
        known: Versions of the files.
        name: That of the file which holds the entry, set when the entry is looked up.
    """

    summary: str
    licence: str
    home: str
    sources: tuple[Source, ...] = ()
    layouts: tuple[tuple[str, ...], ...] = ()
    by_hand: str = ""
    package: str = ""
    extras: tuple[str, ...] = ()
    note: str = ""
    known: Versions = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""


def pinned(url: str, sha256: str | None = None) -> Source:
    """A source with one address whose content cannot change, such as a file of a commit."""
    return Source(urls=(url,), checksum=sha256 and f"sha256:{sha256}")


def versions(sums: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Known versions of files.

    sums: what a version is -> the lines that `sha256sum` prints for its files.
    """
    known: dict[str, dict[str, str]] = {}
    for note, lines in sums.items():
        for line in lines.strip().splitlines():
            sha256, file = line.split(maxsplit=1)
            known.setdefault(file, {})[sha256] = note
    return known


def names() -> list[str]:
    """The datasets in alphabetical order, as the folder `sets` has them; imports none."""
    found = (module.name for module in pkgutil.iter_modules(quire.data.sets.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def module(name: str) -> ModuleType:
    """The module of a dataset. Raises ValueError naming the nearest one and all."""
    known = names()
    if name not in known:
        raise ValueError(f"unknown dataset '{name}':{nearest(name, known)} Known: "
                         f"{', '.join(known)}")  # fmt: skip
    return import_module(f"quire.data.sets.{name}")


def dataset(name: str) -> Dataset:
    """The entry of a dataset. Raises ValueError naming the nearest one and all."""
    entry: Dataset = module(name).DATASET
    return replace(entry, name=name)


def nearest(name: str, known: Iterable[str]) -> str:
    """ " did you mean '...'?", or nothing where no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" did you mean '{near[0]}'?" if near else ""


class _Datasets(Mapping[str, Dataset]):
    """Every dataset by name; an entry is imported when it is looked up."""

    def __getitem__(self, name: str) -> Dataset:
        try:
            return dataset(name)
        except ValueError as error:
            raise KeyError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return name in names()

    def __iter__(self) -> Iterator[str]:
        return iter(names())

    def __len__(self) -> int:
        return len(names())


DATASETS: Mapping[str, Dataset] = _Datasets()
