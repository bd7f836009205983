"""The toy paper of these tests, seen by this process and by those it starts."""

from pathlib import Path

import pytest

import quire.papers

TOYS = Path(__file__).parent / "papers"


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    monkeypatch.setenv("QUIRE_PAPERS", str(TOYS))
    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
