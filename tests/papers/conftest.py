"""No test of a paper downloads anything: what is not here is skipped."""

import pytest

from quire.data import store


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    def refuse(name, root=None):
        raise store.DataMissing(f"{name} is not here, and tests download nothing")

    monkeypatch.setattr(store, "get", refuse)
