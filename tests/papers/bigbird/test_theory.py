"""The constructions of the proofs against brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.bigbird import (
    contextual_mapping,
    find_furthest_vectors,
    run_on_graph,
    run_on_tape,
    star_graph,
    tape_graph,
)


def test_one_full_layer_is_exact_and_a_sparse_one_sees_its_neighbours():
    vectors = torch.nn.functional.normalize(
        torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), dim=1
    )
    distance = torch.cdist(vectors, vectors)
    assert (find_furthest_vectors(vectors) == distance.argmax(1)).all()
    allowed = torch.rand(60, 60, generator=torch.Generator().manual_seed(1)) < 0.2
    allowed |= torch.eye(60).bool()
    expected = distance.masked_fill(~allowed, -1).argmax(1)
    assert (find_furthest_vectors(vectors, allowed) == expected).all()
    more = find_furthest_vectors(vectors, allowed, layers=5)
    each = torch.arange(60)
    assert (distance[each, more] >= distance[each, expected]).all()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_sparse_lookup_runs_any_machine(data):
    states = ["a", "b", "c"]
    machine = {
        (state, symbol): data.draw(
            st.tuples(st.sampled_from(states), st.integers(0, 1), st.sampled_from([-1, 0, 1]))
        )
        for state in states
        for symbol in (0, 1)
    }
    assert run_on_graph(machine, "a", 25) == run_on_tape(machine, "a", 25)


def test_the_tapes_graph():
    edges = tape_graph(5)
    assert edges.shape == (15, 2)
    for step in range(5):
        for k in range(step + 1):
            node = step * (step + 1) // 2 + k
            assert edges[node].tolist() == [k * (k + 1) // 2, max(0, node - 1)]


@pytest.mark.parametrize(("count", "values"), [(1, 4), (2, 3), (4, 3), (3, 5)])
def test_codes_are_unique(count, values):
    codes = [
        code
        for tokens in itertools.product(range(values), repeat=count)
        for code in contextual_mapping(tokens, values)
    ]
    assert len(set(codes)) == len(codes) == count * values**count


def test_a_star_has_its_hub():
    graph = star_graph(4)
    assert graph.sum() == 4 + 6
    assert graph[0].all() and graph[:, 0].all()
