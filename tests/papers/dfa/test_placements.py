"""Where to mark."""

import pytest
from torch import nn

from quire.nn import Encoder, EncoderLayer, GatedFeedForward, MultiHeadAttention
from quire.papers.dfa import LanguageModel, after_activations, macro, micro


def test_names_of_marks() -> None:
    net = LanguageModel(7, dim=8, layers=2, heads=2)
    assert macro(net) == ["encoder.layers.0", "encoder.layers.1"]
    assert micro(net)[:3] == [
        "encoder.layers.0.attention_residual",
        "encoder.layers.0.feed_forward.2",
        "encoder.layers.0",
    ]
    theirs = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1)
    assert micro(theirs) == ["layers.0.norm1", "layers.0.dropout", "layers.0"]
    gated = Encoder(EncoderLayer(8, MultiHeadAttention(8, 2), feed_forward=GatedFeedForward(8, 16)))
    assert micro(gated)[1] == "layers.0.feed_forward.dropout"
    assert after_activations(nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.ReLU())) == ["1", "2"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no Transformer block"):
        macro(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="Linear has no module that is an activation"):
        after_activations(nn.Linear(2, 2))
    early = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, norm_first=True), 1,
                                  enable_nested_tensor=False)  # fmt: skip
    with pytest.raises(ValueError, match="use norm_first=False"):
        micro(early)
