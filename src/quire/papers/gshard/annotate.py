"""The annotation API: a program on whole tensors, and marks of how some of them are divided.

`replicate`, `split` and `shard` of section 3.2, on a small traced graph. A spec names for each
dimension the mesh axis that it is divided over, or None. Each dimension of a node has a label, as
in einsum; that an operation keeps a label is all that propagation needs to know.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Literal

import torch
from torch import Tensor

Spec = tuple[str | None, ...]
Reduction = Literal["sum", "max"]


@dataclass(frozen=True)
class Mesh:
    """Devices in a grid with named axes, numbered row by row.

    Example:
        >>> from quire.papers.gshard import Mesh
        >>> mesh = Mesh({"x": 2, "y": 4})
        >>> mesh.number, mesh.groups("y")
        (8, [[0, 1, 2, 3], [4, 5, 6, 7]])
    """

    axes: dict[str, int]

    @property
    def number(self) -> int:
        """How many devices."""
        return self.grid.numel()

    @property
    def grid(self) -> Tensor:
        """The devices' numbers, a dimension an axis."""
        sizes = list(self.axes.values())
        return torch.arange(int(torch.tensor(sizes).prod())).view(sizes)

    def groups(self, axis: str) -> list[list[int]]:
        """The groups of devices that differ on `axis` alone."""
        turned = self.grid.movedim(list(self.axes).index(axis), -1)
        found: list[list[int]] = turned.reshape(-1, self.axes[axis]).tolist()
        return found

    def placements(self, spec: Spec) -> tuple[Any, ...]:
        """The same spec in the words of `torch.distributed.tensor`, one placement an axis."""
        from torch.distributed.tensor import Replicate, Shard

        return tuple(Shard(spec.index(axis)) if axis in spec else Replicate() for axis in self.axes)


@dataclass(eq=False)
class Node:
    """A tensor of the program: how it is made, and how it is divided.

    Args:
        kind: "input", "einsum", "pointwise", "reduce", "mapped" or "annotate".
        name: For the log.
        operands: What it is made of.
        shape: Of the whole tensor.
        labels: Of each operand's dimensions, and last of its own.
        function: What makes it of tensors.
        spec: How it is divided; None where nobody said so yet.
        whole: Labels that must not be divided.
        reduction: What is done over labels that its own lack.
    """

    graph: "Graph"
    kind: str
    name: str
    operands: tuple["Node", ...]
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    function: Callable[..., Tensor] | None = None
    spec: Spec | None = None
    whole: str = ""
    reduction: Reduction = "sum"

    @property
    def own(self) -> str:
        """The labels of its own dimensions."""
        return self.labels[-1]

    def sizes(self) -> dict[str, int]:
        """The size of every label."""
        shapes = [*(each.shape for each in self.operands), self.shape]
        pairs = zip(self.labels, shapes, strict=True)
        return {c: n for labels, shape in pairs for c, n in zip(labels, shape, strict=True)}


@dataclass(eq=False)
class Graph:
    """A program in the order in which it is written.

    Example:
        >>> from quire.papers.gshard import Graph, Mesh, partition, replicate, split
        >>> graph = Graph(Mesh({"d": 4}))
        >>> x = split(graph.input("x", (8, 6)), 0, 4)
        >>> w = replicate(graph.input("w", (6, 3)))
        >>> y = graph.einsum("sm,mh->sh", x, w)
        >>> partition(graph).specs[y]
        ('d', None)
    """

    mesh: Mesh
    nodes: list[Node] = field(default_factory=list)

    def input(self, name: str, shape: Sequence[int]) -> Node:
        """A tensor that the program is given."""
        return self._add("input", name, (), tuple(shape), (string.ascii_letters[: len(shape)],))

    def einsum(self, equation: str, *operands: Node, name: str = "") -> Node:
        """As `torch.einsum`, without repeated or broadcast labels in an operand.

        Raises ValueError for an equation that does not fit its operands.
        """
        left, arrow, own = equation.replace(" ", "").partition("->")
        labels = left.split(",")
        fits = arrow and len(labels) == len(operands)
        sizes: dict[str, int] = {}
        for given, node in zip(labels, operands, strict=False):
            fits = fits and len(given) == len(node.shape) == len(set(given))
            for label, size in zip(given, node.shape, strict=False):
                fits = fits and sizes.setdefault(label, size) == size
        if not fits or not set(own) <= set(sizes):
            shapes = [node.shape for node in operands]
            raise ValueError(f"equation {equation!r} does not fit operands of {shapes}")
        shape = tuple(sizes[label] for label in own)

        def call(*tensors: Tensor) -> Tensor:
            return torch.einsum(equation, *tensors)

        return self._add("einsum", name or equation, operands, shape, (*labels, own), call)

    def pointwise(self, function: Callable[..., Tensor], *operands: Node, name: str = "") -> Node:
        """A function of each element alone. Raises ValueError for operands of several shapes."""
        if len({node.shape for node in operands}) != 1:
            shapes = [node.shape for node in operands]
            raise ValueError(f"pointwise operands must have one shape, got {shapes}")
        own = string.ascii_letters[: len(operands[0].shape)]
        labels = (own,) * (len(operands) + 1)
        name = name or getattr(function, "__name__", "pointwise")
        return self._add("pointwise", name, operands, operands[0].shape, labels, function)

    def reduce(self, x: Node, dim: int, *, reduction: Reduction = "sum") -> Node:
        """The sum or maximum over a dimension."""
        own = string.ascii_letters[: len(x.shape)]
        shape = x.shape[:dim] + x.shape[dim + 1 :]

        def call(tensor: Tensor) -> Tensor:
            return tensor.sum(dim) if reduction == "sum" else tensor.amax(dim)

        labels = (own, own[:dim] + own[dim + 1 :])
        node = self._add("reduce", f"{reduction} over {dim}", (x,), shape, labels, call)
        node.reduction = reduction
        return node

    def mapped(
        self, function: Callable[..., Tensor], x: Node, shape: Sequence[int], *, leading: int = 1
    ) -> Node:
        """A function of each entry of the first dimensions alone, such as gating of a group.

        Args:
            function: Of a tensor with any number of such entries.
            x: What it gets.
            shape: Of the whole result.
            leading: How many first dimensions there are; the others are never divided.
        """
        kept = string.ascii_letters[:leading]
        before = string.ascii_lowercase[leading : len(x.shape)]
        after = string.ascii_uppercase[leading : len(shape)]
        labels = (kept + before, kept + after)
        name = getattr(function, "__name__", "mapped")
        node = self._add("mapped", name, (x,), tuple(shape), labels, function)
        node.whole = before + after
        return node

    def annotate(self, x: Node, spec: Spec) -> Node:
        """The same tensor, divided as said. Raises ValueError for a spec that cannot be."""
        axes = [axis for axis in spec if axis is not None]
        unknown = [axis for axis in axes if axis not in self.mesh.axes]
        if len(spec) != len(x.shape) or unknown or len(set(axes)) != len(axes):
            raise ValueError(
                f"a spec of {len(x.shape)} dimensions over {', '.join(self.mesh.axes)}, each once, "
                f"is needed, got {spec}"
            )
        own = string.ascii_letters[: len(x.shape)]
        node = self._add("annotate", f"annotate {x.name}", (x,), x.shape, (own, own))
        node.spec = spec
        return node

    def _add(
        self,
        kind: str,
        name: str,
        operands: tuple[Node, ...],
        shape: tuple[int, ...],
        labels: tuple[str, ...],
        function: Callable[..., Tensor] | None = None,
    ) -> Node:
        node = Node(self, kind, name, operands, shape, labels, function)
        self.nodes.append(node)
        return node


