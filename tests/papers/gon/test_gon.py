"""The net: PCA as a linear GON's optimum, noise, learned starts, what can be done with it."""

import pytest
import torch
from torch import nn

from quire.papers.gon import (
    GON,
    Autoencoder,
    DenseDecoder,
    DenseEncoder,
    ImplicitDecoder,
    LatentGaussian,
    LearnedLatents,
    Siren,
    TiedEncoder,
    count_parameters,
    slerp,
    sum_squares,
)


def test_a_linear_gon_finds_the_principal_subspace() -> None:
    pca = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 2.0, 0.5, 0.3]).double()
    turned = torch.linalg.qr(torch.randn(6, 4, generator=generator).double())[0]
    x = torch.randn(50, 4, generator=generator).double() * spread @ turned.T
    torch.manual_seed(0)
    gon = GON(nn.Linear(2, 6).double(), latent=2, scale=0.5)
    optimizer = torch.optim.Adam(gon.parameters(), lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        gon.measure_loss(x).mean().backward()
        optimizer.step()
    found = torch.linalg.qr(gon.decoder.weight.detach())[0]
    wanted = torch.from_numpy(pca.PCA(2).fit(x.numpy()).components_)
    cosines = torch.linalg.svdvals(wanted @ found)
    assert cosines.min() > 0.9999


def test_training_lowers_the_loss_and_the_detached_one_differs() -> None:
    x = torch.rand(32, 8, generator=torch.Generator().manual_seed(0))
    ends = []
    for second_order in (True, False):
        torch.manual_seed(0)
        gon = GON(DenseDecoder(4, (8,), hidden=(16,)), second_order=second_order)
        optimizer = torch.optim.Adam(gon.parameters(), lr=1e-2)
        first = gon.measure_loss(x).mean().item()
        for _ in range(150):
            optimizer.zero_grad()
            gon.measure_loss(x).mean().backward()
            optimizer.step()
        ends.append(gon.measure_loss(x).mean().item())
        assert ends[-1] < 0.8 * first
    assert ends[0] < ends[1]


def test_noise_is_of_training_alone_and_a_start_is_learned() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 8)
    noisy = GON(DenseDecoder(4, (8,)), noise=1.0)
    assert not torch.equal(noisy.encode(x), noisy.encode(x))
    noisy.eval()
    assert torch.equal(noisy.encode(x), noisy.encode(x))
    learned = GON(DenseDecoder(4, (8,)), learned_start=True)
    learned.measure_loss(x).mean().backward()
    assert learned.start is not None
    assert learned.start.grad is not None
    assert learned.start.grad.abs().max() > 0


def test_steps_can_be_learned_one_for_each_dimension() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 8)
    gon = GON(DenseDecoder(4, (8,)), scale=0.3, learned_scale=True)
    torch.testing.assert_close(gon(x), GON(gon.decoder, scale=0.3)(x))
    lengths = torch.tensor([0.1, 0.2, 0.3, 0.4])
    with torch.no_grad():
        gon.scale.copy_(lengths)
    torch.testing.assert_close(gon.encode(x), lengths * GON(gon.decoder).encode(x))
    gon.measure_loss(x).mean().backward()
    assert gon.scale.grad.abs().min() > 0
    for learned in ("learned_scale", "learned_start"):
        with pytest.raises(ValueError, match="a learned start or scale needs second_order"):
            GON(gon.decoder, second_order=False, **{learned: True})


def test_steps_can_be_asked_for() -> None:
    x = torch.rand(4, 8)
    gon = GON(DenseDecoder(4, (8,)), scale=0.1)
    assert not torch.allclose(gon.encode(x), gon.encode(x, steps=3))
    torch.testing.assert_close(
        GON(gon.decoder, scale=0.1, steps=3).encode(x), gon.encode(x, steps=3)
    )


