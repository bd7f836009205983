"""Noise masks, objectives and their lengths against brute force and the paper's example."""

import collections
import itertools
import math

import pytest
import torch

from contract.operators import Operators
from quire.papers.t5.lengths import raw_length, span_counts, span_lengths
from quire.papers.t5.masks import Independent, RandomSpans, everything, suffix
from quire.papers.t5.objectives import (
    Follows,
    Ids,
    MaskedOrRandom,
    Objective,
    Replaced,
    Verdicts,
    bert_style,
    deshuffling,
    drop_tokens,
    kept_to_sentinels,
    mass_style,
    merge,
    next_sentence,
    noise_to_sentinels,
    prefix_lm,
    random_spans,
    replace_spans,
    replaced_tokens,
    span_corruption,
    uniform,
    whole,
)

SMALL = Ids(size=200, sentinels=50)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fixed(*bits):
    """Noise that is given."""
    return lambda tokens, valid, generator: torch.tensor([bits], dtype=torch.bool) & valid


def spans(noise, *, ids=SMALL):
    return Objective(noise, noise_to_sentinels, kept_to_sentinels, ids)


def unpadded(row):
    row = row.tolist()
    end = row.index(1)
    assert not any(row[end + 1 :]), "padding alone follows the end of sequence"
    return row[: end + 1]


def runs(mask):
    return [(value, len(list(group))) for value, group in itertools.groupby(mask)]


# Lengths


@pytest.mark.parametrize(
    ("rate", "mean", "raw", "targets"),
    [(0.15, 3, 568, 114), (0.15, 2, 552, 126), (0.15, 5, 581, 105), (0.15, 10, 591, 99),
     (0.25, 3, 614, 206)],
)  # fmt: skip
def test_the_papers_lengths(rate, mean, raw, targets):
    assert raw_length(512, rate, mean) == (raw, 512, targets)
    assert span_lengths(raw + 1, rate, mean).inputs > 512


def test_lengths_of_small_inputs():
    assert raw_length(64) == (70, 64, 14)
    assert raw_length(128)[::2] == (141, 29)


def test_at_half_noise_a_token_less_is_taken_where_targets_would_be_longer():
    for inputs in range(3, 200):
        raw, found, targets = raw_length(inputs, 0.5, 3)
        assert targets <= found <= inputs or raw < 4


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("mean", [1.0, 3.0, 10.0])
def test_drawn_lengths_are_the_counted_ones(rate, mean):
    for raw in range(1, 40):
        tokens = torch.arange(3, 3 + raw).repeat(5, 1)
        inputs, targets = span_corruption(tokens, rate, mean=mean, generator=seeded(raw), ids=SMALL)
        assert (raw, inputs.shape[1], targets.shape[1]) == span_lengths(raw, rate, mean)
        assert (inputs != 0).all() and (targets != 0).all(), "no padding"
        assert (inputs[:, -1] == 1).all() and (targets[:, -1] == 1).all()


@pytest.mark.parametrize(
    ("call", "named"),
    [(lambda: span_counts(9, 0.0), "rate"), (lambda: span_counts(9, 1.0), "rate"),
     (lambda: span_counts(9, 0.2, 0.5), "mean"), (lambda: raw_length(2), "inputs"),
     (lambda: RandomSpans(float("nan")), "rate"), (lambda: Independent(2.0), "rate"),
     (lambda: Ids(size=10, sentinels=7), "sentinels"),
     (lambda: span_corruption(torch.rand(2, 5)), "integers"),
     (lambda: span_corruption(torch.ones(2, 5, 1).long()), "integers")],
)  # fmt: skip
def test_bad_input_says_what_is_wrong(call, named):
    with pytest.raises(ValueError, match=named):
        call()


# Masks


@pytest.mark.parametrize("roll", [False, True])
def test_random_spans_hold_their_counts(roll):
    valid = torch.ones(200, 61, dtype=torch.bool)
    mask = RandomSpans(0.3, 2.0, roll)(valid.long(), valid, seeded())
    noise, count = span_counts(61, 0.3, 2.0)
    assert (mask.sum(1) == noise).all()
    for row in mask.tolist():
        found = runs(row)
        if roll:
            # Around the ring there are as many as without.
            ring = len(found) - (found[0][0] == found[-1][0])
            assert ring == 2 * count
        else:
            assert len(found) == 2 * count
            assert not row[0] and row[-1]
    assert len({tuple(row) for row in mask.tolist()}) > 190


