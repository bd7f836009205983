import pytest
import torch

from quire.papers.gshard import count_products, side
from quire.papers.gshard.experiments.tasks import Block, Tables, Tasks, count_work
from quire.papers.gshard.experiments.translation import (
    PADDING,
    bleu,
    decode,
    encode,
    find_counted,
    lose,
)


def test_a_collapsed_start_sends_all_to_two_experts_and_a_fresh_one_does_not():
    torch.manual_seed(0)
    loads = []
    for gap in (3.0, 0.0):
        model = Block(Tasks(gap=gap))
        with torch.no_grad():
            model(torch.randint(128, (4, 128)), torch.randint(32, (4, 128)))
        loads.append(side(model))
    assert float(loads[0]["dropped"]) > 0.7
    assert float(loads[0]["balance"]) > 4
    assert float(loads[1]["dropped"]) < 0.1


def test_dense_arms_cost_what_mixtures_cost_with_their_gates():
    for experts, hidden in ((16, 72), (64, 96)):
        mixture = count_work(Tasks(experts=experts))
        assert mixture == count_work(Tasks(method="dense", hidden=hidden))
    # Translation: 264 at 16 experts of 128.
    assert count_products(64, 128, experts=16, choices=2) == count_products(64, 264)


def test_fixed_experts_follow_the_task():
    torch.manual_seed(0)
    model = Block(Tasks(method="fixed", experts=4))
    model(torch.full((1, 12), 5), torch.arange(12)[None])
    assert side(model)["load"][0].tolist() == [0, 12, 0, 12]
    untrained = Block(Tasks(method="untrained"))
    assert not any(p.requires_grad for p in untrained.part.gate.parameters())


def test_batches_follow_the_tables_and_their_frequencies():
    image = torch.stack([torch.randperm(5) for _ in range(3)])
    tables = Tables(image, torch.tensor([0.8, 0.2, 0.0]).double())
    task, symbol, target = tables.draw((4, 500), torch.Generator().manual_seed(0))
    assert torch.equal(target, image[task, symbol])
    assert float((task == 0).float().mean()) == pytest.approx(0.8, abs=0.04)
    assert not (task == 2).any()


def test_sentences_survive_as_bytes():
    sentences = ["Ein Hund läuft.", "", "x" * 50]
    tokens = encode(sentences, 20)
    assert decode(tokens.long()) == ["Ein Hund läuft.", "", "x" * 19]
    counted = find_counted(tokens)
    assert counted.sum(1).tolist() == [17, 1, 20]  # bytes and an end


def test_the_loss_is_the_mean_over_bytes_and_ends():
    target = encode(["ab", ""], 4).long()
    logits = torch.randn(2, 4, PADDING + 2)
    logp = logits.log_softmax(-1)
    wanted = -(logp[0, 0, 97] + logp[0, 1, 98] + logp[0, 2, PADDING] + logp[1, 0, PADDING]) / 4
    torch.testing.assert_close(lose(logits, target), wanted)


def test_bleu_is_that_of_sacrebleu():
    pytest.importorskip("sacrebleu", reason="needs the extra text")
    same = ["a man rides a red bicycle .", "two dogs run ."]
    assert bleu(same, same) == pytest.approx(100)
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 fours; the same length
    wanted = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(["a b c d x"], ["a b c d e"]) == pytest.approx(wanted)
