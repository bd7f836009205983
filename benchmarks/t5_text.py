"""Race of T5's objectives and batches against a plain pipeline of one example at a time.

`quire bench t5_text`, or alone: `python benchmarks/t5_text.py`. The peer is written as seqio's
preprocessors are: functions of one example, mapped over raw token rows that lie in the same mapped
file, here in NumPy (seqio itself needs tensorflow-text). Both give inputs and targets as int64
tensors. The parity test: lengths, masked share and merged text are those that the paper's
definitions give, for both.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quire.lab.bench import compare
from quire.papers.t5.lengths import raw_length
from quire.papers.t5.objectives import Ids, Objective, merge, random_spans, replace_spans
from quire.papers.t5.store import Chunks, write_tokens

ROWS, TOKENS, GOAL = 128, 4_000_000, 2.0
IDS = Ids()


def main() -> dict[str, Any]:
    """Span corruption and replaced spans from a token store, batches of 128 x 512."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        documents = np.split(rng.integers(3, 32_000, TOKENS), range(700, TOKENS, 700))
        store = write_tokens(documents, Path(folder) / "store", size=IDS.size)
        raw = raw_length(512).raw
        contests = {
            "span corruption": (random_spans(), raw, spans_alone),
            "replaced spans": (replace_spans(), 511, independent_alone),
        }
        races = []
        for name, (objective, length, draw) in contests.items():
            chunks = Chunks(store.stream, length)
            entry = {"name": name, "unit": "raw tokens per processor second", "goal": GOAL,
                     "parity": parity(objective, chunks, draw),
                     "parity_test": "both sides: inputs and targets merge to the raw tokens, and "
                     "the masked share is 15 %; of span corruption the lengths, too"}  # fmt: skip
            if entry["parity"]:
                entry |= timed(objective, chunks, draw)
            races.append(entry)
        return {"races": races}


def timed(objective: Objective, chunks: Chunks, draw: Any) -> dict[str, Any]:
    """Rates of batches, from the mapped file to tensors."""
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    step = iter(range(10**9))
    contestants = {
        "ours": lambda: objective(chunks.batch(next(step), ROWS), generator=generator),
        "peer": lambda: one_by_one(chunks, next(step), draw, rng),
    }
    # Both run on one thread: processor time, which others on the machine do not change.
    work = ROWS * chunks.rows.shape[1]
    return compare(contestants, work, repeats=15, warmup=3, clock=time.process_time)


def one_by_one(
    chunks: Chunks, step: int, draw: Any, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The peer's batch: each row by itself, then padded together."""
    inputs, targets = [], []
    for number in range(step * ROWS, (step + 1) * ROWS):
        tokens = np.asarray(chunks.rows[number % len(chunks)], np.int64)
        noise = draw(len(tokens), rng)
        inputs.append(np.append(to_sentinels(tokens, noise), IDS.eos))
        targets.append(np.append(to_sentinels(tokens, ~noise), IDS.eos))
    return padded(inputs), padded(targets)


def spans_alone(length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The mask of random spans for one example."""
    noise = min(max(round(length * 0.15), 1), length - 1)
    spans = max(round(noise / 3), 1)

    def parts(total: int) -> NDArray[np.int64]:
        first = rng.permutation(np.arange(total - 1) < spans - 1)
        return np.bincount(np.cumsum(np.append(0, first)), minlength=spans)

    sizes = np.stack([parts(length - noise), parts(noise)], 1).reshape(-1)
    begins = np.zeros(length, np.int64)
    begins[np.cumsum(sizes)[:-1]] = 1
    return np.cumsum(begins) % 2 == 1


def independent_alone(length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The mask of independent noise for one example."""
    return rng.random(length) < 0.15


def to_sentinels(tokens: NDArray[np.int64], noise: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each run of noise as a sentinel of its own."""
    before = np.append(False, noise[:-1])
    first = noise & ~before
    return np.where(first, IDS.size - np.cumsum(first), tokens)[~(noise & before)]


def padded(rows: list[NDArray[np.int64]]) -> torch.Tensor:
    """Rows as one tensor."""
    out = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for at, row in zip(out, rows, strict=True):
        at[: len(row)] = row
    return torch.from_numpy(out)


def parity(objective: Objective, chunks: Chunks, draw: Any) -> bool:
    """Whether both sides give what the definitions say, on one batch."""
    rows = chunks.batch(0, ROWS)
    first = torch.from_numpy(chunks.rows[:ROWS].astype(np.int64))
    sides = (
        (rows, objective(rows, generator=torch.Generator().manual_seed(1))),
        (first, one_by_one(chunks, 0, draw, np.random.default_rng(1))),
    )
    shapes, fine = set(), True
    for raw, (inputs, targets) in sides:
        pairs = zip(raw.tolist(), inputs.tolist(), targets.tolist(), strict=True)
        fine = fine and all(merge(a, b, ids=IDS) == row for row, a, b in pairs)
        noise = (targets > IDS.eos) & (targets < IDS.first_sentinel)
        fine = fine and abs(float(noise.sum()) / raw.numel() - 0.15) < 0.005
        shapes.add((inputs.shape[1], targets.shape[1]))
    return fine and (objective.lengths is None or len(shapes) == 1)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
