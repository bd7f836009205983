"""The origin gradient: closed form, central differences, second order, hostile input."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quire.papers.gon import (
    GON,
    ConvDecoder,
    DenseDecoder,
    ImplicitDecoder,
    Siren,
    batch_norm,
    find_mean_scale,
    origin,
    sum_cross_entropy,
    sum_squares,
)


def linear(latent: int = 3, pixels: int = 7) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(latent, pixels).double()


def dense() -> DenseDecoder:
    torch.manual_seed(0)
    return DenseDecoder(3, (5,), hidden=(6,)).double()


def data(count: int = 4, pixels: int = 5) -> Tensor:
    return torch.rand(count, pixels, generator=torch.Generator().manual_seed(1)).double()


def test_a_linear_decoder_has_a_closed_form() -> None:
    decoder, x = linear(), data(pixels=7)
    z = origin(decoder, x, latent=3)
    torch.testing.assert_close(z, 2 * (x - decoder.bias) @ decoder.weight)


def test_several_steps_are_descent_written_out() -> None:
    decoder, x = linear(), data(pixels=7)
    z = torch.zeros(4, 3, dtype=torch.float64)
    for _ in range(4):
        z = z + 0.1 * 2 * (x - decoder(z)) @ decoder.weight
    torch.testing.assert_close(origin(decoder, x, latent=3, steps=4, scale=0.1), z)


def test_a_scale_can_be_one_for_each_dimension() -> None:
    decoder, x = linear(), data(pixels=7)
    lengths = torch.tensor([0.1, 1.0, 2.0]).double()
    z = origin(decoder, x, latent=3, scale=lengths)
    torch.testing.assert_close(z, lengths * origin(decoder, x, latent=3))


def test_a_start_is_where_it_begins() -> None:
    decoder, x = linear(), data(pixels=7)
    start = torch.randn(3, dtype=torch.float64)
    wanted = start + 2 * (x - decoder(start)) @ decoder.weight
    torch.testing.assert_close(origin(decoder, x, start=start), wanted)
    torch.testing.assert_close(origin(decoder, x, start=start.expand(4, 3)), wanted)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_outer_gradient_passes_through_the_inner_one(steps: int) -> None:
    decoder, x = dense(), data()

    def outer(*weights: Tensor) -> Tensor:
        names = [name for name, _ in decoder.named_parameters()]

        def call(z: Tensor) -> Tensor:
            return torch.func.functional_call(decoder, dict(zip(names, weights, strict=True)), (z,))

        return sum_squares(call(origin(call, x, latent=3, steps=steps, scale=0.3)), x)

    weights = tuple(p.detach().clone().requires_grad_() for p in decoder.parameters())
    assert torch.autograd.gradcheck(outer, weights)


def test_the_second_order_itself_is_differentiable() -> None:
    decoder, x = dense(), data(2)

    def outer(weight: Tensor) -> Tensor:
        def call(z: Tensor) -> Tensor:
            return torch.tanh(z @ weight)

        return sum_squares(call(origin(call, x, latent=3, scale=0.2)), x)

    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(outer, (weight,))
    assert decoder.latent == 3


def test_without_second_order_latents_are_constants() -> None:
    decoder, x = dense(), data()
    z = origin(decoder, x, second_order=False)
    assert not z.requires_grad
    sum_squares(decoder(z), x).sum().backward()
    found = [p.grad.clone() for p in decoder.parameters()]
    decoder.zero_grad()
    constant = origin(decoder, x).detach()
    sum_squares(decoder(constant), x).sum().backward()
    for a, parameter in zip(found, decoder.parameters(), strict=True):
        torch.testing.assert_close(a, parameter.grad)
    decoder.zero_grad()
    sum_squares(decoder(origin(decoder, x)), x).sum().backward()
    through = [p.grad for p in decoder.parameters()]
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(found, through, strict=True))


def test_a_relu_decoder_has_no_curvature_of_its_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5)).double()
    z = torch.randn(3, dtype=torch.float64)
    for place in range(5):
        hessian = torch.autograd.functional.hessian(lambda v, p=place: net(v)[p], z)
        assert hessian.abs().max() == 0
    x = data()
    sum_squares(net(origin(net, x, latent=3)), x).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


def test_it_compiles_into_one_graph_with_its_second_order() -> None:
    torch.manual_seed(0)
    net, x = GON(DenseDecoder(3, (5,), hidden=(4,)), learned_scale=True, steps=2), data().float()
    found = []
    for call in (net.measure_loss, torch.compile(net.measure_loss, backend="aot_eager")):
        net.zero_grad()
        call(x).mean().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_second_order_that_is_lost_is_said() -> None:
    class Cut(nn.Linear):
        """Gives its gradient no graph, as a decoder does that is compiled by itself."""

        def forward(self, z: Tensor) -> Tensor:
            return z @ self.weight.detach().T

    def likeness(y: Tensor, x: Tensor) -> Tensor:
        return (y * x).sum(1)

    decoder, x = Cut(3, 5).double(), data()
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        origin(decoder, x, likeness, latent=3)
    assert not origin(decoder, x, likeness, latent=3, second_order=False).requires_grad
    assert origin(decoder.requires_grad_(False), x, likeness, latent=3).shape == (4, 3)


def test_a_latent_depends_on_its_own_example() -> None:
    decoder, x = dense(), data()
    other = torch.cat([x[:1], 1 - x[1:]])
    torch.testing.assert_close(origin(decoder, x)[0], origin(decoder, other)[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(origin(decoder, x)[:1], origin(decoder, x[:1]))

    def each(z: Tensor, row: Tensor) -> Tensor:
        return (decoder(z[None])[0] - row).square().sum()

    zero = torch.zeros(3, dtype=torch.float64)
    mapped = torch.func.vmap(torch.func.grad(each), (None, 0))(zero, x)
    torch.testing.assert_close(origin(decoder, x), -mapped)


def test_a_mean_is_a_sum_with_a_scale() -> None:
    decoder, x = dense(), data()
    zero = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((decoder(zero) - x).square().mean(), zero)
    torch.testing.assert_close(origin(decoder, x, scale=find_mean_scale(4, 5)), -slope)
    with pytest.raises(ValueError, match="at least 1"):
        find_mean_scale(0)


def test_cross_entropy_is_torchs() -> None:
    logits, x = torch.randn(3, 2, 4), torch.rand(3, 2, 4)
    p = logits.sigmoid()
    wanted = -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2))
    torch.testing.assert_close(sum_cross_entropy(logits, x), wanted)


def test_it_works_where_nothing_is_recorded() -> None:
    decoder, x = dense(), data()
    wanted = origin(decoder, x)
    assert wanted.requires_grad
    with torch.no_grad():
        silent = origin(decoder, x)
    with torch.inference_mode():
        inferred = origin(decoder, x.clone())
    for found in (silent, inferred):
        assert not found.requires_grad
        torch.testing.assert_close(found, wanted.detach())


def test_autocast_does_not_reach_the_inner_step() -> None:
    decoder, x = dense().float(), data().float()
    wanted = origin(decoder, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(origin(decoder, x), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    decoder, x = dense().to(dtype), data().to(dtype)
    z = origin(decoder, x)
    assert z.dtype == dtype
    assert z.isfinite().all()


def test_what_does_not_fit_is_said() -> None:
    decoder, x = dense(), data()
    with pytest.raises(ValueError, match="at least one example"):
        origin(decoder, x[:0])
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        origin(decoder, x, steps=0)
    with pytest.raises(ValueError, match="one number an example"):
        origin(decoder, x, lambda y, x: (y - x).square().mean())
    with pytest.raises(ValueError, match="say how many latent dimensions"):
        origin(nn.Linear(3, 5), x)
    with pytest.raises(ValueError, match=r"start must be \(2,\) or \(4, 2\), got \(3, 2\)"):
        origin(decoder, x, start=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="one shape"):
        origin(decoder, x[:, :1])


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "decoder",
    [
        ConvDecoder(4, width=4),
        ImplicitDecoder(Siren(4, hidden=8, layers=3), (6, 6)),
    ],
)
def test_one_row_serves_all_where_rows_are_drawn_alike(
    decoder: Any, steps: int, second_order: bool
) -> None:
    decoder = copy.deepcopy(decoder).double()
    assert decoder.alike
    size = decoder(torch.zeros(1, 4, dtype=torch.float64)).shape[1:]
    weights = list(decoder.parameters())

    def grade(alike: bool) -> list[Tensor]:
        x = torch.rand(
            5, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        ).requires_grad_()
        start = torch.full((4,), 0.1, dtype=torch.float64, requires_grad=True)
        z = origin(
            decoder, x, start=start, steps=steps, scale=0.1, second_order=second_order, alike=alike
        )
        loss = sum_squares(decoder(z), x).sum()
        return [z.detach(), *torch.autograd.grad(loss, [*weights, x, start], allow_unused=True)]

    for one, each in zip(grade(True), grade(False), strict=True):
        assert (one is None) == (each is None)
        if one is not None:
            torch.testing.assert_close(one, each, atol=1e-12, rtol=1e-9)
    with torch.inference_mode():
        x = torch.rand(5, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(origin(decoder, x), origin(decoder, x, alike=False))


def test_a_batch_norm_or_dropout_is_not_alike() -> None:
    assert not ConvDecoder(4, width=4, norm=batch_norm).alike
    assert not ConvDecoder(4, width=4, activation=nn.Dropout).alike
