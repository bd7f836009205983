"""One transformer, every attention: language models that differ in their kernel alone."""

from quire.recipes.attentions.kernels import KERNELS, OwnValue, own_value
from quire.recipes.attentions.model import KernelOfLayer, LanguageModel

__all__ = ["KERNELS", "KernelOfLayer", "LanguageModel", "OwnValue", "own_value"]
