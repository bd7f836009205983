"""A site of made-up evidence."""

from pathlib import Path

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
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
