"""The training loops: compiled (`kernel`), its slow twin (`reference`), PyTorch (`batched`).

`session` cuts a corpus into steps and hands them to one of the loops.
"""
