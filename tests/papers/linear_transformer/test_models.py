"""Models, generation, CTC, and the encoder made ready to generate."""

import io

import pytest
import torch
from torch import nn

from quire.nn import (
    Causal,
    CoordinatePositions,
    Encoder,
    EncoderLayer,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    Rotary,
    softmax_attention,
)
from quire.nn.transformer import Decoded
from quire.papers.linear_transformer import (
    Favor,
    Hedgehog,
    LinearAttention,
    LinearState,
    Recurrent,
    SequenceModel,
    SpeechModel,
    best_path,
    choose_token,
    edit_distance,
    elu_plus_one,
    generate,
    polynomial,
    recomputing_extend,
    recurrent_extend,
)
from quire.papers.linear_transformer.experiments.lsh import LSHAttention

KERNELS = {
    "linear": LinearAttention,
    "polynomial": lambda: LinearAttention(polynomial),
    "favor": lambda: LinearAttention(Favor(4, 8)),
    "hedgehog": lambda: LinearAttention(Hedgehog(2, 4)),
    "softmax": lambda: softmax_attention,
}


def model_of(kernel, norm="pre"):
    torch.manual_seed(0)
    return SequenceModel(
        6, 6, length=20, dim=8, heads=2, layers=2, kernel=KERNELS[kernel], norm=norm
    ).eval()


def greedy(outputs):
    return outputs.argmax(-1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("prompt", [1, 7])
def test_every_way_generates_the_same(kernel, prompt):
    model = model_of(kernel)
    begin = torch.randint(6, (3, prompt))
    expected = generate(recomputing_extend(model), begin, 10, greedy)
    assert expected.shape == (3, prompt + 10)
    assert torch.equal(generate(model.extend, begin, 10, greedy), expected)
    if kernel != "softmax":
        assert torch.equal(generate(recurrent_extend(model), begin, 10, greedy), expected)


def test_lsh_generates_from_the_prefix():
    model = SequenceModel(
        6,
        6,
        length=20,
        dim=8,
        heads=2,
        layers=1,
        kernel=lambda: LSHAttention(4, buckets=2, chunk=4),
    ).eval()
    assert generate(recomputing_extend(model), torch.zeros(2, 1).long(), 5, greedy).shape == (2, 6)
    with pytest.raises(ValueError, match="shares queries and keys"):
        generate(model.extend, torch.zeros(2, 1).long(), 5, greedy)


def stack(
    kernel, *, norm="pre", positions=None, bias=True, depth=2, feed_forward=None, key_heads=None
):
    torch.manual_seed(0)
    layers = [
        EncoderLayer(
            8,
            MultiHeadAttention(8, 2, kernel=KERNELS[kernel](), bias=bias, key_heads=key_heads),
            feed_forward=feed_forward or FeedForward(8, 16, activation=nn.GELU),
            norm=norm,
        )
        for _ in range(2)
    ]
    return Encoder(layers, positions=positions, depth=depth, final_norm=nn.LayerNorm(8)).eval()


def decoded(extend, x, state=None):
    outputs = []
    for token in x.split(1, 1):
        out, state = extend(token, state)
        outputs.append(out)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "linear"},
        {"kernel": "linear", "norm": "post", "bias": False},
        {"kernel": "linear", "positions": LearnedPositions(20, 8)},
        {"kernel": "linear", "positions": CoordinatePositions(8), "depth": 5},
        {"kernel": "linear", "feed_forward": nn.Tanh()},
        {"kernel": "polynomial"},
        {"kernel": "favor"},
        {"kernel": "hedgehog"},
        {"kernel": "softmax"},
        {"kernel": "linear", "key_heads": 1},
        {"kernel": "favor", "key_heads": 1},
        {"kernel": "softmax", "key_heads": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 3])
