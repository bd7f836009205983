"""Races on a GPU: linear attention, BigBird, Hopfield pooling, PonderNet, CIFAR nets and ResNet-50.

Each against what a user would have in its place: torch's fused attention, flash-linear-attention
where it is installed, flex_attention with a mask made by hand, plain PyTorch, torchvision's or
transformers' ResNet-50. Every race begins with a parity test; where it fails, no time is reported.
What compiles or tunes itself at its first call does so before the clock starts. Run it with `quire
bench gpu`, or alone: `python benchmarks/gpu.py`.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as fused_attention

from quire import data
from quire.lab.bench import compare
from quire.lab.errors import MissingError
from quire.lab.training import update
from quire.nn import Causal
from quire.papers.bigbird import BigBirdMask, BigBirdPattern, bigbird_attention
from quire.papers.hopfield import HopfieldPooling
from quire.papers.linear_transformer import fused, linear_attention, naive_linear_attention
from quire.papers.pondernet import Ponder, RNNStep
from quire.papers.resnet import CifarResNet, ResNet, load_weights
from quire.papers.resnet.experiments.learner import channels_last, net_channels_last, sgd

HALF = torch.bfloat16


def main() -> dict[str, Any]:
    """All races. Raises `MissingError` without a GPU."""
    if not torch.cuda.is_available():
        raise MissingError("race gpu needs a GPU that torch can use (cuda), there is none here")
    device = torch.device("cuda")
    return {
        "races": [
            *(causal(device, length) for length in (1024, 4096, 16384, 65536)),
            *(bigbird(device, length) for length in (4096, 16384, 65536)),
            *(pooling(device, patterns) for patterns in (10_000, 100_000, 300_000)),
            pondering(device),
            *(cifar(device, depth) for depth in (20, 56)),
            resnet50(device),
        ]
    }


Step = Callable[[], object]


def raced(
    name: str,
    unit: str,
    work: float,
    contestants: Mapping[str, Step],
    *,
    difference: float,
    bound: float,
    goal: float = 1.0,
    repeats: int = 9,
) -> dict[str, Any]:
    """The result of a race, without times where the outputs differ by more than `bound`."""
    result: dict[str, Any] = {
        "name": name,
        "unit": unit,
        "goal": goal,
        "parity": difference <= bound,
        "parity_test": f"outputs differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result

    def waited(step: Step) -> Step:
        def call() -> None:
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        return call

    sides = {key: waited(step) for key, step in contestants.items()}
    return result | compare(sides, work, repeats=repeats, warmup=3)


def gap(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def training(attend: Callable[..., Tensor], *inputs: Tensor) -> Step:
    """Forward and backward."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    grad = torch.ones_like(attend(*leaves))
    return lambda: torch.autograd.grad(attend(*leaves), leaves, grad)


# Attention


def causal(device: torch.device, length: int, *, batch: int = 4, heads: int = 8) -> dict[str, Any]:
    """Causal linear attention in bfloat16 against causal softmax attention by torch's kernels."""
    torch.manual_seed(0)
    inputs = torch.randn(3, batch, heads, length, 64, device=device).to(HALF)
    part = inputs[:, :1, :2, : min(length, 1003)]
    ours = linear_attention(*part, causal=True)
    difference = gap(ours, naive_linear_attention(*part.double(), Causal()))
    contestants = {
        "ours": training(lambda q, k, v: linear_attention(q, k, v, causal=True), *inputs),
        "peer": training(lambda q, k, v: fused_attention(q, k, v, is_causal=True), *inputs),
    }
    if fused.is_installed() and device.type == "cuda":
        from fla.ops.linear_attn import chunk_linear_attn

        def theirs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2) for x in (F.elu(q) + 1, F.elu(k) + 1, v))
            return chunk_linear_attn(q, k, v, normalize=True)[0]

        contestants["flash_linear_attention"] = training(theirs, *inputs)
    return raced(
        f"causal linear attention, forward and backward, {batch} x {heads} heads of 64, {length} "
        "tokens, bfloat16, against scaled_dot_product_attention",
        "tokens/s",
        batch * length,
        contestants,
        difference=difference,
        bound=0.02,
    )


