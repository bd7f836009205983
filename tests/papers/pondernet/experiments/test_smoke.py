"""Every arm of every experiment's smoke preset runs and gives the metrics that it promises."""

from pathlib import Path

import pytest

from quire.data import DataMissing
from quire.lab import try_run
from quire.lab.errors import MissingError
from quire.lab.papers import find_paper

PAPER = find_paper("pondernet")
JOBS = [
    (name, arm)
    for name, experiment in PAPER.experiments.items()
    for arm in experiment.arms_at("smoke")
]


@pytest.mark.parametrize(("experiment", "arm"), JOBS)
def test_smoke(experiment: str, arm: str, tmp_path: Path) -> None:
    try:
        metrics = try_run("pondernet", experiment, arm=arm, preset="smoke", directory=tmp_path)
    except (DataMissing, MissingError) as error:
        pytest.skip(str(error))
    assert metrics and set(metrics) <= set(PAPER.experiments[experiment].metrics)
