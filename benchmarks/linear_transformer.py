"""Races of linear attention: causal training against softmax and a compiled kernel; generation.

Every race begins with a parity test; where it fails, no time is reported. Run it with `quire bench
linear_transformer`, or alone: `python benchmarks/linear_transformer.py`.

The peer is fast-transformers (idiap/fast-transformers). It is taken as it is installed, or from the
checkout that QUIRE_FAST_TRANSFORMERS names; the kernel of a checkout is compiled once into torch's
folder of extensions. Without it the races against softmax are run alone.
"""

import importlib
import json
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.nn import Causal, Encoder, EncoderLayer, FeedForward, MultiHeadAttention
from quire.nn import softmax_attention as softmax
from quire.papers.linear_transformer import (
    LinearAttention,
    Recurrent,
    linear_attention,
    naive_linear_attention,
)

HEADS, WIDTH = 8, 64
LENGTHS = 1024, 4096, 16384
LAYERS, DIM, HIDDEN, TOKENS = 4, 512, 2048, 64
CLOCK = time.process_time
"""One thread: its CPU time is not disturbed by what else runs on the machine."""
KERNELS = (
    "aggregate.aggregate_cpu", "clustering.hamming.cluster_cpu", "hashing.hash_cpu",
    "local_product.local_product_cpu", "sparse_product.sparse_product_cpu",
    "sparse_product.clustered_sparse_product_cpu",
)  # fmt: skip
"""Compiled parts of the peer that these races do not call."""


def main() -> dict[str, Any]:
    """All races, on one thread."""
    torch.set_num_threads(1)
    peer = find_peer()
    races = [causal_race(length, peer) for length in LENGTHS]
    if peer:
        races += [generation_race(batch) for batch in (1, 16)]
    note = "" if peer else "fast-transformers is not here: set QUIRE_FAST_TRANSFORMERS"
    return {"races": races, "note": note}


def find_peer() -> bool:
    """Whether fast_transformers can be imported, after a checkout was made ready for it."""
    checkout = os.environ.get("QUIRE_FAST_TRANSFORMERS")
    if checkout:
        from torch.utils.cpp_extension import load

        source = Path(checkout) / "fast_transformers" / "causal_product" / "causal_product_cpu.cpp"
        flags = ["-fopenmp", "-ffast-math", "-O3"]
        kernel = load("causal_product_cpu", [str(source)], extra_cflags=flags)
        sys.path.insert(0, checkout)
        sys.modules["fast_transformers.causal_product.causal_product_cpu"] = kernel
        for name in KERNELS:
            module = types.ModuleType(f"fast_transformers.{name}")
            module.__getattr__ = lambda _: None  # type: ignore[method-assign]
            sys.modules[module.__name__] = module
    try:
        importlib.import_module("fast_transformers.builders")
    except ImportError:
        return False
    return True


def causal_race(length: int, peer: bool) -> dict[str, Any]:
    """Forward and backward of causal attention, float32, one sequence."""
    torch.manual_seed(0)
    inputs = torch.randn(3, 1, HEADS, length, WIDTH)

    def training(attend: Callable[..., Tensor], layout: Callable[[Tensor], Tensor]) -> Any:
        q, k, v = (layout(x).contiguous().requires_grad_() for x in inputs)
        return lambda: torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))

    contestants = {
        "ours": training(lambda q, k, v: linear_attention(q, k, v, causal=True), nn.Identity()),
        "softmax": training(lambda q, k, v: softmax(q, k, v, Causal()), nn.Identity()),
    }
    part = inputs[..., : min(length, 2048), :]
    with torch.no_grad():
        ours = linear_attention(*part, causal=True)
        difference = gap(ours, naive_linear_attention(*part, Causal()))
    if peer:
        theirs = their_attention(length)
        contestants["peer"] = training(theirs, lambda x: x.transpose(1, 2))
        with torch.no_grad():
            whole = linear_attention(*inputs, causal=True)
            difference = max(
                difference, gap(theirs(*inputs.transpose(2, 3)).transpose(1, 2), whole)
            )
    result: dict[str, Any] = {
        "name": f"causal attention, forward and backward, {length} tokens, 8 heads of 64, against "
        + ("fast-transformers' compiled kernel" if peer else "softmax"),
        "unit": "tokens/s",
        "goal": 1.0,
        "parity": difference <= 1e-4,
        "parity_test": f"outputs differ by {difference:.1e} at most from every pair weighed"
        + (" and from the peer's" if peer else ""),
    }
    if not result["parity"]:
        return result
    if not peer:
        contestants["peer"] = contestants.pop("softmax")
    repeats = 9 if length < 16384 else 3
    return result | compare(
        contestants, length, repeats=repeats, warmup=int(repeats > 3), clock=CLOCK
    )


