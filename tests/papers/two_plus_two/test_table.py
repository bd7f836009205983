"""The table: what is held out is in no lesson, and every member's cells count alike."""

import pytest
import torch

from quire.papers.two_plus_two import (
    Lesson,
    check_leak,
    containing,
    list_cells,
    make_lesson,
    only,
    random_cells,
    with_sum,
)

PAIRS = list_cells()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_cells_are_all_pairs_row_by_row():
    assert PAIRS.tolist() == [[a, b] for a in range(10) for b in range(10)]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (only(2, 2), {(2, 2)}),
        (only(2, 3), {(2, 3)}),
        (with_sum(4), {(a, 4 - a) for a in range(5)}),
        (containing(2), {(a, 2) for a in range(10)} | {(2, b) for b in range(10)}),
    ],
)
def test_holdouts(held, expected):
    assert {tuple(pair) for pair in PAIRS[held(PAIRS)].tolist()} == expected


def test_random_cells_are_drawn_anew_and_never_the_question():
    draw = random_cells(30, generator=generator(), never=only(2, 2))
    masks = torch.stack([draw(PAIRS) for _ in range(200)])
    assert masks.sum(1).unique().tolist() == [30]
    assert not masks[:, only(2, 2)(PAIRS)].any()
    share = masks.double().mean(0)[~only(2, 2)(PAIRS)]
    assert 0.15 < share.min() < 30 / 99 < share.max() < 0.45
    assert random_cells(0)(PAIRS).sum() == 0
    assert random_cells(99, never=only(2, 2))(PAIRS).sum() == 99


@pytest.mark.parametrize("count", [-1, 100])
def test_more_cells_than_there_are_are_refused(count):
    with pytest.raises(ValueError, match="count must be 0 to 99"):
        random_cells(count, never=only(2, 2))(PAIRS)


def test_a_lesson_holds_what_is_shown_and_nothing_else():
    shown = torch.rand(4, 100, generator=generator()) < torch.tensor([[0.1], [0.5], [0.9], [0.99]])
    shown &= ~only(2, 2)(PAIRS)
    lesson = make_lesson(shown, PAIRS)
    for row, pairs, weight in zip(shown, lesson.pairs, lesson.weight, strict=True):
        wanted = {tuple(pair) for pair in PAIRS[row].tolist()}
        assert {tuple(pair) for pair in pairs.tolist()} == wanted
        counted = [tuple(pair) for pair in pairs[weight > 0].tolist()]
        assert sorted(counted) == sorted(wanted)
        assert weight.sum() == pytest.approx(1)
        assert weight[weight > 0].unique().numel() == 1
    assert torch.equal(lesson.sums, lesson.pairs.sum(-1))
    check_leak(lesson, only(2, 2))


def test_labels_of_each_member():
    said = torch.stack([PAIRS.sum(-1), PAIRS.sum(-1) + 1])
    lesson = make_lesson(~only(2, 2)(PAIRS).expand(2, -1), PAIRS, said)
    assert torch.equal(lesson.sums - lesson.pairs.sum(-1), torch.tensor([[0], [1]]).expand(2, 99))


def test_the_guard_sees_a_leak():
    lesson = make_lesson(torch.ones(1, 100, dtype=torch.bool), PAIRS)
    with pytest.raises(ValueError, match=r"the lesson contains 2 \+ 2, which is held out"):
        check_leak(lesson, only(2, 2))
    with pytest.raises(ValueError, match=r"0 \+ 4"):
        check_leak(make_lesson(~only(2, 2)(PAIRS)[None], PAIRS), with_sum(4))


def test_refusals_and_devices():
    with pytest.raises(ValueError, match=r"shown must be \(members, 100\), got \(100,\)"):
        make_lesson(torch.ones(100, dtype=torch.bool), PAIRS)
    with pytest.raises(ValueError, match="at least one cell"):
        make_lesson(torch.zeros(2, 100, dtype=torch.bool), PAIRS)
    moved = make_lesson(torch.ones(1, 100, dtype=torch.bool), PAIRS).to(torch.device("meta"))
    assert isinstance(moved, Lesson)
    assert moved.pairs.device.type == "meta"
