"""Races of T5-small: greedy generation and a training step, against transformers on copied weights;
and a step of the paper's short targets against one of whole texts as targets.

Weights are random and no output ends before its last token. Each race begins with a parity test:
the same tokens, or the same loss and gradients; where it fails, no time is reported. Run it with
`quire bench t5`, or alone: `python benchmarks/t5.py`. The text half is `benchmarks/t5_text.py`.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quire.lab.bench import compare
from quire.papers.t5 import T5, AdaFactor, bert_style, from_transformers, generate, random_spans

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
"""On a CPU one thread's own time, which other work on the machine disturbs less."""
BATCH, NEW = 8, 64
"""Rows, and tokens that each of them gets."""


def main() -> dict[str, Any]:
    """Generation from short and from full inputs, and a training step; one thread, all eager."""
    torch.set_num_threads(1)
    theirs, ours = models()
    short, full = (generation_race(theirs, ours, length) for length in (32, 512))
    step = training_race(theirs, ours, rows=2)
    return {"races": [short, full, step, objective_race(ours, rows=2)]}


def models() -> tuple[Any, T5]:
    """transformers' T5-small and ours with its weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(  # type: ignore[call-arg]
        vocab_size=32_128, d_model=512, d_ff=2048, num_heads=8, num_layers=6, d_kv=64,
        dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip
    theirs: Any = T5ForConditionalGeneration(config)
    theirs = theirs.to(DEVICE).eval()
    with torch.no_grad():
        # Their logits are 0 and never the largest: no output is padding or ends.
        theirs.shared.weight[:2] = 0.0
    return theirs, from_transformers(config.to_dict(), theirs.state_dict()).to(DEVICE).eval()


def generation_race(theirs: Any, ours: T5, length: int) -> dict[str, Any]:
    """New tokens a second; both keep all keys and values, and take the likeliest token."""
    inputs = draw(BATCH, length)
    seen = torch.ones_like(inputs)

    def peer() -> Tensor:
        found: Tensor = theirs.generate(
            input_ids=inputs, attention_mask=seen, max_new_tokens=NEW, do_sample=False
        )
        return waited(found[:, 1:])

    def own() -> Tensor:
        return waited(generate(ours, inputs, NEW))

    mine, his = own(), peer()
    same = mine.shape == his.shape and bool((mine == his).all())
    whole = bool((mine != 0).all())
    result: dict[str, Any] = {
        "name": f"greedy generation, T5-small, batch {BATCH}, {length} tokens in, {NEW} out: "
        "against transformers",
        "unit": "tokens/s",
        "goal": 2.0,
        "parity": same and whole,
        "parity_test": f"on copied weights all {BATCH * NEW} tokens are the same: {same}; no "
        f"output ended early: {whole}",
    }
    if not result["parity"]:
        return result
    return result | compare(
        {"ours": own, "peer": peer}, BATCH * NEW, repeats=5, warmup=1, clock=CLOCK
    )


def training_race(theirs: Any, ours: T5, *, rows: int) -> dict[str, Any]:
    """Input tokens a second of a step of AdaFactor on span corruption's lengths, 512 and 114."""
    from transformers.optimization import Adafactor

    inputs, targets = draw(rows, 512), draw(rows, 114, seed=1)
    theirs.train()
    ours.train()
    pair = {
        "ours": (lambda: ours.loss(inputs, targets), AdaFactor(ours.parameters(), lr=1e-3)),
        "peer": (
            lambda: theirs(input_ids=inputs, labels=targets).loss,
            Adafactor(theirs.parameters(), lr=1e-3, relative_step=False, warmup_init=False),
        ),
    }
    losses, apart = {}, 0.0
    for side, (loss, optimizer) in pair.items():
        optimizer.zero_grad()
        losses[side] = loss()
        losses[side].backward()
    mine, his = ours.table.weight.grad, theirs.shared.weight.grad
    assert mine is not None
    apart = float((mine - his).abs().max() / his.abs().max())
    difference = float((losses["ours"] - losses["peer"]).detach().abs())
    result: dict[str, Any] = {
        "name": f"training step, T5-small, {rows} x 512 tokens in, 114 out, AdaFactor: against "
        "transformers",
        "unit": "tokens/s",
        "goal": 1.0,
        "parity": difference <= 1e-4 and apart <= 1e-3,
        "parity_test": f"losses differ by {difference:.1e}, gradients of the embedding by "
        f"{apart:.1e} of the largest",
    }
    if not result["parity"]:
        return result

    contestants = {side: training_step(*parts) for side, parts in pair.items()}
    return result | compare(contestants, rows * 512, repeats=5, warmup=1, clock=CLOCK)


def objective_race(model: T5, *, rows: int) -> dict[str, Any]:
    """Texts a second of a step on random spans against one on BERT-style noise (section 3.1.4).

    Inputs are 512 tokens in both. A text of the spans has 568 raw tokens, one of the others 511:
    that is not counted.
    """
    model.train()
    objectives = {"ours": (random_spans(), 568), "peer": (bert_style(), 511)}
    contestants, shapes = {}, {}
    for side, (objective, length) in objectives.items():
        pair = objective(draw(rows, length))
        shapes[side] = [part.shape[1] for part in pair]
        optimizer = AdaFactor(model.parameters(), lr=0.0)
        contestants[side] = training_step(partial(model.loss, *pair), optimizer)
    result: dict[str, Any] = {
        "name": f"training step, T5-small, {rows} texts: random spans against BERT-style noise",
        "unit": "texts/s",
        "goal": 1.0,
        "parity": shapes == {"ours": [512, 114], "peer": [512, 512]},
        "parity_test": f"inputs and targets have {shapes['ours']} and {shapes['peer']} tokens",
    }
    if not result["parity"]:
        return result
    return result | compare(contestants, rows, repeats=5, warmup=1, clock=CLOCK)


def training_step(
    loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer
) -> Callable[[], object]:
    """A call that carries out one step."""

    def call() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        waited(None)

    return call


def draw(rows: int, length: int, *, seed: int = 0) -> Tensor:
    """Random tokens, none of them padding or an end."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 32_000, (rows, length), generator=generator).to(DEVICE)


def waited(found: Any) -> Any:
    """What was found, after the device has done all it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return found


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
