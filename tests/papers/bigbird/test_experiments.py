"""The tasks, every arm's smoke preset through the lab, and what configs refuse."""

import math

import pytest
import torch

from quire.lab import try_run
from quire.lab.papers import find_paper
from quire.papers.bigbird import Dependencies, Recall, hide
from quire.papers.bigbird.experiments import _crossover, _slope

PAPER = find_paper("bigbird")
SMOKE = [
    (experiment, arm)
    for experiment, entry in PAPER.experiments.items()
    if not entry.data
    for arm in entry.arms_at("smoke")
]


@pytest.mark.parametrize(("experiment", "arm"), SMOKE)
def test_smoke(experiment, arm, tmp_path):
    metrics = try_run("bigbird", experiment, arm=arm, preset="smoke", directory=tmp_path)
    assert set(metrics) == set(PAPER.experiments[experiment].metrics)
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("experiment", "arm", "overrides", "message"),
    [
        ("identities", "even", {"attention": "full"}, "attention must be sparse"),
        ("growth", "training", {"attention": "full"}, "attention must be sparse"),
        ("blocks", "full", {"attention": "dense"}, "takes sparse, full or etc, got 'dense'"),
        ("blocks", "full", {"asked": 60}, "length must be a multiple of 8"),
        ("copy", "full", {"items": 200}, "has no room for 200 items"),
        ("blocks", "bigbird", {"block": 200}, "block must be at most the length"),
        ("genome", "ngram", {"source": "fasta"}, "give --fasta the genome to read"),
    ],
)
def test_bad_settings_get_one_line(experiment, arm, overrides, message, tmp_path):
    with pytest.raises(Exception, match=message) as caught:
        try_run(
            "bigbird",
            experiment,
            arm=arm,
            preset="smoke",
            directory=tmp_path,
            overrides=overrides,
            data=tmp_path,
        )
    assert "\n" not in str(caught.value)


def test_dependencies_are_what_they_say():
    task = Dependencies(128, items=3, asked=6)
    words, target, kind = task.draw(40, torch.Generator().manual_seed(0))
    assert words.max() < task.words
    assert [(int((kind == k).sum())) for k in range(3)] == [240, 240, 240]
    assert ((target >= 0) == (kind >= 0)).all()
    for row in range(40):
        key = words[row, 0]
        assert task.key <= key < task.key + 8
        assert (target[row][kind[row] == 1] == key).all()
        items = [int(w) for w in words[row] if task.item <= w < task.hidden]
        assert sorted((w - task.item) // 8 for w in items) == [0, 1, 2]
        for at in (kind[row] == 2).nonzero()[:, 0]:
            which = int(words[row, at]) - task.hidden - 2
            assert int(target[row, at]) in items
            assert (int(target[row, at]) - task.item) // 8 == which
        for at in (kind[row] == 0).nonzero()[:, 0].tolist():
            run = words[row, at // 8 * 8 : at // 8 * 8 + 8]
            plain = run[run < task.key]
            assert (plain == target[row, at]).all()
            assert len(plain)


def test_recall_is_far_away():
    task = Recall(128, items=4, asked=2)
    words, target, _ = task.draw(60, torch.Generator().manual_seed(0))
    for row in range(60):
        stand = (words[row] >= 32) & (words[row] < task.hidden)
        asked = target[row] >= 0
        assert int(stand.sum()) == 4 and int(asked.sum()) == 8
        gaps = (asked.nonzero() - stand.nonzero().T).abs()
        assert int(torch.minimum(gaps, 128 - gaps).min()) >= 32
        found = {int(w) for w in words[row][stand]}
        assert {int(w) for w in target[row][asked]} == found
    again = task.draw(60, torch.Generator().manual_seed(0))
    assert (again.words == words).all()


def test_hiding_is_berts():
    words = torch.randint(256, (200, 500), generator=torch.Generator().manual_seed(0))
    seen, target, kind = hide(words, 256, 256, torch.Generator().manual_seed(1))
    asked = target >= 0
    assert float(asked.float().mean()) == pytest.approx(0.15, abs=0.005)
    assert (seen[~asked] == words[~asked]).all()
    assert (target[asked] == words[asked]).all()
    shares = [float((kind[asked] == k).float().mean()) for k in range(3)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    assert (seen[asked & (kind == 0)] == 256).all()
    assert (seen[kind == 2] == words[kind == 2]).all()


def test_exponents_and_crossover():
    lengths = (1000, 2000, 4000, 8000)
    assert _slope(lengths, [3.0 * n**1.5 for n in lengths]) == pytest.approx(1.5)
    assert _slope(lengths, []) == 0
    assert _crossover(lengths, [0.5, 0.5, 2.0, 4.0]) == pytest.approx(2000 * 2**0.5)
    assert _crossover(lengths, [2.0, 2.0, 2.0, 4.0]) == 1000
    assert _crossover(lengths, [2.0, 2.0, 2.0, 0.9]) == 16000
