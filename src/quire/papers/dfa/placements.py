"""Where to mark: behind every non-linearity, and the two placements for Transformers.

The names that are given here go into `DirectFeedback(model, layers)`.
"""

from torch import nn

from quire.nn import EncoderLayer, GatedFeedForward

ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.ReLU6,
)
"""Modules that `after_activations` marks."""


def after_activations(model: nn.Module) -> list[str]:
    """The names of all activations, in the model's order: the layers of Nøkland's formula.

    Raises ValueError where there is none, as in models that call functions for them.
    """
    found = [name for name, part in model.named_modules() if isinstance(part, ACTIVATIONS)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no module that is an activation: name the "
                         "modules to mark")  # fmt: skip
    return found


def macro(model: nn.Module) -> list[str]:
    """One mark a Transformer block, at its output: back-propagation inside the blocks.

    Knows the encoder layers of `quire.nn` and of torch, wherever they stand in the model. Raises
    ValueError where there is none.
    """
    return [name for name, _ in _blocks(model)]


def micro(model: nn.Module) -> list[str]:
    """Three marks a block: after the attention's sum, after the hidden layer, at the output.

    The hidden layer's dropout comes before its mark, as in the published code. Raises ValueError
    where there is no block, or torch's with `norm_first`, whose sums are no modules.
    """
    found = []
    for name, block in _blocks(model):
        if isinstance(block, EncoderLayer):
            gated = isinstance(block.feed_forward, GatedFeedForward)
            hidden = "feed_forward.dropout" if gated else "feed_forward.2"
            found += [f"{name}.attention_residual", f"{name}.{hidden}", name]
        elif getattr(block, "norm_first", False):
            raise ValueError(f"the sums of '{name}' cannot be marked: use norm_first=False, or "
                             "quire.nn.EncoderLayer")  # fmt: skip
        else:
            found += [f"{name}.norm1", f"{name}.dropout", name]
    return found


def _blocks(model: nn.Module) -> list[tuple[str, EncoderLayer | nn.TransformerEncoderLayer]]:
    kinds = (EncoderLayer, nn.TransformerEncoderLayer)
    found = [(name, part) for name, part in model.named_modules() if isinstance(part, kinds)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no Transformer block of quire.nn or torch")
    return found
