"""Batch normalisation that is trained no more, as the affine map that it is.

Legend: B batch, C channels, H and W height and width.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenBatchNorm(nn.Module):
    """A trained batch normalisation as a fixed affine map: (B, C, H, W) -> (B, C, H, W).

    Nothing of it is trained or updated, in training mode as well. Raises ValueError for a
    normalisation without running statistics, and for other than C channels.

    Example:
        >>> layer = FrozenBatchNorm(nn.BatchNorm2d(4))
        >>> layer(torch.randn(2, 4, 3, 3)).shape
        torch.Size([2, 4, 3, 3])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        affine = as_affine(norm)
        if affine is None:
            raise ValueError(
                "norm must be a batch normalisation with running statistics; got "
                f"{norm if isinstance(norm, nn.Module) else type(norm).__name__}"
            )
        scale, shift = affine
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        # One channel would broadcast to C of them.
        if x.ndim != 4 or x.shape[1] != len(self.scale):
            raise ValueError(f"x must be (B, {len(self.scale)}, H, W); got {tuple(x.shape)}")
        # A half-precision input is scaled in the statistics' precision, as torch's own does.
        dtype = torch.promote_types(x.dtype, self.scale.dtype)
        y = x.to(dtype) * self.scale[:, None, None].to(dtype) + self.shift[:, None, None].to(dtype)
        return y.to(x.dtype)


@torch.no_grad()
def as_affine(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """The scale and shift (C,) that `norm` is in evaluation; None if it depends on the batch.

    Of a `FrozenBatchNorm` or one of torch's batch normalisations; None for all else.
    """
    if isinstance(norm, FrozenBatchNorm):
        return norm.scale, norm.shift
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return None
    mean, variance = norm.running_mean, cast(Tensor, norm.running_var)
    # Half precision has no number as small as eps beside a variance of 1.
    dtype = torch.promote_types(mean.dtype, torch.float32)
    mean, variance = mean.to(dtype), variance.to(dtype)
    weight = norm.weight.to(dtype) if norm.affine else torch.ones_like(mean)
    bias = norm.bias.to(dtype) if norm.affine else torch.zeros_like(mean)
    scale = weight / torch.sqrt(variance + norm.eps)
    return scale, bias - mean * scale


def freeze_batch_norm(model: nn.Module) -> nn.Module:
    """Replaces every batch normalisation of images by its `FrozenBatchNorm`.

    Inside `model` in place, and returns it; a normalisation itself is returned frozen. Raises
    ValueError, before anything is replaced, for one without running statistics.
    """
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    if isinstance(model, kinds):
        return FrozenBatchNorm(model)
    frozen = {
        name: FrozenBatchNorm(module)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kinds)
    }
    for name, module in frozen.items():
        model.set_submodule(name, module)
    return model
