"""What the experiments share: scenes and nets as settings, the paper's schedule."""

from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from quire.lab import Group, Run
from quire.lab.training import cosine_decay
from quire.papers.slot_attention.attention import (
    Competition,
    LearnedStart,
    QueryStart,
    Replace,
    SlotAttention,
    attend_alone,
    compete,
    compete_and_sum,
    initialise_as_reference,
)
from quire.papers.slot_attention.autoencoder import (
    BroadcastDecoder,
    ImageEncoder,
    PixelDecoder,
    SlotAutoencoder,
    SlotMLP,
)
from quire.papers.slot_attention.frames import FrameDecoder, InvariantSlotAttention
from quire.papers.slot_attention.published import SOURCES, read_published
from quire.papers.slot_attention.scenes import (
    Colouring,
    SceneMaker,
    Scenes,
    Solids,
    Sprites,
    Tetrominoes,
    draw,
)

CHUNK = 64
"""Scenes that are rendered or evaluated at once."""


class Scene(Group):
    """What is on the images."""

    kind: Literal["tetrominoes", "sprites", "solids"] = "tetrominoes"
    """Which objects."""
    size: PositiveInt = 35
    """Pixels of a side."""
    cell: PositiveInt = 5
    """Pixels of the side of a tetromino's cell."""
    fewest: PositiveInt = 3
    """Fewest objects."""
    most: PositiveInt = 3
    """Most objects."""
    colouring: Colouring = "any"
    """Whether objects have colours of their own, one a scene, or none."""
    data: Literal["made", "published"] = "made"
    """Scenes that are made here, or the published images: Tetrominoes, Multi-dSprites, CLEVR."""

    def maker(self, *, more: int = 0) -> SceneMaker:
        """What makes such scenes, with `more` objects than that. Raises ValueError where they are
        published."""
        if self.data == "published":
            raise ValueError("published scenes are read, not made: scene.data must be 'made' here")
        fewest, most = self.fewest + more, self.most + more
        if self.kind == "tetrominoes":
            return Tetrominoes(self.size, self.cell, fewest, most, self.colouring)
        part = Sprites if self.kind == "sprites" else Solids
        return part(self.size, fewest, most, self.colouring)


class Attention(Group):
    """How places are divided among slots."""

    method: Literal["slots", "mlp", "invariant"] = "slots"
    """Slot Attention, one hidden layer from all places to all slots, or slots with frames."""
    rounds: NonNegativeInt = 3
    """T."""
    competition: Literal["slots", "sum", "alone"] = "slots"
    """The paper's; its weighted sum without renormalisation; a softmax over inputs."""
    bias: bool = False
    """Biases of queries, keys and values."""
    cell: Literal["biased", "unbiased", "none"] = "biased"
    """A GRU with or without biases; or the update itself is the new slot."""
    norms: Literal["both", "inputs", "slots"] = "both"
    """Which of the two LayerNorms before a round there are."""
    mlp: bool = True
    """Whether there is a network after the cell."""
    start: Literal["drawn", "learned", "queries"] = "drawn"
    """Slots from one learned distribution, a learned vector each, or such vectors with noise."""


class Net(Group):
    """The sizes of a net."""

    slots: PositiveInt = 4
    """K."""
    dim: PositiveInt = 64
    """D, the width of a slot."""
    channels: PositiveInt = 32
    """Channels of the encoder, and of a decoder by convolutions."""
    layers: PositiveInt = 4
    """Convolutions of the encoder."""
    kernel: PositiveInt = 5
    """Their side."""
    strided: NonNegativeInt = 0
    """How many of them, from the second on, have stride 2."""
    hidden: PositiveInt = 128
    """Hidden units of the network in a slot."""
    decoder_hidden: PositiveInt = 64
    """Hidden units of the decoder by pixels."""
    doublings: NonNegativeInt = 0
    """Transposed convolutions of the decoder; 0 is the decoder by pixels."""


def make_encoder(net: Net, positions: nn.Module | None = None) -> ImageEncoder:
    """The encoder of a net; `positions` in place of the paper's."""
    strides = [2 if 1 <= layer <= net.strided else 1 for layer in range(net.layers)]
    return ImageEncoder(
        net.channels, layers=net.layers, kernel=net.kernel, strides=strides, positions=positions
    )


