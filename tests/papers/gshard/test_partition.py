import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.gshard import (
    FAMILY,
    Graph,
    Mesh,
    MixtureOfExperts,
    Top2,
    count_parameters,
    partition,
    propagate,
    replicate,
    shard,
    split,
    trace_mixture,
)

FOUR = Mesh({"d": 4})


def kinds(plan):
    return [step.kind for step in plan.collectives()]


def product(left, right, *, equation="mk,kn->mn", sizes=(8, 12, 4), mesh=FOUR):
    """A plan of one einsum whose operands are divided as given, and its values."""
    graph = Graph(mesh)
    m, k, n = sizes
    a, b = graph.input("a", (m, k)), graph.input("b", (k, n))
    y = graph.einsum(equation, graph.annotate(a, left), graph.annotate(b, right))
    values = {"a": torch.randn(m, k).double(), "b": torch.randn(k, n).double()}
    plan = partition(graph)
    torch.testing.assert_close(plan.run(values)[y], torch.einsum(equation, *values.values()))
    return plan, y


@settings(max_examples=60, deadline=None)
@given(
    left=st.sampled_from([(None, None), ("d", None), (None, "d"), ("e", "d"), ("d", "e")]),
    right=st.sampled_from([(None, None), ("d", None), (None, "d"), ("e", "d"), ("d", "e")]),
    sizes=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_a_product_is_the_same_however_its_operands_are_divided(left, right, sizes):
    """Sizes that do not divide evenly included."""
    product(left, right, sizes=sizes, mesh=Mesh({"d": 3, "e": 2}))


def test_collectives_of_a_product():
    """Table 4: rows are free, a contracting dimension needs a sum, what does not match a gather."""
    plan, y = product(("d", None), (None, None))
    assert kinds(plan) == []
    assert plan.specs[y] == ("d", None)
    plan, _ = product((None, "d"), ("d", None))
    assert kinds(plan) == ["all_reduce"]
    assert plan.sent == 4 * 2 * 8 * 4 * 3 // 4
    plan, _ = product((None, "d"), (None, None))  # what is whole is sliced: that is free
    assert kinds(plan) == ["all_reduce"]
    plan, _ = product(("d", None), (None, "d"), sizes=(8, 12, 4))
    assert kinds(plan) == ["all_gather"]
    assert plan.sent == 4 * 12 * 1 * 3  # the smaller operand


def test_a_sum_that_is_divided_afterwards_is_scattered():
    graph = Graph(FOUR)
    a, b = graph.input("a", (8, 12)), graph.input("b", (12, 4))
    y = graph.einsum("mk,kn->mn", split(a, 1, 4), split(b, 0, 4))
    y.spec = ("d", None)
    values = {"a": torch.randn(8, 12), "b": torch.randn(12, 4)}
    plan = partition(graph)
    assert kinds(plan) == ["reduce_scatter"]
    torch.testing.assert_close(plan.run(values)[y], values["a"] @ values["b"])
    assert ("all_gather", y) in plan.backward()


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ((None, None), ("d", None), []),
        (("d", None), (None, None), ["all_gather"]),
        (("d", None), (None, "d"), ["all_to_all"]),
        (("d", "e"), ("e", "d"), ["all_gather", "all_to_all"]),
        (("d", None), ("e", "d"), ["all_to_all"]),
        ((None, "d"), ("d", None), ["all_to_all"]),
    ],
)
def test_from_one_division_to_another(before, after, wanted):
    graph = Graph(Mesh({"d": 3, "e": 2}))
    y = graph.annotate(graph.annotate(graph.input("x", (7, 5)), before), after)
    plan, x = partition(graph), torch.randn(7, 5)
    assert kinds(plan) == wanted
    assert torch.equal(plan.run({"x": x})[y], x)


def test_what_fills_up_is_never_summed():
    graph = Graph(FOUR)
    x = split(graph.input("x", (6, 3)), 0, 4)
    lifted = graph.pointwise(torch.exp, x)  # 1, and not 0, where there is nothing
    total, top = (
        graph.reduce(lifted, 0),
        graph.reduce(graph.pointwise(torch.neg, lifted), 0, reduction="max"),
    )
    plan, value = partition(graph), torch.randn(6, 3)
    found = plan.run({"x": value})
    torch.testing.assert_close(found[total], value.exp().sum(0))
    torch.testing.assert_close(found[top], -value.exp().amin(0))
    assert kinds(plan) == ["all_reduce", "all_reduce"]