def replicate(x: Node) -> Node:
    """x, whole on every device."""
    return x.graph.annotate(x, (None,) * len(x.shape))


def split(x: Node, dim: int, number: int) -> Node:
    """x, divided along `dim` into `number` parts, part i on device i of the axis of that size.

    A size that `number` does not divide is filled up in the last parts. The shape stays that of
    the whole tensor. Raises ValueError where no axis, or more than one, has that size.
    """
    axes = [axis for axis, size in x.graph.mesh.axes.items() if size == number]
    if len(axes) != 1 or not -len(x.shape) <= dim < len(x.shape):
        raise ValueError(
            f"split along {dim} of {len(x.shape)} dimensions into {number}: one axis of that size "
            f"is needed, the mesh has {x.graph.mesh.axes}"
        )
    spec: list[str | None] = [None] * len(x.shape)
    spec[dim] = axes[0]
    return x.graph.annotate(x, tuple(spec))


def shard(x: Node, devices: Tensor) -> Node:
    """x, divided along several dimensions: `devices` holds device numbers and has its dimensions.

    (3, 16, 64) over a (1, 2, 4) array of devices has parts of (3, 8, 16). Raises ValueError where
    the array is not the mesh, with its axes in any order.
    """
    mesh = x.graph.mesh
    wide = [dim for dim, size in enumerate(devices.shape) if size > 1]
    if devices.ndim == len(x.shape):
        names = list(mesh.axes)
        for order in permutations(range(len(names)), len(wide)):
            if len(wide) == len(names) and torch.equal(
                devices.squeeze(), mesh.grid.permute(order).squeeze()
            ):
                spec: list[str | None] = [None] * len(x.shape)
                for dim, position in zip(wide, order, strict=True):
                    spec[dim] = names[position]
                return x.graph.annotate(x, tuple(spec))
    raise ValueError(
        f"devices must be the mesh {mesh.axes} in {len(x.shape)} dimensions, "
        f"got an array of {tuple(devices.shape)}"
    )


def propagate(graph: Graph) -> dict[Node, Spec]:
    """How every tensor is divided, from those that are annotated.

    Forward and backward over the program until nothing changes. A dimension takes an axis where
    all who say anything of its label say the same, and where no other dimension has it.
    """
    found: dict[Node, list[str | None]] = {
        node: list(node.spec or (None,) * len(node.shape)) for node in graph.nodes
    }
    users: dict[Node, list[tuple[Node, int]]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        for place, operand in enumerate(node.operands):
            users[operand].append((node, place))
    changed = True
    while changed:
        changed = False
        for node in (*graph.nodes, *reversed(graph.nodes)):
            if node.spec is None:
                changed |= _take(node, found, users[node])
    return {node: tuple(spec) for node, spec in found.items()}


def _take(node: Node, found: dict[Node, list[str | None]], users: list[tuple[Node, int]]) -> bool:
    """Give the dimensions of one node the axes that its neighbours agree on."""
    changed = False
    for dim, label in enumerate(node.own):
        if found[node][dim] is not None or label in node.whole:
            continue
        votes = {axis for axis in _votes(node, dim, label, found, users) if axis is not None}
        if len(votes) == 1 and not votes & set(found[node]):
            found[node][dim] = votes.pop()
            changed = True
    return changed


def _votes(
    node: Node,
    dim: int,
    label: str,
    found: dict[Node, list[str | None]],
    users: list[tuple[Node, int]],
) -> Iterator[str | None]:
    for operand, labels in zip(node.operands, node.labels, strict=False):
        if label in labels:
            yield found[operand][labels.index(label)]
    for user, place in users:
        theirs = user.labels[place][dim]
        if theirs in user.own and theirs not in user.whole:
            yield found[user][user.own.index(theirs)]
