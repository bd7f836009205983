"""Object discovery: an image is encoded, divided among slots, and every slot decoded (section 2.2).

B batch, S pixels a side, N places of the encoder, C width of a place, K slots, D width of a slot.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class SoftPositions(nn.Module):
    """Adds a learned linear map of four ramps to every place of a grid (appendix E.2).

    The ramps are y, x, 1 - y and 1 - x, from 0 to 1 with both ends. dim: the width of a place.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import SoftPositions
        >>> SoftPositions(16)(torch.zeros(2, 8, 8, 16)).shape
        torch.Size([2, 8, 8, 16])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(4, dim)

    def forward(self, grid: Tensor) -> Tensor:
        """(..., H, W, dim) -> the same shape."""
        added: Tensor = grid + self.embed(grid.shape[-3], grid.shape[-2])
        return added

    def embed(self, height: int, width: int) -> Tensor:
        """What is added, (H, W, dim)."""
        weight = self.project.weight
        y = torch.linspace(0, 1, height, device=weight.device, dtype=weight.dtype)
        x = torch.linspace(0, 1, width, device=weight.device, dtype=weight.dtype)
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        ramps = torch.stack([rows, columns, 1 - rows, 1 - columns], -1)
        projected: Tensor = self.project(ramps)
        return projected


class ImageEncoder(nn.Module):
    """Convolutions, soft positions, and the same small network at every place.

    Args:
        channels: C, of every convolution and of a place.
        layers: Convolutions, each followed by ReLU.
        kernel: Their side, odd.
        strides: The stride of each; None is 1 for all. Padding is that of TensorFlow's SAME.
        positions: What is done to the grid (B, H, W, C) after them; None is `SoftPositions`.

    Raises ValueError for an even kernel, and another number of strides than of layers.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import ImageEncoder
        >>> ImageEncoder(16, layers=2, kernel=3)(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 64, 16])
    """

    def __init__(
        self,
        channels: int = 64,
        *,
        layers: int = 4,
        kernel: int = 5,
        strides: Sequence[int] | None = None,
        positions: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.strides = [1] * layers if strides is None else list(strides)
        self.kernel = kernel
        if kernel % 2 == 0 or len(self.strides) != layers:
            raise ValueError(
                f"kernel must be odd and strides one for each of {layers} layers, "
                f"got {kernel} and {self.strides}"
            )
        self.layers = nn.ModuleList(
            nn.Conv2d(channels if layer else 3, channels, kernel, stride)
            for layer, stride in enumerate(self.strides)
        )
        self.positions = SoftPositions(channels) if positions is None else positions
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, N, C)."""
        x = image
        for layer, stride in zip(self.layers, self.strides, strict=True):
            x = layer(pad(x, [*_same(x.shape[3], self.kernel, stride),
                              *_same(x.shape[2], self.kernel, stride)])).relu()  # fmt: skip
        grid = self.positions(x.permute(0, 2, 3, 1))
        encoded: Tensor = self.mlp(self.norm(grid.flatten(1, 2)))
        return encoded


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after: where it is odd, the end has more."""
    whole = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return whole // 2, whole - whole // 2


class PixelDecoder(nn.Module):
    """A slot and a pixel's place to the pixel's colour and how much the slot claims it.

    The same network at every pixel, so that a slot's product with the first layer is computed
    once for all of them. It is cheap, and stands in for `BroadcastDecoder` on small images.

    Args:
        dim: D.
        size: S.
        hidden: Hidden units.
        layers: Hidden layers.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import PixelDecoder
        >>> PixelDecoder(16, 8)(torch.randn(2, 3, 16)).shape
        torch.Size([2, 3, 4, 8, 8])
    """

    def __init__(self, dim: int, size: int, *, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.size = size
        self.slot = nn.Linear(dim, hidden, bias=False)
        self.positions = SoftPositions(hidden)
        self.rest = pixel_layers(hidden, layers)

    def forward(self, slots: Tensor) -> Tensor:
        """(B, K, D) -> colours and a mask logit (B, K, 4, S, S)."""
        first = self.slot(slots)[:, :, None, None] + self.positions.embed(self.size, self.size)
        decoded: Tensor = self.rest(first)
        return decoded.permute(0, 1, 4, 2, 3)


def pixel_layers(hidden: int, layers: int) -> nn.Sequential:
    """The layers of `PixelDecoder` after the first: (..., hidden) -> colours, logit (..., 4)."""
    rest: list[nn.Module] = [nn.ReLU()]
    for _ in range(layers - 1):
        rest += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*rest, nn.Linear(hidden, 4))


