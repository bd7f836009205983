"""Experiments of deep Q-learning."""
