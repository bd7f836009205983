"""The experiments: one pair of files each, and what several of them share."""