def test_every_split_is_as_likely():
    # 9 tokens, 4 of them noise in 2 spans: 3 splits of the noise, 4 of the kept ones.
    valid = torch.ones(24_000, 9, dtype=torch.bool)
    assert span_counts(9, 0.45, 2.0) == (4, 2)
    mask = RandomSpans(0.45, 2.0)(valid.long(), valid, seeded(1))
    counts = collections.Counter(tuple(row) for row in mask.tolist())
    assert len(counts) == 12
    chi2 = sum((n - 2000) ** 2 / 2000 for n in counts.values())
    assert chi2 < 31.3  # 0.1 % of chi-squared with 11 degrees of freedom


def test_rows_of_different_lengths_are_those_of_their_length():
    lengths = torch.arange(0, 31)
    valid = torch.arange(30) < lengths[:, None]
    for noise in (RandomSpans(0.4, 2.0), RandomSpans(0.4, 2.0, True), RandomSpans(0.8, 1.0)):
        mask = noise(valid.long(), valid, seeded())
        assert not (mask & ~valid).any()
        for length, row in zip(lengths.tolist(), mask.tolist(), strict=True):
            expected, count = span_counts(length, noise.rate, noise.mean)
            assert sum(row) == expected
            if not noise.roll:
                assert sum(value for value, _ in runs(row)) == count


def test_a_row_of_a_batch_has_the_same_law_as_alone():
    # Rows of 6 in a batch that is 40 wide.
    valid = (torch.arange(40) < 6).repeat(9_000, 1)
    mask = RandomSpans(0.5, 1.5)(valid.long(), valid, seeded(2))
    counts = collections.Counter(tuple(row[:6]) for row in mask.tolist())
    assert span_counts(6, 0.5, 1.5) == (3, 2)
    assert len(counts) == 4
    assert all(abs(n - 2250) < 5 * math.sqrt(2250) for n in counts.values())


def test_independent_noise_and_prefixes():
    valid = torch.ones(400, 50, dtype=torch.bool)
    assert abs(float(Independent(0.15)(valid.long(), valid, seeded()).float().mean()) - 0.15) < 0.01
    found = suffix(valid.long(), valid, seeded())
    splits = (~found).sum(1)
    assert set(splits.tolist()) <= set(range(1, 50)) and len(set(splits.tolist())) > 45
    assert (found == (torch.arange(50) >= splits[:, None])).all()
    assert everything(valid.long(), valid, None).all()


# Objectives


def test_the_papers_example():
    text = "Thank you for inviting me to your party last week ."
    words = text.split()
    tokens = torch.arange(3, 3 + len(words))[None]
    noise = fixed(*(word in ("for", "inviting", "last") for word in words))
    named = dict(enumerate(words, 3)) | {199: "<X>", 198: "<Y>", 197: "<Z>", 1: "</s>"}

    def said(row):
        return " ".join(named[token] for token in unpadded(row[0]))

    inputs, targets = spans(noise)(tokens)
    assert said(inputs) == "Thank you <X> me to your party <Y> week . </s>"
    assert said(targets) == "<X> for inviting <Y> last <Z> </s>"
    inputs, targets = Objective(noise, drop_tokens().inputs, drop_tokens().targets, SMALL)(tokens)
    assert said(inputs) == "Thank you me to your party week . </s>"
    assert said(targets) == "for inviting last </s>"
    inputs, targets = Objective(noise, mass_style().inputs, mass_style().targets, SMALL)(tokens)
    assert said(inputs) == "Thank you <X> <X> me to your party <X> week . </s>"
    assert said(targets) == f"{text} </s>"


