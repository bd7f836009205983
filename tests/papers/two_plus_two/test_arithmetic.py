"""Units made for sums: their formulas by hand, their limits, their penalties."""

import math

import pytest
import torch

from quire.papers.two_plus_two import NAC, NALU, NAU, NMU


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("unit", [NAC, NALU, NAU, NMU])
def test_a_unit_is_its_formula_number_by_number(unit):
    layer = unit(2, 3, outputs=2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * numbers(*parameter.shape))
    x = numbers(4, 3, seed=1)
    found = layer(x).tolist()

    def weight(m, i, o):
        if unit is NAU:
            return max(-1.0, min(1.0, layer.weight[m, i, o].item()))
        if unit is NMU:
            return max(0.0, min(1.0, layer.weight[m, i, o].item()))
        nac = layer if unit is NAC else layer.nac
        gate = 1 / (1 + math.exp(-nac.mhat[m, i, o].item()))
        return math.tanh(nac.what[m, i, o].item()) * gate

    for m in range(2):
        for n in range(4):
            for o in range(2):
                row = x[n].tolist()
                total = sum(weight(m, i, o) * row[i] for i in range(3))
                if unit is NMU:
                    total = math.prod(
                        weight(m, i, o) * row[i] + 1 - weight(m, i, o) for i in range(3)
                    )
                if unit is NALU:
                    logs = [weight(m, i, o) * math.log(abs(row[i]) + 1e-7) for i in range(3)]
                    open_ = sum(layer.gate[m, i, o].item() * row[i] for i in range(3))
                    g = 1 / (1 + math.exp(-open_))
                    total = g * total + (1 - g) * math.exp(sum(logs))
                assert found[m][n][o] == pytest.approx(total, rel=1e-10)


def test_a_saturated_nac_adds_and_subtracts():
    layer = NAC(1, 2).double()
    with torch.no_grad():
        layer.mhat.fill_(40)
        layer.what.copy_(torch.tensor([[[40.0], [-40.0]]]))
    x = torch.tensor([[2.0, 2.0], [1999.0, 1000.0]], dtype=torch.float64)
    assert layer(x)[0, :, 0].tolist() == [0.0, 999.0]
    assert layer.weight.flatten().tolist() == [1.0, -1.0]


def test_nalu_at_nothing_is_finite_and_multiplies():
    layer = NALU(1, 2).double()
    with torch.no_grad():
        layer.nac.mhat.fill_(40), layer.nac.what.fill_(40)
        layer.gate.fill_(-1e3)
    x = torch.tensor([[3.0, 7.0], [0.0, 5.0]], dtype=torch.float64, requires_grad=True)
    found = layer(x)[0, :, 0]
    # Zero inputs open the gate half way; otherwise it is shut and the product is there.
    assert found[0].item() == pytest.approx(21, rel=1e-6)
    assert layer(torch.zeros(1, 2)).isfinite().all()
    assert torch.autograd.grad(found.sum(), layer.nac.what)[0].isfinite().all()


def test_penalties_are_nothing_at_whole_weights_alone():
    for unit, whole in ((NAU, [-1.0, 0.0, 1.0]), (NMU, [0.0, 1.0, 1.0])):
        layer = unit(2, 3).double()
        with torch.no_grad():
            layer.weight[0] = torch.tensor(whole)[:, None]
            layer.weight[1] = torch.tensor([0.5, 1.25, 0.1])[:, None]
        found = layer.penalty().tolist()
        assert found == [0.0, pytest.approx((0.5 + 0.25 + 0.1) / 3)]


def test_the_penalty_brings_back_what_the_clamp_holds():
    layer = NAU(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.5)
    (pull,) = torch.autograd.grad(layer.penalty().sum(), layer.weight)
    (data,) = torch.autograd.grad(layer(torch.ones(1, 1)).sum(), layer.weight)
    assert pull.item() > 0 == data.item()
