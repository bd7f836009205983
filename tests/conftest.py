"""What all tests share: no download, no accidental use of the user's own folders."""

import gc
import os
import re
from pathlib import Path

import pytest
import torch

from report.chromium import Browser, find_browser


def pytest_collection_finish(session):
    """Races collect garbage before each timing: what is imported by now need not be looked at.

    A test that is named after an address or packed bytes has another name in each worker.
    """
    changing = [item.nodeid for item in session.items if CHANGING.search(item.nodeid)]
    if changing:
        raise pytest.UsageError(f"give parameters names of their own (ids=): {changing[0]}")
    gc.collect()
    gc.freeze()


CHANGING = re.compile(r" at 0x[0-9a-f]{6}|\\x1f\\x8b\\x08\\x00(?!(\\x00){4})")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path_factory):
    """Keep runs and evidence of the user out of tests, and one torch thread a process."""
    monkeypatch.delenv("QUIRE_RUNS", raising=False)
    monkeypatch.delenv("QUIRE_EVIDENCE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def data_root():
    """The root of real datasets; the test is skipped where QUIRE_DATA is not set."""
    named = os.environ.get("QUIRE_DATA")
    if not named:
        pytest.skip("QUIRE_DATA is not set: no real data here")
    return Path(named).resolve()


@pytest.fixture
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser without a window; the test is skipped where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