def test_every_mask_of_ten_tokens_merges_to_the_raw_text():
    masks = torch.tensor(list(itertools.product([False, True], repeat=10)))
    tokens = torch.randint(3, 150, (len(masks), 10), generator=seeded())
    inputs, targets = spans(lambda t, v, g: masks)(tokens)
    for raw, mask, shown, written in zip(tokens, masks, inputs, targets, strict=True):
        raw, mask = raw.tolist(), mask.tolist()
        assert merge(shown.tolist(), written.tolist(), ids=SMALL) == raw
        # By a loop over tokens.
        for wanted, row in ((False, shown), (True, written)):
            expected, number, previous = [], 0, wanted
            for token, noisy in zip(raw, mask, strict=True):
                if noisy == wanted:
                    expected.append(token)
                elif previous == wanted:
                    number += 1
                    expected.append(200 - number)
                previous = noisy
            assert unpadded(row) == [*expected, 1]
        assert (unpadded(written)[-2:][0] >= 150) == (not mask[-1])


@pytest.mark.parametrize(
    "objective",
    [random_spans(ids=SMALL), random_spans(0.5, roll=True, ids=SMALL), replace_spans(ids=SMALL),
     spans(suffix), spans(everything)],
)  # fmt: skip
def test_drawn_masks_merge_to_the_raw_text(objective):
    lengths = torch.randint(0, 41, (60,), generator=seeded(1))
    tokens = torch.randint(3, 150, (60, 40), generator=seeded())
    inputs, targets = objective(tokens, lengths=lengths, generator=seeded(2))
    for raw, length, shown, written in zip(tokens, lengths, inputs, targets, strict=True):
        merged = merge(unpadded(shown), unpadded(written), ids=SMALL)
        assert merged == raw[:length].tolist()


def test_what_each_objective_shows_and_wants():
    tokens = torch.randint(3, 150, (300, 30), generator=seeded())
    raw = [[*row, 1] for row in tokens.tolist()]

    inputs, targets = prefix_lm(ids=SMALL)(tokens, generator=seeded())
    for row, shown, written in zip(raw, inputs, targets, strict=True):
        assert unpadded(shown)[:-1] + unpadded(written) == row

    inputs, targets = deshuffling(ids=SMALL)(tokens, generator=seeded())
    assert targets.tolist() == raw
    assert (inputs.sort(1).values == targets.sort(1).values).all()
    assert float((inputs == targets)[:, :-1].float().mean()) < 0.1, "all tokens, not 15 %"

    inputs, targets = mass_style(ids=SMALL)(tokens, generator=seeded())
    assert targets.tolist() == raw
    changed = inputs != targets
    assert (inputs[changed] == 199).all() and abs(float(changed.float().mean()) - 0.145) < 0.01

    inputs, targets = bert_style(ids=SMALL)(tokens, generator=seeded())
    assert targets.tolist() == raw
    changed = inputs[inputs != targets]
    share = float((changed == 199).float().mean())
    assert abs(share - 0.9) < 0.03
    assert changed.min() >= 3 and (changed[changed < 199] >= 150).any(), "sentinels included"

    inputs, targets = drop_tokens(ids=SMALL)(tokens, generator=seeded())
    for row, shown, written in zip(raw, inputs, targets, strict=True):
        assert sorted(unpadded(shown)[:-1] + unpadded(written)) == sorted(row)


def test_replaced_tokens_are_told():
    objective = replaced_tokens(Verdicts(7, 8), 0.3, ids=SMALL)
    tokens = torch.randint(3, 150, (50, 40), generator=seeded())
    lengths = torch.full((50,), 33)
    inputs, targets = objective(tokens, lengths=lengths, generator=seeded())
    assert inputs.max() < 150
    differs = (inputs != torch.nn.functional.pad(tokens, (0, 1)))[:, :33]
    assert (targets[:, :33] == torch.where(differs, 8, 7)).all()
    assert abs(float(differs.float().mean()) - 0.3) < 0.04
    same = Objective(Independent(0.5), Replaced(lambda view: view.tokens), Verdicts(7, 8), SMALL)
    assert (same(tokens)[1][:, :-1] == 7).all(), "a sample that hits the token is no replacement"


