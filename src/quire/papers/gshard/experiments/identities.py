"""What holds exactly: forms of the mixture, the partitioner's collectives, published counts."""

import torch
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.papers.gshard.annotate import Graph, Mesh, Spec
from quire.papers.gshard.gate import top2_gate
from quire.papers.gshard.mixture import MixtureOfExperts
from quire.papers.gshard.partition import Plan, partition, trace_mixture
from quire.papers.gshard.published import FAMILY, count_parameters, count_products
from quire.papers.gshard.routers import Dropless, Einsum, Top2

GROUPS, TOKENS, DIM, EXPERTS, HIDDEN, DEVICES = 8, 24, 12, 8, 10, 4
ALONE = (618.5, 206.2, 154.6, 51.5, 38.7, 12.9, 1030.8)
"""Billions of weights of experts, 2 M H E L / 2, in the order of `FAMILY`."""


class Identities(Config):
    """Random weights and tokens, in double precision."""


def identities(config: Identities, run: Run) -> Metrics:
    """Distances from what must hold, and counts."""
    generator = run.rng("numbers")
    x = torch.randn(GROUPS, TOKENS, DIM, generator=generator, dtype=torch.float64)
    layer = MixtureOfExperts(DIM, HIDDEN, EXPERTS).double().eval()
    return {
        **measure_forms(layer, x.requires_grad_()),
        **measure_balance(),
        **measure_partition(layer, x),
        **measure_growth(),
        **measure_collectives(),
        **count_published(),
    }


def differentiate(layer: MixtureOfExperts, x: Tensor, y: Tensor) -> list[Tensor]:
    """An output and its gradients by tokens and weights."""
    leaves = [x, *layer.parameters()]
    return [y, *torch.autograd.grad(y.sin().sum(), leaves, materialize_grads=True,
                                    allow_unused=True)]  # fmt: skip


def measure_forms(layer: MixtureOfExperts, x: Tensor) -> Metrics:
    """Einsums against indices; no capacity against room for all; experts that are alike."""
    found = differentiate(layer, x, layer(x))
    layer.router = Einsum(Top2())
    einsum = differentiate(layer, x, layer(x))
    layer.router = Dropless()
    dropless = layer(x)
    layer.router = Top2(factor=float(EXPERTS))
    roomy = layer(x)
    logits = layer.gate(x).detach()
    turn = torch.arange(GROUPS).flip(0)
    capacity = 2 * TOKENS // EXPERTS
    routing, turned = top2_gate(logits, capacity), top2_gate(logits[turn], capacity)
    alike = MixtureOfExperts(DIM, HIDDEN, EXPERTS, router=Dropless()).double()
    with torch.no_grad():
        for weight in alike.experts.parameters():
            weight.copy_(weight[:1].expand_as(weight).clone())
        one = torch.relu(x @ alike.experts.inner[0]) @ alike.experts.outer[0]  # type: ignore[operator, index]
        alike_error = largest_difference(alike(x), one)
    layer.router = Top2()
    slots = routing.dispatch.sum(1)
    return {
        "einsum_error": largest_difference(found, einsum),
        "dropless_error": largest_difference(dropless, roomy),
        "alike_error": alike_error,
        "groups_error": largest_difference(turned.combine, routing.combine[turn]),
        "slot_uses": float(slots.max()),
        "token_uses": float(routing.dispatch.sum((2, 3)).max()),
        "dropped": 100 * float(routing.dropped),
    }


def measure_balance() -> Metrics:
    """l_aux times E^2 of even gates and of a gate with one expert."""
    even = torch.zeros(2, TOKENS, EXPERTS, dtype=torch.float64)
    one = even.clone()
    one[..., 3] = 60.0
    capacity = 2 * TOKENS // EXPERTS
    return {
        "even_balance": float(top2_gate(even, capacity).balance),
        "one_balance": float(top2_gate(one, capacity).balance),
    }


