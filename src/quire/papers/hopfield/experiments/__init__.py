"""The experiments, a pair of files each, and the apparatus that several of them share."""
