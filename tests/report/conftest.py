"""A site of made-up evidence, and a browser to look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from report.chromium import Browser, find_browser
from report.samples import make_evidence, make_papers, make_site


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> list[Paper]:
    return make_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="session")
def evidence(papers: list[Paper]) -> list[Evidence]:
    return make_evidence(papers)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
