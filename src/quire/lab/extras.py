"""Extras of the distribution: which packages they bring, and whether those are installed."""

import contextlib
import importlib.metadata
import re

from quire.lab.errors import MissingError

DISTRIBUTION = "quire-papers"
"""Name on the package index; the import is `quire`."""


def install(*extras: str) -> str:
    """The command that installs extras: ``pip install 'quire-papers[vision]'``."""
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def check_extras(extras: tuple[str, ...]) -> None:
    """Raise `MissingError` naming the first extra with a package that is not installed."""
    for extra in extras:
        for package in packages_of(extra):
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                raise MissingError(
                    f"{package} is not installed; get it with: {install(extra)}"
                ) from None


def extra_names() -> list[str]:
    """Names of all extras, from the installed metadata; none in a bare source tree."""
    try:
        found = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra")
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(found or [])


def packages_of(extra: str) -> list[str]:
    """Names of the packages that an extra brings, from the installed metadata."""
    # Run from a source tree that was never installed: imports speak for themselves.
    return [name for name, _ in _required(DISTRIBUTION, extra)]


def versions_of(extras: tuple[str, ...]) -> dict[str, str]:
    """Versions of the packages that extras bring, by name, as far as they are installed.

    What such a package brings by an extra of its own, as gymnasium[mujoco] does, is among them.
    """
    names: set[str] = set()
    for extra in extras:
        for name, inner in _required(DISTRIBUTION, extra):
            names.add(name)
            names |= {found for each in inner for found, _ in _required(name, each)}
    found = {}
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _required(distribution: str, extra: str) -> list[tuple[str, list[str]]]:
    """Packages that an extra of a distribution asks for, each with its own extras."""
    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for line in requirements:
        asked, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            name = re.split(r"[\s<>=!~\[(]", asked.strip())[0]
            inner = re.search(r"\[([^\]]*)\]", asked)
            found.append((name, re.findall(r"[\w.-]+", inner[1]) if inner else []))
    return found
