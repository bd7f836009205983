"""Slot Attention: inputs compete for slots, so that slots become objects.

To read it: `attention` (the module), `autoencoder` (object discovery), `sets` (set prediction),
`matching` (which prediction is which object), `dspn` (its baseline), `metrics` (how well slots are
objects), `scenes` (pictures with true masks), `published` (the paper's own), `frames` (a later
variant) and `package` (weights of PyPI's `slot-attention`).
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
    QueryStart,
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
    set_loss,
    average_precision,
)
from quire.papers.slot_attention.matching import match, match_by_subsets
from quire.papers.slot_attention.dspn import DSPN, FoundSet, SetEncoder
from quire.papers.slot_attention.metrics import (
    adjusted_rand_index,
    mean_best_overlap,
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
from quire.papers.slot_attention.published import Published, read_published
from quire.papers.slot_attention.frames import FrameDecoder, InvariantSlotAttention
from quire.papers.slot_attention.package import from_package

__all__ = [
    "SlotAttention",
    "Competition",
    "Weighting",
    "compete",
    "compete_and_sum",
    "attend_alone",
    "GaussianStart",
    "LearnedStart",
    "QueryStart",
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
    "set_loss",
    "average_precision",
    "match",
    "match_by_subsets",
    "DSPN",
    "FoundSet",
    "SetEncoder",
    "adjusted_rand_index",
    "mean_best_overlap",
    "mean_iou",
    "cluster_pixels",
    "stripes",
    "Scenes",
    "SceneMaker",
    "Tetrominoes",
    "Sprites",
    "Solids",
    "draw",
    "Published",
    "read_published",
    "FrameDecoder",
    "InvariantSlotAttention",
    "from_package",
]
