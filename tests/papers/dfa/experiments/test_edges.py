"""Links that are taken away are nowhere else."""

import pytest
import torch

from quire.data.store import DataMissing, status
from quire.lab.execute import data_root
from quire.lab.testing import run_in
from quire.papers.dfa.experiments.edges import Edges, key, load_split


def test_links_are_split_once(tmp_path) -> None:
    if not status("planetoid", data_root()).present:
        pytest.skip(str(DataMissing("planetoid is not here")))
    split = load_split(Edges(), run_in(tmp_path, data=data_root()))
    nodes = len(split.x)
    left = key(split.links.edge, nodes)
    held = [part.edge[:, part.label == 1] for part in (split.val, split.test)]
    others = [part.edge[:, part.label == 0] for part in (split.val, split.test)]
    assert [part.shape[1] for part in held] == [263, 527]
    assert [part.shape[1] for part in others] == [263, 527]
    for pairs in (*held, *others):
        for way in (pairs, pairs.flip(0)):
            assert not torch.isin(key(way, nodes), left).any()
    assert left.numel() == 2 * (5278 - 263 - 527)
