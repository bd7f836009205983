"""Weights, plans and outputs of transformers' BigBird."""

import numpy as np
import pytest
import torch

from quire.nn import Padding, softmax_attention
from quire.papers.bigbird import BigBird, BigBirdAttention, from_transformers, load_weights


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def numpy_state():
    """Theirs seeds NumPy's global generator."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def peer(transformers, kind="block_sparse", **options):
    torch.manual_seed(0)
    options = {"max_position_embeddings": 1024, "block_size": 8, "num_random_blocks": 2} | options
    model = transformers.BigBirdModel(
        transformers.BigBirdConfig(
            vocab_size=60,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attention_type=kind,
            **options,
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double()


def read(theirs, **options):
    return from_transformers(theirs.config.to_dict(), theirs.state_dict(), **options).double()


def texts(length):
    words = torch.randint(60, (2, length), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([length, length // 2 + 3])
    return words, torch.arange(length) < lengths[:, None]


def gradients(model, out, weight):
    (out * weight).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_full_attention_is_transformers_original_full(transformers):
    theirs = peer(transformers, "original_full").eval()
    words, counts = texts(45)
    expected = theirs(words, attention_mask=counts.long()).last_hidden_state
    ours = read(theirs)
    assert all(layer.attention.kernel is softmax_attention for layer in ours.layers)
    torch.testing.assert_close(
        ours(words, Padding(counts))[counts], expected[counts], rtol=0, atol=1e-10
    )


# 1,024 tokens have a plan of their own, of which a model with more positions takes the first rows;
# there random blocks may be the last, global one. 157 tokens leave a partial block.
@pytest.mark.parametrize(
    ("length", "options"),
    [
        (160, {}),
        (157, {}),
        (1024, {}),
        (1024, {"max_position_embeddings": 2048, "block_size": 64, "num_random_blocks": 3}),
        (2048, {"max_position_embeddings": 2048, "block_size": 64, "num_random_blocks": 3}),
    ],
)
def test_block_sparse_is_transformers_without_hand_work(transformers, length, options):
    theirs = peer(transformers, **options).train()
    words, counts = texts(length)
    expected = theirs(words, attention_mask=counts.long()).last_hidden_state
    model = read(theirs)
    assert isinstance(model.layers[0].attention.kernel, BigBirdAttention)
    found = model(words, Padding(counts))
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=1e-10)
    if length != 160:
        return
    weight = torch.randn(found.shape, dtype=found.dtype) * counts[..., None]
    mine = gradients(model, found, weight)
    other = gradients(theirs, expected, weight)
    pairs = [
        ("layers.0.attention.key.weight", "encoder.layer.0.attention.self.key.weight"),
        ("layers.1.feed_forward.3.bias", "encoder.layer.1.output.dense.bias"),
        ("word.weight", "embeddings.word_embeddings.weight"),
    ]
    for name, theirs_name in pairs:
        given = mine[name].clone()
        if name == "word.weight":  # theirs has no gradient for its padding word
            given[0] = 0
        torch.testing.assert_close(given, other[theirs_name], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("length", [40, 157])
def test_evaluation_counts_block_0_again(transformers, length):
    """Of 5 blocks attention is full there, too, as of all texts up to 2 R + 5 blocks."""
    theirs = peer(transformers).eval()
    words, counts = texts(length)
    with torch.no_grad():
        expected = theirs(words, attention_mask=counts.long()).last_hidden_state
        found = read(theirs, evaluation=True)(words, Padding(counts))
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=1e-10)
    if length == 157:
        trained = read(theirs)(words, Padding(counts))
        assert not torch.allclose(trained[counts], expected[counts], rtol=0, atol=1e-3)


@pytest.mark.parametrize("positions", [1024, 4096])
@pytest.mark.parametrize("length", [704 + 64, 1024, 3072, 4096])
def test_plans_at_the_papers_sizes(transformers, length, positions):
    if length > positions:
        return
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

    from quire.papers.bigbird import BigBirdPattern

    config = transformers.BigBirdConfig(hidden_size=24, max_position_embeddings=positions)
    theirs = BigBirdBlockSparseAttention(config, seed=7).train()
    np.random.seed(7)
    if length == 768:
        plan = theirs._get_rand_attn_plan(length, 64, 3)
        expected = theirs._bigbird_block_rand_mask_with_head(length, length, 64, 64, 12, *plan)
    else:
        expected = [
            theirs._bigbird_block_rand_mask(positions, positions, 64, 64, 3, last_idx=1024)
            for _ in range(12)
        ]
    pattern = BigBirdPattern(seed=7, rule="transformers", positions=positions)
    found = pattern.plan(length, 12)[:, 1:-1]
    assert (found == np.stack(expected)[:, : length // 64 - 2]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_act", "gelu"),
        ("use_bias", False),
        ("rescale_embeddings", True),
        ("is_decoder", True),
    ],
)
def test_a_config_without_a_form_here_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value!r}"):
        from_transformers({name: value}, {})


def test_weights_that_do_not_fit_name_a_tensor():
    model = BigBird(20, 16, layers=1, heads=2, length=64)
    with pytest.raises(ValueError, match="the weights lack layers"):
        load_weights(model, {"embeddings.word_embeddings.weight": model.word.weight})
    with pytest.raises(ValueError, match=r"word_embeddings.weight \(2, 3\) does not fit"):
        load_weights(model, {"bert.embeddings.word_embeddings.weight": torch.zeros(2, 3)})
