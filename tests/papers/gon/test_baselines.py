"""Baselines of origin gradients, where they are more than a composition of others."""

import torch

from quire.papers.gon import DenseDecoder, LearnedLatents


def test_inferring_latents_leaves_the_decoder_as_it_is():
    net = LearnedLatents(DenseDecoder(3, (1, 4, 4), hidden=(8,)), 5)
    frozen, *trained = net.decoder.parameters()
    frozen.requires_grad_(False)
    net.infer(torch.rand(2, 1, 4, 4), steps=3)
    assert not frozen.requires_grad
    assert all(p.requires_grad and p.grad is None for p in trained)