def measure_partition(layer: MixtureOfExperts, x: Tensor) -> Metrics:
    """The annotated program on four simulated devices against the layer, gradients too."""
    graph = trace_mixture(Mesh({"d": DEVICES}), GROUPS, TOKENS, DIM, experts=EXPERTS, hidden=HIDDEN)
    plan = partition(graph)
    inner, outer = layer.experts.parameters()
    names = {"x": x, "wg": next(layer.gate.parameters()).T, "wi": inner, "wo": outer}
    y = plan.run(names)[graph.nodes[-1]]
    wanted = differentiate(layer, x, layer(x))
    capacity = 2 * TOKENS // EXPERTS
    numbers = GROUPS // DEVICES * EXPERTS * capacity * DIM * (DEVICES - 1) // DEVICES
    kinds = [step.kind for step in plan.collectives()]
    return {
        "partition_error": largest_difference(differentiate(layer, x, y), wanted),
        "exchanges": float(kinds.count("all_to_all")),
        "other_collectives": float(len(kinds) - kinds.count("all_to_all")),
        "exchange_bytes": float(plan.sent),
        "bytes_error": abs(plan.sent - 2 * 4 * numbers),
    }


def measure_growth() -> Metrics:
    """What grows with devices, where experts and groups do too: steps, products, the gate's."""

    def plan_of(devices: int) -> Plan:
        mesh = Mesh({"d": devices})
        return partition(trace_mixture(mesh, devices, 64, DIM, experts=devices, hidden=HIDDEN))

    def products(plan: Plan, name: str) -> int:
        return sum(step.products for step in plan.steps if step.node.name == name)

    few, many = plan_of(4), plan_of(32)
    gate, ffn = "gsm,me->gse", "egcm,emh->egch"
    return {
        "steps_growth": len(many.steps) / len(few.steps),
        "expert_growth": products(many, ffn) / products(few, ffn),
        "gate_growth": products(many, gate) / products(few, gate),
        "gate_share": 100
        * (1 - count_products(1024, 8192, choices=2)
           / count_products(1024, 8192, experts=2048, choices=2)),
    }  # fmt: skip


def measure_collectives() -> Metrics:
    """How many collectives a matrix product needs, by how its operands are divided (table 4)."""

    def count(left: Spec, right: Spec) -> tuple[float, str]:
        graph = Graph(Mesh({"d": DEVICES}))
        a, b = graph.input("a", (16, 24)), graph.input("b", (24, 8))
        graph.einsum("mk,kn->mn", graph.annotate(a, left), graph.annotate(b, right))
        steps = partition(graph).collectives()
        return float(len(steps)), steps[0].kind if steps else ""

    graph = Graph(Mesh({"d": DEVICES}))
    a, b = (graph.annotate(graph.input(name, (16, 24)), ("d", None)) for name in "ab")
    graph.pointwise(torch.add, a, b)
    add = len(partition(graph).collectives())
    rows, _ = count(("d", None), (None, None))
    contracting, kind = count((None, "d"), ("d", None))
    mismatched, other = count(("d", None), (None, "d"))
    return {
        "free_collectives": add + rows,
        "contracting_collectives": contracting if kind == "all_reduce" else -1.0,
        "mismatched_collectives": mismatched if other == "all_gather" else -1.0,
    }


def count_published() -> Metrics:
    """Table 1 counted, against its labels."""
    alone = [count_parameters(s.experts, s.layers, only_experts=True) / 1e9 for s in FAMILY]
    whole = [count_parameters(s.experts, s.layers) / 1e9 for s in FAMILY]
    ratios = [a / s.billions for a, s in zip(whole, FAMILY, strict=True)]
    return {
        "alone_error": max(abs(a - b) for a, b in zip(alone, ALONE, strict=True)),
        "least_excess": 100 * (min(ratios) - 1),
        "largest_excess": 100 * (max(ratios) - 1),
    }
