"""Feedback: what it is drawn from, how it is shared, saved and structured."""

import math

import pytest
import torch

from quire.papers.dfa import HadamardFeedback, IndependentFeedback, SharedFeedback, normal
from quire.papers.dfa.feedback import transform

KINDS = [SharedFeedback, IndependentFeedback, HadamardFeedback]
WIDTHS = [24, 5, 24]


def drawn(kind=SharedFeedback, seed=0, **options):
    feedback = kind(**options)
    feedback.fit(WIDTHS, 3, seed=seed)
    return feedback


@pytest.mark.parametrize("kind", KINDS)
def test_it_follows_from_the_seed_alone(kind) -> None:
    error = torch.randn(7, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(kind)(error)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    for a, b in zip(first, drawn(kind)(error), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], drawn(kind, seed=1)(error)[0])
    assert [signal.shape for signal in first] == [(7, 24), (7, 5), (7, 24)]


def test_shared_layers_get_the_first_columns_of_one_matrix() -> None:
    feedback = drawn()
    error = torch.randn(7, 3)
    wide, narrow, again = feedback(error)
    assert torch.equal(wide[:, :5], narrow)
    assert torch.equal(wide, again)
    torch.testing.assert_close(wide, error @ feedback.matrix)
    assert feedback.matrix.abs().max() <= 1 / math.sqrt(24)  # of the widest, not of each
    assert drawn(normalize=False).matrix.abs().max() > 0.9


def test_independent_layers_have_their_own() -> None:
    feedback = drawn(IndependentFeedback, draw=normal)
    wide, narrow, again = feedback(torch.eye(3))
    assert not torch.equal(wide[:, :5], narrow)
    assert not torch.equal(wide, again)
    torch.testing.assert_close(torch.cat([wide, narrow, again], 1), feedback.matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_signals_have_the_variance_of_uniform_entries(kind) -> None:
    feedback = kind()
    feedback.fit([2048], 16, seed=0)
    variance = feedback(torch.eye(16))[0].var()
    expected = 1 / 3 / (16 if kind is IndependentFeedback else 2048)
    assert variance == pytest.approx(expected, rel=0.05)


def test_the_transform_is_sylvesters_matrix() -> None:
    matrix = torch.ones(1, 1)
    for _ in range(4):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    x = torch.randn(3, 16)
    torch.testing.assert_close(transform(x), x @ matrix)
    torch.testing.assert_close(transform(transform(x)), 16 * x)
    with pytest.raises(ValueError, match="needs a power of two of numbers, got 12"):
        transform(torch.ones(2, 12))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_and_never_learned(kind) -> None:
    feedback = drawn(kind)
    assert not list(feedback.parameters())
    other = kind()
    other.load_state_dict(feedback.state_dict())
    other.fit(WIDTHS, 3, seed=9)  # says the widths; what was loaded stays
    for a, b in zip(feedback(torch.eye(3)), other(torch.eye(3)), strict=True):
        assert torch.equal(a, b)
    wrong = kind()
    wrong.load_state_dict(feedback.state_dict())
    with pytest.raises(ValueError, match=r"the loaded feedback .* does not fit"):
        wrong.fit([40, 5], 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_takes_errors_of_any_precision(dtype) -> None:
    feedback = drawn()
    (signal, *_) = feedback(torch.randn(2, 3, dtype=dtype))
    assert signal.dtype == dtype
    feedback = SharedFeedback()
    feedback.fit(WIDTHS, 3, like=torch.zeros((), dtype=dtype))
    assert feedback.matrix.dtype == dtype


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call fit\(widths, error_width\) first"):
        SharedFeedback()(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"errors must be \(R, 3\), got shape \(2, 4\)"):
        drawn()(torch.ones(2, 4))
    for widths, outputs in (([], 3), ([4, 0], 3), ([4], 0)):
        with pytest.raises(ValueError, match="needs widths of at least 1"):
            SharedFeedback().fit(widths, outputs)
