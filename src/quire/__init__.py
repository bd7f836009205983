"""Quire: landmark machine-learning papers to import, run, check and combine."""

__version__ = "0.1.0"
