"""Layers against torch's own with copied weights, stacks against unrolled loops."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from nn.parity import copy_attention
from quire.nn import (
    Causal,
    CoordinatePositions,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderDecoder,
    EncoderLayer,
    FeedForward,
    GatedFeedForward,
    LearnedPositions,
    Mask,
    MultiHeadAttention,
    Padding,
    SinusoidalPositions,
    Window,
)

Norm = Literal["pre", "post"]
DIM, HEADS, HIDDEN = 12, 3, 20


def encoder_layer(norm: Norm = "pre", dropout: float = 0.0) -> EncoderLayer:
    attention = MultiHeadAttention(DIM, HEADS, bias=True)
    feed_forward = FeedForward(DIM, HIDDEN, dropout=dropout)
    return EncoderLayer(DIM, attention, feed_forward=feed_forward, norm=norm, dropout=dropout)


def decoder_layer(norm: Norm = "pre") -> DecoderLayer:
    return DecoderLayer(
        DIM,
        MultiHeadAttention(DIM, HEADS, bias=True),
        cross_attention=MultiHeadAttention(DIM, HEADS, bias=True),
        feed_forward=FeedForward(DIM, HIDDEN),
        norm=norm,
    )


def tokens(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, DIM, generator=generator, dtype=torch.float64)


def copy_rest(
    mine: EncoderLayer | DecoderLayer,
    theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer,
) -> None:
    """Copies all but the cross attention; norms of torch's layer get random weights first."""
    norms = [mine.attention_residual.norm, mine.feed_forward_residual.norm]
    if isinstance(mine, DecoderLayer):
        norms.insert(1, mine.cross_attention_residual.norm)
    with torch.no_grad():
        for number, norm in enumerate(norms, start=1):
            source = getattr(theirs, f"norm{number}")
            source.weight.normal_()
            source.bias.normal_()
            norm.load_state_dict(source.state_dict())
    mine.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    mine.feed_forward[3].load_state_dict(theirs.linear2.state_dict())
    copy_attention(mine.attention, theirs.self_attn)


