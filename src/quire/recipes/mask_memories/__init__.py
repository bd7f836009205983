"""Supermasks in every memory: masks of neurons, and what stores and recalls them.

To read it: `memories` (one function a memory, each with its bytes).
"""

# isort: off
from quire.recipes.mask_memories import memories
from quire.recipes.mask_memories.memories import Recall, Stored

__all__ = ["Recall", "Stored", "memories"]
