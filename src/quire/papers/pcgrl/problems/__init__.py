"""One file a problem, found by looking: a new file here, with a `PROBLEM` in it, is a new name."""
