"""Click logs: places, parts, orders, early stopping."""

import numpy as np
import pytest
import torch

from quire.data.sets.criteo import index_log
from quire.lab.testing import run_in
from quire.papers.dfa.experiments.clicks import (
    Clicks,
    Order,
    Shifted,
    Stopper,
    Table,
    bucket,
    clicks,
    load_table,
    split,
    take,
)


class FakeRun:
    seed, device = 3, torch.device("cpu")


def test_numbers_become_buckets() -> None:
    found = bucket(np.array([np.nan, -1.0, 0.0, 2.0, 3.0, 100.0]))
    assert found.tolist() == [-1e9, -1, 0, 2, 1001, 1021]


def test_every_row_is_tested_once_and_never_trained_on_then() -> None:
    tested = []
    for part in split(53, 10, FakeRun()):
        together = np.concatenate(part)
        assert sorted(together) == list(range(53))
        tested += part.test.tolist()
    assert sorted(tested) == list(range(53))
    (single,) = split(100, 1, FakeRun())
    assert [len(part) for part in single] == [80, 10, 10]
    with pytest.raises(ValueError, match="folds must be 1, for one random split, or 3 or more"):
        split(53, 2, FakeRun())


def test_an_order_follows_from_seed_and_epoch() -> None:
    rows = np.arange(5, 25)
    order = Order(rows, (1, 0))
    first, second = order.at(0).copy(), order.at(1).copy()
    assert sorted(first) == rows.tolist()
    assert not np.array_equal(first, second)
    assert np.array_equal(Order(rows, (1, 0)).at(1), second)


def test_rows_are_taken_in_the_order_that_is_asked_for() -> None:
    place = np.array([[0, 1], [2, 0], [1, 1]], np.int32)
    table = Table(Shifted(place, np.array([0, 3])), np.array([0, 1, 1], np.uint8), 5)
    x, y = take(table, np.array([2, 0, 1]), FakeRun())
    assert x.tolist() == [[1, 4], [0, 4], [2, 3]]
    assert y.tolist() == [1, 0, 1]


def test_a_stopper_keeps_the_best_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    stopper = Stopper(model)
    for score, weight in ((0.5, 1.0), (0.7, 2.0), (0.6, 3.0), (0.65, 4.0)):
        torch.nn.init.constant_(model.weight, weight)
        bad = stopper.see(score, model)
    assert bad == 2
    assert stopper.weights["weight"].item() == 2
    other = Stopper(model)
    other.load_state_dict(stopper.state_dict())
    assert other.see(0.6, model) == 3


def test_the_whole_log_is_read_where_it_is(tmp_path) -> None:
    rows = "\t".join(["{}", *["{}"] * 13, *["ab"] * 26]) + "\n"
    source = tmp_path / "train.txt"
    source.write_text("".join(rows.format(i % 2, *[i % 2] * 13) for i in range(60)))
    index_log(source, tmp_path / "data" / "criteo")
    config = Clicks(log="criteo", dim=2, hidden=(4,), crosses=2, epochs=2, batch_size=16,
                    learning_rate=0.05)  # fmt: skip
    run = run_in(tmp_path / "run", config, data=tmp_path / "data")
    table = load_table(config, run)
    assert table.values == 13 * 3 + 26 * 2
    x, _ = take(table, np.arange(2), run)
    assert x.min() >= 0
    assert (x[:, 0].tolist(), x[0, 13:15].tolist()) == ([1, 2], [40, 42])
    assert clicks(config, run).keys() == {"validation_auc", "auc", "log_loss", "alignment"}
