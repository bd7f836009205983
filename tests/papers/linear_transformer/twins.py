"""Two forms of one function, in outputs and gradients."""

import torch

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def inputs(length, *, keys=None, batch=2, heads=3, width=5, values=4, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    keys = length if keys is None else keys
    shapes = ((length, width), (keys, width), (keys, values))
    return [
        (scale * torch.randn(batch, heads, *s, generator=generator, dtype=torch.float64))
        .requires_grad_()
        for s in shapes
    ]  # fmt: skip


def assert_twins(fast, slow, variables):
    torch.testing.assert_close(fast, slow, **CLOSE)
    one, other = (torch.autograd.grad(out.sin().sum(), variables) for out in (fast, slow))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
