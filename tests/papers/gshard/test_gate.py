import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.gshard import assign_slots, find_capacity, measure_load, spread, top2_gate


def by_token(logits, capacity, drawn, counted, *, rejected_fill):
    """Algorithm 1, one token after the other: combine (G, S, E, C), l_aux, kept."""
    groups, tokens, experts = logits.shape
    gates = logits.softmax(-1)
    combine = torch.zeros(groups, tokens, experts, capacity, dtype=logits.dtype)
    losses = []
    for group in range(groups):
        queue, second = [0] * experts, []
        number = max(1, int(counted[group].sum()))
        for token in range(tokens):
            g = gates[group, token]
            order = sorted(range(experts), key=lambda e, g=g: (-float(g[e]), e))
            one, two = order[0], order[1]
            total = g[one] + g[two] + 1e-9
            second.append((two, g[two] / total))
            if not counted[group, token]:
                continue
            if queue[one] < capacity:
                combine[group, token, one, queue[one]] = g[one] / total
            queue[one] += 1
        share = torch.tensor(queue, dtype=logits.dtype) / number
        mean = gates[group][counted[group]].sum(0) / number
        losses.append((share * mean).sum() / experts)
        for token, (two, weight) in enumerate(second):
            if not counted[group, token]:
                continue
            accepted = bool(2 * weight > drawn[group, token])
            if accepted and queue[two] < capacity:
                combine[group, token, two, queue[two]] = weight
            queue[two] += accepted or rejected_fill
    return combine, torch.stack(losses).mean()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), groups=st.integers(1, 3), tokens=st.integers(1, 17),
    experts=st.integers(2, 9), capacity=st.integers(1, 6), rejected_fill=st.booleans(),
)  # fmt: skip
def test_the_token_loop_and_the_tensors_agree_bit_for_bit(
    seed, groups, tokens, experts, capacity, rejected_fill
):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(groups, tokens, experts, generator=generator)
    if seed % 3 == 0:
        logits = logits.round()  # equal gates
    counted = torch.rand(groups, tokens, generator=generator) < 0.8
    drawn = torch.rand(groups, tokens, generator=torch.Generator().manual_seed(seed))
    routing = top2_gate(
        logits, capacity, training=True, generator=torch.Generator().manual_seed(seed),
        counted=counted, rejected_fill=rejected_fill,
    )  # fmt: skip
    combine, loss = by_token(logits, capacity, drawn, counted, rejected_fill=rejected_fill)
    assert torch.equal(routing.combine, combine)
    assert torch.equal(routing.dispatch, combine > 0)
    torch.testing.assert_close(routing.loss, loss)
    lost = (combine.sum((2, 3)) == 0) & counted
    assert float(routing.dropped) == pytest.approx(float(lost.sum() / counted.sum().clamp(min=1)))
    # Invariants: a slot serves one token, a token has two slots at most.
    assert combine.gt(0).sum(1).max() <= 1
    assert combine.gt(0).sum((2, 3)).max() <= 2


def test_a_group_worked_by_hand():
    """Three experts, four tokens, C = 1: the gates are 1/2, 1/3, 1/6 in some order."""
    high, mid, low = (torch.tensor(x).log() for x in (1 / 2, 1 / 3, 1 / 6))
    logits = torch.stack([
        torch.stack([high, mid, low]),  # 0, then 1
        torch.stack([high, low, mid]),  # 0 is full, then 2
        torch.stack([mid, high, low]),  # 1 is free for a first choice; 0 is full
        torch.stack([high, mid, low]),  # 0 is full, and 1 was taken by token 2
    ])[None]  # fmt: skip
    routing = top2_gate(logits, 1)
    wanted = torch.zeros(1, 4, 3, 1)
    wanted[0, 0, 0], wanted[0, 1, 2], wanted[0, 2, 1] = 0.6, 0.4, 0.6
    torch.testing.assert_close(routing.combine, wanted)
    assert routing.kept[0].tolist() == [[True, False], [False, True], [True, False], [False, False]]
    assert float(routing.dropped) == 0.25
    # c = (3, 1, 0), m = (11/24, 1/3, 5/24)
    loss = (3 / 4 * 11 / 24 + 1 / 4 * 1 / 3) / 3
    assert float(routing.loss) == pytest.approx(loss)
    assert float(routing.balance) == pytest.approx(9 * loss)


def test_the_loss_is_one_where_even_and_the_experts_number_where_one_has_all():
    even = torch.zeros(2, 12, 4)
    assert float(top2_gate(even, 6).balance) == pytest.approx(1.0)
    one = even.clone()
    one[..., 2] = 40.0
    assert float(top2_gate(one, 6).balance) == pytest.approx(4.0)


