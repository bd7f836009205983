"""Differentiable augmentation against every shift, rectangles, and colours by hand."""

import pytest
import torch

from quire.papers.gan import change_colours, cut_out, diff_augment, translate


def draw(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def shifted(image, down, right):
    """(C, H, W) moved by whole pixels, zeros coming in; by loops."""
    moved = torch.zeros_like(image)
    height, width = image.shape[1:]
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                moved[:, i, j] = image[:, i - down, j - right]
    return moved


def test_each_image_moves_by_a_shift_of_its_own():
    torch.manual_seed(0)
    x = draw(12, 2, 8, 6)
    steps = set()
    for image, moved in zip(x, translate(x, 0.25), strict=True):
        fits = [(i, j) for i in range(-2, 3) for j in range(-2, 3)
                if torch.equal(shifted(image, i, j), moved)]  # fmt: skip
        assert len(fits) == 1
        steps |= set(fits)
    assert len(steps) > 4
    torch.testing.assert_close(translate(x, 0.0), x)


def test_a_rectangle_is_hidden_with_its_middle_in_the_image():
    torch.manual_seed(0)
    hidden = cut_out(torch.ones(300, 2, 8, 6)) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), rows * columns)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 4, 2, 3)
    assert torch.equal(cut_out(torch.ones(2, 1, 4, 4), 0.0), torch.ones(2, 1, 4, 4))


def test_colours_keep_what_they_should():
    torch.manual_seed(0)
    x = draw(200, 3, 4, 4)
    out = change_colours(x)
    moved = out.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert float(moved.abs().max()) <= 0.5
    assert float(moved.abs().max()) > 0.4

    def contrast(y):
        grey = y.mean(1)
        return (grey - grey.mean((1, 2), keepdim=True)).flatten(1)

    ratio = contrast(out).norm(dim=1) / contrast(x).norm(dim=1)
    assert 0.4999 <= float(ratio.min()) < 0.6 < 1.4 < float(ratio.max()) <= 1.5001
    torch.testing.assert_close(contrast(out), contrast(x) * ratio[:, None])
    colour = (out - out.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    before = (x - x.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    saturation = colour / before / ratio
    assert float(saturation.min()) < 0.2 < 1.8 < float(saturation.max()) <= 2.0001


def test_a_gradient_passes_and_the_dtype_stays():
    x = draw(3, 1, 8, 8).double().requires_grad_()

    def seeded(images):
        torch.manual_seed(1)
        return diff_augment(images)

    assert torch.autograd.gradcheck(seeded, x)
    assert diff_augment(draw(2, 3, 8, 8).bfloat16()).dtype == torch.bfloat16
    assert diff_augment(draw(0, 3, 8, 8)).shape == (0, 3, 8, 8)
    meta = torch.empty(2, 3, 8, 8, device="meta")
    assert diff_augment(meta).shape == meta.shape


def test_what_does_not_fit_is_refused():
    for call, said in (
        (lambda: diff_augment(draw(3, 8, 8)), r"\(B, C, H, W\), got \(3, 8, 8\)"),
        (lambda: translate(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)), "floating-point"),
        (lambda: cut_out(draw(1, 1, 2, 2), 1.5), r"in \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
