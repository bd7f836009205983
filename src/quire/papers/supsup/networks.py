"""The nets of the experiments: bias-free, with a normalisation that learns nothing.

Legend: B examples. A bias or a learned scale would be shared by all tasks, and would forget.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from quire.nn.residual import BasicBlock, Bottleneck, Conv, NormMaker

non_affine: NormMaker = partial(nn.BatchNorm2d, affine=False)
"""Batch normalisation without a scale and a shift; its running statistics belong to a task."""


def make_mlp(inputs: int, outputs: int, *, hidden: Sequence[int] = (300, 100)) -> nn.Sequential:
    """Linear layers without biases, and ReLU: x (B, ...) of `inputs` numbers -> (B, outputs).

    Args:
        inputs: Numbers of an example.
        outputs: Labels and superfluous outputs.
        hidden: Widths; 300 and 100 are LeNet 300-100, 1,024 and 1,024 the paper's larger net.

    >>> sum(p.numel() for p in make_mlp(784, 10).parameters())
    266200
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise((inputs, *hidden)):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], outputs, bias=False))


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 for masks: images (B, C, H, W) -> logits (B, outputs).

    Args:
        depth: 18 (basic blocks) or 50 (bottlenecks).
        outputs: Logits.
        width: Channels of the first stage: 20 is the narrow ResNet-18 of SplitCIFAR100, 64 the full
            one.
        stem: "small" is one 3x3 convolution; "large" a 7x7 one of stride 2 and max pooling, for
            images of 224 pixels.
        channels: C.

    Raises ValueError for another depth or stem.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import ResNet
        >>> net = ResNet(18, 5, width=4)
        >>> net(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        depth: Literal[18, 50],
        outputs: int,
        *,
        width: int = 64,
        stem: Literal["small", "large"] = "small",
        channels: int = 3,
    ) -> None:
        super().__init__()
        if depth not in (18, 50) or stem not in ("small", "large"):
            raise ValueError(
                f"depth must be 18 or 50 and stem 'small' or 'large', got {depth} and {stem!r}"
            )
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock if depth == 18 else Bottleneck
        counts = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
        size, stride = (3, 1) if stem == "small" else (7, 2)
        first = Conv(
            channels, width, kernel_size=size, stride=stride, norm=non_affine, activation=nn.ReLU
        )
        pool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(first, pool)
        blocks, inside = [], width
        for stage, count in enumerate(counts):
            for number in range(count):
                step = 2 if stage and number == 0 else 1
                made = block(
                    inside, width * 2**stage, stride=step, norm=non_affine, activation=nn.ReLU
                )
                blocks.append(made)
                inside = width * 2**stage * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.stem(x)).mean((2, 3))
        out: Tensor = self.head(features)
        return out


def count_weights(module: nn.Module) -> int:
    """Parameters of two or more dimensions: what masks are made of."""
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)
