"""Generation: greedy or with beams, by one model or by several that vote with their logits.

B batch, K beams, N = B K hypotheses, I input tokens, C target tokens at most, V vocabulary, D
width, H heads. All keys and values are kept: a step computes one token a hypothesis. The beams of
an input share the keys of that input.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire.nn import devices
from quire.papers.t5.layers import Layer, mask_bias
from quire.papers.t5.model import PADDING, T5

EOS = 1
PACK_FROM = 8
"""Tokens to generate from which on it pays to pack the weights once more."""
Models = T5 | Sequence[T5]


@torch.no_grad()
def generate(
    model: Models,
    inputs: Tensor,
    tokens: int,
    *,
    beams: int = 1,
    alpha: float = 0.6,
    eos: int = EOS,
) -> Tensor:
    """The likeliest outputs of inputs (B, I): int64 (B, C), padding after the end.

    One beam is the greedy choice of each token, the first of equals. More are a beam search whose
    hypotheses are ranked by their log-probability over ((5 + length) / 6)^alpha, the end counted
    as a token (Wu et al., 2016, without coverage).

    Args:
        model: A model, or several with one vocabulary whose logits are averaged at each step
            (section 3.6.4). They generate without dropout and stay in their mode.
        inputs: Padded with 0.
        tokens: C, the end counted.
        beams: K.
        alpha: Of the length penalty, at least 0.
        eos: The token that ends an output.

    Raises ValueError for no model, unlike vocabularies, beams or tokens below 1, alpha below 0.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import T5, Size, generate
        >>> model = T5(Size(16, 32, heads=2, layers=1, head_dim=8), vocabulary=50)
        >>> generate(model, torch.randint(2, 50, (3, 7)), 5, beams=2).shape
        torch.Size([3, 5])
    """
    models = [model] if isinstance(model, T5) else list(model)
    sizes = sorted({each.table.num_embeddings for each in models})
    if len(sizes) != 1:
        raise ValueError(f"generation needs models of one vocabulary, got {sizes or 'none'}")
    if beams < 1 or tokens < 1 or alpha < 0:
        raise ValueError(
            f"beams and tokens must be at least 1 and alpha at least 0, got {beams}, {tokens} and "
            f"{alpha}"
        )
    if not len(inputs):
        return inputs.new_zeros(0, tokens)
    with evaluating(models):
        ensemble = Ensemble([Decoding(each, inputs, tokens, beams=beams) for each in models])
        if beams == 1:
            return _greedy(ensemble, inputs, tokens, eos)
        return _search(ensemble, inputs, tokens, beams=beams, alpha=alpha, eos=eos)


@contextmanager
def evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    """Inside `with` all modules are in evaluation mode; afterwards each is as it was."""
    modes = [(part, part.training) for model in models for part in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class Decoding:
    """One model's state while it generates: the keys and values of all layers.

    Room for every token is taken at the start. `step` may be called `tokens` times. The weights are
    read at the start; a model that is trained on needs a new `Decoding`.

    Args:
        model: In evaluation mode.
        inputs: (B, I).
        tokens: C.
        beams: K, hypotheses of each input that are told apart.
    """

    def __init__(self, model: T5, inputs: Tensor, tokens: int, *, beams: int = 1) -> None:
        self.model = model
        self.beams = beams
        rows, device = len(inputs), inputs.device
        own: list[Layer] = list(model.decoder.layers)  # type: ignore[arg-type]
        head = model.table if model.head is None else model.head
        dtype = self.dtype = head.weight.dtype
        # One product gives queries, keys and values of a token.
        joined = [
            torch.cat([getattr(layer.attention, part).weight for part in ("query", "key", "value")])
            for layer in own
        ]
        # Packing takes about as long as three products.
        pack = tokens >= PACK_FROM and can_pack(head.weight)
        self.projections = [Product(weight, rows * beams, pack=pack) for weight in joined]
        self.output = Product(head.weight, rows * beams, pack=pack)
        self.scale = model.size.dim**-0.5 if model.head is None else 1.0
        self.layers = [packed(layer, rows * beams) for layer in own] if pack else own
        self.memories: list[tuple[Tensor, Tensor]] = []
        self.memory_bias: Tensor | None = None
        self.prefix_bias: Tensor | None = None
        self.first: Tensor | None = None
        prompt: list[tuple[Tensor, Tensor]] = []
        if model.encoder is None:
            prompt = self._read_prompt(inputs)
        else:
            memory = model.encode(inputs)
            crosses = [layer.cross for layer in own]
            self.memories = [cross.project(memory) for cross in crosses if cross is not None]
            self.memory_bias = mask_bias((inputs != PADDING)[:, None, None], dtype)
        self.used = prompt[0][0].shape[2] if prompt else 0
        room = self.used + tokens
        shape = (rows * beams, model.size.heads, room, model.size.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in self.layers]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        for layer, pair in enumerate(prompt):
            for cache, part in zip((self.keys[layer], self.values[layer]), pair, strict=True):
                cache[:, :, : self.used] = part.repeat_interleave(beams, 0)
        # What the last of all queries adds to each key, (H, 1, room): an earlier query's row is
        # its end, since only differences of positions count.
        self.bias = model.decoder.bias.square(1, room, room - 1).contiguous()

    def step(self, tokens: Tensor) -> Tensor:
        """The logits (N, V) of what follows tokens (N,); at the first call tokens is padding."""
        if self.first is not None:
            # A language model has read its prompt, whose last token predicts the first one.
            y, self.first = self.first, None
            return self.output(self.scale * y.repeat_interleave(self.beams, 0))
        model, place = self.model, self.used
        bias = self._bias(place + 1)
        x = model.embed(tokens)  # (N, D)
        for number, layer in enumerate(self.layers):
            heads = (3, layer.attention.heads, -1)
            qkv = self.projections[number](layer.attention_norm(x))
            q, k, v = qkv.unflatten(-1, heads).unbind(1)
            keys, values = self.keys[number], self.values[number]
            keys[:, :, place], values[:, :, place] = k, v
            attended = F.scaled_dot_product_attention(
                q[:, :, None], keys[:, :, : place + 1], values[:, :, : place + 1],
                attn_mask=bias, scale=1.0,
            )  # fmt: skip
            x = x + layer.attention.output(attended.flatten(1))
            if layer.cross is not None and layer.cross_norm is not None:
                # The beams of an input are queries of one attention: (N, D) -> (B, K, D).
                queries = layer.cross_norm(x).unflatten(0, (-1, self.beams))
                read = layer.cross.attend(queries, *self.memories[number], self.memory_bias)
                x = x + read.flatten(0, 1)
            x = layer.transform(x)
        self.used += 1
        return self.output(self.scale * model.decoder.norm(x))

    def select(self, rows: Tensor) -> None:
        """Go on with the hypotheses rows (N,), each of the same input as the one it replaces."""
        for caches in (self.keys, self.values):
            for cache in caches:
                # What is not yet written need not move.
                written = cache[:, :, : self.used]
                written.copy_(written.index_select(0, rows))

    def _read_prompt(self, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The keys and values of the inputs, with their padding at the front."""
        model = self.model
        if not inputs.shape[1]:
            raise ValueError("inputs need at least one column; padding will do")
        text, allowed = model._join(inputs, inputs[:, :0])
        prompt: list[tuple[Tensor, Tensor]] = []
        y = model.decoder(model.embed(text), allowed, kept=prompt)
        self.first = y[:, -1]
        self.prefix_bias = mask_bias(text != PADDING, prompt[0][0].dtype)
        self.prefix_bias = self.prefix_bias.repeat_interleave(self.beams, 0)[:, None, None]
        return prompt

    def _bias(self, keys: int) -> Tensor:
        """What the newest query adds to its keys: (N or 1, H, 1, keys)."""
        bias = self.bias[..., self.bias.shape[-1] - keys :].to(self.dtype)
        rows = len(self.keys[0])
        if self.prefix_bias is None:
            return bias.expand(rows, -1, -1, -1)
        prefix = self.prefix_bias.shape[-1]
        return bias + F.pad(self.prefix_bias, (0, keys - prefix))


