"""BatchE, PSP, HAT, online EWC and SI against closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.papers.supsup import (
    BatchEnsemble,
    HardAttention,
    OnlineEWC,
    ParameterSuperposition,
    ResNet,
    SynapticIntelligence,
    make_mlp,
)


def test_batche_scales_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 3, bias=False)
    net = BatchEnsemble(layer, tasks=2)
    for parameter in net.own():
        nn.init.normal_(parameter)
    x = torch.randn(4, 5)
    wanted = layer(x * net.columns[0][1]) * net.rows[0][1]
    torch.testing.assert_close(net(x, 1), wanted)
    assert not any(p.requires_grad for p in net.net.parameters())
    assert all(p.requires_grad for p in net.shared())
    net.freeze()
    assert not any(p.requires_grad for p in net.net.parameters())
    images = BatchEnsemble(ResNet(18, 3, width=2), tasks=2, seed=0)
    assert images(torch.randn(2, 3, 8, 8), 0).shape == (2, 3)


@pytest.mark.parametrize("kind", ["binary", "complex", "orthogonal"])
def test_contexts_keep_lengths_and_differ(kind: str) -> None:
    net = ParameterSuperposition(7, 3, tasks=3, hidden=(6,), kind=kind)  # type: ignore[arg-type]
    x = torch.randn(4, 7)
    turned = [net._turn(x, net.contexts[0][task]) for task in range(3)]
    if kind != "complex":  # of seven inputs the last has no partner
        for row in turned:
            torch.testing.assert_close(row.norm(dim=1), x.norm(dim=1))
    even = [net._turn(x[:, :6], net.contexts[1][task]) for task in range(3)]
    for row in even:
        torch.testing.assert_close(row.norm(dim=1), x[:, :6].norm(dim=1))
    assert not torch.allclose(turned[0], turned[1])
    trained = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"layers"}
    wanted = net.layers[1](net._turn(F.relu(net.layers[0](turned[2])), net.contexts[1][2]))
    torch.testing.assert_close(net(x, 2), wanted)


def test_hat_spares_what_earlier_tasks_use() -> None:
    torch.manual_seed(0)
    net = HardAttention(5, 3, tasks=2, hidden=(6, 6))
    with torch.no_grad():
        for e in net.embeddings:  # the first task takes the first three units of each layer
            e[0] = torch.tensor([1.0, 1, 1, -1, -1, -1])
    net.finish(0)
    x = torch.randn(8, 5)
    before = net(x, 0)
    optimizer = torch.optim.SGD([*net.layers.parameters()], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(net(x, 1, 1.0), torch.randint(3, (8,))).backward()
        net.spare(1.0)
        optimizer.step()
    torch.testing.assert_close(net(x, 0), before)
    assert float(net.measure_use(0, 400.0).detach()) == pytest.approx(0, abs=1e-5)
    assert net.find_scale(0) == pytest.approx(1 / 400)
    assert net.find_scale(1) == pytest.approx(400)


def test_fisher_information_of_a_linear_softmax() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False)
    x = torch.randn(10, 4)
    ewc = OnlineEWC(model, strength=2.0, decay=0.5)
    ewc.finish(x.split(4))
    p = model(x).softmax(1)
    residual = p - F.one_hot(p.argmax(1), 3)
    wanted = torch.einsum("no,ni->noi", residual, x).square().mean(0)
    torch.testing.assert_close(ewc.information[0], wanted.detach())
    with torch.no_grad():
        model.weight += 0.1
    torch.testing.assert_close(ewc.penalty().detach(), 0.01 * wanted.detach().sum())
    held = ewc.state_dict()
    other = OnlineEWC(model)
    other.load_state_dict(held)
    assert torch.equal(other.information[0], ewc.information[0])
    ewc.finish([x])
    assert float(ewc.penalty().detach()) == 0


def test_the_path_of_si_is_what_the_loss_fell_by() -> None:
    """In small steps of plain descent the path integral is the loss that was lost."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False).double()
    x, y = torch.randn(30, 4).double(), torch.randn(30, 1).double()
    si = SynapticIntelligence(model, strength=3.0, damping=0.2)
    start = model.weight.detach().clone()

    def loss() -> torch.Tensor:
        return (model(x) - y).square().mean()

    first = float(loss().detach())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss().backward()
        before = si.remember()
        optimizer.step()
        si.watch(before)
    lost = first - float(loss().detach())
    assert float(si.path[0].sum()) == pytest.approx(lost, rel=1e-2)
    path, moved = si.path[0].clone(), model.weight.detach() - start
    si.finish()
    torch.testing.assert_close(si.importance[0], (path / (moved.square() + 0.2)).clamp(min=0))
    with torch.no_grad():
        model.weight += 1
    assert float(si.penalty().detach()) == pytest.approx(3 * float(si.importance[0].sum()))
    other = SynapticIntelligence(model)
    other.load_state_dict(si.state_dict())
    assert torch.equal(other.importance[0], si.importance[0])


def test_ewc_holds_a_net_back() -> None:
    torch.manual_seed(0)
    x = [torch.randn(64, 6), torch.randn(64, 6)]
    label = [(row[:, 0] > 0).long() for row in (x[0], -x[1])]
    kept = {}
    for strength in (0.0, 1000.0):
        torch.manual_seed(1)
        model = make_mlp(6, 2, hidden=(16,))
        ewc = OnlineEWC(model, strength=strength)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for task in (0, 1):
            for _ in range(60):
                optimizer.zero_grad()
                (F.cross_entropy(model(x[task]), label[task]) + ewc.penalty()).backward()
                optimizer.step()
            ewc.finish([x[task]])
        kept[strength] = float((model(x[0]).argmax(1) == label[0]).float().mean())
    assert kept[1000.0] > kept[0.0] + 0.2


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="tasks must be at least 1, got 0"):
        BatchEnsemble(nn.Linear(2, 2), tasks=0)
    with pytest.raises(ValueError, match="kind must be 'binary', 'complex' or 'orthogonal'"):
        ParameterSuperposition(2, 2, tasks=1, kind="x")  # type: ignore[arg-type]
