"""What experiments measure and how they split: folds, links, views, students."""

import torch

from quire.lab.testing import run_in
from quire.papers.dfa import DirectFeedback, LanguageModel, Rays, micro
from quire.papers.dfa.experiments.citations import split_folds
from quire.papers.dfa.experiments.speed import Hooked
from quire.papers.dfa.experiments.theory import Students, Theory, first_step
from quire.papers.dfa.experiments.views import Scene, nearest_decibels


def test_folds_hold_every_class_alike() -> None:
    label = torch.tensor([0] * 50 + [1] * 25)
    fold = split_folds(label, torch.Generator().manual_seed(0))
    assert torch.bincount(fold).tolist() == [15] * 5
    assert torch.bincount(fold[label == 0]).tolist() == [10] * 5
    assert not torch.equal(fold, split_folds(label, torch.Generator().manual_seed(1)))


def test_the_nearest_camera_is_found() -> None:
    colour = torch.arange(3.0).view(3, 1, 1).expand(3, 4, 3) / 2
    where = torch.tensor([[0.0, 0, 0], [5, 0, 0], [9, 0, 0]])
    train = Rays(where[:, None].expand(3, 4, 3), torch.zeros(3, 4, 3))
    test = Rays(torch.tensor([[[8.0, 0, 0]] * 4]), torch.zeros(1, 4, 3))
    scene = Scene(train, colour, colour, test, torch.full((1, 4, 3), 0.9), 2.0, 6.0, (2, 2))
    assert abs(nearest_decibels(scene) - 20) < 1e-4


def test_students_descend_and_agree_where_feedback_leads(tmp_path) -> None:
    run = run_in(tmp_path, Theory())
    ends = []
    for rule in ("direct", "backward"):
        students = Students(run, 200)
        before = students.measure()[0]
        for _ in range(200):
            students.descend(rule, 0.02)
        assert students.measure()[0] < before
        ends.append(torch.cosine_similarity(*students.first.flatten(1), dim=0))
    assert ends[0] > 0.9 > 0.5 > ends[1]
    assert first_step(torch.tensor([False, True, True])) == 1
    assert first_step(torch.tensor([False, False])) == 2


def test_hooks_give_the_gradients_of_the_cut_graph() -> None:
    torch.manual_seed(0)
    net = LanguageModel(7, dim=8, layers=2, heads=2, dropout=0.0).double()
    model, x = DirectFeedback(net, micro(net), source="encoder"), torch.randint(7, (3, 5))
    model.prepare(x)
    found = []
    for each in (model, Hooked(model)):
        net.zero_grad()
        each(x).square().sum().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    torch.testing.assert_close(*found)
