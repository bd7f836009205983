import errno
import hashlib
import io
import os
import random
import tracemalloc

import numpy as np
import pytest
import torch

from quire.lab.checkpoint import Checkpoints, random_state, set_random_state
from quire.lab.errors import RunError
from quire.lab.files import write_atomically


@pytest.fixture
def store(tmp_path):
    notes = []
    store = Checkpoints(tmp_path / "checkpoint", notes.append)
    store.notes = notes
    return store


def content(value):
    return {"state": [{"weight": torch.full((3,), float(value))}], "done": False}


def test_round_trip_keeps_two(store):
    assert store.load() is None
    for step in (1, 2, 3):
        store.save(step, content(step))
    assert store.load()["step"] == 3
    assert len(list(store.folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b[:-1] + b"?", lambda b: b""])
def test_a_damaged_checkpoint_gives_way_to_the_previous_one(store, damage):
    store.save(1, content(1))
    store.save(2, content(2))
    newest = max(store.folder.iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    assert store.load()["step"] == 1
    assert store.notes == [f"checkpoint {newest.name} is damaged; going back to the one before it"]


def test_nothing_sound_is_nothing(store):
    store.save(1, content(1))
    for path in store.folder.iterdir():
        path.write_bytes(b"x")
    assert store.load() is None


def test_a_full_disk_leaves_the_last_good_checkpoint(store, monkeypatch):
    store.save(1, content(1))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        store.save(2, content(2))
    assert store.load()["step"] == 1
    assert len(list(store.folder.iterdir())) == 1  # no half-written file


def test_a_pickled_object_is_never_loaded(store):
    store.save(1, content(1))
    store.save(2, {"state": [random.Random(0)]})
    assert store.load()["step"] == 1


def test_tensors_are_written_without_a_second_copy(store):
    big = {"weight": torch.zeros(5_000_000)}  # 20 MB
    tracemalloc.start()
    try:
        assert store.save(1, {"state": [big]}) > 0
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert torch.equal(store.load()["state"][0]["weight"], big["weight"])


def test_a_file_is_named_after_what_it_holds(store):
    """The name and the bytes are those of a checkpoint that was put together in memory."""
    whole = io.BytesIO()
    torch.save(content(1) | {"step": 7}, whole)
    blob = whole.getvalue()
    store.save(7, content(1))
    (path,) = store.folder.iterdir()
    assert path.name == f"0000000007-{hashlib.sha256(blob).hexdigest()[:16]}.pt"
    assert path.read_bytes() == blob


def test_a_checkpoint_that_does_not_read_back_is_not_kept(store, monkeypatch):
    store.save(1, content(1))
    monkeypatch.setattr("quire.lab.checkpoint._fingerprint", lambda path: "another")
    store.save(2, content(2))
    monkeypatch.undo()
    assert store.notes == ["checkpoint of step 2 did not read back; keeping the previous one"]
    assert store.load()["step"] == 1


def test_damaged_checkpoints_of_later_steps_do_not_push_out_new_ones(store):
    for step in (400, 500):
        store.save(step, content(step))
    for path in store.folder.iterdir():
        path.write_bytes(b"x")
    assert store.load() is None
    for step in (10, 20):
        store.save(step, content(step))
        assert store.load()["step"] == step
    assert len(list(store.folder.iterdir())) == 2


def test_what_a_killed_process_left_is_removed(store):
    store.save(1, content(1))
    (store.folder / ".0000000002.123.tmp").write_bytes(b"half")
    store.save(3, content(3))
    assert {path.name[:10] for path in store.folder.iterdir()} == {"0000000001", "0000000003"}


def test_random_state_of_every_generator():
    state = random_state()
    first = (torch.rand(2), np.random.rand(2), random.random())
    set_random_state(state)
    torch.testing.assert_close(torch.rand(2), first[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.rand(2), first[1])
    assert random.random() == first[2]


def test_atomic_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*names):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match="nothing was changed"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