def bigbird(device: torch.device, length: int, *, heads: int = 12) -> dict[str, Any]:
    """BigBird's attention in bfloat16 against full attention, and flex_attention by hand."""
    torch.manual_seed(0)
    inputs = torch.randn(3, 1, heads, length, 64, device=device).to(HALF)
    pattern = BigBirdPattern()
    short = inputs[..., : min(length, 1061), :]
    dense = BigBirdMask(pattern, short.shape[3], heads).to(device)
    allowed = dense.dense(short.shape[3], short.shape[3], 1, heads, device)
    expected = fused_attention(*short.double(), attn_mask=allowed)
    difference = gap(bigbird_attention(*short, pattern), expected)
    contestants = {
        "ours": training(lambda q, k, v: bigbird_attention(q, k, v, pattern), *inputs),
        "peer": training(fused_attention, *inputs),
    }
    # By hand a mask is asked for every pair: beyond this length that takes too much memory.
    if device.type == "cuda" and length <= 16384:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        rule = BigBirdMask(pattern, length, heads).to(device).mask_mod
        blocks = create_block_mask(rule, None, heads, length, length, device=device)
        compiled = torch.compile(flex_attention)
        contestants["flex_by_hand"] = training(
            lambda q, k, v: compiled(q, k, v, block_mask=blocks), *inputs
        )
    return raced(
        f"BigBird's attention, forward and backward, {heads} heads of 64, block 64, {length} "
        "tokens, bfloat16, against scaled_dot_product_attention",
        "tokens/s",
        length,
        contestants,
        difference=difference,
        bound=0.02,
    )


def pooling(device: torch.device, patterns: int) -> dict[str, Any]:
    """One learned state pools a bag, forward and backward, against the formula written down."""
    torch.manual_seed(0)
    layer = HopfieldPooling(64).to(device)
    inner = layer.hopfield
    bag = torch.randn(1, patterns, 64, device=device)

    def formula(x: Tensor) -> Tensor:
        k = inner.key(inner.stored_norm(x))
        v = inner.value(inner.value_norm(x))
        q = inner.query(inner.state_norm(layer.states))
        return inner.output((q @ k.mT / math.sqrt(64)).softmax(-1) @ v).flatten(1)

    with torch.no_grad():
        difference = gap(layer(bag), formula(bag))

    def both(pool: Callable[[Tensor], Tensor]) -> Step:
        leaves = [bag, *layer.parameters()]

        def call() -> object:
            bag.requires_grad_()
            return torch.autograd.grad(pool(bag).sum(), leaves, allow_unused=True)

        return call

    return raced(
        f"HopfieldPooling(64) of {patterns} patterns, forward and backward, float32, against keys "
        "and values made of all of them",
        "patterns/s",
        patterns,
        {"ours": both(layer), "peer": both(formula)},
        difference=difference,
        bound=1e-3,
    )


# Networks


def pondering(device: torch.device) -> dict[str, Any]:
    """PonderNet's parity step, 20 times: with the eps rule against without it, and compiled."""
    torch.manual_seed(0)
    step = RNNStep(64, 128, 1).to(device)
    x = torch.randn(128, 64, device=device)
    plain, cut = (Ponder(step, 20, eps=eps).train() for eps in (None, 1e-6))
    with torch.no_grad():
        difference = gap(cut(x).predictions, plain(x).predictions[: len(cut(x).predictions)])
    contestants = {"ours": cut, "peer": plain}
    if device.type == "cuda":
        contestants["compiled"] = torch.compile(copy.deepcopy(plain), mode="reduce-overhead")

    def both(ponder: Callable[[Tensor], Any]) -> Step:
        def call() -> None:
            if device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            out = ponder(x)
            (out.predictions.sum() + out.halt_logits.sum()).backward()

        return call

    return raced(
        "Ponder(RNNStep(64, 128)), 20 steps, batch 128, forward and backward: with the eps rule "
        "against without it",
        "examples/s",
        128,
        {key: both(ponder) for key, ponder in contestants.items()},
        difference=difference,
        bound=1e-6,
    )