class Product(nn.Module):
    """x (..., in) times the transpose of a weight (out, in), packed for few rows where asked.

    A plain product of few rows spends most of its time packing the weight for oneDNN or MKL, each
    time anew. The packed copy is made once, with the operators of torch's own frozen graphs.

    Args:
        weight: (out, in).
        rows: How many x will have.
        bias: (out,) or None.
        pack: Whether to keep a packed copy, which takes the weight's memory again.
    """

    def __init__(
        self, weight: Tensor, rows: int, *, bias: Tensor | None = None, pack: bool = True
    ) -> None:
        super().__init__()
        self.pack = pack
        self.bias = bias
        self.matrix = torch.ops.mkldnn._reorder_linear_weight(weight, rows) if pack else weight

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        if not self.pack:
            return F.linear(x, self.matrix, self.bias)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.matrix, self.bias, "none", [], "")
        return y


def can_pack(weight: Tensor) -> bool:
    """Whether torch has oneDNN here and the weight is of the kind that it packs."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def packed(module: Any, rows: int) -> Any:
    """The same module with packed linear maps; the module itself stays as it is.

    rows: How many its inputs will have.
    """
    if isinstance(module, nn.Linear):
        return Product(module.weight, rows, bias=module.bias)
    twin = copy.copy(module)
    twin._modules = {
        name: None if part is None else packed(part, rows) for name, part in module._modules.items()
    }
    return twin


class Ensemble:
    """Several models that generate together: at each step their logits are averaged.

    Not their probabilities: the product of the models' opinions and not their sum. members: begun
    with the same inputs.
    """

    def __init__(self, members: Sequence[Decoding]) -> None:
        self.members = members

    def step(self, tokens: Tensor) -> Tensor:
        """The logits (N, V) of what follows tokens (N,)."""
        logits = [member.step(tokens) for member in self.members]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    def select(self, rows: Tensor) -> None:
        """As in `Decoding`."""
        for member in self.members:
            member.select(rows)


def _greedy(ensemble: Ensemble, inputs: Tensor, tokens: int, eos: int) -> Tensor:
    found = inputs.new_zeros(len(inputs), tokens)
    token = found[:, 0]
    ended = torch.zeros_like(token, dtype=torch.bool)
    for place in range(tokens):
        token = ensemble.step(token).argmax(-1).masked_fill(ended, PADDING)
        found[:, place] = token
        ended = ended | (token == eos)
        if _may_look(place, inputs) and bool(ended.all()):
            break
    return found


def _search(
    ensemble: Ensemble, inputs: Tensor, tokens: int, *, beams: int, alpha: float, eos: int
) -> Tensor:
    """Beam search with K open hypotheses and the K best that have ended, of each input.

    An end counts if it is among the K best continuations. It is over where no open hypothesis can
    still pass an ended one; those that are open at the last token count as ended there.
    """
    rows, device = len(inputs), inputs.device
    open_tokens = inputs.new_zeros(rows, beams, tokens)
    ended_tokens = torch.zeros_like(open_tokens)
    # All hypotheses begin alike: only the first one is continued at the first step.
    score = torch.full((rows, beams), -torch.inf, device=device)
    score[:, 0] = 0
    ended_score = torch.full_like(score, -torch.inf)
    base = beams * torch.arange(rows, device=device)[:, None]
    token = inputs.new_zeros(rows * beams)
    for place in range(tokens):
        logp = ensemble.step(token).float().log_softmax(-1).view(rows, beams, -1)
        vocabulary = logp.shape[-1]
        width = min(2 * beams, beams * vocabulary)
        # Twice as many, so that K stay open even where all of the K best end.
        found, flat = (score[..., None] + logp).flatten(1).topk(width, dim=1)
        parent, choice = flat // vocabulary, flat % vocabulary
        text = _rows(open_tokens, parent)
        text[..., place] = choice
        ends = choice == eos
        last = place == tokens - 1
        rank = torch.arange(width, device=device) < beams
        closed = (ends | last) & rank
        penalised = (found / penalty(place + 1, alpha)).masked_fill(~closed, -torch.inf)
        ended_score, ended_tokens = _best(
            torch.cat((ended_score, penalised), 1), torch.cat((ended_tokens, text), 1), beams
        )
        if last:
            break
        score, kept = found.masked_fill(ends, -torch.inf).topk(beams, dim=1)
        open_tokens, parent = _rows(text, kept), parent.gather(1, kept)
        token = choice.gather(1, kept).flatten()
        ensemble.select((base + parent).flatten())
        # No score rises, and the longest output is penalised least.
        if _may_look(place, inputs):
            hope = score[:, 0] / penalty(tokens, alpha)
            if bool((hope <= ended_score[:, -1]).all()):
                break
    return ended_tokens[:, 0]


def penalty(length: int, alpha: float) -> float:
    """What the log-probability of an output of that many tokens is divided by.

    Example:
        >>> penalty(1, 0.6), penalty(7, 1.0)
        (1.0, 2.0)
    """
    return float(((5 + length) / 6) ** alpha)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x (B, K, C) at index (B, J): (B, J, C)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _best(score: Tensor, text: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best scores, and their tokens."""
    best, index = score.topk(count, dim=1)
    return best, _rows(text, index)


def _may_look(place: int, x: Tensor) -> bool:
    """Whether to ask the device if all is done: each look waits for it."""
    return not devices.is_accelerator(x) or place % devices.STRIDE == devices.STRIDE - 1
