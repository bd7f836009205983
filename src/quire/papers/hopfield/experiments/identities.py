"""What must hold exactly: energies, updates, theorems, limits. Nothing is trained."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.nn import MultiHeadAttention
from quire.papers.hopfield.energy import (
    hopfield_energy,
    hopfield_jacobian,
    hopfield_update,
    retrieve,
)
from quire.papers.hopfield.heads import GaussianAttention, patterns_needed
from quire.papers.hopfield.kernel import HopfieldAttention
from quire.papers.hopfield.layers import Association, Hopfield, Input
from quire.papers.hopfield.learned import HopfieldLayer
from quire.papers.hopfield.theory import (
    capacity_bound,
    energy_bounds,
    pattern_separation,
    retrieval_bounds,
)

Draw = Callable[..., Tensor]
"""Normal numbers of a shape."""


class Identities(Config):
    """Everything in float64."""

    patterns: PositiveInt = 10_000
    """Patterns of the comparison between streamed and dense association."""
    trials: PositiveInt = 20
    """Random sets of patterns for the energy and the theorems."""


def identities(config: Identities, run: Run) -> Metrics:
    """Differences that must be zero, and numbers that the paper gives."""
    rng = run.rng("numbers")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(run.device)

    metrics: Metrics = {}
    for _ in range(config.trials):
        for key, value in (check_energies(draw) | check_theorems(draw)).items():
            metrics[key] = max(metrics.get(key, -math.inf), value)
    metrics |= compare_attention(draw) | compare_streaming(draw, config.patterns)
    metrics |= check_limits(draw) | check_pair(draw)
    return metrics | {
        "base_20": capacity_bound(20, radius=3.0).base,
        "base_75": capacity_bound(75).base,
        "uniform_needed": float(patterns_needed(torch.full((512,), 1 / 512))),
        "gaussian_ratio": 2 * 768 * 64 / count_parameters(GaussianAttention(1, 512)),
    }


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def check_energies(draw: Draw) -> Metrics:
    """Definition, gradient and descent for one set of patterns."""
    stored, state, beta = draw(20, 8), draw(5, 8), float(draw(1).exp())
    state.requires_grad_()
    total = hopfield_energy(state, stored, beta=beta).sum()
    (gradient,) = torch.autograd.grad(total, state)
    state = state.detach()
    update = hopfield_update(state, stored, beta=beta)
    exact = torch.func.vmap(
        torch.func.jacrev(lambda x: hopfield_update(x[None], stored, beta=beta)[0])
    )(state)
    jacobian = hopfield_jacobian(state, stored, beta=beta)
    path = retrieve(state, stored, beta=beta, limit=100)
    inside = draw(5, 20).softmax(-1) @ stored
    energy = hopfield_energy(inside, stored, beta=beta)
    one = stored[:1]
    return {
        "gradient_difference": largest_difference(gradient, state - update),
        "jacobian_difference": largest_difference(jacobian, exact),
        "energy_rise": float(path.energies.diff(dim=0).max()),
        "energy_below": float(-energy.min()),
        "energy_above": float(energy.max()) - min(energy_bounds(stored, beta=beta)),
        "one_pattern_energy": largest(hopfield_energy(one, one, beta=beta)),
    }


def check_theorems(draw: Draw) -> Metrics:
    """Theorems 4 and 5 on separated patterns: what they bound over the bound, at most 1."""
    stored, beta = 6 * nn.functional.normalize(draw(10, 32), dim=-1), 1.0
    largest_norm = float(stored.norm(dim=-1).max())
    radius = 1 / (2 * beta * len(stored) * largest_norm)
    state = stored + radius * nn.functional.normalize(draw(10, 32), dim=-1)
    fixed = retrieve(stored, stored, beta=beta, tolerance=1e-14).state
    distance = torch.maximum((state - stored).norm(dim=-1), (fixed - stored).norm(dim=-1))
    bounds = retrieval_bounds(stored, beta=beta, distance=distance)
    update = hopfield_update(state, stored, beta=beta)
    # The theorem's Jacobian is the mean one between the state and the fixed point.
    between = [fixed + t * (state - fixed) for t in torch.linspace(0, 1, 21).tolist()]
    mean = torch.stack([hopfield_jacobian(x, stored, beta=beta) for x in between]).mean(0)
    norm = torch.linalg.matrix_norm(mean, 2)
    assert bool((pattern_separation(stored) > 0).all())
    return {
        "jacobian_share": float((norm / bounds.jacobian).max()),
        "contraction_share": float(
            ((update - fixed).norm(dim=-1) / (bounds.jacobian * (state - fixed).norm(dim=-1))).max()
        ),
        "error_share": float(((update - stored).norm(dim=-1) / bounds.error).max()),
        "fixed_point_share": float(((fixed - stored).norm(dim=-1) / bounds.fixed_point).max()),
    }


def compare_attention(draw: Draw) -> Metrics:
    """One update is torch's attention, several are its loop."""
    x, y = draw(3, 7, 16), draw(3, 9, 16)
    plain = Input(norm=False)
    layer = Hopfield(16, 4, state=plain, stored=plain, projection=plain).double().to(x.device)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).double().to(x.device)
    with torch.no_grad():
        ours: list[Any] = [layer.query, layer.key, layer.value]
        for module in (*ours, layer.output):
            for parameter in module.parameters():
                parameter.copy_(0.3 * draw(*parameter.shape))
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in ours]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in ours]))
        theirs.out_proj.load_state_dict(layer.output.state_dict())
        expected = theirs(x, y, y, need_weights=False)[0]
        layer_difference = largest_difference(layer(x, y), expected)
    q, k, v = draw(2, 4, 7, 8), draw(2, 4, 9, 8), draw(2, 4, 9, 8)
    state = q
    for _ in range(3):
        state = (state @ k.mT / 8**0.5).softmax(-1) @ k
    looped = (state @ k.mT / 8**0.5).softmax(-1) @ v
    heads = MultiHeadAttention(16, 4).double().to(x.device)
    once = heads(x)
    heads.kernel = HopfieldAttention()
    return {
        "attention_difference": max(layer_difference, largest_difference(heads(x), once)),
        "loop_difference": largest_difference(HopfieldAttention(steps=3)(q, k, v), looped),
    }


