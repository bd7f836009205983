"""Steps against plain PyTorch cells and against the peer's network on copied weights."""

import pytest
import torch
from torch import nn

from quire.papers.pondernet import (
    DigitStep,
    GRUStep,
    HopStep,
    PatchEmbedding,
    Ponder,
    RNNStep,
    StoryEmbedding,
    expected_loss,
    log_stopping_distribution,
    universal_layer,
)


def test_rnn_step_equals_a_cell_with_heads() -> None:
    torch.manual_seed(0)
    step = RNNStep(5, 8, 2)
    cell = nn.RNNCell(5, 8)
    with torch.no_grad():
        cell.weight_ih.copy_(step.prepare.weight)
        cell.bias_ih.copy_(step.prepare.bias)
        cell.weight_hh.copy_(step.mixed.weight[:8])
        cell.bias_hh.copy_(step.mixed.bias[:8])
    x = torch.randn(3, 5)
    predictions, logits, _ = Ponder(step, 4)(x)
    h = torch.zeros(3, 8)
    for n in range(4):
        h = cell(x, h)
        heads = nn.functional.linear(h, step.mixed.weight[8:], step.mixed.bias[8:])
        torch.testing.assert_close(predictions[n], heads[:, :2])
        torch.testing.assert_close(logits[n], heads[:, 2])


def test_gru_step_equals_pytorch_and_labml() -> None:
    peer_module = pytest.importorskip(
        "labml_nn.adaptive_computation.ponder_net", reason="labml-nn is not installed"
    )
    torch.manual_seed(0)
    peer = peer_module.ParityPonderGRU(8, 64, 20)
    step = GRUStep(8, 64, 1)
    copy_gru(peer, step)
    x = torch.randn(128, 8)
    target = torch.randint(0, 2, (128,)).float()
    p, y, _, _ = peer(x)
    predictions, halt_logits, _ = Ponder(step, 20)(x)
    log_stop = log_stopping_distribution(halt_logits)
    torch.testing.assert_close(log_stop.exp(), p, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(predictions[..., 0], y, atol=1e-5, rtol=1e-4)
    theirs = peer_module.ReconstructionLoss(nn.BCEWithLogitsLoss(reduction="none"))(p, y, target)
    losses = nn.functional.binary_cross_entropy_with_logits(
        predictions[..., 0], target.expand(20, -1), reduction="none"
    )
    ours = expected_loss(losses, log_stop).mean()
    torch.testing.assert_close(ours, theirs)


def copy_gru(peer: nn.Module, step: GRUStep) -> None:
    """The peer's cell and its two heads, put into one matrix."""
    with torch.no_grad():
        step.read.weight.copy_(peer.gru.weight_ih)
        step.read.bias.copy_(peer.gru.bias_ih)
        heads = (peer.gru.weight_hh, peer.output_layer.weight, peer.lambda_layer.weight)
        step.mixed.weight.copy_(torch.cat(heads))
        biases = (peer.gru.bias_hh, peer.output_layer.bias, peer.lambda_layer.bias)
        step.mixed.bias.copy_(torch.cat(biases))


@pytest.mark.parametrize("learned", [False, True])
def test_gru_step_equals_the_cell(learned: bool) -> None:
    torch.manual_seed(0)
    step, cell = GRUStep(5, 8, 1, learned_start=learned), nn.GRUCell(5, 8)
    first = nn.init.normal_(step.start) if step.start is not None else torch.zeros(8)
    with torch.no_grad():
        step.read.weight.copy_(cell.weight_ih)
        step.read.bias.copy_(cell.bias_ih)
        step.mixed.weight[:24].copy_(cell.weight_hh)
        step.mixed.bias[:24].copy_(cell.bias_hh)
    x = torch.randn(3, 5)
    _, _, (h, _, _) = Ponder(step, 3)(x)
    wanted = first.expand(3, -1)
    for _ in range(3):
        wanted = cell(x, wanted)
    torch.testing.assert_close(h, wanted)


def test_a_first_state_is_learned() -> None:
    torch.manual_seed(0)
    step, cell = RNNStep(5, 8, 1, learned_start=True), nn.RNNCell(5, 8)
    with torch.no_grad():
        step.prepare.weight.copy_(cell.weight_ih), step.prepare.bias.copy_(cell.bias_ih)
        step.mixed.weight[:8].copy_(cell.weight_hh), step.mixed.bias[:8].copy_(cell.bias_hh)
        step.start.normal_()
    x = torch.randn(3, 5)
    predictions, _, _ = Ponder(step, 1)(x)
    h = cell(x, step.start.expand(3, -1))
    heads = nn.functional.linear(h, step.mixed.weight[8:9], step.mixed.bias[8:9])
    torch.testing.assert_close(predictions[0], heads)
    predictions.sum().backward()
    assert step.start.grad.abs().sum() > 0


def test_a_given_map_is_followed_one_hop_a_step() -> None:
    leads_to = torch.tensor([0, 0, 1, 2, 3])
    step = HopStep(5, 4, leads_to=leads_to)
    predictions, _, _ = Ponder(step, 4)(torch.eye(5, 9))
    wanted = torch.arange(5)
    for prediction in predictions:
        wanted = leads_to[wanted]
        assert torch.equal(prediction.argmax(1), wanted)
        assert prediction.softmax(1).amax(1).min() > 0.99
    assert not step.hop.weight.requires_grad and HopStep(5, 4).hop.weight.requires_grad
    with pytest.raises(ValueError, match=r"leads_to must be \(6,\), got shape \(5,\)"):
        HopStep(6, 4, leads_to=leads_to)


def test_embeddings_say_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"images must be 8 x 8, got \(4, 16\)"):
        PatchEmbedding(8, 4, 4)(torch.zeros(1, 1, 4, 16))
    story = torch.ones(1, 3, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="at most 2 sentences of 2 words, got 3 of 2"):
        StoryEmbedding(4, 4, sentences=2, words=2)(story)


