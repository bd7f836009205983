"""Faces: the user's file, both games, each fold's own sigma. Nothing here counts as data."""

import numpy as np
import pytest

from quire.data.sets.tfd import TEST, VALIDATION, tfd
from quire.lab.errors import MissingError
from quire.lab.testing import run_in, try_run
from quire.papers.gan import score_by_parzen
from quire.papers.gan.experiments.faces import judge_folds, to_pixels


@pytest.fixture
def root(tmp_path):
    generator = np.random.default_rng(0)
    fold = np.zeros((60, 5), np.uint8)
    fold[30:] = generator.permuted(np.tile(np.repeat([1, 2, 3], 10)[:, None], 5), axis=0)
    (tmp_path / "data" / "tfd").mkdir(parents=True)
    images = generator.integers(0, 256, (60, 48, 48), np.uint8)
    np.savez(tmp_path / "data" / "tfd" / "tfd.npz", images=images, folds=fold)
    return tmp_path / "data"


@pytest.mark.parametrize("arm", ["stacked", "training"])
def test_both_arms_run(root, tmp_path, arm):
    found = try_run("gan", "faces", arm=arm, directory=tmp_path / "runs", data=root)
    assert np.isfinite([found[name] for name in ("parzen", "parzen_error", "sigma")]).all()
    assert found["nearest_ratio"] > 0


def test_a_fold_has_a_sigma_of_its_own_and_the_error_is_over_folds(root, tmp_path):
    run, known = run_in(tmp_path / "run"), tfd(root)
    samples = to_pixels(known.image[:30], run)
    found = judge_folds(run, known, samples, samples)
    scores = [
        score_by_parzen(
            samples, *(to_pixels(known.take(part, fold), run) for part in (VALIDATION, TEST))
        )
        for fold in range(5)
    ]
    means = [score.mean for score in scores]
    assert found["parzen"] == pytest.approx(np.mean(means))
    assert found["parzen_error"] == pytest.approx(np.std(means, ddof=1) / 5**0.5)
    assert found["sigma"] == pytest.approx(np.mean([score.sigma for score in scores]))


def test_without_the_file_one_line_says_what_to_put_where(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(MissingError, match=r"tfd\.npz not found in .*tfd; put there by hand") as no:
        try_run("gan", "faces", directory=tmp_path / "runs", data=tmp_path / "data")
    assert "\n" not in str(no.value)