def test_next_sentence_is_told_from_another_rows_end():
    objective = next_sentence(Follows(3, 4), ids=Ids())
    tokens = torch.arange(6, 6 + 400 * 5).reshape(400, 5)
    inputs, targets = objective(tokens, generator=seeded())
    assert inputs.shape == (400, 6) and targets.shape == (400, 2)
    assert (inputs[:, :3] == tokens[:, :3]).all() and (inputs[:, 3] == 32_099).all()
    exchanged = inputs[:, 4] != tokens[:, 4]
    assert 150 < exchanged.sum() < 250
    assert torch.equal(inputs[:, 4], torch.where(exchanged, tokens.roll(1, 0)[:, 4], tokens[:, 4]))
    assert torch.equal(targets, torch.where(exchanged, 4, 3)[:, None] * torch.tensor([1, 0])
                       + torch.tensor([0, 1]))  # fmt: skip
    with pytest.raises(ValueError, match="takes two rows or more"):
        objective(tokens[0])


def test_lengths_do_not_tell_the_next_sentence():
    objective = next_sentence(Follows(3, 4), ids=SMALL)
    tokens = torch.arange(10, 40).reshape(3, 10)
    lengths = torch.tensor([2, 9, 1])
    for seed in range(8):
        inputs, targets = objective(tokens, lengths=lengths, generator=seeded(seed))
        assert (inputs != 0).sum(1).tolist() == [3, 10, 2]
        end = [20, 21, 22, 23, 24, SMALL.mask, 26, 27, 28]
        if targets[1, 0] == 4:  # the row before has two tokens, which are read again
            end[6:] = [10, 11, 10]
        assert inputs[1].tolist() == [*end, SMALL.eos, 0]
    assert targets[2, 0] == 3  # one token has no second half


def test_the_same_state_gives_the_same_corruption():
    tokens = torch.randint(3, 150, (8, 40))
    for objective in (random_spans(), bert_style(), deshuffling(), prefix_lm()):
        first, again = (objective(tokens, generator=seeded(5)) for _ in range(2))
        other = objective(tokens, generator=seeded(6))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first.inputs, other.inputs)


def test_too_many_spans_are_an_error_and_a_cap_cuts():
    tokens = torch.randint(3, 150, (4, 300))
    with pytest.raises(ValueError, match="more spans than the 50 sentinels"):
        replace_spans(0.5, ids=SMALL)(tokens, generator=seeded())
    inputs, targets = replace_spans(targets=20, ids=SMALL)(tokens, generator=seeded())
    assert targets.shape == (4, 20) and (targets[:, -1] == 1).all()
    assert inputs.shape == (4, 301)


def test_one_row_one_token_and_none():
    inputs, targets = span_corruption(torch.arange(3, 30), ids=SMALL)
    assert inputs.dim() == targets.dim() == 1
    for objective in (random_spans(roll=True), bert_style(), deshuffling(), prefix_lm(),
                      replace_spans(), mass_style(), drop_tokens(),
                      next_sentence(Follows(3, 4))):  # fmt: skip
        for shape in ((2, 1), (2, 2), (2, 0), (0, 5)):
            inputs, targets = objective(torch.full(shape, 9))
            assert len(inputs) == len(targets) == shape[0]
            assert ((inputs == 1).sum(1) == 1).all()
    for dtype in (torch.uint8, torch.int16, torch.int32):
        inputs, _ = span_corruption(torch.full((2, 9), 9, dtype=dtype))
        assert inputs.dtype == torch.int64


def test_work_does_not_grow_with_rows_or_tokens_and_nothing_is_read_back():
    def count(rows, length):
        tokens = torch.empty(rows, length, dtype=torch.long, device="meta")
        objective = Objective(
            RandomSpans(roll=True), noise_to_sentinels, kept_to_sentinels, Ids(), None
        )
        others = (bert_style(), deshuffling(), replaced_tokens(Verdicts(3, 4)), prefix_lm(),
                  next_sentence(Follows(3, 4)),
                  Objective(Independent(), MaskedOrRandom(), whole))  # fmt: skip
        with Operators() as operators:
            for each in (objective, random_spans(), *others):
                each(tokens)
        assert not operators.waits
        return operators.number

    assert count(2, 100) == count(64, 2000)


def test_uniform_samples_are_ordinary_ids():
    tokens = torch.zeros(40, 50).long()
    found = Objective(everything, Replaced(uniform), whole, SMALL)(tokens).inputs[:, :-1]
    assert found.min() == 3 and found.max() == 149
