"""Combinations of several papers, one folder each, in the form of a paper's folder.

A recipe joins parts that do not know one another; its claims are Quire's own.
"""