def test_the_loss_counts_first_choices_only_and_has_a_gradient_through_the_means_alone():
    logits = torch.randn(1, 6, 3, dtype=torch.float64, requires_grad=True)
    routing = top2_gate(logits, 1)
    (slope,) = torch.autograd.grad(routing.loss, logits)
    p = logits.detach().softmax(-1)
    c = torch.bincount(p[0].argmax(-1), minlength=3) / 6
    wanted = p * (c - (p * c).sum(-1, keepdim=True)) / 6 / 3
    torch.testing.assert_close(slope, wanted)


def test_padding_changes_nothing():
    logits = torch.randn(2, 9, 4)
    counted = torch.arange(9).expand(2, 9) < 7
    padded = top2_gate(logits, 3, counted=counted)
    bare = top2_gate(logits[:, :7], 3)
    assert torch.equal(padded.combine[:, :7], bare.combine)
    assert not padded.dispatch[:, 7:].any()
    torch.testing.assert_close(padded.loss, bare.loss)
    assert torch.equal(padded.dropped, bare.dropped)
    nobody = top2_gate(logits, 3, counted=torch.zeros(2, 9, dtype=torch.bool))
    assert not nobody.dispatch.any()
    assert float(nobody.loss) == float(nobody.dropped) == 0


def test_groups_do_not_know_one_another():
    logits, turn = torch.randn(4, 10, 3), torch.tensor([2, 0, 3, 1])
    assert torch.equal(top2_gate(logits, 2).combine[turn], top2_gate(logits[turn], 2).combine)


def test_second_experts_are_left_out_at_random_in_training_only():
    logits = torch.tensor([2.0, 0.0, -9.0, -9.0]).expand(1, 4000, 4)  # g2 is 0.119
    assert float(measure_load(top2_gate(logits, 4000)).second) == 1
    torch.manual_seed(0)
    load = measure_load(top2_gate(logits, 4000, training=True))
    assert float(load.second) == pytest.approx(2 * 0.1192, abs=0.02)
    assert float(load.first) == 1
    wide = measure_load(top2_gate(logits, 4000, training=True, threshold=0.2))
    assert float(wide.second) == pytest.approx(5 * 0.1192, abs=0.03)
    for second, share in (("all", 1.0), ("none", 0.0), ("threshold", 0.0)):
        found = measure_load(top2_gate(logits, 4000, training=True, second=second))
        assert float(found.second) == share


def test_gates_are_of_single_precision_at_least():
    routing = top2_gate(torch.randn(1, 5, 3, dtype=torch.bfloat16), 2)
    assert routing.weight.dtype == torch.float32
    assert top2_gate(torch.randn(1, 5, 3, dtype=torch.float64), 2).weight.dtype == torch.float64


def test_one_expert_no_token_and_no_group():
    alone = top2_gate(torch.randn(2, 5, 1), 5)
    assert torch.equal(alone.weight, torch.ones(2, 5, 1))
    for shape in ((0, 5, 3), (2, 0, 3)):
        routing = top2_gate(torch.zeros(shape), 2)
        assert routing.combine.shape == (*shape, 2)
        assert float(routing.loss) == 0


def test_capacity():
    assert find_capacity(128, 16) == 16  # 2 S / E
    assert find_capacity(128, 16, factor=1.3) == 20
    assert find_capacity(8, 64) == 1
    assert find_capacity(8, 64, minimum=4) == 4
    assert find_capacity(100, 16, factor=2, multiple=4) == 28
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        find_capacity(8, 4, factor=0)


def test_who_stands_first_may_be_chosen():
    expert = torch.zeros(1, 4, 1, dtype=torch.int64)
    wanted = torch.tensor([True, True, False, True])[None, :, None]
    assert assign_slots(expert, wanted, 2)[0, [0, 1, 3], 0].tolist() == [0, 1, 2]
    priority = torch.tensor([[0.1, 0.9, 2.0, 0.5]])
    place = assign_slots(expert, wanted, 2, priority=priority)
    assert place[0, [0, 1, 3], 0].tolist() == [2, 0, 1]


def test_even_and_lonely_loads():
    imbalance, entropy = spread(torch.tensor([[5.0, 5, 5, 5], [20, 0, 0, 0]]))
    torch.testing.assert_close(imbalance, torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(entropy, torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)


def test_bad_input():
    logits = torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match=r"logits must be \(groups, tokens, experts\)"):
        top2_gate(logits[0], 2)
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        top2_gate(logits, 0)
    with pytest.raises(ValueError, match="second must be random, threshold, all or none"):
        top2_gate(logits, 2, second="sometimes")
    with pytest.raises(ValueError, match="threshold must be positive"):
        top2_gate(logits, 2, threshold=0.0)
    with pytest.raises(ValueError, match=r"counted must be bool \(1, 4\), got torch.float32"):
        top2_gate(logits, 2, counted=torch.ones(1, 4))
