"""DeepRC against loops over bags."""

import pytest
import torch
from torch import nn

from quire.papers.hopfield import (
    AMINO_ACIDS,
    BagAttention,
    DeepRC,
    SequenceEmbedding,
    bag_softmax,
    encode,
    top_members,
)

SIZES = torch.tensor([4, 1, 7])


def codes(count=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    letters = torch.randint(20, (count, 9), generator=rng, dtype=torch.uint8)
    length = torch.randint(1, 10, (count, 1), generator=rng)
    return letters.masked_fill(torch.arange(9) >= length, 20)


def test_letters_become_numbers_and_back():
    assert encode([AMINO_ACIDS])[0].tolist() == list(range(20))
    assert encode(["CA"], 4)[0].tolist() == [1, 0, 20, 20]
    with pytest.raises(ValueError, match="sequence 1 has a letter that is no amino acid: CBX"):
        encode(["CAS", "CBX"])
    for bad in (["CASS", ""], ["CASSLG"]):
        with pytest.raises(ValueError, match="sequences of 1 to 4 letters expected"):
            encode(bad, 4)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_the_embedding_of_a_sequence_does_not_depend_on_its_padding(width):
    torch.manual_seed(0)
    embed = SequenceEmbedding(6, width).double()
    long = embed(encode(["CASSLG", "CAW"], 12))
    torch.testing.assert_close(long[1], embed(encode(["CAW"]))[0])
    torch.testing.assert_close(long[0], embed(encode(["CASSLG"]))[0])


def test_the_embedding_by_hand():
    torch.manual_seed(0)
    embed = SequenceEmbedding(2, 3).double()
    weight, bias = embed.conv.weight, embed.conv.bias
    scale = (1 / 20 * 19 / 20) ** 0.5
    x = torch.zeros(5, 23, dtype=torch.float64)  # CAW between two blanks
    for at, letter in enumerate("CAW"):
        x[at + 1, AMINO_ACIDS.index(letter)] = 1
        place = at / 2
        ramps = torch.tensor([1 - place, place, 1 - abs(2 * place - 1)])
        x[at + 1, 20:] = (ramps - 0.5) * 12**0.5 * scale
    windows = torch.stack([(weight * x[at : at + 3].T).sum((1, 2)) + bias for at in range(3)])
    expected = nn.functional.selu(windows).amax(0)
    torch.testing.assert_close(embed(encode(["CAW"]))[0], expected)


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
@pytest.mark.parametrize("minibatch", [3, 100])
def test_bags_by_a_loop(pooling, minibatch):
    torch.manual_seed(0)
    attention = BagAttention(6) if pooling == "attention" else None
    model = DeepRC(
        SequenceEmbedding(6, 3), 6, attention=attention, maximum=pooling == "max",
        minibatch=minibatch,
    ).double()  # fmt: skip
    x = codes()
    out = model(x, SIZES)
    for row, part in enumerate(x.split(SIZES.tolist())):
        h = model.embedding(part)
        if pooling == "attention":
            pooled = attention(h).softmax(0) @ h
        else:
            pooled = h.mean(0) if pooling == "mean" else h.amax(0)
        torch.testing.assert_close(out[row], model.output(pooled))
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)


def test_the_best_share_of_each_bag():
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(12, generator=rng)
    bag = torch.repeat_interleave(torch.arange(3), SIZES)
    kept = top_members(scores, bag, SIZES, 0.5)
    expected, begin = [], 0
    for size in SIZES.tolist():
        order = sorted(range(begin, begin + size), key=lambda i: -float(scores[i]))
        expected += order[: -(-size // 2)]
        begin += size
    assert kept.tolist() == sorted(expected)


def test_kept_sequences_alone_decide_and_learn():
    """With keep < 1 the output is that of the bag cut to its best members."""
    torch.manual_seed(0)
    whole = DeepRC(SequenceEmbedding(6, 3), 6, attention=BagAttention(6)).double()
    few = DeepRC(
        SequenceEmbedding(6, 3), 6, attention=BagAttention(6), keep=0.5, minibatch=5
    ).double()
    few.load_state_dict(whole.state_dict())
    x, bag = codes(), torch.repeat_interleave(torch.arange(3), SIZES)
    kept = top_members(whole.score(x), bag, SIZES, 0.5)
    sizes = torch.bincount(bag[kept])
    results = []
    for model, inputs in ((few, (x, SIZES)), (whole, (x[kept], sizes))):
        out = model(*inputs)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_softmax_over_bags():
    rng = torch.Generator().manual_seed(0)
    scores = 300 * torch.randn(12, generator=rng)
    bag = torch.repeat_interleave(torch.arange(3), SIZES)
    expected = torch.cat([part.softmax(0) for part in scores.split(SIZES.tolist())])
    torch.testing.assert_close(bag_softmax(scores, bag, 3), expected)


@pytest.mark.parametrize("options", [{"attention": True}, {}, {"maximum": True},
                                     {"attention": True, "keep": 0.5}])  # fmt: skip
def test_an_empty_bag_is_pooled_to_zeros_and_changes_no_other(options):
    torch.manual_seed(0)
    attention = BagAttention(6) if options.pop("attention", False) else None
    model = DeepRC(SequenceEmbedding(6, 3), 6, attention=attention, **options).double()
    expected = model(codes(), SIZES)
    out = model(codes(), torch.tensor([4, 0, 1, 7, 0]))
    torch.testing.assert_close(out[[0, 2, 3]], expected)
    torch.testing.assert_close(out[[1, 4]], model.output.bias.expand(2, -1))
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    none = encode([], 9)
    torch.testing.assert_close(model(none, torch.tensor([0, 0])), out[[1, 4]])
    assert model(none, torch.zeros(0, dtype=torch.int64)).shape == (0, 1)
    for sizes in ([12, 1], [13, -1]):
        with pytest.raises(ValueError, match="12 sequences in all and none fewer than 0"):
            model(codes(), torch.tensor(sizes))


def test_no_sequence_is_no_row():
    assert encode([]).shape == (0, 0)
    assert SequenceEmbedding(6, 3)(encode([], 4)).shape == (0, 6)
    with pytest.raises(ValueError, match="below 1 with attention only"):
        DeepRC(SequenceEmbedding(6, 3), 6, keep=0.5)


@pytest.mark.parametrize(("size", "keep", "count"), [(70, 0.1, 7), (10, 0.3, 3), (30, 0.1, 3),
                                                     (1, 0.1, 1), (11, 0.1, 2)])  # fmt: skip
def test_a_share_is_rounded_up_and_no_further(size, keep, count):
    zeros = torch.zeros(size, dtype=torch.int64)
    assert len(top_members(torch.randn(size), zeros, torch.tensor([size]), keep)) == count
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"keep must be in \(0, 1\]"):
            top_members(torch.randn(size), zeros, torch.tensor([size]), bad)
