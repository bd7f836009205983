"""What holds exactly: lengths, masks, buckets, masks of attention, packing, decoding, rates."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest
from quire.papers.t5.generation import generate
from quire.papers.t5.lengths import raw_length, span_counts
from quire.papers.t5.mixing import mixing_rates
from quire.papers.t5.model import T5, Architecture, Size, count_parameters
from quire.papers.t5.objectives import Ids, merge, random_spans, replace_spans
from quire.papers.t5.packing import Batch, pack, pad
from quire.papers.t5.positions import relative_position_bucket

TABLE = {
    (0.15, 3.0): (568, 512, 114),
    (0.15, 2.0): (552, 512, 126),
    (0.15, 5.0): (581, 512, 105),
    (0.15, 10.0): (591, 512, 99),
    (0.25, 3.0): (614, 512, 206),
}
"""(rate, mean length) -> raw, input and target tokens of the published objective."""
PUBLISHED = {
    "small": 60_506_624, "base": 222_903_552, "large": 737_668_096, "3b": 2_851_598_336,
    "11b": 11_307_321_344, "base-6": 123_790_080, "2x": 502_746_112, "4x": 972_590_080,
}  # fmt: skip
IDS = Ids(60, 10)
TINY = Size(16, 32, heads=2, layers=2, head_dim=8)


class Identities(Config):
    """How many random examples are tried."""

    examples: PositiveInt = 500
    """Random sequences of the merging."""


def identities(config: Identities, run: Run) -> Metrics:
    """Each metric is a largest distance, or a count of what is wrong."""
    return (
        count_wrong_lengths()
        | count_wrong_merges(config.examples, run.rng("merge"))
        | measure_models(run.rng("model"))
        | measure_rates()
        | {"bucket_errors": count_wrong_buckets()}
    )


def count_wrong_lengths() -> Metrics:
    """Against the published table of lengths and the published numbers of weights."""
    wrong = sum(tuple(raw_length(512, *key)) != row for key, row in TABLE.items())
    sizes = sum(count_parameters(name) != count for name, count in PUBLISHED.items())
    return {"length_errors": wrong, "size_errors": sizes}


def count_wrong_merges(count: int, generator: torch.Generator) -> Metrics:
    """Sequences that inputs and targets together do not give back, and wrong counts of noise."""
    lost, noise = 0, 0
    for number in range(count):
        length = 8 + number % 60
        tokens = torch.randint(3, IDS.first_sentinel, (1, length), generator=generator)
        objectives = [random_spans(ids=IDS)] + [replace_spans(ids=IDS)] * (length < 20)
        for objective in objectives:
            inputs, targets = objective(tokens, generator=generator)
            found = merge(inputs[0].tolist(), targets[0].tolist(), ids=IDS)
            lost += found != tokens[0].tolist()
        _, targets = random_spans(ids=IDS)(tokens, generator=generator)
        ordinary = (targets >= 3) & (targets < IDS.first_sentinel)
        noise += int(ordinary.sum()) != span_counts(length)[0]
    return {"lost": lost, "noise_errors": noise}


def measure_models(generator: torch.Generator) -> Metrics:
    """Prefixes, packing and stepwise decoding on untrained models in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(1 << 30, (), generator=generator)))
        models = {name: T5(TINY, name, vocabulary=60).double().eval() for name in ARCHITECTURES}
    for model in models.values():
        for parameter in model.decoder.layers.parameters():
            parameter.data.mul_(4)  # or an untrained model repeats what it has read last
    inputs = torch.randint(3, 50, (4, 9), generator=generator)
    targets = torch.randint(3, 50, (4, 6), generator=generator)
    return {
        "prefix_error": compare_prefix(models["prefix"], inputs, targets),
        "leak": max(measure_leak(model, inputs, targets) for model in models.values()),
        "packing_error": max(compare_packed(model) for model in models.values()),
        "decoding_errors": sum(compare_decoding(model, inputs) for model in models.values()),
    }


