"""The weights that figures show."""

import torch

from quire.papers.bigbird import BigBird, BigBirdPattern
from quire.papers.bigbird.experiments.figures import record_weights


def test_the_weights_in_figures_are_those_of_the_pattern():
    torch.manual_seed(0)
    pattern = BigBirdPattern(4, random=1)
    model = BigBird(20, 16, layers=2, heads=2, length=64, pattern=pattern).double()
    words = torch.randint(20, (1, 50))
    weights = record_weights(model, words)
    assert [weight.shape for weight in weights] == [(1, 2, 50, 50)] * 2
    allowed = torch.from_numpy(pattern.table(50, 2)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert (weights[0][0][~allowed[:, :50, :50]] == 0).all()
    torch.testing.assert_close(weights[1].sum(-1), torch.ones(1, 2, 50, dtype=torch.float64))
    assert model(words).isfinite().all()