def test_it_draws_larger_and_says_where_it_cannot() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 6, 6)
    gon = GON(ImplicitDecoder(Siren(4, hidden=16), (6, 6)))
    torch.testing.assert_close(gon.super_resolve(x, 6, 6), gon(x).reconstruction)
    assert gon.super_resolve(x, 12, 9).shape == (2, 1, 12, 9)
    with pytest.raises(TypeError, match="DenseDecoder draws at one size only"):
        GON(DenseDecoder(4, (1, 6, 6))).super_resolve(x, 12, 12)


def test_interpolation_ends_at_both_and_samples_decode() -> None:
    torch.manual_seed(0)
    gon = GON(DenseDecoder(4, (1, 6, 6)))
    a, b = torch.rand(2, 3, 1, 6, 6)
    walk = gon.interpolate(a, b, 5)
    torch.testing.assert_close(walk[0], gon(a).reconstruction)
    torch.testing.assert_close(walk[-1], gon(b).reconstruction)
    made = gon.sample(7, LatentGaussian.fit(gon.encode(torch.rand(20, 1, 6, 6))))
    assert made.shape == (7, 1, 6, 6)


def test_a_gaussian_comes_back_from_its_draws() -> None:
    torch.manual_seed(0)
    z = torch.randn(4000, 3) @ torch.tensor([[1.0, 0, 0], [0.5, 2, 0], [0, 0, 0]]) + 1
    fitted = LatentGaussian.fit(z)
    again = fitted.sample(40_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again.mean(0), z.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(again.T), torch.cov(z.T), atol=0.12, rtol=0)
    with pytest.raises(ValueError, match="N at least 2"):
        LatentGaussian.fit(z[:1])


def test_slerp_keeps_to_the_sphere() -> None:
    torch.manual_seed(0)
    a, b = nn.functional.normalize(torch.randn(2, 5, 4).double(), dim=-1)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, b, 0.3).norm(dim=-1), torch.ones(5).double())
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    assert slerp(a, 0 * a, 0.5).isfinite().all()
    assert slerp(a, -a, 0.5).isfinite().all()


def test_half_the_weights_of_the_mirror() -> None:
    decoder, encoder = DenseDecoder(16, (1, 8, 8)), DenseEncoder(16, (1, 8, 8))
    gon, autoencoder = GON(decoder), Autoencoder(encoder, decoder)
    assert count_parameters(gon) == 26_944
    assert count_parameters(autoencoder) == 53_840


def test_a_tied_encoder_is_the_decoder_transposed() -> None:
    torch.manual_seed(0)
    decoder = DenseDecoder(4, (8,), hidden=(6,))
    tied = TiedEncoder(decoder)
    x = torch.rand(3, 8)
    first, last = decoder.layers[0], decoder.layers[2]
    with torch.no_grad():
        tied.biases[0].normal_()
        wanted = nn.functional.silu(x @ last.weight + tied.biases[0]) @ first.weight
    torch.testing.assert_close(tied(x), wanted)
    whole = Autoencoder(tied, decoder)
    assert count_parameters(whole) == count_parameters(decoder) + 6 + 4
    whole.measure_loss(x).sum().backward()
    assert first.weight.grad.abs().max() > 0


def test_learned_latents_are_found_for_new_data() -> None:
    torch.manual_seed(0)
    net = LearnedLatents(DenseDecoder(4, (8,)), 10)
    with torch.no_grad():
        x = net.decoder(torch.randn(5, 4))
        before = sum_squares(net.decoder(torch.zeros(5, 4)), x)
        z = net.infer(x, steps=200)
        after = sum_squares(net.decoder(z), x)
    assert (after < 0.1 * before).all()
    assert all(p.requires_grad for p in net.decoder.parameters())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="latent must be a number of dimensions"):
        GON(nn.Linear(4, 8))
    with pytest.raises(ValueError, match="steps must be at least 1 and noise at least 0"):
        GON(DenseDecoder(4, (8,)), noise=-1.0)
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        DenseDecoder(0, (8,))
