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


def stack(kernel, *, norm="pre", positions=None, bias=True, depth=2, feed_forward=None):
    torch.manual_seed(0)
    layers = [
        EncoderLayer(
            8,
            MultiHeadAttention(8, 2, kernel=KERNELS[kernel](), bias=bias),
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
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 3])
def test_recurrent_equals_the_encoder(options, batch):
    encoder, x = stack(**options), torch.randn(batch, 9, 8)
    with torch.no_grad():
        expected = encoder(x, Causal())
        torch.testing.assert_close(decoded(Recurrent(encoder, batch=batch).extend, x), expected)
        _, state = encoder.extend(x[:, :4])
        rest = decoded(Recurrent(encoder, batch=batch).extend, x[:, 4:], state)
        torch.testing.assert_close(rest, expected[:, 4:])


def test_recurrent_in_other_precisions():
    encoder, x = stack("linear"), torch.randn(3, 9, 8)
    with torch.no_grad():
        expected = encoder(x, Causal())
        half = decoded(Recurrent(encoder, dtype=torch.bfloat16).extend, x)
        assert half.dtype == torch.float32
        assert (half - expected).abs().max() < 0.05
        double = decoded(Recurrent(encoder.double()).extend, x.double())
    torch.testing.assert_close(double.float(), expected)


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
    with pytest.raises(ValueError, match="Recurrent takes LinearAttention"):
        Recurrent(stack("softmax"))
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
