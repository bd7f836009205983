"""Attention x {encoder, causal decoder} x feed-forward: every combination trains and agrees."""

import pytest
import torch
from torch import nn

from quire.nn import (
    Causal,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    GatedFeedForward,
    MultiHeadAttention,
    Padding,
)
from quire.recipes.attentions import LanguageModel, kernels
from quire.recipes.attentions.experiments.shape import ATTENTIONS

D, HEADS, LENGTH = 16, 2, 100
FEED_FORWARDS = {
    "relu": lambda: FeedForward(D, 32),
    "geglu": lambda: GatedFeedForward(D, 24),
    "any module": lambda: nn.Sequential(nn.Linear(D, D), nn.Tanh()),
}
every_kernel = pytest.mark.parametrize("name", ATTENTIONS)
every_feed_forward = pytest.mark.parametrize("part", FEED_FORWARDS)


def stack(name, part, layers=2):
    torch.manual_seed(0)
    return Encoder(
        [
            EncoderLayer(
                D,
                MultiHeadAttention(D, HEADS, kernel=ATTENTIONS[name](layer)),
                feed_forward=FEED_FORWARDS[part](),
            )
            for layer in range(layers)
        ]
    ).double()


def gradients_are_whole(model, output):
    output.square().mean().backward()
    # Without attention to others, queries and keys have no say.
    return [
        n for n, p in model.named_parameters()
        if p.grad is None or not bool(p.grad.isfinite().all()) or not bool(p.grad.abs().sum() > 0)
    ]  # fmt: skip


@every_kernel
@every_feed_forward
def test_encoder(name, part):
    model = stack(name, part)
    x = torch.randn(3, LENGTH, D, dtype=torch.float64)
    lengths = torch.tensor([LENGTH, 1, 60])
    y = model(x, Padding(lengths))
    counts = torch.arange(LENGTH) < lengths[:, None]
    other = torch.where(counts[..., None], x, torch.randn_like(x))
    torch.testing.assert_close(model(other, Padding(lengths))[counts], y[counts])
    y = y[counts]
    without = gradients_are_whole(model, y)
    assert all(".query." in n or ".key." in n for n in without)
    assert bool(without) == (name == "none")


@every_kernel
@every_feed_forward
def test_causal_decoder(name, part):
    model = stack(name, part)
    x = torch.randn(2, LENGTH, D, dtype=torch.float64)
    whole = model(x, Causal())
    later = torch.cat((x[:, :60], torch.randn_like(x[:, 60:])), 1)
    torch.testing.assert_close(model(later, Causal())[:, :60], whole[:, :60])
    with torch.no_grad():
        pieces, state = model.extend(x[:, :50])
        outputs = [pieces]
        for token in x[:, 50:].split(1, 1):
            piece, state = model.extend(token, state)
            outputs.append(piece)
    torch.testing.assert_close(torch.cat(outputs, 1), whole)
    assert bool(gradients_are_whole(model, whole)) == (name == "none")


@every_kernel
@every_feed_forward
def test_decoder_with_a_memory(name, part):
    """Self-attention by the kernel, attention to the memory by softmax."""
    torch.manual_seed(0)
    layer = DecoderLayer(
        D,
        MultiHeadAttention(D, HEADS, kernel=ATTENTIONS[name](0)),
        cross_attention=MultiHeadAttention(D, HEADS),
        feed_forward=FEED_FORWARDS[part](),
    )
    model = Decoder(layer).double()
    x, memory = torch.randn(2, 70, D).double(), torch.randn(2, 9, D).double()
    mask = Padding(torch.tensor([9, 4]))
    whole = model(x, memory, Causal(), mask)
    with torch.no_grad():
        state, pieces = model.begin(memory, mask), []
        for token in x.split(1, 1):
            piece, state = model.extend(token, state)
            pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


@every_kernel
def test_weights_pass_from_one_attention_to_another(name):
    """The kernels have no parameters: one state_dict fits all, and gives different models."""
    models = {key: stack(key, "relu") for key in ("none", name)}
    models[name].load_state_dict(models["none"].state_dict())
    x = torch.randn(1, LENGTH, D, dtype=torch.float64)
    same = torch.equal(models["none"](x, Causal()), models[name](x, Causal()))
    assert same == (name == "none")


@every_kernel
def test_a_language_model_draws_what_its_scores_say(name):
    torch.manual_seed(0)
    model = LanguageModel(D, heads=HEADS, layers=2, kernel=ATTENTIONS[name]).double()
    prompt = torch.randint(256, (2, 30))
    drawn = model.generate(prompt, 50, generator=torch.Generator().manual_seed(1), temperature=1e-7)
    with torch.no_grad():
        scores = model(torch.cat((prompt, drawn), 1))
    assert torch.equal(drawn, scores[:, 29:-1].argmax(-1))
    again = model.generate(prompt, 50, generator=torch.Generator().manual_seed(2), temperature=1e-7)
    assert torch.equal(drawn, again)


def test_bad_input_is_named():
    model = LanguageModel(D, heads=HEADS, layers=1, kernel=kernels.linear)
    prompt, generator = torch.zeros(1, 5, dtype=torch.int64), torch.Generator()
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        model.generate(prompt, 1, generator=generator, temperature=0)
