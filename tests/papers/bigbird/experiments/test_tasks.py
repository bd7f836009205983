"""The texts are what they say, and hiding is BERT's."""

import pytest
import torch

from quire.papers.bigbird.experiments.tasks import Dependencies, Recall, hide


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


def test_questions_in_front_are_half_a_text_away():
    task = Recall(128, items=4, asked=2, front=True)
    words, target, _ = task.draw(200, torch.Generator().manual_seed(0))
    stand = (words >= 32) & (words < task.hidden)
    assert (stand.sum(1) == 4).all()
    assert not stand[:, :64].any() and stand[:, 64].any() and stand[:, -1].any()
    assert (words[:, :8] == task.hidden + torch.arange(8) % 4).all()
    assert ((target >= 0) == (torch.arange(128) < 8)).all()
    assert (target[:, :4] == words[stand].view(200, 4)).all()
    assert (target[:, 4:8] == target[:, :4]).all()
    assert task.far == 56


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
