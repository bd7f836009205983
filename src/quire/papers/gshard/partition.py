"""The partitioner: one program for all devices, with the collectives that it needs (section 3.3).

It turns a traced graph into steps that every device takes alike, so that their number does not
depend on the number of devices, and can carry them out on simulated devices. The log of
collectives with their bytes is what it is for.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quire.papers.gshard.annotate import Graph, Mesh, Node, Spec, propagate, replicate, split
from quire.papers.gshard.gate import top2_gate

Kind = Literal["local", "slice", "all_gather", "all_to_all", "all_reduce", "reduce_scatter"]
COLLECTIVES = ("all_gather", "all_to_all", "all_reduce", "reduce_scatter")
TRANSPOSED: dict[str, Kind] = {
    "all_gather": "reduce_scatter",
    "reduce_scatter": "all_gather",
    "all_to_all": "all_to_all",
    "slice": "all_gather",
}
"""What the gradient of a step needs. That of an all-reduce is there already, on every device."""
ITEM = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Step:
    """One thing that every device does.

    Args:
        kind: "local" is arithmetic, "slice" keeps a part of what is there.
        node: What it is done for.
        place: The operand that it is done to, or -1 for the result.
        axis: The mesh axis that it goes along.
        before: The dimension that was divided, -1 for none.
        after: The dimension that is divided then, -1 for none.
        bytes: What one device sends.
        products: Multiplications of one device.
    """

    kind: Kind
    node: Node
    place: int = -1
    axis: str = ""
    before: int = -1
    after: int = -1
    bytes: int = 0
    products: int = 0

    def __str__(self) -> str:
        to = f" {self.before}->{self.after}" if self.kind == "all_to_all" else ""
        return f"{self.kind}{to} over {self.axis} for {self.node.name}: {self.bytes} bytes"


@dataclass
class Plan:
    """The steps of a program, and how each tensor is divided at the end.

    Example:
        >>> from quire.papers.gshard import Mesh, partition, trace_mixture
        >>> plan = partition(trace_mixture(Mesh({"d": 4}), 4, 16, 8, experts=8, hidden=12))
        >>> [step.kind for step in plan.collectives()]
        ['all_to_all', 'all_to_all']
    """

    graph: Graph
    specs: dict[Node, Spec]
    steps: list[Step] = field(default_factory=list)
    assigned: dict[Node, dict[str, str]] = field(default_factory=dict)
    """For each operation the labels that it divides, and over which axes."""

    def collectives(self) -> list[Step]:
        """What moves bytes."""
        return [step for step in self.steps if step.kind in COLLECTIVES]

    @property
    def sent(self) -> int:
        """Bytes that one device sends in all."""
        return sum(step.bytes for step in self.steps)

    @property
    def products(self) -> int:
        """Multiplications of one device."""
        return sum(step.products for step in self.steps)

    def backward(self) -> list[tuple[Kind, Node]]:
        """The collectives of the gradient, last step first.

        Every step's transpose, and an all-reduce wherever an operand was whole along an axis that
        the operation was divided over: each device has a part of its gradient.
        """
        found: list[tuple[Kind, Node]] = []
        for step in reversed(self.steps):
            if step.kind in TRANSPOSED:
                found.append((TRANSPOSED[step.kind], step.node))
            if step.kind == "local":
                assigned = self.assigned[step.node]
                found += [
                    ("all_reduce", step.node)
                    for labels in step.node.labels[:-1]
                    if any(label not in labels for label in assigned)
                ]
        return found

    def __str__(self) -> str:
        return "\n".join(str(step) for step in self.collectives())

    def run(self, inputs: Mapping[str, Tensor]) -> dict[Node, Tensor]:
        """Every whole tensor of the program, computed part by part on simulated devices.

        inputs: whole tensors by name. Raises ValueError where one lacks or has another shape.
        """
        parts: dict[Node, list[Tensor]] = {}
        buffers: list[list[Tensor]] = []
        for step in self.steps:
            node, mesh = step.node, self.graph.mesh
            if node.kind == "input" and node not in parts:
                parts[node] = _cut(_given(node, inputs), self.specs[node], mesh)
            if not buffers:
                buffers = [list(parts[operand]) for operand in node.operands] + [[]]
            if step.kind == "local":
                if node.kind != "input":
                    buffers[-1] = self._compute(node, buffers[:-1])
            else:
                sizes = node.shape if step.place < 0 else node.operands[step.place].shape
                buffers[step.place] = _move(step, buffers[step.place], sizes, mesh)
            if _is_last(step, self.steps):
                if node.kind != "input":
                    parts[node] = buffers[-1]
                buffers = []
        return {
            node: _join(parts[node], self.specs[node], node.shape, self.graph.mesh)
            for node in self.graph.nodes
        }

    def _compute(self, node: Node, operands: list[list[Tensor]]) -> list[Tensor]:
        if node.function is None:
            return operands[0]
        assigned, sizes = self.assigned[node], node.sizes()
        summed = {c: a for c, a in assigned.items() if c not in node.own}
        made = []
        for device in range(self.graph.mesh.number):
            own = [part[device] for part in operands]
            for label, axis in summed.items():
                # What fills up the last part must not be summed, whatever was computed of it.
                neutral = 0.0 if node.reduction == "sum" else -math.inf
                own = [
                    _mask(x, labels.index(label), sizes[label], neutral, axis, device, self.graph)
                    if label in labels
                    else x
                    for x, labels in zip(own, node.labels, strict=False)
                ]
            made.append(node.function(*own))
        return made


def _mask(
    x: Tensor, dim: int, size: int, neutral: float, axis: str, device: int, graph: Graph
) -> Tensor:
    start = _position(graph.mesh, axis, device) * x.shape[dim]
    place = torch.arange(start, start + x.shape[dim]).view(-1, *[1] * (x.ndim - dim - 1))
    return x if start + x.shape[dim] <= size else x.masked_fill(place >= size, neutral)


def partition(graph: Graph) -> Plan:
    """The steps of a program on the devices of its mesh."""
    plan = Plan(graph, propagate(graph))
    for node in graph.nodes:
        assigned = _assign(node, plan.specs)
        plan.assigned[node] = assigned
        for place, (operand, labels) in enumerate(zip(node.operands, node.labels, strict=False)):
            wanted = tuple(assigned.get(label) for label in labels)
            plan.steps += _reshard(node, place, operand.shape, plan.specs[operand], wanted, graph)
        sizes = node.sizes()
        local = [
            math.ceil(n / graph.mesh.axes.get(assigned.get(c, ""), 1)) for c, n in sizes.items()
        ]
        products = math.prod(local) if node.kind == "einsum" else 0
        plan.steps.append(Step("local", node, products=products))
        made = tuple(assigned.get(label) for label in node.own)
        target = plan.specs[node]
        for label, axis in assigned.items():
            if label in node.own:
                continue
            number = graph.mesh.axes[axis]
            size = _bytes(node.shape, made, graph.mesh) * (number - 1) // number
            if axis in target and made[target.index(axis)] is None and node.reduction == "sum":
                dim = target.index(axis)
                plan.steps.append(Step("reduce_scatter", node, -1, axis, -1, dim, size))
                made = (*made[:dim], axis, *made[dim + 1 :])
            else:
                plan.steps.append(Step("all_reduce", node, -1, axis, bytes=2 * size))
        plan.steps += _reshard(node, -1, node.shape, made, target, graph)
    return plan


def _assign(node: Node, specs: Mapping[Node, Spec]) -> dict[str, str]:
    """Which labels an operation divides: its largest operand is heard first."""
    if node.kind == "input":
        return {c: a for c, a in zip(node.own, specs[node], strict=True) if a is not None}
    order = sorted(
        zip(node.operands, node.labels, strict=False),
        key=lambda pair: -math.prod(pair[0].shape),
    )
    assigned: dict[str, str] = {}
    spoken = [pair for each, labels in order for pair in zip(labels, specs[each], strict=True)]
    if node.kind != "annotate":
        spoken += zip(node.own, specs[node], strict=True)
    for label, axis in spoken:
        free = axis is not None and axis not in assigned.values() and label not in assigned
        if free and axis is not None and label not in node.whole:
            assigned[label] = axis
    return assigned


def _reshard(
    node: Node, place: int, shape: tuple[int, ...], spec: Spec, target: Spec, graph: Graph
) -> list[Step]:
    """The steps from one way of being divided to another."""
    now, steps = list(spec), []
    mesh = graph.mesh
    for axis in mesh.axes:
        if axis in now and axis not in target:
            dim = now.index(axis)
            size = _bytes(shape, now, mesh) * (mesh.axes[axis] - 1)
            steps.append(Step("all_gather", node, place, axis, dim, -1, size))
            now[dim] = None
    moving = [axis for axis in mesh.axes if axis in now and now.index(axis) != target.index(axis)]
    for axis in sorted(moving, key=lambda axis: now[target.index(axis)] is not None):
        before, after, number = now.index(axis), target.index(axis), mesh.axes[axis]
        size = _bytes(shape, now, mesh)
        if now[after] is None:
            size = size * (number - 1) // number
            steps.append(Step("all_to_all", node, place, axis, before, after, size))
            now[after] = axis
        else:  # two axes change places: one is gathered, and sliced below
            steps.append(Step("all_gather", node, place, axis, before, -1, size * (number - 1)))
        now[before] = None
    for dim, wanted in enumerate(target):
        if wanted is not None and now[dim] is None:
            steps.append(Step("slice", node, place, wanted, -1, dim))
            now[dim] = wanted
    return steps


def _bytes(shape: Iterable[int], spec: Iterable[str | None], mesh: Mesh) -> int:
    sizes = [math.ceil(n / mesh.axes.get(a or "", 1)) for n, a in zip(shape, spec, strict=True)]
    return ITEM * math.prod(sizes)


# Simulated devices


def _given(node: Node, inputs: Mapping[str, Tensor]) -> Tensor:
    if node.name not in inputs or tuple(inputs[node.name].shape) != node.shape:
        got = tuple(inputs[node.name].shape) if node.name in inputs else None
        raise ValueError(f"input {node.name} must be {node.shape}, got {got}")
    return inputs[node.name]


def _is_last(step: Step, steps: list[Step]) -> bool:
    index = next(i for i, each in enumerate(steps) if each is step)
    return index + 1 == len(steps) or steps[index + 1].node is not step.node


def _position(mesh: Mesh, axis: str, device: int) -> int:
    found = next(group for group in mesh.groups(axis) if device in group)
    return found.index(device)


def _part(x: Tensor, dim: int, number: int, index: int) -> Tensor:
    """Part `index` of `number` along `dim`, all of one size: the last ones are filled up."""
    size = math.ceil(x.shape[dim] / number)
    short = size * number - x.shape[dim]
    filled = F.pad(x, [0, 0] * (x.ndim - dim - 1) + [0, short])
    return filled.narrow(dim, index * size, size)


def _cut(x: Tensor, spec: Spec, mesh: Mesh) -> list[Tensor]:
    parts = []
    for device in range(mesh.number):
        part = x
        for dim, axis in enumerate(spec):
            if axis is not None:
                part = _part(part, dim, mesh.axes[axis], _position(mesh, axis, device))
        parts.append(part)
    return parts


def _join(parts: list[Tensor], spec: Spec, shape: tuple[int, ...], mesh: Mesh) -> Tensor:
    for dim, axis in enumerate(spec):
        if axis is not None:
            parts = _gather(parts, dim, shape[dim], mesh, axis)
    return parts[0]


def _gather(parts: list[Tensor], dim: int, size: int, mesh: Mesh, axis: str) -> list[Tensor]:
    made = list(parts)
    for group in mesh.groups(axis):
        whole = torch.cat([parts[device] for device in group], dim).narrow(dim, 0, size)
        for device in group:
            made[device] = whole
    return made


def _move(step: Step, parts: list[Tensor], shape: tuple[int, ...], mesh: Mesh) -> list[Tensor]:
    """A slice or a collective over the parts of all devices."""
    axis, number = step.axis, mesh.axes[step.axis]
    if step.kind in ("all_gather", "all_to_all"):
        parts = _gather(parts, step.before, shape[step.before], mesh, axis)
    if step.kind in ("all_reduce", "reduce_scatter"):
        made = list(parts)
        for group in mesh.groups(axis):
            stack = torch.stack([parts[device] for device in group])
            total = stack.sum(0) if step.node.reduction == "sum" else stack.amax(0)
            for device in group:
                made[device] = total
        parts = made
    if step.kind in ("slice", "all_to_all", "reduce_scatter"):
        parts = [
            _part(part, step.after, number, _position(mesh, axis, device))
            for device, part in enumerate(parts)
        ]
    return parts


# The paper's example


def trace_mixture(
    mesh: Mesh, groups: int, tokens: int, dim: int, *, experts: int, hidden: int,
    capacity: int | None = None,
) -> Graph:  # fmt: skip
    """Algorithm 2 with its annotations: a mixture of experts on a mesh of one axis.

    Inputs are "x" (G, S, M), "wg" (M, E), "wi" (E, M, H) and "wo" (E, H, M); the last node is the
    output (G, S, M). Groups are divided, then experts, then groups.

    Args:
        mesh: With one axis.
        groups: G.
        tokens: S.
        dim: M.
        experts: E.
        hidden: H.
        capacity: C, 2 S / E by default.
    """
    (number,) = mesh.axes.values()
    slots = max(1, 2 * tokens // experts) if capacity is None else capacity
    graph = Graph(mesh)
    x = split(graph.input("x", (groups, tokens, dim)), 0, number)
    wg = replicate(graph.input("wg", (dim, experts)))
    wi = split(graph.input("wi", (experts, dim, hidden)), 0, number)
    wo = split(graph.input("wo", (experts, hidden, dim)), 0, number)
    logits = graph.einsum("gsm,me->gse", x, wg)

    def gating(logits: Tensor) -> Tensor:
        return top2_gate(logits, slots).combine.to(logits.dtype)

    combine = graph.mapped(gating, logits, (groups, tokens, experts, slots))
    dispatch = graph.pointwise(lambda c: (c > 0).to(c.dtype), combine, name="dispatch")
    sent = split(graph.einsum("gsec,gsm->egcm", dispatch, x), 0, number)
    inner = graph.pointwise(torch.relu, graph.einsum("egcm,emh->egch", sent, wi))
    outer = split(graph.einsum("egch,ehm->gecm", inner, wo), 0, number)
    graph.einsum("gsec,gecm->gsm", combine, outer, name="output")
    return graph
