"""Combinations of several papers: each joins parts that do not know one another."""
