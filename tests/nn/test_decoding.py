"""Decoding in pieces equals the causal form over the whole, for every scheme of positions."""

import pytest
import torch
from torch import Tensor, nn

from quire.nn import (
    Causal,
    CoordinatePositions,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    KeyValueCache,
    LearnedPositions,
    MultiHeadAttention,
    Padding,
    Rotary,
    SinusoidalPositions,
    Window,
    clone,
    memory_of,
    select,
    softmax_attention,
)

D, H = 8, 2


def attention(*, rotary: bool = False) -> MultiHeadAttention:
    return MultiHeadAttention(D, H, positions=Rotary(D // H) if rotary else None)


def encoder(positions: nn.Module | None = None, *, rotary: bool = False, depth: int = 2) -> Encoder:
    torch.manual_seed(0)
    layers = [
        EncoderLayer(D, attention(rotary=rotary), feed_forward=FeedForward(D, 16)) for _ in range(2)
    ]
    return Encoder(layers, depth=depth, positions=positions, final_norm=nn.LayerNorm(D)).double()


def decode(model: Encoder, x: Tensor, prompt: int) -> Tensor:
    pieces, state = model.extend(x[:, :prompt])
    outputs = [pieces]
    for token in x[:, prompt:].split(1, 1):
        piece, state = model.extend(token, state)
        outputs.append(piece)
    return torch.cat(outputs, 1)


MODELS = {
    "no positions": lambda: encoder(),
    "sinusoidal": lambda: encoder(SinusoidalPositions(D)),
    "learned": lambda: encoder(LearnedPositions(16, D)),
    "coordinates, shared across depth": lambda: encoder(CoordinatePositions(D), depth=5),
    "rotary": lambda: encoder(rotary=True),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prompt", [1, 4, 8])
@pytest.mark.parametrize("record", [False, True])
def test_pieces_equal_the_whole(name: str, prompt: int, record: bool) -> None:
    model, x = MODELS[name](), torch.randn(3, 9, D, dtype=torch.float64)
    with torch.set_grad_enabled(record):
        expected = model(x, Causal())
        torch.testing.assert_close(decode(model, x, prompt), expected, rtol=1e-10, atol=1e-10)


def test_gradients_flow_through_the_cache() -> None:
    model = encoder(rotary=True)
    x = torch.randn(2, 6, D, dtype=torch.float64)
    whole = torch.autograd.grad(model(x, Causal()).sin().sum(), list(model.parameters()))
    pieces = torch.autograd.grad(decode(model, x, 2).sin().sum(), list(model.parameters()))
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_padded_prompts_equal_separate_runs(name: str) -> None:
    model, lengths = MODELS[name](), torch.tensor([2, 5, 4])
    prompt = torch.randn(3, 5, D, dtype=torch.float64)
    tokens = torch.randn(3, 3, D, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.extend(prompt, mask=Padding(lengths))
        batched = []
        for token in tokens.split(1, 1):
            out, state = model.extend(token, state)
            batched.append(out)
        for row, length in enumerate(lengths.tolist()):
            alone = torch.cat((prompt[row, :length], tokens[row]))[None]
            expected = model(alone, Causal())[0, length:]
            torch.testing.assert_close(torch.cat(batched, 1)[row], expected, rtol=1e-9, atol=1e-9)


def test_selected_rows_equal_independent_runs() -> None:
    model, rows = encoder(rotary=True), torch.tensor([2, 0, 2, 1])
    x = torch.randn(3, 6, D, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.extend(x[:, :3])
        _, state = model.extend(x[:, 3:4], state)
        chosen = select(state, rows)
        after = torch.randn(4, 1, D, dtype=torch.float64)
        out, _ = model.extend(after, chosen)
        expected = model(torch.cat((x[rows, :4], after), 1), Causal())[:, -1:]
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("padded", [False, True])
def test_decoder_pieces_equal_the_whole(padded: bool) -> None:
    torch.manual_seed(0)
    layers = [
        DecoderLayer(
            D,
            attention(rotary=True),
            cross_attention=attention(),
            feed_forward=FeedForward(D, 16),
        )
        for _ in range(2)
    ]
    model = Decoder(layers, positions=LearnedPositions(16, D)).double()
    x = torch.randn(3, 6, D, dtype=torch.float64)
    memory = torch.randn(3, 7, D, dtype=torch.float64)
    mask = Padding(torch.tensor([7, 1, 3])) if padded else None
    with torch.no_grad():
        expected = model(x, memory, Causal(), mask)
        state, pieces = model.begin(memory, mask), []
        for token in x.split(1, 1):
            piece, state = model.extend(token, state)
            pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("record", [False, True])
def test_prompts_may_come_in_pieces(name: str, record: bool) -> None:
    model, x = MODELS[name](), torch.randn(3, 9, D, dtype=torch.float64)
    with torch.set_grad_enabled(record):
        pieces, state = [], None
        for piece in x.split((2, 3, 1, 3), 1):
            piece, state = model.extend(piece, state)
            pieces.append(piece)
        torch.testing.assert_close(torch.cat(pieces, 1), model(x, Causal()), rtol=1e-9, atol=1e-9)


def test_each_piece_may_be_padded() -> None:
    model = encoder(rotary=True)
    x = torch.randn(2, 6, D, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.extend(x[:, :3], mask=Padding(torch.tensor([1, 3])))
        _, state = model.extend(x[:, 3:5], state, mask=Padding(torch.tensor([2, 1])))
        out, _ = model.extend(x[:, 5:], state)
        for row, kept in enumerate(([0, 3, 4, 5], [0, 1, 2, 3, 5])):
            expected = model(x[row : row + 1, kept], Causal())[0, -1:]
            torch.testing.assert_close(out[row], expected, rtol=1e-9, atol=1e-9)


def test_a_kernel_that_knows_few_masks_takes_pieces_token_by_token() -> None:
    def kernel(q: Tensor, k: Tensor, v: Tensor, mask: object) -> Tensor:
        if not (mask is None or isinstance(mask, Causal | Padding)):
            raise ValueError(f"takes Causal or Padding, got {type(mask).__name__}")
        return softmax_attention(q, k, v, mask)

    layer = EncoderLayer(D, MultiHeadAttention(D, H, kernel=kernel), feed_forward=FeedForward(D, 4))
    model, x = Encoder(layer), torch.randn(2, 7, D)
    first, state = model.extend(x[:, :3])
    last, _ = model.extend(x[:, 3:], state)
    torch.testing.assert_close(torch.cat((first, last), 1), model(x, Causal()))


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_a_state_continues_twice(pieces: int, padded: bool) -> None:
    model, x = encoder(rotary=True), torch.randn(2, 3, D, dtype=torch.float64)
    mask = Padding(torch.tensor([3, 2])) if padded else None
    with torch.no_grad():
        _, state = model.extend(x, mask=mask)
        # The room has grown, so that the next token is written in place.
        _, state = model.extend(x[:, :1], state)
        kept = clone(state)
        one, after = model.extend(x[:, :pieces], state)
        other, _ = model.extend(-x[:, :pieces], state)
        again, _ = model.extend(x[:, :pieces], state)
        third, _ = model.extend(x, after)
        expected, after = model.extend(x[:, :pieces], kept)
        torch.testing.assert_close(one, expected)
        torch.testing.assert_close(again, expected)
        torch.testing.assert_close(other, model.extend(-x[:, :pieces], kept)[0])
        torch.testing.assert_close(third, model.extend(x, after)[0])


@pytest.mark.parametrize("learned", ["keys", "values"])
def test_a_state_continues_twice_where_only_one_part_has_gradients(learned: str) -> None:
    cache = KeyValueCache(softmax_attention)
    k, v, q = torch.randn(3, 1, 1, 3, 4)
    state = cache.write(cache.write(None, k, v, None), k[:, :, :1], v[:, :, :1], None)
    recorded = k.clone().requires_grad_()
    pair = (recorded, v) if learned == "keys" else (k, recorded)
    one = cache.write(state, pair[0][:, :, :1], pair[1][:, :, :1], None)
    expected = cache.read(one, q[:, :, :1]).detach()
    cache.write(state, k[:, :, 1:2], v[:, :, 1:2], None)
    torch.testing.assert_close(cache.read(one, q[:, :, :1]).detach(), expected)


def test_a_state_of_inference_mode_goes_on_outside() -> None:
    model, x = encoder(), torch.randn(2, 5, D, dtype=torch.float64)
    with torch.inference_mode():
        _, state = model.extend(x[:, :3])
        _, state = model.extend(x[:, 3:4], state)
    with torch.no_grad():
        out, _ = model.extend(x[:, 4:], state)
        torch.testing.assert_close(out, model(x, Causal())[:, 4:])


@pytest.mark.parametrize("rows", [0, 2])
def test_heads_in_groups_decode(rows: int) -> None:
    layer = EncoderLayer(
        D,
        MultiHeadAttention(D, 4, key_heads=2, positions=Rotary(2)),
        feed_forward=FeedForward(D, 16),
    )
    model, x = Encoder(layer).double(), torch.randn(rows, 5, D, dtype=torch.float64)
    torch.testing.assert_close(decode(model, x, 2), model(x, Causal()))


def test_cache_room_is_doubled() -> None:
    cache = KeyValueCache(softmax_attention)
    one = torch.randn(1, 1, 1, 4)
    state, rooms = cache.write(None, one, one, None), set()
    for _ in range(63):
        state = cache.write(state, one, one, None)
        rooms.add(state.keys.shape[-2])
    assert state.length == 64
    assert rooms == {2, 4, 8, 16, 32, 64}


def test_a_kernel_with_its_own_memory_is_asked() -> None:
    class Sum:
        """Attends to everything alike, and keeps the sum of the values."""

        def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: object) -> Tensor:
            return v.cumsum(-2)

        def write(self, state: Tensor | None, k: Tensor, v: Tensor, mask: object) -> Tensor:
            return v.sum(-2, keepdim=True) + (0 if state is None else state)

        def read(self, state: Tensor, q: Tensor) -> Tensor:
            return state

    kernel = Sum()
    assert memory_of(kernel) is kernel
    model = Encoder(
        EncoderLayer(D, MultiHeadAttention(D, H, kernel=kernel), feed_forward=nn.ReLU())
    )
    x = torch.randn(2, 5, D)
    torch.testing.assert_close(decode(model, x, 2), model(x, Causal()))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no mask but Padding, got Window"):
        attention().remember(torch.randn(1, 2, D), Window(1))
    with pytest.raises(ValueError, match="at most 4 tokens have positions, got 5"):
        LearnedPositions(4, D)(torch.randn(2, 1, D), 0, torch.tensor([1, 4]))
