"""Every task's loss falls and its figure is right, on tiny files, from a checkpoint."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from quire.lab import try_run
from quire.lab.errors import MissingError
from quire.papers.bigbird.experiments.finetune import Finetune, Part, _area, _measure, _overlap


def write_files(root, target, group=None):
    folder = root / "bigbird"
    folder.mkdir()
    words = np.random.default_rng(0).integers(3, 20, size=(12, 30))
    words[3, 20:] = 0
    parts = {f"{part}_{kind}": value for part in ("train", "test")
             for kind, value in (("words", words), ("target", target))}  # fmt: skip
    np.savez(folder / "own.npz", **parts, **({} if group is None else {"group": group}))
    return folder


def write_checkpoint(folder):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BigBirdConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, block_size=2, num_random_blocks=1,
    )  # fmt: skip
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    state = transformers.BigBirdModel(config).state_dict()
    save_file(
        {k: v.contiguous() for k, v in state.items()}, folder / "checkpoint" / "model.safetensors"
    )


TARGETS = {
    "classes": (np.arange(12) % 3, None, {"accuracy"}),
    "labels": (
        np.arange(48).reshape(12, 4) % 5 % 2,
        np.array([0, 1, 2, 2]),
        {"auc_tf", "auc_hm", "auc_dhs"},
    ),
    "span": (np.array([[i % 5, i % 5 + 2] for i in range(12)]), None, {"f1"}),
    "summary": (np.array([[5, 6, 1, 0], [7, 1, 0, 0]] * 6), None, {"rouge1"}),
}


@pytest.mark.parametrize("task", TARGETS)
def test_a_task_runs_from_a_checkpoint_and_a_file(task, tmp_path):
    target, group, names = TARGETS[task]
    folder = write_files(tmp_path, target, group)
    options = {
        "source": "file", "task": task, "dataset": "own", "steps": 2, "beams": 2, "batch_size": 4,
    }  # fmt: skip
    with pytest.raises(MissingError, match=r"no checkpoint .*bigbird-roberta-base"):
        try_run("bigbird", "finetune", directory=tmp_path, overrides=options, data=tmp_path)
    write_checkpoint(folder)
    found = try_run(
        "bigbird", "finetune", directory=tmp_path / "runs", overrides=options, data=tmp_path
    )
    assert set(found) == names
    assert all(0 <= value <= 100 for value in found.values())


def test_figures():
    assert _overlap([1, 2, 2], [2, 2, 3]) == pytest.approx(2 / 3)
    assert _overlap([], []) == 0
    assert _area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert np.isnan(_area(np.array([0.1]), np.array([1])))
    none = np.zeros(0, np.int64)
    span = Finetune(task="span")
    test = Part(none, np.array([[2, 4], [0, 0]]), none)
    assert _measure(span, np.array([[3, 4], [-1, -1]]), test)["f1"] == pytest.approx(40)
