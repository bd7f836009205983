"""The pattern's rows and counts, and graphs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.nn import Causal, Padding
from quire.papers.bigbird import BigBirdMask, BigBirdPattern, measure_graph


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.integers(12, 40),
    window=st.sampled_from([0, 1, 3, 5]),
    random=st.integers(0, 3),
    ends=st.integers(0, 3),
    seed=st.integers(0, 99),
    shared=st.booleans(),
)
def test_rows_by_brute_force(blocks, window, random, ends, seed, shared):
    if window + random + ends == 0:
        return
    pattern = BigBirdPattern(4, window, random, ends, seed, shared=shared)
    table, plan = pattern.table(4 * blocks, 2), pattern.plan(4 * blocks, 2)
    if pattern.is_full(4 * blocks):
        assert table.all()
        return
    front, back = (ends + 1) // 2, ends // 2
    for head in range(2):
        for row in range(blocks):
            must = set(range(front)) | set(range(blocks - back, blocks))
            if window:
                near = range(row - window // 2, row + window // 2 + 1)
                must |= {block for block in near if 0 <= block < blocks}
            found = set(np.flatnonzero(table[head, row]))
            if row < front or row >= blocks - back:
                assert found == set(range(blocks))
                continue
            drawn = [block for block in plan[head, row].tolist() if block >= 0]
            assert len(drawn) == len(set(drawn)) == random
            assert not must & set(drawn)
            assert found == must | set(drawn)
    if shared:
        assert (plan[0] == plan[1]).all()


def test_the_papers_rows_and_counts():
    pattern = BigBirdPattern(block=64, random=3)
    table = pattern.table(4096, 12)
    assert (table.sum((1, 2)) == 622).all()
    assert [int(table[0, row].sum()) for row in (0, 1, 2, 61, 62, 63)] == [64, 7, 8, 8, 7, 64]
    assert table[0, 1, [0, 1, 2, 63]].all()
    assert table[0, 62, [0, 61, 62, 63]].all()
    assert len({head.tobytes() for head in table}) == 12, "heads share random blocks"
    assert (replace(pattern, seed=1).table(4096, 12) != table).any()
    shares = [BigBirdPattern(1, seed=4).table(count)[0].mean() for count in (32, 64, 256)]
    assert np.round(shares, 4).tolist() == [0.2949, 0.1519, 0.0388]


def test_the_papers_plan_draws_from_the_first_tokens():
    plan = BigBirdPattern(random_tokens=1024).plan(4096, 12)
    assert plan.max() == 15
    assert (plan[:, 1:-1] >= 1).all()


def test_random_blocks_are_spread_evenly():
    plan = BigBirdPattern(1, random=3).plan(66, 400)[:, 30]
    counts = np.bincount(plan.ravel(), minlength=66)
    free = np.r_[1:29, 32:65]
    assert counts.sum() == counts[free].sum() == 1200
    assert counts[free].min() > 0.3 * 1200 / len(free)
    assert counts[free].max() < 2.2 * 1200 / len(free)


def test_the_plan_stays_what_it_was():
    """A checkpoint holds the seed alone: these very blocks must come out for ever."""
    plan = BigBirdPattern(block=4, random=2, seed=3).plan(64, 2)
    assert plan[:, 5].tolist() == [[3, 11], [2, 10]]
    assert plan[:, 11].tolist() == [[2, 13], [4, 14]]


def test_causal_rows_do_not_depend_on_what_follows():
    pattern = BigBirdPattern(4, random=2, causal=True, seed=9)
    long = pattern.table(200, 3)
    for length in (1, 4, 37, 120):
        short = pattern.table(length, 3)
        assert (long[:, : short.shape[1], : short.shape[1]] == short).all()
    assert not np.triu(long, 1).any()
    row = long[0, 30]
    assert row[[0, 28, 29, 30]].all()
    assert row.sum() == 6


def test_mask_combines_and_is_flexs_rule():
    pattern = BigBirdPattern(4, random=1)
    mask = BigBirdMask(pattern, 50, 2)
    allowed = mask.dense(50, 50, 1, 2)
    assert allowed.shape == (1, 2, 50, 50)
    table = torch.from_numpy(pattern.table(50, 2))
    expected = table.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :50, :50]
    assert (allowed[0] == expected).all()
    both = (mask & Causal() & Padding(torch.tensor([30]))).dense(50, 50, 1, 2)
    assert (
        both[0] == (expected & torch.ones(50, 50).tril().bool() & (torch.arange(50) < 30))
    ).all()
    index = [torch.tensor(i) for i in (0, 1, 20, 3)]
    assert bool(mask.mask_mod(*index)) == bool(expected[1, 20, 3])


def test_given_random_blocks_are_used():
    rows = tuple(((), *((i % 5 + 3, 9) for i in range(1, 15)), ()) for _ in range(2))
    pattern = BigBirdPattern(4, random=2, drawn=rows)
    assert pattern.plan(64, 2)[1, 1].tolist() == [4, 9]


def test_figures_of_graphs():
    cycle = np.roll(np.eye(8, dtype=bool), 1, 1)
    found = measure_graph(cycle)
    assert found.diameter == 7
    assert found.average_path == 4
    assert found.spectral_gap == pytest.approx(1 - np.cos(np.pi / 4))
    assert measure_graph(np.ones((6, 6), bool))[:2] == (1, 1)
    assert measure_graph(np.ones((6, 6), bool)).spectral_gap == pytest.approx(6 / 5)
    assert measure_graph(np.eye(3, dtype=bool)).diameter == np.inf
    window = BigBirdPattern(1, random=0, global_blocks=0).table(40)[0]
    assert measure_graph(window).diameter == 39


@settings(max_examples=30, deadline=None)
@given(
    window=st.sampled_from([0, 1, 3]),
    random=st.integers(0, 3),
    ends=st.integers(0, 3),
    shared=st.booleans(),
    given_blocks=st.booleans(),
)
def test_a_causal_row_stands_by_itself(window, random, ends, shared, given_blocks):
    if window + random + ends == 0:
        return
    drawn = tuple(tuple(tuple({i // 2, i // 3})[:random] for i in range(20)) for _ in range(2))
    pattern = BigBirdPattern(
        4,
        window,
        random,
        ends,
        3,
        shared=shared,
        causal=True,
        drawn=drawn if given_blocks else None,
    )
    table = pattern.table(80, 2)
    for row in range(20):
        blocks = pattern.causal_row(row, 2)
        for head in range(2):
            found = [block for block in blocks[head].tolist() if block >= 0]
            assert found == np.flatnonzero(table[head, row]).tolist()
    with pytest.raises(ValueError, match="causal=True"):
        replace(pattern, causal=False).causal_row(3)
    if given_blocks:
        with pytest.raises(ValueError, match="drawn has random blocks for 2 heads and 20 blocks"):
            pattern.causal_row(20, 2)


def test_given_random_blocks_must_fit():
    rows = ((), (2,), (0, 3), ())
    pattern = BigBirdPattern(4, random=2, drawn=[rows, list(rows)])
    assert pattern.drawn == (rows, rows)
    hash(pattern)
    for length, heads in ((64, 2), (12, 2), (16, 3), (16, 1)):
        with pytest.raises(ValueError, match="drawn has random blocks for 2 heads and 4 blocks"):
            pattern.plan(length, heads)
    with pytest.raises(ValueError, match="drawn names block 7, but there are 2 blocks"):
        BigBirdPattern(4, random=1, drawn=((((7,), ())),)).plan(8)
    with pytest.raises(TypeError, match="drawn must hold a row of blocks"):
        BigBirdPattern(drawn=(1, 2))
    with pytest.raises(TypeError, match=r"a block of drawn must be a whole number, got 1\.5"):
        BigBirdPattern(drawn=(((1.5,),),))


def test_the_originals_plans():
    """At 1,024 to 4,096 tokens from the first 1,024; elsewhere from the first 2 R + 5 blocks."""
    pattern = BigBirdPattern(rule="original", seed=2)
    for length in (1024, 2048, 3072, 4096):
        plan = pattern.plan(length, 12)
        assert (plan[:, (0, -1)] == -1).all()
        assert plan[:, 1:-1].min() >= 1 and plan.max() == 15
        assert len({head.tobytes() for head in plan}) == 12
        assert (plan[:, 1:-1] == pattern.plan(4096, 12)[:, 1 : length // 64 - 1]).all()
    assert pattern.plan(1100, 12)[:, 1:-1].max() == 9
    assert replace(pattern, rule="transformers").plan(2048, 12).max() == 9
    evaluation = replace(pattern, rule="transformers_evaluation").plan(1100, 2)
    assert (evaluation[:, 1:-1] == 0).all()
    assert (pattern.plan(768, 1)[0, 1:-1] > 0).all()  # full attention, so it is never used
    with pytest.raises(ValueError, match="positions must be at least 3072 tokens, got 1024"):
        replace(pattern, rule="transformers", positions=1024).plan(3072)
    # At 1,024 tokens block 15 is drawn, and is the last, global one; at 4,096 none is.
    assert pattern.repeats(1024, 2) and not pattern.repeats(4096, 2)
    assert replace(pattern, rule="transformers_evaluation").repeats(4096)
    with pytest.raises(ValueError, match="counts a block twice at 1024 tokens"):
        BigBirdMask(pattern, 1024, 2)
    table = BigBirdMask(pattern, 4096, 2).dense(4096, 4096, 1, 2)[0, :, ::64, ::64]
    assert torch.equal(table, torch.from_numpy(pattern.table(4096, 2)))
