"""Baselines of origin gradients, where they are more than a composition of others."""

import torch
from torch import nn

from quire.papers.gon import (
    Autoencoder,
    ConvDecoder,
    DenseDecoder,
    LearnedLatents,
    TiedEncoder,
    batch_norm,
    count_parameters,
)


def test_inferring_latents_leaves_the_decoder_as_it_is():
    net = LearnedLatents(DenseDecoder(3, (1, 4, 4), hidden=(8,)), 5)
    frozen, *trained = net.decoder.parameters()
    frozen.requires_grad_(False)
    net.infer(torch.rand(2, 1, 4, 4), steps=3)
    assert not frozen.requires_grad
    assert all(p.requires_grad and p.grad is None for p in trained)


def test_tied_convolutions_are_the_decoders_adjoint():
    torch.manual_seed(0)
    plain = ConvDecoder(
        5, width=3, channels=2, norm=lambda _: nn.Identity(), activation=nn.Identity, logits=True
    ).double()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    z, x = torch.randn(4, 5).double(), torch.randn(4, 2, 32, 32).double()
    encoder = TiedEncoder(plain).double()
    torch.testing.assert_close((plain(z) * x).sum(), (z * encoder(x)).sum())


def test_a_tied_convolutional_autoencoder_has_one_set_of_weights():
    torch.manual_seed(0)
    decoder = ConvDecoder(5, width=4, norm=batch_norm)
    net = Autoencoder(TiedEncoder(decoder, norm=batch_norm), decoder)
    assert count_parameters(net) == count_parameters(decoder) + (4 + 8 + 16 + 5) + 2 * (4 + 8 + 16)
    x = torch.rand(3, 1, 32, 32)
    assert net(x).latent.shape == (3, 5)
    net.measure_loss(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
