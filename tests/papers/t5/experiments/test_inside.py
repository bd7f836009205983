import pytest
import torch

from quire.lab.testing import run_in
from quire.lab.training import save_weights
from quire.papers.t5.experiments import inside as looking
from quire.papers.t5.experiments.inside import (
    Inside,
    alike,
    inside,
    list_attentions,
    lose_heads,
    read_layers,
    without_head,
)
from quire.papers.t5.experiments.learner import Net, Tuning, make_model
from quire.papers.t5.experiments.sources import Labelled, read_tasks
from quire.papers.t5.layers import Attention
from quire.papers.t5.model import T5
from quire.papers.t5.procedural import Language

TINY = Net(dim=16, hidden=32, heads=2, layers=2, head_dim=8, dropout=0.0)
TUNING = Tuning(inputs=32, targets=4)


def test_likeness_is_centred_kernel_alignment():
    x, y = torch.randn(40, 5), torch.randn(40, 3)
    kernels = [each.double() @ each.double().T for each in (x, y)]
    centre = torch.eye(40, dtype=torch.float64) - 1 / 40
    a, b = (centre @ each @ centre for each in kernels)
    assert alike(x, y) == pytest.approx(float((a * b).sum() / (a.norm() * b.norm())))
    turn = torch.linalg.qr(torch.randn(5, 5))[0]
    assert alike(x, 3 * x @ turn + 7) == pytest.approx(1, abs=1e-5)
    one, other = torch.eye(4)[:, :2].split(1, dim=1)  # their correlation is -1/3
    assert alike(one, other) == pytest.approx(1 / 9)
    assert (
        alike(torch.tensor([[1.0], [1], [-1], [-1]]), torch.tensor([[1.0], [-1], [1], [-1]])) == 0
    )


def test_a_head_that_is_taken_out_adds_nothing_and_comes_back():
    attention = Attention(8, 2, head_dim=4)
    x = torch.randn(3, 5, 8)
    whole = attention(x)
    alone = []
    for head in range(2):
        with without_head(attention, 1 - head):
            alone.append(attention(x))
    # The heads' sum is the whole: there is no bias.
    torch.testing.assert_close(sum(alone), whole)
    assert torch.equal(attention(x), whole)
    with pytest.raises(RuntimeError, match="lost"), without_head(attention, 0):
        raise RuntimeError("lost")
    assert torch.equal(attention(x), whole)


def test_all_attentions_are_named_once():
    names = [name for name, _ in list_attentions(T5(TINY.size, vocabulary=50))]
    assert names == ["encoder 1", "encoder 2", "decoder 1", "cross 1", "decoder 2", "cross 2"]
    names = [name for name, _ in list_attentions(T5(TINY.size, "causal", vocabulary=50))]
    assert names == ["decoder 1", "decoder 2"]


def test_layers_are_read_without_padding():
    model = T5(TINY.size, vocabulary=50).eval()
    inputs = torch.tensor([[5, 6, 7, 0], [8, 9, 0, 0]])
    layers = read_layers(model, inputs)
    assert [each.shape for each in layers] == [(5, 16), (5, 16)]
    alone = read_layers(model, inputs[1:, :2])
    torch.testing.assert_close(layers[-1][3:], alone[-1])
    torch.testing.assert_close(model.encoder.norm(layers[-1][:3]), model.encode(inputs)[0, :3])
    with pytest.raises(ValueError, match="a causal model has none"):
        read_layers(T5(TINY.size, "causal", vocabulary=50), inputs)


def test_what_a_head_is_worth_is_the_score_lost(tmp_path, monkeypatch):
    run, coder = run_in(tmp_path), Language().words
    model = make_model(TINY, coder, run)
    parts = read_tasks(Labelled(tasks=("nli", "paraphrase"), rows=2, dev=2, test=4), run)

    def scored(model, task, *_):
        heads = [
            float(block.abs().sum())
            for _, each in list_attentions(model)
            for block in each.output.weight.detach().unflatten(1, (2, -1)).unbind(1)
        ]
        missing = [at for at, size in enumerate(heads) if size == 0]
        return 90.0 - sum(at + (task.name == "nli") for at in missing)

    monkeypatch.setattr(looking, "score", scored)
    lost = lose_heads(model, parts, coder, TUNING, run)
    assert len(lost) == 12
    assert list(lost.values()) == [[at + 1, at] for at in range(12)]


def test_a_model_beside_itself_is_alike(tmp_path):
    run = run_in(tmp_path / "first")
    model = make_model(TINY, Language().words, run)
    for name in ("base", "every", "pretrained"):
        if name == "pretrained":
            with torch.no_grad():
                for p in model.encoder.layers[1].parameters():
                    p.add_(torch.randn_like(p))
        save_weights(tmp_path / name, "model", model)
    folders = {name: tmp_path / name for name in ("base", "every", "pretrained")}
    asked = Labelled(tasks=("nli", "paraphrase"), rows=2, dev=2, test=6)
    found = inside(
        Inside(net=TINY, labelled=asked, tuning=TUNING, prunes=True),
        run_in(tmp_path / "run", before=folders),
    )
    assert [found["nli"], found["paraphrase"]] == pytest.approx([100, 100])
    assert found["first"] == pytest.approx(100)
    assert found["last"] < 99
    assert (tmp_path / "run" / "figures" / "heads.png").stat().st_size > 0


def test_heads_of_one_task_have_nothing_to_agree_with(tmp_path):
    asked = Labelled(tasks=("nli",), rows=2, dev=2, test=2)
    with pytest.raises(ValueError, match="two tasks or more"):
        inside(Inside(net=TINY, labelled=asked, tuning=TUNING, prunes=True), run_in(tmp_path))
