"""Early stopping, and what the attention begins with."""

import numpy as np
import pytest
import torch

from quire.lab.testing import run_in
from quire.papers.hopfield.experiments import classifiers
from quire.papers.hopfield.experiments.classifiers import hold_out, score_deeprc, train_deeprc
from quire.papers.hopfield.experiments.kmers import SPACED, implant_motif, score_motif
from quire.papers.hopfield.experiments.repertoires import Repertoire


def draw(bags=20, **options):
    return implant_motif(bags, 6, rate=0.5, generator=np.random.default_rng(0), **options)


def test_a_fifth_of_each_class_is_held_out_and_trained_on_by_nobody():
    train = draw()
    fitting, held = hold_out(train, torch.Generator().manual_seed(0))
    assert (len(fitting.label), sorted(held.label.tolist())) == (16, [0, 0, 1, 1])
    rows = {row.tobytes() for row in fitting.codes}
    assert not any(row.tobytes() in rows for row in held.codes)


def test_the_weights_of_the_best_look_are_tested(tmp_path, monkeypatch):
    """The areas of four looks are made up: the second one is best."""
    areas, seen = [60.0, 90.0, 90.0, 40.0], []

    def score(model, run, part):
        seen.append((model.keep, {k: v.clone() for k, v in model.state_dict().items()}))
        return {"auc": areas[len(seen) - 1]}

    monkeypatch.setattr(classifiers, "score_deeprc", score)
    config = Repertoire(look=1, steps=4, whole=2, keep=0.5, kernels=4, batch_size=4)
    model, _ = train_deeprc(config, run_in(tmp_path, config), draw(), "train")
    assert [keep for keep, _ in seen] == [0.5] * 4
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, seen[1][1][name])
    assert not torch.equal(model.output.weight, seen[3][1]["output.weight"])


def test_the_share_of_a_bag_comes_after_the_whole(tmp_path, monkeypatch):
    shares = []
    forward = classifiers.DeepRC.forward
    monkeypatch.setattr(
        classifiers.DeepRC, "forward",
        lambda self, *given: shares.append(self.keep) or forward(self, *given),
    )  # fmt: skip
    config = Repertoire(steps=4, whole=2, keep=0.5, kernels=4, batch_size=4)
    run = run_in(tmp_path, config)
    model, _ = train_deeprc(config, run, draw(), "train")
    assert shares[:4] == [1.0, 1.0, 0.5, 0.5]
    assert score_deeprc(model, run, draw(4))["auc"] >= 0


def test_a_spaced_motif_leaves_the_letters_between():
    made, plain = draw(motif=SPACED), draw(motif=(SPACED[0],))
    assert made.witness.sum() == plain.witness.sum() == 30
    counts = score_motif(made, SPACED)
    assert (counts[1::2] >= 3).all()
    assert counts[::2].sum() == 0
    rows = made.codes[made.witness]
    between = [
        row[at + 1]
        for row in rows
        for at in range(8)
        if (row[at : at + 7 : 2] == SPACED[::2]).all()
    ]
    assert len(set(between)) > 5


def test_classify_knows_the_motif_that_was_implanted(tmp_path):
    train, config = draw(motif=SPACED), Repertoire(method="motif_count", spaced=True)
    found = classifiers.classify(config, run_in(tmp_path, config), train, train, motif=SPACED)
    assert found == {"auc": pytest.approx(100)}
