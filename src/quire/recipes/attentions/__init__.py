"""One transformer, every attention: language models that differ in their kernel alone.

To read it: `model` (which takes the kernels as values), then `kernels` (one function each).
"""

# isort: off
from quire.recipes.attentions import kernels
from quire.recipes.attentions.model import KernelOfLayer, LanguageModel
from quire.recipes.attentions.kernels import OwnValue

__all__ = ["KernelOfLayer", "LanguageModel", "OwnValue", "kernels"]
