"""How well slots are objects: adjusted Rand index, overlaps, and baselines that learn nothing.

B images, P pixels, G true objects, K predicted ones. Numbers of objects and slots are small, so all
is counted in tables (B, G, K).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from quire.papers.slot_attention.matching import match


def adjusted_rand_index(true: Tensor, predicted: Tensor, *, background: bool = False) -> Tensor:
    """The adjusted Rand index of each image, (B,) float64: 1 is the same division, 0 is chance.

    true and predicted: object numbers (B, ...) of one shape. Without `background`, pixels whose
    true number is 0 are left out, as in the paper. Where both have all pixels in one object it is
    1, and so it is where fewer than two pixels are left. Raises ValueError for other shapes.
    """
    table = _cross(true, predicted, background=background)
    pixels = table.sum((1, 2))
    same = _pairs(table).sum((1, 2))
    rows, columns = _pairs(table.sum(2)).sum(1), _pairs(table.sum(1)).sum(1)
    expected = rows * columns / _pairs(pixels).clamp(min=1)
    most = (rows + columns) / 2
    apart = most - expected
    alike = apart.abs() < 1e-9
    return torch.where(alike, 1.0, (same - expected) / torch.where(alike, 1.0, apart))


def mean_best_overlap(true: Tensor, predicted: Tensor) -> Tensor:
    """The mean best overlap (mBO) of each image's objects, (B,) float64.

    For every true object but the background, the largest intersection over union with any
    predicted one; two objects may name the same. It is 1 where there is no object. true and
    predicted: (B, ...) of one shape; raises ValueError otherwise.
    """
    overlap, there = _overlap(true, predicted)
    return _mean_over(there, overlap.amax(2))


def mean_iou(true: Tensor, predicted: Tensor) -> Tensor:
    """The mean intersection over union of each image's objects (mIoU), (B,) float64.

    As `mean_best_overlap`, but no two objects share a predicted one: they are matched so that the
    sum is largest. An object beyond the number of predicted ones has 0.
    """
    overlap, there = _overlap(true, predicted)
    lacking = max(0, overlap.shape[1] - overlap.shape[2])
    overlap = pad(overlap, (0, lacking))  # nobody's, so that every object gets one
    chosen = match(-overlap.transpose(1, 2))
    return _mean_over(there, overlap.gather(2, chosen[..., None])[..., 0])


def stripes(size: int, number: int) -> Tensor:
    """`number` upright stripes of equal width, (size, size): a division that sees no image."""
    column = torch.arange(size) * number // size
    return column.expand(size, -1)


def cluster_pixels(
    image: Tensor,
    number: int,
    *,
    steps: int = 20,
    place: float = 1.0,
    among: Tensor | None = None,
) -> Tensor:
    """K-means of the pixels' colours and places: (B, 3, S, S) -> cluster numbers (B, S, S).

    The first centres are as far from one another as a greedy choice finds, from the pixel that is
    farthest from the mean on; so there is no randomness.

    Args:
        image: (B, 3, S, S).
        number: K.
        steps: Rounds of Lloyd's algorithm.
        place: Weight of the two coordinates, which lie in [0, 1], beside the colours.
        among: Which pixels make up the clusters, bool (B, S, S); None is all of them. The others
            go to the nearest one.
    """
    batch, _, size, _ = image.shape
    line = place * torch.linspace(0, 1, size, device=image.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    x = torch.cat([image, grid.expand(batch, -1, -1, -1)], 1).flatten(2).transpose(1, 2)
    counts = x.new_ones(x.shape[:2]) if among is None else among.flatten(1).to(x.dtype)
    centres = _far_apart(x, counts, number)
    for _ in range(steps):
        member = one_hot(torch.cdist(x, centres).argmin(2), number) * counts[..., None]
        count = member.sum(1)[..., None]
        mean = member.transpose(1, 2) @ x / count.clamp(min=1)
        centres = torch.where(count > 0, mean, centres)
    return torch.cdist(x, centres).argmin(2).view(batch, size, size)


def _far_apart(x: Tensor, counts: Tensor, number: int) -> Tensor:
    middle = (x * counts[..., None]).sum(1, keepdim=True) / counts.sum(1).clamp(min=1)[
        :, None, None
    ]
    distance = (x - middle).square().sum(2)
    chosen: list[Tensor] = []
    for _ in range(number):
        index = (distance * counts).argmax(1)[:, None, None].expand(-1, 1, x.shape[2])
        chosen.append(x.gather(1, index))
        to_new = (x - chosen[-1]).square().sum(2)
        distance = to_new if len(chosen) == 1 else torch.minimum(distance, to_new)
    return torch.cat(chosen, 1)


def _overlap(true: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union (B, G - 1, K) of objects without background; which there are."""
    table = _cross(true, predicted, background=True)
    union = table.sum(2, keepdim=True) + table.sum(1, keepdim=True) - table
    return (table / union.clamp(min=1))[:, 1:], table.sum(2)[:, 1:] > 0


def _mean_over(there: Tensor, values: Tensor) -> Tensor:
    """The mean (B,) of values (B, G) of the objects that are there, 1 where there is none."""
    number = there.sum(1)
    return torch.where(number > 0, (values * there).sum(1) / number.clamp(min=1), 1.0)


def _cross(true: Tensor, predicted: Tensor, *, background: bool) -> Tensor:
    """How many pixels true object g and predicted object k share, (B, G, K) float64."""
    if true.shape != predicted.shape or true.ndim < 2:
        raise ValueError(
            f"true and predicted must have one shape (B, ...), "
            f"got {tuple(true.shape)} and {tuple(predicted.shape)}"
        )
    true, predicted = true.flatten(1), predicted.flatten(1)
    # Of no numbers at all `one_hot` cannot tell how many there may be.
    classes = -1 if true.numel() else 1
    left, right = one_hot(true, classes).double(), one_hot(predicted, classes).double()
    if not background:
        left = left * (true > 0)[..., None]
    return left.transpose(1, 2) @ right


def _pairs(count: Tensor) -> Tensor:
    return count * (count - 1)
