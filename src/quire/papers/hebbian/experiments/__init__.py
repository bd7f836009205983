"""Experiments of the paper on Hebbian plasticity."""