def test_recurrent_equals_the_encoder(options, batch):
    encoder, x = stack(**options), torch.randn(batch, 9, 8)
    with torch.no_grad():
        expected = encoder(x, Causal())
        quick = Recurrent(encoder, batch=batch)
        torch.testing.assert_close(decoded(quick.extend, x), expected)
        _, state = encoder.extend(x[:, :4])
        for _ in range(2):  # the state is a value: it can be continued again
            torch.testing.assert_close(decoded(quick.extend, x[:, 4:], state), expected[:, 4:])


def test_recurrent_in_other_precisions():
    encoder, x = stack("linear"), torch.randn(3, 9, 8)
    with torch.no_grad():
        expected = encoder(x, Causal())
        half = decoded(Recurrent(encoder, dtype=torch.bfloat16).extend, x)
        assert half.dtype == torch.float32
        assert (half - expected).abs().max() < 0.05
        encoder, x = encoder.double(), x.double()
        double, whole = decoded(Recurrent(encoder).extend, x), encoder(x, Causal())
    torch.testing.assert_close(double, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", ["linear", "favor"])
def test_recurrent_keeps_its_precision_under_autocast(kernel):
    encoder, x = stack(kernel), torch.randn(2, 5, 8)
    quick = Recurrent(encoder)
    expected = decoded(quick.extend, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(decoded(quick.extend, x), expected)


def test_a_state_of_inference_mode_goes_on_outside_of_it():
    encoder, x = stack("linear"), torch.randn(2, 5, 8)
    quick = Recurrent(encoder)
    with torch.inference_mode():
        _, state = encoder.extend(x[:, :3])
        _, other = quick.extend(x[:, :1])
    with torch.no_grad():
        expected = encoder(x, Causal())
        torch.testing.assert_close(decoded(quick.extend, x[:, 3:], state), expected[:, 3:])
        torch.testing.assert_close(encoder.extend(x[:, 3:], state)[0], expected[:, 3:])
        torch.testing.assert_close(decoded(quick.extend, x[:, 1:], other), expected[:, 1:])


def test_dropout_is_in_training_alone():
    for model, arguments in (
        (SequenceModel(6, 6, length=9, dim=8, heads=2, layers=1, dropout=0.5),
         (torch.zeros(1, 9).long(),)),
        (SpeechModel(5, 3, dim=8, heads=2, layers=1, dropout=0.5, norm="post"),
         (torch.randn(1, 9, 5), torch.tensor([9]))),
    ):  # fmt: skip
        assert not torch.equal(model(*arguments), model(*arguments))
        assert torch.equal(model.eval()(*arguments), model(*arguments))
        assert model.encoder.layers[0].feed_forward[2].p == 0.5


def test_rows_go_on_with_the_stop_token_and_end_together():
    script = torch.tensor([[1, 2, 0, 3, 3], [0, 1, 1, 1, 1], [1, 1, 1, 0, 4]])

    def extend(tokens, state):
        place = 0 if state is None else state
        return nn.functional.one_hot(script[:, place], 5).float()[:, None], place + 1

    begin = torch.full((3, 1), 4)
    written = generate(extend, begin, 5, greedy, stop=0)
    assert written[:, 1:].tolist() == [[1, 2, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    assert generate(extend, begin, 5, greedy)[:, 1:].tolist() == script.tolist()
    assert generate(extend, begin, 0, greedy).tolist() == begin.tolist()
    assert generate(model_of("linear").extend, begin[:0], 4, greedy, stop=0).shape[0] == 0
    with pytest.raises(ValueError, match=r"a prompt is .* got \(3, 0\)"):
        generate(extend, begin[:, :0], 5, greedy)
    with pytest.raises(ValueError, match="tokens must be at least 0, got -1"):
        generate(extend, begin, -1, greedy)


def test_chosen_tokens_are_the_likeliest():
    chance = torch.tensor([0.1, 0.4, 0.2, 0.3])
    logits = chance.log().expand(4000, 4)

    def shares(**options):
        drawn = choose_token(logits, generator=torch.Generator().manual_seed(0), **options)
        return drawn.bincount(minlength=4) / 4000

    for options, kept in (
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"top_p": 0.65}, [1, 3]),
        ({"top_p": 0.75}, [1, 2, 3]),
        ({"top_p": 0.01}, [1]),
        ({"top_k": 3, "top_p": 0.7}, [1, 3]),
        ({"temperature": 0.0}, [1]),
    ):
        expected = torch.zeros(4)
        expected[kept] = chance[kept] / chance[kept].sum()
        assert (shares(**options) - expected).abs().max() < 0.04, options
    assert shares(temperature=0.5)[1] > 0.5
    assert choose_token(logits[:0]).shape == (0,)
    assert choose_token(chance.log()).shape == ()
    for options, message in (
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.5}, "top_p must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_token(logits, **options)


def test_recurrent_follows_a_copy_of_the_weights():
    encoder, x = stack("linear"), torch.randn(1, 3, 8)
    quick = Recurrent(encoder)
    before = decoded(quick.extend, x)
    with torch.no_grad():
        encoder.layers[0].attention.query.weight.zero_()
    assert torch.equal(decoded(quick.extend, x), before)


@pytest.mark.filterwarnings("ignore")
def test_recurrent_compiles():
    torch._dynamo.reset()
    encoder, x = stack("linear"), torch.randn(1, 6, 8)
    quick = Recurrent(encoder)
    step = torch.compile(quick.extend, backend="eager")
    torch.testing.assert_close(decoded(step, x), decoded(quick.extend, x))


def test_the_whole_step_is_exported_and_runs():
    """A stack's step as a program: token and sums in, output and sums out."""

    class Step(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, x, sums):
            state = Decoded(tuple(LinearState(*layer) for layer in sums), 1)
            out, state = self.encoder.extend(x, state)
            return out, [tuple(layer) for layer in state.layers]

    encoder, x = stack("linear"), torch.randn(2, 6, 8)
    with torch.no_grad():
        _, begun = encoder.extend(x[:, :1])
        sums = [tuple(layer) for layer in begun.layers]
        program = torch.export.export(Step(encoder), (x[:, 1:2], sums))
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        expected = encoder(x, Causal())
        for index in range(1, 6):
            out, sums = loaded(x[:, index : index + 1], sums)
            torch.testing.assert_close(out, expected[:, index : index + 1])


def test_recurrent_names_bad_input():
    turned = MultiHeadAttention(8, 2, kernel=LinearAttention(), positions=Rotary(4))
    with pytest.raises(ValueError, match="without positions in the heads"):
        Recurrent(Encoder(EncoderLayer(8, turned, feed_forward=nn.Tanh())))
    with pytest.raises(ValueError, match="one token a call, got 2"):
        Recurrent(stack("linear")).extend(torch.randn(1, 2, 8))


def test_speech_does_not_hear_the_padding():
    torch.manual_seed(0)
    for kernel in (LinearAttention, lambda: LinearAttention(elu_plus_one)):
        model = SpeechModel(5, 3, dim=8, heads=2, layers=2, kernel=kernel).eval()
        frames = torch.randn(2, 9, 5)
        both = model(frames, torch.tensor([9, 4]))
        alone = model(frames[1:, :4], torch.tensor([4]))
        torch.testing.assert_close(both[1:, :4], alone)
        torch.testing.assert_close(both.exp().sum(-1), torch.ones(2, 9))


def test_best_path_joins_repeats_and_drops_blanks():
    labels = torch.tensor([[0, 1, 1, 0, 1, 2, 2, 0], [3, 3, 3, 0, 0, 0, 1, 1]])
    scores = torch.nn.functional.one_hot(labels, 4).float()
    assert best_path(scores, torch.tensor([8, 6])) == [[1, 1, 2], [3]]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("ab", "ba", 2)],
)
def test_edit_distance(one, other, distance):
    assert edit_distance(list(map(ord, one)), list(map(ord, other))) == distance
    assert edit_distance(list(map(ord, other)), list(map(ord, one))) == distance
