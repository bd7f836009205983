"""Heads and decoding against brute force."""

import itertools

import pytest
import torch

from quire.nn import Padding
from quire.papers.bigbird import (
    BigBird,
    BigBirdPattern,
    BigBirdSeq2Seq,
    CandidateHead,
    ClassHead,
    ConditionalSpanHead,
    SpanHead,
)


def spans(may, longest):
    """All spans of allowed tokens."""
    length = len(may)
    return [
        (i, j)
        for i in range(length)
        for j in range(i, min(length, i + longest))
        if all(may[i : j + 1])
    ]


@pytest.mark.parametrize("longest", [1, 3, 99])
def test_the_best_span_by_brute_force(longest):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 12, 2, generator=generator)
    may = torch.rand(5, 12, generator=generator) < 0.7
    may[4] = False
    lengths = torch.tensor([12, 1, 7, 3, 0])
    for allowed, rows in [
        (None, torch.ones(5, 12, dtype=torch.bool)),
        (may, may),
        (Padding(may), may),
        (Padding(lengths), torch.arange(12) < lengths[:, None]),
    ]:
        found = SpanHead.best(scores, longest, allowed)
        for row, given, (begin, end) in zip(scores, rows.tolist(), found.tolist(), strict=True):
            known = spans(given, longest) or [(-1, -1)]
            assert (begin, end) == max(known, key=lambda s: float(row[s[0], 0] + row[s[1], 1]))
    assert SpanHead.best(scores[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("length", "longest", "allowed", "message"),
    [
        (12, 0, None, "a limit of 0 and 12 tokens"),
        (0, 3, None, "a limit of 3 and 0 tokens"),
        (12, 3, torch.ones(5, 11) > 0, "allowed must be Padding or bool .5, 12.*got"),
        (12, 3, torch.ones(5, 12), "allowed must be Padding or bool .5, 12.*got torch.float32"),
        (12, 3, Padding(torch.tensor([3])), "Padding of 1 rows does not fit a batch of 5"),
    ],
)
def test_bad_spans_get_one_line(length, longest, allowed, message):
    with pytest.raises(ValueError, match=message):
        SpanHead.best(torch.zeros(5, length, 2), longest, allowed)


@torch.no_grad()
def test_the_last_token_follows_from_the_first():
    torch.manual_seed(0)
    head = ConditionalSpanHead(8).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, 9, 8, dtype=torch.float64)
    first, last = head(x, torch.tensor([0, 3, 8, 2]))
    assert torch.equal(first, head(x)[0])
    other = head(x, torch.tensor([1, 3, 8, 2]))[1]
    assert torch.equal(other[1:], last[1:]) and (other[0] != last[0]).any()
    may = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) < 0.6
    may[3] = False
    for longest in (1, 3, 99):
        for row, (begin, end) in enumerate(head.best(x, longest, may).tolist()):
            allowed = may[row].tolist()
            places = [i for i in range(9) if allowed[i]]
            if not places:
                assert (begin, end) == (-1, -1)
                continue
            assert begin == max(places, key=lambda i: float(first[row, i]))
            ends = [j for i, j in spans(allowed, longest) if i == begin]
            given = head(x[row : row + 1], torch.tensor([begin]))[1][0]
            assert end == max(ends, key=lambda j: float(given[j]))


def test_candidates_are_scored_by_the_mean_of_their_places():
    torch.manual_seed(0)
    head, x = CandidateHead(8), torch.randn(2, 6, 8)
    places = torch.tensor([[0, 0, 2, -1, 2, 0], [-1] * 6])
    found = head(x, places, 3)
    each = head.score(x)[0, :, 0]
    torch.testing.assert_close(
        found[0, [0, 2]], torch.stack((each[[0, 1, 5]].mean(), each[[2, 4]].mean()))
    )
    assert found[0, 1] == -torch.inf and (found[1] == -torch.inf).all()
    grad = torch.autograd.grad(found[0, [0, 2]].sum(), head.score.weight)[0]
    assert grad.isfinite().all()
    with pytest.raises(ValueError, match=r"candidate must be \(2, 6\), got \(2, 5\)"):
        head(x, places[:, 1:], 3)


