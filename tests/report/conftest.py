"""A site of made-up evidence."""

from pathlib import Path

import pytest

from quire.lab.evidence import Evidence
from quire.lab.papers import Paper
from quire.report.model import Standings
from report.samples import make_evidence, make_papers, make_site, make_standings


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> list[Paper]:
    return make_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="session")
def evidence(papers: list[Paper]) -> list[Evidence]:
    return make_evidence(papers)


@pytest.fixture(scope="session")
def standings(evidence: list[Evidence]) -> Standings:
    return make_standings(evidence)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return make_site(tmp_path_factory.mktemp("report"))
