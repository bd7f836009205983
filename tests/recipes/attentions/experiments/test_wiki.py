"""What the recipe's experiments do beside the model."""

import pytest
import torch

from quire.lab.testing import run_in
from quire.lab.training import backward_in_parts
from quire.recipes.attentions.experiments.wiki import Wiki, losses_in_parts


@pytest.mark.parametrize("tokens", [1, 20, 45, 1000])
def test_parts_of_a_minibatch_add_up_to_the_whole(tokens, tmp_path):
    whole = Wiki(dim=16, heads=2, length=20, batch_size=5)
    parts = Wiki(dim=16, heads=2, length=20, batch_size=5, tokens_at_once=tokens)
    torch.manual_seed(0)
    model, batch = whole.make_model().double(), torch.randint(256, (5, 21))
    losses, gradients = [], []
    for config in (whole, parts):
        model.zero_grad()
        run = run_in(tmp_path, config)
        losses.append(backward_in_parts(losses_in_parts(model, batch, config, run)))
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
