"""Races of BigBird: the encoder against transformers' block-sparse one and against full attention.

Every race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
bigbird`, or alone: `python benchmarks/bigbird.py`.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quire.lab.bench import compare
from quire.nn import softmax_attention
from quire.papers.bigbird import (
    BigBird,
    BigBirdMask,
    BigBirdPattern,
    bigbird_attention,
    from_transformers,
)

LENGTH, DIM, HEADS, LAYERS, WORDS = 4096, 768, 12, 2, 1000
PATTERN = BigBirdPattern(block=64, random=3, random_tokens=1024)
LENGTHS = (1024, 2048, 4096, 8192, 16384)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time


def main() -> dict[str, Any]:
    """All races."""
    return {"races": [against_transformers(), against_full(), *attention_by_length()]}


def against_transformers() -> dict[str, Any]:
    """Forward and backward of two layers on copied weights, with the random blocks it drew.

    Both in training mode with all dropout 0: in evaluation transformers' own plan is degenerate.
    """
    from transformers import BigBirdConfig, BigBirdModel

    torch.manual_seed(0)
    config = BigBirdConfig(
        vocab_size=WORDS,
        num_hidden_layers=LAYERS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = BigBirdModel(config, add_pooling_layer=False).to(DEVICE).train()
    ours = from_transformers(config.to_dict(), theirs.state_dict()).to(DEVICE)
    state = np.random.get_state()
    result = model_race(
        f"BigBird encoder, {LAYERS} layers, {LENGTH} tokens, against transformers' block_sparse",
        {"ours": ours, "peer": lambda words: theirs(words).last_hidden_state},
        goal=1.5,
    )
    np.random.set_state(state)  # theirs seeds NumPy's global generator at every forward pass
    return result


def against_full() -> dict[str, Any]:
    """The same encoder with full attention by torch's fused kernel.

    The parity test takes both as one function: the sparse pattern as a dense mask.
    """
    torch.manual_seed(0)
    ours, peer = model(PATTERN), model(None)
    # Without the patterns, which full attention has none of.
    weights = {name: t for name, t in ours.state_dict().items() if ".kernel." not in name}
    peer.load_state_dict(weights)
    dense = model(None)
    dense.load_state_dict(weights)
    for layer, sparse in zip(dense.layers, ours.layers, strict=True):
        layer.attention.kernel = masked(sparse.attention.kernel.pattern)
    words = torch.randint(WORDS, (1, LENGTH)).to(DEVICE)
    with torch.no_grad():
        difference = float((ours(words) - dense(words)).abs().max())
    del dense
    return model_race(
        f"BigBird encoder, {LAYERS} layers, {LENGTH} tokens, against the same with full attention "
        "by scaled_dot_product_attention",
        {"ours": ours, "peer": peer},
        goal=1.0,
        difference=difference,
    )


def masked(pattern: BigBirdPattern) -> Callable[..., Tensor]:
    """Full attention behind the pattern's dense mask."""

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: None) -> Tensor:
        return softmax_attention(q, k, v, BigBirdMask(pattern, q.shape[2], q.shape[1]).to(q.device))

    return attend


def model(pattern: BigBirdPattern | None) -> BigBird:
    """Two layers of the base size."""
    return BigBird(WORDS, DIM, layers=LAYERS, heads=HEADS, pattern=pattern, dropout=0.0).to(DEVICE)


def model_race(
    name: str,
    sides: dict[str, Callable[[Tensor], Tensor]],
    *,
    goal: float,
    difference: float | None = None,
) -> dict[str, Any]:
    """Outputs first, then forward and backward passes, one sequence each."""
    words = torch.randint(WORDS, (1, LENGTH), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    if difference is None:
        with torch.no_grad():
            outputs = [side(words) for side in sides.values()]
        difference = float((outputs[0] - outputs[1]).abs().max())
    result: dict[str, Any] = {
        "name": name,
        "unit": "tokens/s",
        "goal": goal,
        "parity": difference <= 1e-4,
        "parity_test": f"outputs on copied weights differ by {difference:.1e} at most",
    }
    if not result["parity"]:
        return result

    def step(side: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        def call() -> None:
            side(words).square().mean().backward()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()

        return call

    contestants = {key: step(side) for key, side in sides.items()}
    return result | compare(contestants, LENGTH, repeats=3, warmup=1, clock=CLOCK)


def attention_by_length() -> list[dict[str, Any]]:
    """Attention alone, forwards and backwards, one head of 64, against full attention."""
    races = []
    for length in LENGTHS:
        torch.manual_seed(0)
        q, k, v = (torch.randn(1, 1, length, 64, device=DEVICE) for _ in range(3))
        pattern = BigBirdPattern()
        with torch.no_grad():
            few = tuple(t[:, :, :1024] for t in (q, k, v))
            dense = softmax_attention(*few, BigBirdMask(pattern, 1024).to(DEVICE))
            difference = float((bigbird_attention(*few, pattern) - dense).abs().max())
        result: dict[str, Any] = {
            "name": f"attention alone, 1 head of 64, {length} tokens, against "
            "scaled_dot_product_attention",
            "unit": "tokens/s",
            "goal": 1.0,
            "parity": difference <= 1e-4,
            "parity_test": f"1,024 tokens behind the dense mask differ by {difference:.1e} at most",
        }
        if result["parity"]:
            inputs = [t.requires_grad_() for t in (q, k, v)]

            def ours(inputs: list[Tensor] = inputs, pattern: BigBirdPattern = pattern) -> None:
                bigbird_attention(*inputs, pattern).sum().backward()

            def peer(inputs: list[Tensor] = inputs) -> None:
                softmax_attention(*inputs).sum().backward()

            repeats = 9 if length <= 4096 else 3
            result |= compare(
                {"ours": ours, "peer": peer}, length, repeats=repeats, warmup=1, clock=CLOCK
            )
        races.append(result)
    return races


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
