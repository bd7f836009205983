"""Masks against loops over every pair, and their algebra."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from quire.nn import Causal, Global, Mask, Padding, Window, fit_mask

Rule = Callable[[int, int, int, int], bool]
BATCH, HEADS = 2, 3


class OddHeads(Mask):
    """Only heads 1, 3, ... attend: a mask that looks at the head."""

    def allows(
        self, batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return head % 2 == 1


@st.composite
def rules(draw: st.DrawFn, keys: int) -> tuple[Mask, Rule]:
    """A basic mask and the same rule in plain Python."""
    kind = draw(st.sampled_from(["causal", "window", "global", "lengths", "valid", "heads"]))
    number = draw(st.integers(0, keys + 1))
    if kind == "causal":
        return Causal(), lambda b, h, q, k: k <= q
    if kind == "window":
        return Window(number), lambda b, h, q, k: abs(q - k) <= number
    if kind == "global":
        return Global(number), lambda b, h, q, k: q < number or k < number
    if kind == "heads":
        return OddHeads(), lambda b, h, q, k: h % 2 == 1
    if kind == "lengths":
        lengths = draw(st.lists(st.integers(0, keys), min_size=BATCH, max_size=BATCH))
        return Padding(torch.tensor(lengths)), lambda b, h, q, k: k < lengths[b]
    row = st.lists(st.booleans(), min_size=keys, max_size=keys)
    valid = draw(st.lists(row, min_size=BATCH, max_size=BATCH))
    return Padding(torch.tensor(valid)), lambda b, h, q, k: valid[b][k]


def brute_force(rule: Rule, queries: int, keys: int) -> torch.Tensor:
    return torch.tensor(
        [
            [
                [[rule(b, h, q, k) for k in range(keys)] for q in range(queries)]
                for h in range(HEADS)
            ]
            for b in range(BATCH)
        ]
    )


def whole(mask: Mask, queries: int, keys: int) -> torch.Tensor:
    return mask.dense(queries, keys, BATCH, HEADS).expand(BATCH, HEADS, -1, -1)


sizes = st.sampled_from([1, 2, 7, 13])


@given(st.data(), sizes, sizes)
@settings(max_examples=60, deadline=None)
def test_dense_is_the_rule_for_every_pair(data: st.DataObject, queries: int, keys: int) -> None:
    mask, rule = data.draw(rules(keys))
    dense = mask.dense(queries, keys, BATCH, HEADS)
    assert dense.dtype == torch.bool
    assert dense.shape[2:] == (queries, keys)
    assert torch.equal(whole(mask, queries, keys), brute_force(rule, queries, keys))


@given(st.data(), sizes, sizes)
@settings(max_examples=60, deadline=None)
def test_and_and_or_are_those_of_the_pairs(data: st.DataObject, queries: int, keys: int) -> None:
    (a, rule_a), (b, rule_b), (c, rule_c) = (data.draw(rules(keys)) for _ in range(3))
    dense = [whole(mask, queries, keys) for mask in (a, b, c)]
    assert torch.equal(whole(a & b, queries, keys), dense[0] & dense[1])
    assert torch.equal(whole(a | b, queries, keys), dense[0] | dense[1])
    mixed = brute_force(lambda *i: (rule_a(*i) and rule_b(*i)) or rule_c(*i), queries, keys)
    assert torch.equal(whole(a & b | c, queries, keys), mixed)


@given(st.data(), sizes, sizes)
@settings(max_examples=25, deadline=None)
def test_mask_mod_is_the_same_rule_for_flex_attention(
    data: st.DataObject, queries: int, keys: int
) -> None:
    masks = [data.draw(rules(keys))[0] for _ in range(3)]
    for mask in (masks[0], masks[0] & masks[1] | masks[2]):
        flex = create_mask(mask.mask_mod, BATCH, HEADS, queries, keys, device="cpu")
        assert torch.equal(whole(mask, queries, keys), flex)


@pytest.mark.parametrize("mask", [Causal(), Window(2), Global(1), Causal() & Window(1)])
def test_dense_has_one_row_where_the_rule_does_not_look(mask: Mask) -> None:
    assert mask.dense(5, 7, BATCH, HEADS).shape == (1, 1, 5, 7)


def test_dense_of_padding_and_heads() -> None:
    padding = Padding(torch.tensor([1, 4]))
    assert padding.dense(5, 7, BATCH, HEADS).shape == (BATCH, 1, 5, 7)
    assert (padding & OddHeads()).dense(5, 7, BATCH, HEADS).shape == (BATCH, HEADS, 5, 7)
    assert OddHeads().dense(5, 7, BATCH, HEADS).shape == (1, HEADS, 5, 7)


def test_arguments() -> None:
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        Window(-1)
    with pytest.raises(ValueError, match="tokens must be at least 0, got -2"):
        Global(-2)
    for keys in (torch.ones(3), torch.ones(2, 3), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"Padding takes integer lengths"):
            Padding(keys)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Padding(torch.tensor([5, 2, 3])), "Padding of 3 rows does not fit a batch of 2"),
        (Padding(torch.tensor([5])), "Padding of 1 rows does not fit a batch of 2"),
        (Causal() & Padding(torch.ones(2, 6, dtype=torch.bool)), "6 keys does not fit 5 keys"),
        (Window(1) | Padding(torch.ones(3, 5, dtype=torch.bool)), "3 rows"),
    ],
)
def test_a_mask_of_another_size_is_refused(mask: Mask, message: str) -> None:
    q = torch.zeros(2, HEADS, 5, 4)
    with pytest.raises(ValueError, match=message):
        fit_mask(mask, q, q)
    with pytest.raises(ValueError, match=message):
        mask.dense(5, 5, 2, HEADS)


def test_masks_move_with_their_tensors() -> None:
    lengths = torch.tensor([1, 4])
    moved = (Causal() & Padding(lengths) | Window(1)).to("meta")
    assert {tensor.device.type for tensor in moved._tensors()} == {"meta"}
    assert lengths.device.type == "cpu"
    q = torch.zeros(2, HEADS, 5, 4, device="meta")
    fitted = fit_mask(Causal() & Padding(lengths), q, q)
    assert fitted is not None
    assert {tensor.device.type for tensor in fitted._tensors()} == {"meta"}
    # A mask whose tensors are elsewhere is moved, and not read where it is.
    assert Padding(lengths).dense(5, 5, 2, HEADS, "meta").device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_lengths_of_any_integer_type(dtype: torch.dtype) -> None:
    expected = Padding(torch.tensor([1, 4])).dense(5, 5, 2)
    assert torch.equal(Padding(torch.tensor([1, 4], dtype=dtype)).dense(5, 5, 2), expected)


def test_what_is_no_mask_is_named() -> None:
    q = torch.zeros(2, HEADS, 5, 4)
    with pytest.raises(TypeError, match=r"mask must be a quire.nn.Mask.*got Tensor"):
        fit_mask(torch.ones(5, 5, dtype=torch.bool), q, q)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Padding takes integer lengths.*, a tensor, got list"):
        Padding([5, 2])  # type: ignore[arg-type]
