"""What holds exactly of supermasks: counts, gradients, lemma 1, forgetting, memories, bytes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.papers.supsup.attractors import MaskMemory
from quire.papers.supsup.bank import MaskBank, learn
from quire.papers.supsup.frozen import FrozenNet, Supermask
from quire.papers.supsup.inference import binary, find_slopes, naive_slopes, one_shot
from quire.papers.supsup.masks import ErdosRenyi, TopFraction, count_kept, pack
from quire.papers.supsup.networks import ResNet, count_weights, make_mlp
from quire.papers.supsup.objectives import entropy, superfluous

INPUTS, HIDDEN, OUTPUTS, LABELS = 12, (16, 10), 9, 4
TASKS, BATCH = 7, 6
NEURONS, PATTERNS = 96, 14


class Identities(Config):
    """Exact facts, in double precision where they are of gradients."""


def identities(config: Identities, run: Run) -> Metrics:
    """Distances from what must hold."""
    generator = run.rng("numbers")
    net = FrozenNet(make_mlp(INPUTS, OUTPUTS, hidden=HIDDEN).double(), seed=run.seed)
    x = torch.randn(BATCH, INPUTS, generator=generator, dtype=torch.float64)
    return {
        "kept_error": measure_counts(generator),
        "density_one_error": measure_dense(net, x),
        "mask_gradient_error": measure_mask_gradient(net, x, generator),
        **measure_slopes(run, x),
        **measure_lemma(generator),
        "forgetting": measure_forgetting(run, generator),
        **measure_memories(run, generator),
        **count_bytes(),
    }


def measure_counts(generator: torch.Generator) -> float:
    """Largest difference of kept weights from n - int((1 - keep) n), layer by layer."""
    shapes = [torch.Size((7, 13)), torch.Size((5, 3, 2, 2))]
    worst = 0
    for keep in (0.05, 0.3, 0.5, 0.77, 1.0):
        # Many scores are equal, which a bound in place of a count would keep together.
        scores = torch.randint(-3, 4, (151,), generator=generator).float()
        mask = TopFraction(keep)(scores, shapes)
        for part, shape in zip(mask.split([91, 60]), shapes, strict=True):
            wanted = shape.numel() - int((1 - keep) * shape.numel())
            worst = max(worst, abs(int(part.sum()) - wanted))
    return float(worst)


def measure_dense(net: FrozenNet, x: Tensor) -> float:
    """Distance of the net that keeps all from the model itself."""
    mask = Supermask(net, TopFraction(1.0))
    return largest_difference(mask(x), net.model(x))


def measure_mask_gradient(net: FrozenNet, x: Tensor, generator: torch.Generator) -> float:
    """Distance of the scores' gradients from W * dL/d(W M) of autograd on weights that are free."""
    label = torch.randint(LABELS, (len(x),), generator=generator)
    worst = 0.0
    for sparsity, signed in ((None, False), (TopFraction(0.4), True)):
        mask = Supermask(net) if sparsity is None else Supermask(net, sparsity)
        F.cross_entropy(mask(x), label).backward()
        free = (net.weights * mask.mask().detach()).requires_grad_()
        loss = F.cross_entropy(net.call(free, x), label)
        (slope,) = torch.autograd.grad(loss, free)
        wanted = net.weights * slope * (mask.scores.detach().sign() if signed else 1)
        assert mask.scores.grad is not None
        worst = max(worst, largest_difference(mask.scores.grad, wanted))
    return worst


def make_bank(run: Run) -> MaskBank:
    """A bank of random masks, in double precision."""
    bank = MaskBank(make_mlp(INPUTS, OUTPUTS, hidden=HIDDEN).double(), seed=run.seed)
    bank.add(bank.new(tasks=TASKS, generator=run.rng("masks")))
    return bank


def measure_slopes(run: Run, x: Tensor) -> Metrics:
    """The quick gradient against autograd over a stack; ties; Binary of two; a bank of one."""
    bank = make_bank(run)
    vectors = bank.take(torch.arange(TASKS))
    error = max(
        largest_difference(
            find_slopes(bank, x[:, None], objective),
            naive_slopes(bank, x[:, None], objective, vectors),
        )
        for objective in (entropy, superfluous(LABELS))
    )
    twins = MaskBank(make_mlp(INPUTS, OUTPUTS, hidden=HIDDEN).double(), seed=run.seed)
    for _ in range(2):
        twins.add(twins.new(generator=run.rng("twin")))
    tie = find_slopes(twins, x[:, None], entropy)
    two = MaskBank(make_mlp(INPUTS, OUTPUTS, hidden=HIDDEN).double(), seed=run.seed)
    two.add(two.new(tasks=2, generator=run.rng("masks")))
    differing = (one_shot(two, x[:, None], entropy) != binary(two, x[:, None], entropy)).sum()
    return {
        "slope_error": error,
        "tie_error": float((tie[:, 0] - tie[:, 1]).abs().max()),
        "binary_differs": float(differing),
    }


