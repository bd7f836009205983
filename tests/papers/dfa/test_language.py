"""The language model: causal, and cut where it is marked."""

import torch

from quire.papers.dfa import DirectFeedback, LanguageModel, macro


def made():
    torch.manual_seed(0)
    return LanguageModel(11, dim=8, layers=2, heads=2, dropout=0.0), torch.randint(11, (3, 6))


def test_a_token_does_not_know_the_later_ones() -> None:
    net, x = made()
    other = x.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 11
    torch.testing.assert_close(net(x)[:, :4], net(other)[:, :4])
    assert not torch.allclose(net(x)[:, 4:], net(other)[:, 4:])


def test_sources_and_embeddings() -> None:
    net, x = made()
    model = DirectFeedback(net, macro(net), source="encoder")
    model(x).square().sum().backward()
    assert model.feedback.error_width == 8
    through_block = net.embedding.weight.grad.clone()
    net.zero_grad()
    at_logits = DirectFeedback(net, ["entry", *macro(net)])
    at_logits(x).square().sum().backward()
    assert at_logits.feedback.error_width == 11
    assert not torch.allclose(net.embedding.weight.grad, through_block)
    wanted = torch.zeros_like(through_block)
    with torch.no_grad():
        signal = (2 * net(x)).flatten(0, 1) @ at_logits.feedback.matrix * 8**0.5
    wanted.index_add_(0, x.flatten(), signal)
    torch.testing.assert_close(net.embedding.weight.grad, wanted)
