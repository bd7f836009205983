"""Slots with frames of their own: invariant slot attention (Biza et al. 2023), a later variant.

A slot has a position and a scale, and sees places relative to them, so that what a slot says of an
object does not depend on where it is or how large. B batch, N places of a square grid, C width of a
place, K slots, D width of a slot.
"""

import torch
from torch import Tensor, nn

from quire.papers.slot_attention.attention import SlotAttention, compete
from quire.papers.slot_attention.autoencoder import pixel_layers

REACH = 5.0
"""What relative places are divided by: small objects would see a very large image else."""
SMALLEST, LARGEST = 1e-3, 2.0
"""Scales; the image's side is 2."""


class InvariantSlotAttention(nn.Module):
    """Inputs (B, N, C) -> slots with their frames (B, K, D + 4), and attention (B, K, N).

    Inputs must not hold places: `ImageEncoder(positions=nn.Identity())`. The last four numbers of a
    slot are its position, y and x in [-1, 1], and its scale in both directions. Places relative to
    a slot's frame are added to keys and to values; the frame is the mean and the deviation of the
    places that the slot attends to. One round more than those of the slots finds the last frames.

    Args:
        slots: K, unless a call says otherwise.
        dim: D.
        iterations: T, the rounds, unless a call says otherwise.
        input_dim: C; None is D.
        hidden: Hidden units of the networks, after the cell and after a place is added.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import InvariantSlotAttention
        >>> slots, attention = InvariantSlotAttention(slots=5, dim=16)(torch.randn(2, 36, 16))
        >>> slots.shape, attention.shape
        (torch.Size([2, 5, 20]), torch.Size([2, 5, 36]))
    """

    def __init__(
        self,
        slots: int = 7,
        dim: int = 64,
        *,
        iterations: int = 3,
        input_dim: int | None = None,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        # Its projections, norms, cell and first slots; the rounds are those below.
        self.core = SlotAttention(
            slots, dim, iterations=iterations, input_dim=input_dim, hidden=hidden
        )
        self.place = nn.Linear(2, dim)
        self.mix = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )

    def forward(
        self, inputs: Tensor, slots: int | None = None, *, rounds: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Slots with frames, (B, K, D + 4), and the last attention (B, K, N).

        Frames begin at a place drawn from the whole image, with a scale of about 0.1. Raises
        ValueError for inputs of another width or of no square grid, and fewer rounds than none.
        """
        core = self.core
        rounds = core.iterations if rounds is None else rounds
        side = round(inputs.shape[1] ** 0.5) if inputs.ndim == 3 else 0
        if side < 1 or side**2 != inputs.shape[1] or inputs.shape[2] != core.key.in_features:
            raise ValueError(
                f"inputs must be (B, N, {core.key.in_features}) of a square grid, "
                f"got {tuple(inputs.shape)}"
            )
        number = core.slots if slots is None else slots
        if number < 1 or rounds < 0:
            raise ValueError(f"slots must be at least 1 and rounds 0, got {number} and {rounds}")
        state = core.start(len(inputs), number)
        position = 2 * torch.rand_like(state[..., :2]) - 1
        scale = (0.1 + 0.1 * torch.randn_like(position)).clamp(SMALLEST, LARGEST)
        return self._attend(inputs, make_grid(side, inputs), (state, position, scale), rounds)

    def _attend(
        self, inputs: Tensor, grid: Tensor, first: tuple[Tensor, Tensor, Tensor], rounds: int
    ) -> tuple[Tensor, Tensor]:
        """The rounds for inputs at places (N, 2), from slots, positions and scales."""
        core, (state, position, scale) = self.core, first
        x = core.norm_inputs(inputs)
        key, value = core.key(x)[:, None], core.value(x)[:, None]  # (B, 1, N, D)
        for index in range(rounds + 1):
            offset = self.place(relate(grid, position, scale))  # (B, K, N, D)
            query = core.query(core.norm_slots(state)) * core.dim**-0.5
            logits = (self.mix(key + offset) @ query[..., None])[..., 0]
            if logits.dtype in (torch.float16, torch.bfloat16):
                logits = logits.float()
            # `compete` knows heads, of which there is one.
            attention, weights = (part[:, 0].to(x.dtype) for part in compete(logits[:, None]))
            position = weights @ grid
            spread = (grid - position[:, :, None]).square()
            variance = (weights[:, :, None] @ spread)[:, :, 0]
            scale = variance.clamp(SMALLEST**2, LARGEST**2).sqrt()  # no root of 0, which is steep
            if index < rounds:
                update = (weights[:, :, None] @ self.mix(value + offset))[:, :, 0]
                state = core.renew(update, state)
        return torch.cat([state, position, scale], -1), attention


class FrameDecoder(nn.Module):
    """`PixelDecoder` for slots with frames: a pixel is where it is seen from its slot.

    Args:
        dim: D.
        size: S.
        hidden: Hidden units.
        layers: Hidden layers.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import FrameDecoder
        >>> FrameDecoder(16, 8)(torch.rand(2, 3, 20)).shape
        torch.Size([2, 3, 4, 8, 8])
    """

    def __init__(self, dim: int, size: int, *, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.dim, self.size = dim, size
        self.slot = nn.Linear(dim, hidden, bias=False)
        self.place = nn.Linear(2, hidden)
        self.rest = pixel_layers(hidden, layers)

    def forward(self, slots: Tensor) -> Tensor:
        """(B, K, D + 4) -> colours and a mask logit (B, K, 4, S, S)."""
        state, position, scale = slots.split([self.dim, 2, 2], -1)
        seen = relate(make_grid(self.size, slots), position, scale.clamp(SMALLEST, LARGEST))
        decoded: Tensor = self.rest(self.slot(state)[:, :, None] + self.place(seen))
        return decoded.transpose(2, 3).unflatten(3, (self.size, self.size))


def make_grid(side: int, like: Tensor) -> Tensor:
    """The places of a square grid row by row, y and x from -1 to 1 with both ends: (side**2, 2)."""
    line = torch.linspace(-1, 1, side, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).flatten(0, 1)


def relate(grid: Tensor, position: Tensor, scale: Tensor) -> Tensor:
    """Places (N, 2) as seen from frames, positions and scales (B, K, 2): (B, K, N, 2)."""
    return (grid - position[:, :, None]) / (REACH * scale[:, :, None])
