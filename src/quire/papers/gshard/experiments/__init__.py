"""Experiments of GShard."""
