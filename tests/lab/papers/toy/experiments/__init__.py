"""Experiments with every kind of accident that a run can have."""
