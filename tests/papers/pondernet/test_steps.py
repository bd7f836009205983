"""Steps against plain PyTorch cells and against the peer's network on copied weights."""

import pytest
import torch
from torch import nn

from quire.papers.pondernet import (
    DigitStep,
    GRUStep,
    PatchEmbedding,
    Ponder,
    RNNStep,
    StoryEmbedding,
    expected_loss,
    log_stopping_distribution,
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
    predictions, logits, _ = Ponder(step, 4, eps=None)(x)
    # The first U h is zero here and b in the cell: begin from the cell's own bias.
    state = step.mixed.bias[:8].expand(3, -1)
    predictions, logits, _ = Ponder(step, 4, eps=None)(x, state)
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
    predictions, halt_logits, _ = Ponder(step, 20, eps=None)(x)
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


def test_gru_step_equals_the_cell() -> None:
    torch.manual_seed(0)
    step, cell = GRUStep(5, 8, 1), nn.GRUCell(5, 8)
    with torch.no_grad():
        step.read.weight.copy_(cell.weight_ih)
        step.read.bias.copy_(cell.bias_ih)
        step.mixed.weight[:24].copy_(cell.weight_hh)
        step.mixed.bias[:24].copy_(cell.bias_hh)
    x = torch.randn(3, 5)
    _, _, (h, _, _) = Ponder(step, 3, eps=None)(x)
    wanted = torch.zeros(3, 8)
    for _ in range(3):
        wanted = cell(x, wanted)
    torch.testing.assert_close(h, wanted)


def test_a_digit_sees_one_more_neighbour_a_step() -> None:
    torch.manual_seed(0)
    step = DigitStep(2, 8)
    x = torch.randn(1, 2, 9, requires_grad=True)
    predictions, _, _ = Ponder(step, 4, eps=None)(x)
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
