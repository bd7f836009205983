"""What the experiments share: scenes and nets as settings, the paper's schedule."""

from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from quire.lab import Group, Run
from quire.papers.slot_attention.attention import (
    Competition,
    LearnedStart,
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

    def maker(self, *, more: int = 0) -> SceneMaker:
        """What makes such scenes, with `more` objects than that."""
        fewest, most = self.fewest + more, self.most + more
        if self.kind == "tetrominoes":
            return Tetrominoes(self.size, self.cell, fewest, most, self.colouring)
        part = Sprites if self.kind == "sprites" else Solids
        return part(self.size, fewest, most, self.colouring)


class Attention(Group):
    """How places are divided among slots."""

    method: Literal["slots", "mlp"] = "slots"
    """Slot Attention, or one hidden layer from all places to all slots."""
    rounds: NonNegativeInt = 3
    """T."""
    competition: Literal["slots", "sum", "alone"] = "slots"
    """The paper's; its weighted sum without renormalisation; a softmax over inputs."""
    bias: bool = False
    """Biases of queries, keys and values."""
    cell: Literal["biased", "unbiased", "none"] = "biased"
    """A GRU with or without biases; or the update itself is the new slot."""
    start: Literal["drawn", "learned"] = "drawn"
    """Slots from one learned distribution, or a learned vector each."""


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


def make_encoder(net: Net) -> ImageEncoder:
    """The encoder of a net."""
    strides = [2 if 1 <= layer <= net.strided else 1 for layer in range(net.layers)]
    return ImageEncoder(net.channels, layers=net.layers, kernel=net.kernel, strides=strides)


def make_slots(attention: Attention, net: Net, size: int) -> nn.Module:
    """What divides the places of an image of side `size` among slots."""
    if attention.method == "mlp":
        side = size
        for _ in range(net.strided):
            side = -(-side // 2)
        return SlotMLP(side * side, net.channels, slots=net.slots, dim=net.dim)
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
    return SlotAttention(
        net.slots,
        net.dim,
        iterations=attention.rounds,
        input_dim=net.channels,
        hidden=net.hidden,
        bias=attention.bias,
        cell=cell,
        start=LearnedStart(net.slots, net.dim) if attention.start == "learned" else None,
        competition=competitions[attention.competition],
    )


def make_autoencoder(attention: Attention, net: Net, size: int) -> SlotAutoencoder:
    """Encoder, slots and decoder for images of side `size`."""
    decoder: nn.Module = PixelDecoder(net.dim, size, hidden=net.decoder_hidden)
    if net.doublings:
        start = size // 2**net.doublings
        decoder = BroadcastDecoder(net.dim, net.channels, start=start, doublings=net.doublings)
    return SlotAutoencoder(make_encoder(net), make_slots(attention, net, size), decoder)


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
