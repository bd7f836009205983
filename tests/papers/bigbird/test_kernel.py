"""The kernel as a part of a model: its pattern is saved and moves, and it decodes."""

import copy

import pytest
import torch

from quire.nn import (
    Causal,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    Padding,
    clone,
    select,
    softmax_attention,
)
from quire.papers.bigbird import BigBird, BigBirdAttention, BigBirdMask, BigBirdPattern

DRAWN = (((), *((i % 3,) for i in range(14)), ()),) * 2
PATTERNS = [
    BigBirdPattern(4, random=1, seed=5),
    BigBirdPattern(4, 5, 2, 1, seed=7, random_tokens=20, shared=True, causal=True),
    BigBirdPattern(4, random=1, drawn=DRAWN),
    BigBirdPattern(4, random=1, rule="transformers", positions=512),
]


def model(pattern, seed=0):
    torch.manual_seed(seed)
    return BigBird(20, 16, layers=2, heads=2, length=64, pattern=pattern, dropout=0.0).eval()


def encoder(pattern=None, **options):
    torch.manual_seed(0)
    pattern = pattern or BigBirdPattern(2, random=1)
    layers = [
        EncoderLayer(
            8,
            MultiHeadAttention(8, 2, kernel=BigBirdAttention(pattern), **options),
            feed_forward=FeedForward(8, 8),
        )
        for _ in range(2)
    ]
    return Encoder(layers).double()


@pytest.mark.parametrize("pattern", PATTERNS, ids=["seed", "causal", "drawn", "transformers"])
def test_weights_bring_their_pattern(pattern, tmp_path):
    """Loaded into a model with another pattern: the loaded one is taken, and saved again."""
    trained, words = model(pattern), torch.randint(20, (2, 62))
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    for before in (BigBirdPattern(4, random=1, seed=99), PATTERNS[1], PATTERNS[2]):
        other = model(before, seed=1)
        other.load_state_dict(state)
        assert torch.equal(other(words), trained(words))
        found = [layer.attention.kernel.pattern for layer in other.layers]
        assert found == [layer.attention.kernel.pattern for layer in trained.layers]
        again = other.state_dict()
        assert all(torch.equal(again[name], value) for name, value in state.items())


def test_another_seed_is_another_function_and_weights_without_a_pattern_keep_it():
    words = torch.randint(20, (2, 62))
    one, two = model(PATTERNS[0]), model(BigBirdPattern(4, random=1, seed=50))
    assert not torch.allclose(one(words), two(words))
    full = model(None)
    one.load_state_dict(full.state_dict())
    assert one.layers[1].attention.kernel.pattern.seed == 6
    with pytest.raises(RuntimeError, match=r"Unexpected key.*kernel.fields"):
        full.load_state_dict(one.state_dict())


def test_fields_that_are_no_pattern_are_refused():
    kernel = BigBirdAttention(PATTERNS[0])
    for fields in (torch.zeros(10, dtype=torch.long), torch.ones(3, dtype=torch.long)):
        with pytest.raises(RuntimeError, match="fields: no pattern"):
            kernel.load_state_dict({"fields": fields, "drawn": torch.zeros(0, 0, 0)})
    assert kernel.pattern == PATTERNS[0]


def test_a_pattern_is_set_copied_and_moved():
    kernel = BigBirdAttention(PATTERNS[0])
    kernel.pattern = PATTERNS[2]
    twin = copy.deepcopy(kernel)
    assert twin.pattern == PATTERNS[2]
    assert torch.equal(twin.state_dict()["drawn"][1, 3], torch.tensor([2]))
    assert kernel.to("meta").fields.device.type == "meta"
    assert kernel.pattern == PATTERNS[2]
    assert kernel.half().fields.dtype == torch.int64
    mask = BigBirdMask(PATTERNS[0], 60) & Padding(torch.tensor([50]))
    moved = mask.to("meta")
    assert moved is not mask
    assert moved.dense(60, 60, device="meta").device.type == "meta"
    assert mask.dense(60, 60).device.type == "cpu"


def decode(stack, x, prompt, mask=None):
    """The prompt at once, then token by token."""
    with torch.no_grad():
        out, state = stack.extend(x[:, :prompt], mask=mask)
        pieces = [out]
        for token in x[:, prompt:].split(1, 1):
            out, state = stack.extend(token, state)
            pieces.append(out)
    return torch.cat(pieces, 1)