def compare_streaming(draw: Draw, patterns: int) -> Metrics:
    """Chunks of patterns give the same output and gradients as all at once."""
    stored, state = 0.3 * draw(1, patterns, 16), draw(1, 3, 16)
    association = Association(steps=2, tolerance=0.0)
    dense = Hopfield(16, 2, association=association).double().to(stored.device)
    chunked = Hopfield(16, 2, association=Association(steps=2, tolerance=0.0, chunk=999))
    chunked = chunked.double().to(stored.device)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.add_(0.3 * draw(*parameter.shape))
    chunked.load_state_dict(dense.state_dict())
    results = []
    for layer in (dense, chunked):
        inputs = stored.clone().requires_grad_()
        out = layer(state, inputs)
        out.square().sum().backward()
        results.append([out, inputs.grad, *(p.grad for p in layer.parameters())])
    differences = [largest_difference(a, b) for a, b in zip(*results, strict=True)]
    return {"chunk_difference": differences[0], "chunk_gradient_difference": max(differences[1:])}


def check_limits(draw: Draw) -> Metrics:
    """A layer that stores a training set: nearest neighbour at high beta, the mean at low."""
    stored, label, query = draw(50, 6), draw(50, 6), draw(20, 6)
    answers = {}
    for beta in (1e-9, 1e6):
        layer = HopfieldLayer(
            6, quantity=50, output_dim=0, association=Association(beta=beta),
            state=Input(norm=False, static=True),
        )  # fmt: skip
        layer = layer.double().to(stored.device)
        layer.store(stored, label)
        answers[beta] = layer(query)
    nearest = label[(query @ stored.T).argmax(-1)]
    return {
        "nearest_difference": largest_difference(answers[1e6], nearest),
        "mean_difference": largest(answers[1e-9] - label.mean(0)),
    }


def check_pair(draw: Draw) -> Metrics:
    """Two patterns of norm 1.3: t <- tanh(beta |D|^2 t) along D = (x1 - x2) / 2 (closed form)."""
    stored = 1.3 * nn.functional.normalize(draw(2, 6), dim=-1)
    mean, half = stored.mean(0), (stored[0] - stored[1]) / 2
    square = float(half.square().sum())
    difference, distance = 0.0, {}
    for product in (0.95, 1.05, 1.3):
        beta, t = product / square, torch.tensor(1.0, dtype=torch.float64)
        state = stored[:1]
        for step in range(2000):
            state = hopfield_update(state, stored, beta=beta)
            t = torch.tanh(product * t)
            if step < 50:
                exact = mean + float(t) * half
                difference = max(difference, largest_difference(state[0], exact))
        distance[product] = float((state[0] - mean).norm() / half.norm())
    return {
        "pair_difference": difference,
        "pair_below": distance[0.95],
        "pair_above": distance[1.05],
    }
