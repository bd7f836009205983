"""Bags of real receptors."""

import pytest

from quire.lab.testing import run_in
from quire.papers.hopfield.experiments.repertoires_real import Receptors, make_receptor_bags


def test_bags_of_receptors_share_none(data_root, tmp_path):
    run = run_in(tmp_path, data=data_root)
    try:
        train, test = make_receptor_bags(Receptors(bags=6, test_bags=4, sequences=100), run)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    rows = [{row.tobytes() for row in part.codes} for part in (train, test)]
    assert not rows[0] & rows[1]
    assert train.witness.reshape(6, 100).sum(1).tolist() == [0, 3, 0, 3, 0, 3]
    with pytest.raises(ValueError, match="no receptor of VDJdb binds XYZ"):
        make_receptor_bags(Receptors(epitope="XYZ"), run)
