"""What the data tests share: a cache of their own, the real data if here, a local server."""

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from quire import data


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory of each test is its own, and empty."""
    folder = tmp_path / "user-cache" / "quire"
    monkeypatch.setattr("pooch.os_cache", lambda project: folder)
    return folder


@pytest.fixture
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUIRE_DATA", raising=False)


@pytest.fixture
def real() -> Callable[[str], None]:
    """Skips the test unless the dataset itself is under QUIRE_DATA."""

    def need(name: str) -> None:
        if not os.environ.get("QUIRE_DATA"):
            pytest.skip("QUIRE_DATA is not set")
        if not data.status(name).present:
            pytest.skip(f"{name} is not under QUIRE_DATA")

    return need


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """An address of this machine and the folder that it serves."""
    monkeypatch.setenv("no_proxy", "*")
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", served
        running.shutdown()
        thread.join()
