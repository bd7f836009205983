"""One experiment that draws pictures."""
