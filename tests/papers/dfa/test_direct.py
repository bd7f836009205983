"""The wrapper: gradients by the formula, nothing around a mark, outputs and modes as they were."""

import copy
import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.nn import Encoder, EncoderLayer, FeedForward, MultiHeadAttention
from quire.papers.dfa import DirectFeedback, IndependentFeedback, LanguageModel, macro, micro


def dense(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12, bias=bias), nn.Tanh(), nn.Linear(12, 7, bias=bias), nn.ReLU(),
        nn.Linear(7, 4, bias=bias),
    ).double()  # fmt: skip


def batch(rows=9):
    torch.manual_seed(1)
    return torch.randn(rows, 6, dtype=torch.float64), torch.randint(4, (rows,))


def gradients(net, loss):
    net.zero_grad()
    loss.backward()
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("bias", [True, False])
def test_a_step_is_that_of_numpy(bias) -> None:
    net, (x, label) = dense(bias), batch()
    model = DirectFeedback(net, ["1", "3"], seed=3)
    found = gradients(net, F.cross_entropy(model(x), label))
    (w1, w2, w3), (b1, b2, b3) = (
        [getattr(net[i], kind).detach().numpy() if bias or kind == "weight" else 0.0
         for i in (0, 2, 4)]
        for kind in ("weight", "bias")
    )  # fmt: skip
    feedback = model.feedback.matrix.numpy()
    h1 = np.tanh(x.numpy() @ w1.T + b1)
    h2 = np.maximum(h1 @ w2.T + b2, 0)
    power = np.exp(h2 @ w3.T + b3)
    error = (power / power.sum(1, keepdims=True) - np.eye(4)[label.numpy()]) / 9
    d1 = (error @ feedback)[:, :12] * (1 - h1**2)
    d2 = (error @ feedback)[:, :7] * (h2 > 0)
    wanted = [d1.T @ x.numpy(), d2.T @ h1, error.T @ h2]
    if bias:
        wanted = [v for w, d in zip(wanted, (d1, d2, error), strict=True) for v in (w, d.sum(0))]
    for mine, its in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine.numpy(), its, atol=1e-15)


def test_outputs_stay_and_passing_through_is_back_propagation() -> None:
    net, (x, label) = dense(), batch()
    plain, output = gradients(net, F.cross_entropy(net(x), label)), net(x)
    model = DirectFeedback(net, ["1", "3"])
    assert torch.equal(model(x), output)
    direct = gradients(net, F.cross_entropy(model(x), label))
    assert not torch.allclose(direct[0], plain[0])
    torch.testing.assert_close(direct[-2:], plain[-2:], rtol=0, atol=0)
    for mine, its in zip(
        gradients(net, F.cross_entropy(model.passthrough()(x), label)), plain, strict=True
    ):
        assert torch.equal(mine, its)
    # And the net by itself is as it was.
    for mine, its in zip(gradients(net, F.cross_entropy(net(x), label)), plain, strict=True):
        assert torch.equal(mine, its)


def test_shallow_trains_the_last_part_alone() -> None:
    net, (x, label) = dense(), batch()
    model = DirectFeedback(net, ["1", "3"]).shallow()
    found = gradients(net, F.cross_entropy(model(x), label))
    assert [g is None for g in found] == [True] * 4 + [False] * 2
    model.set_rule("direct")
    assert all(g is not None for g in gradients(net, F.cross_entropy(model(x), label)))


def test_no_graph_leads_from_one_hidden_layer_to_another() -> None:
    net, (x, _) = dense(), batch()
    out = DirectFeedback(net, ["1", "3"])(x)
    (broadcast, *_) = [out.grad_fn]
    own, first, second = (node for node, _ in broadcast.next_functions if node is not None)

    def leaves(node):
        seen, waiting = set(), [node]
        while waiting:
            current = waiting.pop()
            if hasattr(current, "variable"):
                seen.add(current.variable)
            waiting += [n for n, _ in current.next_functions if n is not None]
        return seen

    assert leaves(first) == set(net[0].parameters())
    assert leaves(second) == set(net[2].parameters())
    assert leaves(own) == set(net[4].parameters())


@pytest.mark.parametrize("place", [macro, micro])
def test_blocks_of_a_transformer_do_not_know_each_other(place) -> None:
    torch.manual_seed(0)
    net = LanguageModel(7, dim=8, layers=3, heads=2, dropout=0.0).double()
    model = DirectFeedback(net, place(net), source="encoder")
    x = torch.randint(7, (2, 5))
    later = [p for layer in net.encoder.layers[1:] for p in layer.parameters()]
    seen = []

    def keep(module, args, out):
        out.register_hook(lambda error: seen.append(error) or torch.ones_like(error))

    net.encoder.register_forward_hook(keep)
    first = [*net.embedding.parameters(), *net.encoder.layers[0].parameters()]
    found = []
    for _ in range(2):
        gradients(net, model(x).square().sum())
        found.append([p.grad.clone() for p in first])
        with torch.no_grad():
            for parameter in later:
                parameter.mul_(1.3)
    assert len(seen) == 2
    for mine, its in zip(*found, strict=True):
        assert torch.equal(mine, its)
        assert mine.abs().max() > 0


