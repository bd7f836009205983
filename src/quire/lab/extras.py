"""Extras of the distribution: which packages they bring, and whether those are installed."""

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
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a source tree that was never installed: imports speak for themselves
    found = []
    for line in requirements:
        name, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            found.append(re.split(r"[\s<>=!~\[(]", name.strip())[0])
    return found
