"""What the experiments share, and the guards of the verdict."""

import pytest
import torch

from quire.lab.errors import Interrupted
from quire.lab.testing import logged, noted, run_in
from quire.papers.two_plus_two import list_cells, make_lesson, only, witnesses
from quire.papers.two_plus_two.experiments import decay, extrapolation, jury
from quire.papers.two_plus_two.experiments.adversary import Adversary, adversary
from quire.papers.two_plus_two.experiments.fraction import COUNTS, Fraction, fraction
from quire.papers.two_plus_two.experiments.learner import (
    ask,
    find_right,
    measure_confidence,
    round_half_up,
    teach_panel,
    train,
)
from quire.papers.two_plus_two.experiments.leave_one_out import LeaveOneOut, leave_one_out

PAIRS = list_cells()


def heard(tmp_path, **options):
    config = jury.Panel(**options)
    return jury.jury(config, run_in(tmp_path, config))


@pytest.mark.parametrize(("shift", "says"), [(0, 4), (1, 5)])
@pytest.mark.parametrize("family", ["linear", "mlp_reg"])
def test_the_verdict_follows_the_labels(family, shift, says, tmp_path):
    """Taught a + b + 1 the panel says 5: nothing in it knows that 4 is asked for."""
    found = heard(tmp_path, family=family, shift=shift, members=2, steps=300, learning_rate=1e-2)
    assert found[f"says_{'four' if says == 4 else 'five'}"] == 100
    assert found["answer"] == pytest.approx(says, abs=0.3)
    assert found["seen"] > 90


def test_the_clerk_is_wrong_and_the_record_says_so(tmp_path):
    run = run_in(tmp_path, config := jury.Panel(family="lookup"))
    found = jury.jury(config, run)
    assert found["says_four"] == 0
    assert found["scale"] > 0.4
    assert "THE WITNESS lookup" in noted(run)[0]
    assert set(run.results) == {"answers", "four", "five", "neither"}


def test_a_leak_is_refused_before_anything_is_learned(tmp_path, monkeypatch):
    real = jury.make_lesson
    monkeypatch.setattr(
        jury, "make_lesson", lambda shown, *rest: real(torch.ones_like(shown), *rest)
    )
    with pytest.raises(ValueError, match=r"contains 2 \+ 2"):
        heard(tmp_path, steps=1)


@pytest.mark.parametrize("holdout", ["sum", "number"])
def test_more_can_be_held_out(holdout, tmp_path):
    found = heard(tmp_path, family="linear", holdout=holdout, members=2)
    assert found["hidden_right"] == found["says_four"] == 100


def test_one_bad_member_stops_no_other(tmp_path):
    lesson = make_lesson(~only(2, 2)(PAIRS).expand(3, -1), PAIRS)
    net = witnesses()["mlp_reg"].swear_in(3)
    with torch.no_grad():
        next(net.parameters())[1] = torch.nan
    run = run_in(tmp_path)
    for _ in train(net, lesson, run, steps=5, learning_rate=1e-3):
        pass
    answers = ask(net, PAIRS)
    assert answers.isfinite().all(1).tolist() == [True, False, True]
    assert len(logged(run, "loss")) == 5


def test_confidence_is_of_the_own_answer():
    number, classes = witnesses()["mlp_reg"], witnesses()["mlp_onehot"]
    answers = torch.tensor([[4.0, 4.5, 3.9]], dtype=torch.float64)
    found = measure_confidence(number, answers, 0.25)[0].tolist()
    assert found[0] == pytest.approx(0.9545, abs=1e-4)  # two deviations to both sides
    assert found[1] == pytest.approx(0.5, abs=1e-4)
    assert round_half_up(answers).tolist() == [[4, 5, 4]]
    logits = torch.zeros(1, 2, 19).double()
    logits[0, :, 4] = 3.0
    assert find_right(classes, logits, torch.tensor([4, 5])).tolist() == [[True, False]]
    expected = logits.softmax(-1)[0, 0, 4]
    assert measure_confidence(classes, logits, 1.0)[0, 0] == expected