def measure_lemma(generator: torch.Generator) -> Metrics:
    """Lemma 1: at superfluous outputs G has the gradient of cross-entropy for every label."""
    z = torch.randn(BATCH, OUTPUTS, generator=generator, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(superfluous(LABELS)(z), z)
    worst = 0.0
    for label in range(LABELS):
        loss = F.cross_entropy(z, torch.full((BATCH,), label))
        (wanted,) = torch.autograd.grad(loss, z)
        worst = max(worst, largest_difference(slope[:, LABELS:], wanted[:, LABELS:]))
    return {"lemma_error": worst, "label_gradient": float(slope[:, :LABELS].abs().max())}


def measure_forgetting(run: Run, generator: torch.Generator) -> float:
    """Largest change of the first task's logits while four more are learned: not a bit."""
    bank = MaskBank(make_mlp(INPUTS, OUTPUTS, hidden=HIDDEN), seed=run.seed)
    x = torch.randn(32, INPUTS, generator=generator)
    first = None
    for _ in range(5):
        label = torch.randint(LABELS, (32,), generator=generator)
        bank.add(learn(bank.new(), [(x, label)] * 20, learning_rate=1e-2))
        first = bank(x, 0) if first is None else first
    assert first is not None
    return largest_difference(bank(x, 0), first)


def measure_memories(run: Run, generator: torch.Generator) -> Metrics:
    """Neurons that stored masks lose, Storkey and Hebb, and the largest rise of the energy."""
    z = 2.0 * torch.randint(2, (PATTERNS, NEURONS), generator=generator) - 1
    found: Metrics = {}
    for rule in ("storkey", "hebb"):
        memory = MaskMemory(NEURONS, rule=rule)  # type: ignore[arg-type]
        for row in z[:3]:
            memory.write(row)
        few = ((z[:3] @ memory.matrix) * z[:3] <= 0).sum()
        for row in z[3:]:
            memory.write(row)
        noisy = torch.where(torch.rand(z.shape, generator=run.rng("noise")) < 0.1, -z, z)
        many = torch.stack([memory.settle(row) for row in noisy]).ne(z).float().mean()
        found[f"{rule}_few"] = float(few)
        found[f"{rule}_many"] = 100 * float(many)
    # One neuron at a time, the energy must not rise.
    memory = MaskMemory(NEURONS)
    for row in z:
        memory.write(row)
    memory.matrix -= torch.diag(memory.matrix.diagonal())
    state, rise = (
        torch.where(torch.rand(NEURONS, generator=generator) < 0.3, -z[0], z[0]),
        -math.inf,
    )
    for _ in range(NEURONS // 8):
        before = memory.measure_energy(state)
        state = memory.settle(state, sweeps=1)
        rise = max(rise, float(memory.measure_energy(state) - before))
    return found | {"energy_rise": rise}


def count_bytes() -> Metrics:
    """Weights and packed bytes of the paper's nets; megabytes of its 100 masks of ResNet-50."""
    sizes = {10: 266_200, 100: 275_200, 500: 315_200}
    wrong = sum(abs(count_weights(make_mlp(784, s)) - n) for s, n in sizes.items())
    wrong += abs(count_weights(make_mlp(784, 500, hidden=(1024, 1024))) - 2_363_392)
    packed = pack(torch.zeros(1, 275_200)).numel()
    with torch.device("meta"):
        resnet: nn.Module = ResNet(50, 10, stem="large")
    shapes = [p.shape for p in resnet.parameters()]
    statistics = sum(b.numel() for name, b in resnet.named_buffers() if "running" in name)
    megabytes = {}
    for multiplier in (4, 8, 16):
        budget = ErdosRenyi(multiplier)
        kept = sum(count_kept(shape.numel(), budget.find_keep(shape)) for shape in shapes)
        sparse = 2 * (kept + sum(shape[0] for shape in shapes))
        megabytes[f"megabytes_{multiplier}"] = 100 * (sparse + 4 * statistics) / 1e6
    return {"wrong_weights": float(wrong), "packed_bytes": float(packed), **megabytes}
