"""Experiments of PCGRL."""