def test_every_cell_is_left_out_of_its_own_net(tmp_path):
    config = LeaveOneOut(family="lookup")
    found = leave_one_out(config, run_in(tmp_path, config))
    assert found["right"] == 0  # a neighbour is wrong by 1 everywhere
    assert found["error"] == 1
    assert found["seen"] == 100
    assert (tmp_path / "figures" / "table.svg").is_file()
    linear = LeaveOneOut(family="linear")
    exact = leave_one_out(linear, run_in(tmp_path / "exact", linear))
    assert exact["right"] == exact["confidence"] == 100
    assert exact["calibration_error"] == pytest.approx(0, abs=1e-6)


def test_panels_of_each_fraction_see_so_many_cells(tmp_path, monkeypatch):
    seen = {}

    def watch(witness, lesson, run, **options):
        seen["counts"] = (lesson.weight > 0).sum(1).tolist()
        return teach_panel(witness, lesson, run, **options)

    monkeypatch.setattr("quire.papers.two_plus_two.experiments.fraction.teach_panel", watch)
    config = Fraction(family="linear", members=2)
    found = fraction(config, run_in(tmp_path, config))
    assert seen["counts"] == [count for count in COUNTS for _ in range(2)]
    assert all(found[f"unseen_{count}"] == 100 for count in COUNTS)


def test_a_lie_moves_least_squares_by_its_leverage(tmp_path):
    """The closed form: the question's row of the hat matrix at the cell that lies."""
    config = Adversary(family="linear", members=1)
    found = adversary(config, run_in(tmp_path, config))
    x = torch.cat([PAIRS, torch.ones(100, 1)], 1)[~only(2, 2)(PAIRS)].double()
    row = torch.tensor([2.0, 2.0, 1.0]).double() @ torch.linalg.inv(x.T @ x) @ x.T
    place = int(only(2, 3)(PAIRS[~only(2, 2)(PAIRS)]).nonzero())
    assert found["shift"] == pytest.approx(-float(row[place]), abs=1e-9)


def test_twins_begin_alike(tmp_path, monkeypatch):
    config = Adversary(family="mlp_onehot", members=2, steps=1)
    monkeypatch.setattr("quire.papers.two_plus_two.experiments.adversary.SAID", 5)  # the truth
    assert adversary(config, run_in(tmp_path, config))["moved"] == 0


def test_lines_far_out(tmp_path):
    config = extrapolation.Extrapolation(body="least_squares", members=1)
    found = extrapolation.extrapolation(config, run_in(tmp_path, config))
    assert found["slope"] == pytest.approx(1)
    assert found["success"] == 100
    tanh = extrapolation.Extrapolation(body="tanh", members=1, steps=30)
    flat = extrapolation.learn_line(tanh, run_in(tmp_path / "tanh", tanh))
    assert abs(flat["slope"]) < 0.6


def test_the_control_is_shown_each_pair_in_one_order():
    pairs, sums, shown = decay.make_modular(torch.Generator().manual_seed(0))
    assert len(pairs) == 97 * 98 // 2
    assert int(shown.sum()) == round(0.4 * len(pairs))
    assert (pairs[:, 0] <= pairs[:, 1]).all()
    assert torch.equal(sums, pairs.sum(1) % 97)


def test_looks_survive_a_resume(tmp_path):
    config = decay.Decay(members=1, steps=6)
    whole = decay.decay(config, run_in(tmp_path / "whole", config))
    with pytest.raises(Interrupted):
        decay.decay(config, run_in(tmp_path / "cut", config, stop_after=3))
    again = run_in(tmp_path / "cut", config)
    assert decay.decay(config, again) == whole
    assert again.results["says_four"]["x"] == [1, 2, 3, 4, 5, 6]
