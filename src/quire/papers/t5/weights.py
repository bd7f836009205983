"""Weights under the names of transformers, and its checkpoints from a folder on this machine.

Encoder-decoder and no other architecture: transformers has no other one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quire.papers.t5.model import T5, Size

PUBLISHED: Mapping[str, str] = {
    "small": "google-t5/t5-small",
    "base": "google-t5/t5-base",
    "large": "google-t5/t5-large",
    "3b": "google-t5/t5-3b",
    "11b": "google-t5/t5-11b",
    "small-v1.1": "google/t5-v1_1-small",
    "base-v1.1": "google/t5-v1_1-base",
    "large-v1.1": "google/t5-v1_1-large",
    "xl-v1.1": "google/t5-v1_1-xl",
    "xxl-v1.1": "google/t5-v1_1-xxl",
}
"""Our sizes' names -> repositories of the published weights. Those of "small" to "11b" have also
seen the paper's supervised tasks."""

_ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "output"}


def to_transformers(model: T5) -> dict[str, Tensor]:
    """The weights as `T5ForConditionalGeneration.load_state_dict` takes them, not copied.

    Raises ValueError for another architecture than encoder-decoder and for adapters.
    """
    own = model.state_dict()
    found = {theirs: own.pop(ours) for theirs, ours in _names(model).items()}
    if own:
        raise ValueError(f"transformers' T5 has no place for {next(iter(own))}")
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
        found[name] = found["shared.weight"]
    if model.head is None:
        found["lm_head.weight"] = found["shared.weight"]
    return found


def from_transformers(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> T5:
    """A T5 with copied weights, of their type, without dropout.

    Args:
        config: What is in their config.json, or `config.to_dict()`.
        weights: Their `state_dict()`.

    Raises ValueError where their model is none that T5 is, or weights are missing or of another
    shape.

    Example:
        >>> from quire.papers.t5 import T5, Size, from_transformers, to_transformers
        >>> model = T5(Size(16, 32, heads=2, layers=1, head_dim=8), vocabulary=50)
        >>> config = {"d_model": 16, "d_ff": 32, "num_heads": 2, "num_layers": 1, "d_kv": 8,
        ...           "vocab_size": 50}
        >>> from_transformers(config, to_transformers(model)).size
        Size(dim=16, hidden=32, heads=2, layers=1, head_dim=8)
    """
    forward = config.get("feed_forward_proj", "relu")
    if forward not in ("relu", "gated-gelu"):
        raise ValueError(f"feed_forward_proj must be 'relu' or 'gated-gelu', got {forward!r}")
    layers = config["num_layers"]
    if (config.get("num_decoder_layers") or layers) != layers:
        raise ValueError(
            f"both stacks need as many layers, got {layers} and {config['num_decoder_layers']}"
        )
    # Newer files say `scale_decoder_outputs`; v1.0 ties and scales, v1.1 does neither.
    tied = bool(config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)))
    with torch.device("meta"):
        model = T5(
            Size(
                config["d_model"], config["d_ff"], config["num_heads"], layers, config["d_kv"]
            ),
            vocabulary=config["vocab_size"],
            gated=forward == "gated-gelu",
            tied=tied,
            buckets=config.get("relative_attention_num_buckets", 32),
            max_distance=config.get("relative_attention_max_distance", 128),
        )  # fmt: skip
    shapes, found = model.state_dict(), {}
    for theirs, ours in _names(model).items():
        weight = weights.get(theirs)
        if weight is None and theirs == "shared.weight":
            weight = weights.get("encoder.embed_tokens.weight")
        if weight is None and theirs == "lm_head.weight":
            # Tied, but not scaled, which transformers makes of a new v1.1: the same function.
            weight = weights.get("shared.weight")
        wanted = tuple(shapes[ours].shape)
        if weight is None or tuple(weight.shape) != wanted:
            got = "nothing" if weight is None else tuple(weight.shape)
            raise ValueError(f"{theirs} should be {wanted}, got {got}")
        found[ours] = weight.detach().clone()
    model.load_state_dict(found, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    return model


def load_checkpoint(name: str | Path) -> T5:
    """A published checkpoint that is on this machine; nothing is downloaded.

    name: A folder with config.json and model.safetensors or pytorch_model.bin, a repository's name
    such as "google/t5-v1_1-small", or one of our sizes' names; these two are looked for in the
    cache that transformers fills ($HF_HUB_CACHE or $HF_HOME/hub). Raises FileNotFoundError with
    what to put where, ValueError for weights of another model.
    """
    folder = _find(name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = folder / "model.safetensors"
    if path.is_file():
        from safetensors.torch import load_file

        return from_transformers(config, load_file(path))
    # Plain tensors only: nothing in the file can run.
    weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return from_transformers(config, weights)


def _find(name: str | Path) -> Path:
    if _is_checkpoint(Path(name)):
        return Path(name)
    repository = PUBLISHED.get(str(name), str(name))
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    for folder in sorted(snapshots.glob("*")) if snapshots.is_dir() else []:
        if _is_checkpoint(folder):
            return folder
    raise FileNotFoundError(
        f"no checkpoint {name}: give a folder with config.json and model.safetensors, or fetch "
        f"{repository} into {cache} (`hf download {repository}`)"
    )


def _is_checkpoint(folder: Path) -> bool:
    files = ("model.safetensors", "pytorch_model.bin")
    return (folder / "config.json").is_file() and any((folder / f).is_file() for f in files)


def _names(model: T5) -> dict[str, str]:
    """Their names -> ours."""
    if model.architecture != "encoder-decoder":
        raise ValueError(
            f"transformers' T5 is an encoder-decoder, this one's architecture is "
            f"{model.architecture!r}"
        )
    names = {"shared.weight": "table.weight"}
    if model.head is not None:
        names["lm_head.weight"] = "head.weight"
    for stack, parts in (("encoder", 2), ("decoder", 3)):
        table = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        names[table] = f"{stack}.bias.weight"
        names[f"{stack}.final_layer_norm.weight"] = f"{stack}.norm.weight"
        for layer in range(model.size.layers):
            theirs, ours = f"{stack}.block.{layer}.layer", f"{stack}.layers.{layer}"
            kinds = [("SelfAttention", "attention"), ("EncDecAttention", "cross")][: parts - 1]
            for place, (their, our) in enumerate(kinds):
                names[f"{theirs}.{place}.layer_norm.weight"] = f"{ours}.{our}_norm.weight"
                for t, o in _ATTENTION.items():
                    names[f"{theirs}.{place}.{their}.{t}.weight"] = f"{ours}.{our}.{o}.weight"
            last = f"{theirs}.{parts - 1}"
            names[f"{last}.layer_norm.weight"] = f"{ours}.feed_forward_norm.weight"
            dense = f"{last}.DenseReluDense"
            names[f"{dense}.wo.weight"] = f"{ours}.feed_forward.output.weight"
            if model.gated:
                names[f"{dense}.wi_0.weight"] = f"{ours}.feed_forward.inner.weight"
                names[f"{dense}.wi_1.weight"] = f"{ours}.feed_forward.value.weight"
            else:
                names[f"{dense}.wi.weight"] = f"{ours}.feed_forward.inner.weight"
    return names