def cifar(device: torch.device, depth: int, *, batch: int = 512) -> dict[str, Any]:
    """Training as the experiments do it, compiled, against a plain loop with images on the CPU."""
    torch.manual_seed(0)
    pixels = torch.randint(256, (4 * batch, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(10, (4 * batch,))
    here = pixels.to(device), labels.to(device)
    net = CifarResNet(depth).to(device)

    def fast(net: CifarResNet, *, compiled: bool) -> Step:
        net = net_channels_last(net).train()
        optimizer = sgd(net, 0.02)
        if compiled:
            net.compile(mode="reduce-overhead")
        steps = iter(range(1_000_000))

        def call() -> Tensor:
            generator = torch.Generator().manual_seed(next(steps))
            rows = torch.randint(len(labels), (batch,), generator=generator).to(device)
            image = data.random_crop_flip((here[0][rows].float() - 128) / 64, generator)
            if compiled:
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(device.type, HALF):
                loss = F.cross_entropy(net(channels_last(image)), here[1][rows])
            update(loss, net, optimizer)
            return loss.detach()

        return call

    def plain(net: CifarResNet) -> Step:
        optimizer = torch.optim.SGD(net.train().parameters(), 0.02, 0.9, weight_decay=1e-4)
        steps = iter(range(1_000_000))

        def call() -> float:
            generator = torch.Generator().manual_seed(next(steps))
            rows = torch.randint(len(labels), (batch,), generator=generator)
            image = data.random_crop_flip((pixels[rows].float() - 128) / 64, generator)
            loss = F.cross_entropy(net(image.to(device)), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return float(loss)

        return call

    with torch.no_grad():
        sample = (here[0][:64].float() - 128) / 64
        inner = net_channels_last(copy.deepcopy(net))
        difference = gap(inner(channels_last(sample)), net(sample))
    contestants = {"eager": fast(copy.deepcopy(net), compiled=False), "peer": plain(net)}
    contestants["ours"] = fast(copy.deepcopy(net), compiled=device.type == "cuda")
    return raced(
        f"training ResNet-{depth} on 32x32 images, batch {batch}, bfloat16 channels_last and CUDA "
        "graphs, against a plain float32 loop",
        "images/s",
        batch,
        contestants,
        difference=difference,
        bound=1e-3,
    )


def resnet50(device: torch.device, *, batch: int = 128, size: int = 224) -> dict[str, Any]:
    """A training step of ResNet-50 in bfloat16, against torchvision's or transformers'."""
    torch.manual_seed(0)
    with contextlib.suppress(ImportError, RuntimeError):  # torchvision may be of another torch
        from torchvision.models import resnet50 as peer_of

        theirs, library = peer_of(), "torchvision"
    if "theirs" not in locals():
        from transformers import ResNetConfig, ResNetForImageClassification

        theirs = ResNetForImageClassification(ResNetConfig(num_labels=1000))
        library = "transformers"
    ours = load_weights(ResNet(50, version="1.5"), theirs.state_dict())
    ours, theirs = (net_channels_last(net.to(device)) for net in (ours, theirs))
    image = channels_last(torch.randn(batch, 3, size, size, device=device))

    def scores(net: nn.Module) -> Tensor:
        out = net(image)
        return out if isinstance(out, Tensor) else out.logits

    with torch.no_grad():
        difference = gap(scores(ours.eval()), scores(theirs.eval()))

    def both(net: nn.Module) -> Step:
        net.train()

        def call() -> None:
            with torch.autocast(device.type, HALF):
                loss = scores(net).square().mean()
            net.zero_grad()
            loss.backward()

        return call

    return raced(
        f"ResNet-50 at {size}, batch {batch}, forward and backward, bfloat16 channels_last, "
        f"against {library}'s",
        "images/s",
        batch,
        {"ours": both(ours), "peer": both(theirs)},
        difference=difference,
        bound=1e-3,
        goal=0.95,
    )


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
