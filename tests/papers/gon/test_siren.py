"""SIREN: the first layer in two parts against one, its start, grids."""

import pytest
import torch
from torch import Tensor

from quire.papers.gon import GON, ImplicitDecoder, Siren, count_parameters, make_grid


def concatenate(net: Siren, z: Tensor, points: Tensor) -> Tensor:
    """The slow twin: coordinates and latents side by side at every point."""
    pairs = torch.cat(
        [points.expand(len(z), -1, -1), z[:, None].expand(-1, len(points), -1)], dim=-1
    )
    h = torch.sin(net.frequency * net.first(pairs))
    for layer in net.middle:
        h = torch.sin(net.frequency * layer(h))
    return net.last(h)


def test_the_first_layer_in_two_parts_is_one() -> None:
    torch.manual_seed(0)
    net, points = Siren(3, hidden=8, layers=2, channels=2).double(), make_grid(3, 4).double()
    z = torch.randn(5, 3).double().requires_grad_()
    fast, slow = net(z, points), concatenate(net, z, points)
    torch.testing.assert_close(fast, slow)
    inputs = [z, *net.parameters()]
    along = torch.randn_like(fast)
    for a, b in zip(
        torch.autograd.grad((fast * along).sum(), inputs),
        torch.autograd.grad((slow * along).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_what_enters_a_sine_has_unit_variance() -> None:
    torch.manual_seed(0)
    net = Siren(0, hidden=512, layers=4).requires_grad_(False)
    points = 2 * torch.rand(2000, 2) - 1
    h = torch.sin(net.frequency * net.first(points))
    for layer in net.middle:
        before = net.frequency * torch.nn.functional.linear(h, layer.weight)
        assert 0.85 < float(before.std()) < 1.15
        h = torch.sin(net.frequency * layer(h))
    # A sine of a wide normal is distributed as the sine of an angle: a third lies beyond 0.866.
    assert 0.30 < float((h.abs() > 0.8660254).float().mean()) < 0.40


def test_a_net_of_one_image_needs_no_latent() -> None:
    net = Siren(0, hidden=8, layers=2)
    assert net(torch.zeros(1, 0), make_grid(3, 3)).shape == (1, 9, 1)


def test_grids_cover_the_same_square() -> None:
    assert make_grid(2, 2).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert make_grid(2, 3, align="corners")[:3].tolist() == [[-1, -1], [-1, 0], [-1, 1]]
    coarse, fine = make_grid(1, 4)[:, 1], make_grid(1, 8)[:, 1]
    torch.testing.assert_close(fine.view(4, 2).mean(1), coarse)


def test_published_size_and_order_of_pixels() -> None:
    assert count_parameters(Siren(32)) == 206_593
    decoder = ImplicitDecoder(Siren(3, hidden=8), (2, 3))
    z = torch.randn(2, 3)
    wanted = decoder.net(z, make_grid(2, 3)).reshape(2, 2, 3, 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(decoder(z), wanted)


def test_equals_the_peers_net_on_copied_weights() -> None:
    peer = pytest.importorskip("siren_pytorch", reason="siren-pytorch is not installed")
    torch.manual_seed(0)
    theirs = peer.SirenNet(
        dim_in=2, dim_hidden=8, dim_out=1, num_layers=3, w0_initial=30.0, w0=30.0
    )
    ours = Siren(0, hidden=8, layers=3)
    with torch.no_grad():
        for mine, its in zip(
            (ours.first, *ours.middle, ours.last), (*theirs.layers, theirs.last_layer), strict=True
        ):
            mine.weight.copy_(its.weight)
            # There the sine takes w0 (W x + b) as here.
            mine.bias.copy_(its.bias)
    points = make_grid(4, 4)
    torch.testing.assert_close(ours(torch.zeros(1, 0), points)[0], theirs(points))


def test_what_does_not_fit_is_said() -> None:
    net = Siren(3, hidden=8)
    with pytest.raises(ValueError, match=r"latents must be \(B, 3\), got \(2, 4\)"):
        net(torch.zeros(2, 4), make_grid(2, 2))
    with pytest.raises(ValueError, match=r"points must be \(P, 2\), got \(4, 3\)"):
        net(torch.zeros(2, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least one pixel"):
        make_grid(0, 2)
    with pytest.raises(ValueError, match="'centres' or 'corners'"):
        make_grid(2, 2, align="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an image has 2 coordinates"):
        ImplicitDecoder(Siren(3, coordinates=3), (2, 2))
    with pytest.raises(ValueError, match="at least 1"):
        Siren(3, layers=0)
    assert GON(ImplicitDecoder(net, (2, 2))).latent == 3