def their_attention(length: int) -> Callable[..., Tensor]:
    """The peer's causal linear attention: (B, T, H, K) tensors."""
    from fast_transformers.attention import CausalLinearAttention
    from fast_transformers.masking import LengthMask, TriangularCausalMask

    attention = CausalLinearAttention(WIDTH)
    mask, lengths = types.SimpleNamespace(lower_triangular=True), LengthMask(torch.tensor([length]))
    assert TriangularCausalMask(2).lower_triangular  # the real one holds length^2 numbers
    return lambda q, k, v: attention(q, k, v, mask, lengths, lengths)


def generation_race(batch: int) -> dict[str, Any]:
    """64 tokens one after the other, from copied weights."""
    from fast_transformers.builders import RecurrentEncoderBuilder

    torch.manual_seed(0)
    peer = RecurrentEncoderBuilder.from_kwargs(
        n_layers=LAYERS, n_heads=HEADS, query_dimensions=DIM // HEADS,
        value_dimensions=DIM // HEADS, feed_forward_dimensions=HIDDEN, attention_type="linear",
        dropout=0.0,
    ).get().eval()  # fmt: skip
    encoder = our_encoder(peer)
    half = torch.bfloat16
    quick = {
        "ours": Recurrent(encoder, batch=batch),
        "ours_bfloat16": Recurrent(encoder, dtype=half, batch=batch),
        "encoder": encoder,
    }
    x = torch.randn(TOKENS, batch, 1, DIM)

    def ours(extend: Callable[..., Any]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            state = None
            with torch.inference_mode():
                for token in x:
                    out, state = extend(token, state)
            return out[:, 0]

        return run

    def theirs() -> Tensor:
        state = None
        with torch.inference_mode():
            for token in x[:, :, 0]:
                out, state = peer(token, state)
        return out

    contestants = {name: ours(model.extend) for name, model in quick.items()} | {"peer": theirs}
    last = theirs()
    difference, rounded = (gap(contestants[name](), last) for name in ("ours", "ours_bfloat16"))
    result: dict[str, Any] = {
        "name": f"generation, 4 layers of width 512, batch {batch}, "
        "against fast-transformers' recurrent encoder",
        "unit": "tokens/s",
        "goal": 2.0,
        "parity": difference <= 1e-4 and rounded <= 0.1,
        "parity_test": f"after {TOKENS} tokens outputs differ by {difference:.1e} at most in "
        f"float32 and by {rounded:.1e} with bfloat16 weights",
    }
    if not result["parity"]:
        return result
    return result | compare(contestants, batch * TOKENS, repeats=15, warmup=1, clock=CLOCK)


def our_encoder(peer: Any) -> Encoder:
    """An `Encoder` with the peer's weights."""
    layers = []
    for theirs in peer.layers:
        attention = MultiHeadAttention(DIM, HEADS, kernel=LinearAttention(), bias=True)
        layer = EncoderLayer(DIM, attention, feed_forward=FeedForward(DIM, HIDDEN), norm="post")
        for ours, name in (
            (attention.query, "attention.query_projection"),
            (attention.key, "attention.key_projection"),
            (attention.value, "attention.value_projection"),
            (attention.output, "attention.out_projection"),
            (layer.feed_forward[0], "linear1"),
            (layer.feed_forward[3], "linear2"),
            (layer.attention_residual.norm, "norm1"),
            (layer.feed_forward_residual.norm, "norm2"),
        ):
            ours.load_state_dict(theirs.get_submodule(name).state_dict())
        layers.append(layer)
    encoder = Encoder(layers, final_norm=nn.LayerNorm(DIM))
    encoder.final_norm.load_state_dict(peer.norm.state_dict())
    return encoder.eval()


def gap(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    return float((a - b).abs().max())


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