def test_pre_norm_blocks_and_torchs_own() -> None:
    torch.manual_seed(0)
    own = Encoder([
        EncoderLayer(8, MultiHeadAttention(8, 2), feed_forward=FeedForward(8, 16)) for _ in "ab"
    ])  # fmt: skip
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2
    )
    x = torch.randn(3, 5, 8)
    for net in (own, theirs):
        for place in (macro, micro):
            model = DirectFeedback(net, place(net))
            torch.testing.assert_close(model(x), net(x))
            assert all(g is not None for g in gradients(net, model(x).sin().sum()))


def test_the_source_may_stand_inside() -> None:
    net, (x, label) = dense(), batch()
    plain = gradients(net, F.cross_entropy(net(x), label))
    model = DirectFeedback(net, ["1"], source="3")
    found = gradients(net, F.cross_entropy(model(x), label))
    torch.testing.assert_close(found[2:], plain[2:], rtol=0, atol=0)
    assert not torch.allclose(found[0], plain[0])
    assert model.feedback.error_width == 7


def test_cuts_get_nothing_and_fixed_layers_need_nothing() -> None:
    net, (x, label) = dense(), batch()
    model = DirectFeedback(net, ["3"], cuts=["1"])
    found = gradients(net, F.cross_entropy(model(x), label))
    assert [g is None for g in found] == [True, True] + [False] * 4
    net = dense()
    net[0].requires_grad_(False)
    found = gradients(net, F.cross_entropy(DirectFeedback(net, ["1", "3"])(x), label))
    assert [g is None for g in found] == [True, True] + [False] * 4


def test_a_layer_may_run_twice() -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Sequential(nn.Linear(5, 5), nn.Tanh()), nn.Linear(5, 2)

        def forward(self, x):
            return self.last(self.inner(self.inner(x)))

    torch.manual_seed(0)
    net, x = Twice().double(), torch.randn(3, 5, dtype=torch.float64)
    model = DirectFeedback(net, ["inner"])
    found = gradients(net, model(x).square().sum())
    with torch.no_grad():
        h1 = net.inner(x)
        h2 = net.inner(h1)
        signal = 2 * net.last(h2) @ model.feedback.matrix
        wanted = (signal * (1 - h1**2)).T @ x + (signal * (1 - h2**2)).T @ h1
    torch.testing.assert_close(found[0], wanted)


def test_rows_of_texts_and_of_pictures() -> None:
    torch.manual_seed(0)
    tokens = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    model = DirectFeedback(tokens, ["1"])
    found = gradients(tokens, model(x).square().sum())
    flat = gradients(tokens, model(x.flatten(0, 1)).square().sum())  # a token is a row
    torch.testing.assert_close(found, flat)
    # A loss of a text: each token has weights of its own, or all share the text's signal.
    pooled = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Flatten(), nn.Linear(40, 3)).double()
    apart = DirectFeedback(pooled, ["1"])
    apart(x)
    assert apart.feedback.widths == (40,)
    alike = DirectFeedback(pooled, ["1"], repeat_dims=1)
    found = gradients(pooled, alike(x).square().sum())
    assert alike.feedback.widths == (8,)
    with torch.no_grad():
        h = pooled[:2](x)
        signal = (2 * pooled(x) @ alike.feedback.matrix)[:, None] / 5**0.5 * (1 - h**2)
        wanted = torch.einsum("bto,bti->oi", signal, x)
    torch.testing.assert_close(found[0], wanted)
    # Dense predictions: with one row a picture the error has all its numbers.
    maps = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 3, 1))
    model = DirectFeedback(maps, ["1"], batch_dims=1)
    model(torch.randn(2, 1, 4, 4)).sum().backward()
    assert (model.feedback.error_width, model.feedback.widths) == (48, (32,))


def test_one_number_a_row_and_in_place_activations() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 1), nn.Flatten(0))
    model = DirectFeedback(net, ["1"])
    model(torch.randn(5, 6)).sum().backward()
    assert model.feedback.error_width == 1
    assert net[0].weight.grad.abs().max() > 0


def test_autocast_and_half_precision() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    model, x = DirectFeedback(net, ["1"]), torch.randn(9, 6)
    wanted = gradients(net, model(x).square().sum())
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).square().sum()
    for mine, its in zip(gradients(net, loss), wanted, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, its, rtol=0.05, atol=0.05)
    model.to(torch.bfloat16)
    assert all(g.isfinite().all() for g in gradients(net, model(x.bfloat16()).square().sum()))


