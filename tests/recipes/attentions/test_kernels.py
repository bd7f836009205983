"""What a user may ask of every kernel: sizes, masks, shared heads, precision, states."""

import pytest
import torch
from torch import Tensor

from quire.nn import Causal, MultiHeadAttention, Padding, clone, memory_of, select
from quire.nn.decoding import extend_memory
from quire.recipes.attentions.experiments.shape import ATTENTIONS

SPARSE = ("window", "bigbird")  # patterns of one sequence, not of a query and another's keys
every_kernel = pytest.mark.parametrize("name", ATTENTIONS)
every_mask = pytest.mark.parametrize("causal", [False, True])


def make(name):
    torch.manual_seed(0)
    return ATTENTIONS[name](0)


def inputs(rows=2, heads=4, groups=4, tokens=70, dtype=torch.float64, value=3):
    torch.manual_seed(1)
    shapes = [(rows, heads, tokens, 4), (rows, groups, tokens, 4), (rows, groups, tokens, value)]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def mask_of(causal, lengths=None):
    mask = Causal() if causal else None
    if lengths is None:
        return mask
    padding = Padding(torch.tensor(lengths))
    return padding if mask is None else mask & padding


@every_kernel
@every_mask
@pytest.mark.parametrize("tokens", [1, 5, 70, 130])
@pytest.mark.parametrize("groups", [1, 2])
def test_heads_share_keys(name, causal, tokens, groups):
    kernel, (q, k, v) = make(name), inputs(groups=groups, tokens=tokens)
    mask = mask_of(causal, [tokens, (tokens + 1) // 2])
    times = 4 // groups
    expected = kernel(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1), mask)
    torch.testing.assert_close(kernel(q, k, v, mask), expected)


@every_kernel
@every_mask
@pytest.mark.parametrize("tokens", [0, 1, 16, 70, 200])
def test_an_empty_batch_and_no_tokens(name, causal, tokens):
    kernel = make(name)
    given = [x.requires_grad_() for x in inputs(rows=0, tokens=tokens)]
    output = kernel(*given, mask_of(causal))
    assert output.shape == (0, 4, tokens, 3)
    output.sum().backward()
    assert kernel(*inputs(tokens=0), mask_of(causal)).shape == (2, 4, 0, 3)


@every_kernel
@every_mask
def test_rows_without_a_key_give_zeros_and_finite_gradients(name, causal):
    kernel = make(name)
    given = [x.requires_grad_() for x in inputs()]
    output = kernel(*given, mask_of(causal, [0, 40]))
    if name != "none":
        assert not output[0].any()
    output.sin().sum().backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in given)


@every_kernel
@every_mask
def test_a_mask_of_another_batch_is_refused(name, causal):
    kernel, given = make(name), inputs()
    with pytest.raises(ValueError, match="3 rows does not fit a batch of 2"):
        kernel(*given, mask_of(causal, [70, 3, 5]))
    keys = Padding(torch.ones(2, 71, dtype=torch.bool))
    with pytest.raises(ValueError, match="71 keys does not fit 70 keys"):
        kernel(*given, Causal() & keys if causal else keys)
    with pytest.raises(TypeError, match="mask must be a"):
        kernel(*given, torch.ones(70, 70, dtype=torch.bool))


@every_kernel
@every_mask
def test_a_row_does_not_know_its_partners(name, causal):
    kernel, (q, k, v) = make(name), inputs()
    lengths = [70, 33]
    both = kernel(q, k, v, mask_of(causal, lengths))
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = kernel(q[one], k[one], v[one], mask_of(causal, [length]))
        torch.testing.assert_close(both[one], alone)


@every_kernel
@every_mask
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_double(name, causal, dtype):
    kernel, given = make(name), [x.to(dtype) for x in inputs(tokens=300)]
    output = kernel(*given, mask_of(causal, [300, 100]))
    assert output.dtype == dtype
    exact = make(name)(*(x.double() for x in given), mask_of(causal, [300, 100]))
    torch.testing.assert_close(output.double(), exact, rtol=3e-2, atol=3e-2)


