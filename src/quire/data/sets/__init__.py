"""One file a dataset: its entry, its known checksums, its unpacking and its loader.

`mnist.py` is a short example. A file that is put here is a dataset: `quire data list` shows it and
`quire.data.<name>` is its loader.
"""