def test_the_state_holds_the_feedback_and_copies_are_apart() -> None:
    net, (x, label) = dense(), batch()
    model = DirectFeedback(net, ["1", "3"], feedback=IndependentFeedback())
    wanted = gradients(net, F.cross_entropy(model(x), label))
    other = DirectFeedback(dense(), ["1", "3"], seed=5, feedback=IndependentFeedback())
    other.load_state_dict(model.state_dict())
    twin = copy.deepcopy(model)
    for each in (other, twin):
        found = gradients(each.model, F.cross_entropy(each(x), label))
        for mine, its in zip(found, wanted, strict=True):
            assert torch.equal(mine, its)
    assert not any("feedback" in name for name, _ in model.named_parameters())


def test_preparing_touches_neither_modes_nor_generators() -> None:
    net = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 2)
    )
    net[3].eval()
    before, mean = torch.get_rng_state(), net[1].running_mean.clone()
    model = DirectFeedback(net, ["2"]).prepare(torch.randn(5, 6).mul_(0))
    assert model.feedback.widths == (8,)
    assert torch.equal(mean, net[1].running_mean)
    assert [m.training for m in net] == [True, True, True, False, True]
    torch.set_rng_state(before)
    with torch.no_grad():
        assert not model(torch.zeros(5, 6)).requires_grad


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_compiled_without_a_break(backend) -> None:
    net, (x, label) = dense(), batch()
    model = DirectFeedback(net, ["1", "3"]).prepare(x)
    wanted = gradients(net, F.cross_entropy(model(x), label))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    found = gradients(net, F.cross_entropy(compiled(x), label))
    torch.testing.assert_close(found, wanted)


def test_under_data_parallel_training(tmp_path) -> None:
    net, (x, label) = dense(), batch()
    model = DirectFeedback(net, ["1", "3"])
    wanted = gradients(net, F.cross_entropy(model(x), label))
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        replica = nn.parallel.DistributedDataParallel(model)
        found = gradients(net, F.cross_entropy(replica(x), label))
        # Before the group: else the replica is its last owner and may wait for its threads forever.
        del replica
        gc.collect()
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(found, wanted)


def test_there_is_no_second_derivative() -> None:
    net, (x, _) = dense(), batch()
    loss = DirectFeedback(net, ["1"])(x).sin().sum()
    with pytest.raises(RuntimeError, match="fixed feedback has no second derivative"):
        torch.autograd.grad(loss, list(net.parameters()), create_graph=True)


def test_an_empty_batch_and_one_row() -> None:
    net = dense()
    model = DirectFeedback(net, ["1", "3"])
    for rows in (1, 0):
        x, _ = batch(rows)
        found = gradients(net, model(x).square().sum())
        assert all(g.isfinite().all() for g in found)


def test_what_cannot_be_is_refused() -> None:
    net, (x, _) = dense(), batch()
    with pytest.raises(ValueError, match="has no module '11': did you mean '1'"):
        DirectFeedback(net, ["11"])
    with pytest.raises(ValueError, match="Tanh is no module of Sequential"):
        DirectFeedback(net, [nn.Tanh()])
    for layers in ([], ["1", "1"], ["1", net[1]]):
        with pytest.raises(ValueError, match="mark at least one layer, each once"):
            DirectFeedback(net, layers)
    with pytest.raises(ValueError, match="rule must be one of direct, backward, shallow, got 'fa'"):
        DirectFeedback(net, ["1"], rule="fa")
    with pytest.raises(ValueError, match="the layer '3' did not run in front of the source"):
        DirectFeedback(net, ["0", "3"], source="1")(x)
    again = nn.Sequential(nn.Linear(6, 6), net[1], nn.Linear(6, 6), net[1]).double()
    with pytest.raises(ValueError, match="the layer '1' runs behind the source '2'"):
        DirectFeedback(again, ["1"], source="2")(x)
    summed = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Flatten(0)).double()
    with pytest.raises(ValueError, match=r"does not begin with the rows \(36,\)"):
        DirectFeedback(summed, ["1"])(x)
    recurrent = nn.Sequential(nn.LSTM(6, 4)).double()
    with pytest.raises(ValueError, match="gives tuple: mark a module that gives one tensor"):
        DirectFeedback(recurrent, ["0"])(x)
    model = DirectFeedback(nn.Sequential(nn.Tanh(), nn.Flatten()), ["0"])
    model(torch.ones(2, 3, 4, requires_grad=True))
    with pytest.raises(ValueError, match="the feedback was drawn for"):
        model(torch.ones(2, 3, 5, requires_grad=True))
