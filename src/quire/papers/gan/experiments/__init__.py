"""Experiments of generative adversarial nets."""
