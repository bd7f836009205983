"""What of the paper's theory can be executed: graphs, and the constructions of its proofs.

n tokens or nodes, d dimensions.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import laplacian, shortest_path
from torch import Tensor


def star_graph(nodes: int) -> NDArray[np.bool_]:
    """Node 0 and every other attend to one another, and each to itself: (n, n) bool.

    The graph that theorem 1 asks for: attention along any graph that contains it is a universal
    approximator of sequence functions.
    """
    graph = np.eye(nodes, dtype=bool)
    graph[0] = graph[:, 0] = True
    return graph


class GraphMeasures(NamedTuple):
    """Of a graph: how far and how well information spreads along it.

    average_path: mean number of steps between two different nodes. diameter: the largest; infinite
    where a node cannot be reached. spectral_gap: second smallest eigenvalue of the normalised
    Laplacian of the graph without directions, 0..2; 0 if it falls apart, larger for faster mixing.
    """

    average_path: float
    diameter: float
    spectral_gap: float


def measure_graph(graph: NDArray[np.bool_]) -> GraphMeasures:
    """Measures of a graph (n, n) bool, of which row i says what i attends to.

    Example:
        >>> from quire.papers.bigbird import measure_graph, star_graph
        >>> measure_graph(star_graph(5)).diameter
        2.0
    """
    graph = graph & ~np.eye(len(graph), dtype=bool)
    steps = shortest_path(sparse.csr_array(graph), unweighted=True)
    apart = steps[~np.eye(len(graph), dtype=bool)]
    values = np.linalg.eigvalsh(laplacian((graph | graph.T).astype(float), normed=True))
    return GraphMeasures(float(apart.mean()), float(apart.max()), float(values[1]))


def find_furthest_vectors(
    vectors: Tensor, allowed: Tensor | None = None, *, layers: int = 1
) -> Tensor:
    """The furthest vector of each, by hardmax attention layers (proposition 2): (n,) int64.

    vectors: (n, d) of length 1. A token is [a; c], its vector and a candidate, first [a; a]. A
    layer has the queries -a, the keys a and the values [0; a] (and, from the second on, keys and
    values of the neighbours' candidates), so that each token keeps the one furthest from itself.
    allowed: (n, n) bool, who attends to whom; None is full attention, of which one layer is exact.

    Example:
        >>> from quire.papers.bigbird import find_furthest_vectors
        >>> find_furthest_vectors(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]]))
        tensor([2, 2, 1])
    """
    count = len(vectors)
    candidate = torch.arange(count, device=vectors.device)
    for _ in range(layers):
        # Each neighbour offers itself and the candidate that it has found so far.
        keys = torch.cat((vectors, vectors[candidate]))
        names = torch.cat((torch.arange(count, device=vectors.device), candidate))
        scores = -vectors @ keys.mT
        if allowed is not None:
            scores = scores.masked_fill(~torch.cat((allowed, allowed), 1), -torch.inf)
        candidate = names[scores.argmax(1)]
    return candidate


def tape_graph(steps: int) -> NDArray[np.int64]:
    """The two nodes that each node of the tape lookup attends to: (steps (steps + 1) / 2, 2).

    Step j of a Turing machine takes nodes j (j + 1) / 2 + k, k = 0..j; node k of them attends to
    the first node of step k, where that step's record stands, and to the node before it (proof of
    theorem 3). Node 0 attends to itself.
    """
    step = np.repeat(np.arange(steps), np.arange(1, steps + 1))
    node = np.arange(len(step))
    k = node - step * (step + 1) // 2
    return np.stack((k * (k + 1) // 2, np.maximum(node - 1, 0)), 1)


Machine = Mapping[tuple[str, int], tuple[str, int, int]]
"""(state, symbol read) -> (next state, symbol written, move -1, 0 or 1)."""


class _Node(NamedTuple):
    """What a node of the lookup holds: the machine, the last symbol written and where, the symbol
    found so far at the head."""

    state: str
    head: int
    written: tuple[int, int] | None
    found: int


def run_on_graph(machine: Machine, state: str, steps: int) -> list[tuple[str, int, int]]:
    """State, head and symbol read at each step, computed along `tape_graph` (theorem 3).

    Every node sees no more than its own two nodes: the latest record of the cell under the head is
    found by an associative maximum, one record a node, O(1) inner products each. The tape is empty
    (symbol 0) at first.
    """
    nodes: list[_Node] = []
    trace = []
    for index, (record, before) in enumerate(tape_graph(steps)):
        # What a node knows by itself: the first of a step writes, moves and goes to the next state;
        # the others hand on what the node before them holds.
        if index == 0:
            nodes.append(_Node(state, 0, None, 0))
        elif _starts(index):
            past = nodes[before]
            new, symbol, move = machine[past.state, past.found]
            nodes.append(_Node(new, past.head + move, (past.head, symbol), 0))
        else:
            nodes.append(nodes[before])
        own = nodes[index]
        # Records come in the order of their steps, so the last one that matches the cell under the
        # head is what stands there now.
        seen = nodes[record]
        if seen.written is not None and seen.written[0] == own.head:
            nodes[index] = own._replace(found=seen.written[1])
        if _starts(index + 1):
            trace.append((own.state, own.head, nodes[index].found))
    return trace


def _starts(node: int) -> bool:
    """Whether a node is the first of a step: a triangular number."""
    return isqrt(8 * node + 1) ** 2 == 8 * node + 1


def run_on_tape(machine: Machine, state: str, steps: int) -> list[tuple[str, int, int]]:
    """The same trace by a tape: the slow twin of `run_on_graph`, with unbounded memory access."""
    tape: dict[int, int] = {}
    head, trace = 0, []
    for _ in range(steps):
        symbol = tape.get(head, 0)
        trace.append((state, head, symbol))
        state, tape[head], move = machine[state, symbol]
        head += move
    return trace


def contextual_mapping(tokens: Sequence[int], values: int) -> list[int]:
    """Codes of a sequence's tokens that tell which token stands in which sequence (lemma 2).

    tokens: n numbers below `values`. Selective shifts along the star graph: token i moves by a
    multiple of (largest - smallest) of its neighbours {i, centre}; the centre then by one of
    (largest - smallest) of all. After n pairs of shifts the centre's number has taken in the whole
    sequence, and a last shift hands it to every token. Exact integers; gives n codes, each
    different from every other code of any sequence of the same n.

    Example:
        >>> from quire.papers.bigbird import contextual_mapping
        >>> contextual_mapping([0, 1], 2)[1] != contextual_mapping([1, 1], 2)[1]
        True
    """
    count = len(tokens)
    factor = values * (count + 2)
    place = [(i + 1) * values + token for i, token in enumerate(tokens)]  # positions keep apart
    centre = (count + 1) * values
    for i in range(count):
        # Every first number is below the factor: whatever multiples of it are added, the number
        # is still there as the remainder.
        place[i] += factor * (max(place[i], centre) - min(place[i], centre))
        everyone = [centre, *place]
        centre += factor * (max(everyone) - min(everyone))
    return [own + factor * (max(own, centre) - min(own, centre)) for own in place]
