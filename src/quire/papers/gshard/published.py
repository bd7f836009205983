"""The paper's models in numbers (tables 1 to 3, appendix A.2), and what a token costs.

M width, H hidden width, E experts of a layer, L layers, encoder and decoder together.
"""

from dataclasses import dataclass

VOCABULARY = 64_000 + 32_000
"""Entries of the source's and the target's tables."""
ATTENTION = 16 * 128
"""Heads times the width of their keys and values."""


@dataclass(frozen=True)
class Size:
    """A model of the family, and what is printed of it.

    experts, layers: E and L. billions: parameters. core_years, bleu, days: table 3. tokens:
    billions to a training cross-entropy of 0.7, 0.6 and 0.5, None where it was not reached (table
    2).
    """

    experts: int
    layers: int
    billions: float
    core_years: float | None = None
    bleu: float | None = None
    days: float | None = None
    tokens: tuple[int | None, int | None, int | None] = (None, None, None)


FAMILY = (
    Size(2048, 36, 600, 22.4, 44.3, 4.0, (82, 175, 542)),
    Size(2048, 12, 200, 7.5, 41.3, 1.4, (176, 484, 1780)),
    Size(512, 36, 150, 15.5, 43.7, 11.0, (66, 170, 567)),
    Size(512, 12, 50, 4.9, 40.0, 3.5, (141, 486, None)),
    Size(128, 36, 37, 6.1, 39.0, 17.3, (321, 1074, None)),
    Size(128, 12, 12.5, 1.9, 36.7, 5.4, (995, None, None)),
    Size(2048, 60, 1000),
)


def count_parameters(
    experts: int, layers: int, *, dim: int = 1024, hidden: int = 8192, only_experts: bool = False
) -> int:
    """Weights of a model of the family, without biases and norms.

    Every other layer has E experts; the first half of the layers is the encoder. With
    `only_experts` the experts alone, 2 M H E L / 2.

    Args:
        experts: E.
        layers: L.
        dim: M.
        hidden: H.
        only_experts: Leaves out gates, dense parts, attention and embeddings.

    Example:
        >>> from quire.papers.gshard import count_parameters
        >>> round(count_parameters(2048, 36, only_experts=True) / 1e9, 1)
        618.5
    """
    found = 2 * dim * hidden * experts * layers // 2
    if only_experts:
        return found
    gates = dim * experts * layers // 2
    dense = 2 * dim * hidden * layers // 2
    # Queries, keys, values and outputs: once in the encoder, twice in the decoder.
    attention = (4 + 8) * dim * ATTENTION * layers // 2
    return found + gates + dense + attention + VOCABULARY * dim


def count_products(dim: int, hidden: int, *, experts: int = 0, choices: int = 1) -> int:
    """Multiplications of a token in a feed-forward part, 2 M H for each choice, and M E of a gate.

    Args:
        dim: M.
        hidden: H of each expert, or of a dense part.
        experts: E; 0 is a dense part without a gate.
        choices: Experts that a token asks.

    Example:
        >>> from quire.papers.gshard import count_products
        >>> count_products(32, 32, experts=16, choices=2), count_products(32, 72)
        (4608, 4608)
    """
    return 2 * dim * hidden * choices + dim * experts