class BroadcastDecoder(nn.Module):
    """A slot is repeated over a grid with soft positions, and convolved up to the image.

    Args:
        dim: D.
        channels: Of every transposed convolution.
        start: Side of the grid.
        doublings: Transposed convolutions of stride 2; the image has side start * 2**doublings.

    Raises ValueError for a grid without a place and fewer than no doublings.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import BroadcastDecoder
        >>> BroadcastDecoder(16, 8, start=4, doublings=1)(torch.randn(2, 3, 16)).shape
        torch.Size([2, 3, 4, 8, 8])
    """

    def __init__(
        self, dim: int = 64, channels: int = 64, *, start: int = 8, doublings: int = 4
    ) -> None:
        super().__init__()
        if start < 1 or doublings < 0:
            raise ValueError(
                f"start must be at least 1 and doublings 0, got {start} and {doublings}"
            )
        self.size = start
        self.positions = SoftPositions(dim)
        layers: list[nn.Module] = []
        for layer in range(doublings):
            inputs = channels if layer else dim
            # TensorFlow's SAME: of the 2 S + 1 rows that this gives, the last is cut off.
            layers += [nn.ConvTranspose2d(inputs, channels, 5, 2, padding=1), _CutLast(), nn.ReLU()]
        inputs = channels if doublings else dim
        layers += [nn.Conv2d(inputs, channels, 5, padding=2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 4, 3, padding=1))

    def forward(self, slots: Tensor) -> Tensor:
        """(B, K, D) -> colours and a mask logit (B, K, 4, S, S)."""
        batch, number, _ = slots.shape
        wide = slots[:, :, None, None].expand(-1, -1, self.size, self.size, -1)
        grid = self.positions(wide).flatten(0, 1).permute(0, 3, 1, 2)
        decoded: Tensor = self.layers(grid)
        return decoded.view(batch, number, *decoded.shape[1:])


class _CutLast(nn.Module):
    """Without the last row and column."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :-1, :-1]


class SlotMLP(nn.Module):
    """The baseline without competition: all places at once to all slots, by one hidden layer.

    It gives what `SlotAttention` gives, with an attention of no inputs, (B, K, 0).

    Args:
        inputs: N, which cannot change.
        input_dim: C.
        slots: K, which cannot change.
        dim: D.
        hidden: Hidden units.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import SlotMLP
        >>> slots, attention = SlotMLP(40, 16, slots=5, dim=16)(torch.randn(2, 40, 16))
        >>> slots.shape, attention.shape
        (torch.Size([2, 5, 16]), torch.Size([2, 5, 0]))
    """

    def __init__(
        self, inputs: int, input_dim: int, *, slots: int = 7, dim: int = 64, hidden: int = 512
    ) -> None:
        super().__init__()
        self.inputs, self.slots = inputs, slots
        self.mlp = nn.Sequential(
            nn.Linear(inputs * input_dim, hidden), nn.ReLU(), nn.Linear(hidden, slots * dim)
        )

    def forward(self, inputs: Tensor, slots: int | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, C) -> slots (B, K, D) and (B, K, 0). Raises ValueError for another N or K."""
        if inputs.ndim != 3 or inputs.shape[1] != self.inputs or slots not in (None, self.slots):
            raise ValueError(
                f"inputs must be (B, {self.inputs}, C) for {self.slots} slots, "
                f"got {tuple(inputs.shape)} for {slots}"
            )
        found = self.mlp(inputs.flatten(1)).unflatten(-1, (self.slots, -1))
        return found, found.new_zeros(*found.shape[:2], 0)


class Decomposition(NamedTuple):
    """An image as the sum of its slots' pictures."""

    image: Tensor
    """Pictures summed with their masks, (B, 3, S, S)."""
    masks: Tensor
    """They sum to one over the slots, (B, K, S, S)."""
    pictures: Tensor
    """Of each slot, (B, K, 3, S, S)."""
    slots: Tensor
    """(B, K, D)"""
    attention: Tensor
    """(B, K, N): the last round's."""


class SlotAutoencoder(nn.Module):
    """Image (B, 3, S, S) -> `Decomposition`: trained to reconstruct, it finds objects.

    Args:
        encoder: (B, 3, S, S) -> inputs (B, N, C), such as `ImageEncoder`.
        slots: Inputs -> slots and attention: `SlotAttention`, or a baseline.
        decoder: Slots (B, K, D) -> (B, K, 4, S, S), such as `PixelDecoder`.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import (
        ...     ImageEncoder, PixelDecoder, SlotAttention, SlotAutoencoder
        ... )
        >>> model = SlotAutoencoder(
        ...     ImageEncoder(16, layers=2, kernel=3), SlotAttention(3, 16), PixelDecoder(16, 8)
        ... )
        >>> model(torch.randn(2, 3, 8, 8)).masks.shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, encoder: nn.Module, slots: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.slots, self.decoder = encoder, slots, decoder

    def forward(self, image: Tensor, slots: int | None = None, **options: object) -> Decomposition:
        """The decomposition of images into `slots` slots; options go to the slots' module."""
        found, attention = self.slots(self.encoder(image), slots, **options)
        return self.decode(found, attention)

    def decode(self, slots: Tensor, attention: Tensor) -> Decomposition:
        """Slots (B, K, D) with their attention -> the decomposition that they stand for."""
        decoded = self.decoder(slots)
        pictures, logits = decoded[:, :, :3], decoded[:, :, 3]
        masks = logits.softmax(1)
        image = (masks[:, :, None] * pictures).sum(1)
        return Decomposition(image, masks, pictures, slots, attention)