def test_classes_come_from_the_first_token():
    head, x = ClassHead(8, 3).eval(), torch.randn(2, 6, 8)
    expected = head.score(torch.tanh(head.pooler[0](x[:, 0])))
    torch.testing.assert_close(head(x), expected)
    assert (head.train()(x) != head(x)).any()


def summariser(words=5, **options):
    torch.manual_seed(0)
    pattern = BigBirdPattern(4, random=1)
    options = {"dropout": 0.0} | options
    encoder = BigBird(words, 16, layers=2, heads=2, length=64, pattern=pattern, **options)
    model = BigBirdSeq2Seq(encoder, length=12).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


SOURCE, MASK = torch.arange(150).view(3, 50) % 5, Padding(torch.tensor([50, 31, 12]))


def judged(model, steps, end, penalty):
    """The best of all targets, by the whole pass."""
    best = [(-float("inf"), None)] * 3
    for length in range(1, steps + 1):
        for body in itertools.product(range(5), repeat=length):
            if end in body[:-1] or (body[-1] != end and length < steps):
                continue
            target = torch.tensor([[1, *body[:-1]]] * 3)
            logs = model(SOURCE, target, MASK).log_softmax(-1)
            total = logs[:, torch.arange(length), list(body)].sum(1)
            score = total / ((5 + length) / 6) ** penalty
            padded = [*body, *[end] * (steps - length)]
            best = [max(old, (float(new), padded)) for old, new in zip(best, score, strict=True)]
    return [words for _, words in best]


@pytest.mark.parametrize("penalty", [0.0, 0.8, 3.0])
def test_a_beam_that_keeps_everything_finds_the_best_target(penalty):
    model = summariser()
    with torch.no_grad():
        expected = judged(model, 3, end=2, penalty=penalty)
    found = model.search(SOURCE, 1, steps=3, end=2, beams=25, penalty=penalty, mask=MASK)
    assert found.tolist() == expected


def test_one_beam_without_a_penalty_is_greedy():
    model = summariser()
    greedy = model.greedy(SOURCE, 1, steps=9, mask=MASK)
    never = model.search(SOURCE, 1, steps=9, end=4, beams=1, penalty=0, mask=MASK)
    for end in range(5):
        ended = model.greedy(SOURCE, 1, steps=9, end=end, mask=MASK)
        for plain, row in zip(greedy.tolist(), ended.tolist(), strict=True):
            stop = plain.index(end) + 1 if end in plain else 9
            assert row == plain[:stop] + [end] * (9 - stop)
    assert never.shape == (3, 9)


def test_bad_searches_get_one_line():
    model = summariser()
    with pytest.raises(ValueError, match="steps must be at most the length 12, got 13"):
        model.greedy(SOURCE, 1, steps=13)
    with pytest.raises(ValueError, match="beams and steps must be at least 1, got 0 and 3"):
        model.search(SOURCE, 1, steps=3, end=0, beams=0)
    assert model.greedy(SOURCE[:0], 1, steps=3).shape == (0, 3)


def test_a_rotary_decoder_turns_its_queries_and_drops_out_as_its_encoder():
    model = summariser(rotary=True)
    assert model.position is None and model.decoder.layers[0].attention.positions is not None
    words = model.greedy(SOURCE, 1, steps=20, mask=MASK)
    target = torch.cat((torch.ones(3, 1, dtype=torch.long), words[:, :-1]), 1)
    assert torch.equal(model(SOURCE, target, MASK).argmax(-1), words)
    scores = [model(SOURCE, torch.tensor([words] * 3))[:, 2] for words in ([1, 2, 3], [2, 1, 3])]
    assert not torch.allclose(*scores)
    dropping = summariser(dropout=0.3).train()
    assert (dropping(SOURCE, target[:, :5]) != dropping(SOURCE, target[:, :5])).any()
    assert dropping.decoder.layers[1].attention_residual.dropout.p == 0.3
    assert BigBird(20, 16, layers=1, heads=2, length=8).dropout.p == 0.1
