"""What the recipe's experiments do beside the model."""

import contextlib

import pytest
import torch

from quire.recipes.attentions.experiments import Wiki, backward


class OnTheCPU:
    def precision(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("tokens", [1, 20, 45, 1000])
def test_parts_of_a_minibatch_add_up_to_the_whole(tokens):
    whole = Wiki(dim=16, heads=2, context=20, batch_size=5)
    parts = Wiki(dim=16, heads=2, context=20, batch_size=5, tokens_at_once=tokens)
    torch.manual_seed(0)
    model, batch = whole.model().double(), torch.randint(256, (5, 21))
    losses, gradients = [], []
    for config in (whole, parts):
        losses.append(backward(model, batch, config, OnTheCPU()))
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
