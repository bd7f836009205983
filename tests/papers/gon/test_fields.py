"""Fields other than a concatenating SIREN, against what they are written out."""

import math

import pytest
import torch
from torch import Tensor

from quire.papers.gon import GON, FourierField, ImplicitDecoder, ShiftedSiren, Siren, make_grid


def shift(net: ShiftedSiren, z: Tensor, points: Tensor) -> Tensor:
    """The slow twin: each example has biases of its own."""
    pictures = []
    for shifts in net.shift(z).unflatten(1, (len(net.waves), -1)):
        h = points
        for layer, extra in zip(net.waves, shifts, strict=True):
            h = torch.sin(net.frequency * (h @ layer.weight.T + layer.bias + extra))
        pictures.append(net.last(h))
    return torch.stack(pictures)


def concatenate(net: FourierField, z: Tensor, points: Tensor) -> Tensor:
    """The slow twin: features and latents side by side at every point."""
    turns = 2 * math.pi * points @ net.frequencies.T
    features = torch.cat([turns.cos(), turns.sin()], -1).expand(len(z), -1, -1)
    pairs = torch.cat([features, z[:, None].expand(-1, len(points), -1)], -1)
    weight = torch.cat([net.of_point.weight, net.of_latent.weight], 1)
    return net.rest(pairs @ weight.T + net.of_point.bias)


@pytest.mark.parametrize(
    ("kind", "twin"), [(ShiftedSiren, shift), (FourierField, concatenate)], ids=["shift", "fourier"]
)
def test_fields_are_their_twins(kind: type, twin: object) -> None:
    torch.manual_seed(0)
    net, points = kind(3, hidden=8, layers=3, channels=2).double(), make_grid(3, 4).double()
    z = torch.randn(5, 3).double().requires_grad_()
    fast, slow = net(z, points), twin(net, z, points)  # type: ignore[operator]
    torch.testing.assert_close(fast, slow)
    inputs = [z, *net.parameters()]
    along = torch.randn_like(fast)
    for a, b in zip(
        torch.autograd.grad((fast * along).sum(), inputs),
        torch.autograd.grad((slow * along).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_without_a_latent_shifts_leave_a_siren() -> None:
    torch.manual_seed(0)
    net, plain = ShiftedSiren(3, hidden=8, layers=2), Siren(0, hidden=8, layers=2)
    with torch.no_grad():
        for mine, its in zip(net.waves, (plain.first, *plain.middle), strict=True):
            its.load_state_dict(mine.state_dict())
        plain.last.load_state_dict(net.last.state_dict())
    points = make_grid(4, 4)
    torch.testing.assert_close(net(torch.zeros(1, 3), points), plain(torch.zeros(1, 0), points))


@pytest.mark.parametrize("kind", [ShiftedSiren, FourierField])
def test_they_train_as_functa_and_draw_at_any_size(kind: type) -> None:
    torch.manual_seed(0)
    x = torch.rand(8, 1, 4, 4)
    gon = GON(
        ImplicitDecoder(kind(4, hidden=16, layers=2), (4, 4)),
        steps=3, scale=0.05, learned_scale=True,
    )  # fmt: skip
    optimizer = torch.optim.Adam(gon.parameters(), lr=3e-3)
    first = gon.measure_loss(x).mean().item()
    for _ in range(80):
        optimizer.zero_grad()
        gon.measure_loss(x).mean().backward()
        optimizer.step()
    assert gon.measure_loss(x).mean().item() < 0.7 * first
    assert gon.scale.std() > 0
    assert gon.super_resolve(x, 9, 7).shape == (8, 1, 9, 7)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"latents must be \(B, 3\), got \(2, 4\)"):
        ShiftedSiren(3, hidden=8)(torch.zeros(2, 4), make_grid(2, 2))
    with pytest.raises(ValueError, match=r"points must be \(P, 2\), got \(4, 3\)"):
        FourierField(3, hidden=8)(torch.zeros(2, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        ShiftedSiren(0)
    with pytest.raises(ValueError, match="sigma must be above 0"):
        FourierField(3, sigma=0)
