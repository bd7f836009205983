"""Experiments on ARC: for each a page of TOML, and the module that carries it out."""