@every_kernel
@every_mask
@pytest.mark.parametrize("tokens", [20, 150])
def test_second_derivatives_are_right_or_refused(name, causal, tokens):
    kernel = make(name)
    given = [x.requires_grad_() for x in inputs(rows=1, heads=2, groups=2, tokens=tokens)]
    first, second = ([torch.randn_like(x) for x in given] for _ in range(2))

    def slope(step: float) -> Tensor:
        moved = [x + step * along for x, along in zip(given, second, strict=True)]
        output = kernel(*moved, mask_of(causal)).sin().sum()
        found = torch.autograd.grad(
            output, moved, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return sum((x * along).sum() for x, along in zip(found, first, strict=True))

    try:
        found = torch.autograd.grad(slope(0.0), given, allow_unused=True, materialize_grads=True)
    except RuntimeError:
        return  # refused
    got = sum((x * along).sum() for x, along in zip(found, second, strict=True))
    expected = (slope(1e-5) - slope(-1e-5)) / 2e-5
    torch.testing.assert_close(got, expected.detach(), rtol=1e-5, atol=1e-7)


@every_kernel
@pytest.mark.parametrize("lengths", [None, [50, 21]])
def test_prompts_come_in_pieces_and_states_go_on_twice(name, lengths):
    attention = MultiHeadAttention(8, 4, key_heads=2, kernel=make(name)).double()
    x = torch.randn(2, 120, 8, dtype=torch.float64)
    other = torch.randn_like(x)
    rows = range(2)
    counts = [50, 50] if lengths is None else lengths
    padding = None if lengths is None else Padding(torch.tensor(lengths))

    def whole(end):
        """Each row alone, without its padding, its last tokens from `end`."""
        parts = [
            attention(torch.cat((x[i, : counts[i]], end[i]))[None], None, Causal()) for i in rows
        ]
        return torch.cat([part[:, -end.shape[1] :] for part in parts])

    with torch.no_grad():
        _, state = attention.extend(x[:, :50], mask=padding)
        _, state = attention.extend(x[:, 50:52], state)
        first, after = attention.extend(x[:, 52:90], state)
        second, _ = attention.extend(other[:, 52:90], state)
        kept = clone(after)
        last, _ = attention.extend(x[:, 90:91], after)
        again, _ = attention.extend(x[:, 90:91], kept)
        swapped, _ = attention.extend(x[:, 90:91].flip(0), select(after, torch.tensor([1, 0])))
    torch.testing.assert_close(first, whole(x[:, 50:90])[:, 2:])
    torch.testing.assert_close(second, whole(torch.cat((x[:, 50:52], other[:, 52:90]), 1))[:, 2:])
    torch.testing.assert_close(last, whole(x[:, 50:91])[:, -1:])
    torch.testing.assert_close(again, last)
    torch.testing.assert_close(swapped.flip(0), last)


@pytest.mark.parametrize("name", [name for name in ATTENTIONS if name not in SPARSE])
def test_a_memory_is_read_by_several_queries(name):
    attention = MultiHeadAttention(8, 2, kernel=make(name)).double()
    context, x = torch.randn(2, 2, 40, 8, dtype=torch.float64)
    with torch.no_grad():
        state = attention.remember(context, Padding(torch.tensor([40, 17])))
        three = attention.recall(x[:, :3], state)
        one_by_one = [attention.recall(x[:, i : i + 1], state) for i in range(3)]
    torch.testing.assert_close(three, torch.cat(one_by_one, 1))


@every_kernel
def test_inference_mode_leaves_a_state_that_goes_on(name):
    kernel, (q, k, v) = make(name), inputs()
    memory = memory_of(kernel)
    with torch.inference_mode():
        state = memory.write(None, k[:, :, :40], v[:, :, :40], None)
        _, state = extend_memory(memory, state, *(x[:, :, 40:42] for x in (q, k, v)), None)
    with torch.no_grad():
        attended, _ = extend_memory(memory, state, *(x[:, :, 42:45] for x in (q, k, v)), None)
        expected = kernel(*(x[:, :, :45] for x in (q, k, v)), Causal())[:, :, 42:]
    torch.testing.assert_close(attended, expected)
