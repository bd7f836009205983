"""Recommenders: their formulas by brute force, and who learns under feedback."""

import pytest
import torch

from quire.papers.dfa import AFN, DCN, FM, AutoInt, DeepFM, DirectFeedback
from quire.papers.dfa.recommenders import CrossLayer, interact

NETS = {
    "deepfm": lambda: DeepFM(20, 3, dim=4, hidden=(8, 8)),
    "dcn": lambda: DCN(20, 3, dim=4, crosses=3, hidden=(8, 8)),
    "autoint": lambda: AutoInt(20, 3, dim=4, attention_dim=8, layers=2, hidden=(8, 8)),
    "afn": lambda: AFN(20, 3, dim=4, neurons=6, hidden=(8, 8)),
}


def made(name):
    torch.manual_seed(0)
    net, x = NETS[name](), torch.randint(20, (9, 3))
    return net, x, DirectFeedback(net, net.layers, source=net.source, cuts=net.cuts)


def test_interactions_are_those_of_all_pairs() -> None:
    x = torch.randn(2, 4, 5)
    wanted = sum((x[:, i] * x[:, j]).sum(1) for i in range(4) for j in range(i))
    torch.testing.assert_close(interact(x)[:, 0], wanted)


def test_a_factorisation_machine_adds_three_terms() -> None:
    torch.manual_seed(0)
    fm, x = FM(20, dim=4), torch.randint(20, (5, 3))
    v, w = fm.fields.table.weight, fm.linear.table.weight
    wanted = torch.stack([
        fm.linear.bias + w[row].sum() + v[row[0]] @ v[row[1]] + v[row[0]] @ v[row[2]]
        + v[row[1]] @ v[row[2]] for row in x
    ])  # fmt: skip
    torch.testing.assert_close(fm(x), wanted)


def test_a_cross_layer() -> None:
    layer, x, first = CrossLayer(4), torch.randn(3, 4), torch.randn(3, 4)
    with torch.no_grad():
        layer.bias.normal_()
    wanted = first * (x * layer.weight.weight).sum(1, keepdim=True) + layer.bias + x
    torch.testing.assert_close(layer(x, first), wanted)


def test_logarithmic_neurons_are_products_of_powers() -> None:
    torch.manual_seed(0)
    net, x = NETS["afn"](), torch.randint(20, (5, 3))
    seen = []
    net.neurons.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(x)
    embedded, weight, bias = net.fields(x).abs(), net.powers.weight, net.powers.bias
    wanted = (embedded[:, None] ** weight[None, :, :, None]).prod(2) * bias.exp()[:, None]
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize("name", NETS)
def test_every_weight_learns_under_feedback(name) -> None:
    net, x, model = made(name)
    out = model(x)
    assert torch.equal(out, model.model(x)) or net.training  # dropout and batch statistics
    out.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not [n for n in silent if not n.endswith("bias")]
    assert len(model.layers) == {"deepfm": 2, "dcn": 6, "autoint": 6, "afn": 4}[name]


def test_embeddings_of_deepfm_do_not_learn_from_its_dense_net() -> None:
    net, x, model = made("deepfm")
    found = []
    for scale in (1.0, 3.0):
        net.zero_grad()
        net.eval()
        model(x).sum().backward()
        found.append(net.fields.table.weight.grad.clone())
        with torch.no_grad():
            net.dense[0][0].weight.mul_(scale * 3)
    assert torch.equal(*found)


def test_the_published_afn_leaves_its_embeddings_alone() -> None:
    net, x, _ = made("afn")
    DirectFeedback(net, net.layers[1:], cuts=net.layers[:1])(x).sum().backward()
    assert net.fields.table.weight.grad is None
    assert net.linear.table.weight.grad.abs().max() > 0
    assert net.powers.weight.grad.abs().max() > 0
