"""What a molecule may read."""

import numpy as np
import pytest
import torch

from quire.data import DataMissing
from quire.lab.testing import run_in
from quire.papers.hopfield.experiments.molecules import (
    Labelled,
    Lookup,
    Molecules,
    load_molecules,
    molecules,
)


def test_a_training_molecule_does_not_read_its_own_label():
    torch.manual_seed(0)
    model = Lookup(Molecules(dropout=0.0), 4, 1).double()
    known = Labelled(torch.randn(5, 4).double(), torch.randint(2, (5, 1)).double())
    rows = torch.tensor([3, 0])
    before = model(known.x[rows], known, rows)
    flipped = known.y.clone()
    flipped[3] = 1 - flipped[3]
    after = model(known.x[rows], known._replace(y=flipped), rows)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs() > 1e-9
    assert (model(known.x[rows], known)[0] - before[0]).abs() > 1e-9


def test_a_file_of_molecules_is_read_and_a_missing_one_is_named(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    split = np.repeat([0, 1, 2], 10)
    (tmp_path / "moleculenet").mkdir()
    y = np.stack((np.arange(30) % 2, np.arange(30) // 2 % 2), 1)
    np.savez(tmp_path / "moleculenet" / "bace.npz", x=x, y=y, split=split)
    config = Molecules(molecules="bace", epochs=1)
    run = run_in(tmp_path / "run", config, data=tmp_path)
    known, test = load_molecules(config, run)
    assert (known.x.shape, test.y.shape) == ((10, 3), (10, 2))
    torch.testing.assert_close(known.x.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    pytest.importorskip("sklearn")
    assert 0 <= molecules(config, run)["auc"] <= 100
    with pytest.raises(DataMissing, match=r"moleculenet/hiv.npz is not in the folder"):
        load_molecules(Molecules(molecules="hiv"), run)
