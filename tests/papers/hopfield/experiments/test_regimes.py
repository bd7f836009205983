"""What the contract tests do not see of the regimes."""

import torch

from quire.papers.hopfield.experiments.regimes import count_different, draw_clusters


def test_different_states_are_counted():
    state = torch.tensor([[0.0, 0.0], [0.0, 0.001], [1.0, 0.0]])
    assert count_different(state) == 2


def test_clusters_lie_apart_on_one_sphere():
    stored = draw_clusters(torch.Generator().manual_seed(0))
    torch.testing.assert_close(stored.norm(dim=-1), torch.full((30,), 4.0, dtype=torch.float64))
    own = torch.arange(30) // 10
    overlap = (stored @ stored.T).fill_diagonal_(-torch.inf)
    assert torch.equal(own[overlap.argmax(-1)], own)