def test_a_transition_of_two_layers() -> None:
    layer = universal_layer(8, 2, 12, transitions=2)
    widths = [m.weight.shape for m in layer.feed_forward if isinstance(m, nn.Linear)]
    assert widths == [(12, 8), (12, 12), (8, 12)]
    assert layer(torch.randn(2, 3, 8)).shape == (2, 3, 8)
    with pytest.raises(ValueError, match="heads must divide the width 9"):
        universal_layer(9, 2, 12)


def test_a_digit_sees_one_more_neighbour_a_step() -> None:
    torch.manual_seed(0)
    step = DigitStep(2, 8)
    x = torch.randn(1, 2, 9, requires_grad=True)
    predictions, _, _ = Ponder(step, 4)(x)
    for n in range(4):
        (gradient,) = torch.autograd.grad(predictions[n, 0, 4].sum(), x, retain_graph=True)
        seen = gradient.abs().sum((0, 1)).nonzero().squeeze(1)
        assert seen.tolist() == list(range(4 - n, 5 + n))


def test_story_embedding_ages_sentences_from_the_newest() -> None:
    torch.manual_seed(0)
    embed = StoryEmbedding(9, 4, sentences=5, words=3)
    short = torch.tensor([[[1, 2, 0], [3, 4, 5]]])
    padded = torch.cat([short, torch.zeros(1, 2, 3, dtype=torch.int64)], 1)
    question = torch.tensor([[6, 7]])
    tokens, valid = embed((padded, question))
    alone, _ = embed((short, question))
    assert valid.tolist() == [[True, True, True, False, False]]
    torch.testing.assert_close(tokens[:, :3], alone)
    words = embed.words(short[0, 1])
    torch.testing.assert_close(alone[0, 2], (words * embed.places).sum(0) + embed.ages[1])


def test_patches_must_fit() -> None:
    with pytest.raises(ValueError, match="patch must divide the image size 8, got 3"):
        PatchEmbedding(8, 3, 4)
