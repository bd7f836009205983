import pytest
import torch

from quire.papers.t5 import RelativeBias, relative_position_bucket


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (16, 64)])
def test_buckets_are_those_of_transformers(bidirectional, buckets, max_distance):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    relative = torch.arange(-300, 301)
    theirs = t5.T5Attention._relative_position_bucket(
        relative, bidirectional, buckets, max_distance
    )
    assert torch.equal(
        relative_position_bucket(relative, bidirectional, buckets, max_distance), theirs
    )


def test_fractions_have_no_bucket():
    with pytest.raises(ValueError, match="must be integers"):
        relative_position_bucket(torch.tensor([1.5]))


def test_a_query_that_looks_back_only_has_all_buckets_for_the_past():
    relative = torch.arange(-200, 4)
    bucket = relative_position_bucket(relative, bidirectional=False)
    assert bucket.unique().tolist() == list(range(32))
    assert not bucket[relative >= 0].any()
    assert bucket[relative == -15] == 15
    assert (bucket[relative <= -128] == 31).all()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_difference_looked_up_once_is_each_pair_looked_up(bidirectional):
    bias = RelativeBias(3, bidirectional=bidirectional).double()
    with torch.no_grad():
        bias.weight.normal_()
    assert bias.square(0, 5).shape == (3, 0, 5)
    for queries, keys, first in ((7, 7, 0), (2, 9, 4), (1, 5, 4), (150, 150, 0)):
        wanted = bias(first + torch.arange(queries), torch.arange(keys))
        assert torch.equal(bias.square(queries, keys, first), wanted)
        (ours,) = torch.autograd.grad(bias.square(queries, keys, first).square().sum(), bias.weight)
        (theirs,) = torch.autograd.grad(wanted.square().sum(), bias.weight)
        torch.testing.assert_close(ours, theirs)


def test_positions_of_each_row():
    bias = RelativeBias(2)
    with torch.no_grad():
        bias.weight.normal_()
    rows = torch.tensor([[0, 1, 0], [0, 1, 2]])
    assert bias(rows, rows).shape == (2, 2, 3, 3)
    assert torch.equal(bias(rows, rows)[1], bias.square(3, 3))


def test_bad_input():
    with pytest.raises(ValueError, match="buckets must be at least 4 and max_distance above 0"):
        relative_position_bucket(torch.arange(3), buckets=3)
    with pytest.raises(ValueError, match="above 8, the distances that have a bucket each"):
        relative_position_bucket(torch.arange(3), max_distance=8)
