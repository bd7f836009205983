"""The tasks, every arm's smoke preset through the lab, and what configs refuse."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from quire.lab import try_run
from quire.lab.job import load_experiment
from quire.lab.papers import find_paper
from quire.papers.bigbird import Dependencies, Recall, hide
from quire.papers.bigbird.experiments import _crossover, _slope
from quire.papers.bigbird.experiments_common import Tagger, parts_of, train_tagger
from quire.papers.bigbird.experiments_dna import Pooled, Promoters
from quire.papers.bigbird.experiments_text import Procedural, _check

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
        ("retrieval", "bigbird", {"asked": 9}, "at most 8 questions in front are global here"),
        ("retrieval", "window_only", {"depth": 4}, "reach 16 blocks, and items may be 15 away"),
        ("retrieval", "window_only", {"front": False}, "reach 8 blocks, and items may be 8 away"),
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


def test_no_information_about_an_item_reaches_a_window():
    """Outputs at the questions do not depend on the items, at the laptop's sizes."""
    settings = PAPER.experiments["retrieval"].settings("laptop", "window_only")
    config = Procedural.build(settings)
    task = Recall(config.length, items=config.items, asked=config.asked, front=True)
    _check(config, task)
    torch.manual_seed(0)
    model = Tagger(task.words, config.length, config, 0).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    words, target, _ = task.draw(8, torch.Generator().manual_seed(0))
    other = words.masked_fill((words >= 32) & (words < task.hidden), 5)
    assert (words != other).any(1).all()
    with torch.no_grad():
        a, b = model(words, target >= 0), model(other, target >= 0)
    assert (a == b).all()


def one_step(config, model, examples):
    """`train_tagger` for a step: the loss that it logs and the gradients that it leaves."""
    logged = []
    run = SimpleNamespace(
        steps=lambda total, batch_at, state: [batch_at(0)],
        precision=nullcontext,
        log=lambda loss: logged.append(float(loss)),
    )
    train_tagger(config, run, model, lambda step: examples)
    assert len(logged) == 1, "one step of the optimiser is one step of the run"
    return logged[0], [p.grad for p in model.parameters() if p.grad is not None]


def test_parts_of_a_minibatch_add_up_to_the_whole():
    words = torch.randint(40, (7, 64), generator=torch.Generator().manual_seed(0))
    examples = hide(words, 40, 40, torch.Generator().manual_seed(1))
    examples.target[0] = -100  # a part that asks for nothing
    found = []
    for tokens in (None, 1, 64, 130, 1000):
        torch.manual_seed(0)
        config = Procedural(length=64, block=4, dim=16, heads=2, random=1, tokens_at_once=tokens)
        found.append(one_step(config, Tagger(41, 64, config, 0).double(), examples))
    torch.manual_seed(0)
    model, asked = Tagger(41, 64, config, 0).double(), examples.target >= 0
    loss = cross_entropy(model(examples.words, asked), examples.target[asked])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    for value, gradients in found:
        assert value == pytest.approx(float(loss.detach()), abs=1e-12)
        for a, b in zip(gradients, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tokens", "parts"), [(None, [5]), (1, [1] * 5), (6, [2, 2, 1])])
def test_parts_are_whole_sequences(tokens, parts):
    config = Procedural(tokens_at_once=tokens)
    words, label = torch.arange(15).view(5, 3), torch.arange(5)
    found = list(parts_of(config, words, label))
    assert [len(part) for part, _ in found] == parts
    assert all((part[:, 0] == 3 * mine).all() for part, mine in found)


def test_tokens_of_several_bases():
    config = Promoters(bases_a_token=3, block=2, random=1, dim=8, depth=1, heads=2)
    torch.manual_seed(0)
    net, x = Pooled(config, 60, 0), torch.randint(4, (2, 60))
    words = x[:, 0::3] + 4 * x[:, 1::3] + 16 * x[:, 2::3]
    torch.testing.assert_close(net(x), net.output(net.encoder(words).mean(1)))
    assert net.encoder.word.num_embeddings == 64
    with pytest.raises(ValueError, match="61 bases cannot be cut in tokens of 3"):
        Pooled(config, 61, 0)


def test_the_papers_minibatches():
    for experiment, arm, sequences in [
        ("context", "bigbird_4096", 256), ("genome", "bigbird_1024", 256),
        ("promoters", "bigbird_kept", 256),
    ]:  # fmt: skip
        _, config_class = load_experiment("bigbird", experiment)
        config = config_class.build(PAPER.experiments[experiment].settings("paper", arm))
        assert config.tokens_at_once
        count = getattr(config, "tokens", 0) // getattr(config, "length", 1) or config.batch_size
        assert count == sequences
        assert (config.dim, config.depth, config.heads) == (768, 12, 12)


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