def test_annotations_spread_where_all_agree():
    graph = Graph(FOUR)
    x, w = graph.input("x", (8, 6)), graph.input("w", (6, 3))
    y = graph.einsum("sm,mh->sh", x, w)
    split(y, 0, 4)
    specs = propagate(graph)
    assert specs[x] == specs[y] == ("d", None)  # backward
    assert specs[w] == (None, None)
    # Two who disagree: nothing is said.
    other = Graph(Mesh({"d": 2, "e": 3}))
    a, b = (other.input(name, (6, 6)) for name in "ab")
    total = other.pointwise(torch.add, split(a, 0, 2), split(b, 0, 3))
    assert propagate(other)[total] == (None, None)
    values = {"a": torch.randn(6, 6), "b": torch.randn(6, 6)}
    torch.testing.assert_close(partition(other).run(values)[total], values["a"] + values["b"])


def test_shard_takes_devices_in_the_tensors_dimensions():
    mesh = Mesh({"x": 2, "y": 4})
    x = Graph(mesh).input("x", (3, 16, 64))
    assert shard(x, mesh.grid.view(1, 2, 4)).spec == (None, "x", "y")
    assert shard(x, mesh.grid.T.reshape(1, 4, 2)).spec == (None, "y", "x")
    assert mesh.placements((None, "x", "y"))[1].dim == 2
    with pytest.raises(ValueError, match="devices must be the mesh"):
        shard(x, mesh.grid.flip(0).view(1, 2, 4))
    with pytest.raises(ValueError, match="one axis of that size is needed"):
        split(x, 0, 3)
    with pytest.raises(ValueError, match="a spec of 3 dimensions over x, y, each once"):
        x.graph.annotate(x, ("x", "x", None))


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize(("groups", "experts"), [(4, 8), (5, 6)])
def test_the_papers_mixture_is_the_layer(number, groups, experts):
    graph = trace_mixture(Mesh({"d": number}), groups, 16, 8, experts=experts, hidden=12)
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, 12, experts, router=Top2()).double().eval()
    x = torch.randn(groups, 16, 8, dtype=torch.float64, requires_grad=True)
    names = {
        "x": x,
        "wg": layer.gate.weight.T,
        "wi": layer.experts.inner,
        "wo": layer.experts.outer,
    }
    plan = partition(graph)
    y = plan.run(names)[graph.nodes[-1]]
    torch.testing.assert_close(y, layer(x))
    leaves = [x, *layer.parameters()]
    found, wanted = (torch.autograd.grad(out.sin().sum(), leaves) for out in (y, layer(x)))
    torch.testing.assert_close(found, wanted)
    assert kinds(plan) == ["all_to_all"] * 2
    back = [kind for kind, _ in plan.backward()]
    assert back == ["all_to_all", "all_to_all", "all_reduce"]  # the last is the gate's


def test_the_program_does_not_grow_with_the_devices():
    plans = [
        partition(trace_mixture(Mesh({"d": d}), 2 * d, 64, 8, experts=2 * d, hidden=12))
        for d in (2, 8, 32)
    ]
    assert len({len(plan.steps) for plan in plans}) == 1


def test_replicate_gathers():
    graph = Graph(FOUR)
    replicate(split(graph.input("x", (8, 2)), 0, 4))
    assert kinds(partition(graph)) == ["all_gather"]


def test_the_papers_sizes():
    """Table 1, experts alone and in all; the labels are 3 to 7 % below."""
    alone = [
        round(count_parameters(s.experts, s.layers, only_experts=True) / 1e9, 1) for s in FAMILY
    ]
    assert alone == [618.5, 206.2, 154.6, 51.5, 38.7, 12.9, 1030.8]
    whole = [round(count_parameters(s.experts, s.layers) / 1e9, 1) for s in FAMILY]
    assert whole == [619.4, 206.5, 155.5, 51.9, 39.5, 13.2, 1032.2]
    assert all(1.03 < a / s.billions < 1.07 for a, s in zip(whole, FAMILY, strict=True))


def test_bad_input():
    graph = Graph(FOUR)
    x = graph.input("x", (8, 2))
    with pytest.raises(ValueError, match="does not fit operands"):
        graph.einsum("ab,cd->ad", x)
    with pytest.raises(ValueError, match="pointwise operands must have one shape"):
        graph.pointwise(torch.add, x, graph.input("y", (8, 3)))
    with pytest.raises(ValueError, match=r"input x must be \(8, 2\), got None"):
        partition(graph).run({})