ARCHITECTURES: tuple[Architecture, ...] = ("encoder-decoder", "shared", "causal", "prefix")


@torch.no_grad()
def compare_prefix(model: T5, inputs: Tensor, targets: Tensor) -> float:
    """A prefix of one token is causal: what a prefix language model gives for it.

    The causal model has the weights of the other, with the half of its buckets that looks back.
    """
    causal = T5(TINY, "causal", vocabulary=60).double().eval()
    causal.load_state_dict(model.state_dict())
    causal.decoder.bias = model.decoder.bias
    one = inputs[:, :1]
    return largest(model(one, targets) - causal(one, targets))


@torch.no_grad()
def measure_leak(model: T5, inputs: Tensor, targets: Tensor) -> float:
    """How far logits move at places before a target that is changed."""
    changed = targets.clone()
    changed[:, 3] = (changed[:, 3] - 3 + 1) % 47 + 3
    return largest((model(inputs, targets) - model(inputs, changed))[:, :4])


@torch.no_grad()
def compare_packed(model: T5) -> float:
    """Distance of the logits of packed examples from those of each by itself."""
    pairs = [([5, 6, 7], [8, 9]), ([10], [11, 12, 13]), ([14, 15], [16])]
    packed, alone = pack(pairs, 20, 20), pad(pairs, 6, 6)
    logits = model(*packed)
    one = model(alone.inputs, alone.targets)
    return max(
        largest(logits[place(packed, number)] - one[number][alone.targets[number] != 0])
        for number in range(len(pairs))
    )


def place(packed: Batch, number: int) -> tuple[int, Tensor]:
    """Where example `number`, of a row that holds all, has its targets."""
    assert packed.target_segments is not None
    return 0, packed.target_segments[0] == number + 1


@torch.no_grad()
def compare_decoding(model: T5, inputs: Tensor) -> int:
    """Tokens that generation with kept keys chooses otherwise than the whole model does."""
    tokens = 6
    found = generate(model, inputs, tokens)
    written = inputs.new_zeros(len(inputs), 0)
    for _ in range(tokens):
        longer = torch.cat((written, inputs.new_full((len(inputs), 1), 3)), 1)
        ended = (written == 1).any(1)
        choice = model(inputs, longer)[:, -1].argmax(-1).masked_fill(ended, 0)
        written = torch.cat((written, choice[:, None]), 1)
    # An untrained model may write padding, which a language model then hides from itself.
    before = (written == 0).cumsum(1) == 0
    return int(((found != written) & before).sum())


def measure_rates() -> Metrics:
    """T = 1 is proportional, K = 1 equal; a large T comes near equal."""
    sizes = {"a": 1000, "b": 10, "c": 1}
    total = sum(sizes.values())
    proportional = mixing_rates(sizes)
    error = max(abs(proportional[name] - size / total) for name, size in sizes.items())
    equal = max(abs(rate - 1 / 3) for rate in mixing_rates(sizes, limit=1).values())
    hot = max(abs(rate - 1 / 3) for rate in mixing_rates(sizes, temperature=1e6).values())
    return {"rate_error": max(error, equal), "hot_error": hot}


def count_wrong_buckets() -> int:
    """Relative positions whose bucket is not the formula's, written out number by number."""
    import math

    wrong = 0
    for both, side in ((True, 16), (False, 32)):
        relative = torch.arange(-300, 301)
        found = relative_position_bucket(relative, bidirectional=both).tolist()
        for r, bucket in zip(relative.tolist(), found, strict=True):
            n, exact = (abs(r) if both else max(-r, 0)), side // 2
            rank = n
            if n >= exact:
                log = math.log(n / exact) / math.log(128 / exact) * (side - exact)
                rank = min(side - 1, exact + math.floor(log + 1e-9))
            wrong += bucket != rank + (side if both and r > 0 else 0)
    return wrong