def gradients_agree(mine: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    weights = torch.randn(mine.shape, dtype=torch.float64)
    ours = torch.autograd.grad((mine * weights).sum(), inputs)
    reference = torch.autograd.grad((theirs * weights).sum(), inputs)
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("count", [1, 7, 13])
def test_encoder_layer_against_torch(norm: Norm, count: int) -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    ).double()
    mine = encoder_layer(norm).double()
    copy_rest(mine, theirs)
    x = tokens(count).requires_grad_()
    output, expected = mine(x), theirs(x)
    torch.testing.assert_close(output, expected)
    gradients_agree(output, expected, [x])
    hidden = torch.ones(count, count, dtype=torch.bool).triu(1)
    torch.testing.assert_close(mine(x, Causal()), theirs(x, src_mask=hidden))


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(("count", "remembered"), [(1, 7), (7, 13), (13, 1)])
def test_decoder_layer_against_torch(norm: Norm, count: int, remembered: int) -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    ).double()
    mine = decoder_layer(norm).double()
    copy_rest(mine, theirs)
    copy_attention(mine.cross_attention, theirs.multihead_attn)
    x, memory = tokens(count).requires_grad_(), tokens(remembered, 1).requires_grad_()
    lengths = torch.tensor([remembered, (remembered + 1) // 2])
    hidden = torch.ones(count, count, dtype=torch.bool).triu(1)
    padding = torch.arange(remembered) >= lengths[:, None]
    expected = theirs(x, memory, tgt_mask=hidden, memory_key_padding_mask=padding)
    output = mine(x, memory, Causal(), Padding(lengths))
    torch.testing.assert_close(output, expected)
    gradients_agree(output, expected, [x, memory])


def test_shared_depth_equals_an_unrolled_loop() -> None:
    layer = encoder_layer().double()
    positions = CoordinatePositions(DIM)
    universal = Encoder(layer, depth=5, positions=positions, final_norm=nn.LayerNorm(DIM).double())
    x = tokens(7).requires_grad_()
    expected = x
    for step in range(5):
        expected = layer(positions(expected, step), Window(2))
    expected = universal.final_norm(expected)
    output = universal(x, Window(2))
    assert torch.equal(output, expected)
    gradients_agree(output, expected, [x, *layer.parameters()])
    assert sum(p.numel() for p in universal.parameters()) == sum(
        p.numel() for p in [*layer.parameters(), *universal.final_norm.parameters()]
    )


def test_distinct_layers_are_applied_in_order_and_cycle() -> None:
    layers = [encoder_layer().double() for _ in range(3)]
    x = tokens(7)
    assert torch.equal(Encoder(layers)(x), layers[2](layers[1](layers[0](x))))
    assert torch.equal(Encoder(layers, depth=4)(x), layers[0](Encoder(layers)(x)))
    assert torch.equal(Encoder(layers, depth=2)(x), layers[1](layers[0](x)))
    assert torch.equal(Encoder(layers[0])(x), layers[0](x))


def test_a_decoder_equals_an_unrolled_loop() -> None:
    layers = [decoder_layer().double() for _ in range(2)]
    positions = SinusoidalPositions(DIM)
    x, memory = tokens(7), tokens(13, 1)
    mask, memory_mask = Causal(), Padding(torch.tensor([13, 2]))
    expected = positions(x, 0)
    for layer in layers:
        expected = layer(expected, memory, mask, memory_mask)
    decoder = Decoder(layers, positions=positions)
    assert torch.equal(decoder(x, memory, mask, memory_mask), expected)


def test_encoder_decoder() -> None:
    model = EncoderDecoder(Encoder(encoder_layer()), Decoder(decoder_layer())).double()
    source, target = tokens(13), tokens(7, 1)
    padding = Padding(torch.tensor([13, 4]))
    output = model(source, target, padding, Causal(), padding)
    memory = model.encoder(source, padding)
    assert torch.equal(output, model.decoder(target, memory, Causal(), padding))
    changed = source.clone()
    changed[1, 4:] = 99.0  # padding, so nothing may change
    torch.testing.assert_close(model(changed, target, padding, Causal(), padding), output)
    later = target.clone()
    later[:, 5:] = 99.0
    after = model(source, later, padding, Causal(), padding)
    torch.testing.assert_close(after[:, :5], output[:, :5])
    assert not torch.allclose(after[:, 5:], output[:, 5:])


def test_a_small_vision_transformer() -> None:
    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, DIM, 4, 4)
            self.encoder = Encoder(
                [encoder_layer() for _ in range(2)],
                positions=LearnedPositions(64, DIM),
                final_norm=nn.LayerNorm(DIM),
            )
            self.classes = nn.Linear(DIM, 10)

        def forward(self, images: Tensor) -> Tensor:
            patches = self.patches(images).flatten(2).transpose(1, 2)
            return self.classes(self.encoder(patches).mean(1))

    logits = Vit()(torch.randn(2, 3, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, 10)


def test_any_module_may_be_the_feed_forward_part() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    attention = MultiHeadAttention(DIM, HEADS)
    layer = EncoderLayer(DIM, attention, feed_forward=Doubled()).double()
    assert layer(tokens(7)).shape == (2, 7, DIM)


def test_feed_forward_by_hand() -> None:
    layer = FeedForward(2, 3, activation=nn.Tanh).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    hidden = torch.tanh(x @ layer[0].weight.T + layer[0].bias)
    torch.testing.assert_close(layer(x), hidden @ layer[3].weight.T + layer[3].bias)


def test_dropout_only_while_training() -> None:
    layer = encoder_layer(dropout=0.5)
    x = torch.randn(2, 7, DIM)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize(
    "mask", [None, Causal(), Causal() & Window(2), Padding(torch.tensor([7, 0]))]
)
def test_compiles_whole(mask: Mask | None) -> None:
    model = EncoderDecoder(
        Encoder(encoder_layer(), depth=3, positions=CoordinatePositions(DIM)),
        Decoder(decoder_layer("post"), positions=LearnedPositions(16, DIM)),
    ).double()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    source, target = tokens(7), tokens(7, 1)
    expected = model(source, target, mask, Causal(), mask)
    torch.testing.assert_close(compiled(source, target, mask, Causal(), mask), expected)


def test_bfloat16() -> None:
    model = Encoder(encoder_layer("post"), depth=2, positions=SinusoidalPositions(DIM))
    x = torch.randn(2, 13, DIM)
    exact = model(x, Window(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(x, Window(3))
    half = model.bfloat16()(x.bfloat16(), Window(3))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), exact, atol=0.1, rtol=0.1)
    torch.testing.assert_close(half.float(), exact, atol=0.1, rtol=0.1)


def test_padded_sequences_have_finite_gradients() -> None:
    model = Encoder([encoder_layer(), encoder_layer("post")]).double()
    x = tokens(7).requires_grad_()
    model(x, Padding(torch.tensor([7, 0]))).sum().backward()
    for tensor in (x, *model.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_arguments() -> None:
    with pytest.raises(ValueError, match="at least one layer, got none"):
        Encoder([])
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Decoder(decoder_layer(), depth=0)
    with pytest.raises(ValueError, match="norm must be 'pre' or 'post', got 'middle'"):
        encoder_layer("middle")


def test_gated_feed_forward_is_its_formula() -> None:
    torch.manual_seed(0)
    part, x = GatedFeedForward(6, 9).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    gate, value = x @ part.gate.weight.T, x @ part.value.weight.T
    normal = 0.5 * (1 + torch.erf(gate / 2**0.5))
    expected = (gate * normal * value) @ part.output.weight.T
    torch.testing.assert_close(part(x), expected)
