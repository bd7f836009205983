"""What is measured of a net: its size and cost (Table 1), the strength of its layers' responses
(Figure 7), its gradients, and what it loses when a block is deleted (Veit et al., 2016).

Legend: B batch, C channels, H and W height and width.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quire.nn.residual import Conv, ResidualNet
from quire.papers.resnet.testers import evaluating


def count_parameters(model: nn.Module) -> int:
    """The number of trainable scalars, scales and shifts of normalisations included.

    Parameters that are frozen (`requires_grad` is False) do not count.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, shape: tuple[int, int, int] = (3, 224, 224)) -> int:
    """Multiply-adds of convolutions and linear layers for one image of `shape` (C, H, W).

    Runs the model on tensors without storage, so that it takes no time and changes nothing.
    """
    total = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = cast(Tensor, layer.weight)
        total += output.numel() // weight.shape[0] * weight.numel()

    # Each output element is a dot product with one of weight.shape[0] filters.
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    empty = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    try:
        with evaluating(model), torch.no_grad():
            functional_call(model, empty, (torch.empty(1, *shape, device="meta"),))
    finally:
        for handle in handles:
            handle.remove()
    return total


@torch.no_grad()
def layer_responses(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """Standard deviation of each 3x3 convolution's output after its normalisation (Figure 7).

    Over all images, channels and positions of `batches` of (B, C, H, W), before the activation
    and the addition; by the layer's name, in depth order. Uses the running statistics.
    Raises ValueError if there is no image, TypeError for a tensor in place of a list of batches.
    """
    if isinstance(batches, Tensor):
        raise TypeError("batches must be an iterable of batches (B, C, H, W); got one tensor")
    sums: dict[str, Tensor] = {}

    def observe(name: str, output: Tensor) -> None:
        # Sums in double precision: a whole test set has too many values to keep.
        x = output.detach().double()
        row = torch.stack([torch.tensor(float(x.numel())), x.sum().cpu(), x.square().sum().cpu()])
        sums[name] = sums.get(name, torch.zeros(3, dtype=torch.float64)) + row

    handles = []
    for name, layer in model.named_modules():
        if isinstance(layer, Conv) and layer.conv.kernel_size == (3, 3):
            # Version 2 normalises before its convolution: the response is the bare output there.
            target = layer.conv if isinstance(layer.norm, nn.Identity) else layer.norm
            handles.append(
                target.register_forward_hook(lambda _m, _i, out, name=name: observe(name, out))
            )
    try:
        with evaluating(model):
            for batch in batches:
                if len(batch):
                    model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not sums:
        raise ValueError("layer_responses needs a batch and a net with 3x3 `Conv` layers")
    return {
        name: float((square / n - (total / n) ** 2).clamp(min=0).sqrt())
        for name, (n, total, square) in sums.items()
    }


def gradient_norms(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Norm of the cross-entropy's gradient for each convolution's weights, in depth order.

    images (B, C, H, W), labels (B,). One batch in the model's own mode. The parameters' `.grad` and
    the running statistics stay as they are; frozen weights are measured too. Raises ValueError for
    a model without convolutions, and for no image, whose mean loss is no number.
    """
    layers = {n: layer for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    if not layers or not len(images):
        raise ValueError("gradient_norms needs a net with convolutions and at least one image")
    weights = {name: layer.weight.detach().requires_grad_() for name, layer in layers.items()}
    # Copies take the place of what a pass in training mode would change.
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state |= {f"{name}.weight": weight for name, weight in weights.items()}
    with torch.enable_grad():
        loss = F.cross_entropy(functional_call(model, state, (images,)), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
    return {name: float(g.norm()) for name, g in zip(weights, gradients, strict=True)}


class _Deleted(nn.Module):
    """A block whose residual function is gone: the shortcut and the activation are left."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        normalised = x if block.before is None else block.before(x)  # type: ignore[operator]
        skip = block.skip(x, normalised)  # type: ignore[operator]
        # A copy: the activation works in place, and the shortcut's value may be x itself.
        return x if skip is None else block.after(skip.clone())  # type: ignore[operator]


@contextmanager
def deleted(net: ResidualNet, *names: str) -> Iterator[ResidualNet]:
    """Inside, the named blocks of `net` (keys of `net.blocks()`) pass their shortcut alone.

    A block of a plain net is taken out altogether, which needs equal shapes in and out.
    Raises ValueError for a name that is no block, or a plain block that changes the shape.
    """
    blocks = net.blocks()
    for name in names:
        if name not in blocks:
            raise ValueError(f"{name!r} is no block; blocks are {', '.join(blocks)}")
        block = blocks[name]
        if block.shortcut is None and (
            block.stride != 1 or block.in_channels != block.out_channels
        ):
            raise ValueError(f"block {name!r} of a plain net changes the shape: it must stay")
    try:
        for name in names:
            net.set_submodule(name, _Deleted(blocks[name]))
        yield net
    finally:
        for name in names:
            net.set_submodule(name, blocks[name])


def deletable(net: ResidualNet) -> list[str]:
    """Names of the blocks that keep the shape, and so can be deleted from a plain net as well."""
    return [
        name
        for name, block in net.blocks().items()
        if block.stride == 1 and block.in_channels == block.out_channels
    ]
