"""The pattern at the paper's sizes, and the constructions of the paper's proofs."""

import itertools

import torch

from quire.lab import Config, Metrics, Run
from quire.papers.bigbird.experiments.figures import draw_pattern
from quire.papers.bigbird.heads import Pooler
from quire.papers.bigbird.model import BigBird
from quire.papers.bigbird.pattern import BigBirdPattern
from quire.papers.bigbird.theory import (
    contextual_mapping,
    measure_graph,
    run_on_graph,
    run_on_tape,
    star_graph,
    tape_graph,
)

TURING_STEPS = 60
"""Steps of the Turing machines: the graph of the tape lookup has 1,830 nodes then."""

BUSY_BEAVER = {
    ("a", 0): ("b", 1, 1), ("a", 1): ("c", 1, -1), ("b", 0): ("a", 1, -1), ("b", 1): ("b", 1, 1),
    ("c", 0): ("b", 1, -1), ("c", 1): ("halt", 1, 1),
    ("halt", 0): ("halt", 0, 0), ("halt", 1): ("halt", 1, 0),
}  # fmt: skip
COUNTER = {
    ("left", 0): ("right", 1, 1), ("left", 1): ("left", 0, -1),
    ("right", 0): ("left", 0, -1), ("right", 1): ("right", 1, 1),
}  # fmt: skip

PARTS = {"r": (0, 3, 0), "w": (3, 0, 0), "rw": (3, 3, 0), "wg": (3, 0, 2), "rwg": (3, 3, 2)}
"""Window, random and global blocks of the graphs that are compared."""


def constructions(config: Config, run: Run) -> Metrics:
    """Counts, densities, diameters; the tape lookup and the contextual mapping."""
    run.figure("pattern", draw_pattern(BigBirdPattern(seed=run.seed), 4096))
    return _count_at_paper_size(run.seed) | _measure_graphs(run.seed) | _check_proofs()


def _count_at_paper_size(seed: int) -> Metrics:
    """Pairs of blocks, blocks drawn twice, parameters."""
    pattern = BigBirdPattern(seed=seed)
    with torch.device("meta"):
        parts = BigBird(), Pooler(768)
        parameters = sum(p.numel() for part in parts for p in part.parameters())
    plan = pattern.plan(4096, 12)[:, 1:-1]
    twice = sum(len(row) - len(set(row.tolist())) for head in plan for row in head)
    return {
        "key_blocks": float(pattern.table(4096, 12).sum((1, 2)).mean()),
        "duplicates": float(twice),
        "parameters": float(parameters),
    }


def _measure_graphs(seed: int) -> Metrics:
    """Diameters and spectral gaps of the parts alone and together, at several sizes."""
    metrics: Metrics = {"star_diameter": measure_graph(star_graph(64)).diameter}
    for count in (32, 64, 256):
        for name, (window, random, ends) in PARTS.items():
            table = BigBirdPattern(1, window, random, ends, seed).table(count)[0]
            measured = measure_graph(table)
            # Random blocks alone may leave a block that none attends to: no finite diameter.
            metrics[f"{name}_{count}_diameter"] = min(measured.diameter, 1e6)
            metrics[f"{name}_{count}_gap"] = measured.spectral_gap
        metrics[f"density_{count}"] = float(table.mean())
    return metrics


def _check_proofs() -> Metrics:
    """Steps that the tape lookup gets wrong, and codes that two tokens share."""
    wrong = sum(
        a != b
        for machine, state in ((BUSY_BEAVER, "a"), (COUNTER, "left"))
        for a, b in zip(
            run_on_graph(machine, state, TURING_STEPS),
            run_on_tape(machine, state, TURING_STEPS),
            strict=True,
        )
    )
    codes = [
        code
        for tokens in itertools.product(range(3), repeat=5)
        for code in contextual_mapping(tokens, 3)
    ]
    graph = tape_graph(TURING_STEPS)
    return {
        "turing_mismatches": float(wrong),
        "turing_edges": float(graph.size / len(graph)),
        "code_collisions": float(len(codes) - len(set(codes))),
    }