def test_decoding_in_pieces_is_one_causal_pass():
    stack = encoder(BigBirdPattern(4, random=2, seed=1))
    x = torch.randn(2, 70, 8, dtype=torch.float64)
    whole = stack(x, Causal())
    for prompt in (1, 40):
        torch.testing.assert_close(decode(stack, x, prompt), whole, rtol=0, atol=1e-10)
    with torch.no_grad():
        _, state = stack.extend(x[:, :0])
        pieces = []
        for piece in x.split((30, 3, 0, 20, 17), 1):
            out, state = stack.extend(piece, state)
            pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["lengths", "bool"])
def test_a_row_goes_on_at_its_own_place_after_padding_at_the_end(kind):
    stack, lengths = encoder(), [10, 16, 1, 5]
    x = torch.randn(4, 40, 8, dtype=torch.float64)
    mask = Padding(torch.tensor(lengths))
    if kind == "bool":
        mask = Padding(torch.arange(16) < torch.tensor(lengths)[:, None])
    found = decode(stack, x, 16, mask)
    for row, length in enumerate(lengths):
        alone = torch.cat((x[row : row + 1, :length], x[row : row + 1, 16:]), 1)
        expected = stack(alone, Causal())[:, length:]
        torch.testing.assert_close(found[row : row + 1, 16:], expected, rtol=0, atol=1e-10)


def test_later_pieces_may_be_padded_too():
    stack, x = encoder(), torch.randn(2, 30, 8, dtype=torch.float64)
    with torch.no_grad():
        _, state = stack.extend(x[:, :7])
        _, state = stack.extend(x[:, 7:17], state, mask=Padding(torch.tensor([10, 4])))
        out, state = stack.extend(x[:, 17:], state)
    alone = torch.cat((x[1:, :11], x[1:, 17:]), 1)
    torch.testing.assert_close(out[:1], stack(x[:1], Causal())[:, 17:], rtol=0, atol=1e-10)
    torch.testing.assert_close(out[1:], stack(alone, Causal())[:, 11:], rtol=0, atol=1e-10)


def test_padding_before_the_last_token_keeps_its_places():
    """In front or in between: as in one pass over all places."""
    stack, x = encoder(), torch.randn(2, 30, 8, dtype=torch.float64)
    counts = torch.ones(2, 30, dtype=torch.bool)
    counts[0, :3] = counts[1, 4:6] = False
    found = decode(stack, x, 12, Padding(counts[:, :12]))
    expected = stack(x, Causal() & Padding(counts))
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=1e-10)


@pytest.mark.parametrize("padded", [False, True])
def test_a_state_is_continued_twice(padded):
    stack, x = encoder(), torch.randn(2, 30, 8, dtype=torch.float64)
    mask = Padding(torch.tensor([12, 9])) if padded else None

    def go_on(state, tokens):
        pieces = []
        for token in tokens.split(1, 1):
            out, state = stack.extend(token, state)
            pieces.append(out)
        return torch.cat(pieces, 1)

    with torch.inference_mode():
        _, state = stack.extend(x[:, :12], mask=mask)
        _, state = stack.extend(x[:, 12:13], state)
    with torch.no_grad():
        expected = [go_on(clone(state), x[:, a : a + 8]) for a in (13, 21)]
        for _ in range(2):
            for begin, right in zip((13, 21), expected, strict=True):
                assert torch.equal(go_on(state, x[:, begin : begin + 8]), right)


