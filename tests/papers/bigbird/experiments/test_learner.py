"""A minibatch in parts, the rate, what reaches an answer, tokens of bases, and bad settings."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from quire.lab import try_run
from quire.lab.job import load_experiment
from quire.lab.papers import find_paper
from quire.lab.testing import logged, run_in
from quire.papers.bigbird.experiments.encoders import Tagger
from quire.papers.bigbird.experiments.growth import fit_exponent
from quire.papers.bigbird.experiments.learner import decide_rate, train_tagger
from quire.papers.bigbird.experiments.promoters import Pooled, Promoters
from quire.papers.bigbird.experiments.retrieval import Retrieval, check_reach
from quire.papers.bigbird.experiments.settings import Encoder, Pattern, Training
from quire.papers.bigbird.experiments.tasks import Recall, hide

PAPER = find_paper("bigbird")


@pytest.mark.parametrize(
    ("experiment", "arm", "overrides", "message"),
    [
        ("blocks", "full", {"attention": "dense"}, "'sparse', 'full' or 'etc' .got 'dense'"),
        ("furthest", "full", {"attention": "etc"}, "'sparse' or 'full' .got 'etc'"),
        ("growth", "training", {"repeats": 1}, "repeats: .* greater than or equal to 2 .got 1"),
        ("blocks", "full", {"asked": 60}, "length must be a multiple of 8"),
        ("copy", "full", {"items": 200}, "has no room for 200 items"),
        ("retrieval", "bigbird", {"asked": 9}, "at most 8 questions in front are global here"),
        (
            "retrieval",
            "window_only",
            {"encoder": {"layers": 4}},
            "reach 16 blocks, and items may be 15 away",
        ),
        ("retrieval", "window_only", {"front": False}, "reach 8 blocks, and items may be 8 away"),
        ("blocks", "bigbird", {"pattern": {"block": 200}}, "are full attention with this pattern"),
        ("genome", "ngram", {"source": "fasta"}, "GRCh37.fa: give --fasta the genome to read"),
        ("genome", "ngram", {"source": "fasta", "fasta": "no.fa"}, "no file no.fa: give --fasta"),
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


def test_a_fasta_file_is_read_where_it_is_named(tmp_path):
    path = tmp_path / "some.fa"
    path.write_text(">one\n" + "ACGT" * 1000 + "\n")
    overrides = {"source": "fasta", "fasta": str(path)}
    metrics = try_run("bigbird", "genome", arm="ngram", directory=tmp_path, overrides=overrides)
    assert metrics["bits"] < 0.1


def test_no_information_about_an_item_reaches_a_window():
    """Outputs at the questions do not depend on the items, at the laptop's sizes."""
    settings = PAPER.experiments["retrieval"].settings("laptop", "window_only")
    config = Retrieval.build(settings)
    task = Recall(config.length, items=config.items, asked=config.asked, front=True)
    check_reach(config, task)
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


def one_step(directory, config, model, examples):
    """`train_tagger` for a step: the loss that it logs and the gradients that it leaves."""
    run = run_in(directory, config)
    train_tagger(config, run, model, lambda step: examples)
    losses = logged(run, "loss")
    assert len(losses) == 1, "one step of the optimiser is one step of the run"
    return losses[0], [p.grad for p in model.parameters() if p.grad is not None]


def test_parts_of_a_minibatch_add_up_to_the_whole(tmp_path):
    words = torch.randint(40, (7, 64), generator=torch.Generator().manual_seed(0))
    examples = hide(words, 40, 40, torch.Generator().manual_seed(1))
    examples.target[0] = -100  # a part that asks for nothing
    found = []
    for tokens in (None, 1, 64, 130, 1000):
        torch.manual_seed(0)
        config = Training(
            pattern=Pattern(block=4, random=1),
            encoder=Encoder(dim=16, layers=2, heads=2, rotary=True),
            steps=1,
            tokens_at_once=tokens,
        )
        model = Tagger(41, 64, config, 0).double()
        found.append(one_step(tmp_path / str(tokens), config, model, examples))
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


def test_the_rate_rises_for_a_tenth_at_most_and_falls_to_zero():
    config = Training(steps=100, warm_up=50, learning_rate=2.0)
    rates = [decide_rate(config, step) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([2 * (100 - step) / 90 for step in range(10, 101)])
    short = Training(steps=100, warm_up=4, learning_rate=2.0)
    assert [decide_rate(short, step) for step in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_tokens_of_several_bases():
    config = Promoters(
        bases_a_token=3,
        pattern=Pattern(block=2, random=1),
        encoder=Encoder(dim=8, layers=1, heads=2, rotary=True),
    )
    torch.manual_seed(0)
    net, x = Pooled(config, 60, 0), torch.randint(4, (2, 60))
    words = x[:, 0::3] + 4 * x[:, 1::3] + 16 * x[:, 2::3]
    torch.testing.assert_close(net(x), net.output(net.encoder(words).mean(1)))
    assert net.encoder.word.num_embeddings == 64
    with pytest.raises(ValueError, match="61 bases cannot be cut in tokens of 3"):
        Pooled(config, 61, 0)


def test_the_papers_minibatches():
    for name, arm, sequences in [
        ("context", "bigbird_4096", 256), ("genome", "bigbird_1024", 256),
        ("promoters", "bigbird_kept", 256),
    ]:  # fmt: skip
        experiment = PAPER.experiments[name]
        _, config_class = load_experiment(experiment, PAPER)
        config = config_class.build(experiment.settings("paper", arm))
        assert config.tokens_at_once
        count = getattr(config, "tokens", 0) // getattr(config, "length", 1) or config.batch_size
        assert count == sequences
        assert (config.encoder.dim, config.encoder.layers, config.encoder.heads) == (768, 12, 12)


def test_exponents():
    lengths = (1000, 2000, 4000, 8000)
    assert fit_exponent(lengths, [3.0 * n**1.5 for n in lengths]) == pytest.approx(1.5)
    assert fit_exponent([], []) == 0
