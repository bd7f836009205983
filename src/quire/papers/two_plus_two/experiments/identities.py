"""What holds exactly, for any seed: closed forms, symmetries, limits, panels and loops."""

import torch
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.papers.two_plus_two.arithmetic import NAC, NALU
from quire.papers.two_plus_two.closed import LeastSquares, Lookup, one_hot, with_bias
from quire.papers.two_plus_two.court import mix, weigh_numbers
from quire.papers.two_plus_two.families import Learner, teach, witnesses
from quire.papers.two_plus_two.nets import Net, Number, Scalar, SharedEmbedding
from quire.papers.two_plus_two.stacked import count_weights, stack_mlp, take_member
from quire.papers.two_plus_two.table import Lesson, list_cells, make_lesson, only

QUESTION = torch.tensor([[2, 2]])
DRAWS = 200_000


class Identities(Config):
    """Random weights."""


def identities(config: Identities, run: Run) -> Metrics:
    """Every identity's error."""
    pairs = list_cells()
    lesson = make_lesson(~only(2, 2)(pairs)[None], pairs)
    generator = run.rng("weights")
    return (
        measure_closed(lesson, generator)
        | measure_symmetries(generator)
        | measure_units(generator)
        | measure_verdicts(generator)
        | {
            "stacked_error": measure_stacked(lesson, generator),
            "most_weights": max(
                float(count_weights(net))
                for witness in witnesses().values()
                if isinstance(net := witness.swear_in(1), Learner)
            ),
            "leaked": float(only(2, 2)(lesson.pairs[0]).sum()),
        }
    )


def measure_closed(lesson: Lesson, generator: torch.Generator) -> Metrics:
    """Least squares finds the sum; the nearest neighbour of 2 + 2 says 3 or 5."""
    line = LeastSquares(with_bias).fit(lesson)
    hot = LeastSquares(one_hot).fit(lesson)
    clerk = Lookup(generator=generator).fit(lesson)
    said = torch.stack([clerk(QUESTION)[0, 0] for _ in range(50)])
    return {
        "line_error": largest(line.weights - torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)),
        "hot_error": largest(hot(QUESTION) - 4),
        "lookup_fours": float((said == 4).sum()),
        "lookup_distance": largest((said - 4).abs() - 1),
    }


def measure_symmetries(generator: torch.Generator) -> Metrics:
    """E[a] + E[b] knows no order; a ReLU net is affine along a ray beyond its last kink."""
    table = SharedEmbedding(3, 10, dim=8, generator=generator)
    pairs = list_cells()
    net = Net(
        Scalar(), stack_mlp(3, [2, 16, 16, 1], generator=generator).double(), Number()
    )  # fmt: skip
    ray = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    far = net(torch.cat([ray * scale for scale in (1e6, 2e6, 3e6)]))
    bend = (far[:, 0] - 2 * far[:, 1] + far[:, 2]).abs() / far.abs().amax(1)
    return {
        "order_error": largest(table(pairs) - table(pairs.flip(1))),
        "bend": largest(bend),
    }


def measure_units(generator: torch.Generator) -> Metrics:
    """A saturated NAC adds; NALU with an open gate is its NAC, and finite at 0."""
    exact = NAC(1, 2).double()
    unit = NALU(3, 2, outputs=2, generator=generator).double()
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        exact.what.fill_(40.0), exact.mhat.fill_(40.0)
        unit.gate.copy_(1e3 * torch.ones_like(unit.gate))
        positive = x.abs() + 1
        return {
            "nac_error": largest(exact(x)[0, :, 0] - x.sum(-1)),
            "nalu_error": largest_difference(unit(positive), unit.nac(positive)),
            "nalu_at_zero": float(unit(torch.zeros(1, 2)).isfinite().all()),
        }


def measure_verdicts(generator: torch.Generator) -> Metrics:
    """Half way there is no preference; the mixture's moments are those of samples."""
    mean = torch.tensor([3.2, 4.1, 5.0], dtype=torch.float64)
    deviation = torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64)
    found = torch.stack(mix(mean, deviation))
    noise = torch.randn(DRAWS, 3, generator=generator, dtype=torch.float64)
    drawn = (mean + deviation * noise).flatten()
    share = weigh_numbers(torch.tensor(4.5), torch.tensor([0.01, 0.3, 5.0])).share
    return {
        "half_error": largest(share - 0.5),
        "mixture_error": largest(found - torch.stack([drawn.mean(), drawn.std()])),
    }


def measure_stacked(lesson: Lesson, generator: torch.Generator) -> float:
    """Largest relative distance of a panel's weights from those of its members taught alone."""
    worst = []
    for name in ("mlp_reg", "mlp_onehot", "shared_embed", "nac", "nau_nmu", "transformer"):
        net = witnesses()[name].swear_in(3, generator=generator)
        assert isinstance(net, Learner)
        net = net.double()
        alone = [take_member(net, member) for member in range(3)]
        together = Lesson(*(x.expand(3, *x.shape[1:]) for x in parts(lesson)))
        teach(net, together, steps=5)
        for member, each in enumerate(alone):
            teach(each, lesson, steps=5)
            own = take_member(net, member)
            worst += [
                largest_difference(a, b) / largest(a)
                for a, b in zip(own.parameters(), each.parameters(), strict=True)
            ]
    return max(worst)


def parts(lesson: Lesson) -> tuple[Tensor, Tensor, Tensor]:
    """Its tensors, the weights in double precision."""
    return lesson.pairs, lesson.sums, lesson.weight.double()