@pytest.mark.parametrize("trained", ["key", "value"])
def test_decoding_has_gradients(trained):
    """Whichever of keys and values has a graph, and with two continuations of one state."""
    torch.manual_seed(0)
    kernel = BigBirdAttention(BigBirdPattern(2, random=1))
    k, v, q = (torch.randn(2, 1, 9, 4, dtype=torch.float64) for _ in range(3))
    leaf = (k if trained == "key" else v).requires_grad_()
    state = kernel.write(None, k[:, :, :7], v[:, :, :7], Padding(torch.tensor([7, 4])))
    state = kernel.write(state, k[:, :, 7:8], v[:, :, 7:8], None)
    first = kernel.read(state, q[:, :, :1])
    kernel.write(state, 9 * k[:, :, 8:], 9 * v[:, :, 8:], None)
    assert torch.equal(kernel.read(state, q[:, :, :1]), first)
    (grad,) = torch.autograd.grad(first.square().sum(), leaf)
    rows = [k[1:, :, [0, 1, 2, 3, 7]], v[1:, :, [0, 1, 2, 3, 7]]]
    whole = kernel(torch.zeros_like(rows[0]).index_copy(2, torch.tensor([4]), q[1:, :, :1]), *rows,
                   Causal())[:, :, 4:]  # fmt: skip
    torch.testing.assert_close(first[1:], whole, rtol=0, atol=1e-12)
    (expected,) = torch.autograd.grad(whole.square().sum(), leaf)
    torch.testing.assert_close(grad[1:], expected[1:], rtol=0, atol=1e-12)


def test_states_of_decoding_are_selected_for_beams():
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, causal=True))
    k, v, q = (torch.randn(3, 2, 21, 8, dtype=torch.float64) for _ in range(3))
    rows, lengths = torch.tensor([2, 2, 0]), [20, 7, 3]
    state = kernel.write(None, k[:, :, :20], v[:, :, :20], Padding(torch.tensor(lengths)))
    state = kernel.write(select(state, rows), k[rows][:, :, 20:], v[rows][:, :, 20:], None)
    found = kernel.read(state, q[rows][:, :, 20:])
    for at, row in enumerate(rows.tolist()):
        places = [*range(lengths[row]), 20]
        alone = [t[row : row + 1][:, :, places] for t in (q, k, v)]
        expected = kernel(*alone)[:, :, -1:]
        torch.testing.assert_close(found[at : at + 1], expected, rtol=0, atol=1e-12)


def test_heads_that_share_keys_decode():
    stack = encoder(key_heads=1)
    x = torch.randn(2, 30, 8, dtype=torch.float64)
    torch.testing.assert_close(decode(stack, x, 10), stack(x, Causal()), rtol=0, atol=1e-10)


def test_a_step_reads_as_many_keys_however_long_the_text_is(monkeypatch):
    """O(1) a token: the keys that attention gets, and the rows of the pattern that are drawn."""
    from quire.papers.bigbird import kernel as implementation

    read = []
    attend = implementation.scaled_dot_product_attention
    monkeypatch.setattr(
        implementation,
        "scaled_dot_product_attention",
        lambda q, k, v, **options: read.append(k.shape[2]) or attend(q, k, v, **options),
    )
    drawn = []
    draw = BigBirdPattern._draw_row
    monkeypatch.setattr(
        BigBirdPattern, "_draw_row", lambda *rest: drawn.append(rest[1]) or draw(*rest)
    )
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, seed=123))
    for length in (100, 1000):
        k = torch.randn(1, 1, length, 4)
        state = kernel.write(None, k, k, None)
        for _ in range(9):
            state = kernel.write(state, k[:, :, :1], k[:, :, :1], None)
            kernel.read(state, k[:, :, :1])
    assert set(read) == {4 * (3 + 1 + 1)}
    assert drawn == [25, 26, 27, 250, 251, 252]


def test_a_decoder_may_not_read_its_memory_along_the_pattern():
    """A state to which no token was added holds another sequence: it has no row for a query."""
    torch.manual_seed(0)
    kernel = BigBirdAttention(BigBirdPattern(4, random=1, causal=True))
    own, cross = (MultiHeadAttention(16, 2, kernel=kernel) for _ in range(2))
    layer = DecoderLayer(16, own, cross_attention=cross, feed_forward=FeedForward(16, 32))
    decoder = Decoder(layer)
    memory, x = torch.randn(2, 50, 16), torch.randn(2, 3, 16)
    with pytest.raises(ValueError, match="1 queries to 50 remembered keys") as error:
        decoder.extend(x[:, :1], decoder.begin(memory))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="between two sequences use quire"):
        decoder(x, memory, Causal())
    del cross.kernel
    cross.kernel = softmax_attention
    state, pieces = decoder.begin(memory), []
    for t in range(3):
        out, state = decoder.extend(x[:, t : t + 1], state)
        pieces.append(out)
    whole = decoder(x, memory, Causal())
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