def make_slots(attention: Attention, net: Net, size: int) -> nn.Module:
    """What divides the places of an image of side `size` among slots."""
    if attention.method == "mlp":
        side = size
        for _ in range(net.strided):
            side = -(-side // 2)
        return SlotMLP(side * side, net.channels, slots=net.slots, dim=net.dim)
    if attention.method == "invariant":
        return InvariantSlotAttention(
            net.slots, net.dim, iterations=attention.rounds, input_dim=net.channels,
            hidden=net.hidden,
        )  # fmt: skip
    competitions: dict[str, Competition] = {
        "slots": compete,
        "sum": compete_and_sum,
        "alone": attend_alone,
    }
    cells: dict[str, nn.Module] = {
        "biased": nn.GRUCell(net.dim, net.dim),
        "unbiased": nn.GRUCell(net.dim, net.dim, bias=False),
        "none": Replace(),
    }
    cell = cells[attention.cell]
    initialise_as_reference(cell)
    start: nn.Module | None = None
    if attention.start != "drawn":
        kind = LearnedStart if attention.start == "learned" else QueryStart
        start = kind(net.slots, net.dim)
    part = SlotAttention(
        net.slots,
        net.dim,
        iterations=attention.rounds,
        input_dim=net.channels,
        hidden=net.hidden if attention.mlp else None,
        bias=attention.bias,
        cell=cell,
        start=start,
        competition=competitions[attention.competition],
    )
    if attention.norms == "slots":
        part.norm_inputs = nn.Identity()
    elif attention.norms == "inputs":
        part.norm_slots = nn.Identity()
    return part


def make_autoencoder(attention: Attention, net: Net, size: int) -> SlotAutoencoder:
    """Encoder, slots and decoder for images of side `size`."""
    decoder: nn.Module = PixelDecoder(net.dim, size, hidden=net.decoder_hidden)
    if net.doublings:
        start = size // 2**net.doublings
        decoder = BroadcastDecoder(net.dim, net.channels, start=start, doublings=net.doublings)
    positions = None
    if attention.method == "invariant":
        if net.doublings:
            raise ValueError("slots with frames have a decoder by pixels: net.doublings must be 0")
        decoder = FrameDecoder(net.dim, size, hidden=net.decoder_hidden)
        positions = nn.Identity()
    encoder = make_encoder(net, positions)
    return SlotAutoencoder(encoder, make_slots(attention, net, size), decoder)


def lower_noise(net: SlotAutoencoder, step: int, steps: int) -> None:
    """Set the noise on learned queries, if there is any: half a cosine to none in `steps`."""
    slots = net.slots
    if isinstance(slots, SlotAttention) and isinstance(slots.start, QueryStart):
        slots.start.deviation.fill_(cosine_decay(min(step, steps), steps) if steps else 0.0)


def find_scenes(scene: Scene, test_images: int, run: Run) -> tuple[SceneMaker, Scenes]:
    """What scenes for training come from, and those of the test.

    Raises ValueError where published ones are asked for otherwise than they are, and DataMissing
    where they are not here.
    """
    if scene.data == "made":
        maker = scene.maker()
        return maker, draw_test_scenes(maker, test_images, run, "test")
    side = SOURCES[scene.kind].side
    if scene.size != side or scene.colouring != "any":
        raise ValueError(
            f"published {scene.kind} have {side} pixels a side and colouring 'any', "
            f"got {scene.size} and '{scene.colouring}'"
        )
    return read_published(
        run.data, scene.kind, fewest=scene.fewest, most=scene.most,
        test=test_images, device=run.device,
    )  # fmt: skip


def draw_test_scenes(maker: SceneMaker, number: int, run: Run, name: str) -> Scenes:
    """`number` scenes of the stream `name` on the run's device, rendered in chunks."""
    draws = draw(number, maker.most, run.rng(name)).to(run.device)
    parts = [maker.render(chunk) for chunk in draws.split(CHUNK)]
    return Scenes(*(torch.cat(column) for column in zip(*parts, strict=True)))


def scheduled(step: int, warm_up: int, half_life: int) -> float:
    """What the rate is multiplied with: a rise from 0, and a fall by half that begins at step 0."""
    return float(min(1.0, step / max(1, warm_up)) * 0.5 ** (step / half_life))


def divide(masks: Tensor) -> Tensor:
    """The slot (B, S, S) that claims each pixel most, from masks (B, K, S, S)."""
    return masks.argmax(1)
