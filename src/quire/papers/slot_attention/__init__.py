"""Slot Attention: inputs compete for slots, so that slots become objects.

To read it: `attention` (the module), `autoencoder` (object discovery), `sets` (set prediction),
`metrics` (how well slots are objects), `scenes` (pictures with true masks).
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.slot_attention.attention import (
    SlotAttention,
    Competition,
    Weighting,
    compete,
    compete_and_sum,
    attend_alone,
    GaussianStart,
    LearnedStart,
    Replace,
)
from quire.papers.slot_attention.autoencoder import (
    SlotAutoencoder,
    Decomposition,
    ImageEncoder,
    SoftPositions,
    PixelDecoder,
    BroadcastDecoder,
    SlotMLP,
)
from quire.papers.slot_attention.sets import (
    SetPredictor,
    Properties,
    pair_costs,
    match,
    set_loss,
    average_precision,
)
from quire.papers.slot_attention.metrics import (
    adjusted_rand_index,
    mean_iou,
    cluster_pixels,
    stripes,
)
from quire.papers.slot_attention.scenes import (
    Scenes,
    SceneMaker,
    Tetrominoes,
    Sprites,
    Solids,
    draw,
)

__all__ = [
    "SlotAttention",
    "Competition",
    "Weighting",
    "compete",
    "compete_and_sum",
    "attend_alone",
    "GaussianStart",
    "LearnedStart",
    "Replace",
    "SlotAutoencoder",
    "Decomposition",
    "ImageEncoder",
    "SoftPositions",
    "PixelDecoder",
    "BroadcastDecoder",
    "SlotMLP",
    "SetPredictor",
    "Properties",
    "pair_costs",
    "match",
    "set_loss",
    "average_precision",
    "adjusted_rand_index",
    "mean_iou",
    "cluster_pixels",
    "stripes",
    "Scenes",
    "SceneMaker",
    "Tetrominoes",
    "Sprites",
    "Solids",
    "draw",
]
